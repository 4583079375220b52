"""Restorer: the one place where storage meets database."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from contextlib import closing
from functools import cached_property
from types import TracebackType
from typing import Any

from attrs import evolve

from pgvector_restore.cancel import CancelToken
from pgvector_restore.db import kept
from pgvector_restore.db.conninfo import TargetLike
from pgvector_restore.db.kept import list_previous
from pgvector_restore.db.neighbours import Neighbour, nearest_neighbours
from pgvector_restore.db.pool import Target
from pgvector_restore.db.revert import RevertedRestore, revert_swap
from pgvector_restore.errors import OptionError
from pgvector_restore.gathering import facts_of, find_backup, sources_of
from pgvector_restore.model import BackupSet
from pgvector_restore.opening import header_of, read_manifest
from pgvector_restore.options import RestoreOptions, check_identifier, make_options
from pgvector_restore.plan import RestorePlan
from pgvector_restore.planning import make_plan, select_files
from pgvector_restore.previous import PreviousTables, RevertReport
from pgvector_restore.progress import Progress, no_progress
from pgvector_restore.report import RestoreReport
from pgvector_restore.room import free_bytes
from pgvector_restore.rows.csv import DEFAULT_MAX_RECORD_BYTES
from pgvector_restore.runs import Run
from pgvector_restore.storage import BackupStore
from pgvector_restore.tracking import Tracker
from pgvector_restore.verify_report import VerifyReport
from pgvector_restore.verifying import check_limit, verify_backup

__all__ = ["Restorer", "drop_previous", "previous_tables", "revert_tables"]

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

    @cached_property
    def _store_address(self) -> str:
        return self.store.address  # once: a folder that goes away has another one

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
        plan = make_plan(
            found,
            chosen,
            sources,
            facts,
            catalog,
            free_bytes(facts.data_folder),
            fetched=self._executor is None and not self.store.is_local,
        )
        return evolve(plan, store_url=self.store.url, store_address=self._store_address)

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
            OptionError: The plan was made for another store.
            TargetMismatchError: It was made for another database, a copy of this one for example.
            CancelledError: It was called off.
            BadDataError: A record that cannot be restored, with file, record and column.
            StoreError: A file changed, vanished or cannot be read.
            TargetError: The database refused, was busy, or was lost.
        """
        if plan.store_address != self._store_address:
            raise OptionError(
                f"the plan was made for another store: {plan.store_url}",
                hint="make a plan with this restorer",
            )
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
        tables: str | Iterable[str] | None = None,
        schema: str | None = None,
        cancel: CancelToken | None = None,
    ) -> RevertReport:
        """Put back the tables that a restore with ``keep_previous`` has kept.

        The present ones are kept in their place: a second revert puts those back again. One
        transaction, all tables or none. Owner, privileges, policies and row security stay the
        present ones, and so do sequences.

        Args:
            report: The restore to take back. It must be the last one that has replaced its tables.
            tables: Or names of tables. Those that foreign keys tie go together.
            schema: Their schema; ``None``: where the connection's search path finds them.
            cancel: Calls it off, until COMMIT.

        Without report and tables: all that the last swap has kept.

        Returns:
            What is there now. Iterating it gives ``schema.table`` of each table.

        Raises:
            OptionError: A report and tables, or no table.
            TargetMismatchError: That is not kept, tied to other tables, of another definition, or
                used by something else.
            TargetBusyError: Others held the tables until the time for it was over.
            CancelledError: It was called off; nothing has changed.
            OutcomeUnknownError: The connection was lost during COMMIT, and nobody can tell.
        """
        if report is not None and tables is not None:
            raise OptionError("revert takes a report or the names of tables, not both")
        if report is not None:
            wanted = RevertedRestore(report.restore_id, report.backup.label, bool(report.kept))
            return _revert(self._target, wanted, schema, cancel)
        return _revert(self._target, _checked(tables), schema, cancel)

    def previous(self, schema: str | None = None) -> tuple[PreviousTables, ...]:
        """What restores with ``keep_previous`` have kept, newest first. Touches nothing.

        Only what this role, or one with all of its rights, has kept.

        Args:
            schema: Only what was kept of tables in it; ``None``: all of the database.

        Raises:
            TargetError: The database cannot be reached.
        """
        return _previous(self._target, schema)

    def drop_previous(
        self, *restores: str | RestoreReport | PreviousTables, cancel: CancelToken | None = None
    ) -> tuple[PreviousTables, ...]:
        """Drop what these restores have kept: all of it or none.

        Args:
            *restores: Their reports, what :meth:`previous` gives, or a ``restore_id``.
            cancel: Calls it off, until COMMIT.

        Returns:
            What has gone.

        Raises:
            OptionError: None is named.
            TargetMismatchError: One has kept nothing that is there, or something depends on it.
            TargetBusyError: Others held the tables until the time for it was over.
            CancelledError: It was called off; nothing has changed.
            OutcomeUnknownError: The connection was lost during COMMIT, and nobody can tell.
        """
        names = [one if isinstance(one, str) else one.restore_id for one in restores]
        return _drop_previous(self._target, names, cancel)

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
    target: TargetLike,
    tables: str | Iterable[str] | None = None,
    schema: str | None = None,
    *,
    cancel: CancelToken | None = None,
) -> RevertReport:
    """:meth:`Restorer.revert` for those who have no store at hand."""
    wanted = _checked(tables)
    with closing(Target(target)) as opened:
        return _revert(opened, wanted, schema, cancel)


def previous_tables(target: TargetLike, schema: str | None = None) -> tuple[PreviousTables, ...]:
    """:meth:`Restorer.previous` for those who have no store at hand."""
    with closing(Target(target)) as opened:
        return _previous(opened, schema)


def drop_previous(
    target: TargetLike, restore_ids: Sequence[str], *, cancel: CancelToken | None = None
) -> tuple[PreviousTables, ...]:
    """:meth:`Restorer.drop_previous` for those who have no store at hand."""
    with closing(Target(target)) as opened:
        return _drop_previous(opened, restore_ids, cancel)


def _checked(tables: str | Iterable[str] | None) -> list[str] | None:
    if tables is None:
        return None
    names = [tables] if isinstance(tables, str) else list(tables)
    if not names:
        raise OptionError("no table to put back is named")
    for name in names:
        check_identifier(name, "table")
    return names


def _revert(
    target: Target,
    wanted: RevertedRestore | list[str] | None,
    schema: str | None,
    cancel: CancelToken | None,
) -> RevertReport:
    if schema is not None:
        check_identifier(schema, "schema")
    with target.connection() as conn:
        report = revert_swap(
            conn,
            wanted,
            schema,
            lock_timeout_s=RestoreOptions().lock_timeout_s,
            reconnect=target.fresh,
            cancel=cancel or CancelToken(),
        )
    _log.info("%s", report)
    return report


def _previous(target: Target, schema: str | None) -> tuple[PreviousTables, ...]:
    if schema is not None:
        check_identifier(schema, "schema")
    with target.connection() as conn:
        return list_previous(conn, schema, RestoreOptions().lock_timeout_s)


def _drop_previous(
    target: Target, restore_ids: Sequence[str], cancel: CancelToken | None
) -> tuple[PreviousTables, ...]:
    if not restore_ids:
        raise OptionError("no restore is named whose kept tables are to be dropped")
    with target.connection() as conn:
        gone = kept.drop_previous(
            conn,
            restore_ids,
            lock_timeout_s=RestoreOptions().lock_timeout_s,
            reconnect=target.fresh,
            cancel=cancel or CancelToken(),
        )
    for one in gone:
        _log.info("dropped what %s", one)
    return gone
