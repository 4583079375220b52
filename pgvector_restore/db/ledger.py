"""The ledger: one row for each restore, written in the restore's own transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from attrs import frozen
from psycopg import sql
from psycopg.types.json import Jsonb

from pgvector_restore.db.attached import find_attached_code
from pgvector_restore.errors import TargetMismatchError

__all__ = ["LEDGER", "LedgerEntry", "write_entry"]

#: Name of the table, in the schema of the restored ones.
LEDGER = "pgvector_restore_ledger"

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
    tables = [{"table": table, "file": file, "rows": count} for table, file, count in rows]
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
            hint="rename it, or restore without a ledger",
            sqlstate=exc.sqlstate,
        ) from exc


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
                hint="rename it, or restore without a ledger",
            )
