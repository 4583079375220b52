"""One run of a plan: the tables are loaded, indexed, verified and published."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from datetime import datetime

import attrs

from pgvector_restore import pieces
from pgvector_restore.db.in_place import restore_in_place
from pgvector_restore.db.indexes import BuildSettings
from pgvector_restore.db.pool import Connection, Target
from pgvector_restore.db.staged import load_rows
from pgvector_restore.db.swap import Staged, swapping
from pgvector_restore.db.watch import Watcher
from pgvector_restore.db.work import LoadResult, TableLoad, Work
from pgvector_restore.feed import TableFeed
from pgvector_restore.pieces import Lane, Loaded, Task, cut, lanes, load_parallel, sendable
from pgvector_restore.plan import RestorePlan, TablePlan
from pgvector_restore.progress import Progress, ServerStep
from pgvector_restore.report import RestoreReport, TableReport
from pgvector_restore.storage import BackupStore
from pgvector_restore.tracking import Tracker

__all__ = ["Run"]


class Run:
    """Does what a plan says, once.

    Args:
        store: Where the files lie.
        target: Where the rows go.
        plan: What to do.
        executor: Where parts of files are loaded; ``None``: in processes of our own.
        progress: The listener.
    """

    def __init__(
        self,
        store: BackupStore,
        target: Target,
        plan: RestorePlan,
        executor: Executor | None,
        progress: Progress,
    ) -> None:
        self._store = store
        self._target = target
        self._plan = plan
        self._executor = executor
        self._tracker = Tracker(plan, progress)
        self._watcher = Watcher(target.spare, self._tracker.tell_step)
        self._feeds: list[TableFeed] = []
        self._warnings = list(plan.warnings)

    def execute(self) -> RestoreReport:
        """Run it; returns only when the result is committed."""
        started = time.perf_counter()
        self._tracker.tell("prepare")
        with self._target.connection() as conn:
            self._feeds = [self._feed(conn, table) for table in self._plan.tables]
            work = self._work()
            if self._plan.strategy == "swap":
                results = self._swap(conn, work)
            else:
                results = restore_in_place(conn, work)
        report = self._report(results, time.perf_counter() - started)
        self._tracker.tell_done()
        return report

    def _work(self) -> Work:
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
            self._check,
        )

    def _feed(self, conn: Connection, table: TablePlan) -> TableFeed:
        pid = conn.info.backend_pid

        def server() -> ServerStep | None:
            rows = self._watcher.copied([pid])
            if rows is None:
                return None
            return _copy_step(table, rows)

        return TableFeed(
            self._store,
            table,
            self._plan.options.max_record_bytes,
            self._tracker.for_table(table.name, server),
        )

    def _check(self) -> None:
        """Last checks: the logs' counts, and the files as they were listed."""
        self._tracker.tell("verify")
        for feed, table in zip(self._feeds, self._plan.tables, strict=True):
            table.check_count(feed.rows)
            self._store.check_unchanged(table.source)
        self._tracker.tell("publish")

    def _swap(self, conn: Connection, work: Work) -> list[LoadResult]:
        parameters = self._target.parameters
        jobs = self._plan.jobs
        if jobs > 1 and (reason := sendable(self._store, parameters)):
            self._warnings.append(f"loaded over one connection: {reason}")
            jobs = 1
        with ExitStack() as stack:
            # First of all: worker processes start while the server creates tables.
            open_lanes = stack.enter_context(lanes(self._executor, jobs)) if jobs > 1 else []
            swap = stack.enter_context(swapping(conn, work))
            seconds = []
            for staged, table, feed in zip(
                swap.staged, self._plan.tables, self._feeds, strict=True
            ):
                started = time.perf_counter()
                if open_lanes and table.source.size_bytes > pieces.PART_BYTES:
                    self._load_parallel(open_lanes, staged, table, feed)
                else:
                    load_rows(conn, staged.table, feed)
                table.check_count(feed.rows)
                seconds.append(time.perf_counter() - started)
            self._tracker.tell("index")
            results = swap.complete(seconds)
            self._check()
            self._warnings += swap.publish()
        return results

    def _load_parallel(
        self, open_lanes: Sequence[Lane], staged: Staged, table: TablePlan, feed: TableFeed
    ) -> None:
        finished = Loaded()
        loading, before = 0, 0

        def server() -> ServerStep | None:
            nonlocal loading, before
            rows = self._watcher.copied(relids=[staged.table.oid or 0])
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

        tasks = (
            Task(
                self._store,
                attrs.evolve(table, target=staged.table),
                part,
                self._plan.options.max_record_bytes,
                self._target.parameters or {},
            )
            for part in cut(self._store, table.source, sum(lane.capacity for lane in open_lanes))
        )
        loaded = load_parallel(open_lanes, tasks, on_change)
        feed.read_elsewhere(
            loaded.rows,
            loaded.bytes_read,
            loaded.repairs,
            final_newline_missing=loaded.final_newline_missing,
        )
        update(loaded.bytes_read, loaded.rows)

    def _report(self, results: Sequence[LoadResult], seconds: float) -> RestoreReport:
        plan = self._plan
        tables = []
        warnings = self._warnings
        for table, feed, result in zip(plan.tables, self._feeds, results, strict=True):
            tables.append(_table_report(table, feed, result))
            warnings += result.warnings
            if feed.final_newline_missing:
                warnings.append(
                    f"{feed.file} does not end with a row end: its last record may be cut short"
                )
            if result.rows_removed and not feed.rows and not plan.told("empty", table.name):
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
            warnings=tuple(dict.fromkeys(warnings)),
            seconds=seconds,
            finished_at=datetime.now().astimezone(),
        )


def _copy_step(table: TablePlan, rows: int) -> ServerStep:
    return ServerStep(f"COPY {table.name}", "loading", rows, table.logged_rows or 0, "rows")


def _table_report(table: TablePlan, feed: TableFeed, result: LoadResult) -> TableReport:
    return TableReport(
        table=table.name,
        source_file=feed.file,
        size_bytes=table.source.size_bytes,
        created=table.create,
        wire=table.wire,
        rows_before=result.rows_before,
        rows_removed=result.rows_removed,
        rows_read=feed.rows,
        rows_loaded=result.rows_loaded,
        rows_after=result.rows_after,
        repairs=feed.repairs,
        remove_seconds=result.remove_seconds,
        seconds=result.seconds,
        index_seconds=result.index_seconds,
    )
