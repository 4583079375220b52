"""Short transactions that hold tables alone, tried again and again without making others wait."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

from pgvector_restore.db.session import close_search_path, configure_session
from pgvector_restore.errors import TargetBusyError, TargetChangedError

__all__ = ["exclusively", "wait_for_older_snapshots"]

_Cursor = psycopg.Cursor[Any]
Lost = Callable[[psycopg.Error], None]

#: Whoever asks for a table while we wait for its lock waits behind us. This is how long at the
#: most; it is also below the server's deadlock_timeout (1 s), so that a reader who has one table
#: and wants the next never ends in a deadlock report.
_ATTEMPT_S = 0.25

#: Pauses between attempts, seconds: others get their turn.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 1.0


def exclusively(
    conn: psycopg.Connection[Any],
    tables: Sequence[tuple[str, str]],
    action: Callable[[_Cursor], None],
    committing: Callable[[_Cursor], Lost],
    patience_s: float,
) -> None:
    """Run ``action`` in a transaction that holds the tables in ACCESS EXCLUSIVE mode.

    Args:
        conn: A connection outside of any transaction.
        tables: Schema and name; locked in this order, which is the same for every restore.
        action: What to do; it may run several times, each after a rollback.
        committing: Called right before COMMIT. What it returns is called when the connection is
            lost during COMMIT: it returns if that was carried out, and raises otherwise.
        patience_s: Seconds until it is given up.

    Raises:
        TargetBusyError: Others held one of the tables all the time.
        TargetChangedError: One of the tables is not there any more.
        OutcomeUnknownError: The connection was lost during COMMIT, and nobody can tell.
    """
    cur = psycopg.Cursor(conn, row_factory=tuple_row)
    deadline = time.monotonic() + patience_s
    pause = _FIRST_PAUSE_S
    while True:
        try:
            _attempt(conn, cur, tables, action, committing)
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected) as exc:
            if time.monotonic() + pause > deadline:
                names = ", ".join(f"{schema}.{table}" for schema, table in tables)
                raise TargetBusyError(
                    f"{names} could not be locked within {patience_s:g} s",
                    hint="long transactions read them; wait, or raise lock_timeout_s",
                    sqlstate=exc.sqlstate,
                ) from exc
        else:
            return
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE_S)


def _attempt(
    conn: psycopg.Connection[Any],
    cur: _Cursor,
    tables: Sequence[tuple[str, str]],
    action: Callable[[_Cursor], None],
    committing: Callable[[_Cursor], Lost],
) -> None:
    lost: Lost | None = None
    try:
        with conn.transaction():
            configure_session(cur, _ATTEMPT_S)
            if tables:
                names = sql.SQL(", ").join(sql.Identifier(*table) for table in tables)
                _lock(cur, names)
            action(cur)
            lost = committing(cur)
    except psycopg.OperationalError as exc:
        if lost is None or exc.sqlstate is not None:
            raise
        lost(exc)


def _lock(cur: _Cursor, names: sql.Composed) -> None:
    try:
        cur.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(names))
    except psycopg.errors.UndefinedTable as exc:
        raise TargetChangedError(
            f"a table has gone since the restore began: {exc.diag.message_primary}",
            hint="restore again",
            sqlstate=exc.sqlstate,
        ) from exc


def wait_for_older_snapshots(conn: psycopg.Connection[Any], patience_s: float) -> list[str]:
    """Wait until the transactions have ended that may not see what was committed before this call.

    A transaction under REPEATABLE READ that began before the rows were committed, and first reads
    the tables after they were exchanged, would find the new ones empty. CREATE INDEX CONCURRENTLY
    waits in the same way (``WaitForOlderSnapshots`` in PostgreSQL's indexcmds.c).

    Returns:
        A warning, if there are such transactions after ``patience_s`` seconds.
    """
    cur = psycopg.Cursor(conn, row_factory=tuple_row)
    deadline = time.monotonic() + patience_s
    with conn.transaction():
        close_search_path(cur)
        cur.execute(
            """
            SELECT l.virtualxid FROM pg_catalog.pg_locks l
            JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
            WHERE l.locktype = 'virtualxid' AND l.mode = 'ExclusiveLock' AND l.granted
              AND a.datname = current_database() AND a.pid <> pg_backend_pid()
              AND a.backend_xmin IS NOT NULL
              AND coalesce(a.backend_type, 'client backend') = 'client backend'
            """
        )
        older = [row[0] for row in cur.fetchall()]
    while older:
        with conn.transaction():
            close_search_path(cur)
            cur.execute(
                """
                SELECT DISTINCT virtualxid FROM pg_catalog.pg_locks
                WHERE locktype = 'virtualxid' AND virtualxid = ANY (%s)
                """,
                [older],
            )
            older = [row[0] for row in cur.fetchall()]
        if older and time.monotonic() > deadline:
            warning = (
                f"{len(older)} transactions are older than the restored rows: those under "
                "REPEATABLE READ that have not read the tables yet will find them empty"
            )
            return [warning]
        if older:
            time.sleep(_FIRST_PAUSE_S)
    return []
