"""Keys as text, in the server's spelling where they are UUIDs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from uuid import UUID

from pgvector_restore.rows.fields import Field
from pgvector_restore.rows.records import Fields
from pgvector_restore.target import TargetColumn

__all__ = ["canonical_uuid", "key_values", "orphans", "records_with"]

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


def records_with(
    batches: Iterable[Fields],
    places: Sequence[int],
    keys: Collection[tuple[str, ...]],
    left_out: Collection[int],
) -> list[tuple[int, tuple[str, ...]]]:
    """Records whose cells at these places are one of the keys, with that key.

    Keys are as the server prints them; UUIDs are found in every spelling.
    """
    found = []
    for fields in batches:
        rows = zip(*(fields.columns[place] for place in places), strict=True)
        for record, cells in enumerate(rows, fields.first_record):
            if record in left_out:
                continue
            key = tuple((cell or b"").decode() for cell in cells)
            if key not in keys:
                key = tuple(canonical_uuid(text) or text for text in key)
            if key in keys:
                found.append((record, key))
    return found


def key_values(column: TargetColumn, cells: Sequence[Field]) -> Sequence[Field]:
    """Cells of a key column as they are compared: UUIDs have one spelling, and NULL is none."""
    if column.not_null and column.kind == "text":
        return [cell or b"" for cell in cells]
    if column.wire == "uuid":
        return [None if cell is None else _spelled(cell) for cell in cells]
    return cells


def _spelled(cell: bytes) -> bytes:
    return (canonical_uuid(cell.decode()) or cell.decode()).encode()
