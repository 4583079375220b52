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

from pgvector_restore.column_types import key_form
from pgvector_restore.db.errors import refused_bytes, rejected_row
from pgvector_restore.failpoints import reach
from pgvector_restore.target import ForeignKey, KeyForm, ParentKeys, Printer, TargetTable

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

    def blocks(self, parents: Mapping[str, ParentKeys]) -> Iterable[bytes]:
        """Rows as COPY takes them, header and trailer of the binary format included.

        Args:
            parents: For columns with a foreign key, the keys there are.
        """

    def record_of(self, row: int) -> int:
        """The record that was given out as this row; both are counted from 1."""

    def column_with(self, record: int, sought: bytes, /) -> str | None:
        """The first column of a record whose cell has these bytes, if that can be told."""

    def within(self, record: int) -> tuple[str, int]:
        """The stored file that has this record, and the record's number in there."""

    def locate(
        self,
        columns: Sequence[str],
        keys: Collection[tuple[str, ...]],
        printed: Printer,
        /,
    ) -> list[tuple[int, tuple[str, ...]]]:
        """Records that have one of the keys in these columns, in order, with their keys.

        Args:
            columns: The key's columns.
            keys: As the server prints them.
            printed: Asks the server how it prints cells of a column.
        """


def copy_rows(
    cur: psycopg.Cursor[Any],
    table: TargetTable,
    feed: Feed,
    *,
    freeze: bool,
    parents: Mapping[str, ParentKeys],
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
                sought = refused_bytes(exc)
                if sought and rejected.column is None:
                    rejected.column = feed.column_with(record, sought)
                rejected.file, rejected.record = feed.within(record)
            raise rejected from exc
        raise
    reach("load.end", cur.connection)
    return cur.rowcount


def parent_keys(cur: psycopg.Cursor[Any], table: TargetTable) -> dict[str, ParentKeys]:
    """Keys that rows of this table may refer to, by referring column.

    Left out, as the server checks them all the same: columns whose parents are too many to fetch,
    may not be read or are still to be loaded, and those whose values only the server can compare.
    """
    known: dict[str, ParentKeys] = {}
    for key in table.foreign_keys:
        own = (key.parent_schema, key.parent) == (table.schema, table.name)
        if own or not (key.enforced and key.plain and key.parents_first):
            continue
        form = _key_form(cur, table, key)
        parent = sql.Identifier(key.parent_schema, key.parent).as_string(cur)
        cur.execute("SELECT has_table_privilege(%s, 'SELECT')", [parent])
        readable = (cur.fetchone() or [False])[0]
        if form is None or not readable:
            continue
        cur.execute(
            sql.SQL("SELECT {}::text FROM {} LIMIT %s").format(
                sql.Identifier(key.parent_column), sql.Identifier(key.parent_schema, key.parent)
            ),
            [_MAX_PARENT_KEYS + 1],
        )
        # A key may be over a column of a UNIQUE constraint, which may be NULL.
        texts = frozenset(row[0] for row in cur.fetchall() if row[0] is not None)
        if len(texts) <= _MAX_PARENT_KEYS:
            known[key.column] = ParentKeys(form, texts)
    return known


def _key_form(cur: psycopg.Cursor[Any], table: TargetTable, key: ForeignKey) -> KeyForm | None:
    """How a column's values are compared with those it refers to; ``None``: by the server alone."""
    cur.execute(
        _KEY_TYPES,
        {
            "child": sql.Identifier(table.schema, table.name).as_string(cur),
            "column": key.column,
            "parent": sql.Identifier(key.parent_schema, key.parent).as_string(cur),
            "parent_column": key.parent_column,
        },
    )
    found = {side: row for side, *row in cur.fetchall()}
    if found.keys() != {"child", "parent"}:
        return None
    (oid, name, is_enum, exact), parent = found["child"], found["parent"]
    if not (exact and parent[3]):
        return None
    if is_enum:
        return KeyForm("enum") if parent[0] == oid else None
    form, other = key_form(name), key_form(parent[1])
    return form if form is not None and other is not None and form.kind == other.kind else None


#: The types of a foreign key's two columns below all domains: number, name, whether it is an enum,
#: and whether values that are equal are equal to the byte.
_KEY_TYPES = """
WITH RECURSIVE under (side, oid, modifier, collated) AS (
    SELECT v.side, a.atttypid, a.atttypmod, a.attcollation
    FROM (VALUES ('child', %(child)s::regclass, %(column)s),
                 ('parent', %(parent)s::regclass, %(parent_column)s)) AS v (side, relation, name)
    JOIN pg_attribute a ON a.attrelid = v.relation AND a.attname = v.name
    UNION ALL
    SELECT u.side, t.typbasetype, CASE WHEN t.typtypmod = -1 THEN u.modifier ELSE t.typtypmod END,
           u.collated
    FROM under u JOIN pg_type t ON t.oid = u.oid WHERE t.typtype = 'd'
)
SELECT u.side, t.oid::bigint, format_type(t.oid, u.modifier), t.typtype = 'e',
       coalesce(c.collisdeterministic, true)
FROM under u JOIN pg_type t ON t.oid = u.oid LEFT JOIN pg_collation c ON c.oid = u.collated
WHERE t.typtype <> 'd'
"""


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
