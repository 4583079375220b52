"""Files of web servers that come slowly: read in several ranges at once where that is safe."""

from __future__ import annotations

import concurrent.futures
import math
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from pgvector_restore.errors import StoreChangedError, StoreError
from pgvector_restore.storage import BackupStore, _retry, _wide, open_store
from pgvector_restore.storage._web_body import WideWebBody
from tests.storage.web import WebServer, web_server

DATA = b"".join(number.to_bytes(4, "big") for number in range(250_000))  # 1 MB, no two pieces alike
PIECE = 50_000
LONG_AGO = 1_000_000_000


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    monkeypatch.setattr(_retry, "_FIRST_PAUSE_S", 0.0)
    monkeypatch.setattr(_wide, "_ENOUGH_BYTES_PER_S", math.inf)
    monkeypatch.setattr(_wide, "_JUDGED_BYTES", 1)
    monkeypatch.setattr(_wide, "_PIECE_BYTES", PIECE)
    put(tmp_path, DATA)
    with web_server(tmp_path) as running:
        yield running


def put(root: Path, data: bytes, at: int = LONG_AGO) -> None:
    (root / "new").write_bytes(data)
    os.utime(root / "new", (at, at))
    (root / "new").replace(root / "x.csv")


def body_of(stream: BinaryIO) -> WideWebBody:
    """What the stream of a store reads from at last."""
    raw: Any = stream
    found = raw.raw._source.raw._source
    assert isinstance(found, WideWebBody)
    return found


def begun(store: BackupStore, size: int = 1000) -> tuple[BinaryIO, WideWebBody]:
    """A stream of which something has been read, and which knows how it is to go on."""
    stream = store.open("x.csv")
    assert stream.read(size) == DATA[:size]
    body = body_of(stream)
    assert body._trial is not None
    concurrent.futures.wait([body._trial], 10)
    return stream, body


def parts(server: WebServer) -> list[str]:
    """Ranges with an end that were asked for."""
    return [wanted for _, _, wanted in server.requests if wanted and not wanted.endswith("-")]


def test_rest_comes_in_several_ranges(server: WebServer) -> None:
    stream, body = begun(open_store(server.url))
    with stream:
        assert stream.read() == DATA[1000:]
        assert body._is_wide
    found = [tuple(map(int, one.removeprefix("bytes=").split("-"))) for one in parts(server)]
    (tried, last), *pieces = sorted(found, key=lambda one: (one[1] - one[0] > 0, one))
    assert tried == last
    assert [end - start + 1 for start, end in pieces[:-1]] == [PIECE] * (len(pieces) - 1)
    assert pieces[-1][1] == len(DATA) - 1
    assert len(pieces) > 15
    assert [start for start, _ in pieces[1:]] == [end + 1 for _, end in pieces[:-1]]
    assert len(server.clients) <= 1 + _wide.AT_ONCE  # connections are kept


@pytest.mark.parametrize("start", [0, 7, 400_000])
@pytest.mark.parametrize("end", [None, 900_001, len(DATA) + 5])
def test_ranges_are_the_same(server: WebServer, start: int, end: int | None) -> None:
    store = open_store(server.url)
    with store.open("x.csv", start, end) as stream:
        found = stream.read(1000)
        trial = body_of(stream)._trial
        assert trial is not None
        concurrent.futures.wait([trial], 10)
        found += stream.read()
    assert found == DATA[start:end]


def test_no_more_than_four_wait_in_memory(server: WebServer) -> None:
    stream, body = begun(open_store(server.url))
    with stream:
        stream.read(PIECE)
        assert len(body._pieces) == _wide.AT_ONCE
        concurrent.futures.wait(body._pieces, 10)
        stream.read(10 * PIECE)
        assert len(body._pieces) == _wide.AT_ONCE
        concurrent.futures.wait(body._pieces, 10)
        assert body._ranges is not None
        assert len(body._ranges._buffers) <= 1  # memory is used again


def test_one_file_of_a_store_at_a_time(server: WebServer) -> None:
    store = open_store(server.url)
    stream, body = begun(store)
    with store.open("x.csv") as other:
        assert other.read(PIECE) == DATA[:PIECE]
        assert body_of(other)._trial is None
        stream.close()
        other.read(PIECE)
        assert body_of(other)._trial is not None
        assert other.read() == DATA[2 * PIECE :]
    assert not body._is_wide


@pytest.mark.parametrize(
    "headers",
    [
        {"Accept-Ranges": "none"},
        {"ETag": None, "Last-Modified": None},
        {"ETag": 'W/"1"', "Last-Modified": None},
        {"ETag": None, "Last-Modified": "Fri, 01 Jan 2038 00:00:00 GMT"},
        {"ETag": None, "Last-Modified": "yesterday"},
    ],
)
def test_file_without_a_certain_version_comes_in_one(
    server: WebServer, headers: dict[str, str | None]
) -> None:
    server.headers = headers
    with open_store(server.url).open("x.csv") as stream:
        assert stream.read() == DATA
    assert parts(server) == []


def test_time_is_version_enough(server: WebServer) -> None:
    server.headers = {"ETag": 'W/"1"'}
    stream, body = begun(open_store(server.url))
    with stream:
        assert stream.read() == DATA[1000:]
        assert body._is_wide


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (200, {}),
        (403, {}),
        (429, {}),
        (503, {}),
        (None, {"Content-Range": "bytes 0-0/1000000"}),
        (None, {"Content-Range": None}),
    ],
)
def test_server_that_takes_no_ranges_is_asked_once(
    server: WebServer, status: int | None, headers: dict[str, str | None]
) -> None:
    server.part_status, server.part_headers = status, headers
    store = open_store(server.url)
    stream, body = begun(store)
    with stream:
        assert stream.read() == DATA[1000:]
        assert not body._is_wide
    with store.open("x.csv") as again:
        assert again.read() == DATA
    assert len(parts(server)) == 1
    plain = [wanted for _, _, wanted in server.requests if wanted is None]
    assert len(plain) == 2  # what had come was not fetched again


@pytest.mark.parametrize("status", [200, 503])
def test_server_that_takes_no_more_ranges(server: WebServer, status: int) -> None:
    stream, body = begun(open_store(server.url))
    with stream:
        found = stream.read(3 * PIECE)
        assert body._is_wide
        server.part_status = status
        assert found + stream.read() == DATA[1000:]


@pytest.mark.parametrize("change", [{"ETag": '"other"'}, {"Last-Modified": "Fri, 02 Jan 1970"}])
def test_another_version_of_a_range_is_not_taken(
    server: WebServer, change: dict[str, str | None]
) -> None:
    server.part_headers = change
    stream, body = begun(open_store(server.url))
    with stream:
        assert stream.read() == DATA[1000:]
        assert not body._is_wide


@pytest.mark.parametrize("headers", [{}, {"ETag": None}])
@pytest.mark.parametrize("size", [len(DATA), 1000])
def test_file_replaced_meanwhile_is_never_mixed(
    server: WebServer, tmp_path: Path, headers: dict[str, str | None], size: int
) -> None:
    server.headers = headers
    stream, body = begun(open_store(server.url))
    with stream:
        found = stream.read(3 * PIECE)
        assert body._is_wide
        put(tmp_path, DATA[::-1][:size], LONG_AGO + 5)
        pieces = iter(lambda: stream.read(1000), b"")
        blocks = [found]
        with pytest.raises(StoreChangedError, match="was replaced while it was read"):
            blocks.extend(pieces)
    assert DATA[1000:].startswith(b"".join(blocks))


def test_reading_goes_on_after_cuts(server: WebServer) -> None:
    stream, body = begun(open_store(server.url))
    with stream:
        found = stream.read(2 * PIECE)
        assert body._is_wide
        server.cut_after = PIECE - 1  # no piece comes as a whole
        assert found + stream.read() == DATA[1000:]


def test_server_that_gives_nothing_more(server: WebServer) -> None:
    stream, body = begun(open_store(server.url))
    with stream:
        stream.read(2 * PIECE)
        assert body._is_wide
        server.cut_after = 0
        with pytest.raises(StoreError, match=r"cannot read .*x\.csv"):
            stream.read()
    last = [wanted for _, _, wanted in server.requests if wanted and wanted.endswith("-")]
    assert len(last) == _retry._FAILURES - 1


def test_server_that_closes_kept_connections(server: WebServer) -> None:
    server.part_headers = {"Connection": "close"}
    stream, body = begun(open_store(server.url))
    with stream:
        assert stream.read() == DATA[1000:]
        assert body._is_wide


def test_stream_that_is_left_lets_go(server: WebServer) -> None:
    stream, body = begun(open_store(server.url))
    stream.read(2 * PIECE)
    assert body._is_wide
    server.wait_s = 0.2
    stream.read(2 * PIECE)
    stream.close()
    concurrent.futures.wait(body._pieces, 10)
    for thread in threading.enumerate():
        if thread.name.startswith("pgvector_restore read"):
            thread.join(60)
    assert body._ranges is not None
    assert not body._ranges._idle
    assert not body._ranges._sockets


def test_login_goes_along(server: WebServer) -> None:
    server.login = "me:secret"
    options = {"username": "me", "password": "secret"}
    stream, body = begun(open_store(server.url, storage_options=options))
    with stream:
        assert stream.read() == DATA[1000:]
        assert body._is_wide


def test_proxy_of_the_environment_gets_one_request(
    server: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "http:").mkdir()
    (tmp_path / "http:" / "backups.invalid").symlink_to(tmp_path)
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.setenv("no_proxy", "")
    with open_store("http://backups.invalid").open("x.csv") as stream:
        assert stream.read() == DATA
    assert [(path, wanted) for _, path, wanted in server.requests] == [
        ("http://backups.invalid/x.csv", None)
    ]
