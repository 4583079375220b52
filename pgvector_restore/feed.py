"""From a stored file to blocks that COPY takes: read, decode, repair, encode."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial

from attrs import evolve, frozen

from pgvector_restore.errors import BadCellError, StoreChangedError
from pgvector_restore.model import DEFAULT_LIMITS, BackupFile, RepairCount, UnpackLimits
from pgvector_restore.plan import TablePlan
from pgvector_restore.rows.csv import CsvReader, Fields, Header
from pgvector_restore.rows.digest import ContentDigest, digest_of, form_of, hash_columns
from pgvector_restore.rows.fields import Field
from pgvector_restore.rows.keys import form_of_column, lookup, records_with
from pgvector_restore.rows.parents import ParentCheck, parent_checks
from pgvector_restore.rows.pgcopy import BINARY_HEADER, BINARY_TRAILER
from pgvector_restore.rows.rejects import Problem, Reject, record_spans
from pgvector_restore.rows.repair import CellRules
from pgvector_restore.storage import BackupStore
from pgvector_restore.sums import FileSum
from pgvector_restore.target import ParentKeys, Printer

__all__ = ["WHOLE", "Part", "TableFeed", "read_header", "read_start"]


def read_header(
    store: BackupStore,
    file: BackupFile,
    max_record_bytes: int,
    limits: UnpackLimits = DEFAULT_LIMITS,
) -> Header:
    """Column names and row ends of a file; reads no more of it than its first record needs.

    Raises:
        BadHeaderError: There is none, or it is no list of names.
        BadCompressionError: A compressed file that is damaged at its beginning.
    """
    with closing(store.blocks(file, limits=limits)) as blocks:
        return CsvReader(blocks, file.name, max_record_bytes=max_record_bytes).header


def read_start(
    store: BackupStore,
    file: BackupFile,
    max_record_bytes: int,
    limits: UnpackLimits = DEFAULT_LIMITS,
) -> tuple[Header, tuple[Field, ...] | None]:
    """The header as :func:`read_header` gives it, and the fields of the first record.

    ``None``: the file has no record. No fields: the first one is malformed.
    """
    with closing(store.blocks(file, limits=limits)) as blocks:
        reader = CsvReader(blocks, file.name, max_record_bytes=max_record_bytes)
        return reader.header, reader.peek()


@frozen
class Part:
    """Whole records of a file, by their place in it."""

    #: Offset of the first byte.
    start: int
    #: Offset after the last byte; ``None``: to the end of the file.
    end: int | None


#: All of a file.
WHOLE = Part(0, None)


class TableFeed:
    """The rows of one table's file, or of a part of it, once; see ``Feed`` in ``db/copy.py``.

    Memory is bounded by a few blocks, or by one record if that is longer. Records are counted
    from the part's first one.

    Args:
        store: Where the file lies.
        plan: What to load.
        max_record_bytes: A longer record is refused.
        on_progress: Called after each block with bytes read and rows decoded so far.
        part: What to read of the file; all of a compressed one.
        on_reject: Called with each record that cannot be restored, which is left out then; what it
            raises ends the load. ``None``: such a record raises.
        limits: How much may come out of a compressed file.
        content: Digest the rows on their way; binary only.
    """

    def __init__(  # noqa: PLR0913 - what a restore says of one table
        self,
        store: BackupStore,
        plan: TablePlan,
        max_record_bytes: int,
        on_progress: Callable[[int, int], None],
        part: Part = WHOLE,
        on_reject: Callable[[Reject], None] | None = None,
        *,
        limits: UnpackLimits = DEFAULT_LIMITS,
        content: bool = False,
    ) -> None:
        self.file = plan.source.name
        self.columns = tuple(c.name for c in plan.loaded)
        self.binary = plan.wire == "binary"
        self.rows = 0
        #: Stored bytes read so far.
        self.bytes_read = 0
        #: The file does not end with a row end.
        self.final_newline_missing = False
        self._store = store
        self._plan = plan
        self._max_record_bytes = max_record_bytes
        self._on_progress = on_progress
        self._part = part
        self._limits = limits
        # A part of a file has no sum of its own.
        self._sum = FileSum(plan.described, plan.source) if part == WHOLE else None
        self._rules = CellRules(plan.columns, self.file, binary=self.binary)
        self._elsewhere: tuple[RepairCount, ...] = ()
        self._form = form_of(plan.loaded) if content else None
        #: Digest of the rows so far; ``None`` where nobody asked for it.
        self.content = ContentDigest() if content else None
        self._on_reject = on_reject
        #: Numbers of the records set aside.
        self.rejected: list[int] = []

    @property
    def rows_read(self) -> int:
        """Records decoded so far: given out, or set aside."""
        return self.rows + len(self.rejected)

    @property
    def repairs(self) -> tuple[RepairCount, ...]:
        """Cells repaired so far."""
        return self._elsewhere or self._rules.repairs()

    def read_elsewhere(
        self,
        rows: int,
        bytes_read: int,
        repairs: tuple[RepairCount, ...],
        *,
        final_newline_missing: bool,
        content: ContentDigest | None = None,
        rejected: Iterable[int] = (),
    ) -> None:
        """Other processes have read the file: what it came to."""
        self.content = content
        self.rows, self.bytes_read = rows, bytes_read
        self.rejected = list(rejected)
        self._elsewhere = repairs
        self.final_newline_missing = final_newline_missing

    def locate(
        self, columns: Sequence[str], keys: Collection[tuple[str, ...]], printed: Printer
    ) -> list[tuple[int, tuple[str, ...]]]:
        """Records whose cells are one of the keys, with that key; reads the file again.

        Keys are as the server prints them. They are found in every spelling: where it cannot be
        read here, the server says how it prints a cell.
        """
        with closing(self._store.blocks(self._plan.source, limits=self._limits)) as stored:
            reader = CsvReader(
                stored,
                self.file,
                max_record_bytes=self._max_record_bytes,
                on_reject=_nothing if self._on_reject is not None else None,
            )
            places = [reader.header.names.index(name) for name in columns]
            found = [self._plan.columns[place] for place in places]
            forms = [None if column is None else form_of_column(column) for column in found]
            printers = [partial(printed, name) for name in columns]
            return records_with(reader, places, lookup(keys, forms), forms, self.rejected, printers)

    def column_with(self, record: int, sought: bytes) -> str | None:
        """The first column of a record whose cell has these bytes; reads the file again."""
        with closing(
            self._store.blocks(
                self._plan.source, self._part.start, self._part.end, limits=self._limits
            )
        ) as stored:
            for fields in self._reader(stored, _nothing):
                index = record - fields.first_record
                if 0 <= index < len(fields):
                    cells = (column[index] or b"" for column in fields.columns)
                    named = zip(self._plan.columns, cells, strict=True)
                    return next((c.name for c, cell in named if c and sought in cell), None)
        return None

    def record_of(self, row: int) -> int:
        """The record that was given out as this row, counted from 1."""
        record = row
        for rejected in sorted(self.rejected):
            if rejected > record:
                break
            record += 1
        return record

    def within(self, record: int) -> tuple[str, int]:
        """The stored file that has this record, and the record's number in there."""
        return self.file, record

    def blocks(self, parents: Mapping[str, ParentKeys]) -> Iterator[bytes]:
        """Encoded rows, batch by batch."""
        if self.binary:
            yield BINARY_HEADER
        yield from self._encoded(parents)
        if self.binary:
            yield BINARY_TRAILER

    def batches(self) -> Generator[Fields, None, None]:
        """Decoded records, batch by batch; a batch counts as read when the next one is asked for.

        Close it: the file is open until then.
        """
        with closing(self._text()) as text:
            reader = self._reader(text, self._reject)
            for fields in reader:
                yield fields
                if self._on_reject is None:  # else good rows are counted one run at a time
                    self.rows += len(fields)
                self._on_progress(self.bytes_read, self.rows)
            if not self.rows:  # the header alone has been read, and that was all there is
                self._on_progress(self.bytes_read, self.rows)
            self.final_newline_missing = reader.final_newline_missing
        if self._sum is not None:
            self._sum.check(self._store)

    def _encoded(self, parents: Mapping[str, ParentKeys]) -> Iterator[bytes]:
        checks = parent_checks(parents, self._plan.columns)
        with closing(self.batches()) as batches:
            for fields in batches:
                if self._on_reject is None:
                    for check in checks:
                        check.check(fields, self.file)
                    yield self._encode(fields)
                else:
                    yield from self._good_rows(fields, checks)

    def _encode(self, fields: Fields) -> bytes:
        columns = self._rules.columns(fields)
        if self._form is not None and self.content is not None:
            self.content += digest_of(hash_columns(self._form, columns))
        return self._rules.join(columns)

    def _reader(self, text: Iterator[bytes], on_reject: Callable[[Reject], None]) -> CsvReader:
        planned = self._plan.header
        reader = CsvReader(
            text,
            self.file,
            max_record_bytes=self._max_record_bytes,
            header=planned if self._part.start else None,
            on_reject=on_reject if self._on_reject is not None else None,
        )
        if reader.header != planned:
            raise StoreChangedError(
                f"header of {self.file} is not the one the plan was made for", hint="plan again"
            )
        return reader

    def _text(self) -> Generator[bytes, None, None]:
        return self._store.blocks(
            self._plan.source,
            self._part.start,
            self._part.end,
            limits=self._limits,
            on_read=self._count,
            on_stored=self._sum.add if self._sum is not None else None,
        )

    def _count(self, size: int) -> None:
        self.bytes_read += size

    def _good_rows(self, fields: Fields, checks: Sequence[ParentCheck]) -> Iterator[bytes]:
        """The rows that can be restored; the others are set aside."""
        bad: dict[int, list[Problem]] = {}
        for check in checks:
            for index, problem in check.problems(fields.columns[check.place]):
                bad.setdefault(index, []).append(problem)
        error: BadCellError | None = None
        if not bad:
            try:
                block = self._encode(fields)
            except BadCellError as exc:
                error = exc
            else:
                yield block
                self.rows += len(fields)
                return
        for index, problems in self._rules.judge(fields).items():
            bad.setdefault(index, []).extend(problems)
        if error is not None and not bad:  # bad together, and each cell good by itself
            raise error
        self._reject_rows(fields, bad)
        for run in fields.without(bad):
            yield self._encode(run)
            self.rows += len(run)

    def _reject_rows(self, fields: Fields, bad: Mapping[int, Sequence[Problem]]) -> None:
        source = fields.source
        for index, (begin, end) in enumerate(record_spans(source.data)):
            if index in bad:
                record = fields.first_record + index
                data = source.data[begin:end]
                self._reject(Reject(record, source.offset + begin, data, tuple(bad[index])))

    def _reject(self, reject: Reject) -> None:
        if self._on_reject is not None:
            self.rejected.append(reject.record)
            self._on_reject(evolve(reject, offset=self._part.start + reject.offset))


def _nothing(_: Reject) -> None:
    """Nothing: it was told the first time."""
