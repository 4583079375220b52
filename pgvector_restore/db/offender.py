"""Which record broke a constraint that was checked after the load, without a line to name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import sql

from pgvector_restore.db.copy import Feed
from pgvector_restore.db.errors import HINTS, server_hint
from pgvector_restore.errors import RowRejectedError
from pgvector_restore.target import ForeignKey, TargetTable

__all__ = ["rejected_by_constraint"]

#: Keys that are looked for in the file; one of them is enough.
_MAX_KEYS = 1000


def rejected_by_constraint(
    cur: psycopg.Cursor[Any],
    planned: TargetTable,
    loaded: TargetTable,
    feed: Feed,
    exc: psycopg.Error,
) -> RowRejectedError:
    """The error for rows of ``loaded`` that a constraint of ``planned`` forbids.

    The record is named where the constraint is over plain columns of the file: the second row with
    the same key, or the first row without a parent.
    """
    name = exc.diag.constraint_name
    record, column = None, None
    if isinstance(exc, psycopg.errors.UniqueViolation) and planned.oid is not None:
        columns = _index_columns(cur, planned.schema, name)
        if columns and set(columns) <= set(feed.columns):
            record = _second(feed, columns, _duplicates(cur, loaded, columns))
            column = columns[0] if len(columns) == 1 else None
    elif isinstance(exc, psycopg.errors.ProgramLimitExceeded) and planned.oid is not None:
        column, record = _too_long(cur, planned, loaded, feed, name)
    elif isinstance(exc, psycopg.errors.ForeignKeyViolation):
        column, record = _orphan(cur, loaded, feed)
    file = feed.file
    if record is not None:
        file, record = feed.within(record)
    return RowRejectedError(
        f"server refused the rows: {exc.diag.message_primary}",
        hint=HINTS.get(exc.sqlstate or "") or server_hint(exc),
        file=file,
        record=record,
        column=column,
        sqlstate=exc.sqlstate,
        constraint=name,
    )


def _index_columns(cur: psycopg.Cursor[Any], schema: str, index: str | None) -> list[str]:
    """Key columns of an index; empty for one with expressions or a predicate."""
    cur.execute(
        """
        SELECT a.attname FROM pg_index i
        JOIN pg_class c ON c.oid = i.indexrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace
        CROSS JOIN unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, place)
        JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
        WHERE n.nspname = %s AND c.relname = %s AND i.indexprs IS NULL AND i.indpred IS NULL
          AND k.place <= i.indnkeyatts
        ORDER BY k.place
        """,
        [schema, index],
    )
    return [row[0] for row in cur.fetchall()]


def _duplicates(
    cur: psycopg.Cursor[Any], table: TargetTable, columns: Sequence[str]
) -> set[tuple[str, ...]]:
    names = [sql.Identifier(column) for column in columns]
    cur.execute(
        sql.SQL("SELECT {texts} FROM {table} GROUP BY {keys} HAVING count(*) > 1 LIMIT %s").format(
            texts=sql.SQL(", ").join(sql.SQL("{}::text").format(name) for name in names),
            table=sql.Identifier(table.schema, table.name),
            keys=sql.SQL(", ").join(names),
        ),
        [_MAX_KEYS],
    )
    return {tuple(cell or "" for cell in row) for row in cur.fetchall()}


def _too_long(
    cur: psycopg.Cursor[Any],
    planned: TargetTable,
    loaded: TargetTable,
    feed: Feed,
    name: str | None,
) -> tuple[str | None, int | None]:
    """The longest key of the index, or of any index where the server does not say which."""
    names = [name] if name else [i.name for i in planned.indexes if i.method == "btree"]
    longest = 0
    columns: list[str] = []
    keys: set[tuple[str, ...]] = set()
    for index in names:
        key_columns = _index_columns(cur, planned.schema, index)
        if key_columns and set(key_columns) <= set(feed.columns):
            size, key = _largest(cur, loaded, key_columns)
            if size > longest:
                longest, columns, keys = size, key_columns, {key}
    found = feed.locate(columns, keys) if keys else []
    return columns[0] if len(columns) == 1 else None, found[0][0] if found else None


def _largest(
    cur: psycopg.Cursor[Any], table: TargetTable, columns: Sequence[str]
) -> tuple[int, tuple[str, ...]]:
    """The key that takes most room: bytes, and its cells."""
    names = [sql.Identifier(column) for column in columns]
    cur.execute(
        sql.SQL("SELECT {sizes}, {texts} FROM {table} ORDER BY 1 DESC NULLS LAST LIMIT 1").format(
            texts=sql.SQL(", ").join(sql.SQL("{}::text").format(name) for name in names),
            table=sql.Identifier(table.schema, table.name),
            sizes=sql.SQL(" + ").join(sql.SQL("pg_column_size({})").format(n) for n in names),
        )
    )
    row = cur.fetchone() or (0,)
    return row[0] or 0, tuple(cell or "" for cell in row[1:])


def _second(feed: Feed, columns: Sequence[str], keys: set[tuple[str, ...]]) -> int | None:
    """The first record that repeats the key of an earlier one."""
    found = feed.locate(columns, keys)
    seen: set[tuple[str, ...]] = set()
    for record, key in found:
        if key in seen:
            return record
        seen.add(key)
    return None


def _orphan(
    cur: psycopg.Cursor[Any], table: TargetTable, feed: Feed
) -> tuple[str | None, int | None]:
    for key in table.foreign_keys:
        keys = _without_parent(cur, table, key)
        if keys and key.column in feed.columns:
            found = feed.locate([key.column], keys)
            return key.column, found[0][0] if found else None
    return None, None


def _without_parent(
    cur: psycopg.Cursor[Any], table: TargetTable, key: ForeignKey
) -> set[tuple[str, ...]]:
    cur.execute(
        sql.SQL(
            """
            SELECT DISTINCT {column}::text FROM {table} AS c WHERE {column} IS NOT NULL
            AND NOT EXISTS (SELECT FROM {parent} AS p WHERE p.{parent_column} = c.{column}) LIMIT %s
            """
        ).format(
            column=sql.Identifier(key.column),
            table=sql.Identifier(table.schema, table.name),
            parent=sql.Identifier(key.parent_schema, key.parent),
            parent_column=sql.Identifier(key.parent_column),
        ),
        [_MAX_KEYS],
    )
    return {(row[0],) for row in cur.fetchall()}
