"""Rows as COPY takes them, in its binary and in its text format.

Binary: int16 number of fields, then for each an int32 length (-1: NULL) and the type's own bytes,
big-endian. Text: tab-separated, one line a record, escapes by backslash. See PostgreSQL's
documentation of COPY, "File Formats".
"""

from __future__ import annotations

from collections.abc import Sequence

from pgvector_restore.rows.fields import Field

__all__ = ["BINARY_HEADER", "BINARY_TRAILER", "NULL_FIELD", "encode_binary", "encode_text"]

#: Signature, flags (none), length of the header's extension (0).
BINARY_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
#: A field count of -1 ends the data.
BINARY_TRAILER = b"\xff\xff"
#: Length -1, and no payload.
NULL_FIELD = b"\xff\xff\xff\xff"


def encode_binary(columns: Sequence[Sequence[bytes]]) -> bytes:
    """Complete fields of columns of equal length as ``COPY … (FORMAT binary)``, without header."""
    width = len(columns)
    rows = len(columns[0])
    parts = [width.to_bytes(2, "big")] * (rows * (width + 1))
    for position, column in enumerate(columns, 1):
        parts[position :: width + 1] = column
    return b"".join(parts)


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
