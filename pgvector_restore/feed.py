"""From a stored file to blocks that COPY takes: read, decode, repair, encode."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from uuid import UUID

from attrs import frozen

from pgvector_restore.errors import BadCellError, StoreChangedError
from pgvector_restore.model import BackupFile, RepairCount
from pgvector_restore.plan import TablePlan
from pgvector_restore.rows.csv import CsvReader, Fields, Header
from pgvector_restore.rows.fields import Field
from pgvector_restore.rows.pgcopy import BINARY_HEADER, BINARY_TRAILER
from pgvector_restore.rows.repair import CellRules
from pgvector_restore.storage import BackupStore

__all__ = ["WHOLE", "Part", "TableFeed", "read_header", "read_start"]


def read_header(store: BackupStore, file: BackupFile, max_record_bytes: int) -> Header:
    """Column names and row ends of a file; reads no more of it than its first record needs.

    Raises:
        BadHeaderError: There is none, or it is no list of names.
    """
    with closing(store.blocks(file)) as blocks:
        return CsvReader(blocks, file.name, max_record_bytes=max_record_bytes).header


def read_start(
    store: BackupStore, file: BackupFile, max_record_bytes: int
) -> tuple[Header, tuple[Field, ...] | None]:
    """The header as :func:`read_header` gives it, and the fields of the first record.

    ``None``: the file has no record. No fields: the first one is malformed.
    """
    with closing(store.blocks(file)) as blocks:
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
        part: What to read of the file.
    """

    def __init__(
        self,
        store: BackupStore,
        plan: TablePlan,
        max_record_bytes: int,
        on_progress: Callable[[int, int], None],
        part: Part = WHOLE,
    ) -> None:
        self.file = plan.source.name
        self.columns = tuple(c.name for c in plan.loaded)
        self.binary = plan.wire == "binary"
        self.rows = 0
        #: Bytes read so far.
        self.bytes_read = 0
        #: The file does not end with a row end.
        self.final_newline_missing = False
        self._store = store
        self._plan = plan
        self._max_record_bytes = max_record_bytes
        self._on_progress = on_progress
        self._part = part
        self._rules = CellRules(plan.columns, self.file, binary=self.binary)
        self._elsewhere: tuple[RepairCount, ...] = ()

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
    ) -> None:
        """Other processes have read the file: what it came to."""
        self.rows, self.bytes_read = rows, bytes_read
        self._elsewhere = repairs
        self.final_newline_missing = final_newline_missing

    def locate(
        self, columns: Sequence[str], keys: Collection[tuple[str, ...]]
    ) -> list[tuple[int, tuple[str, ...]]]:
        """Records whose cells are one of the keys, with that key; reads the file again.

        Keys are as the server prints them; UUIDs are found in every spelling.
        """
        found = []
        with closing(self._store.blocks(self._plan.source)) as stored:
            reader = CsvReader(stored, self.file, max_record_bytes=self._max_record_bytes)
            places = [reader.header.names.index(name) for name in columns]
            for fields in reader:
                rows = zip(*(fields.columns[place] for place in places), strict=True)
                for record, cells in enumerate(rows, fields.first_record):
                    key = tuple((cell or b"").decode() for cell in cells)
                    if key not in keys:
                        key = tuple(_canonical_uuid(text) or text for text in key)
                    if key in keys:
                        found.append((record, key))
        return found

    def blocks(self, parents: Mapping[str, frozenset[str]]) -> Iterator[bytes]:
        """Encoded rows, batch by batch."""
        with closing(self._stored()) as stored:
            if self.binary:
                yield BINARY_HEADER
            yield from self._encoded(stored, parents)
            if self.binary:
                yield BINARY_TRAILER

    def _encoded(
        self, stored: Iterator[bytes], parents: Mapping[str, frozenset[str]]
    ) -> Iterator[bytes]:
        reader = self._reader(stored)
        checks = [
            (reader.header.names.index(name), name, set(keys))
            for name, keys in parents.items()
            if name in self.columns
        ]
        for fields in reader:
            for position, name, keys in checks:
                self._check_parents(fields, position, name, keys)
            yield self._rules.encode(fields)
            self.rows += len(fields)
            self._on_progress(self.bytes_read, self.rows)
        if not self.rows:  # the header alone has been read, and that was all there is
            self._on_progress(self.bytes_read, self.rows)
        self.final_newline_missing = reader.final_newline_missing

    def _reader(self, stored: Iterator[bytes]) -> CsvReader:
        planned = self._plan.header
        reader = CsvReader(
            stored,
            self.file,
            max_record_bytes=self._max_record_bytes,
            header=planned if self._part.start else None,
        )
        if reader.header != planned:
            raise StoreChangedError(
                f"header of {self.file} is not the one the plan was made for", hint="plan again"
            )
        return reader

    def _stored(self) -> Generator[bytes, None, None]:
        with closing(
            self._store.blocks(self._plan.source, self._part.start, self._part.end)
        ) as blocks:
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
