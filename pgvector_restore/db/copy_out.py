"""COPY TO STDOUT whose rows are taken as they come, so that one thread can read several."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import pq, sql
from psycopg.rows import tuple_row

__all__ = ["HEADER_BYTES", "TRAILER", "CopyOut", "copying_out"]

#: Bytes before the first row in binary: signature, flags, length of an extension that is not there.
HEADER_BYTES = 19
#: What follows the last row: a number of fields that is none.
TRAILER = b"\xff\xff"


class CopyOut:
    """One COPY under way; made by :func:`copying_out`.

    It uses libpq as its documentation has it for applications that do not wait: PQgetCopyData
    until there is nothing, then PQconsumeInput when the socket can be read.
    """

    def __init__(self, conn: psycopg.Connection[Any], *, binary: bool) -> None:
        self._conn = conn
        self._pg = conn.pgconn
        self._binary = binary
        self._header = HEADER_BYTES if binary else 0
        self._sent = False
        self._rows = 0
        self._failed: psycopg.Error | None = None
        #: Nothing more is at hand: the socket has to be waited for, then :meth:`receive`.
        self.dry = False
        #: Rows as the server counted them; ``None`` until it has ended.
        self.counted: int | None = None

    def take(self, most: int) -> Iterator[memoryview]:
        """Rows that are at hand, at most so many; see :attr:`dry` and :attr:`counted` then.

        Raises:
            psycopg.Error: The server, or the connection.
        """
        get = self._pg.get_copy_data
        self.dry = False
        while most and not self._sent:
            size, row = get(1)
            if size == 0:
                self.dry = True
                return
            if size < 0:
                self._sent = True
                break
            if self._binary:
                if self._header:
                    row, self._header = row[self._header :], 0
                if row == TRAILER:
                    continue
            most -= 1
            yield row
        if self._sent:
            self._end()

    def receive(self) -> None:
        """Take what the socket has, without waiting."""
        self._pg.consume_input()

    def _end(self) -> None:
        """What it has come to, if that is known by now.

        After an error too all results are taken: until then the connection is of no use.
        """
        while not self._pg.is_busy():
            result = self._pg.get_result()
            if result is None:
                if self._failed is not None:
                    raise self._failed
                self.counted = self._rows
                return
            if result.status == pq.ExecStatus.COMMAND_OK:
                self._rows = result.command_tuples or 0
            elif self._failed is None:
                self._failed = psycopg.errors.error_from_result(
                    result, encoding=self._conn.info.encoding
                )
        self.dry = True


@contextmanager
def copying_out(
    conn: psycopg.Connection[Any], statement: sql.Composed, *, binary: bool
) -> Iterator[CopyOut]:
    """Begin a COPY; after an error in the block it is cancelled.

    Args:
        conn: In a transaction; not to be used otherwise until the block ends.
        statement: COPY … TO STDOUT.
        binary: Whether it is in binary: header and trailer are taken off.
    """
    cur = psycopg.Cursor(conn, row_factory=tuple_row)
    with cur.copy(statement):
        yield CopyOut(conn, binary=binary)
