"""Strategy ``in_place``: one transaction on one connection, all tables or none."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import psycopg
from attrs import evolve, frozen
from psycopg import sql
from psycopg.rows import tuple_row

from pgvector_restore.db.claims import check_unclaimed, claim
from pgvector_restore.db.copy import Feed, copy_rows, parent_keys
from pgvector_restore.db.create import create_extension, create_table
from pgvector_restore.db.inspect import configure_session, count_rows, inspect_target
from pgvector_restore.db.sequences import advance_sequences
from pgvector_restore.errors import (
    OutcomeUnknownError,
    RowCountError,
    TargetChangedError,
)
from pgvector_restore.options import RestoreOptions
from pgvector_restore.schema import Generation
from pgvector_restore.target import TargetFacts, TargetTable

__all__ = ["LoadResult", "TableLoad", "restore_in_place"]

_Cursor = psycopg.Cursor[Any]


@frozen
class TableLoad:
    """One table to load."""

    #: The table as it was planned.
    target: TargetTable
    #: Its rows.
    feed: Feed


@frozen
class LoadResult:
    """What became of one table."""

    #: Rows before.
    rows_before: int
    #: Rows removed.
    rows_removed: int
    #: Rows that COPY reported.
    rows_loaded: int
    #: Rows counted after the load.
    rows_after: int
    #: Seconds to remove the old rows.
    remove_seconds: float
    #: Seconds to load the new ones.
    seconds: float
    #: Loaded columns whose sequence could not be moved on.
    sequences_kept: tuple[str, ...] = ()


def restore_in_place(
    conn: psycopg.Connection[Any],
    facts: TargetFacts,
    loads: Sequence[TableLoad],
    options: RestoreOptions,
    *,
    generation: Generation | None,
    before_commit: Callable[[Sequence[LoadResult]], None],
) -> list[LoadResult]:
    """Lock, create, empty, load, check, commit.

    Args:
        conn: A connection outside of any transaction.
        facts: The target the plan was made for.
        loads: Tables in the order of loading, parents first.
        options: Mode and time limits.
        generation: What missing tables are created like.
        before_commit: Last checks; what it raises rolls everything back.

    Raises:
        TargetBusyError: Another restore has the same table, or a lock was not to be had in time.
        TargetChangedError: The target is not what the plan was made for.
        BadDataError: A record cannot be loaded.
        RowCountError: Rows read, loaded and found do not agree.
        OutcomeUnknownError: The connection was lost during COMMIT.
    """
    committing = False
    replace = options.mode == "replace"
    cur = psycopg.Cursor(conn, row_factory=tuple_row)
    names = [load.target.name for load in loads]
    with conn.transaction():  # of its own: the locks below are waited for, another restore is not
        check_unclaimed(cur, facts.schema, names)
    try:
        with conn.transaction():
            _begin(cur, options, replace=replace)
            # Before the first SELECT: the one snapshot of an append must not be older than a
            # change of the tables that the locks had to wait for.
            _lock(cur, loads, replace=replace)
            claim(cur, facts.schema, names)
            _check_same(cur, facts, loads)
            _create_missing(cur, facts, loads, generation)
            before = [count_rows(cur, ld.target.schema, ld.target.name) for ld in loads]
            seconds = _empty(cur, loads) if replace else 0.0
            results = []
            for load, rows in zip(loads, before, strict=True):
                result = _load(cur, load, rows_before=rows, replace=replace)
                results.append(evolve(result, remove_seconds=seconds))
            cur.execute("SET CONSTRAINTS ALL IMMEDIATE")
            before_commit(results)
            committing = True
    except psycopg.OperationalError as exc:
        if committing and exc.sqlstate is None:
            raise OutcomeUnknownError(
                "connection was lost during COMMIT: the restore happened or it did not",
                hint="compare the tables' row counts with the backup, or restore again",
            ) from exc
        raise
    return results


def _begin(cur: _Cursor, options: RestoreOptions, *, replace: bool) -> None:
    # Appending lets others write meanwhile: one snapshot makes the counts before and after
    # comparable. Replacing holds the tables alone, and COPY FREEZE wants no older snapshot.
    level = "READ COMMITTED" if replace else "REPEATABLE READ"
    cur.execute(sql.SQL("SET TRANSACTION ISOLATION LEVEL {}, READ WRITE").format(sql.SQL(level)))
    configure_session(cur, options.lock_timeout_s)


def _lock(cur: _Cursor, loads: Sequence[TableLoad], *, replace: bool) -> None:
    existing = [_name(load) for load in loads if load.target.oid is not None]
    if existing:
        cur.execute(
            sql.SQL("LOCK TABLE {} IN {} MODE").format(
                sql.SQL(", ").join(existing),
                sql.SQL("ACCESS EXCLUSIVE" if replace else "ROW EXCLUSIVE"),
            )
        )


def _check_same(cur: _Cursor, facts: TargetFacts, loads: Sequence[TableLoad]) -> None:
    """The tables are still those the plan was made for; rows may have come and gone."""
    now = inspect_target(cur, facts.schema, facts.asked)
    for load in loads:
        found = now.table(load.target.name)
        planned = facts.table(load.target.name)
        if (found and evolve(found, rows=None)) != (planned and evolve(planned, rows=None)):
            raise TargetChangedError(
                f"{facts.schema}.{load.target.name} has changed since the plan was made",
                hint="plan again",
            )


def _create_missing(
    cur: _Cursor, facts: TargetFacts, loads: Sequence[TableLoad], generation: Generation | None
) -> None:
    missing = [load.target for load in loads if load.target.oid is None]
    if not missing or generation is None:
        return
    vector_schema = facts.vector_schema or create_extension(cur, facts.schema)
    for target in missing:
        table = generation.table(target.name)
        if table is not None:
            create_table(cur, target.schema, table, vector_schema)


def _empty(cur: _Cursor, loads: Sequence[TableLoad]) -> float:
    """One TRUNCATE for all: foreign keys between the tables do not matter then."""
    started = time.perf_counter()
    names = sql.SQL(", ").join(map(_name, loads))
    cur.execute(sql.SQL("TRUNCATE TABLE {}").format(names))
    return time.perf_counter() - started


def _load(cur: _Cursor, load: TableLoad, *, rows_before: int, replace: bool) -> LoadResult:
    started = time.perf_counter()
    target, feed = load.target, load.feed
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
    unmoved = advance_sequences(cur, target, feed.columns)
    after = count_rows(cur, target.schema, target.name)
    if after != rows_before - removed + loaded:
        raise RowCountError(
            f"{target.name} has {after} rows after {loaded} were added to {rows_before - removed}",
            hint="does a trigger of the table change rows?",
            file=feed.file,
        )
    seconds = time.perf_counter() - started
    return LoadResult(rows_before, removed, loaded, after, 0.0, seconds, unmoved)


def _name(load: TableLoad) -> sql.Composable:
    return sql.Identifier(load.target.schema, load.target.name)
