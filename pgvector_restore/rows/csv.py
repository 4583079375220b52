r"""CSV: blocks of bytes to whole records to fields.

The dialect is RFC 4180 as ``csv.writer`` and ``COPY … TO … (FORMAT csv)`` write it: comma, double
quote doubled inside of quotes, one kind of row end throughout (CRLF or LF), UTF-8, one BOM
dropped. A record is not a line: quoted fields hold newlines. Everything else is refused with its
place, never guessed at.

An unquoted empty field is told apart from a quoted one (``None`` and ``b""``), which is why the
standard library's reader does not serve.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from pgvector_restore.errors import BadDataError, BadHeaderError, BadRecordError, quoted
from pgvector_restore.rows.fields import Field, Malformed, check_text, split_fields
from pgvector_restore.rows.records import Fields, Header, Records, record_ends, split_records
from pgvector_restore.rows.rejects import (
    Problem,
    Reject,
    SetAside,
    count_fields,
    record_spans,
    whole_record,
)

__all__ = [
    "DEFAULT_MAX_RECORD_BYTES",
    "CsvReader",
    "Fields",
    "Header",
    "Records",
    "record_ends",
    "split_records",
]

#: A record still not complete after so many bytes is refused before it fills the memory.
#: Vectors end at 16,000 dimensions (about 200 KB of text), so only a document can come near; a
#: lost quote does it at once. PostgreSQL's own limit for a field is 1 GiB.
DEFAULT_MAX_RECORD_BYTES = 64 << 20

_BOM = b"\xef\xbb\xbf"


class CsvReader:
    """One CSV file as a stream of :class:`Fields`.

    The header is read at once, the records as they are asked for.

    Args:
        blocks: The file's bytes in order, in blocks of any size.
        file: Name for messages.
        max_record_bytes: A record with more bytes than that raises.
        header: The blocks begin at a record in the middle of a file with this header. Records are
            counted from there.
        on_reject: Called with each malformed record whose end is beyond doubt, which is left out
            then. ``None``: it raises.

    Raises:
        BadHeaderError: From the constructor: no header, or one that is no list of names.
        BadRecordError: From iteration: a record that cannot be told apart.
    """

    def __init__(
        self,
        blocks: Iterable[bytes],
        file: str,
        *,
        max_record_bytes: int = DEFAULT_MAX_RECORD_BYTES,
        header: Header | None = None,
        on_reject: Callable[[Reject], None] | None = None,
    ) -> None:
        self.file = file
        self._max_record_bytes = max_record_bytes
        self._on_reject = on_reject
        self._skipped = 0
        #: Records given out or left out so far.
        self.records = 0
        #: The header as it stands in the file, with its row end and without a BOM; empty where
        #: it was given.
        self.header_bytes = b""
        #: The last record (or the header) had no row end; known after iteration.
        self.final_newline_missing = False
        #: Names and row ends.
        self.header = header or Header((), crlf=False)
        self._rest = Records(b"", 0)
        if header is None:
            self._pieces = self._gather(self._without_bom(blocks))
            self._begin()
        else:
            self._pieces = self._gather(blocks)

    def _begin(self) -> None:
        first = next(self._pieces, None)
        if first is None:
            raise BadHeaderError("file is empty: not even a header", file=self.file)
        end = _first_record_end(first.data)
        crlf = first.data[:end].endswith(b"\r\n")
        self.header_bytes = first.data[:end]
        self.header = Header(self._read_names(first.data[:end], crlf=crlf), crlf)
        self._rest = Records(first.data[end:], first.offset + end)

    def __iter__(self) -> Iterator[Fields]:
        if self._rest.data:
            yield from self._decode(self._rest)
        for piece in self._pieces:
            yield from self._decode(piece)

    def peek(self) -> tuple[Field, ...] | None:
        """Fields of the first record, which is still to come; ``None``: there is none.

        A malformed one has no fields here: iteration says what is wrong with it.
        """
        if not self._rest.data:
            self._rest = next(self._pieces, self._rest)
        first = self._rest.data[: _first_record_end(self._rest.data)] if self._rest.data else b""
        if not first:
            return None
        try:
            fields = split_fields(first, len(self.header.names), crlf=self.header.crlf)
            check_text(first, fields, len(self.header.names))
        except Malformed:
            return ()
        return tuple(fields)

    def _gather(self, blocks: Iterable[bytes]) -> Iterator[Records]:
        """Pieces of whole records, the file's last record completed with a row end."""
        parts: list[bytes] = []
        size = offset = 0
        for piece, whole in split_records(blocks):
            parts.append(piece)
            size += len(piece)
            # The last piece of a whole batch may end many records: only what came before it
            # certainly belongs to one.
            if (size if not whole else size - len(piece)) > self._max_record_bytes:
                raise self._too_long()
            if whole:
                yield Records(b"".join(parts), self._skipped + offset)
                offset += size
                parts, size = [], 0
        if size:
            self.final_newline_missing = True
            data = b"".join(parts)
            if data.count(b'"') % 2:
                raise self._unterminated(data)
            if self.header.crlf:
                data = data.removesuffix(b"\r") + b"\r"
            yield Records(data + b"\n", self._skipped + offset)

    def _without_bom(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        """The blocks without empty ones and without one leading BOM."""
        head = b""
        rest = iter(blocks)
        for block in rest:
            head += block
            if len(head) >= len(_BOM):
                break
        if head.startswith(_BOM):
            head, self._skipped = head[len(_BOM) :], len(_BOM)
        if head:
            yield head
        for block in rest:
            if block:
                yield block

    def _check_lengths(self, fields: list[Field], width: int) -> None:
        """Raise at the first record whose fields have too many bytes together."""
        for start in range(0, len(fields), width):
            if sum(len(f) for f in fields[start : start + width] if f) > self._max_record_bytes:
                self.records += start // width
                raise self._too_long()

    def _too_long(self) -> BadDataError:
        return self._broken(
            f"record is longer than {self._max_record_bytes} bytes",
            "a quote may be missing here; if the record really is this long, "
            "raise max_record_bytes",
        )

    def _unterminated(self, data: bytes) -> BadDataError:
        """The file ends inside of quotes: decode what there is, to name the place."""
        if self.header.names:
            try:
                split_fields(data + b"\n", len(self.header.names), crlf=self.header.crlf)
            except Malformed as problem:
                return self._error(problem)
        return self._broken("file ends inside of a quoted field", _foreign_format(data))

    def _broken(self, message: str, hint: str | None) -> BadDataError:
        """An error about the record (or header) that was being gathered."""
        error = BadRecordError if self.header.names else BadHeaderError
        record = self.records + 1 if self.header.names else 0
        return error(message, hint=hint, file=self.file, record=record)

    def _read_names(self, data: bytes, *, crlf: bool) -> tuple[str, ...]:
        width = count_fields(data)
        try:
            fields = split_fields(data, width, crlf=crlf)
            check_text(data, fields, width)
        except Malformed as problem:
            raise BadHeaderError(
                f"header cannot be read: {problem.message}",
                hint=_foreign_format(data),
                file=self.file,
                record=0,
            ) from None
        names = tuple((field or b"").decode() for field in fields)
        seen: set[str] = set()
        for position, name in enumerate(names, 1):
            if not name:
                raise BadHeaderError(
                    f"column {position} of the header has no name", file=self.file, record=0
                )
            if name in seen:
                raise BadHeaderError(
                    f"column {quoted(name)} stands twice in the header", file=self.file, record=0
                )
            seen.add(name)
        return names

    def _decode(self, piece: Records) -> Iterator[Fields]:
        """The piece's records: all at once, or those between malformed ones."""
        width = len(self.header.names)
        try:
            fields = split_fields(piece.data, width, crlf=self.header.crlf)
            check_text(piece.data, fields, width)
        except Malformed as problem:
            if self._on_reject is None:
                raise self._error(problem) from None
            yield from self._sift(piece, self._on_reject)
        else:
            yield self._fields(fields, piece)

    def _fields(self, fields: list[Field], source: Records) -> Fields:
        width = len(self.header.names)
        if len(source.data) > self._max_record_bytes:
            self._check_lengths(fields, width)
        first = self.records + 1
        self.records += len(fields) // width
        return Fields(tuple(fields[i::width] for i in range(width)), first, source)

    def _sift(self, piece: Records, on_reject: Callable[[Reject], None]) -> Iterator[Fields]:
        """Decode record by record and leave out what is malformed and has a certain end."""
        good: list[Field] = []
        start, size = 0, len(piece.data)
        for begin, end in record_spans(piece.data):
            data = piece.data[begin:end]
            try:
                good += whole_record(data, len(self.header.names), crlf=self.header.crlf)
            except Malformed as problem:
                if good:
                    source = Records(piece.data[start:begin], piece.offset + start)
                    yield self._fields(good, source)
                    good = []
                error = self._error(problem)
                cut = end == size and self.final_newline_missing and not problem.in_field
                if cut or not isinstance(problem, SetAside):
                    raise error from None
                self.records += 1
                reason = Problem(error.message, error.hint, error.column)
                on_reject(Reject(self.records, piece.offset + begin, data, (reason,)))
                start = end
        if good:
            yield self._fields(good, Records(piece.data[start:], piece.offset + start))

    def _error(self, problem: Malformed) -> BadRecordError:
        record, column = divmod(problem.index, len(self.header.names))
        return BadRecordError(
            problem.message,
            file=self.file,
            record=self.records + 1 + record,
            column=self.header.names[column] if problem.in_field else None,
        )


def _first_record_end(data: bytes) -> int:
    """Index after the first newline outside of quotes; the data ends with one."""
    end = quotes = 0
    while True:
        newline = data.find(b"\n", end) + 1
        quotes += data.count(b'"', end, newline)
        end = newline
        if quotes % 2 == 0:
            return end


def _foreign_format(data: bytes) -> str | None:
    """What the file may be instead, by its first bytes."""
    for signature, name in _SIGNATURES:
        if data.startswith(signature):
            return f"the file looks like {name}"
    return None


_SIGNATURES = (
    (b"\xff\xfe", "UTF-16 text: save it as UTF-8"),
    (b"\xfe\xff", "UTF-16 text: save it as UTF-8"),
    (b"PGCOPY\n", "COPY BINARY, not CSV"),
)
