"""Strategy ``swap``: new tables are loaded beside the old ones, then exchanged for them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from attrs import evolve, frozen
from psycopg.rows import tuple_row

from pgvector_restore.db.claims import Claims, check_unclaimed, claimed
from pgvector_restore.db.create import create_missing
from pgvector_restore.db.definition import IndexDefinition, TableDefinition, read_definition
from pgvector_restore.db.exclusive import exclusively, wait_for_older_snapshots
from pgvector_restore.db.indexes import SavedIndex, build, droppable, rebuild, set_aside
from pgvector_restore.db.inspect import (
    analyze,
    check_same,
    count_rows,
    inspect_target,
)
from pgvector_restore.db.kept import Kept
from pgvector_restore.db.offender import rejected_by_constraint
from pgvector_restore.db.outcome import Evidence, note, resolve
from pgvector_restore.db.publish import check_unchanged, publish
from pgvector_restore.db.sequences import advance_sequences
from pgvector_restore.db.staging import (
    build_indexes,
    complete_table,
    create_part_marks,
    create_staging,
    create_table_like,
    drop_part_marks,
    drop_staging,
    end_loading,
    new_staging_name,
    sweep,
)
from pgvector_restore.db.standbys import wait_for_standbys
from pgvector_restore.db.statements import written
from pgvector_restore.db.work import LoadResult, TableLoad, Work
from pgvector_restore.errors import RowCountError, TargetChangedError
from pgvector_restore.failpoints import reach
from pgvector_restore.target import TargetIndex, TargetTable

__all__ = ["Staged", "Swap", "swapping"]

_Cursor = psycopg.Cursor[Any]


@frozen
class Staged:
    """A table beside its target."""

    #: What is to be loaded, into which target.
    load: TableLoad
    #: The staging table.
    table: TargetTable
    #: What the target is like; ``None`` for a table that does not exist yet.
    definition: TableDefinition | None
    #: Indexes of a new table that wait for its rows.
    saved: tuple[SavedIndex, ...]
    #: Rows of the target when the restore began.
    rows_before: int

    @property
    def is_logged(self) -> bool:
        """Whether its rows go to the server's log, and so to standbys."""
        return self.definition is None or self.definition.persistence != "UNLOGGED"


@contextmanager
def swapping(
    conn: psycopg.Connection[Any], work: Work, *, in_parts: bool = False
) -> Iterator[Swap]:
    """Staging tables, ready to be loaded; gone at the end, if they have not been published.

    The tables' names and the staging schema are held by this connection. What restores that died
    have left behind is swept away first.

    Args:
        conn: A connection outside of any transaction.
        work: What to do.
        in_parts: Parts of files will be loaded, over connections of their own.

    Raises:
        TargetBusyError: Another restore has the same table.
        TargetChangedError: The target is not what the plan was made for.
    """
    cur = psycopg.Cursor(conn, row_factory=tuple_row)
    with conn.transaction():
        check_unclaimed(cur, work.facts.schema, work.names)
    with claimed(conn, work.facts.schema, work.names, work.reconnect) as claims:
        reach("claim", conn)
        sweep(conn)
        name = new_staging_name()
        claims.take(name)
        swap = Swap(conn, work, name, claims, in_parts=in_parts)
        try:
            swap.begin()
            reach("create", conn)
            yield swap
        except BaseException:
            work.settled()
            if not swap.published:
                drop_staging(conn, name)
            raise


class Swap:
    """The steps of one swap, each in a transaction of its own: begin, (load), complete, publish."""

    def __init__(
        self,
        conn: psycopg.Connection[Any],
        work: Work,
        staging: str,
        claims: Claims,
        *,
        in_parts: bool,
    ) -> None:
        #: Publishing was begun; whether it is done only the server knows until it answers.
        self.published = False
        #: Tables in the order of loading.
        self.staged: tuple[Staged, ...] = ()
        #: What the exchange has kept.
        self.kept: Kept | None = None
        self._conn = conn
        self._cur = psycopg.Cursor(conn, row_factory=tuple_row)
        self._work = work
        self._staging = staging
        self._claims = claims
        self._in_parts = in_parts

    def begin(self) -> None:
        """Create the staging tables."""
        work, cur = self._work, self._cur
        with self._conn.transaction():
            work.configure(cur)
            check_same(cur, work.facts, work.names)
            create_staging(cur, self._staging)
            if self._in_parts:
                create_part_marks(cur, self._staging)
            old = [load.target.name for load in work.loads if load.target.oid is not None]
            definitions = {
                name: read_definition(cur, work.facts.schema, name, self._staging, old)
                for name in old
            }
            for definition in definitions.values():
                create_table_like(cur, definition, self._staging)
            create_missing(cur, work.facts, work.names, work.generation, schema=self._staging)
            self.staged = tuple(self._stage(load, definitions) for load in work.loads)

    def _stage(self, load: TableLoad, definitions: Mapping[str, TableDefinition]) -> Staged:
        target = load.target
        found = inspect_target(self._cur, self._staging, [target.name]).table(target.name)
        assert found is not None  # noqa: S101 - it was created a moment ago
        among = self._work.names
        table = evolve(
            target,
            schema=self._staging,
            oid=found.oid,
            indexes=found.indexes,
            foreign_keys=tuple(
                evolve(key, parent_schema=self._staging)
                if key.parent_schema == target.schema and key.parent in among
                else key
                for key in target.before(among[among.index(target.name) + 1 :]).foreign_keys
            ),
        )
        definition = definitions.get(target.name)
        saved = set_aside(self._cur, table, droppable(table)) if definition is None else ()
        rows = count_rows(self._cur, target.schema, target.name) if definition else 0
        return Staged(load, table, definition, saved, rows)

    def complete(self, seconds: Sequence[float]) -> list[LoadResult]:
        """Build what makes the staging tables like their targets, and count their rows.

        Args:
            seconds: How long each table took to load.

        Raises:
            RowRejectedError: Rows that a constraint forbids.
            RowCountError: Rows read and found do not agree.
        """
        with self._conn.transaction():
            self._work.configure(self._cur)
            reach("index.begin", self._conn)
            if self._in_parts:  # tasks that an executor has taken for lost may still run
                end_loading(self._cur, self._staging)
            # All of them first: tables may refer to each other.
            indexed = [
                evolve(self._index(staged), seconds=loading)
                for staged, loading in zip(self.staged, seconds, strict=True)
            ]
            results = [
                evolve(done, index_seconds=done.index_seconds + self._add_the_rest(staged))
                for staged, done in zip(self.staged, indexed, strict=True)
            ]
            reach("index.end", self._conn)
        return results

    def _add_the_rest(self, staged: Staged) -> float:
        """Add what may need the indexes of other tables; returns seconds."""
        started = time.perf_counter()
        if staged.definition is not None:
            with self._rejecting(staged, staged.table):
                complete_table(self._cur, staged.definition, self._staging)
        analyze(self._cur, staged.table)
        return time.perf_counter() - started

    @contextmanager
    def _rejecting(self, staged: Staged, table: TargetTable) -> Iterator[None]:
        """Name the record of the rows that a constraint forbids."""
        load = staged.load
        try:
            with self._conn.transaction():
                yield
        except (psycopg.IntegrityError, psycopg.errors.ProgramLimitExceeded) as exc:
            raise rejected_by_constraint(self._cur, load.target, table, load.feed, exc) from exc

    def _index(self, staged: Staged) -> LoadResult:
        started = time.perf_counter()
        cur, feed = self._cur, staged.load.feed
        rows = count_rows(cur, staged.table.schema, staged.table.name)
        if rows != feed.rows:
            raise RowCountError(
                f"{feed.rows} records were read, {rows} rows are in the new {staged.table.name}",
                file=feed.file,
            )
        table = evolve(staged.table, rows=rows)
        with self._rejecting(staged, table):
            warnings = self._build(staged, table)
        return LoadResult(
            rows_before=staged.rows_before,
            rows_removed=staged.rows_before,
            rows_loaded=rows,
            rows_after=rows,
            remove_seconds=0.0,
            seconds=0.0,
            index_seconds=time.perf_counter() - started,
            warnings=tuple(warnings),
        )

    def _build(self, staged: Staged, table: TargetTable) -> list[str]:
        work, cur = self._work, self._cur
        if staged.definition is None:
            return rebuild(cur, table, staged.saved, work.build, work.watcher)
        warnings: list[str] = []

        def build_one(wanted: IndexDefinition) -> None:
            index = TargetIndex(wanted.name, wanted.definition, wanted.method, enforcing=False)
            warnings.extend(
                build(cur, table, written(wanted.statement), index, work.build, work.watcher)
            )

        build_indexes(cur, staged.definition, build_one)
        return warnings

    def publish(self, results: Sequence[LoadResult]) -> list[str]:
        """Exchange the tables; returns warnings.

        Args:
            results: From :meth:`complete`, for the ledger.

        Raises:
            TargetBusyError: Others held the tables until the time for it was over.
            TargetChangedError: A target is not what it was when the restore began.
            OutcomeUnknownError: The connection was lost during COMMIT, and nobody can tell.
        """
        work = self._work
        reach("publish", self._conn)
        warnings = self._wait_for_readers()
        self._claims.check()
        schema = work.facts.schema
        definitions = {
            s.load.target.name: s.definition for s in self.staged if s.definition is not None
        }

        def exchange(cur: _Cursor) -> None:
            reach("exchange.locked", self._conn)
            check_unchanged(cur, definitions, self._staging)
            self._check_free(cur)
            drop_part_marks(cur, self._staging)
            self.kept = publish(
                cur,
                schema,
                work.names,
                definitions,
                self._staging,
                work.origin,
                keep_previous=work.options.keep_previous,
            )
            for staged in self.staged:
                columns = staged.load.feed.columns
                warnings.extend(advance_sequences(cur, staged.load.target, columns))
            work.write_ledger(cur, results)

        def committing(cur: _Cursor) -> Callable[[psycopg.Error], None]:
            oids = {s.load.target.name: s.table.oid or 0 for s in self.staged}
            pending = note(cur, [Evidence(schema, name, oid, None) for name, oid in oids.items()])
            work.settled()
            reach("commit.before", self._conn)
            self.published = True
            return lambda lost: resolve(pending, work.reconnect, lost)

        exclusively(
            self._conn,
            [(schema, name) for name in definitions],
            exchange,
            committing,
            work.options.lock_timeout_s,
            needed=[(self._staging, name) for name in (*work.names, self._staging)],
            parents=[
                (key.parent_schema, key.parent)
                for staged in self.staged
                if staged.definition is not None
                for key in staged.load.target.foreign_keys
                if key.parent_schema != schema or key.parent not in work.names
            ],
        )
        reach("commit.after", self._conn)
        warnings += self.kept.warnings if self.kept is not None else ()
        return list(dict.fromkeys(warnings))

    def _wait_for_readers(self) -> list[str]:
        """Wait for snapshots, here and on standbys, that are older than the new rows; warnings."""
        patience_s = self._work.options.lock_timeout_s
        warnings = wait_for_older_snapshots(self._conn, patience_s)
        # Standbys have no unlogged tables. Where a publication is of all tables, only those are
        # swapped: what is written to wait for standbys would be published.
        if any(staged.is_logged for staged in self.staged):
            warnings += wait_for_standbys(self._conn, self._staging, new_staging_name(), patience_s)
        return warnings

    def _check_free(self, cur: _Cursor) -> None:
        """Tables that were missing are still missing."""
        new = [s.load.target.name for s in self.staged if s.definition is None]
        found = inspect_target(cur, self._work.facts.schema, new).tables if new else ()
        if found:
            raise TargetChangedError(
                f"{found[0].schema}.{found[0].name} has been created since the plan was made",
                hint="plan again",
            )
