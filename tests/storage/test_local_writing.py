"""Writing into a folder: whole or not at all, and nowhere else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pgvector_restore.errors import (
    BackupExistsError,
    BackupInUseError,
    BackupNotFoundError,
    OptionError,
    StoreError,
)
from pgvector_restore.storage import WritableStore, open_store


@pytest.fixture
def store(tmp_path: Path) -> WritableStore:
    opened = open_store(str(tmp_path / "root"))
    assert isinstance(opened, WritableStore)
    assert opened.read_only_reason is None
    return opened


def _keys(store: WritableStore) -> list[str]:
    return [info.key for info in store.list()]


def _fail_while_writing(store: WritableStore, key: str, *, replace: bool) -> None:
    def write() -> None:
        with store.create(key, replace=replace) as stream:
            stream.write(b"x")
            raise KeyError

    with pytest.raises(KeyError):
        write()


def test_there_when_the_block_ends(store: WritableStore) -> None:
    with store.create("a/b/c.csv") as stream:
        stream.write(b"x" * 1000)
        stream.write(memoryview(b"y"))
        assert _keys(store) == ["a/b/c.csv.tmp"]
    assert _keys(store) == ["a/b/c.csv"]
    assert store.open("a/b/c.csv").read() == b"x" * 1000 + b"y"


def test_nothing_after_an_error(store: WritableStore) -> None:
    _fail_while_writing(store, "a.csv", replace=False)
    assert _keys(store) == []


def test_old_one_after_an_error(store: WritableStore) -> None:
    with store.create("log.txt") as stream:
        stream.write(b"old")
    _fail_while_writing(store, "log.txt", replace=True)
    assert store.open("log.txt").read() == b"old"
    with store.create("log.txt", replace=True) as stream:
        stream.write(b"new")
    assert store.open("log.txt").read() == b"new"
    assert _keys(store) == ["log.txt"]


def test_what_is_there_is_not_replaced_unasked(store: WritableStore) -> None:
    with store.create("a.csv") as stream:
        stream.write(b"old")
    with pytest.raises(BackupExistsError, match="is there already"), store.create("a.csv"):
        pytest.fail("the block must not run")
    with store.create("b.csv"), pytest.raises(BackupExistsError, match="is being written"):  # noqa: SIM117
        with store.create("b.csv"):
            pytest.fail("the block must not run")
    assert _keys(store) == ["a.csv", "b.csv"]


def test_what_came_meanwhile_is_not_replaced(store: WritableStore, tmp_path: Path) -> None:
    writing = store.create("a.csv")
    writing.__enter__().write(b"ours")
    (tmp_path / "root" / "a.csv").write_bytes(b"theirs")
    with pytest.raises(BackupExistsError, match="is there already"):
        writing.__exit__(None, None, None)
    assert store.open("a.csv").read() == b"theirs"
    assert _keys(store) == ["a.csv"]


@pytest.mark.parametrize("key", ["", "../x", "/x", "a//b", "a/", "./a", "a\\b", "a\nb", "a\0b"])
def test_no_key(store: WritableStore, key: str) -> None:
    with pytest.raises(OptionError, match="is no key of a store"), store.create(key):
        pytest.fail("the block must not run")


def test_links_lead_nowhere(store: WritableStore, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x.csv").write_text("x")
    with store.create("a.csv"):
        pass
    (tmp_path / "root" / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="leads out of"), store.create("link/new.csv"):
        pytest.fail("the block must not run")
    with pytest.raises(BackupNotFoundError, match="leads out of"):
        store.delete("link/x.csv")
    (tmp_path / "root" / "b.csv.tmp").symlink_to(tmp_path / "elsewhere" / "x.csv")
    with pytest.raises(StoreError), store.create("b.csv", replace=True):
        pytest.fail("the block must not run")
    assert (tmp_path / "elsewhere" / "x.csv").read_text() == "x"
    assert os.listdir(tmp_path / "elsewhere") == ["x.csv"]  # noqa: PTH208 - names are enough


def test_delete(store: WritableStore) -> None:
    with store.create("a/b.csv"):
        pass
    store.delete("a/b.csv")
    assert _keys(store) == []
    for key in ("a/b.csv", "a", "none", "../a"):
        with pytest.raises(BackupNotFoundError):
            store.delete(key)


def test_no_room(store: WritableStore, tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "a").write_text("a file where a folder is needed")
    with pytest.raises(StoreError), store.create("a/b.csv"):
        pytest.fail("the block must not run")


def test_one_writer_at_a_time(store: WritableStore) -> None:
    with store.create("log.txt", replace=True) as stream:
        stream.write(b"first")
        with (
            pytest.raises(BackupInUseError, match="is being written by somebody else"),
            store.create("log.txt", replace=True),
        ):
            pytest.fail("the block must not run")
        stream.write(b" and only")
    assert store.open("log.txt").read() == b"first and only"
    with store.create("log.txt", replace=True) as stream:
        stream.write(b"second")
    assert store.open("log.txt").read() == b"second"
    assert _keys(store) == ["log.txt"]


def test_what_a_dead_writer_left(store: WritableStore, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "a.csv").write_bytes(b"finished")
    (root / "b.csv.tmp").write_bytes(b"ha")
    # Killed between the two names of a finished file.
    (root / "a.csv.tmp").hardlink_to(root / "a.csv")
    with store.create("a.csv", replace=True) as stream:
        stream.write(b"new")
        assert store.open("a.csv").read() == b"finished"
    with store.create("b.csv", replace=True) as stream:
        stream.write(b"whole")
    assert {path.name: path.read_bytes() for path in root.iterdir()} == {
        "a.csv": b"new",
        "b.csv": b"whole",
    }
