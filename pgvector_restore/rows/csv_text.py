"""Rows of a table as CSV, and their hashes, from one reading of the table.

The server sends each row in binary, in the form digests are taken of, and behind it the text of
those columns whose text cannot be had from that. Text is quoted as ``COPY … (FORMAT csv)`` does it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from struct import Struct

from pgvector_restore.rows.digest import RowForm, row_hash
from pgvector_restore.rows.pgcopy import NULL_FIELD
from pgvector_restore.target import TargetColumn

__all__ = ["CsvPrinter", "quoted"]

#: Bytes of CSV that are given out at a time.
_BLOCK_BYTES = 1 << 20

#: Bytes of a field's length.
_HEAD = 4
_int32 = Struct(">i").unpack_from

#: A vector's text has a comma in its first so many bytes, or none: no element is longer.
_ELEMENT_BYTES = 64

#: A line that ends the file for readers of before version 18; in quotes it is a cell.
_END_OF_FILE = b"\\."

_Text = bytes | memoryview


def quoted(text: bytes) -> bytes:
    """A cell as CSV has it: in quotes where it needs them.

    The rules of ``CopyAttributeOutCSV`` in PostgreSQL's copyto.c, but for a cell that is a line.

    >>> quoted(b"one,two"), quoted(b"plain")
    (b'"one,two"', b'plain')
    """
    if b'"' in text:
        return b'"' + text.replace(b'"', b'""') + b'"'
    if not text or b"," in text or b"\n" in text or b"\r" in text:
        return b'"' + text + b'"'
    return text


class CsvPrinter:
    """Prints rows of one table.

    Args:
        form: Order and form of the fields that are hashed.
        columns: The columns in the order of the file.
    """

    def __init__(self, form: RowForm, columns: Sequence[TargetColumn]) -> None:
        self._form = form
        self._hashed = len(form.columns)
        #: Columns whose text is to be sent as well, in this order, behind those of the form.
        self.sent_as_text = tuple(c.name for c in columns if c.wire not in _PRINTED)
        sent = [column.name for column in form.columns] + list(self.sent_as_text)
        self._fields = len(sent)
        #: For each cell the last field of its column, what prints it, and what follows it.
        self._cells = [
            (len(sent) - 1 - sent[::-1].index(c.name), _print_of(c), b",") for c in columns
        ]
        if self._cells:
            self._cells[-1] = (*self._cells[-1][:2], b"\n")
        #: The first line.
        self.header = b",".join(quoted(c.name.encode()) for c in columns) + b"\n"

    def blocks(
        self, rows: Iterable[memoryview], hashes: Callable[[bytes], None]
    ) -> Iterator[bytes]:
        """CSV of about a mebibyte at a time.

        Args:
            rows: As COPY sends them: the number of fields, then the fields.
            hashes: Given the hash of each row.
        """
        held: list[_Text] = []
        size = 0
        for row in rows:
            hashes(self.add(row, held))
            size += len(row)
            if size >= _BLOCK_BYTES:
                yield b"".join(held)
                held, size = [], 0
        if held:
            yield b"".join(held)

    def add(self, row: memoryview, held: list[_Text]) -> bytes:
        """Add a row's text in pieces, which may refer to the row; gives its hash."""
        ends = [2]
        at = 2
        for _ in range(self._fields):
            at += _HEAD + max(_int32(row, at)[0], 0)
            ends.append(at)
        # Bytes are sliced faster than views of them; the long texts behind are not copied.
        data = bytes(row[: ends[self._hashed]])
        for place, text, end in self._cells:
            start = ends[place]
            # NULL is nothing at all; the empty string is in quotes.
            if ends[place + 1] - start > _HEAD or row[start : start + _HEAD] != NULL_FIELD:
                source = data if place < self._hashed else row
                text(source[start + _HEAD : ends[place + 1]], held)
            held.append(end)
        if len(self._cells) == 1 and held[-2:-1] == [_END_OF_FILE]:
            held[-2] = b'"' + _END_OF_FILE + b'"'
        return row_hash(self._form, data)


def _plain(text: _Text, held: list[_Text]) -> None:
    held.append(quoted(bytes(text)))


def _jsonb(payload: _Text, held: list[_Text]) -> None:
    """The first byte is the version of the format."""
    held.append(quoted(bytes(payload[1:])))


def _uuid(payload: _Text, held: list[_Text]) -> None:
    digits = payload.hex()
    groups = (digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])
    held.append("-".join(groups).encode())


def _vector(text: _Text, held: list[_Text]) -> None:
    """It has no quotes in it, and is not copied to be looked through."""
    if b"," in bytes(text[:_ELEMENT_BYTES]):
        held += (b'"', text, b'"')
    else:
        held.append(text)


#: By encoder: text from the form that is hashed.
_PRINTED: dict[str | None, Callable[[_Text, list[_Text]], None]] = {
    "json": _plain,
    "jsonb": _jsonb,
    "text": _plain,
    "uuid": _uuid,
}


def _print_of(column: TargetColumn) -> Callable[[_Text, list[_Text]], None]:
    return _vector if column.kind == "vector" else _PRINTED.get(column.wire, _plain)
