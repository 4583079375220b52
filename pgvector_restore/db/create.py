"""Creating what is missing: the extension and known tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import sql

from pgvector_restore.schema import Generation, TableSchema
from pgvector_restore.target import TargetFacts

__all__ = ["create_missing", "create_table"]


def create_missing(
    cur: psycopg.Cursor[Any],
    facts: TargetFacts,
    names: Sequence[str],
    generation: Generation | None,
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
    vector_schema = facts.vector_schema or create_extension(cur, facts.schema)
    for name in missing:
        table = generation.table(name)
        if table is not None:
            home = schema or facts.schema
            parent = table.parent[1] if table.parent is not None else None
            create_table(cur, home, table, vector_schema, home if parent in names else facts.schema)


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
