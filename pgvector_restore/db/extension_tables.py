"""What extensions note of tables in tables of their own: by OID, or by name.

Nobody can list all extensions there are, so every table that belongs to one is asked. Citus keeps
its distributed tables so, TimescaleDB its hypertables, pg_partman what it partitions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from attrs import frozen
from psycopg import sql

from pgvector_restore.db.attached import find_attached_code

__all__ = ["Keeper", "find_keepers"]

_Cursor = psycopg.Cursor[Any]

#: Tables of extensions with columns that may refer to a table, and whether they may be read.
_TABLES = """
SELECT e.extname::text, c.oid::int8, n.nspname::text, c.relname::text,
       has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
           AND NOT row_security_active(c.oid),
       array_agg(a.attname::text ORDER BY a.attnum)
           FILTER (WHERE a.atttypid IN ('oid'::regtype, 'regclass'::regtype)),
       array_agg(a.attname::text ORDER BY a.attnum)
           FILTER (WHERE a.atttypid IN ('oid[]'::regtype, 'regclass[]'::regtype)),
       array_agg(a.attname::text ORDER BY a.attnum)
           FILTER (WHERE a.atttypid IN ('name'::regtype, 'text'::regtype, 'varchar'::regtype)),
       bool_or(a.atttypid IN ('regclass'::regtype, 'regclass[]'::regtype))
FROM pg_depend d
JOIN pg_extension e ON e.oid = d.refobjid
JOIN pg_class c ON c.oid = d.objid AND c.relkind IN ('r', 'p')
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_extension'::regclass
  AND d.deptype = 'e' AND c.oid <> %(oid)s
GROUP BY e.extname, c.oid, n.nspname, c.relname, n.oid
ORDER BY e.extname, n.nspname, c.relname
"""

#: How a table may be spelled in one cell.
_SPELLINGS = """
SELECT n.nspname::text, c.relname::text,
       ARRAY[n.nspname || '.' || c.relname, format('%%I.%%I', n.nspname, c.relname),
             format('"%%s"."%%s"', n.nspname, c.relname)]
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = %(oid)s
"""


@frozen
class Keeper:
    """A table of an extension that refers to a table, or may do so."""

    #: Name of the extension.
    extension: str
    #: ``schema.table`` of the extension's table.
    table: str
    #: Name of that table alone.
    name: str
    #: It was read, and refers to the table; else it may not be read.
    certain: bool

    def __str__(self) -> str:
        if self.certain:
            return f"extension {self.extension} refers to it in {self.table}"
        return (
            f"extension {self.extension} may refer to it in {self.table}, which cannot be looked at"
        )


def find_keepers(cur: _Cursor, oid: int) -> tuple[Keeper, ...]:
    """Tables of extensions that refer to a table. The search path must be empty."""
    cur.execute(_TABLES, {"oid": oid})
    tables = cur.fetchall()
    if not tables:
        return ()
    cur.execute(_SPELLINGS, {"oid": oid})
    schema, name, spellings = cur.fetchone() or ("", "", [])
    found = []
    for extension, table, home, title, readable, oids, lists, texts, refers in tables:
        if not (oids or lists or texts):
            continue
        keeper = Keeper(extension, f"{home}.{title}", title, certain=True)
        if not readable or any(one.untrusted_reading for one in find_attached_code(cur, table)):
            if refers:
                found.append(Keeper(extension, keeper.table, title, certain=False))
            continue
        condition = _condition(oids or (), lists or (), texts or ())
        cur.execute(
            sql.SQL("SELECT EXISTS (SELECT FROM ONLY {} WHERE {})").format(
                sql.Identifier(home, title), condition
            ),
            {"oid": oid, "schema": schema, "name": name, "spellings": spellings},
        )
        row = cur.fetchone()
        if row is not None and row[0]:
            found.append(keeper)
    return tuple(found)


def _condition(oids: Sequence[str], lists: Sequence[str], texts: Sequence[str]) -> sql.Composable:
    """A row refers to the table: by OID, by schema and name in two columns, or by both in one."""
    tests: list[sql.Composable] = [
        sql.SQL("{}::oid = %(oid)s").format(sql.Identifier(one)) for one in oids
    ]
    tests += [sql.SQL("%(oid)s = ANY ({}::oid[])").format(sql.Identifier(one)) for one in lists]
    if texts:
        cells = sql.SQL("ARRAY[{}]").format(
            sql.SQL(", ").join(
                sql.SQL('{}::text COLLATE "C"').format(sql.Identifier(one)) for one in texts
            )
        )
        tests.append(
            sql.SQL("%(schema)s::text = ANY ({0}) AND %(name)s::text = ANY ({0})").format(cells)
        )
        tests.append(sql.SQL("{} && %(spellings)s::text[]").format(cells))
    return sql.SQL("({})").format(sql.SQL(") OR (").join(tests))
