"""The ledger: one row for each restore, written in the restore's own transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from attrs import frozen
from psycopg import sql
from psycopg.rows import tuple_row
from psycopg.types.json import Jsonb

from pgvector_restore.db.attached import find_attached_code
from pgvector_restore.db.interrupt import limited
from pgvector_restore.db.pool import Target
from pgvector_restore.db.session import begin_reading, configure_session
from pgvector_restore.errors import ConnectError, TargetMismatchError

__all__ = [
    "LEDGER",
    "LedgerEntry",
    "LedgerState",
    "database_identity",
    "look",
    "read_state",
    "write_entry",
]

#: Name of the table, in the schema of the restored ones.
LEDGER = "pgvector_restore_ledger"

#: Seconds a look into the ledger may take, besides waiting for others.
_LOOK_TIMEOUT_S = 5.0

#: A plain table whose columns are of the server's own types, so that reading it runs nothing of
#: anybody's.
_READABLE = """
SELECT c.relkind IN ('r', 'p') AND has_table_privilege(c.oid, 'SELECT')
       AND NOT c.relrowsecurity AND 2 = (
           SELECT count(*) FROM pg_attribute a WHERE a.attrelid = c.oid AND NOT a.attisdropped
           AND (a.attname, a.atttypid) IN (('id', 'bigint'::regtype), ('tables', 'jsonb'::regtype))
       ), has_table_privilege(c.oid, 'INSERT'), c.oid
FROM pg_class c WHERE c.oid = to_regclass(%s)
"""

_COLUMNS = sql.SQL(
    """
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    label text NOT NULL,
    store text NOT NULL,
    mode text NOT NULL,
    strategy text NOT NULL,
    tables jsonb NOT NULL,
    role name NOT NULL DEFAULT session_user,
    version text NOT NULL,
    finished_at timestamptz NOT NULL DEFAULT clock_timestamp()
    """
)


@frozen
class LedgerEntry:
    """What the ledger keeps of a restore."""

    #: Label of the backup set.
    label: str
    #: Where it lies, without secrets.
    store: str
    #: ``append`` or ``replace``.
    mode: str
    #: ``in_place`` or ``swap``.
    strategy: str
    #: Version of this package.
    version: str
    #: What the restore can be found by later; ``None``: nothing.
    mark: str | None = None


def write_entry(
    cur: psycopg.Cursor[Any], schema: str, entry: LedgerEntry, rows: Sequence[tuple[str, str, int]]
) -> None:
    """Add a row, and the table if it is not there yet.

    Args:
        cur: In the transaction of the restore.
        schema: Where the ledger is.
        entry: What to keep.
        rows: Table, file and number of rows loaded, for each table.

    Raises:
        TargetMismatchError: There is something of that name that is no ledger, or a row in it
            would run code that somebody has written.
    """
    name = sql.Identifier(schema, LEDGER)
    # Restores of other tables may create it at the same moment; IF NOT EXISTS does not wait.
    cur.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"{schema}.{LEDGER}"])
    cur.execute("SELECT to_regclass(%s)", [name.as_string(cur)])
    found = cur.fetchone()
    if found is None or found[0] is None:
        cur.execute(sql.SQL("CREATE TABLE {} ({})").format(name, _COLUMNS))
    else:
        _check_code(cur, schema, name)
    # In the JSON: a ledger that is there already has no column for it.
    mark = {"mark": entry.mark} if entry.mark is not None else {}
    tables = [{"table": table, "file": file, "rows": count, **mark} for table, file, count in rows]
    try:
        cur.execute(
            sql.SQL(
                "INSERT INTO {} (label, store, mode, strategy, tables, version) "
                "VALUES (%s, %s, %s, %s, %s, %s)"
            ).format(name),
            [entry.label, entry.store, entry.mode, entry.strategy, Jsonb(tables), entry.version],
        )
    except psycopg.errors.UndefinedColumn as exc:
        raise TargetMismatchError(
            f"{schema}.{LEDGER} is no ledger of restores: {exc.diag.message_primary}",
            hint="restore without a ledger",
            sqlstate=exc.sqlstate,
        ) from exc


@frozen
class LedgerState:
    """What a ledger tells of a restore that was marked."""

    #: Which database of which server it is; empty where the role may not know.
    database: str
    #: Highest number of a row, 0 for none; ``None``: the ledger cannot be read.
    highest: int | None
    #: The mark is there: the restore was committed.
    marked: bool = False
    #: The role may write to it, or create it.
    writable: bool = True


def read_state(
    cur: psycopg.Cursor[Any], schema: str, mark: str, wait_s: float | None = None
) -> LedgerState:
    """Look for a restore's mark.

    Args:
        cur: In a transaction in which nothing has been done yet.
        schema: Where the ledger is.
        mark: The restore's.
        wait_s: Seconds to wait for restores that have written their row and are about to commit, so
            that the answer is final; ``None``: not at all.

    Raises:
        TargetBusyError: One of them has taken longer.
        ConnectError: The server is a standby, which may not know yet.
    """
    # A transaction of another level would keep seeing what there was before it waited.
    cur.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
    configure_session(cur, wait_s or _LOOK_TIMEOUT_S, 2 * _LOOK_TIMEOUT_S + (wait_s or 0))
    if wait_s is not None:
        cur.execute(
            "SELECT pg_advisory_xact_lock_shared(hashtextextended(%s, 0))", [f"{schema}.{LEDGER}"]
        )
    cur.execute("SELECT pg_is_in_recovery()")
    if cur.fetchone() != (False,):
        raise ConnectError("the server is a standby: it may not know of the newest restores")
    database = database_identity(cur)
    name = sql.Identifier(schema, LEDGER)
    cur.execute(_READABLE, [name.as_string(cur)])
    readable, writable, oid = cur.fetchone() or (False, False, None)
    if oid is None:
        cur.execute("SELECT has_schema_privilege(%s, 'CREATE')", [schema])
        return LedgerState(database, 0, writable=cur.fetchone() == (True,))
    if not readable or any(code.untrusted_reading for code in find_attached_code(cur, oid)):
        return LedgerState(database, None, writable=writable)
    cur.execute(
        sql.SQL("SELECT coalesce(max(id), 0), coalesce(bool_or(tables @> %s), false) FROM {}")
        .format(name),
        [Jsonb([{"mark": mark}])],
    )  # fmt: skip
    highest, marked = cur.fetchone() or (0, False)
    return LedgerState(database, highest, marked, writable)


def look(
    target: str | Mapping[str, Any], schema: str, mark: str, wait_s: float | None = None
) -> LedgerState:
    """:func:`read_state` over a connection of its own.

    Raises:
        TargetError: The database does not answer, or see there.
    """
    most_s = 3 * _LOOK_TIMEOUT_S + (wait_s or 0)
    with (
        Target(target).fresh() as conn,
        limited(conn, most_s, "a look into the ledger"),
        conn.transaction(),
    ):
        cur = psycopg.Cursor(conn, row_factory=tuple_row)
        begin_reading(cur)
        return read_state(cur, schema, mark, wait_s)


def database_identity(cur: psycopg.Cursor[Any]) -> str:
    """Which database of which server this is, whatever way leads there.

    Empty where the role may not know. The search path must be closed.
    """
    cur.execute(
        """
        SELECT CASE WHEN has_function_privilege('pg_control_system()', 'EXECUTE')
               THEN (SELECT system_identifier FROM pg_control_system()) END,
               (SELECT oid FROM pg_database WHERE datname = current_database())
        """
    )
    system, database = cur.fetchone() or (None, None)
    return f"{system}/{database}" if system is not None else ""


def _check_code(cur: psycopg.Cursor[Any], schema: str, name: sql.Identifier) -> None:
    """Whoever may create tables in the schema may have made this one, and hung anything on it."""
    cur.execute(
        """
        SELECT c.oid, c.relkind IN ('r', 'p') FROM pg_class c WHERE c.oid = %s::regclass
        """,
        [name.as_string(cur)],
    )
    oid, is_table = cur.fetchone() or (0, False)
    if is_table:
        cur.execute(sql.SQL("LOCK TABLE {} IN ROW EXCLUSIVE MODE").format(name))
    for code in find_attached_code(cur, oid):
        # An INSERT follows rules, which may lead to other tables with code of their own.
        if code.kind == "rule" or (code.strangers and code.kind != "policy"):
            raise TargetMismatchError(
                f"{schema}.{LEDGER} would run code that somebody has written: {code}",
                hint="restore without a ledger",
            )
