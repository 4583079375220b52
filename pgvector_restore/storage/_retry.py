"""A store that tries again: listing, opening and reading, which change nothing."""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from itertools import islice
from typing import TYPE_CHECKING, BinaryIO, cast

from pgvector_restore.backoff import pauses
from pgvector_restore.errors import BackupNotFoundError, StoreError, quoted
from pgvector_restore.model import ObjectInfo
from pgvector_restore.storage._archive import size_of
from pgvector_restore.storage._guard import is_refusal
from pgvector_restore.storage._reading import check_same, version_of
from pgvector_restore.storage._wrapping import WrappingStore
from pgvector_restore.storage.base import BackupStore
from pgvector_restore.storage.writing import WritableStore

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["RetryingStore", "RetryingWritableStore", "retrying"]

_log = logging.getLogger(__name__)

#: Failures in a row, without anything having come in between, after which it is given up; and
#: seconds between attempts: about 5 s together.
_FAILURES, _FIRST_PAUSE_S, _LONGEST_PAUSE_S = 5, 0.2, 3.0

#: Seconds that a storage may ask to be left alone for; after those it is asked all the same.
_LONGEST_WISH_S = 30.0

#: What another attempt does not mend, as rights: calls that the storage does not understand.
_FINAL = (NotImplementedError, TypeError, ValueError, LookupError)


class RetryingStore(WrappingStore):
    """Another store, whose passing failures are not noticed.

    A listing that breaks off goes on after the last key that came, a read at the byte it had got
    to. Whether the object was replaced meanwhile is for the reader to check, as always.

    Args:
        inner: The store.
    """

    def list(self, prefix: str = "", *, max_depth: int | None = None) -> Iterator[ObjectInfo]:
        """See :meth:`BackupStore.list`."""
        return self._listed(lambda: self._inner.list(prefix, max_depth=max_depth))

    def candidates(self, prefix: str = "", *, max_depth: int | None = None) -> Iterator[ObjectInfo]:
        """See :meth:`BackupStore.candidates`."""
        return self._listed(lambda: self._inner.candidates(prefix, max_depth=max_depth))

    def _listed(self, listing: Callable[[], Iterator[ObjectInfo]]) -> Iterator[ObjectInfo]:
        last = ""
        budget = _Budget(self.url)
        while True:
            try:
                for info in listing():
                    if info.key > last:
                        last = info.key
                        budget.renew()
                        yield info
            except StoreError as exc:  # noqa: PERF203 - it waits before the next round
                budget.spend(exc)
            else:
                return

    def open(self, key: str, start: int = 0, end: int | None = None) -> BinaryIO:
        """See :meth:`BackupStore.open`."""
        stream = _ResumingStream(self._inner, key, start, end)
        return cast("BinaryIO", io.BufferedReader(stream))

    def size_of(self, key: str) -> int:
        """See :class:`Sized`."""
        budget = _Budget(key)
        while True:
            try:
                return size_of(self._inner, key)
            except StoreError as exc:  # noqa: PERF203 - it waits before the next round
                budget.spend(exc)


class RetryingWritableStore(RetryingStore, WritableStore):
    """The same for a store that can be written.

    What is written comes from a database or another store, once: a ``create`` that fails is not
    begun again. A ``delete`` is, and what has gone after a failure is taken as deleted by it.

    Args:
        inner: The store.
    """

    def __init__(self, inner: WritableStore) -> None:
        super().__init__(inner)
        self._writable = inner

    @property
    def read_only_reason(self) -> str | None:
        """See :attr:`WritableStore.read_only_reason`."""
        return self._writable.read_only_reason

    def create(self, key: str, *, replace: bool = False) -> AbstractContextManager[BinaryIO]:
        """See :meth:`WritableStore.create`."""
        return self._writable.create(key, replace=replace)

    def delete(self, key: str) -> None:
        """See :meth:`WritableStore.delete`."""
        budget = _Budget(key)
        failed = False
        while True:
            try:
                return self._writable.delete(key)
            except BackupNotFoundError:  # noqa: PERF203 - it waits before the next round
                if not failed:
                    raise
                return None
            except StoreError as exc:
                budget.spend(exc)
                failed = True


def retrying(store: BackupStore) -> BackupStore:
    """The store, tried again; one that can be written stays so."""
    if isinstance(store, WritableStore):
        return RetryingWritableStore(store)
    return RetryingStore(store)


class _Budget:
    """Failures that are still allowed."""

    def __init__(self, what: str) -> None:
        self._what = what
        self.renew()

    def renew(self) -> None:
        """Something has come."""
        self._left = islice(pauses(_FIRST_PAUSE_S, _LONGEST_PAUSE_S), _FAILURES - 1)

    def spend(self, exc: StoreError) -> None:
        """Wait before the next attempt, or raise what the last one ended in."""
        pause = None if _is_final(exc) else next(self._left, None)
        if pause is None:
            raise exc
        pause = max(pause, min(_wished(exc), _LONGEST_WISH_S))
        _log.info("%s: trying again in %.1f s: %s", self._what, pause, exc)
        _wait(pause)


_wait = time.sleep


def _wished(exc: StoreError) -> float:
    """Seconds before another attempt that the storage itself has named."""
    return float(getattr(exc.__cause__, "retry_after_s", 0.0))


def _is_final(exc: StoreError) -> bool:
    # Subclasses say something certain: not there, incomplete, replaced.
    cause = exc.__cause__
    return type(exc) is not StoreError or isinstance(cause, _FINAL) or is_refusal(cause)


class _ResumingStream(io.RawIOBase):
    """A range of an object; opened at once, and again where a read has failed."""

    def __init__(self, store: BackupStore, key: str, start: int, end: int | None) -> None:
        super().__init__()
        self._store = store
        self._key = key
        self._at = start
        self._end = end
        self._budget = _Budget(key)
        self._source: BinaryIO | None = None
        #: Which object it is, if the storage tells.
        self.version: str | None = None
        while self._source is None:
            self._open()

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """One read of the object."""
        while True:
            if self._source is None:
                self._open()
                continue
            try:
                # At most one read of the storage: nothing of what has come is lost with an error.
                count = cast("io.BufferedReader", self._source).readinto1(buffer)
            except StoreError as exc:
                self._release()
                self._budget.spend(exc)
                continue
            if count:
                self._budget.renew()
            self._at += count
            return count

    def close(self) -> None:
        """Close the object; harmless when it is."""
        if not self.closed:
            super().close()
            self._release()

    def _open(self) -> None:
        try:
            self._source = self._store.open(self._key, self._at, self._end)
        except StoreError as exc:
            self._budget.spend(exc)
            return
        version = version_of(self._source)
        check_same(self.version, version, quoted(self._key))
        self.version = version

    def _release(self) -> None:
        source, self._source = self._source, None
        if source is not None:
            try:
                source.close()
            except StoreError as exc:
                _log.info("closing %s failed: %s", self._key, exc)
