"""Putting back the tables that a swap has kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import psycopg
from psycopg.rows import tuple_row

from pgvector_restore.db.claims import claimed
from pgvector_restore.db.exclusive import exclusively
from pgvector_restore.db.inspect import find_schema, inspect_target, table_oid
from pgvector_restore.db.outcome import Evidence, Reconnect, note, resolve
from pgvector_restore.db.publish import previous_schema, revert
from pgvector_restore.db.session import configure_session
from pgvector_restore.db.staging import new_staging_name
from pgvector_restore.errors import TargetMismatchError

__all__ = ["revert_swap"]

_Cursor = psycopg.Cursor[Any]


def revert_swap(
    conn: psycopg.Connection[Any],
    schema: str | None,
    names: Sequence[str],
    *,
    lock_timeout_s: float,
    reconnect: Reconnect,
) -> tuple[str, ...]:
    """Put back tables that a swap has kept; returns their qualified names.

    Raises:
        TargetMismatchError: Nothing was kept of one of them, or something depends on it.
        TargetBusyError: Others held the tables until the time for it was over.
    """
    cur = psycopg.Cursor(conn, row_factory=tuple_row)
    with conn.transaction():
        home = find_schema(cur, schema, names)
        configure_session(cur, lock_timeout_s)
        kept = previous_schema(home)
        for place in (home, kept):
            there = {table.name for table in inspect_target(cur, place, names).tables}
            missing = [name for name in names if name not in there]
            if missing:
                raise TargetMismatchError(
                    f"there is no {place}.{missing[0]} to put back or to exchange",
                    hint="only a swap with keep_previous keeps tables, and only the last one's",
                )
        evidence = [Evidence(home, name, table_oid(cur, kept, name), None) for name in names]

    def committing(inner: _Cursor) -> Callable[[psycopg.Error], None]:
        pending = note(inner, evidence)
        return lambda lost: resolve(pending, reconnect, lost)

    with claimed(conn, home, names, reconnect):
        exclusively(
            conn,
            [(place, name) for name in names for place in (home, kept)],
            lambda inner: revert(inner, home, names, new_staging_name()),
            committing,
            lock_timeout_s,
        )
    return tuple(f"{home}.{name}" for name in names)
