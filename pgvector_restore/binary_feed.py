"""From a stored file in binary to blocks that COPY takes: the same bytes, checked on their way."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import closing

from pgvector_restore.column_types import Recast
from pgvector_restore.errors import BadCellError, RowCountError
from pgvector_restore.model import (
    DEFAULT_LIMITS,
    BackupFile,
    RepairCount,
    UnpackLimits,
)
from pgvector_restore.opening import copied_batches
from pgvector_restore.plan import TablePlan
from pgvector_restore.rows.copied import CopiedRows, cells_of, fields_of
from pgvector_restore.rows.encoder import complete
from pgvector_restore.rows.fields import Field
from pgvector_restore.rows.keys import form_of_column, lookup, records_with
from pgvector_restore.rows.parents import ParentCheck, payload_checks
from pgvector_restore.rows.pgcopy import BINARY_HEADER, BINARY_TRAILER, NULL_FIELD
from pgvector_restore.rows.printing import printed, prints
from pgvector_restore.rows.records import Fields
from pgvector_restore.storage import BackupStore
from pgvector_restore.sums import FileSum
from pgvector_restore.target import ParentKeys, Printer

__all__ = ["BinaryFeed", "recast_field"]

#: Bytes of a field's length.
_HEAD = 4
#: The version of jsonb's format, before its text.
_JSONB_VERSION = b"\x01"


class BinaryFeed:
    """The rows of one table's file in binary, all parts in turn; see ``Feed`` in ``db/copy.py``.

    What a server refuses is found by the server: values are not looked at. Records are counted
    over all parts; :meth:`within` tells which part has one.

    Args:
        store: Where the file lies.
        plan: What to load.
        max_record_bytes: A longer row is refused.
        on_progress: Called after each block with bytes and rows read so far.
        limits: How much may come out of a compressed file.
    """

    binary = True
    final_newline_missing = False
    #: Nothing is repaired, and nothing set aside.
    repairs: tuple[RepairCount, ...] = ()
    rejected: Sequence[int] = ()

    def __init__(
        self,
        store: BackupStore,
        plan: TablePlan,
        max_record_bytes: int,
        on_progress: Callable[[int, int], None],
        *,
        limits: UnpackLimits = DEFAULT_LIMITS,
    ) -> None:
        self.file = plan.source.name
        self.columns = tuple(c.name for c in plan.loaded)
        self.rows = 0
        #: Stored bytes read so far.
        self.bytes_read = 0
        #: Digest of the rows as the manifest has it; ``None`` where it does not tell.
        self.content = plan.claimed_digest
        self._store = store
        self._plan = plan
        self._max_record_bytes = max_record_bytes
        self._on_progress = on_progress
        self._limits = limits
        #: Each part that was begun, with the number of records before it.
        self._begun: list[tuple[str, int]] = []

    @property
    def rows_read(self) -> int:
        """Records given out so far."""
        return self.rows

    def read_elsewhere(
        self,
        rows: int,
        bytes_read: int,
        *_: object,
        **__: object,
    ) -> None:
        """Other processes have read the parts: what they came to; the rest is of text files."""
        self.rows, self.bytes_read = rows, bytes_read

    def blocks(self, parents: Mapping[str, ParentKeys]) -> Iterator[bytes]:
        """The rows of all parts as one stream; each part is checked before its last rows go."""
        places = range(len(self._plan.columns))
        checks = payload_checks(parents, self._plan.columns, [self._wire(p) for p in places])
        rewrite = self._rewriting()
        yield BINARY_HEADER
        with closing(self.batches()) as batches:
            for rows in batches:
                for check in checks:
                    self._check_parents(rows, check)
                yield rewrite(rows) if rewrite is not None else rows.data
        yield BINARY_TRAILER

    def batches(self) -> Generator[CopiedRows, None, None]:
        """Rows as they stand in the file; a batch counts as read when the next one is asked for.

        Close it: the file is open until then.
        """
        with closing(self._batches()) as batches:
            for rows in batches:
                yield rows
                self.rows += len(rows)
                self._on_progress(self.bytes_read, self.rows)
        self._on_progress(self.bytes_read, self.rows)

    def table_columns(self, rows: CopiedRows) -> list[Sequence[bytes]]:
        """Complete fields by column that is loaded, as they are for the table's types."""
        columns: list[Sequence[bytes]] = []
        plan = self._plan
        by_column = zip(*fields_of(rows), strict=True)
        for place, (column, cells) in enumerate(zip(plan.columns, by_column, strict=True)):
            recast = plan.recasts[place] if plan.recasts else "none"
            if column is not None:
                columns.append(
                    cells if recast == "none" else [recast_field(recast, cell) for cell in cells]
                )
        return columns

    def label(self, rows: CopiedRows, places: Sequence[int], index: int) -> list[Field]:
        """Cells of some columns of the row at an index, as text."""
        row = CopiedRows(rows.data, rows.starts[index : index + 1], 1)
        (*cells,) = (cells_of(row, [place])[0][0] for place in places)
        return [printed(self._wire(place), cell) for place, cell in zip(places, cells, strict=True)]

    def locate(
        self, columns: Sequence[str], keys: Collection[tuple[str, ...]], _printed: Printer
    ) -> list[tuple[int, tuple[str, ...]]]:
        """Records whose cells are one of the keys, with that key; reads the file again.

        Nothing is found in columns of types that are not printed here.
        """
        names = self._plan.header.names
        places = [names.index(name) for name in columns]
        wires = [self._wire(place) for place in places]
        if not all(map(prints, wires)):
            return []
        columns_of_table = [self._plan.columns[place] for place in places]
        forms = [None if column is None else form_of_column(column) for column in columns_of_table]
        with closing(self._printed_keys(places, wires)) as batches:
            return records_with(batches, range(len(places)), lookup(keys, forms), forms, ())

    def _printed_keys(
        self, places: Sequence[int], wires: Sequence[str | None]
    ) -> Generator[Fields, None, None]:
        """Cells of some columns as text."""
        before = 0
        with closing(self._batches(count=False)) as batches:
            for rows in batches:
                cells = tuple(
                    [printed(wire, cell) for cell in column]
                    for wire, column in zip(wires, cells_of(rows, places), strict=True)
                )
                yield Fields(cells, before + 1)
                before += len(rows)

    def column_with(self, _record: int, _sought: bytes) -> str | None:
        """None: of rows in binary the server itself names the column."""
        return None

    def record_of(self, row: int) -> int:
        """The record that was given out as this row: all are."""
        return row

    def within(self, record: int) -> tuple[str, int]:
        """The stored file that has this record, and the record's number in there."""
        for name, before in reversed(self._begun):
            if record > before:
                return name, record - before
        return self.file, record

    def _batches(self, *, count: bool = True) -> Generator[CopiedRows, None, None]:
        """Rows of all parts in order, each part compared with its sum and count."""
        self._begun = []
        before = 0
        for piece in self._plan.source.pieces:
            self._begun.append((piece.name, before))
            rows_before = before
            found = FileSum(self._plan.described, piece)
            batches = copied_batches(
                self._store,
                piece,
                len(self._plan.columns),
                self._max_record_bytes,
                found=found,
                limits=self._limits,
                on_read=self._count if count else None,
            )
            with closing(batches):
                for rows in batches:
                    before += len(rows)
                    yield rows
            found.check(self._store)
            self._check_rows(piece, before - rows_before)

    def _count(self, size: int) -> None:
        self.bytes_read += size

    def _check_rows(self, piece: BackupFile, rows: int) -> None:
        described = self._plan.described
        claimed = described.file(piece.name) if described is not None else None
        if claimed is not None and claimed.rows != rows:
            raise RowCountError(
                f"file has {rows} records, the manifest counts {claimed.rows}",
                hint="file or manifest was changed after the backup; take another set",
                file=piece.name,
            )

    def _wire(self, place: int) -> str | None:
        """How values of a column of the file are written there."""
        column = self._plan.columns[place]
        if column is None:
            return None
        recast = self._plan.recasts[place] if self._plan.recasts else "none"
        return column.wire if recast == "none" else None

    def _check_parents(self, rows: CopiedRows, check: ParentCheck) -> None:
        """Raise at the first record that refers to a row which is not there."""
        (cells,) = cells_of(rows, [check.place])
        for index, problem in check.problems(cells):
            name, before = self._begun[-1]
            raise BadCellError(
                problem.message,
                hint=problem.hint,
                file=name,
                record=self.rows - before + index + 1,
                column=check.column,
            )

    def _rewriting(self) -> Callable[[CopiedRows], bytes] | None:
        """What makes the table's rows of the file's; ``None`` where they are the same."""
        plan = self._plan
        same: Recast = "none"
        recasts = plan.recasts or (same,) * len(plan.columns)
        kept = [place for place, column in enumerate(plan.columns) if column is not None]
        if len(kept) == len(plan.columns) and set(recasts) == {same}:
            return None
        head = len(kept).to_bytes(2, "big")

        def rewrite(rows: CopiedRows) -> bytes:
            parts = []
            for fields in fields_of(rows):
                parts.append(head)
                parts += [recast_field(recasts[place], fields[place]) for place in kept]
            return b"".join(parts)

        return rewrite


def recast_field(recast: Recast, field: bytes) -> bytes:
    """A complete field as one of the column's type."""
    if recast == "none" or field == NULL_FIELD:
        return field
    payload = field[_HEAD:]
    if recast == "to_jsonb":
        return complete(_JSONB_VERSION + payload)
    # Of another version it is left as it is: no JSON begins like that, so the server refuses it.
    return complete(payload.removeprefix(_JSONB_VERSION))
