"""Restorer: the one place where storage meets database."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from types import TracebackType
from typing import Any

from pgvector_restore.cancel import CancelToken
from pgvector_restore.db.neighbours import Neighbour, nearest_neighbours
from pgvector_restore.db.pool import Target, TargetLike
from pgvector_restore.db.revert import revert_swap
from pgvector_restore.errors import OptionError
from pgvector_restore.gathering import facts_of, find_backup, sources_of
from pgvector_restore.model import BackupSet
from pgvector_restore.opening import header_of, read_manifest
from pgvector_restore.options import RestoreOptions, check_identifier, make_options
from pgvector_restore.plan import RestorePlan
from pgvector_restore.planning import make_plan, select_files
from pgvector_restore.progress import Progress, no_progress
from pgvector_restore.report import RestoreReport
from pgvector_restore.room import free_bytes
from pgvector_restore.rows.csv import DEFAULT_MAX_RECORD_BYTES
from pgvector_restore.runs import Run
from pgvector_restore.storage import BackupStore
from pgvector_restore.tracking import Tracker
from pgvector_restore.verify_report import VerifyReport
from pgvector_restore.verifying import check_limit, verify_backup

__all__ = ["Restorer", "revert_tables"]

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
        executor: Where files are loaded over several connections: any
            ``concurrent.futures.Executor`` whose workers reach the store and the database, such as
            ``ProcessPoolExecutor`` or Dask's ``Client.get_executor()``. It stays open. ``None``:
            processes of our own, which end with the restore.

    Raises:
        OptionError: The target cannot be understood. No connection is made yet.
    """

    def __init__(
        self, store: BackupStore, target: TargetLike, *, executor: Executor | None = None
    ) -> None:
        self.store = store
        self._executor = executor
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
        *,
        cancel: CancelToken | None = None,
        **changes: Any,  # noqa: ANN401 - the fields of RestoreOptions
    ) -> RestorePlan:
        """What a restore would do. Touches nothing: the transaction is read-only.

        Args:
            backup: A label (``vector_bak/20250722_010318``, ``latest``, ``<location>/latest``)
                or a set from the catalog.
            options: Options to start from.
            cancel: Calls it off from another thread, within about a second.
            **changes: Fields of :class:`~pgvector_restore.RestoreOptions`.

        Raises:
            CancelledError: It was called off.
            OptionError: A wrong option or table name.
            StoreError: The set is not there, incomplete, or cannot be read.
            BadDataError: A header that does not fit.
            TargetError: The database cannot be reached, or cannot take the set.
        """
        chosen = make_options(options, changes)
        found, catalog = find_backup(self.store, backup)
        manifest = read_manifest(self.store, found, use=chosen.check_manifest)
        files = select_files(found, chosen, manifest)
        sources = sources_of(self.store, found, files, chosen, manifest)
        facts = facts_of(self._target, found, chosen, cancel or CancelToken())
        return make_plan(
            found,
            chosen,
            sources,
            facts,
            catalog,
            free_bytes(facts.data_folder),
            fetched=self._executor is None and not self.store.is_local,
        )

    def run(
        self,
        plan: RestorePlan,
        *,
        progress: Progress = no_progress,
        cancel: CancelToken | None = None,
        mark: str | None = None,
    ) -> RestoreReport:
        """Do what the plan says: all tables or none.

        Returns only after COMMIT; whatever raises before leaves the database as it was. That is
        not so of rows on other servers, which a plan has only with ``allow_non_atomic``.

        Args:
            plan: From :meth:`plan` of this restorer.
            progress: Called with :class:`~pgvector_restore.progress.ProgressEvent`.
            cancel: Calls it off from another thread, within about a second.
            mark: Kept with the ledger's row, for each table, so that it can be found there should
                nobody see the end of the restore.

        Raises:
            CancelledError: It was called off.
            BadDataError: A record that cannot be restored, with file, record and column.
            StoreError: A file changed, vanished or cannot be read.
            TargetError: The database refused, was busy, or was lost.
        """
        tracker = Tracker(plan, progress, cancel or CancelToken())
        with self.store.hold(plan.backup):
            report = Run(self.store, self._target, plan, self._executor, tracker, mark).execute()
        _log.log(logging.WARNING if report.rows_rejected else logging.INFO, "%s", report)
        return report

    def restore(
        self,
        backup: str | BackupSet = "latest",
        options: RestoreOptions | None = None,
        *,
        progress: Progress = no_progress,
        cancel: CancelToken | None = None,
        **changes: Any,  # noqa: ANN401 - the fields of RestoreOptions
    ) -> RestoreReport:
        """:meth:`plan` and :meth:`run` in one."""
        plan = self.plan(backup, options, cancel=cancel, **changes)
        return self.run(plan, progress=progress, cancel=cancel)

    def verify(  # noqa: PLR0913 - what to compare, and how to follow it
        self,
        backup: str | BackupSet = "latest",
        *,
        tables: str | Iterable[str] | None = None,
        schema: str | None = None,
        limit: int = 10,
        max_record_bytes: int = DEFAULT_MAX_RECORD_BYTES,
        check_manifest: bool = True,
        progress: Progress = no_progress,
        cancel: CancelToken | None = None,
    ) -> VerifyReport:
        """Whether the database holds exactly this backup. Touches nothing.

        Files and tables are compared by content, cell repairs included, in one snapshot of the
        database. Only columns that a file has, and that the server does not compute, are compared.

        Args:
            backup: A label or a set from the catalog.
            tables: Tables to compare; ``None``: all of the set.
            schema: Their schema; ``None``: where the connection's search path finds them.
            limit: How many rows of each table are named if they differ, 0 to 1000.
            max_record_bytes: A longer record is refused.
            check_manifest: Use the set's manifest, if it has one.
            progress: Called with events of the phase ``verify``, then ``done``.
            cancel: Calls it off from another thread, within about a second.

        Raises:
            CancelledError: It was called off.
            OptionError: A wrong table name or limit.
            StoreError: The set is not there, incomplete, or cannot be read.
            BadDataError: A file that could not be restored.
            TargetError: The database cannot be reached, or a table is not there.
        """
        check_limit(limit)
        options = RestoreOptions(tables=tables, schema=schema, max_record_bytes=max_record_bytes)
        found, _ = find_backup(self.store, backup)
        manifest = read_manifest(self.store, found, use=check_manifest)
        files = select_files(found, options, manifest)
        described = {
            file: manifest.table(file.table) if manifest is not None else None for file in files
        }
        headers = {
            file: header_of(self.store, file, said, max_record_bytes)
            for file, said in described.items()
        }
        with self.store.hold(found):
            report = verify_backup(
                self.store,
                self._target,
                found,
                headers,
                described,
                options=options,
                limit=limit,
                progress=progress,
                cancel=cancel or CancelToken(),
            )
        _log.info("%s", report)
        return report

    def revert(
        self,
        report: RestoreReport | None = None,
        *,
        tables: Iterable[str] | None = None,
        schema: str | None = None,
    ) -> tuple[str, ...]:
        """Put back the tables that a restore with ``keep_previous`` has kept.

        The present ones are kept in their place, so that reverting twice changes nothing. One
        transaction, all tables or none.

        Args:
            report: The restore to take back; or name tables:
            tables: Table names.
            schema: Their schema; ``None``: where the connection's search path finds them.

        Returns:
            ``schema.table`` of each table that was put back.

        Raises:
            OptionError: Neither a report nor tables, or both.
            TargetMismatchError: Nothing was kept of one of them.
            TargetBusyError: Others held the tables until the time for it was over.
        """
        if (report is None) == (tables is None):
            raise OptionError("revert takes a report or the names of tables")
        if report is not None:
            tables, schema = [t.table for t in report.tables], report.schema
        return _revert(self._target, list(tables or ()), schema)

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


def revert_tables(
    target: TargetLike, tables: Sequence[str], schema: str | None = None
) -> tuple[str, ...]:
    """:meth:`Restorer.revert` for those who have no store at hand."""
    opened = Target(target)
    try:
        return _revert(opened, tables, schema)
    finally:
        opened.close()


def _revert(target: Target, tables: Sequence[str], schema: str | None) -> tuple[str, ...]:
    if not tables:
        raise OptionError("no table to put back is named")
    for name in tables:
        check_identifier(name, "table")
    with target.connection() as conn:
        return revert_swap(
            conn,
            schema,
            tables,
            lock_timeout_s=RestoreOptions().lock_timeout_s,
            reconnect=target.fresh,
        )
