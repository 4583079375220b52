"""Loading rows into staging tables, which nobody reads yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import psycopg
from psycopg.rows import tuple_row

from pgvector_restore.db.copy import Feed, copy_rows, parent_keys
from pgvector_restore.db.errors import server_errors
from pgvector_restore.db.interrupt import limited
from pgvector_restore.db.pool import connect
from pgvector_restore.db.session import configure_session
from pgvector_restore.errors import RowCountError
from pgvector_restore.failpoints import reach
from pgvector_restore.target import TargetTable

__all__ = ["load_rows", "load_staged"]

#: Nothing holds a staging table for long but its restore.
_LOCK_TIMEOUT_S = 30.0
#: Seconds until the first answer: behind a pooler others may have to end before that.
_ANSWER_S = 30.0


def load_staged(parameters: Mapping[str, Any], table: TargetTable, feed: Feed) -> None:
    """Load rows over a connection of its own.

    Raises:
        ConnectError: There is none, or it is not answered in time.
    """
    with (
        server_errors(),
        connect(parameters) as conn,
        limited(conn, _ANSWER_S, "the connection for a part of the file") as limit,
    ):
        reach("part.begin", conn)
        load_rows(conn, table, feed, limit.over)
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
        configure_session(cur, _LOCK_TIMEOUT_S)
        begun()
        # Publishing is a commit of its own, which waits until all earlier ones are on disk.
        cur.execute("SET LOCAL synchronous_commit = off")
        loaded = copy_rows(cur, table, feed, freeze=False, parents=parent_keys(cur, table))
        if loaded != feed.rows:
            raise RowCountError(
                f"{feed.rows} records were read, {loaded} rows were loaded into {table.name}",
                file=feed.file,
            )
    return loaded
