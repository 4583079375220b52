"""Strategy ``in_place``: one transaction on one connection, all tables or none.

Rows that lie on other servers, in foreign partitions or shards, are committed there: all or none
does not hold for them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import psycopg
from attrs import evolve, frozen
from psycopg import sql
from psycopg.rows import tuple_row

from pgvector_restore.db.claims import check_unclaimed, claim
from pgvector_restore.db.copy import copy_rows, parent_keys
from pgvector_restore.db.create import create_missing
from pgvector_restore.db.exclusive import ALONE, TableLock, holding
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
    cur = psycopg.Cursor(conn, row_factory=tuple_row)
    with conn.transaction():
        _look(cur, work)
    reach("claim.seen", conn)
    replace = work.options.mode == "replace"
    pending: Pending | None = None
    results: list[LoadResult] = []

    def ready(cur: _Cursor) -> None:
        # After the locks: claiming is a SELECT, and an append's one snapshot must not be older than
        # a change of the tables that the locks had to wait for.
        claim(cur, work.facts.schema, work.names)
        reach("claim", conn)
        check_same(cur, work.facts, work.names)
        create_missing(cur, work.facts, work.names, work.generation)
        reach("create", conn)

    try:
        with holding(
            *(conn, _locks(work, replace=replace), work.options.lock_timeout_s),
            lambda cur: _begin(cur, work, replace=replace),
            ready=ready,
            look=lambda cur: _look(cur, work),
        ):
            results = _restore(cur, work, replace=replace)
            pending = note(cur, _evidence(cur, work, results))
            work.settled()
            reach("commit.before", conn)
    except psycopg.OperationalError as exc:
        if pending is None or exc.sqlstate is not None:
            raise
        resolve(pending, work.reconnect, exc)
    reach("commit.after", conn)
    return results


def _look(cur: _Cursor, work: Work) -> None:
    """Another restore's locks are not waited for."""
    check_unclaimed(cur, work.facts.schema, work.names)


def _restore(cur: _Cursor, work: Work, *, replace: bool) -> list[LoadResult]:
    prepared, seconds = _prepare(cur, work, replace=replace)
    results = [evolve(_load(cur, p, replace=replace), remove_seconds=seconds) for p in prepared]
    cur.execute("SET CONSTRAINTS ALL IMMEDIATE")
    work.tell("index")
    reach("index.begin", cur.connection)
    results = [_index(cur, work, p, result) for p, result in zip(prepared, results, strict=True)]
    reach("index.end", cur.connection)
    if replace:
        note_replaced(cur, work.facts.schema, work.names, work.origin)
    work.write_ledger(cur, results)
    work.check()
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


def _locks(work: Work, *, replace: bool) -> list[TableLock]:
    """Tables alone to replace rows or to drop indexes, else only against changes; and parents.

    Rows are checked against parents that are not replaced with them, and wait for whoever changes
    a parent's row, who may wait for the table: nobody may be changing one. An append does not keep
    writers out, so that one of them may still be refused for the order of his own changes.
    """
    existing = [load for load in work.loads if load.target.oid is not None]
    locks = [
        TableLock(
            load.target.schema,
            load.target.name,
            ALONE if replace or load.rebuilt else "ROW EXCLUSIVE",
        )
        for load in existing
    ]
    # New tables first: what is locked in two modes gets the first one.
    for load in sorted(work.loads, key=lambda load: load.target.oid is not None):
        for key in load.target.foreign_keys:
            if key.parent_schema != work.facts.schema or key.parent not in work.names:
                new = load.target.oid is None
                mode = "SHARE ROW EXCLUSIVE" if new else "SHARE" if replace else "ACCESS SHARE"
                parent = TableLock(key.parent_schema, key.parent, mode, optional=True)
                locks.append(parent)
                locks.append(evolve(parent, mode="ACCESS SHARE"))
    return locks


def _prepare(cur: _Cursor, work: Work, *, replace: bool) -> tuple[list[_Prepared], float]:
    now = inspect_target(
        cur,
        work.facts.schema,
        work.names,
        trusting=work.options.allow_attached_code,
        everywhere=work.options.allow_non_atomic,
    )
    tables = [
        (now.table(load.target.name) or load.target).before(work.names[place + 1 :])
        for place, load in enumerate(work.loads)
    ]
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
