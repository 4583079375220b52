"""Loading rows into staging tables, which nobody reads yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

from pgvector_restore.db.copy import Feed, copy_rows, parent_keys
from pgvector_restore.db.errors import server_errors
from pgvector_restore.db.interrupt import limited
from pgvector_restore.db.pool import connect
from pgvector_restore.db.session import configure_session
from pgvector_restore.errors import RowCountError
from pgvector_restore.failpoints import reach
from pgvector_restore.target import ParentKeys, TargetTable

__all__ = ["load_rows", "load_staged"]

#: Nothing holds a staging table for long but its restore.
_LOCK_TIMEOUT_S = 30.0
#: Seconds until the first answer: behind a pooler others may have to end before that.
_ANSWER_S = 30.0

_Cursor = psycopg.Cursor[Any]


def load_staged(parameters: Mapping[str, Any], table: TargetTable, feed: Feed, part: int) -> None:
    """Load a part of a table over a connection of its own: once, however often this is called.

    A part that is there already is only read, so that the feed comes to the same. Of two calls at
    the same time the one that is done first loads the part; the other one takes its rows back.

    Args:
        parameters: What to connect with.
        table: The staging table.
        feed: The rows of the part.
        part: Its number within the table.

    Raises:
        BadDataError: A record cannot be loaded.
        RowCountError: The server loaded other rows than were read.
        ConnectError: There is no connection, or it is not answered in time.
    """
    with (
        server_errors(),
        connect(parameters) as conn,
        limited(conn, _ANSWER_S, "the connection for a part of the file") as limit,
    ):
        reach("part.begin", conn)
        _load_once(conn, table, feed, part, limit.over)
        reach("part.end", conn)


def load_rows(
    conn: psycopg.Connection[Any],
    table: TargetTable,
    feed: Feed,
    begun: Callable[[], None] = lambda: None,
) -> int:
    """Load rows in one transaction; returns how many.

    Args:
        conn: Outside of any transaction.
        table: Where they go.
        feed: The rows.
        begun: Called when the server has begun the transaction.

    Raises:
        BadDataError: A record cannot be loaded.
        RowCountError: The server loaded other rows than were read.
    """
    cur = psycopg.Cursor(conn, row_factory=tuple_row)
    with conn.transaction():
        _configure(cur)
        begun()
        return _copy(cur, table, feed, parent_keys(cur, table))


def _load_once(
    conn: psycopg.Connection[Any],
    table: TargetTable,
    feed: Feed,
    part: int,
    begun: Callable[[], None],
) -> None:
    cur = psycopg.Cursor(conn, row_factory=tuple_row)
    with conn.transaction() as transaction:
        _configure(cur)
        begun()
        done = _rows_of(cur, table, part)
        parents = parent_keys(cur, table)
        if done is None:
            loaded = _copy(cur, table, feed, parents)
            if not _mark(cur, table, part, loaded):
                raise psycopg.Rollback(transaction)
    if done is None:
        return
    for _ in feed.blocks(parents):
        pass
    if feed.rows != done:
        raise RowCountError(
            f"{feed.rows} records were read, {done} rows were loaded into {table.name}",
            file=feed.file,
        )


def _configure(cur: _Cursor) -> None:
    configure_session(cur, _LOCK_TIMEOUT_S)
    # Publishing is a commit of its own, which waits until all earlier ones are on disk.
    cur.execute("SET LOCAL synchronous_commit = off")


def _copy(cur: _Cursor, table: TargetTable, feed: Feed, parents: Mapping[str, ParentKeys]) -> int:
    loaded = copy_rows(cur, table, feed, freeze=False, parents=parents)
    if loaded != feed.rows:
        raise RowCountError(
            f"{feed.rows} records were read, {loaded} rows were loaded into {table.name}",
            file=feed.file,
        )
    return loaded


def _rows_of(cur: _Cursor, table: TargetTable, part: int) -> int | None:
    """Rows of a part that has been loaded; ``None`` where it has not.

    The lock is that of a session that loads, for as long as the transaction lasts: see
    ``end_loading`` in ``staging.py``.
    """
    marks = sql.Identifier(table.schema, table.schema)
    cur.execute(sql.SQL("LOCK TABLE {} IN ROW EXCLUSIVE MODE").format(marks))
    cur.execute(
        sql.SQL("SELECT rows FROM {} WHERE relation = %s AND part = %s").format(marks),
        [table.oid, part],
    )
    found = cur.fetchone()
    return None if found is None else int(found[0])


def _mark(cur: _Cursor, table: TargetTable, part: int, rows: int) -> bool:
    """Mark a part as loaded, with this transaction; whether it was not marked before."""
    cur.execute(
        sql.SQL("INSERT INTO {} VALUES (%s, %s, %s) ON CONFLICT DO NOTHING").format(
            sql.Identifier(table.schema, table.schema)
        ),
        [table.oid, part, rows],
    )
    return cur.rowcount == 1
