"""Hashes of rows, added up while the rows pass by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pgvector_restore.rows.digest import ContentDigest, RowForm, digest_of, row_hash
from pgvector_restore.rows.pgcopy import BINARY_HEADER, BINARY_TRAILER

__all__ = ["RowSums"]

#: Rows whose hashes are added up at a time.
_HASHES = 1000


class RowSums:
    """The digest of rows of one form; used by one thread."""

    def __init__(self, form: RowForm) -> None:
        self._form = form
        self._found: list[bytes] = []
        self._digest = ContentDigest()

    @property
    def digest(self) -> ContentDigest:
        """The digest of all rows so far."""
        self._digest += digest_of(self._found)
        self._found = []
        return self._digest

    def add(self, row: bytes) -> None:
        """Hash a row as COPY sends it."""
        self.take(row_hash(self._form, row))

    def take(self, found: bytes) -> None:
        """Add a row's hash."""
        self._found.append(found)
        if len(self._found) >= _HASHES:
            _ = self.digest

    def of_copy(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Pass on what COPY sends in binary, and hash its rows."""
        header = len(BINARY_HEADER)
        for piece in pieces:
            row = piece[header:]
            header = 0
            if row and row != BINARY_TRAILER:
                self.add(row)
            yield piece
