"""Which record broke a constraint that was checked after the load, without a line to name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import sql

from pgvector_restore.db.copy import Feed
from pgvector_restore.db.errors import HINTS, server_hint
from pgvector_restore.db.statements import written
from pgvector_restore.errors import RowRejectedError
from pgvector_restore.target import ForeignKey, Printer, TargetTable

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
            groups = _duplicates(cur, loaded, columns)
            record = _second(feed, columns, groups, _printer(cur, loaded))
            column = columns[0] if len(columns) == 1 else None
    elif isinstance(exc, psycopg.errors.ProgramLimitExceeded) and planned.oid is not None:
        column, record = _too_long(cur, planned, loaded, feed, name)
    elif isinstance(exc, psycopg.errors.ForeignKeyViolation):
        column, record = _orphan(cur, planned, loaded, feed, name)
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
) -> list[set[tuple[str, ...]]]:
    """Keys that are there more than once: of each all that the server prints for it."""
    names = [sql.Identifier(column) for column in columns]
    cur.execute(
        sql.SQL(
            "SELECT jsonb_agg(DISTINCT jsonb_build_array({texts})) FROM {table} "
            "GROUP BY {keys} HAVING count(*) > 1 LIMIT %s"
        ).format(
            texts=sql.SQL(", ").join(sql.SQL("{}::text").format(name) for name in names),
            table=sql.Identifier(table.schema, table.name),
            keys=sql.SQL(", ").join(names),
        ),
        [_MAX_KEYS],
    )
    return [{tuple(cell or "" for cell in key) for key in keys} for (keys,) in cur.fetchall()]


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
    found = feed.locate(columns, keys, _printer(cur, loaded)) if keys else []
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


def _printer(cur: psycopg.Cursor[Any], table: TargetTable) -> Printer:
    """What asks how the server prints cells of a column; what it cannot read stays as it is."""
    kinds: dict[str, str] = {}

    def printed(column: str, cells: Sequence[bytes]) -> Sequence[bytes]:
        if not kinds:
            cur.execute(
                "SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute"
                " WHERE attrelid = format('%%I.%%I', %s::text, %s::text)::regclass AND attnum > 0",
                [table.schema, table.name],
            )
            kinds.update(cur.fetchall())
        asked = sql.SQL(
            "SELECT u.cell::{}::text FROM unnest(%s::text[])"
            " WITH ORDINALITY AS u (cell, place) ORDER BY u.place"
        ).format(written(kinds[column].replace("%", "%%")))
        try:
            with cur.connection.transaction():  # a savepoint: it may be a cell that was repaired
                cur.execute(asked, [[cell.decode() for cell in cells]])
        except (psycopg.Error, UnicodeDecodeError):
            return cells
        return [(text or "").encode() for (text,) in cur.fetchall()]

    return printed


def _second(
    feed: Feed,
    columns: Sequence[str],
    groups: Sequence[set[tuple[str, ...]]],
    printed: Printer,
) -> int | None:
    """The first record that repeats the key of an earlier one."""
    group_of = {key: number for number, keys in enumerate(groups) for key in keys}
    seen: set[int] = set()
    for record, key in feed.locate(columns, group_of, printed):
        if group_of[key] in seen:
            return record
        seen.add(group_of[key])
    return None


def _orphan(
    cur: psycopg.Cursor[Any],
    planned: TargetTable,
    loaded: TargetTable,
    feed: Feed,
    name: str | None,
) -> tuple[str | None, int | None]:
    """Column and record of the first row without a parent."""
    cur.execute(_BROKEN_KEY, [name, planned.schema, planned.name])
    found = cur.fetchone()
    if found is None:  # of a table that is new, or over several columns
        keys = [key for key in loaded.foreign_keys if key.plain and key.enforced]
        equal: sql.Composable = sql.SQL("OPERATOR(pg_catalog.=)")
        collated: sql.Composable = sql.SQL("")
    else:
        column, schema, operator, collation = found
        keys = [key for key in loaded.foreign_keys if key.column == column]
        equal = sql.SQL("OPERATOR({}.{})").format(
            sql.Identifier(schema), written(operator.replace("%", "%%"))
        )
        collated = written(f" COLLATE {collation}" if collation is not None else "")
    for key in keys:
        texts = _without_parent(cur, loaded, key, equal, collated)
        if texts and key.column in feed.columns:
            located = feed.locate([key.column], texts, _printer(cur, loaded))
            return key.column, located[0][0] if located else None
    return None, None


#: The one column of a foreign key that was broken, and how the server compares it.
_BROKEN_KEY = """
SELECT a.attname, n.nspname, o.oprname, nullif(f.attcollation, 0)::regcollation::text
FROM pg_constraint k
JOIN pg_class c ON c.oid = k.conrelid
JOIN pg_namespace s ON s.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[1]
JOIN pg_attribute f ON f.attrelid = k.confrelid AND f.attnum = k.confkey[1]
JOIN pg_operator o ON o.oid = k.conpfeqop[1]
JOIN pg_namespace n ON n.oid = o.oprnamespace
WHERE k.conname = %s AND s.nspname = %s AND c.relname = %s AND k.contype = 'f'
  AND cardinality(k.conkey) = 1
"""


def _without_parent(
    cur: psycopg.Cursor[Any],
    table: TargetTable,
    key: ForeignKey,
    equal: sql.Composable,
    collated: sql.Composable,
) -> set[tuple[str, ...]]:
    cur.execute(
        sql.SQL(
            """
            SELECT DISTINCT c.{column}::text FROM {table} AS c WHERE c.{column} IS NOT NULL
            AND NOT EXISTS (SELECT FROM {parent} AS p
                            WHERE p.{parent_column}{collated} {equal} c.{column}{collated}) LIMIT %s
            """
        ).format(
            column=sql.Identifier(key.column),
            table=sql.Identifier(table.schema, table.name),
            parent=sql.Identifier(key.parent_schema, key.parent),
            parent_column=sql.Identifier(key.parent_column),
            equal=equal,
            collated=collated,
        ),
        [_MAX_KEYS],
    )
    return {(row[0],) for row in cur.fetchall()}
