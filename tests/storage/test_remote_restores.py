"""Restores from every kind of store: the same rows as from a folder."""

from __future__ import annotations

import gzip
import io
import itertools
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from pgvector_restore import (
    BackupStore,
    BadDataError,
    ObjectInfo,
    PgvectorRestoreError,
    Restorer,
    StoreChangedError,
    StoreError,
    WritableStore,
    open_store,
    pieces,
)
from pgvector_restore.schema import EMBEDDING
from pgvector_restore.storage._retry import retrying
from tests.restore.content import query, snapshot
from tests.sets import embedding_bytes, restore, write_set
from tests.storage.conftest import cloud_place
from tests.storage.serving import USER, s3_options, sftp_options
from tests.storage.web import web_server

_numbers = itertools.count(1)


def copy(root: Path, store: BackupStore) -> BackupStore:
    assert isinstance(store, WritableStore)
    source = open_store(root)
    for info in source.list():
        with source.open(info.key) as stream, store.create(info.key) as goal:
            goal.write(stream.read())
    return store


@pytest.fixture(
    params=["s3", "gs", "az", "sftp", "web", "zip", "zip in s3", "zip on the web", "memory"]
)
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[Path], Any]]:
    """Puts a folder into a storage and opens that."""
    name = f"restores{next(_numbers)}"
    if request.param == "s3":
        bucket = request.getfixturevalue("s3_bucket")
        options = s3_options(request.getfixturevalue("s3_server"))
        yield lambda root: copy(root, open_store(f"s3://{bucket}/{name}", storage_options=options))
    elif request.param in ("gs", "az"):
        url, options = cloud_place(request, request.param, name)
        yield lambda root: copy(root, open_store(url, storage_options=options))
    elif request.param == "sftp":
        server = request.getfixturevalue("sftp_server")
        url = f"sftp://{USER}@127.0.0.1:{server['port']}{server['folder']}/{name}"
        yield lambda root: copy(root, open_store(url, storage_options=sftp_options(server)))
    elif request.param == "web":
        with web_server(tmp_path) as running:
            yield lambda root: open_store(f"{running.url}/{root.name}")
    elif request.param == "zip":
        yield lambda root: open_store(f"zip://{packed(root)}")
    elif request.param == "zip in s3":
        path = f"{request.getfixturevalue('s3_bucket')}/{name}.zip"
        files = request.getfixturevalue("s3_files")
        options = s3_options(request.getfixturevalue("s3_server"))

        def uploaded(root: Path) -> BackupStore:
            files.pipe_file(path, packed(root).read_bytes())
            return open_store(f"zip://::s3://{path}", storage_options=options)

        yield uploaded
    elif request.param == "zip on the web":
        with web_server(tmp_path) as running:
            yield lambda root: open_store(f"zip://::{running.url}/{packed(root).name}")
    else:
        MemoryFileSystem().mkdir(f"/{name}")
        yield lambda root: copy(root, open_store(f"memory://{name}"))


def packed(root: Path) -> Path:
    path = root.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(root.rglob("*.csv")):
            archive.write(file, file.relative_to(root).as_posix())
    return path


@pytest.mark.parametrize("strategy", ["in_place", "swap"])
def test_rows_are_those_of_a_folder(
    opened: Callable[[Path], BackupStore],
    strategy: Any,
    g2_dsn: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pieces, "PART_BYTES", 64)  # so that parts are read by workers
    root = write_set(tmp_path / "root")
    restore(root, g2_dsn, mode="replace")
    wanted = query(g2_dsn, f"SELECT t::text FROM {EMBEDDING} t ORDER BY 1")
    with Restorer(opened(root), g2_dsn) as restorer:
        report = restorer.restore(
            "latest", mode="replace", strategy=strategy, jobs=2, verify="content"
        )
        assert restorer.verify("latest").equal
    assert report.rows_loaded > 0
    assert query(g2_dsn, f"SELECT t::text FROM {EMBEDDING} t ORDER BY 1") == wanted


class Tampering(BackupStore):
    """Another store whose embedding file is read as something else.

    Args:
        inner: The store.
        tamper: Makes of the bytes of a range what is given out.
    """

    is_shared = False

    def __init__(self, inner: BackupStore, tamper: Callable[[bytes], bytes]) -> None:
        self.layout = inner.layout
        self._inner = inner
        self._tamper = tamper

    @property
    def url(self) -> str:
        return self._inner.url

    def list(self, prefix: str = "", *, max_depth: int | None = None) -> Iterator[ObjectInfo]:
        return self._inner.list(prefix, max_depth=max_depth)

    def open(self, key: str, start: int = 0, end: int | None = None) -> BinaryIO:
        stream = self._inner.open(key, start, end)
        if EMBEDDING not in key:
            return stream
        with stream:
            return io.BytesIO(self._tamper(stream.read()))


def _flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 0x40]) + data[middle + 1 :]


@pytest.mark.parametrize(
    ("tamper", "packs", "error"),
    [
        (lambda data: data[:-1], False, StoreChangedError),
        (lambda data: data + b"x", False, StoreChangedError),
        (lambda data: data[:-1], True, PgvectorRestoreError),
        (_flipped, True, BadDataError),
        (lambda data: data.replace(b"[", b'"', 2), False, BadDataError),
    ],
    ids=["short", "long", "short, packed", "wrong, packed", "wrong"],
)
def test_wrong_bytes_change_nothing(
    tamper: Callable[[bytes], bytes],
    packs: bool,  # noqa: FBT001
    error: type[Exception],
    g2_dsn: str,
    tmp_path: Path,
) -> None:
    root = write_set(tmp_path / "root")
    if packs:
        (file,) = (root / "vector_bak").glob(f"{EMBEDDING}_*.csv")
        file.with_name(f"{file.name}.gz").write_bytes(gzip.compress(embedding_bytes()))
        file.unlink()
    before = snapshot(g2_dsn)
    store = retrying(Tampering(open_store(root), tamper))
    with Restorer(store, g2_dsn) as restorer, pytest.raises(error):
        restorer.restore("latest", mode="replace")
    assert snapshot(g2_dsn) == before


def test_store_that_cannot_be_reached(g2_dsn: str, tmp_path: Path) -> None:
    with web_server(tmp_path) as gone:
        url = gone.url
    before = snapshot(g2_dsn)
    with Restorer(open_store(url), g2_dsn) as restorer, pytest.raises(StoreError) as caught:
        restorer.restore("latest")
    assert caught.value.message.startswith(f'cannot read "{url}": ')
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)
    assert snapshot(g2_dsn) == before
