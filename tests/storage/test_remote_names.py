"""Names that URLs and shells take for more than names, processes that fork, stores left behind."""

from __future__ import annotations

import itertools
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from pgvector_restore.errors import BackupExistsError
from pgvector_restore.storage import WritableStore, open_store
from tests.storage.conftest import cloud_place
from tests.storage.serving import USER, s3_options, sftp_options

_numbers = itertools.count(1)

NAMES = sorted([
    *("a b.csv", "a%20b.csv", "100%.csv", "a+b.csv", "%2F", "a/%2e%2e/b", "a&b=c;d.csv", "x#123"),
    *("x?y=1.csv", "x?versionid=3.csv", "x?generation=4", "x?y#z.csv", "x#y?z.csv", "x::y:z.csv"),
    *("ü/é.csv", "日本/語.csv", " lead.csv", "trail ", "sub/ trail ", "{0}.csv", "{}", "[x]*.csv"),
    *("~t", "'q\"", "x:y", "a.b.", "x,y", "$(x)", "<x>", "|", "`^", "-x"),
])  # fmt: skip


@pytest.fixture(params=["s3", "gs", "az", "sftp"])
def where(request: pytest.FixtureRequest) -> Callable[[str], tuple[str, dict[str, object]]]:
    """URL and options of a folder of a storage."""

    def find(folder: str) -> tuple[str, dict[str, object]]:
        if request.param == "s3":
            bucket = request.getfixturevalue("s3_bucket")
            return f"s3://{bucket}/{folder}", s3_options(request.getfixturevalue("s3_server"))
        if request.param == "sftp":
            server = request.getfixturevalue("sftp_server")
            url = f"sftp://{USER}@127.0.0.1:{server['port']}{server['folder']}/{folder}"
            return url, sftp_options(server)
        return cloud_place(request, request.param, folder)

    return find


@pytest.fixture
def opened(
    where: Callable[[str], tuple[str, dict[str, object]]],
) -> Callable[[str], WritableStore]:
    """Opens a folder of a storage."""

    def opening(folder: str) -> WritableStore:
        url, options = where(folder)
        store = open_store(url, storage_options=options)
        assert isinstance(store, WritableStore)
        return store

    return opening


@pytest.mark.parametrize("folder", ["names", "with space/ü%41"])
def test_names_are_what_they_are(opened: Callable[[str], WritableStore], folder: str) -> None:
    store = opened(f"{folder}{next(_numbers)}")
    for name in NAMES:
        with store.create(name) as stream:
            stream.write(f"it is {name}".encode())
    assert [info.key for info in store.list()] == NAMES
    for name in NAMES:
        with store.open(name, 3) as stream:
            assert stream.read() == f"is {name}".encode()
        assert name in [info.key for info in store.list(name)]
        with pytest.raises(BackupExistsError), store.create(name):
            pytest.fail("the block must not run")
    for number, name in enumerate(NAMES[:-1], 1):  # a folder without objects is none
        store.delete(name)
        assert [info.key for info in store.list()] == NAMES[number:]


def test_bytes_are_what_they_are(opened: Callable[[str], WritableStore]) -> None:
    """Also at their end: some are sent in forms."""
    store = opened(f"bytes{next(_numbers)}")
    part = bytes(8 << 20)
    ends = (b"\r", b"\n", b"\r\n", b"x\r\r", b"\n--==0==--", bytes(range(256)), part, part + b"\r")
    for data in ends:
        with store.create("x.bin", replace=True) as stream:
            stream.write(data)
        with store.open("x.bin") as reading:
            found = reading.read()
        assert (len(found), hash(found)) == (len(data), hash(data))  # it may be long


FORKED = """
import json, os, sys
from pgvector_restore import open_store
store = open_store(sys.argv[1], storage_options=json.loads(sys.argv[2]))
with store.create("x.csv") as stream:
    stream.write(b"1")
child = os.fork()
with store.open("x.csv") as stream:
    assert stream.read() == b"1"
with store.create("child.csv" if child == 0 else "parent.csv") as stream:
    stream.write(b"2")
if child:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
def test_a_forked_process_connects_anew(
    where: Callable[[str], tuple[str, dict[str, object]]], opened: Callable[[str], WritableStore]
) -> None:
    """And ends: it waits for nothing that its parent has."""
    folder = f"forked{next(_numbers)}"
    url, options = where(folder)
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "ignore::DeprecationWarning",
            "-c",
            FORKED,
            url,
            json.dumps(options),
        ],
        check=False,
        timeout=240,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert [info.key for info in opened(folder).list()] == ["child.csv", "parent.csv", "x.csv"]


def test_a_stream_that_is_left_complains_of_nothing(
    opened: Callable[[str], WritableStore], caplog: pytest.LogCaptureFixture
) -> None:
    store = opened(f"left{next(_numbers)}")
    with store.create("x.bin") as stream:
        stream.write(bytes(12 << 20))
    with caplog.at_level(logging.WARNING):
        for _ in range(8):
            with store.open("x.bin") as reading:
                assert reading.read(10) == bytes(10)
        assert [info.key for info in store.list()] == ["x.bin"]
    assert caplog.messages == []


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="it is not told what is open")  # noqa: PTH112
def test_stores_that_are_left_keep_no_connections(opened: Callable[[str], WritableStore]) -> None:
    folder = f"many{next(_numbers)}"
    with opened(folder).create("x.csv") as stream:
        stream.write(b"1")
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for _ in range(12):
        assert [info.key for info in opened(folder).list()] == ["x.csv"]
    assert len(os.listdir("/proc/self/fd")) < before + 9  # noqa: PTH208
