"""Advisory locks: one restore a table at a time, for tables that do not exist yet as well."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.rows import tuple_row

from pgvector_restore.db.session import close_search_path
from pgvector_restore.errors import TargetBusyError

__all__ = ["check_unclaimed", "claim", "claimed"]


def _key(schema: str, table: str) -> str:
    return f"pgvector_restore:{schema}.{table}"


def claim(cur: psycopg.Cursor[Any], schema: str, tables: Sequence[str]) -> None:
    """Take the tables' names until the transaction ends, without waiting.

    Raises:
        TargetBusyError: Another restore has one of them.
    """
    for table in sorted(tables):
        cur.execute(
            "SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))", [_key(schema, table)]
        )
        row = cur.fetchone()
        if not row or not row[0]:
            raise _busy(schema, table)


@contextmanager
def claimed(conn: psycopg.Connection[Any], schema: str, tables: Sequence[str]) -> Iterator[None]:
    """Have the tables' names for as long as the block runs, over any number of transactions.

    Raises:
        TargetBusyError: Another restore has one of them.
    """
    taken: list[str] = []
    cur = psycopg.Cursor(conn, row_factory=tuple_row)
    try:
        for table in sorted(tables):
            with conn.transaction():
                close_search_path(cur)
                cur.execute(
                    "SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", [_key(schema, table)]
                )
                row = cur.fetchone()
            if not row or not row[0]:
                raise _busy(schema, table)
            taken.append(table)
        yield
    finally:
        try:
            for table in taken:
                with conn.transaction():
                    close_search_path(cur)
                    cur.execute(
                        "SELECT pg_advisory_unlock(hashtextextended(%s, 0))", [_key(schema, table)]
                    )
        except psycopg.OperationalError:
            conn.close()  # a session that has ended holds nothing


def check_unclaimed(cur: psycopg.Cursor[Any], schema: str, tables: Sequence[str]) -> None:
    """Look whether another restore has the tables, without taking anything.

    Reading a table that is being replaced would wait for the end of that restore.

    Raises:
        TargetBusyError: It has one of them.
    """
    close_search_path(cur)
    for table in sorted(tables):
        # pg_locks shows a 64-bit key in two halves, with objsubid 1.
        cur.execute(
            """
            SELECT 1 FROM pg_locks
            WHERE locktype = 'advisory' AND objsubid = 1 AND granted AND mode = 'ExclusiveLock'
              AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
              AND pid <> pg_backend_pid()
              AND ((classid::bigint << 32) | objid::bigint) = hashtextextended(%s, 0)
            """,
            [_key(schema, table)],
        )
        if cur.fetchone() is not None:
            raise _busy(schema, table)


def _busy(schema: str, table: str) -> TargetBusyError:
    return TargetBusyError(
        f"another restore is writing {schema}.{table}", hint="wait until it has ended"
    )
