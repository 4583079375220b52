"""From a stored file to blocks that COPY takes: read, decode, repair, encode."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from uuid import UUID

from pgvector_restore.errors import BadCellError, RowCountError, StoreChangedError
from pgvector_restore.model import BackupFile, RepairCount
from pgvector_restore.options import RestoreOptions
from pgvector_restore.plan import TablePlan
from pgvector_restore.rows.csv import CsvReader, Fields
from pgvector_restore.rows.pgcopy import encode_text
from pgvector_restore.rows.repair import CellRules
from pgvector_restore.storage import BackupStore

__all__ = ["TableFeed", "read_header"]


def read_header(store: BackupStore, file: BackupFile, max_record_bytes: int) -> tuple[str, ...]:
    """Column names of a file; reads no more of it than its first record needs.

    Raises:
        BadHeaderError: There is none, or it is no list of names.
    """
    with closing(store.blocks(file)) as blocks:
        return CsvReader(blocks, file.name, max_record_bytes=max_record_bytes).header


class TableFeed:
    """The rows of one table's file, once; a :class:`~pgvector_restore.db.copy.Feed`.

    Memory is bounded by a few blocks, or by one record if that is longer.

    Args:
        store: Where the file lies.
        plan: What to load.
        options: Limits.
        on_progress: Called after each block with bytes read and rows decoded so far.
    """

    def __init__(
        self,
        store: BackupStore,
        plan: TablePlan,
        options: RestoreOptions,
        on_progress: Callable[[int, int], None],
    ) -> None:
        self.file = plan.source.name
        self.columns = tuple(c.name for c in plan.loaded)
        self.rows = 0
        #: Bytes read so far.
        self.bytes_read = 0
        #: The file does not end with a row end.
        self.final_newline_missing = False
        self._store = store
        self._plan = plan
        self._options = options
        self._on_progress = on_progress
        self._rules = CellRules(plan.columns, self.file)

    @property
    def repairs(self) -> tuple[RepairCount, ...]:
        """Cells repaired so far."""
        return self._rules.repairs()

    def blocks(self, parents: Mapping[str, frozenset[str]]) -> Iterator[bytes]:
        """Encoded rows, batch by batch."""
        with closing(self._stored()) as stored:
            yield from self._encoded(stored, parents)

    def _encoded(
        self, stored: Iterator[bytes], parents: Mapping[str, frozenset[str]]
    ) -> Iterator[bytes]:
        reader = CsvReader(stored, self.file, max_record_bytes=self._options.max_record_bytes)
        if reader.header != self._plan.header:
            raise StoreChangedError(
                f"header of {self.file} is not the one the plan was made for", hint="plan again"
            )
        checks = [
            (reader.header.index(name), name, set(keys))
            for name, keys in parents.items()
            if name in self.columns
        ]
        for fields in reader:
            for position, name, keys in checks:
                self._check_parents(fields, position, name, keys)
            yield encode_text(self._rules.apply(fields))
            self.rows += len(fields)
            self._on_progress(self.bytes_read, self.rows)
        if not self.rows:  # the header alone has been read, and that was all there is
            self._on_progress(self.bytes_read, self.rows)
        self.final_newline_missing = reader.final_newline_missing

    def check_count(self) -> None:
        """Raise when the backup log counts other rows than the file has."""
        logged = self._plan.logged_rows
        if self._options.check_log and logged is not None and logged != self.rows:
            raise RowCountError(
                f"file has {self.rows} records, the backup log counts {logged}",
                hint="the file was cut or edited; to restore it as it is, leave the log unchecked",
                file=self.file,
            )

    def _stored(self) -> Generator[bytes, None, None]:
        with closing(self._store.blocks(self._plan.source)) as blocks:
            for block in blocks:
                self.bytes_read += len(block)
                yield block

    def _check_parents(self, fields: Fields, position: int, name: str, keys: set[str]) -> None:
        """Raise at the first record that refers to a row which is not there.

        Keys are compared as text; a spelling that is not the server's own is tried as a UUID.
        """
        for cell in dict.fromkeys(fields.columns[position]):  # each once, in order
            if cell is None or (key := cell.decode()) in keys:
                continue
            if _canonical_uuid(key) in keys:
                keys.add(key)
                continue
            record = fields.first_record + fields.columns[position].index(cell)
            raise BadCellError(
                f"row refers to {key[:80]!r}, which is neither in the backup nor in the database",
                hint="the two tables of the backup were not written in one transaction; "
                "take another set",
                file=self.file,
                record=record,
                column=name,
            )


def _canonical_uuid(text: str) -> str | None:
    try:
        return str(UUID(text))
    except ValueError:
        return None
