"""COPY … FROM STDIN: encoded rows into one table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import psycopg
from psycopg import sql
from psycopg.copy import QueuedLibpqWriter

from pgvector_restore.db.errors import rejected_row
from pgvector_restore.model import TargetTable

__all__ = ["Feed", "copy_rows", "parent_keys"]

#: Parent keys that are fetched to name an orphan's record. Collections are counted in tens; a
#: parent table beyond this is left to the server's own check, which names no record.
_MAX_PARENT_KEYS = 200_000


class Feed(Protocol):
    """Where the rows of one table come from: encoded blocks, and what they amount to."""

    #: File name, for errors.
    file: str
    #: Target columns in the order of the fields.
    columns: tuple[str, ...]
    #: Records given out so far.
    rows: int

    def blocks(self, parents: Mapping[str, frozenset[str]]) -> Iterable[bytes]:
        """Rows in COPY's text form.

        Args:
            parents: For columns with a foreign key, the keys there are, in the server's spelling.
        """


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
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT text{})").format(
        sql.Identifier(table.schema, table.name),
        sql.SQL(", ").join(map(sql.Identifier, feed.columns)),
        sql.SQL(", FREEZE" if freeze else ""),
    )
    try:
        # The writer's own thread sends while the next block is decoded.
        with cur.copy(statement, writer=QueuedLibpqWriter(cur)) as copy:
            for block in feed.blocks(parents):
                copy.write(block)
    except psycopg.Error as exc:
        rejected = rejected_row(exc, table.name, feed.columns, feed.file)
        if rejected is not None:
            raise rejected from exc
        raise
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
        if key.parent == table.name or not (cur.fetchone() or [False])[0]:
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
