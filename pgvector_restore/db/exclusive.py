"""Locks of several tables, taken together or not at all, without making others wait for long."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import psycopg
from attrs import define, frozen
from psycopg import sql
from psycopg.rows import tuple_row

from pgvector_restore.db.session import (
    close_search_path,
    configure_session,
    resting,
    set_lock_timeout,
)
from pgvector_restore.errors import TargetBusyError, TargetChangedError

__all__ = ["ALONE", "TableLock", "exclusively", "holding", "upgrade", "wait_for_older_snapshots"]

_Cursor = psycopg.Cursor[Any]
Lost = Callable[[psycopg.Error], None]

#: The mode in which a table is nobody else's, as ``LOCK TABLE`` has it.
ALONE = "ACCESS EXCLUSIVE"

#: Whoever asks for a table while we wait for its lock waits behind us. This is how long at the
#: most.
_ATTEMPT_S = 0.25

#: A session that has one table and waits for the next looks for a deadlock after
#: ``deadlock_timeout``, and gives up if it finds one with us in it. We wait for so much less that
#: it finds none: this part of it, for all tables together.
_SHARE_OF_DEADLOCK_TIMEOUT = 0.25
#: While one table is held, others are waited for no longer than this, seconds: whoever has them and
#: does not wait for us is done with them soon.
_NEXT_S = 0.02

#: Autovacuum gives way to whoever has waited for ``deadlock_timeout``, and to nobody else: where it
#: holds what is needed, one attempt in so many lasts as long as that.
_ATTEMPTS_TO_A_LONG_ONE = 4
#: Where that takes longer, everybody else would wait too long behind us.
_LONGEST_GIVING_WAY_S = 2.0

#: Pauses after attempts that made others wait, seconds: they get their turn. Within a pause there
#: are looks whether all is free at this moment, which nobody waits for. Sessions that lock the
#: tables in opposite orders, one after the other without end, leave no other moment.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S, _LOOK_S = 0.05, 0.4, 0.05


@frozen
class TableLock:
    """A table, and how it is to be locked."""

    #: Its schema.
    schema: str
    #: Its name.
    table: str
    #: As ``LOCK TABLE`` has it.
    mode: str = ALONE
    #: It is left out where the role may not lock it so; whatever needs the lock takes it later.
    optional: bool = False
    #: Not its partitions and heirs, which are wanted by themselves.
    only: bool = False

    def __str__(self) -> str:
        return f"{self.schema}.{self.table}"


class _RefusedError(Exception):
    """Somebody else holds something."""

    def __init__(self, cause: psycopg.Error) -> None:
        super().__init__()
        self.cause = cause


@contextmanager
def holding(  # noqa: PLR0913 - the parts of a transaction
    conn: psycopg.Connection[Any],
    wanted: Sequence[TableLock],
    patience_s: float,
    begin: Callable[[_Cursor], None],
    *,
    ready: Callable[[_Cursor], None] | None = None,
    look: Callable[[_Cursor], None] | None = None,
    needed: Sequence[tuple[str, str]] = (),
) -> Iterator[_Cursor]:
    """Be in a transaction that holds all of the tables; COMMIT or ROLLBACK with the block.

    Nobody is waited for while something is held, but for a moment: what is refused makes an attempt
    end, everything is let go, and the next one begins with the table that was refused. So nobody
    who locks the tables in an order of his own is caught in a deadlock with us.

    Args:
        conn: A connection outside of any transaction.
        wanted: What to lock. Partitions and tables that inherit are locked as well.
        patience_s: Seconds until it is given up, and afterwards those that a statement of the block
            waits for a lock.
        begin: The first statements of the transaction; they lock nothing. Where the snapshot must
            not be older than the locks they take none: no SELECT.
        ready: Called when the tables are locked, to take what can be locked by no ``LOCK TABLE``.
            What is refused there counts as a table that is refused: it may be called several times,
            each after a rollback.
        look: Called before each further attempt, in a transaction of its own.
        needed: Further tables that autovacuum is to give up.

    Raises:
        TargetBusyError: Others held one of the tables all the time.
        TargetChangedError: One of the tables is not there any more.
    """
    cur = psycopg.Cursor(conn, row_factory=tuple_row)
    attempts = _Attempts.first(conn, cur, wanted, needed, begin, ready)
    with ExitStack() as transaction:
        attempts.go_on(transaction, patience_s, look)
        set_lock_timeout(cur, patience_s)
        yield cur


@define
class _Attempts:
    """Attempts at the locks, each a transaction that goes on if it has them."""

    conn: psycopg.Connection[Any]
    cur: _Cursor
    #: In the order of the next attempt.
    order: list[TableLock]
    #: As they were asked for.
    wanted: Sequence[TableLock]
    needed: Sequence[tuple[str, str]]
    begin: Callable[[_Cursor], None]
    ready: Callable[[_Cursor], None] | None
    deadlock_timeout_s: float
    #: Autovacuum works on one of the tables.
    vacuum: bool = False
    #: Since the last attempt that lasted for autovacuum to give way.
    short: int = _ATTEMPTS_TO_A_LONG_ONE

    @classmethod
    def first(
        cls,
        conn: psycopg.Connection[Any],
        cur: _Cursor,
        wanted: Sequence[TableLock],
        needed: Sequence[tuple[str, str]],
        begin: Callable[[_Cursor], None],
        ready: Callable[[_Cursor], None] | None,
    ) -> _Attempts:
        with conn.transaction():
            close_search_path(cur)
            order = _expand(cur, wanted)
            cur.execute("SELECT setting::int FROM pg_settings WHERE name = 'deadlock_timeout'")
            (milliseconds,) = cur.fetchone() or (1000,)
        named = [one for one in wanted if not one.optional]
        return cls(conn, cur, order, named, needed, begin, ready, milliseconds / 1000)

    def go_on(
        self, transaction: ExitStack, patience_s: float, look: Callable[[_Cursor], None] | None
    ) -> None:
        """Try until one succeeds, which is then the transaction's."""
        deadline = time.monotonic() + patience_s
        pause = _FIRST_PAUSE_S
        while True:
            started = time.monotonic()
            wait_s = min(self.next_wait_s(deadline), max(deadline - started, 0.001))
            refused = self.run(transaction, wait_s)
            now = time.monotonic()
            # Others have as much of the time as we had, at least.
            rest = now + max(pause, now - started)
            pause = min(2 * pause, _LONGEST_PAUSE_S)
            while refused is not None:
                self.find_autovacuum(look)
                if time.monotonic() + _LOOK_S > deadline:
                    raise self.busy(patience_s, refused) from refused
                time.sleep(_LOOK_S)
                if time.monotonic() > rest:
                    break
                refused = self.run(transaction, 0.0)
            if refused is None:
                return

    def next_wait_s(self, deadline: float) -> float:
        """Seconds that the next attempt waits for its first table."""
        self.short += 1
        if self.vacuum and self.short > _ATTEMPTS_TO_A_LONG_ONE:
            long_s = _ATTEMPT_S + self.deadlock_timeout_s
            patient = time.monotonic() + long_s <= deadline
            if self.deadlock_timeout_s <= _LONGEST_GIVING_WAY_S and patient:
                self.short = 0
                return long_s
        return self._short_s

    @property
    def _short_s(self) -> float:
        return min(_ATTEMPT_S, _SHARE_OF_DEADLOCK_TIMEOUT * self.deadlock_timeout_s)

    def run(self, transaction: ExitStack, wait_s: float) -> psycopg.Error | None:
        """Try once; returns what it was refused with, or ``None`` if the transaction has all."""
        cur = self.cur
        try:
            with ExitStack() as attempt:
                attempt.enter_context(self.conn.transaction())
                self.begin(cur)
                try:
                    self._lock(wait_s)
                    if self.ready is not None:
                        # What autovacuum holds beside a table is waited for here.
                        set_lock_timeout(cur, max(wait_s, _NEXT_S))
                        self.ready(cur)
                except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected) as exc:
                    raise _RefusedError(exc) from exc
                transaction.enter_context(attempt.pop_all())
        except _RefusedError as exc:
            return exc.cause
        return None

    def _lock(self, wait_s: float) -> None:
        # Together with the first one they take no longer than twice the time for that.
        next_s = min(_NEXT_S, self._short_s / max(len(self.order), 1)) if wait_s else 0.0
        if wait_s > self._short_s:
            next_s = 0.0  # somebody may have waited behind us for long
        reached = 0
        try:
            for reached, one in enumerate(self.order):
                self._lock_one(one, next_s if reached else wait_s)
        except psycopg.errors.LockNotAvailable:
            self.order.insert(0, self.order.pop(reached))
            raise
        for one in self.wanted:  # partitions that were not there
            self._lock_one(one, 0.0)

    def _lock_one(self, one: TableLock, wait_s: float) -> None:
        cur = self.cur
        if wait_s:
            set_lock_timeout(cur, max(wait_s, 0.001))
        try:
            cur.execute(
                sql.SQL("LOCK TABLE {} {} IN {} MODE {}").format(
                    sql.SQL("ONLY" if one.only else ""),
                    sql.Identifier(one.schema, one.table),
                    sql.SQL(one.mode),
                    sql.SQL("" if wait_s else "NOWAIT"),
                )
            )
        except psycopg.errors.UndefinedTable as exc:
            raise TargetChangedError(
                f"a table has gone since it was looked at: {exc.diag.message_primary}",
                hint="try again",
                sqlstate=exc.sqlstate,
            ) from exc

    def find_autovacuum(self, look: Callable[[_Cursor], None] | None) -> None:
        """See whether autovacuum is at work on the tables, or on what is stored outside of them.

        Its processes belong to no role, and that much of them everybody may see.
        """
        places = [*((one.schema, one.table) for one in self.order), *self.needed]
        with self.conn.transaction():
            close_search_path(self.cur)
            if look is not None:
                look(self.cur)
            self.cur.execute(
                """
                SELECT EXISTS (
                    SELECT FROM unnest(%s::text[], %s::text[]) AS t (schema, name)
                    JOIN pg_catalog.pg_namespace n ON n.nspname = t.schema
                    JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = t.name
                    JOIN pg_catalog.pg_locks l ON l.relation IN (c.oid, c.reltoastrelid)
                    JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
                    WHERE l.granted AND l.mode = 'ShareUpdateExclusiveLock' AND a.usesysid IS NULL
                      AND a.datname = current_database()
                )
                """,
                [[schema for schema, _ in places], [name for _, name in places]],
            )
            self.vacuum = self.cur.fetchone() == (True,)

    def busy(self, patience_s: float, exc: psycopg.Error) -> TargetBusyError:
        names = ", ".join(map(str, self.wanted)) or "what the tables refer to"
        return TargetBusyError(
            f"{names} could not be locked within {patience_s:g} s",
            hint="autovacuum works on them; wait, or raise lock_timeout_s"
            if self.vacuum
            else "long transactions use them; wait, or raise lock_timeout_s",
            sqlstate=exc.sqlstate,
        )


def upgrade(cur: _Cursor, wanted: TableLock, patience_s: float) -> None:
    """Lock a table more strictly than this transaction has it, within savepoints.

    What it has cannot be let go between attempts. A session that has the table too and waits may
    wait for us: there is no attempt while there is one. Whoever comes to wait during an attempt
    looks for a deadlock when that is over.

    Args:
        cur: In a transaction that keeps all others from writing to the table.
        wanted: The table. Partitions and tables that inherit are locked as well.
        patience_s: Seconds until it is given up.

    Raises:
        TargetBusyError: Others had it all the time.
    """
    conn = cur.connection
    deadline = time.monotonic() + patience_s
    cur.execute("SELECT setting::int FROM pg_catalog.pg_settings WHERE name = 'deadlock_timeout'")
    (milliseconds,) = cur.fetchone() or (1000,)
    order = _expand(cur, [wanted])
    short_s = min(_ATTEMPT_S, _SHARE_OF_DEADLOCK_TIMEOUT * milliseconds / 1000)
    attempts = _Attempts(
        *(conn, cur, order, [wanted], (), lambda _cur: None, None), milliseconds / 1000
    )
    with ExitStack() as savepoint:
        while True:
            cur.execute(
                """
                SELECT EXISTS (
                    SELECT FROM pg_catalog.pg_locks waiting
                    JOIN pg_catalog.pg_locks held ON held.pid = waiting.pid
                    WHERE NOT waiting.granted AND held.granted
                      AND held.pid <> pg_catalog.pg_backend_pid()
                      AND held.relation = ANY (
                          SELECT c.oid FROM unnest(%s::text[], %s::text[]) AS t (schema, name)
                          JOIN pg_catalog.pg_namespace n ON n.nspname = t.schema
                          JOIN pg_catalog.pg_class c
                          ON c.relnamespace = n.oid AND c.relname = t.name)
                )
                """,
                [[one.schema for one in order], [one.table for one in order]],
            )
            waited_for = cur.fetchone() == (True,)
            refused = None if waited_for else attempts.run(savepoint, short_s)
            if not waited_for and refused is None:
                break
            if time.monotonic() > deadline:
                raise TargetBusyError(
                    f"{wanted} could not be locked within {patience_s:g} s",
                    hint="a session has read it and waits to write to it; end that one"
                    if waited_for
                    else "long transactions use it; wait, or raise lock_timeout_s",
                    sqlstate=refused.sqlstate if refused is not None else None,
                ) from refused
            time.sleep(_FIRST_PAUSE_S)
    set_lock_timeout(cur, patience_s)


def _expand(cur: _Cursor, wanted: Sequence[TableLock]) -> list[TableLock]:
    """Each table, partition and heir by itself, parents first; optional ones that may be locked.

    Partitions that the role may not lock by their own names are locked with their parents.
    """
    order: dict[tuple[str, str], TableLock] = {}
    for one in wanted:
        cur.execute(
            """
            WITH RECURSIVE part (oid, depth) AS (
                SELECT c.oid, 0 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE n.nspname = %(schema)s AND c.relname = %(table)s
                UNION
                SELECT i.inhrelid, depth + 1 FROM pg_inherits i JOIN part ON part.oid = i.inhparent
            )
            SELECT n.nspname::text, c.relname::text, c.relkind IN ('r', 'p')
            FROM (SELECT oid, min(depth) AS depth FROM part GROUP BY oid) part
            JOIN pg_class c ON c.oid = part.oid JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE (depth = 0 AND NOT %(optional)s)
               OR (has_schema_privilege(n.oid, 'USAGE') AND c.relkind IN ('r', 'p')
                   AND has_table_privilege(c.oid, %(privileges)s))
            ORDER BY depth, c.oid
            """,
            {
                "schema": one.schema,
                "table": one.table,
                "optional": one.optional,
                "privileges": "UPDATE, DELETE, TRUNCATE"
                + {"ROW EXCLUSIVE": ", INSERT", "ACCESS SHARE": ", SELECT"}.get(one.mode, ""),
            },
        )
        for schema, table, plain in cur.fetchall():
            order.setdefault((schema, table), TableLock(schema, table, one.mode, only=plain))
    return list(order.values())


def exclusively(  # noqa: PLR0913 - the parts of a transaction
    conn: psycopg.Connection[Any],
    tables: Sequence[tuple[str, str]],
    action: Callable[[_Cursor], None],
    committing: Callable[[_Cursor], Lost],
    patience_s: float,
    *,
    needed: Sequence[tuple[str, str]] = (),
    parents: Sequence[tuple[str, str]] = (),
) -> None:
    """Run ``action`` in a transaction that holds the tables in ACCESS EXCLUSIVE mode.

    Args:
        conn: A connection outside of any transaction.
        tables: Schema and name.
        needed: Further tables that ``action`` locks.
        parents: Tables that keys of the tables refer to. The server locks them as well where such a
            key goes.
        action: What to do; it may run several times, each after a rollback.
        committing: Called right before COMMIT. What it returns is called when the connection is
            lost during COMMIT: it returns if that was carried out, and raises otherwise.
        patience_s: Seconds until it is given up.

    Raises:
        TargetBusyError: Others held one of the tables all the time.
        TargetChangedError: One of the tables is not there any more.
        OutcomeUnknownError: The connection was lost during COMMIT, and nobody can tell.
    """
    wanted = [TableLock(*table) for table in tables]
    wanted += [TableLock(*one, optional=True) for one in parents if one not in tables]
    lost: Lost | None = None
    try:
        with holding(
            *(conn, wanted, patience_s, lambda cur: configure_session(cur, _ATTEMPT_S)),
            ready=action,
            needed=needed,
        ) as cur:
            lost = committing(cur)
    except psycopg.OperationalError as exc:
        if lost is None or exc.sqlstate is not None:
            raise
        lost(exc)


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
