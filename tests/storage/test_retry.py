"""Stores that fail now and then: what is read is the same, or it is an error after all."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgvector_restore.errors import BackupInUseError, BackupNotFoundError, OptionError, StoreError
from pgvector_restore.model import ObjectInfo
from pgvector_restore.storage import BackupStore, WritableStore, _retry, open_store
from pgvector_restore.storage._retry import RetryingStore, retrying
from pgvector_restore.storage.writing import ReadOnlyStore
from pgvector_restore.testing import WritableStoreTests
from tests.sets import write_set
from tests.storage.test_contract import LocalFolder

_DATA = bytes(range(256)) * 40


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_retry, "_FIRST_PAUSE_S", 0.0)


class Failing(BackupStore):
    """Another store, each call of which may fail, as may each read.

    Args:
        inner: The store.
        fails: Asked before each step, and after the last byte or key of one.
        cause: What the storage itself raises.
    """

    def __init__(self, inner: BackupStore, fails: Iterator[bool], cause: type[Exception]) -> None:
        self.layout = inner.layout
        self._inner = inner
        self._fails = fails
        self._cause = cause

    @property
    def url(self) -> str:
        return self._inner.url

    def step(self) -> None:
        if next(self._fails, False):
            raise StoreError("the storage is out of reach") from self._cause("gone")

    def list(self, prefix: str = "", *, max_depth: int | None = None) -> Iterator[ObjectInfo]:
        self.step()
        for info in self._inner.list(prefix, max_depth=max_depth):
            yield info
            self.step()

    def open(self, key: str, start: int = 0, end: int | None = None) -> BinaryIO:
        self.step()
        return cast(
            "BinaryIO", io.BufferedReader(_Stream(self, self._inner.open(key, start, end)), 64)
        )


class _Stream(io.RawIOBase):
    def __init__(self, store: Failing, source: BinaryIO) -> None:
        super().__init__()
        self._store = store
        self._source = source

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        self._store.step()
        data = self._source.read(min(len(memoryview(buffer)), 50))
        memoryview(buffer)[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._source.close()
        super().close()


class NowAndThen(Iterator[bool]):
    """Steps 1, 2, 4, 8 … fail: a listing that starts anew gets further each time."""

    def __init__(self) -> None:
        self._steps = 0

    def __next__(self) -> bool:
        self._steps += 1
        return self._steps & (self._steps - 1) == 0


class TestWhereStepsFailNowAndThen(LocalFolder):
    def make_store(self, objects: dict[str, bytes]) -> BackupStore:
        return RetryingStore(Failing(super().make_store(objects), NowAndThen(), ConnectionError))


class TestWhereNothingFails(LocalFolder):
    def make_store(self, objects: dict[str, bytes]) -> BackupStore:
        return RetryingStore(super().make_store(objects))


def stored(root: Path) -> BackupStore:
    root.mkdir(exist_ok=True)
    for name in ("a.csv", "b.csv", "c.csv"):
        (root / name).write_bytes(_DATA)
    return open_store(root)


@settings(max_examples=60)
@given(
    fails=st.lists(st.booleans(), max_size=60), start=st.integers(0, 100), size=st.integers(0, 9000)
)
def test_what_comes_is_the_same_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, fails: list[bool], start: int, size: int
) -> None:
    inner = stored(tmp_path_factory.getbasetemp() / "retry")
    store = RetryingStore(Failing(inner, iter(fails), TimeoutError))
    found: Any = None
    try:
        keys = [info.key for info in store.list()]
        with store.open("b.csv", start, start + size) as stream:
            found = keys, stream.read()
    except StoreError as exc:
        found = type(exc.__cause__)
    if found is TimeoutError:
        assert sum(fails) >= _retry._FAILURES
    else:
        assert found == (["a.csv", "b.csv", "c.csv"], _DATA[start : start + size])


@pytest.mark.parametrize("cause", [PermissionError, NotImplementedError, TypeError])
def test_what_cannot_get_better_is_not_tried_again(tmp_path: Path, cause: type[Exception]) -> None:
    asked = 0

    def fails() -> Iterator[bool]:
        nonlocal asked
        while True:
            asked += 1
            yield True

    store = RetryingStore(Failing(stored(tmp_path), fails(), cause))
    with pytest.raises(StoreError):
        list(store.list())
    with pytest.raises(StoreError):
        store.open("a.csv")
    assert asked == 2


def test_what_is_not_there_is_asked_for_once(tmp_path: Path) -> None:
    with pytest.raises(BackupNotFoundError):
        RetryingStore(stored(tmp_path)).open("d.csv")


def test_it_is_the_store_it_wraps_to_others(tmp_path: Path) -> None:
    inner = stored(tmp_path)
    store = RetryingStore(inner)
    assert (store.url, repr(store)) == (inner.url, repr(inner))
    copy = pickle.loads(pickle.dumps(store))  # noqa: S301 - our own
    assert [info.key for info in copy.list()] == ["a.csv", "b.csv", "c.csv"]


def test_a_store_that_cannot_be_written_stays_one(tmp_path: Path) -> None:
    inner = stored(tmp_path)
    assert isinstance(retrying(inner), WritableStore)
    assert not isinstance(retrying(Failing(inner, iter(()), OSError)), WritableStore)


class TestWriting(LocalFolder, WritableStoreTests):
    def make_store(self, objects: dict[str, bytes]) -> BackupStore:
        return retrying(super().make_store(objects))

    def make_missing(self) -> BackupStore:
        return retrying(super().make_missing())


class FailingDelete(ReadOnlyStore):
    """A store whose answers to deletions are lost.

    Args:
        inner: The store.
        fails: For each deletion, whether it is made (``"after"``), or not (``"before"``), before
            the storage is out of reach; ``""``: it is in reach.
    """

    def __init__(self, inner: WritableStore, fails: list[str]) -> None:
        self.layout = inner.layout
        self.fails = fails
        self._inner = inner

    @property
    def url(self) -> str:
        return self._inner.url

    @property
    def read_only_reason(self) -> str:
        return "it is tried"

    def list(self, prefix: str = "", *, max_depth: int | None = None) -> Iterator[ObjectInfo]:
        return self._inner.list(prefix, max_depth=max_depth)

    def open(self, key: str, start: int = 0, end: int | None = None) -> BinaryIO:
        return self._inner.open(key, start, end)

    def delete(self, key: str) -> Any:
        fails = self.fails.pop(0)
        if fails != "before":
            self._inner.delete(key)
        if fails:
            raise StoreError("the storage is out of reach") from TimeoutError()


@pytest.mark.parametrize("fails", [["before", ""], ["after", ""], ["before", "after", ""]])
def test_delete_is_tried_again(tmp_path: Path, fails: list[str]) -> None:
    inner = stored(tmp_path)
    assert isinstance(inner, WritableStore)
    store = retrying(FailingDelete(inner, fails))
    assert isinstance(store, WritableStore)
    store.delete("a.csv")
    assert [info.key for info in store.list()] == ["b.csv", "c.csv"]
    assert fails == []


def test_delete_of_nothing_is_no_success(tmp_path: Path) -> None:
    inner = stored(tmp_path)
    assert isinstance(inner, WritableStore)
    store = retrying(FailingDelete(inner, [""]))
    assert isinstance(store, WritableStore)
    with pytest.raises(BackupNotFoundError):
        store.delete("none.csv")


def test_delete_is_given_up(tmp_path: Path) -> None:
    inner = stored(tmp_path)
    assert isinstance(inner, WritableStore)
    fails = ["before"] * 9
    store = retrying(FailingDelete(inner, fails))
    assert isinstance(store, WritableStore)
    with pytest.raises(StoreError, match="out of reach"):
        store.delete("a.csv")
    assert len(fails) == 9 - _retry._FAILURES


def test_why_it_is_read_only_is_passed_on(tmp_path: Path) -> None:
    inner = stored(tmp_path)
    assert isinstance(inner, WritableStore)
    store = retrying(FailingDelete(inner, []))
    assert isinstance(store, WritableStore)
    assert store.read_only_reason == "it is tried"
    with pytest.raises(OptionError, match="is read-only: it is tried"):
        store.create("x.csv")


def test_a_set_is_held_by_the_store_itself(tmp_path: Path) -> None:
    inner = open_store(write_set(tmp_path))
    store = retrying(inner)
    backup = store.catalog().latest()
    with (
        inner.hold(backup),
        pytest.raises(BackupInUseError, match="is being read or removed"),
        store.hold(backup, alone=True),
    ):
        pytest.fail("the block must not run")
