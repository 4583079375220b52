"""Rows as COPY takes them. Text form: tab-separated, one line a record, escapes by backslash."""

from __future__ import annotations

from collections.abc import Sequence

from pgvector_restore.rows.fields import Field

__all__ = ["encode_text"]


def encode_text(columns: Sequence[Sequence[Field]]) -> bytes:
    r"""Columns of equal length as ``COPY … FROM STDIN`` in its text format.

    Newlines, tabs and backslashes are escaped, so that line N of the stream is record N: the
    server names a bad line by that number.
    """
    escaped = [[_escape(cell) for cell in column] for column in columns]
    return b"".join([b"\t".join(row) + b"\n" for row in zip(*escaped, strict=True)])


def _escape(cell: Field) -> bytes:
    if cell is None:
        return b"\\N"
    if b"\\" in cell:
        cell = cell.replace(b"\\", b"\\\\")
    if b"\n" in cell:
        cell = cell.replace(b"\n", b"\\n")
    if b"\t" in cell:
        cell = cell.replace(b"\t", b"\\t")
    if b"\r" in cell:
        cell = cell.replace(b"\r", b"\\r")
    return cell
