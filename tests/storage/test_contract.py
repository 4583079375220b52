from __future__ import annotations

import itertools
import logging
import os
import sys
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import known_implementations

from pgvector_restore.errors import (
    BackupExistsError,
    BackupNotFoundError,
    MissingExtraError,
    OptionError,
    StoreError,
)
from pgvector_restore.storage import DEFAULT_LAYOUT, BackupStore, Layout, WritableStore, open_store
from pgvector_restore.testing import BackupStoreTests, WritableStoreTests

_numbers = itertools.count(1)
_posix = pytest.mark.skipif(sys.platform == "win32", reason="needs links and pipes")


class LocalFolder(BackupStoreTests):
    """Hooks of stores over a folder of this machine."""

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.tmp = tmp_path

    def address(self, folder: Path) -> str:
        return str(folder)

    def make_store(self, objects: dict[str, bytes]) -> BackupStore:
        self.root = self.tmp / f"root{next(_numbers)}"
        self.root.mkdir()
        store = open_store(self.address(self.root))
        for key, data in objects.items():
            self.write(key, data)
        return store

    def make_missing(self) -> BackupStore:
        return open_store(self.address(self.tmp / "missing"))

    def write(self, key: str, data: bytes) -> Path:
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def replace(self, store: BackupStore, key: str, data: bytes) -> None:  # noqa: ARG002
        later = time.time() + next(_numbers)  # file systems' clocks tick in milliseconds
        os.utime(self.write(key, data), (later, later))


class TestLocalPath(LocalFolder, WritableStoreTests):
    pass


class TestFileUrl(LocalFolder, WritableStoreTests):
    def address(self, folder: Path) -> str:
        return folder.as_uri()


class TestMemory(WritableStoreTests):
    address = "memory://"

    def make_store(self, objects: dict[str, bytes]) -> BackupStore:
        self.root = f"/root{next(_numbers)}"
        fs = MemoryFileSystem()
        fs.mkdir(self.root)
        for key, data in objects.items():
            fs.pipe_file(f"{self.root}/{key}", data)
        return open_store(f"{self.address}{self.root}")

    def make_missing(self) -> BackupStore:
        return open_store(f"{self.address}/missing{next(_numbers)}")

    def replace(self, store: BackupStore, key: str, data: bytes) -> None:  # noqa: ARG002
        fs = MemoryFileSystem()
        fs.pipe_file(f"{self.root}/{key}", data)
        later = datetime.now(tz=timezone.utc) + timedelta(seconds=next(_numbers))
        fs.store[f"{self.root}/{key}"].created = later


class _PlainFileSystem(fsspec.AbstractFileSystem):  # type: ignore[misc]  # fsspec has no types
    """As most of fsspec's file systems are: ``ls`` and ``_open``, the rest inherited."""

    protocol = "plain"
    cachable = False

    def ls(self, path: str, detail: bool = True, **_: object) -> list[object]:  # noqa: FBT001, FBT002
        path = self._strip_protocol(path)
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", path)
        if path not in self.dircache:
            self.dircache[path] = fsspec.filesystem("file").ls(path, detail=True)
        found = self.dircache[path]
        return list(found) if detail else [info["name"] for info in found]

    def invalidate_cache(self, path: str | None = None) -> None:
        assert path is None
        self.dircache.clear()

    def info(self, path: str, **_: object) -> object:
        return fsspec.filesystem("file").info(self._strip_protocol(path))

    def _open(self, path: str, mode: str = "rb", **_: object) -> object:
        return Path(path).open(mode)


fsspec.register_implementation("plain", _PlainFileSystem, clobber=True)


class TestFolderByFolder(LocalFolder):
    def address(self, folder: Path) -> str:
        return f"plain://{folder}"

    def test_unreadable_folder_is_not_passed_over(self) -> None:
        store = self.make_store({"a.txt": b"", "locked/x.txt": b""})
        with pytest.raises(StoreError, match="locked"):
            list(store.list())


def _keys(store: BackupStore) -> list[str]:
    return [info.key for info in store.list()]


def test_relative_path_stays_with_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x.csv").touch()
    monkeypatch.chdir(tmp_path)
    store = open_store("data")
    monkeypatch.chdir(tmp_path.parent)
    assert _keys(store) == ["x.csv"]
    assert store.url == "./data"


def test_path_objects_are_local(tmp_path: Path) -> None:
    (tmp_path / "x.csv").touch()
    assert _keys(open_store(tmp_path)) == ["x.csv"]


def test_tilde_is_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("~").mkdir()
    (tmp_path / "~" / "x.csv").touch()
    assert _keys(open_store("~")) == ["x.csv"]


@pytest.mark.parametrize("scheme", ["", "memory://"])
def test_root_that_is_a_file(tmp_path: Path, scheme: str) -> None:
    path = tmp_path / "x.csv"
    path.touch()
    MemoryFileSystem().pipe_file(str(path), b"x")
    with pytest.raises(StoreError, match="is a file, not a folder") as caught:
        list(open_store(f"{scheme}{path}").list())
    assert caught.value.hint
    assert not isinstance(caught.value, BackupNotFoundError)


@_posix
def test_links(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root, outside = tmp_path / "root", tmp_path / "root2"
    (root / "vector_bak").mkdir(parents=True)
    outside.mkdir()
    (outside / "secret.csv").write_bytes(b"secret")
    (root / "real.csv").write_bytes(b"12345")
    (root / "vector_bak" / "good.csv").symlink_to("../real.csv")
    (root / "vector_bak" / "out.csv").symlink_to(outside / "secret.csv")
    (root / "vector_bak" / "dangling.csv").symlink_to("nothing")
    (root / "vector_bak" / "circle.csv").symlink_to("circle.csv")
    (root / "vector_bak" / "new\nline.csv").symlink_to("nothing")
    (root / "folder_out").symlink_to(outside)
    (root / "folder_in").symlink_to("vector_bak")
    store = open_store(root)
    with caplog.at_level(logging.WARNING):
        listed = {info.key: info.size_bytes for info in store.list()}
    assert listed == {"real.csv": 5, "vector_bak/good.csv": 5}
    names = ["folder_in", "folder_out"]
    names += [f"vector_bak/{n}.csv" for n in ("circle", "dangling", r"new\nline", "out")]
    assert [r.getMessage() for r in caplog.records] == [f'link not followed: "{n}"' for n in names]
    with store.open("vector_bak/good.csv") as stream:
        assert stream.read() == b"12345"
    for key in ("vector_bak/out.csv", "folder_out/secret.csv", "folder_in/good.csv"):
        with pytest.raises(BackupNotFoundError):
            store.open(key)
    assert list(store.list("folder_out/")) == []


@_posix
def test_root_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "x.csv").write_bytes(b"1")
    (tmp_path / "link").symlink_to("real")
    store = open_store(tmp_path / "link")
    assert _keys(store) == ["x.csv"]
    with store.open("x.csv") as stream:
        assert stream.read() == b"1"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipe_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    store = open_store(tmp_path)
    assert _keys(store) == []
    with pytest.raises(BackupNotFoundError):
        store.open("pipe.csv")


@_posix
def test_odd_names_are_listed_or_left_out(tmp_path: Path) -> None:
    for name in (b"back\\slash", b"esc\x1b[31m", b"\xff", b"new\nline", b"~"):
        Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name))).touch()  # noqa: PTH118
    store = open_store(tmp_path)
    assert _keys(store) == ["esc\x1b[31m", "new\nline", "~", "\udcff"]
    with store.open("\udcff") as stream:
        assert stream.read() == b""


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read all")
def test_unreadable_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0)
    with pytest.raises(StoreError, match="locked"):
        list(open_store(tmp_path).list())


def test_error_while_reading_is_ours(tmp_path: Path) -> None:
    class Broken(_PlainFileSystem):
        protocol = "broken"

        def _open(self, path: str, mode: str = "rb", **_: object) -> object:
            assert mode == "rb"
            return os.fdopen(os.open(path, os.O_WRONLY), "wb", buffering=0)  # cannot be read from

    fsspec.register_implementation("broken", Broken, clobber=True)
    (tmp_path / "x.csv").write_bytes(b"1")
    with (
        open_store(f"broken://{tmp_path}").open("x.csv") as stream,
        pytest.raises(StoreError, match=r"cannot read .*x\.csv") as caught,
    ):
        stream.read(1)
    assert caught.value.__cause__ is not None


def test_file_system_of_which_nothing_is_known_is_not_written(tmp_path: Path) -> None:
    (tmp_path / "x.csv").touch()
    store = open_store(f"plain://{tmp_path}")
    assert isinstance(store, WritableStore)
    reason = "nothing is known of writing whole files to this storage"
    assert store.read_only_reason == reason
    with pytest.raises(OptionError, match=f"is read-only: {reason}"), store.create("a.csv"):
        pytest.fail("the block must not run")
    with pytest.raises(OptionError, match="is read-only"):
        store.delete("x.csv")
    assert _keys(store) == ["x.csv"]


def test_memory_is_written_beside_and_renamed() -> None:
    store = open_store(f"memory://writing{next(_numbers)}")
    assert isinstance(store, WritableStore)
    with store.create("a.csv") as stream:
        stream.write(b"1")
        assert _keys(store) == ["a.csv.tmp"]
        with pytest.raises(BackupExistsError, match="is being written"), store.create("a.csv"):
            pytest.fail("the block must not run")
    assert _keys(store) == ["a.csv"]


def test_unknown_protocol() -> None:
    with pytest.raises(OptionError, match='unknown protocol "nosuch"') as caught:
        open_store("nosuch://key:canary@x/y")
    assert "available_protocols" in str(caught.value.hint)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "what"), [("s3://", "bucket"), ("gs:///", "bucket"), ("az://?x=canary", "container")]
)
def test_url_without_a_bucket(url: str, what: str) -> None:
    with pytest.raises(OptionError, match=f"no {what} in ") as caught:
        open_store(url, storage_options={"key": "canary"})
    assert "canary" not in str(caught.value)


def test_missing_package() -> None:
    known_implementations["needsmore"] = {"class": "no_such_package.Fs", "err": "Install more"}
    with pytest.raises(MissingExtraError, match="not installed") as caught:
        open_store("needsmore://x")
    assert caught.value.hint == "Install more"


def test_secrets_are_not_shown() -> None:
    store = open_store("memory://user:canary@x/y?token=canary", storage_options={"k": "canary"})
    assert store.url == "memory://x/y"
    assert "canary" not in f"{store!r} {store} {store.url}"
    with pytest.raises(BackupNotFoundError) as caught:
        list(store.list())
    assert "canary" not in str(caught.value)


def test_open_store_options(tmp_path: Path) -> None:
    layout = Layout(suffix=".txt")
    store = open_store(tmp_path, layout=layout)
    assert store.layout is layout
    assert open_store(store) is store
    assert open_store(store, layout=layout) is store
    assert open_store(tmp_path).layout is DEFAULT_LAYOUT
    with pytest.raises(OptionError):
        open_store(store, layout=Layout(suffix=".dat"))
    with pytest.raises(OptionError):
        open_store(tmp_path, storage_options={"key": "x"})
    with pytest.raises(OptionError):
        open_store("")


def test_options_the_file_system_does_not_take() -> None:
    class Strict(_PlainFileSystem):
        protocol = "strict"

        def __init__(self) -> None:
            super().__init__()

    fsspec.register_implementation("strict", Strict, clobber=True)
    with pytest.raises(OptionError, match="refuses its options") as caught:
        open_store("strict:///x", storage_options={"token": "canary"})
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(("start", "end"), [(-1, None), (5, 4)])
@pytest.mark.parametrize("scheme", ["", "memory://"])
def test_backward_range(tmp_path: Path, scheme: str, start: int, end: int | None) -> None:
    with pytest.raises(OptionError):
        open_store(f"{scheme}{tmp_path}").open("x.csv", start, end)
