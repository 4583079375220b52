"""Creating what is missing: the extension and known tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from pgvector_restore.column_types import TypeName, parse_type
from pgvector_restore.manifest import ManifestColumn
from pgvector_restore.schema import DescribedTable, NewTables, TableSchema
from pgvector_restore.target import TargetFacts

if TYPE_CHECKING:
    from typing_extensions import LiteralString

__all__ = ["create_missing", "create_table"]


def create_missing(
    cur: psycopg.Cursor[Any],
    facts: TargetFacts,
    names: Sequence[str],
    generation: NewTables | None,
    *,
    schema: str | None = None,
) -> None:
    """Create what is missing of the named tables, and the extension they need.

    Args:
        cur: In a transaction.
        facts: What is there.
        names: Tables, parents first.
        generation: What the tables look like.
        schema: Where to create them, unless in the schema of the target.
    """
    missing = [name for name in names if facts.table(name) is None]
    if not missing or generation is None:
        return
    vector_schema = facts.vector_schema
    if vector_schema is None and generation.needs_extension:
        vector_schema = create_extension(cur, facts.schema)
    home = schema or facts.schema
    for name in missing:
        table = generation.table(name)
        if isinstance(table, TableSchema):
            parent = table.parent[1] if table.parent is not None else None
            create_table(
                cur, home, table, vector_schema or "", home if parent in names else facts.schema
            )
        elif table is not None:
            parents = {
                key.parent: home if key.parent in names else facts.schema
                for key in table.foreign_keys
            }
            create_described(cur, home, table, vector_schema or "", parents)


def create_extension(cur: psycopg.Cursor[Any], schema: str) -> str:
    """Create the extension ``vector`` where applications expect it; returns its schema.

    That is ``public`` if there is one, because the search path of whoever uses the tables finds
    the type there; else the schema of the tables.
    """
    cur.execute("SELECT 1 FROM pg_namespace WHERE nspname = 'public'")
    home = "public" if cur.fetchone() else schema
    cur.execute(
        sql.SQL("CREATE EXTENSION IF NOT EXISTS vector SCHEMA {}").format(sql.Identifier(home))
    )
    return home


def create_described(
    cur: psycopg.Cursor[Any],
    schema: str,
    table: DescribedTable,
    vector_schema: str,
    parent_schemas: Mapping[str, str],
) -> None:
    """Create a table as a manifest describes it, names of keys as PostgreSQL gives them.

    Every type is one of a list, and every name is quoted: no text of the manifest is run.

    Args:
        cur: In a transaction.
        schema: Where to create it.
        table: The table.
        vector_schema: Schema of the extension.
        parent_schemas: Schemas of the tables it refers to, by name.
    """
    said = table.described
    parts: list[sql.Composable] = [_column(column, vector_schema) for column in said.table_columns]
    if said.primary_key:
        parts.append(sql.SQL("PRIMARY KEY ({})").format(_names(said.primary_key)))
    parts += [sql.SQL("UNIQUE ({})").format(_names(columns)) for columns in said.unique]
    for key in table.foreign_keys:
        parts.append(
            sql.SQL("FOREIGN KEY ({}) REFERENCES {} ({}){}").format(
                sql.Identifier(key.column),
                sql.Identifier(parent_schemas[key.parent], key.parent),
                sql.Identifier(key.parent_column),
                sql.SQL(" ON DELETE CASCADE" if table.cascades(key) else ""),
            )
        )
    cur.execute(
        sql.SQL("CREATE TABLE {} ({})").format(
            sql.Identifier(schema, table.name), sql.SQL(", ").join(parts)
        )
    )


def _names(columns: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, columns))


def _column(column: ManifestColumn, vector_schema: str) -> sql.Composed:
    found = parse_type(column.type_name)
    assert found is not None  # noqa: S101 - planning refuses other types
    return sql.SQL("{} {}{}").format(
        sql.Identifier(column.name),
        _type(found, vector_schema),
        sql.SQL(" NOT NULL" if column.not_null else ""),
    )


def _type(name: TypeName, vector_schema: str) -> sql.Composed:
    """The type, put together of parts that are not the manifest's own text."""
    before, after = ("", "") if name.of_extension else _TYPES[name.base]
    numbers = sql.SQL(", ").join(map(sql.Literal, name.numbers))
    return sql.SQL("{}{}{}{}").format(
        sql.Identifier(vector_schema, name.base) if name.of_extension else sql.SQL(before),
        sql.SQL("({})").format(numbers) if name.numbers else sql.SQL(""),
        sql.SQL(after),
        sql.SQL("[]" * min(name.brackets, _MAX_BRACKETS)),
    )


#: More dimensions has no array (``MAXDIM``).
_MAX_BRACKETS = 6
#: What stands before and after the numbers of a type, by its name.
_TYPES: dict[str, tuple[LiteralString, LiteralString]] = {
    "bigint": ("bigint", ""),
    "bit": ("bit", ""),
    "bit varying": ("bit varying", ""),
    "boolean": ("boolean", ""),
    "bytea": ("bytea", ""),
    "character": ("character", ""),
    "character varying": ("character varying", ""),
    "cidr": ("cidr", ""),
    "date": ("date", ""),
    "double precision": ("double precision", ""),
    "inet": ("inet", ""),
    "integer": ("integer", ""),
    "interval": ("interval", ""),
    "json": ("json", ""),
    "jsonb": ("jsonb", ""),
    "macaddr": ("macaddr", ""),
    "macaddr8": ("macaddr8", ""),
    "name": ("name", ""),
    "numeric": ("numeric", ""),
    "real": ("real", ""),
    "smallint": ("smallint", ""),
    "text": ("text", ""),
    "time with time zone": ("time", " with time zone"),
    "time without time zone": ("time", " without time zone"),
    "timestamp with time zone": ("timestamp", " with time zone"),
    "timestamp without time zone": ("timestamp", " without time zone"),
    "tsquery": ("tsquery", ""),
    "tsvector": ("tsvector", ""),
    "uuid": ("uuid", ""),
}


def create_table(
    cur: psycopg.Cursor[Any],
    schema: str,
    table: TableSchema,
    vector_schema: str,
    parent_schema: str,
) -> None:
    """Create one known table with its keys and indexes, names as PostgreSQL gives them."""
    name = sql.Identifier(schema, table.name)
    parts: list[sql.Composable] = [
        sql.SQL("{} {}{}").format(
            sql.Identifier(column.name),
            sql.Identifier(vector_schema, "vector")
            if column.type == "vector"
            else sql.SQL(column.type),
            sql.SQL(" NOT NULL" if column.not_null else ""),
        )
        for column in table.columns
    ]
    parts.append(sql.SQL("PRIMARY KEY ({})").format(sql.Identifier(table.primary_key)))
    if table.unique is not None:
        parts.append(sql.SQL("UNIQUE ({})").format(sql.Identifier(table.unique)))
    if table.parent is not None:
        column, parent, parent_column = table.parent
        parts.append(
            sql.SQL("FOREIGN KEY ({}) REFERENCES {} ({}) ON DELETE CASCADE").format(
                sql.Identifier(column),
                sql.Identifier(parent_schema, parent),
                sql.Identifier(parent_column),
            )
        )
    cur.execute(sql.SQL("CREATE TABLE {} ({})").format(name, sql.SQL(", ").join(parts)))
    if table.gin_index is not None:
        index, column = table.gin_index
        cur.execute(
            sql.SQL("CREATE INDEX {} ON {} USING gin ({} jsonb_path_ops)").format(
                sql.Identifier(index), name, sql.Identifier(column)
            )
        )
