"""Tables from one schema to another, without what ties them to those they leave."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from attrs import frozen
from psycopg import sql

from pgvector_restore.db.definition import TableDefinition
from pgvector_restore.db.statements import written

__all__ = [
    "Ties",
    "cut_ties",
    "find_ties",
    "move_statistics",
    "move_table",
    "own_sequences",
]

_Cursor = psycopg.Cursor[Any]

#: Foreign keys to tables that stay, with the statements that make them again.
_KEYS = """
SELECT k.conname::text,
       format('ALTER TABLE %%s ADD CONSTRAINT %%I %%s', k.conrelid::regclass, k.conname,
              pg_get_constraintdef(k.oid)),
       CASE WHEN d.description IS NOT NULL
            THEN format('COMMENT ON CONSTRAINT %%I ON %%s IS %%L', k.conname, k.conrelid::regclass,
                        d.description) END
FROM pg_constraint k
JOIN pg_class p ON p.oid = k.confrelid
LEFT JOIN pg_description d ON d.classoid = 'pg_constraint'::regclass AND d.objoid = k.oid
WHERE k.conrelid = %(table)s::regclass AND k.contype = 'f' AND k.conparentid = 0
  AND NOT (p.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = %(table)s::regclass)
           AND p.relname = ANY (%(among)s))
ORDER BY k.conname
"""
#: Columns that are filled from a sequence which the table that takes over goes on with.
_DEFAULTS = """
SELECT DISTINCT a.attname::text,
       format('ALTER TABLE %%s ALTER COLUMN %%I SET DEFAULT %%s', a.attrelid::regclass, a.attname,
              pg_get_expr(f.adbin, f.adrelid))
FROM pg_attrdef f
JOIN pg_attribute a ON a.attrelid = f.adrelid AND a.attnum = f.adnum
JOIN pg_depend u ON u.classid = 'pg_attrdef'::regclass AND u.objid = f.oid
                AND u.refclassid = 'pg_class'::regclass
WHERE f.adrelid = %(table)s::regclass
  AND u.refobjid IN (SELECT name::regclass FROM unnest(%(sequences)s::text[]) AS s (name))
ORDER BY 1
"""


@frozen
class Ties:
    """What ties a table to others that stay where they are."""

    #: Names of foreign keys.
    keys: tuple[str, ...]
    #: Statements that make them, with their comments.
    make_keys: tuple[str, ...]
    #: Columns with defaults.
    columns: tuple[str, ...]
    #: Statements that set those.
    set_defaults: tuple[str, ...]


def find_ties(
    cur: _Cursor, schema: str, name: str, among: Sequence[str], definition: TableDefinition
) -> Ties:
    """What ties a table to others.

    Args:
        cur: With an empty search path.
        schema: Schema of the table.
        name: Its name.
        among: Tables of the schema that go with it.
        definition: The table's, with the sequences that stay.
    """
    values = {
        "table": sql.Identifier(schema, name).as_string(cur),
        "among": list(among),
        "sequences": [sequence for _, sequence in definition.serials],
    }
    cur.execute(_KEYS, values)
    keys = cur.fetchall()
    cur.execute(_DEFAULTS, values)
    defaults = cur.fetchall()
    return Ties(
        keys=tuple(row[0] for row in keys),
        make_keys=tuple(text for row in keys for text in row[1:] if text is not None),
        columns=tuple(row[0] for row in defaults),
        set_defaults=tuple(row[1] for row in defaults),
    )


def cut_ties(cur: _Cursor, schema: str, name: str, ties: Ties) -> None:
    """Drop the keys and defaults, so that the table is in nobody's way where it goes."""
    table = sql.Identifier(schema, name)
    for key in ties.keys:
        cur.execute(sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(table, sql.Identifier(key)))
    for column in ties.columns:
        cur.execute(
            sql.SQL("ALTER TABLE {} ALTER COLUMN {} DROP DEFAULT").format(
                table, sql.Identifier(column)
            )
        )


def move_table(cur: _Cursor, name: str, source: str, goal: str) -> None:
    """Move a table, with its indexes, constraints and identity sequences."""
    cur.execute(
        sql.SQL("ALTER TABLE {} SET SCHEMA {}").format(
            sql.Identifier(source, name), sql.Identifier(goal)
        )
    )


def move_statistics(cur: _Cursor, name: str, source: str, goal: str) -> None:
    """Move a statistics object."""
    if source != goal:
        cur.execute(
            sql.SQL("ALTER STATISTICS {} SET SCHEMA {}").format(
                sql.Identifier(source, name), sql.Identifier(goal)
            )
        )


def own_sequences(cur: _Cursor, definition: TableDefinition) -> None:
    """Sequences of serial columns belong to the table that has taken over."""
    for column, sequence in definition.serials:
        cur.execute(
            sql.SQL("ALTER SEQUENCE {} OWNED BY {}").format(
                written(sequence), sql.Identifier(definition.schema, definition.name, column)
            )
        )
