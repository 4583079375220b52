"""Names that URLs and shells take for more than names, processes that fork, stores left behind."""

from __future__ import annotations

import itertools
import logging
import multiprocessing
import os
from collections.abc import Callable
from typing import Any

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
def opened(request: pytest.FixtureRequest) -> Callable[[str], WritableStore]:
    """Opens a folder of a storage."""

    def opening(folder: str) -> WritableStore:
        if request.param == "s3":
            options = s3_options(request.getfixturevalue("s3_server"))
            url = f"s3://{request.getfixturevalue('s3_bucket')}/{folder}"
        elif request.param == "sftp":
            server = request.getfixturevalue("sftp_server")
            options = sftp_options(server)
            url = f"sftp://{USER}@127.0.0.1:{server['port']}{server['folder']}/{folder}"
        else:
            url, options = cloud_place(request, request.param, folder)
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


def _read(store: WritableStore, answers: Any) -> None:
    with store.open("x.csv") as stream:
        answers.put((stream.read(), [info.key for info in store.list()]))
    with store.create("y.csv") as stream:
        stream.write(b"2")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_connects_anew(opened: Callable[[str], WritableStore]) -> None:
    store = opened(f"forked{next(_numbers)}")
    with store.create("x.csv") as stream:
        stream.write(b"1")
    forking = multiprocessing.get_context("fork")
    answers = forking.Queue()
    child = forking.Process(target=_read, args=(store, answers))
    child.start()
    try:
        assert answers.get(timeout=60) == (b"1", ["x.csv"])
        child.join(60)
        assert child.exitcode == 0
    finally:
        child.kill()
        child.join()
    assert [info.key for info in store.list()] == ["x.csv", "y.csv"]


def test_a_stream_that_is_left_complains_of_nothing(
    opened: Callable[[str], WritableStore], caplog: pytest.LogCaptureFixture
) -> None:
    store = opened(f"left{next(_numbers)}")
    with store.create("x.bin") as stream:
        for _ in range(24):
            stream.write(bytes(1 << 20))
    with caplog.at_level(logging.WARNING):
        for _ in range(20):
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
    for _ in range(30):
        assert [info.key for info in opened(folder).list()] == ["x.csv"]
    assert len(os.listdir("/proc/self/fd")) < before + 20  # noqa: PTH208
