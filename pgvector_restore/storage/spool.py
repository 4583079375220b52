"""Parts of a remote object in temporary files: fetched once, then read by other processes."""

from __future__ import annotations

import io
import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, cast

from pgvector_restore.storage._guard import GuardedStream, check_key, check_range
from pgvector_restore.storage._scratch import ScratchFolder
from pgvector_restore.storage._wrapping import WrappingStore
from pgvector_restore.storage.base import BackupStore

__all__ = ["PartStore", "Spool"]

_log = logging.getLogger(__name__)


class PartStore(WrappingStore):
    """Another store, and a copy on this machine of one part of one of its objects.

    The part is read from the copy, or from the store where the copy has gone. It can be pickled if
    the store can.

    Args:
        inner: The store.
        key: The object.
        start: First byte of the part.
        end: Byte after its last one; ``None``: it is the object's last part.
        copy: Path of the copy.
    """

    def __init__(
        self, inner: BackupStore, key: str, start: int, end: int | None, copy: str
    ) -> None:
        super().__init__(inner)
        self._part = (key, start, end)
        self._copy = copy

    def open(self, key: str, start: int = 0, end: int | None = None) -> BinaryIO:
        """See :meth:`BackupStore.open`."""
        check_key(key)
        check_range(start, end)
        if (key, start, end) == self._part:
            try:
                copy = Path(self._copy).open("rb", buffering=0)  # noqa: SIM115 - the caller's
            except OSError as exc:
                _log.info("a part of %s is fetched again: %s", key, exc)
            else:
                stream = GuardedStream(copy, None, f"the temporary copy of {key}")
                return cast("BinaryIO", io.BufferedReader(stream))
        return super().open(key, start, end)

    def remove(self) -> None:
        """Remove the copy: nobody will read the part again."""
        try:
            os.unlink(self._copy)  # noqa: PTH108 - no Path is needed for it
        except OSError as exc:  # it goes with its folder
            _log.debug("a temporary copy is left for later: %s", exc)


class Spool:
    """Keeps copies of an object's parts while it is read from its beginning to its end.

    Where there is no room for copies, parts are fetched a second time instead. Use it as a context
    manager; all copies go with it.

    Args:
        store: Where the object lies.
        key: The object.
        folder: Where temporary files go; ``None``: the system's place for them.
    """

    def __init__(self, store: BackupStore, key: str, folder: str | None = None) -> None:
        self._store = store
        self._key = key
        # Where the copy that is written begins, and how far the object has been read.
        self._start = self._at = 0
        self._last = b""
        self._file: BinaryIO | None = None
        self._place: ScratchFolder | None = None
        try:
            self._place = ScratchFolder(folder)
        except OSError as exc:
            self._give_up(exc)
        self._begin(0)

    def __enter__(self) -> Spool:  # noqa: PYI034 - typing.Self came with 3.11
        return self

    def __exit__(self, *_: object) -> None:
        self._end()
        if self._place is not None:
            self._place.remove()

    def add(self, block: bytes) -> None:
        """Take the next bytes of the object."""
        self._at += len(block)
        self._last = block
        self._write(block)

    def part(self, end: int | None) -> BackupStore:
        """A store that has at hand what lies between the last part and this byte.

        Args:
            end: Byte after the part's last one, within the block that was taken last; ``None``: the
                part ends with the object, which has been taken whole.
        """
        start, copy = self._start, self._file
        if copy is None:
            return self._store
        try:
            if end is not None:
                copy.truncate(end - start)
            copy.close()
        except OSError as exc:
            self._give_up(exc)
            return self._store
        self._file = None
        if end is not None:
            self._begin(end)
            self._write(self._last[end - self._at :] if end < self._at else b"")
        return PartStore(self._store, self._key, start, end, copy.name)

    def _write(self, data: bytes) -> None:
        if self._file is not None:
            try:
                self._file.write(data)
            except OSError as exc:
                self._give_up(exc)

    def _begin(self, start: int) -> None:
        self._start = start
        if self._place is not None:
            try:
                self._file = (Path(self._place.path) / str(start)).open("wb")
            except OSError as exc:
                self._give_up(exc)

    def _give_up(self, exc: OSError) -> None:
        _log.info("parts of %s are fetched twice: %s", self._key, exc)
        self._end()

    def _end(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):
                file.close()
