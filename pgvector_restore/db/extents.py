"""Stretches of a table, by pages: what one connection reads of it."""

from __future__ import annotations

from attrs import frozen
from psycopg import sql

__all__ = ["Extent", "cut_pages", "where"]


@frozen
class Extent:
    """A stretch of a table, by pages."""

    #: First page.
    first: int
    #: Page after the last one; ``None``: to the end of the table.
    end: int | None


def cut_pages(pages: int, size_bytes: int, extent_bytes: int) -> tuple[Extent | None, ...]:
    """Stretches of a table of about so many bytes, in order; the last one goes to its end.

    >>> cut_pages(5, 100, 40)
    (Extent(first=0, end=2), Extent(first=2, end=4), Extent(first=4, end=None))
    >>> cut_pages(0, 100, 40)
    (None,)
    """
    count = min(pages, -(-size_bytes // extent_bytes))
    if count < 2:  # noqa: PLR2004 - one stretch is the whole table
        return (None,)
    step = -(-pages // count)
    starts = range(0, pages, step)
    return tuple(Extent(at, at + step if at + step < pages else None) for at in starts)


def where(extent: Extent | None) -> sql.Composable:
    """A condition that the server answers by a TID range scan, which reads no other pages."""
    if extent is None or (extent.first == 0 and extent.end is None):
        return sql.SQL("")
    condition = sql.SQL(" WHERE ctid >= {}::tid").format(sql.Literal(f"({extent.first},0)"))
    if extent.end is None:
        return condition
    return condition + sql.SQL(" AND ctid < {}::tid").format(sql.Literal(f"({extent.end},0)"))
