"""Strategy ``in_place``: one transaction on one connection, all tables or none."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import psycopg
from attrs import evolve, frozen
from psycopg import sql
from psycopg.rows import tuple_row

from pgvector_restore.db.claims import check_unclaimed, claim, claimed
from pgvector_restore.db.copy import copy_rows, parent_keys
from pgvector_restore.db.create import create_missing
from pgvector_restore.db.indexes import SavedIndex, droppable, rebuild, set_aside
from pgvector_restore.db.inspect import (
    analyze,
    check_same,
    count_rows,
    inspect_target,
    table_oid,
)
from pgvector_restore.db.kept import note_replaced
from pgvector_restore.db.outcome import Evidence, Pending, note, resolve
from pgvector_restore.db.sequences import advance_sequences
from pgvector_restore.db.work import LoadResult, TableLoad, Work
from pgvector_restore.errors import RowCountError
from pgvector_restore.failpoints import reach
from pgvector_restore.target import TargetTable

__all__ = ["restore_in_place"]

_Cursor = psycopg.Cursor[Any]


@frozen
class _Prepared:
    """A table that is there, empty where it has to be, without the indexes that are rebuilt."""

    load: TableLoad
    table: TargetTable
    rows_before: int
    saved: tuple[SavedIndex, ...]


def restore_in_place(conn: psycopg.Connection[Any], work: Work) -> list[LoadResult]:
    """Lock, create, empty, load, index, check, commit.

    Args:
        conn: A connection outside of any transaction.
        work: What to do.

    Raises:
        TargetBusyError: Another restore has the same table, or a lock was not to be had in time.
        TargetChangedError: The target is not what the plan was made for.
        BadDataError: A record cannot be loaded.
        RowCountError: Rows read, loaded and found do not agree.
        OutcomeUnknownError: The connection was lost during COMMIT, and nobody can tell.
    """
    replace = work.options.mode == "replace"
    cur = psycopg.Cursor(conn, row_factory=tuple_row)
    with conn.transaction():  # of its own: the locks below are waited for, another restore is not
        check_unclaimed(cur, work.facts.schema, work.names)
    reach("claim.seen", conn)
    # Of several that begin together one goes on and none waits for its locks. An append cannot
    # claim in its transaction before it locks: claiming is a SELECT, and its one snapshot must not
    # be older than a change of the tables that the locks had to wait for.
    early = nullcontext() if replace else claimed(conn, work.facts.schema, work.names)
    with early:
        try:
            return _restore(conn, cur, work, replace=replace)
        except BaseException:
            work.settled()  # giving the names back must not be cancelled
            raise


def _restore(
    conn: psycopg.Connection[Any], cur: _Cursor, work: Work, *, replace: bool
) -> list[LoadResult]:
    pending: Pending | None = None
    try:
        with conn.transaction():
            _begin(cur, work, replace=replace)
            if replace:
                claim(cur, work.facts.schema, work.names)
            _lock(cur, work.loads, replace=replace)
            reach("claim", conn)
            check_same(cur, work.facts, work.names)
            create_missing(cur, work.facts, work.names, work.generation)
            reach("create", conn)
            prepared, seconds = _prepare(cur, work, replace=replace)
            results = [
                evolve(_load(cur, p, replace=replace), remove_seconds=seconds) for p in prepared
            ]
            cur.execute("SET CONSTRAINTS ALL IMMEDIATE")
            work.tell("index")
            reach("index.begin", conn)
            results = [
                _index(cur, work, p, result) for p, result in zip(prepared, results, strict=True)
            ]
            reach("index.end", conn)
            if replace:
                note_replaced(cur, work.facts.schema, work.names, work.origin)
            work.write_ledger(cur, results)
            work.check()
            pending = note(cur, _evidence(cur, work, results))
            work.settled()
            reach("commit.before", conn)
    except psycopg.OperationalError as exc:
        if pending is None or exc.sqlstate is not None:
            raise
        resolve(pending, work.reconnect, exc)
    reach("commit.after", conn)
    return results


def _evidence(cur: _Cursor, work: Work, results: Sequence[LoadResult]) -> list[Evidence]:
    return [
        Evidence(work.facts.schema, name, table_oid(cur, work.facts.schema, name), r.rows_loaded)
        for name, r in zip(work.names, results, strict=True)
    ]


def _begin(cur: _Cursor, work: Work, *, replace: bool) -> None:
    # Appending lets others write meanwhile: one snapshot makes the counts before and after
    # comparable. Replacing holds the tables alone, and COPY FREEZE wants no older snapshot.
    level = "READ COMMITTED" if replace else "REPEATABLE READ"
    cur.execute(sql.SQL("SET TRANSACTION ISOLATION LEVEL {}, READ WRITE").format(sql.SQL(level)))
    work.configure(cur)


def _lock(cur: _Cursor, loads: Sequence[TableLoad], *, replace: bool) -> None:
    """Lock the tables alone to replace rows or to drop indexes, else only against changes."""
    existing = [load for load in loads if load.target.oid is not None]
    alone = [ld for ld in existing if replace or ld.rebuilt]
    shared = [ld for ld in existing if ld not in alone]
    for mode, some in (("ACCESS EXCLUSIVE", alone), ("ROW EXCLUSIVE", shared)):
        if some:
            cur.execute(
                sql.SQL("LOCK TABLE {} IN {} MODE").format(
                    sql.SQL(", ").join(map(_name, some)), sql.SQL(mode)
                )
            )


def _prepare(cur: _Cursor, work: Work, *, replace: bool) -> tuple[list[_Prepared], float]:
    now = inspect_target(
        cur, work.facts.schema, work.names, trusting=work.options.allow_attached_code
    )
    tables = [now.table(name) or ld.target for name, ld in zip(work.names, work.loads, strict=True)]
    seconds = _empty(cur, work.loads) if replace else 0.0
    prepared = []
    for load, table in zip(work.loads, tables, strict=True):
        rebuilt = droppable(table) if load.target.oid is None else load.rebuilt
        saved = set_aside(cur, table, rebuilt)
        prepared.append(_Prepared(load, table, table.rows or 0, saved))
    return prepared, seconds


def _empty(cur: _Cursor, loads: Sequence[TableLoad]) -> float:
    """One TRUNCATE for all: foreign keys between the tables do not matter then."""
    started = time.perf_counter()
    names = sql.SQL(", ").join(map(_name, loads))
    cur.execute(sql.SQL("TRUNCATE TABLE {}").format(names))
    reach("empty", cur.connection)
    return time.perf_counter() - started


def _load(cur: _Cursor, prepared: _Prepared, *, replace: bool) -> LoadResult:
    started = time.perf_counter()
    target, feed, rows_before = prepared.table, prepared.load.feed, prepared.rows_before
    removed = rows_before if replace else 0
    loaded = copy_rows(
        cur,
        target,
        feed,
        freeze=replace and not target.partitioned,
        parents=parent_keys(cur, target),
    )
    if loaded != feed.rows:
        raise RowCountError(
            f"{feed.rows} records were read, {loaded} rows were loaded into {target.name}",
            hint="does a trigger or rule of the table drop or divert rows?",
            file=feed.file,
        )
    warnings = advance_sequences(cur, target, feed.columns)
    after = count_rows(cur, target.schema, target.name)
    if after != rows_before - removed + loaded:
        raise RowCountError(
            f"{target.name} has {after} rows after {loaded} were added to {rows_before - removed}",
            hint="does a trigger of the table change rows?",
            file=feed.file,
        )
    seconds = time.perf_counter() - started
    return LoadResult(rows_before, removed, loaded, after, 0.0, seconds, warnings=warnings)


def _index(cur: _Cursor, work: Work, prepared: _Prepared, result: LoadResult) -> LoadResult:
    started = time.perf_counter()
    table = evolve(prepared.table, rows=result.rows_after)
    told = rebuild(cur, table, prepared.saved, work.build, work.watcher)
    analyze(cur, table)
    return evolve(
        result,
        index_seconds=time.perf_counter() - started,
        warnings=(*result.warnings, *told),
    )


def _name(load: TableLoad) -> sql.Composable:
    return sql.Identifier(load.target.schema, load.target.name)
