"""Which rows differ: entries of both sides, matched by their key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import frozen

from pgvector_restore.verify_report import RowDifference

__all__ = ["Entry", "match_rows"]


@frozen
class Entry:
    """A row of one side, without its content."""

    #: Hash of the row.
    hashed: bytes
    #: Hashes of its cells.
    cells: tuple[bytes, ...] = ()
    #: Its key for people; empty where there is none.
    key: tuple[str, ...] = ()
    #: Record of the file.
    record: int | None = None
    #: Where it lies in the table.
    ctid: str | None = None


def match_rows(
    file: Mapping[bytes, Sequence[Entry]],
    table: Mapping[bytes, Sequence[Entry]],
    columns: Sequence[str],
) -> list[RowDifference]:
    """What is on one side only, or is not the same; the file's records first, in their order.

    Args:
        file: Rows of the file by key. Several may have the same.
        table: Rows of the table.
        columns: Names of the cells.
    """
    found = []
    for key in dict.fromkeys((*file, *table)):
        ours, theirs = _without_same(file.get(key, ()), table.get(key, ()))
        both = min(len(ours), len(theirs))
        for one, other in zip(ours[:both], theirs[:both], strict=True):
            pairs = zip(columns, one.cells, other.cells, strict=True)
            unlike = tuple(sorted(name for name, a, b in pairs if a != b))
            found.append(RowDifference("different", one.key, one.record, unlike))
        found += [RowDifference("missing", one.key, one.record) for one in ours[both:]]
        found += [RowDifference("extra", one.key, ctid=one.ctid) for one in theirs[both:]]
    return sorted(found, key=lambda one: (one.record is None, one.record or 0, one.key))


def _without_same(file: Sequence[Entry], table: Sequence[Entry]) -> tuple[list[Entry], list[Entry]]:
    """What is left when each row has met its like."""
    theirs = list(table)
    ours = []
    for entry in file:
        like = next((one for one in theirs if one.hashed == entry.hashed), None)
        if like is None:
            ours.append(entry)
        else:
            theirs.remove(like)
    return ours, theirs
