"""Stores around another store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import BinaryIO

from pgvector_restore.model import BackupSet, ObjectInfo
from pgvector_restore.storage.base import BackupStore

__all__ = ["WrappingStore"]


class WrappingStore(BackupStore):
    """Another store as it is; subclasses change what they are for.

    Args:
        inner: The store.
    """

    def __init__(self, inner: BackupStore) -> None:
        self._inner = inner
        self.layout = inner.layout
        self.is_shared = inner.is_shared
        self.is_local = inner.is_local

    def __repr__(self) -> str:
        return repr(self._inner)

    @property
    def url(self) -> str:
        """See :attr:`BackupStore.url`."""
        return self._inner.url

    @property
    def address(self) -> str:
        """See :attr:`BackupStore.address`."""
        return self._inner.address

    def list(self, prefix: str = "", *, max_depth: int | None = None) -> Iterator[ObjectInfo]:
        """See :meth:`BackupStore.list`."""
        return self._inner.list(prefix, max_depth=max_depth)

    def candidates(self, prefix: str = "", *, max_depth: int | None = None) -> Iterator[ObjectInfo]:
        """See :meth:`BackupStore.candidates`."""
        return self._inner.candidates(prefix, max_depth=max_depth)

    def open(self, key: str, start: int = 0, end: int | None = None) -> BinaryIO:
        """See :meth:`BackupStore.open`."""
        return self._inner.open(key, start, end)

    def hold(self, backup: BackupSet, *, alone: bool = False) -> AbstractContextManager[None]:
        """See :meth:`BackupStore.hold`."""
        return self._inner.hold(backup, alone=alone)
