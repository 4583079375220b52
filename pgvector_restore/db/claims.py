"""Advisory locks: one restore a table at a time, for tables that do not exist yet as well.

A lock of the session outlives a transaction, and is lost to everybody where a pooler gives the
session to somebody else then: it stays on a connection of the pooler's. So a session takes one only
if it is told to be its own by the server. Everywhere else the locks are those of a transaction that
stays open on a connection of its own, for as long as they are wanted: its end lets go of them,
whatever ends it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from typing import Any

import psycopg
from attrs import define, field
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from pgvector_restore.db.interrupt import limited
from pgvector_restore.db.session import close_search_path
from pgvector_restore.errors import ConnectError, TargetBusyError

__all__ = ["Claims", "check_guard", "check_unclaimed", "claim", "claimed", "keeps_its_backend"]

_Cursor = psycopg.Cursor[Any]

#: A new connection to the same database, outside of any transaction.
Reconnect = Callable[[], AbstractContextManager[psycopg.Connection[Any]]]

#: Seconds that another connection may let us wait: a pooler whose connections are all taken says
#: nothing, and ours may be among them.
_GUARD_S = 10.0


def _key(schema: str, table: str) -> str:
    return f"pgvector_restore:{schema}.{table}"


def keeps_its_backend(cur: _Cursor) -> bool:
    """Whether this session is the server's, rather than one that a pooler lends.

    The server tells each session at its login which process serves it. Poolers make up something
    else, for what they tell has to lead a request to cancel to themselves.
    """
    cur.execute("SELECT pg_catalog.pg_backend_pid()")
    return cur.fetchone() == (cur.connection.info.backend_pid,)


def claim(cur: _Cursor, schema: str, tables: Sequence[str]) -> None:
    """Take the tables' names until the transaction ends, without waiting.

    Raises:
        TargetBusyError: Another restore has one of them.
    """
    for table in sorted(tables):
        cur.execute(
            "SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))", [_key(schema, table)]
        )
        if cur.fetchone() != (True,):
            raise _busy(cur, schema, table)


@define
class Claims:
    """Names that this restore has, over any number of its transactions."""

    #: Whose session or transaction has the locks.
    _cur: _Cursor
    #: It is a transaction of a connection of its own.
    _guarded: bool
    _taken: list[str] = field(factory=list)

    def take(self, key: str) -> bool:
        """Take one more name; says whether nobody else has it."""
        if self._guarded:
            self._cur.execute("SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))", [key])
            taken = self._cur.fetchone()
            # A query with parameters keeps its snapshot until another one comes, and older
            # snapshots are what an exchange waits for, and VACUUM.
            close_search_path(self._cur)
        else:
            with self._cur.connection.transaction():
                close_search_path(self._cur)
                # Should the session not be ours after all, nothing is taken.
                self._cur.execute(
                    "SELECT CASE WHEN pg_backend_pid() = %s"
                    " THEN pg_try_advisory_lock(hashtextextended(%s, 0)) END",
                    [self._cur.connection.info.backend_pid, key],
                )
            taken = self._cur.fetchone()
        if taken != (True,):
            return False
        self._taken.append(key)
        return True

    def check(self) -> None:
        """The names are still ours.

        Raises:
            ConnectError: The connection that had them is lost.
        """
        if self._guarded:
            try:
                self._cur.execute("SELECT 1")
            except psycopg.Error as exc:
                raise ConnectError(
                    "the connection that kept the tables for this restore was lost",
                    hint="a limit of the server or of a pooler may end transactions that wait",
                    sqlstate=exc.sqlstate,
                ) from exc

    def release(self) -> None:
        """Give the names back; those of a transaction go with it."""
        if self._guarded:
            return
        conn = self._cur.connection
        try:
            for key in self._taken:
                with conn.transaction():
                    close_search_path(self._cur)
                    self._cur.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", [key])
        except psycopg.OperationalError:
            conn.close()  # a session that has ended holds nothing


@contextmanager
def claimed(
    conn: psycopg.Connection[Any],
    schema: str,
    tables: Sequence[str],
    reconnect: Reconnect,
) -> Iterator[Claims]:
    """Have the tables' names for as long as the block runs, over any number of transactions.

    Args:
        conn: A connection outside of any transaction.
        schema: Schema of the tables.
        tables: Their names.
        reconnect: Gives another connection, for where ``conn`` is lent by a pooler.

    Raises:
        TargetBusyError: Another restore has one of them.
        ConnectError: Another connection is needed and not to be had.
    """
    with ExitStack() as stack:
        cur = psycopg.Cursor(conn, row_factory=tuple_row)
        with conn.transaction():
            guarded = not keeps_its_backend(cur)
            if guarded:  # while this transaction has a connection of the pooler's: it takes two
                cur = stack.enter_context(_guard(reconnect))
        claims = Claims(cur, guarded)
        stack.callback(claims.release)
        for table in sorted(tables):
            if not claims.take(_key(schema, table)):
                raise _busy_outside(cur, schema, table)
        yield claims


def check_guard(cur: _Cursor, reconnect: Reconnect) -> bool:
    """Whether there is what :func:`claimed` needs, beside a transaction that is open.

    Args:
        cur: In a transaction.
        reconnect: Gives another connection.
    """
    if keeps_its_backend(cur):
        return True
    try:
        with _guard(reconnect):
            return True
    except ConnectError:
        return False


@contextmanager
def _guard(reconnect: Reconnect) -> Iterator[_Cursor]:
    """A cursor in a transaction that stays open, on a connection of its own.

    It has no snapshot between its statements, so it keeps no vacuum from its work.
    """
    with ExitStack() as stack:
        try:
            conn = stack.enter_context(reconnect())
            stack.callback(_roll_back, conn)
            cur = psycopg.Cursor(conn, row_factory=tuple_row)
            with limited(conn, _GUARD_S, "the connection that keeps the tables"):
                cur.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED, READ ONLY")
                close_search_path(cur)
                cur.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        except ConnectError as exc:
            raise ConnectError(
                "the pooler before the server gives no second connection, which is needed to keep"
                " the tables from other restores",
                hint="enlarge the pool, or connect to the server itself; a restore in place needs"
                " none",
                sqlstate=exc.sqlstate,
            ) from exc
        yield cur


def _roll_back(conn: psycopg.Connection[Any]) -> None:
    with suppress(psycopg.Error):  # it may have been lost by then
        conn.rollback()


def check_unclaimed(cur: _Cursor, schema: str, tables: Sequence[str]) -> None:
    """Look whether another restore has the tables, without taking anything.

    Reading a table that is being replaced would wait for the end of that restore.

    Raises:
        TargetBusyError: It has one of them.
    """
    close_search_path(cur)
    for table in sorted(tables):
        if _holder(cur, schema, table) is not None:
            raise _busy(cur, schema, table)


_Holder = tuple[int, str | None, bool]


def _holder(cur: _Cursor, schema: str, table: str) -> _Holder | None:
    """Who has the name: the process, since when in this state, and that it is in no transaction."""
    # pg_locks shows a 64-bit key in two halves, with objsubid 1. What others do only those are told
    # who may know it.
    cur.execute(
        """
        SELECT l.pid, to_char(coalesce(a.xact_start, a.state_change) AT TIME ZONE 'UTC',
                              'YYYY-MM-DD HH24:MI:SS "UTC"'),
               coalesce(a.state = 'idle', false)
        FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
        WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted
          AND l.mode = 'ExclusiveLock'
          AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND l.pid <> pg_backend_pid()
          AND ((l.classid::bigint << 32) | l.objid::bigint) = hashtextextended(%s, 0)
        """,
        [_key(schema, table)],
    )
    return cur.fetchone()


def _busy(cur: _Cursor, schema: str, table: str) -> TargetBusyError:
    """The error, with who it is, if he has not ended meanwhile."""
    message = f"another restore is writing {schema}.{table}"
    hint = "wait until it has ended"
    holder = _holder(cur, schema, table)
    if holder is not None:
        pid, since, idle = holder
        message += f" (server process {pid}{f', since {since}' if since else ''})"
        if idle:
            hint += (
                f"; process {pid} is in no transaction: if no restore runs, its connection is one "
                f"that a pooler has kept, and SELECT pg_terminate_backend({pid}) ends it"
            )
    return TargetBusyError(message, hint=hint)


def _busy_outside(cur: _Cursor, schema: str, table: str) -> TargetBusyError:
    if cur.connection.pgconn.transaction_status != TransactionStatus.IDLE:
        return _busy(cur, schema, table)
    with cur.connection.transaction():
        close_search_path(cur)
        return _busy(cur, schema, table)
