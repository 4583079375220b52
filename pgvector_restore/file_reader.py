"""A file's records as complete fields of the table's columns: what a comparison reads of it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import closing
from functools import partial

from attrs import frozen

from pgvector_restore.binary_feed import BinaryFeed
from pgvector_restore.db.verify import TableReader
from pgvector_restore.errors import BadCellError
from pgvector_restore.feed import TableFeed
from pgvector_restore.model import UnpackLimits
from pgvector_restore.plan import TablePlan
from pgvector_restore.rows.csv import Fields
from pgvector_restore.rows.fields import Field
from pgvector_restore.rows.pgcopy import NULL_FIELD
from pgvector_restore.rows.problem import CellProblem
from pgvector_restore.rows.rejects import Reject
from pgvector_restore.rows.repair import CellRules
from pgvector_restore.storage import BackupStore
from pgvector_restore.target import TargetColumn

__all__ = ["Batch", "FileReader", "OnProgress"]

#: Called with bytes of the file read, and rows of file or table read.
OnProgress = Callable[[int, int], None]


@frozen
class Batch:
    """Consecutive records of the file."""

    #: Number of the first one.
    first_record: int
    #: Complete fields, by column that is loaded.
    columns: Sequence[Sequence[bytes]]
    #: Cells of the key of the record at an index, as text.
    label: Callable[[int], Sequence[Field]]


class FileReader:
    """Reads one file, as often as it is asked to; :class:`TableReader` is its like for the table.

    Args:
        store: Where the file lies.
        plan: File, table and columns.
        table: The table, whose server makes sense of what has no encoder.
        key: Columns that tell which record one is.
        max_record_bytes: A longer record is refused.
        on_progress: Called now and then.
        limits: How much may come out of a compressed file.
        left_out: Records that are passed over; ``None``: no record may be malformed.
    """

    def __init__(  # noqa: PLR0913 - what a comparison says of one table
        self,
        store: BackupStore,
        plan: TablePlan,
        table: TableReader,
        key: Sequence[str],
        max_record_bytes: int,
        *,
        on_progress: OnProgress,
        limits: UnpackLimits,
        left_out: AbstractSet[int] | None,
    ) -> None:
        self._store = store
        self._plan = plan
        self._table = table
        self._key = key
        self._max_record_bytes = max_record_bytes
        self._on_progress = on_progress
        self._limits = limits
        self._left_out = left_out

    def batches(self) -> Generator[Batch, None, None]:
        """Records with their complete fields by column, in the order of the file. Close it."""
        labels = [self._plan.header.names.index(name) for name in self._key]
        return self._binary_batches(labels) if self._plan.as_is else self._text_batches(labels)

    def _binary_batches(self, labels: Sequence[int]) -> Generator[Batch, None, None]:
        feed = BinaryFeed(
            self._store,
            self._plan,
            self._max_record_bytes,
            self._on_progress,
            limits=self._limits,
        )
        with closing(feed.batches()) as batches:
            for rows in batches:
                yield Batch(
                    feed.rows + 1, feed.table_columns(rows), partial(feed.label, rows, labels)
                )

    def _text_batches(self, labels: Sequence[int]) -> Generator[Batch, None, None]:
        feed = TableFeed(
            self._store,
            self._plan,
            self._max_record_bytes,
            self._on_progress,
            on_reject=None if self._left_out is None else _known,
            limits=self._limits,
        )
        rules = CellRules(self._plan.columns, feed.file, binary=True, odd=self._odd)
        with closing(feed.batches()) as batches:
            for fields in self._wanted(batches):
                columns = rules.columns(fields)
                complete = [
                    cells if column.wire is not None else self._understood(column, cells, fields)
                    for column, cells in zip(self._plan.loaded, columns, strict=True)
                ]
                yield Batch(fields.first_record, complete, partial(_label, fields, labels))

    def _wanted(self, batches: Iterable[Fields]) -> Iterator[Fields]:
        for fields in batches:
            if not self._left_out:
                yield fields
                continue
            first = fields.first_record
            yield from fields.without(
                index for index in range(len(fields)) if first + index in self._left_out
            )

    def _odd(self, column: TargetColumn, cell: bytes, problem: CellProblem) -> bytes:
        """A spelling that rows sent as text may have: the server knows it."""
        understood = self._table.understand(column, [cell])
        if understood is None:
            raise problem
        return understood[0][4:]

    def _understood(
        self, column: TargetColumn, cells: Sequence[Field], fields: Fields
    ) -> list[bytes]:
        """Cells of a type without an encoder.

        Raises:
            BadCellError: The server refuses one; with the first such record.
        """
        present = [cell for cell in cells if cell is not None]
        understood = self._table.understand(column, present) if present else []
        if understood is None:
            places = enumerate(cells, fields.first_record)
            record, _ = next(one for one in places if self._is_refused(column, one[1]))
            raise BadCellError(
                f"server does not take the cell as {column.type_name}",
                file=self._plan.source.name,
                record=record,
                column=column.name,
            )
        known = iter(understood)
        return [NULL_FIELD if cell is None else next(known) for cell in cells]

    def _is_refused(self, column: TargetColumn, cell: Field) -> bool:
        return cell is not None and self._table.understand(column, [cell]) is None


def _label(fields: Fields, places: Sequence[int], index: int) -> list[Field]:
    return [fields.columns[place][index] for place in places]


def _known(_: Reject) -> None:
    """Nothing: the record is known to be malformed."""
