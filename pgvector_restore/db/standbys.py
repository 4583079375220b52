"""Readers on hot standbys whose snapshot is older than rows that are about to be published."""

from __future__ import annotations

import time
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

from pgvector_restore.db.session import close_search_path, configure_session

__all__ = ["wait_for_standbys"]

_Cursor = psycopg.Cursor[Any]

#: Seconds to wait for the lock on a table that nobody else knows.
_LOCK_TIMEOUT_S = 10.0
#: Seconds between two attempts. A standby with ``hot_standby_feedback`` tells every ten seconds,
#: unless it is set otherwise, whom it serves.
_PAUSE_S = 0.2


def wait_for_standbys(
    conn: psycopg.Connection[Any], schema: str, name: str, patience_s: float
) -> list[str]:
    """Make standbys end, or wait for, transactions that may not see what was committed up to now.

    A standby serves a snapshot as long as nothing is removed that it still sees. So a row is
    removed that was deleted after the new rows had been committed: VACUUM writes that to the log,
    and standbys wait there for older snapshots, or cancel them, as their
    ``max_standby_streaming_delay`` has it. The exchange comes later in the log.

    Args:
        conn: Outside of any transaction, of the role that owns the schema.
        schema: A schema of our own.
        name: A name for a table there that nothing else has; it is gone in the end.
        patience_s: Seconds for transactions that keep VACUUM from it: on this server older ones,
            and those of standbys that send feedback.

    Returns:
        A warning, where standbys are seen and VACUUM was kept from it all the time.
    """
    cur = psycopg.Cursor(conn, row_factory=tuple_row)
    with conn.transaction():
        close_search_path(cur)
        cur.execute(
            """
            SELECT current_setting('wal_level') <> 'minimal'
                   AND (current_setting('max_wal_senders')::int > 0
                        OR current_setting('archive_mode') <> 'off')
            """
        )
        if cur.fetchone() != (True,):
            return []
    table = sql.Identifier(schema, name)
    with conn.transaction():
        configure_session(cur, _LOCK_TIMEOUT_S)
        cur.execute(
            sql.SQL(
                "CREATE TABLE {} USING heap WITH (autovacuum_enabled = off) AS SELECT 1 AS one"
            ).format(table)
        )
    with conn.transaction():  # another one: a row that its own transaction deletes tells nothing
        configure_session(cur, _LOCK_TIMEOUT_S)
        cur.execute(sql.SQL("DELETE FROM {}").format(table))
    deadline = time.monotonic() + patience_s
    while not (removed := _removed(conn, cur, table)) and _standbys(conn, cur):
        if time.monotonic() > deadline:
            break
        time.sleep(_PAUSE_S)
    with conn.transaction():
        configure_session(cur, _LOCK_TIMEOUT_S)
        cur.execute(sql.SQL("DROP TABLE {}").format(table))
    if removed or not _standbys(conn, cur):
        return []
    warning = (
        "transactions here or on a standby are older than the restored rows: those on standbys "
        "under REPEATABLE READ that have not read the tables yet may find them empty"
    )
    return [warning]


def _removed(conn: psycopg.Connection[Any], cur: _Cursor, table: sql.Identifier) -> bool:
    """Vacuum the table; says whether its only page could be given back, so the row is gone."""
    autocommit = conn.autocommit
    conn.autocommit = True  # VACUUM runs in no transaction
    try:
        cur.execute(sql.SQL("VACUUM (TRUNCATE on, INDEX_CLEANUP off) {}").format(table))
    except psycopg.errors.QueryCanceled:
        return False  # by a limit of the role's, or by ourselves: then the next statement is too
    finally:
        conn.autocommit = autocommit
    with conn.transaction():
        close_search_path(cur)
        cur.execute("SELECT pg_relation_size(%s::regclass)", [table.as_string(cur)])
        return cur.fetchone() == (0,)


def _standbys(conn: psycopg.Connection[Any], cur: _Cursor) -> bool:
    """Whether one is connected, or has a slot that keeps the log for it."""
    with conn.transaction():
        close_search_path(cur)
        cur.execute(
            """
            SELECT EXISTS (SELECT FROM pg_stat_replication)
                OR EXISTS (SELECT FROM pg_replication_slots WHERE slot_type = 'physical')
            """
        )
        return cur.fetchone() == (True,)
