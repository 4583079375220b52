"""Keys as text, in the server's spelling where they are UUIDs."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from pgvector_restore.rows.fields import Field
from pgvector_restore.target import TargetColumn

__all__ = ["canonical_uuid", "key_values", "orphans"]

#: Spellings of keys are remembered up to so many; there may be millions of one UUID.
_MAX_SPELLINGS = 400_000


def canonical_uuid(text: str) -> str | None:
    """A UUID as the server prints it, or ``None`` for what is none."""
    try:
        return str(UUID(text))
    except ValueError:
        return None


def orphans(cells: Sequence[Field], keys: set[str]) -> list[int]:
    """Indexes of cells that are none of the keys; NULL refers to nothing.

    Keys are compared as text; a spelling that is not the server's own is tried as a UUID, and
    becomes a key if it is one of them.
    """
    strangers = set()
    for cell in dict.fromkeys(cells):  # each once
        if cell is None or (key := cell.decode()) in keys:
            continue
        if canonical_uuid(key) in keys:
            if len(keys) < _MAX_SPELLINGS:
                keys.add(key)
        else:
            strangers.add(cell)
    return [i for i, cell in enumerate(cells) if cell in strangers] if strangers else []


def key_values(column: TargetColumn, cells: Sequence[Field]) -> Sequence[Field]:
    """Cells of a key column as they are compared: UUIDs have one spelling, and NULL is none."""
    if column.not_null and column.kind == "text":
        return [cell or b"" for cell in cells]
    if column.wire == "uuid":
        return [None if cell is None else _spelled(cell) for cell in cells]
    return cells


def _spelled(cell: bytes) -> bytes:
    return (canonical_uuid(cell.decode()) or cell.decode()).encode()
