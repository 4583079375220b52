"""ZIP archives that lie in other stores: the contract, restores, and archives that are replaced."""

from __future__ import annotations

import io
import itertools
import pickle
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

import pytest

from pgvector_restore import BackupStore, inspect_set, open_store
from pgvector_restore.errors import BackupNotFoundError, StoreChangedError, StoreError
from pgvector_restore.storage import _retry
from pgvector_restore.storage._archive import StoredArchive
from pgvector_restore.storage._local import LocalStore
from pgvector_restore.storage._paths import local_place
from pgvector_restore.storage._zip import ZipStore
from pgvector_restore.testing import BackupStoreTests
from tests.sets import write_set
from tests.storage.serving import s3_options
from tests.storage.tcp_proxy import TcpProxy
from tests.storage.web import WebServer, web_server

DATA = bytes(range(256)) * 4096 * 12  # 12 MiB: more than is read ahead
_numbers = itertools.count(1)


def packed(objects: dict[str, bytes], inner: str = "", method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for key, data in objects.items():
            archive.writestr(inner + key, data)
        if not objects and inner:  # the folder is there all the same
            archive.writestr(inner, b"")
    return buffer.getvalue()


class _Archive(BackupStoreTests):
    inner = ""

    def make_store(self, objects: dict[str, bytes]) -> BackupStore:
        self.objects = dict(objects)
        self.name = f"a b%{next(_numbers)}.zip"
        self.put(packed(self.objects, self.inner))
        return self.open(self.name)

    def make_missing(self) -> BackupStore:
        return self.open("missing.zip")

    def replace(self, store: BackupStore, key: str, data: bytes) -> None:  # noqa: ARG002
        self.objects[key] = data
        self.put(packed(self.objects, self.inner))

    def put(self, archive: bytes) -> None:
        raise NotImplementedError

    def open(self, name: str) -> BackupStore:
        raise NotImplementedError


class TestInS3(_Archive):
    @pytest.fixture(autouse=True)
    def _bucket(self, s3_server: dict[str, Any], s3_bucket: str, s3_files: Any) -> None:
        self.bucket, self.files, self.options = s3_bucket, s3_files, s3_options(s3_server)

    def put(self, archive: bytes) -> None:
        self.files.pipe_file(f"{self.bucket}/archives/{self.name}", archive)

    def open(self, name: str) -> BackupStore:
        url = f"zip://{self.inner.rstrip('/')}::s3://{self.bucket}/archives/{name}"
        return open_store(url, storage_options=self.options)


class TestFolderOnTheWeb(_Archive):
    inner = "in/side/"

    @pytest.fixture(autouse=True)
    def _served(self, tmp_path: Path) -> Iterator[None]:
        self.root = tmp_path
        with web_server(tmp_path) as running:
            self.url = running.url
            yield

    def put(self, archive: bytes) -> None:
        new = self.root / "new.zip"
        new.write_bytes(archive)
        new.replace(self.root / self.name)

    def open(self, name: str) -> BackupStore:
        return open_store(f"zip://in/side::{self.url}/{quote(name)}")


class Place:
    """An archive behind a proxy."""

    def __init__(
        self, proxy: TcpProxy, url: str, options: Any, put: Callable[[bytes], Any]
    ) -> None:
        self.proxy = proxy
        self.put = put
        self._url = url
        self._options = options

    def store(self) -> BackupStore:
        return open_store(self._url, storage_options=self._options)


@pytest.fixture(params=["s3", "web"])
def archived(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    monkeypatch.setattr(_retry, "_FIRST_PAUSE_S", 0.0)
    name = f"x{next(_numbers)}.zip"
    if request.param == "s3":
        server = request.getfixturevalue("s3_server")
        path = f"{request.getfixturevalue('s3_bucket')}/{name}"
        files = request.getfixturevalue("s3_files")
        with TcpProxy(server["port"]) as proxy:
            options = s3_options({"endpoint": f"http://127.0.0.1:{proxy.port}"})
            yield Place(
                proxy,
                f"zip://::s3://{path}",
                {"s3": options},  # as fsspec takes them
                lambda archive: files.pipe_file(path, archive),
            )
        return
    with web_server(tmp_path) as running, TcpProxy(running.server_address[1]) as proxy:
        url = f"zip://::http://127.0.0.1:{proxy.port}/{name}"
        yield Place(proxy, url, None, (tmp_path / name).write_bytes)


def test_it_is_listed_and_inspected(archived: Place, tmp_path: Path) -> None:
    root = write_set(tmp_path / "root")
    archived.put(
        packed({p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*.csv")})
    )
    store = pickle.loads(pickle.dumps(archived.store()))  # noqa: S301 - made right here
    plain = open_store(root)
    assert [one.label for one in store.catalog().sets] == [
        one.label for one in plain.catalog().sets
    ]
    found, wanted = inspect_set(store, "latest"), inspect_set(plain, "latest")
    assert found.ok
    assert found.files == wanted.files


def test_reading_goes_on_after_dropped_connections(archived: Place) -> None:
    archived.put(packed({"x.csv": DATA, "y.csv": b"1"}, method=zipfile.ZIP_STORED))
    store = archived.store()
    archived.proxy.reset()
    archived.proxy.cut_after, archived.proxy.cuts_left = 5 << 20, 2
    with store.open("x.csv") as stream:
        found = stream.read()
    assert (len(found), hash(found)) == (len(DATA), hash(DATA))  # a difference is 12 MiB long
    assert archived.proxy.cuts_left == 0


def test_archive_replaced_while_it_is_read(archived: Place) -> None:
    archived.put(packed({"x.csv": DATA}, method=zipfile.ZIP_STORED))
    store = archived.store()
    archived.proxy.reset()
    archived.proxy.cut_after, archived.proxy.cuts_left = 5 << 20, 1
    with store.open("x.csv") as stream:
        assert stream.read(1000) == DATA[:1000]
        archived.put(packed({"x.csv": DATA[::-1]}, method=zipfile.ZIP_STORED))
        with pytest.raises(StoreChangedError, match="was replaced while it was read"):
            stream.read()
    with store.open("x.csv") as stream:  # the new one, from its beginning
        assert stream.read(1000) == DATA[::-1][:1000]


@pytest.mark.parametrize("data", [b"", b"no archive", b"x" * 100_000])
def test_what_is_no_archive(archived: Place, data: bytes) -> None:
    archived.put(data)
    with pytest.raises(StoreError, match="is no ZIP archive, or not all of one") as caught:
        list(archived.store().list())
    assert not isinstance(caught.value, BackupNotFoundError | StoreChangedError)


def test_a_long_directory(archived: Place) -> None:
    objects = {f"folder/{number:05}.csv": b"%d" % number for number in range(3000)}
    archived.put(packed(objects))
    store = archived.store()
    assert [info.key for info in store.list()] == sorted(objects)
    with store.open("folder/00007.csv") as stream:
        assert stream.read() == b"7"


class Replacing(LocalStore):
    """A folder where the archive is replaced after the first time that something is asked for."""

    new = b""

    def open(self, key: str, start: int = 0, end: int | None = None) -> BinaryIO:
        (Path(self.url) / key).write_bytes(self.new)
        return super().open(key, start, end)


def test_archive_replaced_before_its_directory_is_read(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(packed({"x.csv": DATA}))
    store = Replacing(local_place(str(tmp_path), windows=False))
    store.new = packed({"x.csv": DATA, "y.csv": DATA})[:-1] + b"more"
    archive = ZipStore(StoredArchive(store, "x.zip"), "zip://x.zip")
    with pytest.raises(StoreChangedError, match="was replaced while it was read"):
        list(archive.list())


def test_secrets_of_the_place_are_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_retry, "_FIRST_PAUSE_S", 0.0)
    with WebServer(tmp_path) as server:
        url = f"http://me:c4nary@127.0.0.1:{server.server_address[1]}/x.zip?token=c4nary"
    store = open_store(f"zip://::{url}")
    assert "c4nary" not in f"{store} {store!r} {store.url}"
    with pytest.raises(StoreError) as caught:
        list(store.list())
    assert "c4nary" not in f"{caught.value} {caught.value.hint}"
