"""Reading a table back, row by row as COPY sends it, and cells as the server understands them."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

from pgvector_restore.db.copy_out import HEADER_BYTES, TRAILER
from pgvector_restore.db.statements import written
from pgvector_restore.target import TargetColumn

__all__ = ["TableReader", "snapshot"]


@contextmanager
def snapshot(conn: psycopg.Connection[Any]) -> Iterator[psycopg.Cursor[Any]]:
    """A cursor in a transaction that sees one state of all tables, and cannot write."""
    with conn.transaction():
        cur = psycopg.Cursor(conn, row_factory=tuple_row)
        cur.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield cur


class TableReader:
    """Reads one table within the transaction at hand, whose session must be configured.

    Args:
        conn: The connection; not to be used by others while rows are read.
        schema: The table's schema.
        table: Its name.
        columns: What to read of it, in this order. A column without an encoder is read as text.
        added_only: Only rows that this transaction has added.
    """

    def __init__(
        self,
        conn: psycopg.Connection[Any],
        schema: str,
        table: str,
        columns: Sequence[TargetColumn],
        *,
        added_only: bool = False,
    ) -> None:
        self._conn = conn
        self._cur = psycopg.Cursor(conn, row_factory=tuple_row)
        self._table = sql.Identifier(schema, table)
        self._columns = columns
        self._added_only = added_only
        # A file may be read for longer than a silence may last.
        self._cur.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        #: Names of the primary key's columns, in its order; empty where there is none.
        self.key = self._primary_key()
        self._types = self._column_types()

    def rows(
        self,
        *,
        keys_as_text: Sequence[str] = (),
        ctid: bool = False,
        as_is: bool = False,
    ) -> Generator[bytes, None, None]:
        """Rows as COPY sends them: the number of fields, then the fields. Close it.

        Args:
            keys_as_text: Columns that are sent a second time at the end, as text.
            ctid: Send where the row lies as well, as text, last of all.
            as_is: Columns without an encoder are not read as text, but as they are.
        """
        chosen = [
            sql.Identifier(column.name) if as_is else self._expression(column)
            for column in self._columns
        ]
        chosen += [sql.SQL("{}::text").format(sql.Identifier(name)) for name in keys_as_text]
        if ctid:
            chosen.append(sql.SQL("ctid::text"))
        # A row that a subtransaction has written, such as a trigger that catches errors, has
        # another xmin: it counts as missing rather than as right.
        own = sql.SQL(" WHERE xmin = pg_current_xact_id()::xid" if self._added_only else "")
        with self._cur.copy(self._copying(chosen, own)) as copy:
            yield from _rows(iter(copy))

    def chosen_rows(
        self, where: sql.Composable, printed: Sequence[str] = ()
    ) -> Generator[memoryview, None, int]:
        """Some of the rows, uncopied, and in the end their number as the server counts it.

        Args:
            where: A clause that chooses among the rows.
            printed: Columns that are sent a second time at the end: as the text that their types'
                output functions give. A cast to text may give another one.
        """
        with self._cur.copy(self.chosen_statement(where, printed)) as copy:
            yield from _row_views(iter(copy))
        return self._cur.rowcount

    def chosen_statement(self, where: sql.Composable, printed: Sequence[str] = ()) -> sql.Composed:
        """The statement of :meth:`chosen_rows`."""
        chosen = [self._expression(column) for column in self._columns]
        chosen += [
            # concat() and num_nulls() know no NULL of an array's elements or a row's fields.
            sql.SQL("CASE WHEN num_nulls({0}) = 0 THEN concat({0}) END").format(
                sql.Identifier(name)
            )
            for name in printed
        ]
        return self._copying(chosen, where)

    def _copying(self, chosen: Sequence[sql.Composable], where: sql.Composable) -> sql.Composed:
        return sql.SQL("COPY (SELECT {} FROM {}{}) TO STDOUT (FORMAT binary)").format(
            sql.SQL(", ").join(chosen), self._table, where
        )

    def understand(self, column: TargetColumn, cells: Sequence[bytes]) -> list[bytes] | None:
        """Cells to complete fields, as the server reads them for this column.

        ``None``: the server refuses one of them. The transaction goes on.

        The type's input function gets each cell with the column's type modifier, as COPY does it;
        a cast would cut what is too long. Only for what is json at heart it has to be a cast:
        there a string would be taken for a JSON string.
        """
        kind, is_json = self._types[column.name]
        read = sql.SQL("(u.cell::{})" if is_json else "r.x").format(written(kind))
        value = read if column.wire is not None else sql.SQL("{}::text").format(read)
        statement = sql.SQL(
            "COPY (SELECT {} FROM unnest({}::text[]) WITH ORDINALITY AS u (cell, place),"
            " json_to_record(json_build_object('x', u.cell)) AS r (x {})"
            " ORDER BY u.place) TO STDOUT (FORMAT binary)"
        ).format(
            value,
            sql.Literal([cell.decode() for cell in cells]),
            written("text" if is_json else kind),
        )
        try:
            with self._conn.transaction(), self._cur.copy(statement) as copy:
                return [row[2:] for row in _rows(iter(copy))]
        except (psycopg.DataError, psycopg.IntegrityError):  # the second is a domain's
            return None

    def _expression(self, column: TargetColumn) -> sql.Composable:
        name = sql.Identifier(column.name)
        return name if column.wire is not None else sql.SQL("{}::text").format(name)

    def _primary_key(self) -> tuple[str, ...]:
        self._cur.execute(
            """
            SELECT a.attname FROM pg_index i
            CROSS JOIN unnest(i.indkey::int2[]) WITH ORDINALITY AS k (number, place)
            JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number
            WHERE i.indrelid = %s::regclass AND i.indisprimary AND k.place <= i.indnkeyatts
            ORDER BY k.place
            """,
            [self._table.as_string(self._conn)],
        )
        return tuple(row[0] for row in self._cur.fetchall())

    def _column_types(self) -> dict[str, tuple[str, bool]]:
        """Each column's type as the server writes it, and whether json or jsonb is under it."""
        self._cur.execute(
            """
            WITH RECURSIVE under (name, kind, base) AS (
                SELECT attname, format_type(atttypid, atttypmod), atttypid FROM pg_attribute
                WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped
                UNION ALL
                SELECT u.name, u.kind, t.typbasetype FROM under u
                JOIN pg_type t ON t.oid = u.base WHERE t.typbasetype <> 0
            )
            SELECT name, kind, bool_or(base IN ('json'::regtype, 'jsonb'::regtype))
            FROM under GROUP BY name, kind
            """,
            [self._table.as_string(self._conn)],
        )
        return {name: (kind, is_json) for name, kind, is_json in self._cur.fetchall()}


def _rows(messages: Iterator[Any]) -> Iterator[bytes]:
    """One row a message, as the protocol has it; copies: slices of them are made faster."""
    yield from map(bytes, _row_views(messages))


def _row_views(messages: Iterator[Any]) -> Iterator[memoryview]:
    """One row a message; header and trailer are taken off."""
    first = memoryview(next(messages, b""))[HEADER_BYTES:]
    if first != TRAILER:
        yield first
    for message in messages:
        if message != TRAILER:
            yield memoryview(message)
