"""One connection that reads tables for a backup."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from attrs import define, field
from psycopg import sql
from psycopg.rows import tuple_row

from pgvector_restore.cancel import CancelToken
from pgvector_restore.db.copy_out import CopyOut, copying_out
from pgvector_restore.db.errors import server_errors
from pgvector_restore.db.extents import Extent, where
from pgvector_restore.db.interrupt import Interrupter
from pgvector_restore.db.relations import (
    Relation,
)
from pgvector_restore.db.verify import TableReader
from pgvector_restore.errors import ConnectError, TargetError, TargetMismatchError
from pgvector_restore.target import TargetColumn

__all__ = ["Reader"]


@define
class Reader:
    """One connection that sees the snapshot. One thread uses it at a time.

    Rows that are not read to the end have to be closed, or nobody gets at the connection again.
    """

    _conn: psycopg.Connection[Any]
    #: By table: making one asks the server four questions.
    _for_digest: dict[str, TableReader] = field(factory=dict, init=False)

    @property
    def socket(self) -> int:
        """Descriptor of the connection's socket."""
        return self._conn.pgconn.socket

    @contextmanager
    def until(self, token: CancelToken) -> Iterator[Interrupter]:
        """What runs on the connection inside of the block ends soon after the token says so.

        Raises:
            TargetError: What the server or the driver raised.
        """
        interrupter = Interrupter(self._conn, token)
        try:
            with server_errors():
                yield interrupter
        finally:
            interrupter.close()

    def csv(
        self, table: Relation, extent: Extent | None, *, header: bool, counted: list[int]
    ) -> Generator[bytes, None, None]:
        """Rows as CSV, in pieces of one row each.

        Args:
            table: The table.
            extent: Which part of it; ``None``: all.
            header: Begin with the names of the columns.
            counted: Given the number of rows, as the server counted them, at the end.
        """
        with _naming(table):
            yield from self._copy(_csv_statement(table, extent, header=header), counted)

    def binary(
        self, table: Relation, columns: Sequence[TargetColumn], extent: Extent | None,
        counted: list[int],
    ) -> Generator[bytes, None, None]:  # fmt: skip
        """Rows in binary, in pieces of one row each, the header before the first one."""
        names = [sql.Identifier(column.name) for column in columns]
        with _naming(table):
            yield from self._copy(_statement(table, extent, names, "FORMAT binary"), counted)

    def for_digest(
        self,
        table: Relation,
        columns: Sequence[TargetColumn],
        extent: Extent | None,
        counted: list[int],
        printed: Sequence[str] = (),
    ) -> Generator[memoryview, None, None]:
        """Rows as digests are taken of them, see :class:`TableReader`.

        Args:
            table: The table.
            columns: What a digest is taken of, in that order.
            extent: Which part of the table; ``None``: all.
            counted: Given the number of rows, as the server counted them, at the end.
            printed: Columns that are sent as text as well, behind the others.
        """
        reader = self._table_reader(table, columns)
        with _naming(table):
            counted.append((yield from reader.chosen_rows(where(extent), printed)))

    @contextmanager
    def begin_for_digest(
        self,
        table: Relation,
        columns: Sequence[TargetColumn],
        extent: Extent | None,
        printed: Sequence[str],
    ) -> Iterator[CopyOut]:
        """The same rows as they come; see :meth:`for_digest`."""
        statement = self._table_reader(table, columns).chosen_statement(where(extent), printed)
        with _naming(table), copying_out(self._conn, statement, binary=True) as copy:
            yield copy

    @contextmanager
    def begin_csv(
        self, table: Relation, extent: Extent | None, *, header: bool
    ) -> Iterator[CopyOut]:
        """Rows as CSV as they come; see :meth:`csv`."""
        statement = _csv_statement(table, extent, header=header)
        with _naming(table), copying_out(self._conn, statement, binary=False) as copy:
            yield copy

    def _table_reader(self, table: Relation, columns: Sequence[TargetColumn]) -> TableReader:
        reader = self._for_digest.get(table.name)
        if reader is None:
            reader = TableReader(self._conn, table.schema, table.name, columns)
            self._for_digest[table.name] = reader
        return reader

    def _copy(self, statement: sql.Composed, counted: list[int]) -> Iterator[bytes]:
        cur = psycopg.Cursor(self._conn, row_factory=tuple_row)
        with cur.copy(statement) as copy:
            for piece in copy:
                yield bytes(piece)
        counted.append(cur.rowcount)


def _csv_statement(table: Relation, extent: Extent | None, *, header: bool) -> sql.Composed:
    options = "FORMAT csv, HEADER true" if header else "FORMAT csv"
    names = [sql.Identifier(column.name) for column in table.columns]
    return _statement(table, extent, names, options)


def _statement(
    table: Relation, extent: Extent | None, names: Sequence[sql.Composable], options: str
) -> sql.Composed:
    return sql.SQL("COPY (SELECT {} FROM {}{}) TO STDOUT ({})").format(
        sql.SQL(", ").join(names),
        sql.Identifier(table.schema, table.name),
        where(extent),
        sql.SQL(options),
    )


#: What the server cannot do with some tables: its error, how a message says it, and what helps.
_LIMITS: tuple[tuple[type[psycopg.Error], str, str], ...] = (
    (
        psycopg.errors.UndefinedFunction,
        "has a column without a binary form",
        "back it up as csv",
    ),
    (
        psycopg.errors.TooManyColumns,
        "has too many columns to send them twice",
        "back it up without a digest, or in binary",
    ),
    (
        psycopg.errors.ProgramLimitExceeded,
        "has a row that is too long to be sent",
        "back it up without a digest, or in binary",
    ),
)


@contextmanager
def _naming(table: Relation) -> Iterator[None]:
    """What the server raises tells of which table."""
    name = f"{table.schema}.{table.name}"
    try:
        yield
    except psycopg.Error as exc:
        for kind, means, hint in _LIMITS:
            if isinstance(exc, kind):
                raise TargetMismatchError(
                    f"{name} {means}: {exc.diag.message_primary}", hint=hint, sqlstate=exc.sqlstate
                ) from exc
        try:
            with server_errors():
                raise
        except ConnectError:
            raise
        except TargetError as told:
            raise type(told)(
                f"{name} cannot be read: {told.message}", hint=told.hint, sqlstate=told.sqlstate
            ) from exc
