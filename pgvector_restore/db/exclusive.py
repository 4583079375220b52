"""Short transactions that hold tables alone, tried again and again without making others wait."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

from pgvector_restore.db.session import close_search_path, configure_session, resting
from pgvector_restore.errors import TargetBusyError, TargetChangedError

__all__ = ["exclusively", "wait_for_older_snapshots"]

_Cursor = psycopg.Cursor[Any]
Lost = Callable[[psycopg.Error], None]

#: Whoever asks for a table while we wait for its lock waits behind us. This is how long at the
#: most; it is also below the server's deadlock_timeout (1 s), so that a reader who has one table
#: and wants the next never ends in a deadlock report.
_ATTEMPT_S = 0.25

#: Autovacuum gives way to whoever has waited for ``deadlock_timeout``, and to nobody else: where it
#: holds what is needed, one attempt in so many lasts as long as that.
_ATTEMPTS_TO_A_LONG_ONE = 4
#: Where that takes longer, everybody else would wait too long behind us.
_LONGEST_GIVING_WAY_S = 2.0

#: Pauses between attempts, seconds: others get their turn.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 1.0


def exclusively(
    conn: psycopg.Connection[Any],
    tables: Sequence[tuple[str, str]],
    action: Callable[[_Cursor], None],
    committing: Callable[[_Cursor], Lost],
    patience_s: float,
    *,
    needed: Sequence[tuple[str, str]] = (),
) -> None:
    """Run ``action`` in a transaction that holds the tables in ACCESS EXCLUSIVE mode.

    Args:
        conn: A connection outside of any transaction.
        tables: Schema and name; locked in this order, which is the same for every restore.
        needed: Further tables that ``action`` locks.
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
    short = _ATTEMPTS_TO_A_LONG_ONE
    wait_s = _ATTEMPT_S
    while True:
        try:
            _attempt(conn, cur, tables, action, committing, wait_s)
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected) as exc:
            giving_way_s = _giving_way_s(conn, cur, [*tables, *needed])
            if time.monotonic() + pause > deadline:
                raise _busy(tables, patience_s, exc, vacuum=giving_way_s is not None) from exc
        else:
            return
        with resting(conn):
            time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE_S)
        short += 1
        wait_s = _ATTEMPT_S
        if giving_way_s is not None and short > _ATTEMPTS_TO_A_LONG_ONE:
            long_s = _ATTEMPT_S + giving_way_s
            if giving_way_s <= _LONGEST_GIVING_WAY_S and time.monotonic() + long_s <= deadline:
                wait_s, short = long_s, 0


def _busy(
    tables: Sequence[tuple[str, str]], patience_s: float, exc: psycopg.Error, *, vacuum: bool
) -> TargetBusyError:
    names = ", ".join(f"{schema}.{table}" for schema, table in tables)
    return TargetBusyError(
        f"{names} could not be locked within {patience_s:g} s",
        hint="autovacuum works on them; wait, end it, or raise lock_timeout_s"
        if vacuum
        else "long transactions read them; wait, or raise lock_timeout_s",
        sqlstate=exc.sqlstate,
    )


def _giving_way_s(
    conn: psycopg.Connection[Any], cur: _Cursor, tables: Sequence[tuple[str, str]]
) -> float | None:
    """Seconds after which autovacuum ends for us; ``None`` where it is not at work on the tables.

    It works on a table, or on what is stored outside of it. Its processes belong to no role, and
    that much of them everybody may see.
    """
    with conn.transaction():
        close_search_path(cur)
        cur.execute(
            """
            SELECT setting::int / 1000.0 FROM pg_catalog.pg_settings
            WHERE name = 'deadlock_timeout' AND EXISTS (
                SELECT FROM unnest(%s::text[], %s::text[]) AS t (schema, name)
                JOIN pg_catalog.pg_namespace n ON n.nspname = t.schema
                JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = t.name
                JOIN pg_catalog.pg_locks l ON l.relation IN (c.oid, c.reltoastrelid)
                JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
                WHERE l.granted AND l.mode = 'ShareUpdateExclusiveLock' AND a.usesysid IS NULL
                  AND a.datname = current_database()
            )
            """,
            [[schema for schema, _ in tables], [name for _, name in tables]],
        )
        row = cur.fetchone()
    return float(row[0]) if row is not None else None


def _attempt(
    conn: psycopg.Connection[Any],
    cur: _Cursor,
    tables: Sequence[tuple[str, str]],
    action: Callable[[_Cursor], None],
    committing: Callable[[_Cursor], Lost],
    wait_s: float,
) -> None:
    lost: Lost | None = None
    try:
        with conn.transaction():
            configure_session(cur, wait_s)
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
            with resting(conn):
                time.sleep(_FIRST_PAUSE_S)
    return []
