"""A look at restored vectors: nearest neighbours by cosine distance."""

from __future__ import annotations

from typing import Any

import psycopg
from attrs import frozen
from psycopg import sql

from pgvector_restore.db.inspect import inspect_target
from pgvector_restore.db.session import configure_session

__all__ = ["Neighbour", "nearest_neighbours"]

#: Characters of a row that are shown.
_TEXT_CHARS = 80


@frozen
class Neighbour:
    """A row near the first one."""

    #: First column of the row as text.
    key: str
    #: Beginning of the document, ``None`` where the table has no text beside the key.
    text: str | None
    #: Cosine distance to the first row, 0 to 2.
    distance: float


def nearest_neighbours(
    cur: psycopg.Cursor[Any], schema: str, table: str, count: int
) -> tuple[Neighbour, ...]:
    """The first row of a table (distance 0) and its ``count`` nearest, closest first.

    Reads the whole table: every distance is computed, no index is used. Empty for a table
    without a ``vector`` column or without vectors, and where reading it would run somebody's code.
    """
    configure_session(cur, lock_timeout_s=5.0)
    facts = inspect_target(cur, schema, [table])
    target = facts.table(table)
    vector = next((c for c in target.columns if c.kind == "vector"), None) if target else None
    if target is None or vector is None or facts.vector_schema is None:
        return ()
    if any(code.untrusted_reading for code in target.attached_code):
        return ()
    key = target.columns[0]
    text = next((c for c in target.columns[1:] if c.kind == "text"), None)
    cur.execute(
        sql.SQL(
            """
            WITH first AS (SELECT ctid AS place, {vector}::{type} AS v FROM {table}
                           WHERE {vector} IS NOT NULL ORDER BY ctid LIMIT 1)
            SELECT t.{key}::text, {text}, (t.{vector}::{type} OPERATOR({ext}.<=>) first.v)::float8
            FROM {table} t, first
            WHERE {ext}.vector_dims(t.{vector}::{type}) = {ext}.vector_dims(first.v)
            ORDER BY t.ctid <> first.place, 3, t.ctid LIMIT %s
            """
        ).format(
            vector=sql.Identifier(vector.name),
            # Of a domain over it others may have made an operator that fits better.
            type=sql.Identifier(facts.vector_schema, vector.wire or "vector"),
            table=sql.Identifier(schema, table),
            key=sql.Identifier(key.name),
            text=sql.SQL("left(t.{}, {})").format(
                sql.Identifier(text.name), sql.Literal(_TEXT_CHARS)
            )
            if text
            else sql.SQL("NULL"),
            ext=sql.Identifier(facts.vector_schema),
        ),
        [count + 1],
    )
    return tuple(Neighbour(*row) for row in cur.fetchall())
