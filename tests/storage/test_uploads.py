"""Uploads of several blocks: broken off, raced, left half done."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, BinaryIO

import pytest
from s3fs import S3FileSystem

from pgvector_restore.errors import BackupExistsError, StoreError
from pgvector_restore.model import Location
from pgvector_restore.storage import WritableStore, _azure, _blocks, _google, open_store
from pgvector_restore.storage._blocks import BlockSink, Uploads
from pgvector_restore.storage._s3 import S3Sink
from pgvector_restore.storage.new_set import NewSet
from tests.storage.conftest import cloud_place
from tests.storage.serving import gs_options, s3_options
from tests.storage.tcp_proxy import TcpProxy

MIB = 1 << 20
NOW = datetime(2025, 7, 22, 1)  # noqa: DTZ001 - sets have local time
_numbers = itertools.count(1)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(S3FileSystem, "retries", 1)  # its own attempts, with growing pauses
    monkeypatch.setattr(_google, "_FIRST_PAUSE_S", 0.0)
    monkeypatch.setattr(_azure, "_PAUSE_S", 0.0)
    monkeypatch.setattr(_azure, "_JITTER_S", 0.0)


@pytest.fixture(params=["s3", "gs", "az"])
def store(request: pytest.FixtureRequest) -> WritableStore:
    folder = f"uploads{next(_numbers)}"
    if request.param == "s3":
        url = f"s3://{request.getfixturevalue('s3_bucket')}/{folder}"
        options = s3_options(request.getfixturevalue("s3_server"))
    else:
        url, options = cloud_place(request, request.param, folder)
    found = open_store(url, storage_options=options)
    assert isinstance(found, WritableStore)
    return found


class S3:
    """A store behind a proxy, and its bucket."""

    def __init__(self, proxy: TcpProxy, url: str, options: dict[str, object], files: Any) -> None:
        self.proxy = proxy
        self.url = url
        self.options = options
        self.files = files

    def store(self) -> WritableStore:
        found = open_store(self.url, storage_options=self.options)
        assert isinstance(found, WritableStore)
        return found

    def uploads(self) -> list[dict[str, Any]]:
        bucket = self.url.split("/")[2]
        found = self.files.call_s3("list_multipart_uploads", Bucket=bucket)
        return list(found.get("Uploads") or [])


@pytest.fixture
def s3(s3_server: dict[str, Any], s3_files: Any) -> Iterator[S3]:
    bucket = f"uploads{next(_numbers)}"
    s3_files.mkdir(bucket)
    with TcpProxy(s3_server["port"]) as proxy:
        options = {
            **s3_options(s3_server),
            "endpoint_url": f"http://127.0.0.1:{proxy.port}",
            "config_kwargs": {"read_timeout": 20, "retries": {"max_attempts": 1}},
        }
        yield S3(proxy, f"s3://{bucket}/x", options, s3_files)


@pytest.mark.parametrize("size", [0, 10, 12 * MIB])
def test_another_object_of_the_same_bytes_is_not_taken_for_ours(
    store: WritableStore, size: int
) -> None:
    """Two backups of one second put up the same marker: one of them has to be told."""

    def write(*, first: bool) -> None:
        with store.create("x.bin") as stream:
            stream.write(bytes(size))
            if not first:
                write(first=True)

    with pytest.raises(BackupExistsError, match="is there already"):
        write(first=False)
    with store.open("x.bin") as stream:
        assert len(stream.read()) == size


def test_bytes_come_as_they_are(store: WritableStore) -> None:
    for data in (b"", b"\r", b"\n", b"\r\n", b"\r\n--", b"a\r\rb\n\n\r", bytes(range(256))):
        with store.create("x.bin", replace=True) as stream:
            stream.write(data)
        with store.open("x.bin") as stream:
            assert stream.read() == data


def test_block_whose_answer_was_lost_is_sent_again(
    gs_server: dict[str, Any], gs_bucket: str
) -> None:
    data = os.urandom(12 * MIB)
    with TcpProxy(gs_server["port"]) as proxy:
        options = gs_options({"endpoint": f"http://127.0.0.1:{proxy.port}"})
        url = f"gs://{gs_bucket}/uploads{next(_numbers)}"
        store = open_store(url, storage_options=options)
        assert isinstance(store, WritableStore)
        with store.create("x.bin") as stream:
            for start in range(0, len(data), 3 * MIB):
                proxy.cut_after, proxy.cuts_left = 0, 1
                stream.write(data[start : start + 3 * MIB])
        with store.open("x.bin") as stream:
            assert stream.read() == data


def test_block_that_failed_is_not_left_out(s3: S3) -> None:
    """Even if the writer takes the error for none."""

    def fail(stream: BinaryIO) -> None:
        stream.writelines(bytes(5 * MIB) for _ in range(9))

    def write() -> None:
        with s3.store().create("x.bin") as stream:
            stream.write(bytes(12 * MIB))
            s3.proxy.cut_after = 0
            with pytest.raises(StoreError, match=r"x\.bin"):
                fail(stream)
            s3.proxy.cut_after = None

    with pytest.raises(StoreError, match=r"x\.bin"):
        write()
    assert list(s3.files.find(s3.url)) == []
    assert s3.uploads() == []


def test_nothing_is_written_after_the_end(store: WritableStore) -> None:
    with store.create("x.bin") as stream:
        stream.write(b"1")
    with pytest.raises(ValueError, match="closed"):
        stream.write(b"2")


def test_large_block_gets_its_turn() -> None:
    uploads = Uploads("s3")
    for _ in range(4):
        uploads.begin(5 * MIB)
    order = []

    def begin(size: int) -> None:
        uploads.begin(size)
        order.append(size)

    large = threading.Thread(target=begin, args=(10 * MIB,))
    large.start()
    while not uploads._turn.locked():  # it waits by then
        pass
    small = threading.Thread(target=begin, args=(5 * MIB,))
    small.start()
    uploads.end(5 * MIB)  # room for the small one, which came later
    small.join(0.2)
    uploads.end(5 * MIB)
    large.join()
    assert order == [10 * MIB]
    uploads.end(5 * MIB)
    small.join()
    assert order == [10 * MIB, 5 * MIB]


OPEN_AT_THE_END = """
import json, sys
from pgvector_restore import open_store
store = open_store(sys.argv[1], storage_options=json.loads(sys.argv[2]))
writing = store.create("open.bin")
writing.__enter__().write(bytes(12 << 20))
"""


def test_program_ends_with_an_upload_still_open(s3: S3) -> None:
    command = [sys.executable, "-W", "error", "-c", OPEN_AT_THE_END, s3.url, json.dumps(s3.options)]
    done = subprocess.run(command, check=False, timeout=240, stderr=subprocess.PIPE)
    # aiohttp may tell of a request whose connection is closed under it as the program ends.
    ours = [word for word in (b"pgvector_restore", b"open.bin") if word in done.stderr]
    assert (done.returncode, ours) == (0, [])
    assert list(s3.files.find(s3.url)) == []


def test_interrupted_before_the_upload_is_known(s3: S3) -> None:
    """The storage has begun one, and its answer has not come yet."""
    store = s3.store()

    def interrupt() -> None:
        while not s3.uploads():
            pass
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        stopping.wait()
        s3.proxy.flowing.set()

    stopping = threading.Event()

    def write() -> None:
        with store.create("x.bin") as stream:
            stream.write(bytes(5 * MIB))
            s3.proxy.flowing.clear()
            thread.start()
            try:
                stream.write(b"1")
            finally:
                stopping.set()

    thread = threading.Thread(target=interrupt)
    with pytest.raises(KeyboardInterrupt):
        write()
    thread.join()
    assert s3.uploads() == []


@pytest.mark.parametrize(("size", "step"), [(0, "_send_whole"), (12 * MIB, "_publish")])
def test_interrupted_while_it_is_shown(
    s3: S3, size: int, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The storage shows it, and its answer has not come yet."""
    step_itself = getattr(S3Sink, step)

    async def unanswered(self: BlockSink, *given: Any) -> None:
        s3.proxy.flowing.clear()
        await step_itself(self, *given)

    monkeypatch.setattr(S3Sink, step, unanswered)
    store = s3.store()

    def interrupt() -> None:
        while not s3.files.exists(f"{s3.url}/x.bin"):
            pass
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        s3.proxy.flowing.set()

    thread = threading.Thread(target=interrupt)

    def write() -> None:
        with store.create("x.bin") as stream:
            stream.write(bytes(size))
            thread.start()

    with pytest.raises(KeyboardInterrupt):
        write()
    thread.join()
    assert list(s3.files.find(s3.url)) == []
    assert s3.uploads() == []


def test_giving_up_is_given_up(
    s3: S3, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A storage that is silent keeps nobody who is leaving."""
    monkeypatch.setattr(_blocks, "READ_S", 0.2)

    def write() -> None:
        with s3.store().create("x.bin") as stream:
            stream.write(bytes(12 * MIB))
            s3.proxy.flowing.clear()
            raise KeyError

    with pytest.raises(KeyError):
        write()
    assert "left in the storage: TimeoutError" in caplog.text


def test_file_that_came_meanwhile_is_not_removed_with_a_backup(store: WritableStore) -> None:
    new = NewSet(store, Location("global", "vector_bak", "vector_bak"), NOW)

    def write() -> None:
        with new.file("x.csv", aside=False) as file:
            file.write(b"ours")
            with store.create("vector_bak/x.csv") as stream:
                stream.write(b"theirs")

    with pytest.raises(BackupExistsError, match="is there already"):
        write()
    new.abandon()
    with store.open("vector_bak/x.csv") as stream:
        assert stream.read() == b"theirs"
    assert [info.key for info in store.list()] == ["vector_bak/x.csv"]


@pytest.mark.parametrize("store", ["gs", "az"], indirect=True)  # moto looks, and writes later
def test_backups_of_one_second_take_one_each(store: WritableStore) -> None:
    location = Location("global", "vector_bak", "vector_bak")
    at_once = threading.Barrier(4)

    def begin() -> str:
        at_once.wait()
        return NewSet(store, location, NOW).timestamp

    with ThreadPoolExecutor(4) as pool:
        found = sorted(future.result() for future in [pool.submit(begin) for _ in range(4)])
    assert found == [f"20250722_01000{second}" for second in range(4)]


@pytest.mark.parametrize("algorithm", [None, "CRC32", "SHA1", "SHA256"])
def test_sums_of_parts_are_told_when_they_were_asked_for(
    s3: S3, algorithm: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S3 puts nothing together without them; moto does not mind."""
    publish = S3Sink._publish
    told: list[dict[str, object]] = []

    async def noted(self: S3Sink) -> None:
        told.extend(self._parts.values())
        await publish(self)

    monkeypatch.setattr(S3Sink, "_publish", noted)
    if algorithm is not None:
        s3.options["s3_additional_kwargs"] = {"ChecksumAlgorithm": algorithm}
    with s3.store().create("x.bin") as stream:
        stream.write(bytes(6 * MIB))
    sums = [name for part in told for name in part if name.startswith("Checksum")]
    assert sums == ([] if algorithm is None else 2 * [f"Checksum{algorithm}"])


def test_what_came_before_the_first_block_is_told_as_such(store: WritableStore) -> None:
    def write() -> None:
        with store.create("x.bin") as stream:
            with store.create("x.bin") as other:
                other.write(b"theirs")
            stream.write(bytes(12 * MIB))

    with pytest.raises(BackupExistsError, match="is there already"):
        write()
    with store.open("x.bin") as stream:
        assert stream.read() == b"theirs"
