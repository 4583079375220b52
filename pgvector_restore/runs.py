"""One run of a plan: the tables are loaded, indexed, verified and published."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack, closing
from datetime import datetime

import attrs

from pgvector_restore._version import __version__
from pgvector_restore.binary_feed import BinaryFeed
from pgvector_restore.comparing import TableCheck
from pgvector_restore.db.in_place import restore_in_place
from pgvector_restore.db.indexes import BuildSettings
from pgvector_restore.db.interrupt import interruptible
from pgvector_restore.db.kept import Kept
from pgvector_restore.db.ledger import LedgerEntry
from pgvector_restore.db.marks import Origin
from pgvector_restore.db.pool import Connection, Target
from pgvector_restore.db.server import check_identity
from pgvector_restore.db.session import resting
from pgvector_restore.db.staged import load_rows
from pgvector_restore.db.swap import swapping
from pgvector_restore.db.verify import snapshot
from pgvector_restore.db.watch import Watcher
from pgvector_restore.db.work import LoadResult, TableLoad, Work
from pgvector_restore.failpoints import reach
from pgvector_restore.feed import TableFeed
from pgvector_restore.loading import Loader
from pgvector_restore.pieces import Loaded
from pgvector_restore.plan import RestorePlan, TablePlan
from pgvector_restore.progress import ServerStep
from pgvector_restore.quarantine import Quarantine, quarantine
from pgvector_restore.report import RestoreReport
from pgvector_restore.reporting import table_report, table_warnings
from pgvector_restore.storage import BackupStore
from pgvector_restore.tracking import Tracker
from pgvector_restore.verify_report import mismatch

__all__ = ["Run"]

#: Rows that an error names when a restore compares content.
_NAMED_ROWS = 10
#: Of a restore's number, which tells it from all others.
_ID_BYTES = 8


class Run:
    """Does what a plan says, once.

    Args:
        store: Where the files lie.
        target: Where the rows go.
        plan: What to do.
        executor: Where parts of files are loaded; ``None``: in processes of our own.
        tracker: Told how far it is.
        mark: What the ledger's row can be found by.
    """

    def __init__(
        self,
        store: BackupStore,
        target: Target,
        plan: RestorePlan,
        executor: Executor | None,
        tracker: Tracker,
        mark: str | None = None,
    ) -> None:
        self._store = store
        self._target = target
        self._plan = plan
        self._executor = executor
        self._tracker = tracker
        self._mark = mark
        self._origin = Origin(secrets.token_hex(_ID_BYTES), plan.backup.label)
        self._kept: Kept | None = None
        self._watcher = Watcher(target.spare, self._tracker.tell_step)
        self._feeds: list[TableFeed | BinaryFeed] = []
        self._quarantine: Quarantine | None = None
        self._warnings = list(plan.warnings)
        self._content = plan.options.verify == "content"
        self._digests: dict[str, str] = {}

    def execute(self) -> RestoreReport:
        """Run it; returns only when the result is committed."""
        started = time.perf_counter()
        self._tracker.tell("prepare")
        with quarantine(self._store, self._plan) as self._quarantine:
            with (
                self._target.connection() as conn,
                interruptible(conn, self._tracker.cancel) as interrupter,
                closing(self._watcher),
            ):
                reach("connect", conn)
                check_identity(conn, self._plan.facts)
                self._feeds = [self._feed(conn, table) for table in self._plan.tables]
                work = self._work(conn, interrupter.disarm)
                if self._plan.strategy == "swap":
                    results = self._swap(conn, work)
                else:
                    results = restore_in_place(conn, work)
            if self._quarantine is not None:
                self._warnings += self._quarantine.publish()
        report = self._report(results, time.perf_counter() - started)
        self._tracker.tell_done()
        return report

    def _work(self, conn: Connection, settled: Callable[[], None]) -> Work:
        plan = self._plan
        return Work(
            plan.facts,
            [
                TableLoad(t.target, feed, t.rebuilt)
                for t, feed in zip(plan.tables, self._feeds, strict=True)
            ],
            plan.options,
            plan.generation,
            BuildSettings(plan.options.maintenance_memory, plan.index_workers),
            self._watcher,
            self._tracker.tell,
            lambda: self._check(conn, plan.tables),
            settled,
            self._target.fresh,
            self._origin,
            self._ledger() if plan.options.ledger else None,
        )

    def _ledger(self) -> LedgerEntry:
        plan = self._plan
        return LedgerEntry(
            plan.backup.label,
            self._store.url,
            plan.options.mode,
            plan.strategy,
            __version__,
            self._mark,
        )

    def _feed(self, conn: Connection, table: TablePlan) -> TableFeed | BinaryFeed:
        # By table as well, where it is there: behind a pooler the number is not the server's.
        pids, relids = [conn.info.backend_pid], [table.target.oid or 0]

        def server() -> ServerStep | None:
            rows = self._watcher.copied(pids, relids)
            if rows is None:
                return None
            return _copy_step(table, rows)

        update = self._tracker.for_table(table.name, server)
        options = self._plan.options
        if table.as_is:
            return BinaryFeed(
                self._store, table, options.max_record_bytes, update, limits=options.unpack_limits
            )
        return TableFeed(
            self._store,
            table,
            options.max_record_bytes,
            update,
            on_reject=self._quarantine.of(table.source) if self._quarantine else None,
            limits=options.unpack_limits,
            content=self._content and table.wire == "binary",
        )

    def _check(self, conn: Connection, loaded: Sequence[TablePlan]) -> None:
        """Last checks: the logs' counts, content if asked for, and the files as they were listed.

        Args:
            conn: Where a transaction is open, if content is to be compared.
            loaded: The tables as they were loaded, which may be staging tables.
        """
        self._tracker.tell("verify")
        for feed, table in zip(self._feeds, loaded, strict=True):
            table.check_count(feed.rows_read)
            if self._content:
                self._compare(conn, feed, table)
            self._store.check_unchanged(table.source)
        if self._quarantine is not None:
            self._quarantine.seal()
        reach("verify")
        self._tracker.tell("publish")

    def _compare(self, conn: Connection, feed: TableFeed | BinaryFeed, table: TablePlan) -> None:
        options = self._plan.options
        check = TableCheck(
            conn,
            self._store,
            table,
            options.max_record_bytes,
            added_only=options.mode == "append",
            on_progress=lambda _bytes, _rows: self._tracker.tell("verify"),
            limits=options.unpack_limits,
            left_out=feed.rejected if self._quarantine is not None else None,
        )
        content = None if table.as_is else feed.content
        # What was left out or repaired is not what the manifest speaks of.
        as_stored = not feed.rejected and not feed.repairs
        claimed = table.claimed_digest if as_stored else None
        compared = check.compare(_NAMED_ROWS, content, claimed)
        self._digests[table.name] = compared.database_digest
        if not compared.equal:
            raise mismatch(compared)

    def _swap(self, conn: Connection, work: Work) -> list[LoadResult]:
        with ExitStack() as stack:
            # First of all: whether there are connections is known before anything is locked, and
            # processes start while the server creates tables.
            with resting(conn):
                loader = stack.enter_context(
                    Loader(
                        self._store,
                        self._target,
                        self._plan,
                        self._executor,
                        self._tracker.cancel,
                    )
                )
            self._warnings += loader.warnings
            if not loader.spare:
                self._watcher.close()
            swap = stack.enter_context(swapping(conn, work, in_parts=loader.used))
            seconds = []
            for staged, table, feed in zip(
                swap.staged, self._plan.tables, self._feeds, strict=True
            ):
                started = time.perf_counter()
                if loader.takes(table):
                    new = attrs.evolve(table, target=staged.table)
                    with resting(conn):
                        loader.load(new, feed, self._quarantine, self._progress(new))
                else:
                    load_rows(conn, staged.table, feed)
                table.check_count(feed.rows_read)
                seconds.append(time.perf_counter() - started)
            with resting(conn):  # a listener may take its time
                self._tracker.tell("index")
            results = swap.complete(seconds)
            loaded = [
                attrs.evolve(table, target=staged.table)
                for table, staged in zip(self._plan.tables, swap.staged, strict=True)
            ]
            with snapshot(conn) as cur:
                work.configure(cur)
                self._check(conn, loaded)
            self._warnings += swap.publish(results)
            self._kept = swap.kept
        return results

    def _progress(self, table: TablePlan) -> Callable[[Loaded], None]:
        """Tells of a table that is loaded over several connections."""
        finished = Loaded()
        loading, before = 0, 0

        def server() -> ServerStep | None:
            nonlocal loading, before
            rows = self._watcher.copied(relids=[table.target.oid or 0])
            if rows is None:
                return None
            if rows != loading:  # a new answer: what has finished since is not counted twice
                loading, before = rows, finished.rows
            return _copy_step(table, before + loading)

        update = self._tracker.for_table(table.name, server)

        def on_change(done: Loaded) -> None:
            nonlocal finished
            finished = done
            update(done.bytes_read, done.rows)

        return on_change

    def _report(self, results: Sequence[LoadResult], seconds: float) -> RestoreReport:
        plan = self._plan
        tables = []
        warnings = self._warnings
        for table, feed, result in zip(plan.tables, self._feeds, results, strict=True):
            aside = self._quarantine.reject_file(table.name) if self._quarantine else None
            digest = self._digests.get(table.name)
            tables.append(table_report(table, feed, result, aside, digest))
            warnings += result.warnings
            warnings += table_warnings(plan, table, feed, result)
        return RestoreReport(
            backup=plan.backup,
            target=plan.facts.label,
            schema=plan.facts.schema,
            mode=plan.options.mode,
            strategy=plan.strategy,
            tables=tuple(tables),
            extension_created=plan.creates_extension,
            warnings=tuple(dict.fromkeys(warnings)),
            seconds=seconds,
            finished_at=datetime.now().astimezone(),
            verified=plan.options.verify,
            reject_folder=_folder(self._quarantine),
            atomic=plan.atomic,
            restore_id=self._origin.restore_id,
            kept=tuple(f"{self._kept.place}.{name}" for name in self._kept.tables)
            if self._kept is not None
            else (),
        )


def _copy_step(table: TablePlan, rows: int) -> ServerStep:
    return ServerStep(f"COPY {table.name}", "loading", rows, table.counted_rows or 0, "rows")


def _folder(aside: Quarantine | None) -> str | None:
    return str(aside.folder) if aside is not None and aside.folder is not None else None
