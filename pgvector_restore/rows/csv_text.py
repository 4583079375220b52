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

#: A vector's text that is longer has a comma: no element has so many bytes. It has no quotes.
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
        self._places = range(len(sent))
        #: For each cell the last field of its column, how it is printed, and what follows it.
        self._cells = [
            (len(sent) - 1 - sent[::-1].index(c.name), _kind_of(c), b",") for c in columns
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
        for _ in self._places:
            size = _int32(row, at)[0]
            at += _HEAD + size if size > 0 else _HEAD
            ends.append(at)
        # Bytes are sliced faster than views of them; the long texts behind are not copied.
        data = bytes(row[: ends[self._hashed]])
        # Here every call and every test shows in how long a backup takes.
        for place, kind, following in self._cells:
            start, stop = ends[place] + _HEAD, ends[place + 1]
            if kind == _VECTOR and stop - start > _ELEMENT_BYTES:
                held += (b'"', row[start:stop], b'"', following)
                continue
            if start < stop or row[start - _HEAD : start] != NULL_FIELD:
                if kind == _TEXT:
                    held.append(quoted(data[start:stop]))
                elif kind == _JSONB:
                    held.append(quoted(data[start + 1 : stop]))
                elif kind == _UUID:
                    digits = data[start:stop].hex()
                    groups = digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]
                    held.append("-".join(groups).encode())
                else:
                    held.append(quoted(bytes(row[start:stop])))
            held.append(following)
        if len(self._cells) == 1 and held[-2:-1] == [_END_OF_FILE]:
            held[-2] = b'"' + _END_OF_FILE + b'"'
        return row_hash(self._form, data, ends)


#: How a cell is printed: from a field that is hashed, which is text, or text behind the version of
#: jsonb, or the bytes of a UUID; or from text that is sent as well, which may be a vector's.
_TEXT, _JSONB, _UUID, _SENT, _VECTOR = range(5)

#: By encoder, for those that are printed from what is hashed.
_PRINTED: dict[str | None, int] = {"json": _TEXT, "jsonb": _JSONB, "text": _TEXT, "uuid": _UUID}


def _kind_of(column: TargetColumn) -> int:
    return _VECTOR if column.kind == "vector" else _PRINTED.get(column.wire, _SENT)
