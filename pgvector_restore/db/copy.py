"""COPY … FROM STDIN: encoded rows into one table."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from queue import Queue
from typing import Any, Protocol

import psycopg
from psycopg import sql
from psycopg.abc import Buffer
from psycopg.copy import LibpqWriter, Writer

from pgvector_restore.db.errors import rejected_row
from pgvector_restore.failpoints import reach
from pgvector_restore.target import TargetTable

__all__ = ["Feed", "copy_rows", "parent_keys"]

#: Parent keys that are fetched to name an orphan's record. Collections are counted in tens; a
#: parent table beyond this is left to the server's own check, which names no record.
_MAX_PARENT_KEYS = 200_000


#: Blocks that wait for the network while further ones are decoded. psycopg's own queued writer
#: holds up to 1024 pieces of 128 KiB: 190 MB at the peak of a 600 MB restore, with this 79 MB.
_QUEUED_BLOCKS = 8


class Feed(Protocol):
    """Where the rows of one table come from: encoded blocks, and what they amount to."""

    #: File name, for errors.
    file: str
    #: Target columns in the order of the fields.
    columns: tuple[str, ...]
    #: Blocks are in COPY's binary format; else in its text format.
    binary: bool
    #: Records given out so far.
    rows: int

    def blocks(self, parents: Mapping[str, frozenset[str]]) -> Iterable[bytes]:
        """Rows as COPY takes them, header and trailer of the binary format included.

        Args:
            parents: For columns with a foreign key, the keys there are, in the server's spelling.
        """

    def record_of(self, row: int) -> int:
        """The record that was given out as this row; both are counted from 1."""

    def within(self, record: int) -> tuple[str, int]:
        """The stored file that has this record, and the record's number in there."""

    def locate(
        self, columns: Sequence[str], keys: Collection[tuple[str, ...]]
    ) -> list[tuple[int, tuple[str, ...]]]:
        """Records that have one of the keys in these columns, in order, with their keys."""


def copy_rows(
    cur: psycopg.Cursor[Any],
    table: TargetTable,
    feed: Feed,
    *,
    freeze: bool,
    parents: Mapping[str, frozenset[str]],
) -> int:
    """Load everything the feed gives; returns the number of rows the server loaded.

    Raises:
        RowRejectedError: The server refused a row; names file, record and, if known, column.
        BadDataError: The feed itself found something wrong; COPY is called off.
    """
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT {}{})").format(
        sql.Identifier(table.schema, table.name),
        sql.SQL(", ").join(map(sql.Identifier, feed.columns)),
        sql.SQL("binary" if feed.binary else "text"),
        sql.SQL(", FREEZE" if freeze else ""),
    )
    reach("load.begin", cur.connection)
    try:
        with cur.copy(statement, writer=_QueueingWriter(cur)) as copy:
            for block in feed.blocks(parents):
                copy.write(block)
                reach("load.block", cur.connection)
    except psycopg.Error as exc:
        rejected = rejected_row(exc, table.name, feed.columns, feed.file)
        if rejected is not None:
            if rejected.record is not None:
                record = feed.record_of(rejected.record)
                rejected.file, rejected.record = feed.within(record)
            raise rejected from exc
        raise
    reach("load.end", cur.connection)
    return cur.rowcount


def parent_keys(cur: psycopg.Cursor[Any], table: TargetTable) -> dict[str, frozenset[str]]:
    """Keys that rows of this table may refer to, by referring column.

    Columns whose parents are too many to fetch, or may not be read, are left out: the server
    checks them all the same.
    """
    known: dict[str, frozenset[str]] = {}
    for key in table.foreign_keys:
        parent = sql.Identifier(key.parent_schema, key.parent).as_string(cur)
        cur.execute("SELECT has_table_privilege(%s, 'SELECT')", [parent])
        readable = (cur.fetchone() or [False])[0]
        if key.parent == table.name or not key.enforced or not readable:
            continue
        cur.execute(
            sql.SQL("SELECT {}::text FROM {} LIMIT %s").format(
                sql.Identifier(key.parent_column), sql.Identifier(key.parent_schema, key.parent)
            ),
            [_MAX_PARENT_KEYS + 1],
        )
        keys = frozenset(row[0] for row in cur.fetchall())
        if len(keys) <= _MAX_PARENT_KEYS:
            known[key.column] = keys
    return known


class _QueueingWriter(Writer):
    """Sends in a thread of its own while the next blocks are decoded."""

    def __init__(self, cursor: psycopg.Cursor[Any]) -> None:
        self._inner = LibpqWriter(cursor)
        self._queue: Queue[Buffer | None] = Queue(maxsize=_QUEUED_BLOCKS)
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None

    def _send(self) -> None:
        while (data := self._queue.get()) is not None:
            if self._error is None:
                try:
                    self._inner.write(data)
                except BaseException as exc:  # noqa: BLE001 - raised where write() is called
                    self._error = exc

    def write(self, data: Buffer) -> None:
        """Queue a block; raises what an earlier one ended in."""
        if self._thread is None:  # not before: a COPY that never begins is never finished
            self._thread = threading.Thread(target=self._send, name="pgvector_restore", daemon=True)
            self._thread.start()
        if self._error is not None:
            raise self._error
        self._queue.put(data)

    def finish(self, exc: BaseException | None = None) -> None:
        """Send the rest, then end COPY: for good, or calling it off because of ``exc``."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
        if self._error is not None:
            raise self._error
        self._inner.finish(exc)
