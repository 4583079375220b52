"""One backup: snapshot, marker, files, checks, manifest; then what was asked for afterwards."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from datetime import datetime

from attrs import define, field, frozen

from pgvector_restore.backup_checks import (
    check_code,
    check_emptied,
    check_form,
    check_snapshot,
    location_of,
    suffix_of,
    table_to_empty,
)
from pgvector_restore.backup_options import BackupOptions
from pgvector_restore.backup_report import BackupReport, BackupTable
from pgvector_restore.cancel import CancelToken
from pgvector_restore.crew import crew_of
from pgvector_restore.db.encodings import naming_rows
from pgvector_restore.db.export import Snapshot, snapshot_of
from pgvector_restore.db.pool import Target
from pgvector_restore.db.relations import Relation
from pgvector_restore.describing import describe_set, parents_first
from pgvector_restore.dumping import Dump, Dumped
from pgvector_restore.errors import (
    CancelledError,
    OptionError,
    OutcomeUnknownError,
    PgvectorRestoreError,
    StoreChangedError,
    StoreError,
    TargetError,
)
from pgvector_restore.failpoints import reach
from pgvector_restore.gathering import find_backup
from pgvector_restore.model import BackupSet, Location
from pgvector_restore.names import check_file_names
from pgvector_restore.progress import Phase, Progress, ProgressEvent
from pgvector_restore.report import format_size
from pgvector_restore.storage import WritableStore
from pgvector_restore.storage.compression import codec_named
from pgvector_restore.storage.log import LogLine
from pgvector_restore.storage.new_set import NewSet

__all__ = ["BackupRun"]

#: Tables with fewer bytes together are read over one connection.
_SMALL_BYTES = 16 << 20
#: More connections than this are used only when asked for.
_MOST_JOBS = 4


@frozen
class _Published:
    """A set that is there, whatever comes now."""

    backup: BackupSet
    new: NewSet
    source: str
    schema: str
    tables: tuple[Relation, ...]
    dumped: Mapping[str, Dumped]
    warnings: tuple[str, ...]

    def relation(self, name: str) -> Relation:
        return next(table for table in self.tables if table.name == name)

    def size_of(self, name: str) -> int:
        return sum(file.size_bytes for file in self.dumped[name].files)

    def lines(self, emptied: str | None) -> list[LogLine]:
        """What the backup log tells of it."""
        return [
            LogLine(
                file.table,
                file.name,
                self.dumped[file.table].digest.rows,
                format_size(file.size_bytes),
                self.dumped[file.table].digest.rows if file.table == emptied else None,
            )
            for file in self.backup.files
        ]


@define
class BackupRun:
    """One backup.

    Args:
        store: Where it goes.
        target: The database.
        options: What is asked for.
        progress: The listener.
        cancel: Calls it off.
    """

    _store: WritableStore
    _target: Target
    _options: BackupOptions
    _progress: Progress
    _cancel: CancelToken
    _started: float = field(factory=time.perf_counter, init=False)
    _bytes_total: int = field(default=0, init=False)
    _bytes_done: int = field(default=0, init=False)
    _rows: int = field(default=0, init=False)
    _remove_seconds: float = field(default=0.0, init=False)

    def execute(self) -> BackupReport:
        """Do it; see :meth:`pgvector_restore.Backuper.backup`."""
        options, layout = self._options, self._store.layout
        location = location_of(layout, options.task_id)
        names = tuple(options.tables or layout.tables)
        check_file_names(names)
        emptied = table_to_empty(layout, names) if options.truncate_after else None
        suffix = suffix_of(layout, options)
        self._tell("prepare")
        published: _Published | None = None
        unfound: PgvectorRestoreError | None = None
        warnings: list[str] = []
        try:
            with snapshot_of(
                self._target, names, options, emptied=emptied, cancel=self._cancel
            ) as snapshot:
                check_code(snapshot, allowed=options.allow_attached_code)
                check_emptied(snapshot, emptied)
                warnings += check_snapshot(snapshot, allowed=options.allow_non_atomic)
                check_form(snapshot, options.format)
                published = self._publish(snapshot, location, suffix, emptied)
                unfound = self._unfound(published.backup)
                if emptied is not None and unfound is None:
                    self._cancel.check()
                    began = time.perf_counter()
                    snapshot.truncate(published.relation(emptied))
                    self._remove_seconds = time.perf_counter() - began
        except PgvectorRestoreError as exc:
            if published is None:
                if self._cancel.cancelled and not isinstance(exc, CancelledError):
                    raise CancelledError("cancelled: nothing has changed") from exc
                raise
            if emptied is not None:
                self._write_log(published, None)
                label = published.backup.label
                if self._cancel.cancelled and not isinstance(exc, OutcomeUnknownError):
                    raise CancelledError(
                        f"cancelled: backup {label} is complete, nothing was removed from {emptied}"
                    ) from exc
                raise _not_emptied(exc, label, emptied) from exc
            warnings.append(f"after the backup was complete: {exc}")
        if unfound is not None:
            self._write_log(published, None)
            raise StoreError(
                f"backup {published.backup.label} is complete, but a restore does not find it by"
                f" its label: {unfound.message}",
                hint=unfound.hint,
            ) from unfound
        warnings += self._write_log(published, emptied)
        warnings += self._unlisted()
        report = self._report(published, emptied, warnings)
        self._tell("done")
        return report

    def _publish(
        self, snapshot: Snapshot, location: Location, suffix: str, emptied: str | None
    ) -> _Published:
        taken_at = datetime.now().astimezone()
        tables = parents_first(snapshot.tables)
        self._bytes_total = sum(table.size_bytes for table in tables)
        self._cancel.check()
        new = NewSet(self._store, location, datetime.now())  # noqa: DTZ005 - sets have local time
        try:
            reach("backup.marker")
            dumped = self._dump(snapshot, tables, new, suffix)
            self._bytes_done = self._bytes_total
            self._tell("verify")
            reach("backup.verify")
            new.check(read_back=self._options.truncate_after, on_block=self._cancel.check)
            # That the rows will go is on the disk before they do: it may be said of rows that have
            # stayed, never the reverse.
            manifest = describe_set(
                new.timestamp,
                taken_at,
                snapshot.facts,
                tables,
                dumped,
                self._options,
                emptied=emptied,
            )
            self._tell("publish")
            self._cancel.check()
            reach("backup.publish")
            backup = new.publish(manifest)
        except BaseException:
            new.abandon()
            raise
        reach("backup.published")
        facts = snapshot.facts
        warnings = new.unmark()
        return _Published(backup, new, facts.label, facts.schema, tables, dumped, tuple(warnings))

    def _unfound(self, backup: BackupSet) -> PgvectorRestoreError | None:
        """Why the door that restores use does not lead to the set; ``None``: it does."""
        try:
            found, _ = find_backup(self._store, backup.label)
        except (StoreError, OptionError) as exc:
            return exc
        # Not the log: another backup to this folder may be writing it.
        same = found.files == backup.files and found.manifest == backup.manifest
        if not same or found.location.key != backup.location.key:
            return StoreChangedError(f"it leads to other files than those of {backup.label}")
        return None

    def _unlisted(self) -> list[str]:
        """A warning where the store cannot be listed as a whole."""
        try:
            for _ in self._store.candidates(max_depth=self._store.layout.max_depth):
                pass
        except StoreError as exc:
            refused = "only part of the store can be listed, so list, prune and latest are refused"
            return [f"{refused}: {exc.message}"]
        return []

    def _dump(
        self, snapshot: Snapshot, tables: Sequence[Relation], new: NewSet, suffix: str
    ) -> dict[str, Dumped]:
        options = self._options
        packer = codec_named(options.codec).packer() if options.codec is not None else None
        names = [table.name for table in tables]
        with (
            naming_rows(self._target.fresh, lambda: snapshot.facts.schema, names),
            snapshot.readers(self._jobs(), fewer=options.jobs == "auto") as readers,
            crew_of(readers, self._cancel) as crew,
        ):
            dump = Dump(
                new, self._store.layout, crew, packer, suffix, options.digest, self._on_read
            )
            return dump.tables(tables, options.format)

    def _jobs(self) -> int:
        if self._options.jobs != "auto":
            return self._options.jobs
        if self._bytes_total < _SMALL_BYTES:
            return 1
        binary = self._options.format == "binary"
        if not self._store.is_local and (binary or self._options.codec is None):
            # The network is waited for, and what is read meanwhile waits in memory. In binary each
            # connection uploads a file of its own.
            return 2
        # In binary one connection keeps two cores busy: the server's, and ours with hashing.
        cores = (os.cpu_count() or 1) // (2 if binary else 1)
        return min(_MOST_JOBS, max(cores, 1))

    def _on_read(self, table: str | None, rows: int, size_bytes: int) -> None:
        self._rows = rows
        self._bytes_done = min(size_bytes, self._bytes_total)
        self._tell("read", table)

    def _tell(self, phase: Phase, table: str | None = None) -> None:
        self._progress(ProgressEvent(phase, table, self._bytes_done, self._bytes_total, self._rows))

    def _write_log(self, published: _Published, emptied: str | None) -> list[str]:
        seconds = time.perf_counter() - self._started
        return published.new.write_log(published.lines(emptied), seconds)

    def _report(
        self, published: _Published, emptied: str | None, warnings: Sequence[str]
    ) -> BackupReport:
        tables = [
            BackupTable(
                table.name,
                dumped.digest.rows,
                published.size_of(table.name),
                tuple(file.name for file in dumped.files),
                dumped.digest.hex if self._options.digest else None,
                dumped.seconds,
                dumped.digest.rows if table.name == emptied else 0,
                self._remove_seconds if table.name == emptied else 0.0,
            )
            for table in published.tables
            for dumped in [published.dumped[table.name]]
        ]
        return BackupReport(
            published.backup,
            published.source,
            published.schema,
            self._options.format,
            self._options.codec,
            tuple(tables),
            (*published.warnings, *warnings),
            time.perf_counter() - self._started,
            datetime.now().astimezone(),
            one_snapshot=not any(table.elsewhere for table in published.tables),
        )


def _not_emptied(exc: PgvectorRestoreError, label: str, table: str) -> TargetError:
    """The error after publishing: of the same kind, but it says what there is."""
    marked = "prune keeps the backup as if the rows had gone"
    hint = f"{exc.hint}; {marked}" if exc.hint else marked
    if isinstance(exc, OutcomeUnknownError):
        return OutcomeUnknownError(
            f"backup {label} is complete; the connection was lost while {table} was emptied",
            hint=f"look whether the table is empty; {marked}",
        )
    kind = type(exc) if isinstance(exc, TargetError) else TargetError
    return kind(
        f"backup {label} is complete, but nothing was removed from {table}: {exc.message}",
        hint=hint,
        sqlstate=getattr(exc, "sqlstate", None),
    )
