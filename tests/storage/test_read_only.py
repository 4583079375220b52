"""Web servers and archives: the contract, and what is theirs alone."""

from __future__ import annotations

import os
import stat
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgvector_restore.errors import (
    BackupNotFoundError,
    OptionError,
    StoreChangedError,
    StoreError,
)
from pgvector_restore.storage import BackupStore, WritableStore, _retry, open_store
from pgvector_restore.testing import BackupStoreTests
from tests.storage.test_contract import LocalFolder
from tests.storage.web import WebServer, serving_file, web_server

DATA = bytes(range(256)) * 4000


class TestWeb(LocalFolder):
    @pytest.fixture(autouse=True)
    def _server(self, tmp_path: Path) -> Iterator[None]:
        with web_server(tmp_path) as server:
            self.server = server
            yield

    def address(self, folder: Path) -> str:
        return f"{self.server.url}/{folder.name}"


class TestWebWithoutRanges(TestWeb):
    def address(self, folder: Path) -> str:
        self.server.ranges = False
        return super().address(folder)


class TestWebThatCutsBodies(TestWeb):
    def address(self, folder: Path) -> str:
        self.server.cut_after = 3000  # of each body; the longest has 10,240 or more
        return super().address(folder)


class TestWebThatIsSlow(TestWeb):
    def address(self, folder: Path) -> str:
        self.server.wait_s = 0.02
        return super().address(folder)


class TestZip(BackupStoreTests):
    inner = ""

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.tmp = tmp_path

    def make_store(self, objects: dict[str, bytes]) -> BackupStore:
        self.objects = dict(objects)
        self.later = int(time.time())
        self.pack()
        return self.open(self.tmp / "x.zip")

    def open(self, path: Path) -> BackupStore:
        return open_store(f"zip://{path}")

    def make_missing(self) -> BackupStore:
        return self.open(self.tmp / "missing.zip")

    def replace(self, store: BackupStore, key: str, data: bytes) -> None:  # noqa: ARG002
        self.later += 2
        self.objects[key] = data
        self.pack()

    def pack(self) -> None:
        with zipfile.ZipFile(self.tmp / "new.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for key, data in self.objects.items():
                archive.writestr(self.inner + key, data)
        (self.tmp / "new.zip").replace(self.tmp / "x.zip")


class TestFolderInZip(TestZip):
    inner = "in/side/"

    def make_store(self, objects: dict[str, bytes]) -> BackupStore:
        store = super().make_store(objects)
        if not objects:  # the folder is there all the same
            with zipfile.ZipFile(self.tmp / "x.zip", "w") as archive:
                archive.writestr(self.inner, b"")
        return store

    def open(self, path: Path) -> BackupStore:
        return open_store(f"zip://in/side::{path.as_uri()}")


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    monkeypatch.setattr(_retry, "_FIRST_PAUSE_S", 0.0)
    with serving_file(tmp_path, DATA) as running:
        yield running


@pytest.mark.parametrize("kind", ["web", "zip"])
def test_nothing_is_written(server: WebServer, tmp_path: Path, kind: str) -> None:
    zipfile.ZipFile(tmp_path / "x.zip", "w").close()
    store = open_store(f"{server.url}/data" if kind == "web" else f"zip://{tmp_path}/x.zip")
    assert isinstance(store, WritableStore)
    reason = store.read_only_reason
    assert reason
    with pytest.raises(OptionError, match=reason), store.create("a.csv"):
        pytest.fail("the block must not run")
    with pytest.raises(OptionError, match="is read-only"):
        store.delete("x.csv")


def test_read_goes_on_where_it_was_cut(server: WebServer) -> None:
    server.cut_after = 300_000
    with open_store(f"{server.url}/data").open("x.csv") as stream:
        assert stream.read() == DATA
    ranges = [wanted for method, _, wanted in server.requests if method == "GET"]
    assert ranges == [None, "bytes=300000-", "bytes=600000-", "bytes=900000-"]


@pytest.mark.parametrize("told", [{}, {"ETag": None}], ids=["etag", "time alone"])
def test_file_replaced_between_two_reads_is_noticed(
    server: WebServer, tmp_path: Path, told: dict[str, str | None]
) -> None:
    server.headers = told
    server.cut_after = 300_000
    with open_store(f"{server.url}/data").open("x.csv") as stream:
        assert stream.read(1000) == DATA[:1000]
        (tmp_path / "data" / "x.csv").write_bytes(DATA[::-1])
        os.utime(tmp_path / "data" / "x.csv", (1, 1))
        with pytest.raises(StoreChangedError, match="was replaced while it was read"):
            stream.read()


def test_server_that_gives_nothing_is_given_up(server: WebServer) -> None:
    server.cut_after = 0
    with (
        open_store(f"{server.url}/data").open("x.csv") as stream,
        pytest.raises(StoreError, match=r"cannot read .*/data/x\.csv"),
    ):
        stream.read()
    assert len([1 for method, _, _ in server.requests if method == "GET"]) == _retry._FAILURES


def test_server_that_is_busy_is_asked_again(server: WebServer) -> None:
    server.busy = _retry._FAILURES - 1
    with open_store(f"{server.url}/data").open("x.csv") as stream:
        assert stream.read() == DATA
    server.busy = _retry._FAILURES
    with pytest.raises(StoreError, match=r"cannot read .*x\.csv.: HTTP status 503"):
        open_store(f"{server.url}/data").open("x.csv")
    assert server.busy == 0


def test_server_that_stalls_is_given_up(server: WebServer) -> None:
    server.wait_s = 0.5
    store = open_store(f"{server.url}/data", storage_options={"timeout_s": 0.05})
    with store.open("x.csv") as stream, pytest.raises(StoreError, match="cannot read"):
        stream.read()


def test_server_that_is_not_there(tmp_path: Path) -> None:
    with web_server(tmp_path) as gone:
        url = gone.url
    with pytest.raises(StoreError, match="cannot read") as caught:
        list(open_store(url).list())
    assert not isinstance(caught.value, BackupNotFoundError)


@pytest.mark.parametrize("way", ["options", "url"])
def test_login(server: WebServer, way: str) -> None:
    server.login = "me:s3cr3t-c4nary"
    host = server.url.removeprefix("http://")
    if way == "url":
        store = open_store(f"http://me:s3cr3t-c4nary@{host}/data")
    else:
        options = {"username": "me", "password": "s3cr3t-c4nary"}
        store = open_store(f"http://{host}/data", storage_options=options)
    assert [info.key for info in store.list()] == ["x.csv"]
    assert "c4nary" not in f"{store!r} {store.url}"
    with pytest.raises(StoreError, match="no permission") as caught:
        list(open_store(f"http://me:wrong-c4nary@{host}/data").list())
    assert "c4nary" not in f"{caught.value} {caught.value.__cause__}"


@pytest.mark.parametrize("options", [{"token": "c4nary"}, {"timeout": 3}])
def test_unknown_option(options: dict[str, object]) -> None:
    with pytest.raises(OptionError, match="takes the storage options headers, password") as caught:
        open_store("https://host/x", storage_options=options)
    assert "c4nary" not in str(caught.value)


def test_index_of_other_servers(tmp_path: Path, server: WebServer) -> None:
    (tmp_path / "data" / "index.html").write_text(
        '<a href="?C=N;O=D">Name</a> <a href="/">Up</a> <a href="../">..</a> <a name="x">'
        f'<a href="./x.csv">x</a> <a href="{server.url}/data/y.csv">y</a> <a href="gone.csv">g</a>'
        '<a href="http://127.0.0.1:1/data/z.csv">z</a> <a href="sub/deep.csv">d</a>'
        '<A HREF="a%20b.csv">ab</A>',
        "utf-8",
    )
    for name in ("y.csv", "a b.csv"):
        (tmp_path / "data" / name).write_bytes(b"1")
    found = [(info.key, info.size_bytes) for info in open_store(f"{server.url}/data").list()]
    assert found == [("a b.csv", 1), ("x.csv", len(DATA)), ("y.csv", 1)]


def test_root_that_is_no_index(server: WebServer, tmp_path: Path) -> None:
    (tmp_path / "data" / "index.html").write_bytes(b"x")
    assert list(open_store(f"{server.url}/data").list()) == []
    with pytest.raises(BackupNotFoundError):
        list(open_store(f"{server.url}/data/x.csv").list())


def test_damaged_archive(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.csv", DATA)
    packed = bytearray(path.read_bytes())
    packed[500_000] ^= 1
    path.write_bytes(packed)
    store = open_store(f"zip://{path}")
    with store.open("x.csv") as stream, pytest.raises(StoreError, match="BadZipFile"):
        stream.read()
    path.write_bytes(packed[:-100])
    with pytest.raises(StoreError, match="BadZipFile"):
        list(store.list())


def test_odd_entries(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("../out.csv", "/root.csv", "folder/", "a//b.csv", "good.csv"):
            archive.writestr(name, b"1" if name != "folder/" else b"")
        link = zipfile.ZipInfo("link.csv")
        link.create_system = 3
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, b"good.csv")
    store = open_store(f"zip://{path}")
    assert [info.key for info in store.list()] == ["good.csv"]
    names = ("../out.csv", "/root.csv", "a//b.csv")
    assert [record.getMessage() for record in caplog.records] == [
        *(f'left out, as it is no relative path: "{name}"' for name in names),
        'link not followed: "link.csv"',
    ]
    for key in ("link.csv", "../out.csv", "folder"):
        with pytest.raises(BackupNotFoundError):
            store.open(key)


@pytest.mark.parametrize(
    ("offset", "value", "message"),
    [
        (8, 0x1, r'x\.csv" is encrypted'),
        (10, 9, r'x\.csv" is packed by a method that is not known: 9'),
        (10, 99, "method that is not known: 99"),
    ],
)
def test_entries_that_cannot_be_unpacked(
    tmp_path: Path, offset: int, value: int, message: str
) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.csv", DATA)
    packed = bytearray((tmp_path / "x.zip").read_bytes())
    packed[packed.rindex(b"PK\1\2") + offset] = value
    (tmp_path / "x.zip").write_bytes(packed)
    with pytest.raises(StoreError, match=message) as caught:
        open_store(f"zip://{tmp_path}/x.zip").open("x.csv")
    assert caught.value.hint


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_methods(tmp_path: Path, method: int) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w", method) as archive:
        archive.writestr("x.csv", DATA)
    with open_store(f"zip://{tmp_path}/x.zip").open("x.csv", 7) as stream:
        assert stream.read() == DATA[7:]


def test_archive_in_an_archive(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="an archive in an archive is not read"):
        open_store(f"zip://::zip://in.zip::file://{tmp_path}/x.zip")


def test_archive_takes_no_options(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="takes no storage options, got 1"):
        open_store(f"zip://{tmp_path}/x.zip", storage_options={"mode": "w"})
