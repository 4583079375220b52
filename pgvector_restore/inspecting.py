"""Inspecting a backup set: read whole, without a database.

Memory does not grow with the files: a batch of records, the first findings, the keys of a parent
table up to 200,000, and what ``spill.py`` needs to find repeated keys.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import ExitStack, closing

from attrs import define, field, frozen

from pgvector_restore.cancel import CancelToken
from pgvector_restore.errors import (
    CancelledError,
    OptionError,
    PgvectorRestoreError,
    StoreError,
)
from pgvector_restore.inspection import (
    FileInspection,
    InspectReport,
    Orphan,
    RepeatedKey,
    RepeatedKeys,
    RowClaim,
)
from pgvector_restore.model import DEFAULT_LIMITS, BackupFile, BackupSet, UnpackLimits
from pgvector_restore.progress import Progress, no_progress
from pgvector_restore.rows.csv import DEFAULT_MAX_RECORD_BYTES, CsvReader, Fields
from pgvector_restore.rows.keys import key_values, orphans
from pgvector_restore.rows.rejects import Reject
from pgvector_restore.rows.repair import shown_cell
from pgvector_restore.rows.survey import Survey
from pgvector_restore.schema import TableSchema, columns_of, is_parent, shape_of
from pgvector_restore.spill import RUN_VALUES, Spill, SpillError
from pgvector_restore.storage import BackupLog, BackupStore
from pgvector_restore.target import TargetColumn
from pgvector_restore.tracking import Teller

__all__ = ["inspect_set"]

#: Parent keys that are held to find orphans, as many as a restore fetches for that.
_MAX_PARENT_KEYS = 200_000
#: Repeated keys that are read again to name their records; more are counted by their hashes.
_MAX_REPEATED = 100_000
#: Records that are named of each repeated key.
_RECORDS_SHOWN = 10

#: Keys of the rows of a parent table; ``None``: they are not all known.
_Keys = set[str] | None


@frozen
class _Call:
    """What :func:`inspect_set` was asked."""

    store: BackupStore
    backup: BackupSet
    log: BackupLog | None
    limit: int
    max_record_bytes: int
    folder: str | None
    run_values: int
    limits: UnpackLimits
    teller: Teller


def inspect_set(  # noqa: PLR0913 - limits, each with a default
    store: BackupStore,
    backup: str | BackupSet = "latest",
    *,
    limit: int = 20,
    max_record_bytes: int = DEFAULT_MAX_RECORD_BYTES,
    temp_dir: str | None = None,
    run_values: int = RUN_VALUES,
    limits: UnpackLimits = DEFAULT_LIMITS,
    progress: Progress = no_progress,
    cancel: CancelToken | None = None,
) -> InspectReport:
    """Read a whole backup set and tell what would become of it, without a database.

    The types of columns are those of the known shapes of LangChain's tables; columns that none of
    them has are taken for text. A file that cannot be read ends its own inspection only.

    Args:
        store: Where the set lies.
        backup: A label or a set of the catalog.
        limit: So many bad cells, orphans and repeated keys are named of each file; all are counted.
        max_record_bytes: A longer record cannot be read.
        temp_dir: Folder of temporary files, which take 8 bytes for each record of files with more
            than ``run_values``; ``None``: the system's own.
        run_values: Keys that are held in memory, 8 bytes each.
        limits: How much may come out of a compressed file.
        progress: Called with events of the phase ``inspect``, then ``done``.
        cancel: Calls it off from another thread, within about a second.

    Raises:
        CancelledError: It was called off.
        OptionError: A wrong argument.
        StoreError: The set is not there, or nothing temporary can be written.
    """
    if limit < 0 or run_values < 1 or max_record_bytes < 1:
        raise OptionError("limit must not be negative, run_values and max_record_bytes not below 1")
    started = time.perf_counter()
    found = backup if isinstance(backup, BackupSet) else store.catalog().get(backup)
    log = store.read_log(found.location)
    teller = Teller(progress, cancel or CancelToken(), "inspect", found.size_bytes)
    call = _Call(store, found, log, limit, max_record_bytes, temp_dir, run_values, limits, teller)
    parents: dict[str, _Keys] = {}
    files = tuple(_inspect_file(call, file, parents) for file in found.files)
    teller.tell_done()
    return InspectReport(found, files, time.perf_counter() - started)


def _inspect_file(call: _Call, file: BackupFile, parents: dict[str, _Keys]) -> FileInspection:
    reading = _Reading(call, file, parents)
    error: dict[str, object] | None = None
    repeated: tuple[RepeatedKeys, ...] = ()
    with ExitStack() as stack:
        try:
            reading.read(stack)
            repeated = tuple(reading.repeated())
            call.store.check_unchanged(file)
        except CancelledError:
            raise
        except SpillError as exc:  # not the set's fault
            raise StoreError(exc.message, hint=exc.hint) from exc
        except PgvectorRestoreError as exc:
            error = exc.to_dict() | {"message": str(exc)}
    call.teller.finished(file.size_bytes)
    if reading.is_parent:
        parents[file.table] = reading.own_keys if error is None else None
    return reading.result(error, repeated)


@define
class _Reading:
    """One file while it is read."""

    call: _Call
    file: BackupFile
    parents: dict[str, _Keys]
    survey: Survey | None = None
    schema: TableSchema | None = None
    columns: tuple[TargetColumn, ...] = ()
    #: Key columns and what finds their repeated values.
    spills: list[tuple[int, Spill]] = field(factory=list)
    own_keys: _Keys = field(factory=set)
    is_parent: bool = False
    final_newline_missing: bool = False
    orphans: int | None = 0
    first_orphans: list[Orphan] = field(factory=list)
    #: Stored bytes read, in all passes.
    bytes_read: int = 0

    def read(self, stack: ExitStack) -> None:
        """Go through the whole file once."""
        with closing(self._blocks()) as blocks:
            reader = self._reader(blocks)
            self._begin(reader.header.names, stack)
            assert self.survey is not None  # noqa: S101 - made a moment ago
            for fields in reader:
                self.call.teller.cancel.check()  # a packed block can hold very many of them
                self.survey.add(fields)
                self._look_at_keys(fields)
            self.final_newline_missing = reader.final_newline_missing

    def _blocks(self) -> Generator[bytes, None, None]:
        update = self.call.teller.for_table(self.file.table)

        def on_read(size: int) -> None:
            self.bytes_read = min(self.bytes_read + size, self.file.size_bytes)
            update(self.bytes_read, self.survey.records if self.survey is not None else 0)

        return self.call.store.blocks(self.file, limits=self.call.limits, on_read=on_read)

    def _reader(self, blocks: Iterator[bytes]) -> CsvReader:
        return CsvReader(
            blocks,
            self.file.name,
            max_record_bytes=self.call.max_record_bytes,
            on_reject=self._reject,
        )

    def _reject(self, reject: Reject) -> None:
        if self.survey is not None:
            self.survey.reject(reject)

    def _begin(self, names: Sequence[str], stack: ExitStack) -> None:
        self.schema = shape_of(self.file.table, names)
        self.columns = columns_of(self.schema, names)
        self.survey = Survey(self.columns, self.call.limit)
        for name in _key_columns(self.schema, names):
            spill = stack.enter_context(Spill(self.call.folder, self.call.run_values))
            self.spills.append((names.index(name), spill))
        self.is_parent = is_parent(self.file.table)
        if self._parent() is None and self.schema is not None and self.schema.parent is not None:
            self.orphans = None

    def _parent(self) -> tuple[int, set[str]] | None:
        """Place of the column that refers to a parent, and the parent's keys."""
        names = [column.name for column in self.columns]
        if self.schema is None or self.schema.parent is None:
            return None
        column, table, _ = self.schema.parent
        keys = self.parents.get(table)
        return (names.index(column), keys) if column in names and keys is not None else None

    def _look_at_keys(self, fields: Fields) -> None:
        for place, spill in self.spills:
            values = key_values(self.columns[place], fields.columns[place])
            spill.add([value for value in values if value is not None])
        if self.is_parent and self.schema is not None and self.own_keys is not None:
            names = [column.name for column in self.columns]
            if self.schema.primary_key in names:
                place = names.index(self.schema.primary_key)
                values = key_values(self.columns[place], fields.columns[place])
                self.own_keys.update(value.decode() for value in values if value is not None)
                if len(self.own_keys) > _MAX_PARENT_KEYS:
                    self.own_keys = None
        parent = self._parent()
        if parent is not None and self.orphans is not None:
            self._count_orphans(fields, *parent)

    def _count_orphans(self, fields: Fields, place: int, keys: set[str]) -> None:
        cells = fields.columns[place]
        found = orphans(cells, keys)
        self.orphans = (self.orphans or 0) + len(found)
        for index in found[: self.call.limit - len(self.first_orphans)]:
            key = shown_cell(cells[index] or b"")
            self.first_orphans.append(Orphan(fields.first_record + index, key))

    def repeated(self) -> Iterator[RepeatedKeys]:
        """Values that key columns have more than once; reads the file again where there are any."""
        for place, spill in self.spills:
            found = spill.repeated(_MAX_REPEATED)
            if not found.extra:
                continue
            named = self._find(place, set(found.hashes.tolist()))
            exact = found.distinct == len(found.hashes)
            extra = sum(count - 1 for count, _ in named.values()) if exact else found.extra
            if extra:  # else the hashes were the same, and not the values
                values = len(named) if exact else found.distinct
                yield RepeatedKeys(
                    self.columns[place].name, extra, values, self._shown(named), exact
                )

    def _find(self, place: int, hashes: set[int]) -> dict[bytes, tuple[int, list[int]]]:
        """Values with these hashes that are there more than once: how often, and first records."""
        found: dict[bytes, tuple[int, list[int]]] = {}
        with closing(self._blocks()) as blocks:
            reader = self._reader(blocks)
            survey, self.survey = self.survey, None  # what is malformed was counted already
            try:
                for fields in reader:
                    self.call.teller.cancel.check()
                    values = key_values(self.columns[place], fields.columns[place])
                    for record, value in enumerate(values, fields.first_record):
                        if value is not None and hash(value) in hashes:
                            count, records = found.get(value, (0, []))
                            if count < _RECORDS_SHOWN:
                                records.append(record)
                            found[value] = (count + 1, records)
            finally:
                self.survey = survey
        return {value: seen for value, seen in found.items() if seen[0] > 1}

    def _shown(self, named: dict[bytes, tuple[int, list[int]]]) -> tuple[RepeatedKey, ...]:
        first = sorted(named.items(), key=lambda item: item[1][1])[: self.call.limit]
        return tuple(
            RepeatedKey(shown_cell(value), count, tuple(records))
            for value, (count, records) in first
        )

    def result(
        self, error: dict[str, object] | None, repeated: tuple[RepeatedKeys, ...]
    ) -> FileInspection:
        """What was found."""
        file, survey = self.file, self.survey or Survey((), 0)
        return FileInspection(
            table=file.table,
            file=file.name,
            size_bytes=file.size_bytes,
            error=error,
            records=survey.records,
            columns=survey.columns,
            repairs=survey.repairs,
            bad_records=survey.bad_records,
            bad_cells=survey.bad_cells,
            first_bad=tuple(survey.first_bad),
            repeated=repeated,
            orphans=self.orphans,
            first_orphans=tuple(self.first_orphans),
            claims=tuple(_claims(self.call.log, file)),
            missing_key=self._missing_key(),
            notes=tuple(self._notes(survey, error)),
        )

    def _missing_key(self) -> str | None:
        key = self.schema.primary_key if self.schema is not None else None
        return None if key in [column.name for column in self.columns] else key

    def _notes(self, survey: Survey, error: dict[str, object] | None) -> Iterator[str]:
        for column in survey.columns:
            if column.type_name is None:
                yield f'no known shape of {self.file.table} has a column "{column.name}"'
            if len(column.dimensions) > 1:
                yield f'vectors of "{column.name}" differ in their dimensions'
        if self.orphans is None:
            yield "whether rows refer to rows of the set could not be looked at"
        if self.final_newline_missing:
            yield "the file does not end with a row end: its last record may be cut short"
        if error is None and not survey.records:
            yield "there are no records: a restore in mode replace empties the table"
        if self.call.log is not None and (reason := self.call.log.failed.get(self.file.table)):
            yield f"the backup log says that the newest backup of the table failed: {reason}"


def _claims(log: BackupLog | None, file: BackupFile) -> Iterator[RowClaim]:
    """How many rows others say the file has: one row for each who says something."""
    if log is not None and (rows := log.rows_of(file.name)) is not None:
        yield RowClaim("log", rows)


def _key_columns(schema: TableSchema | None, names: Collection[str]) -> list[str]:
    keys = () if schema is None else (schema.primary_key, schema.unique)
    return [key for key in keys if key is not None and key in names]
