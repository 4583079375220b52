"""Reading tables for a backup: one snapshot of all of them, over several connections."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import psycopg
from attrs import define, field
from psycopg import sql
from psycopg.rows import tuple_row

from pgvector_restore.backup_options import BackupOptions
from pgvector_restore.cancel import CancelToken
from pgvector_restore.db.claims import check_unclaimed
from pgvector_restore.db.errors import server_errors
from pgvector_restore.db.exclusive import TableLock, holding, upgrade
from pgvector_restore.db.inspect import find_schema
from pgvector_restore.db.interrupt import limited
from pgvector_restore.db.outcome import Evidence, Pending, note, resolve
from pgvector_restore.db.pool import Target
from pgvector_restore.db.reader import Reader
from pgvector_restore.db.relations import (
    Relation,
    RelationName,
    describe_relations,
    find_relations,
)
from pgvector_restore.db.server import server_facts
from pgvector_restore.db.session import begin_reading, configure_session, set_lock_timeout
from pgvector_restore.errors import ConnectError, TargetBusyError
from pgvector_restore.failpoints import reach
from pgvector_restore.target import TargetFacts

__all__ = ["Snapshot", "snapshot_of"]

_log = logging.getLogger(__name__)

#: How values are printed, whatever role or database prefer.
_PRINTED = {"IntervalStyle": "postgres", "bytea_output": "hex", "extra_float_digits": "1"}

#: Seconds that another connection waits for its locks: some restores that wait for the tables try
#: for a quarter of a second at a time.
_JOIN_S = 1.0
#: Seconds until it has them all, and the snapshot: nobody else is waited for there.
_BEGIN_S = 15.0

#: What the server says of a snapshot when the session that has exported it is gone.
_NO_SNAPSHOT = (
    psycopg.errors.InvalidParameterValue,
    psycopg.errors.ObjectNotInPrerequisiteState,
    psycopg.errors.UndefinedObject,
)


@define
class Snapshot:
    """All tables at one moment; locked against being changed in any way but by rows."""

    #: The server.
    facts: TargetFacts
    #: The tables, in the order they were asked for.
    tables: tuple[Relation, ...]
    _cur: psycopg.Cursor[Any]
    _target: Target
    _options: BackupOptions
    _pending: Pending | None = field(default=None, init=False)

    @contextmanager
    def readers(self, count: int, *, fewer: bool) -> Iterator[list[Reader]]:
        """Connections that see the snapshot, at most so many; they take their locks at once.

        There are fewer where somebody has asked for one of the tables alone meanwhile.

        Args:
            count: How many.
            fewer: Where the server gives no other connection, go on with those there are.

        Raises:
            ConnectError: The server gives no other connection.
        """
        with ExitStack() as stack, server_errors():
            readers = [Reader(self._cur.connection)]
            if count > 1 and self._target.parameters is not None:
                self._cur.execute("SELECT pg_export_snapshot()")
                (exported,) = self._cur.fetchone() or ("",)
                try:
                    while len(readers) < count:
                        readers.append(stack.enter_context(self._another(exported)))
                except (ConnectError, TargetBusyError) as exc:
                    if isinstance(exc, ConnectError) and not fewer:
                        raise ConnectError(
                            f"jobs {count} takes {count} connections, and {len(readers)} can be"
                            f" had: {exc.message}",
                            hint="with jobs auto a backup goes on with those there are",
                            sqlstate=exc.sqlstate,
                        ) from exc
                    _log.info("reading over %d connections: %s", len(readers), exc)
            yield readers

    @contextmanager
    def _another(self, exported: str) -> Iterator[Reader]:
        with (
            self._target.fresh() as conn,
            limited(conn, _BEGIN_S, "another connection for the snapshot") as limit,
            conn.transaction(),
        ):
            cur = psycopg.Cursor(conn, row_factory=tuple_row)
            cur.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            try:
                cur.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(exported)))
            except _NO_SNAPSHOT as exc:
                raise ConnectError(
                    "connection to the server was lost", sqlstate=exc.sqlstate
                ) from exc
            _configure(cur, self._options)
            # Now and not with the first row. Whoever has asked for a table alone waits for the
            # leading connection, and we would wait for him.
            set_lock_timeout(cur, min(self._options.lock_timeout_s, _JOIN_S))
            _lock(cur, self.tables)
            set_lock_timeout(cur, self._options.lock_timeout_s)
            limit.over()
            yield Reader(conn)

    def truncate(self, table: Relation) -> None:
        """Empty a table that was locked for it; done with the end of the snapshot.

        No reader may be open any more: it would be waited for.

        Raises:
            TargetBusyError: Others read it all the time, or wait for this transaction themselves.
            TargetError: The server refuses.
        """
        with server_errors():
            name = sql.Identifier(table.schema, table.name)
            upgrade(self._cur, TableLock(table.schema, table.name), self._options.lock_timeout_s)
            self._cur.execute(sql.SQL("TRUNCATE {}").format(name))
            self._cur.execute("SELECT pg_relation_filenode(%s)", [table.oid])
            row = self._cur.fetchone()
            reach("backup.emptied", self._cur.connection)
            left = Evidence(table.schema, table.name, table.oid, None, row[0] if row else None)
            self._pending = note(self._cur, [left])


@contextmanager
def snapshot_of(
    target: Target,
    names: Sequence[str],
    options: BackupOptions,
    *,
    emptied: str | None,
    cancel: CancelToken,
) -> Iterator[Snapshot]:
    """One snapshot of tables, for as long as the block runs.

    Args:
        target: The database.
        names: The tables.
        options: Their schema, and how long anything may take.
        emptied: One of them to which nobody may write meanwhile.
        cancel: Ends what the block does on the leading connection.

    Raises:
        TargetMismatchError: A table is not there, or cannot be read.
        TargetBusyError: Others hold one of them.
        ConnectError: The connection was lost.
    """
    with target.connection() as conn, Reader(conn).until(cancel) as interrupter:
        cur = psycopg.Cursor(conn, row_factory=tuple_row)
        reach("connect", conn)
        with conn.transaction():
            begin_reading(cur)
            schema = find_schema(cur, options.schema, names)
            configure_session(cur, options.lock_timeout_s, options.statement_timeout_s)
            check_unclaimed(cur, schema, names)
            found = find_relations(cur, schema, names, emptied)
        snapshot: Snapshot | None = None
        try:
            # Locks before the first SELECT: the snapshot is not older than what they waited for.
            with holding(
                *(conn, _locks(found, emptied), options.lock_timeout_s),
                lambda cur: _begin(cur, options, emptied),
            ):
                facts = server_facts(cur, schema, names)
                tables = describe_relations(cur, facts, found, emptied)
                snapshot = Snapshot(facts, tables, cur, target, options)
                reach("backup.snapshot", conn)
                yield snapshot
                interrupter.disarm()
        except psycopg.OperationalError as exc:
            pending = snapshot._pending if snapshot is not None else None  # noqa: SLF001
            if pending is None or exc.sqlstate is not None:
                raise
            resolve(pending, target.fresh, exc)
        reach("backup.commit", conn)


def _begin(cur: psycopg.Cursor[Any], options: BackupOptions, emptied: str | None) -> None:
    access = "READ ONLY" if emptied is None else "READ WRITE"
    cur.execute(
        sql.SQL("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, {}").format(sql.SQL(access))
    )
    _configure(cur, options)


def _locks(tables: Sequence[RelationName], emptied: str | None) -> list[TableLock]:
    """Nobody drops or alters them from here on; nobody writes to the one to be emptied."""
    return [
        TableLock(one.schema, one.name, "EXCLUSIVE" if one.name == emptied else "ACCESS SHARE")
        for one in tables
        if one.lockable
    ]


def _configure(cur: psycopg.Cursor[Any], options: BackupOptions) -> None:
    configure_session(cur, options.lock_timeout_s, options.statement_timeout_s)
    for name, value in _PRINTED.items():
        cur.execute(sql.SQL("SET LOCAL {} = {}").format(sql.Identifier(name), sql.Literal(value)))
    # The leading connection is silent while others read.
    cur.execute("SET LOCAL idle_in_transaction_session_timeout = 0")


def _lock(cur: psycopg.Cursor[Any], tables: Sequence[RelationName]) -> None:
    """The leading connection has the tables; another one has them too.

    Raises:
        TargetBusyError: Somebody has asked for one of them alone.
    """
    for table in tables:
        if table.lockable:
            statement = sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(
                sql.Identifier(table.schema, table.name)
            )
            try:
                cur.execute(statement)
            except psycopg.errors.LockNotAvailable as exc:
                raise TargetBusyError(
                    f"somebody else waits for {table.schema}.{table.name}",
                    hint="wait for the other session, or raise lock_timeout_s",
                    sqlstate=exc.sqlstate,
                ) from exc
