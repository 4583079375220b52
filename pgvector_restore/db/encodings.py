"""Which row holds text that cannot be told in UTF-8: the server names none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

from pgvector_restore.db.session import configure_session
from pgvector_restore.errors import PgvectorRestoreError, TargetError, quoted, shown

__all__ = ["naming_rows"]

_Cursor = psycopg.Cursor[Any]

#: Bytes that are no character of the encoding; a character that another encoding lacks.
_STATES = ("22021", "22P05")
#: Rows of one page at the most: an item identifier has 4 bytes, and a page 32 KB at the most.
_ROWS_OF_A_PAGE = 1 << 13
#: Seconds to wait for a lock; only a table that is dropped or altered meanwhile has one.
_LOCK_TIMEOUT_S = 5.0
_KEY_CHARS = 80

_COLUMNS = """
SELECT a.attname::text, c.relkind IN ('r', 'm'),
       pg_relation_size(c.oid) / current_setting('block_size')::int,
       EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary
                                        AND a.attnum = ANY (i.indkey))
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_type t ON t.oid = a.atttypid
WHERE n.nspname = %s AND c.relname = %s
  AND t.typname NOT IN ('vector', 'halfvec', 'sparsevec')  -- numbers, and many of them
ORDER BY a.attnum
"""


@contextmanager
def naming_rows(
    reconnect: Callable[[], AbstractContextManager[psycopg.Connection[Any]]],
    schema: Callable[[], str],
    tables: Sequence[str],
) -> Iterator[None]:
    """Name table, column and row where the block ends because of text that is not UTF-8.

    Args:
        reconnect: Gives another connection: that of the block is of no use any more.
        schema: Says the tables' schema, after the block has ended.
        tables: The tables that are read in the block.

    Raises:
        TargetError: In place of one that names no row.
    """
    try:
        yield
    except TargetError as exc:
        if exc.sqlstate not in _STATES:
            raise
        found = None
        with suppress(PgvectorRestoreError, psycopg.Error), reconnect() as conn:
            found = next(filter(None, (_find(conn, schema(), table) for table in tables)), None)
        if found is None:
            raise
        raise TargetError(
            found,
            hint="mend it in the database first: only UTF-8 can be backed up and compared",
            sqlstate=exc.sqlstate,
        ) from exc


def _find(conn: psycopg.Connection[Any], schema: str, table: str) -> str | None:
    """A sentence that names the first such column and its first such row."""
    cur = psycopg.Cursor(conn, row_factory=tuple_row)
    with conn.transaction():
        cur.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        configure_session(cur, _LOCK_TIMEOUT_S)
        cur.execute(_COLUMNS, [schema, table])
        columns = cur.fetchall()
        for column, has_pages, pages, _ in columns:
            reading = _Reading(cur, sql.Identifier(schema, table), sql.Identifier(column))
            if not reading.fails(None, None):
                continue
            what = f"{schema}.{table} has text that is not UTF-8 in column {quoted(column)}"
            if not has_pages:
                return what
            page, at = place = reading.first_place(int(pages))
            keys = [name for name, _, _, is_key in columns if is_key]
            return f"{what} (row ({page},{at}){reading.key_of(place, keys)})"
    return None


def _first(fails: Callable[[int], bool], most: int) -> int:
    """The place of the first row that fails, where those before an end are read: by halves."""
    low, high = 0, most  # nothing before low fails, something before high does
    while high - low > 1:
        middle = (low + high) // 2
        if fails(middle):
            high = middle
        else:
            low = middle
    return low


class _Reading:
    """Reads one column without sending it."""

    def __init__(self, cur: _Cursor, table: sql.Identifier, column: sql.Identifier) -> None:
        self._cur, self._table, self._column = cur, table, column

    def first_place(self, pages: int) -> tuple[int, int]:
        """Page and number of the first row that cannot be told; there is one."""
        page = _first(lambda end: self.fails((0, 0), (end, 0)), pages + 1)
        return page, _first(lambda end: self.fails((page, 0), (page, end)), _ROWS_OF_A_PAGE)

    def fails(self, first: tuple[int, int] | None, end: tuple[int, int] | None) -> bool:
        """Whether rows from one place up to another cannot be told in UTF-8."""
        statement = sql.SQL("SELECT count(convert_to({}::text, 'UTF8')) FROM {}").format(
            self._column, self._table
        )
        if first is not None and end is not None:
            statement += sql.SQL(" WHERE ctid >= {}::tid AND ctid < {}::tid").format(
                *(sql.Literal(f"({page},{number})") for page, number in (first, end))
            )
        try:
            with self._cur.connection.transaction():
                self._cur.execute(statement)
        except (psycopg.errors.CharacterNotInRepertoire, psycopg.errors.UntranslatableCharacter):
            return True
        return False

    def key_of(self, place: tuple[int, int], keys: Sequence[str]) -> str:
        """The primary key of a row, as far as that can be told."""
        told = ""
        for key in keys:
            statement = sql.SQL("SELECT left({}::text, {}) FROM {} WHERE ctid = {}::tid").format(
                sql.Identifier(key),
                sql.Literal(_KEY_CHARS),
                self._table,
                sql.Literal(f"({place[0]},{place[1]})"),
            )
            with suppress(psycopg.DataError), self._cur.connection.transaction():
                self._cur.execute(statement)
                (value,) = self._cur.fetchone() or (None,)
                told += f", {key} {quoted(str(value))}"
        return shown(told)
