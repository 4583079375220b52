"""Restorer: the one place where storage meets database."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any

from attrs import evolve

from pgvector_restore.db.claims import check_unclaimed
from pgvector_restore.db.in_place import LoadResult, TableLoad, restore_in_place
from pgvector_restore.db.inspect import configure_session, find_schema, inspect_target
from pgvector_restore.db.neighbours import Neighbour, nearest_neighbours
from pgvector_restore.db.pool import Target, TargetLike
from pgvector_restore.errors import OptionError
from pgvector_restore.feed import TableFeed, read_header
from pgvector_restore.model import BackupFile, BackupSet
from pgvector_restore.options import RestoreOptions, make_options
from pgvector_restore.plan import RestorePlan, SourceFacts, make_plan, select_files
from pgvector_restore.progress import Phase, Progress, ProgressEvent, no_progress
from pgvector_restore.report import RestoreReport, TableReport
from pgvector_restore.storage import BackupStore
from pgvector_restore.target import TargetFacts

__all__ = ["Restorer"]

_log = logging.getLogger(__name__)


class Restorer:
    """Restores backup sets of one store into one database.

    Safe to use from several threads: every call takes a connection of its own from the pool, and
    two restores of the same table refuse each other. Nothing is printed and nothing global is
    changed. Use it as a context manager, or call :meth:`close`.

    Args:
        store: Where the backups lie; see :func:`pgvector_restore.open_store`.
        target: Conninfo or URL, a mapping of libpq keywords (``host``, ``port``, ``dbname``,
            ``user``, ``password`` …), or your own ``psycopg_pool.ConnectionPool``, which stays
            open when the restorer is closed.

    Raises:
        OptionError: The target cannot be understood. No connection is made yet.
    """

    def __init__(self, store: BackupStore, target: TargetLike) -> None:
        self.store = store
        self._target = Target(target)

    def __enter__(self) -> Restorer:  # noqa: PYI034 - typing.Self came with 3.11
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Restorer from {self.store.url}>"

    def close(self) -> None:
        """Close the connections this restorer has opened. A pool of the caller's stays open."""
        self._target.close()

    def plan(
        self,
        backup: str | BackupSet = "latest",
        options: RestoreOptions | None = None,
        **changes: Any,  # noqa: ANN401 - the fields of RestoreOptions
    ) -> RestorePlan:
        """What a restore would do. Touches nothing: the transaction is read-only.

        Args:
            backup: A label (``vector_bak/20250722_010318``, ``latest``, ``<location>/latest``)
                or a set from the catalog.
            options: Options to start from.
            **changes: Fields of :class:`~pgvector_restore.RestoreOptions`.

        Raises:
            OptionError: A wrong option or table name.
            StoreError: The set is not there, incomplete, or cannot be read.
            BadDataError: A header that does not fit.
            TargetError: The database cannot be reached, or cannot take the set.
        """
        chosen = make_options(options, changes)
        if not isinstance(backup, (str, BackupSet)):
            raise OptionError(
                f"a backup is a label or a set of the catalog, not {type(backup).__name__}"
            )
        found = backup if isinstance(backup, BackupSet) else self.store.catalog().get(backup)
        sources = self._sources(found, select_files(found, chosen), chosen)
        return make_plan(found, chosen, sources, self._facts(found, chosen))

    def run(self, plan: RestorePlan, *, progress: Progress = no_progress) -> RestoreReport:
        """Do what the plan says: all tables or none.

        Returns only after COMMIT; whatever raises before leaves the database as it was.

        Args:
            plan: From :meth:`plan` of this restorer.
            progress: Called with :class:`~pgvector_restore.progress.ProgressEvent`.

        Raises:
            BadDataError: A record that cannot be restored, with file, record and column.
            StoreError: A file changed, vanished or cannot be read.
            TargetError: The database refused, was busy, or was lost.
        """
        started = time.perf_counter()
        tracker = _Tracker(plan, progress)
        tracker.tell("prepare")
        feeds = [
            TableFeed(self.store, table, plan.options, tracker.for_table(table.name))
            for table in plan.tables
        ]

        def before_commit(_: Sequence[LoadResult]) -> None:
            tracker.tell("verify")
            for feed, table in zip(feeds, plan.tables, strict=True):
                feed.check_count()
                self.store.check_unchanged(table.source)
            tracker.tell("publish")

        with self._target.connection() as conn:
            results = restore_in_place(
                conn,
                plan.facts,
                [TableLoad(t.target, f) for t, f in zip(plan.tables, feeds, strict=True)],
                plan.options,
                generation=plan.generation,
                before_commit=before_commit,
            )
        report = _report(plan, feeds, results, time.perf_counter() - started)
        _log.info("%s", report)
        tracker.tell_done()
        return report

    def restore(
        self,
        backup: str | BackupSet = "latest",
        options: RestoreOptions | None = None,
        *,
        progress: Progress = no_progress,
        **changes: Any,  # noqa: ANN401 - the fields of RestoreOptions
    ) -> RestoreReport:
        """:meth:`plan` and :meth:`run` in one."""
        return self.run(self.plan(backup, options, **changes), progress=progress)

    def nearest_neighbours(
        self, table: str, *, schema: str, count: int = 3
    ) -> tuple[Neighbour, ...]:
        """A look at a restored table: its first row and the ``count`` rows nearest to it.

        Cosine distance over the whole table, without an index. Empty for a table without vectors.

        Raises:
            OptionError: A negative count.
        """
        if count < 0:
            raise OptionError(f"count must not be negative, it is {count}")
        with self._target.reading() as cur:
            return nearest_neighbours(cur, schema, table, count)

    def _sources(
        self, backup: BackupSet, files: Sequence[BackupFile], options: RestoreOptions
    ) -> list[SourceFacts]:
        log = self.store.read_log(backup.location) if options.check_log else None
        return [
            SourceFacts(
                file,
                read_header(self.store, file, options.max_record_bytes),
                log.rows_of(file.name) if log is not None else None,
            )
            for file in files
        ]

    def _facts(self, backup: BackupSet, options: RestoreOptions) -> TargetFacts:
        names = [file.table for file in backup.files]
        with self._target.reading() as cur:
            schema = find_schema(cur, options.schema, names)
            configure_session(cur, options.lock_timeout_s)
            check_unclaimed(cur, schema, names)
            return inspect_target(cur, schema, names)


class _Tracker:
    """Adds up the progress of several tables."""

    def __init__(self, plan: RestorePlan, progress: Progress) -> None:
        self._progress = progress
        logged = [t.logged_rows for t in plan.tables]
        rows = None if None in logged else sum(n for n in logged if n is not None)
        self._event = ProgressEvent("prepare", None, 0, plan.size_bytes, 0, rows)
        self._done: dict[str, tuple[int, int]] = {}

    def tell(self, phase: Phase) -> None:
        self._event = evolve(self._event, phase=phase, table=None)
        self._progress(self._event)

    def tell_done(self) -> None:
        """The restore is committed: a listener that fails now must not make it look failed."""
        try:
            self.tell("done")
        except Exception:  # noqa: BLE001 - whatever a listener raises
            _log.exception("progress listener failed after the restore was committed")

    def for_table(self, table: str) -> Callable[[int, int], None]:
        def update(bytes_read: int, rows: int) -> None:
            self._done[table] = (bytes_read, rows)
            self._event = evolve(
                self._event,
                phase="load",
                table=table,
                bytes_done=sum(b for b, _ in self._done.values()),
                rows_done=sum(r for _, r in self._done.values()),
            )
            self._progress(self._event)

        return update


def _report(
    plan: RestorePlan, feeds: Sequence[TableFeed], results: Sequence[LoadResult], seconds: float
) -> RestoreReport:
    tables = []
    warnings = list(plan.warnings)
    for table, feed, result in zip(plan.tables, feeds, results, strict=True):
        tables.append(
            TableReport(
                table=table.name,
                source_file=feed.file,
                size_bytes=table.source.size_bytes,
                created=table.create,
                rows_before=result.rows_before,
                rows_removed=result.rows_removed,
                rows_read=feed.rows,
                rows_loaded=result.rows_loaded,
                rows_after=result.rows_after,
                repairs=feed.repairs,
                remove_seconds=result.remove_seconds,
                seconds=result.seconds,
            )
        )
        if feed.final_newline_missing:
            warnings.append(
                f"{feed.file} does not end with a row end: its last record may be cut short"
            )
        warnings += [
            f"the sequence of {table.name}.{column} could not be moved on: "
            "the role has no UPDATE on it, and the next INSERT may collide"
            for column in result.sequences_kept
        ]
        if result.rows_removed and not feed.rows and table.logged_rows is None:
            warnings.append(
                f"{feed.file} has no rows: {table.name} is empty now, "
                f"{result.rows_removed} rows were removed"
            )
    return RestoreReport(
        backup=plan.backup,
        target=plan.facts.label,
        schema=plan.facts.schema,
        mode=plan.options.mode,
        strategy=plan.strategy,
        tables=tuple(tables),
        extension_created=plan.creates_extension,
        warnings=tuple(warnings),
        seconds=seconds,
        finished_at=datetime.now().astimezone(),
    )
