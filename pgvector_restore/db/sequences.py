"""Sequences behind loaded columns: moved on, or the application's next INSERT collides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import sql

from pgvector_restore.target import TargetTable

__all__ = ["advance_sequences"]


def advance_sequences(
    cur: psycopg.Cursor[Any], table: TargetTable, columns: Sequence[str]
) -> tuple[str, ...]:
    """Move serial and identity sequences of loaded columns past the largest value there.

    Only forward, and only ascending ones. ``setval`` is the one thing here that a rollback does
    not take back: a failed COMMIT leaves a gap in the numbers and nothing else.

    Returns:
        A warning for each column whose sequence the role may not move.
    """
    name = sql.Identifier(table.schema, table.name)
    cur.execute(
        """
        SELECT a.attname, s.seqrelid::regclass::text, has_sequence_privilege(s.seqrelid, 'UPDATE')
               AND has_sequence_privilege(s.seqrelid, 'SELECT')
        FROM pg_attribute a
        JOIN pg_sequence s ON s.seqrelid = pg_get_serial_sequence(%s, a.attname)::regclass
        WHERE a.attrelid = %s::regclass AND a.attname = ANY (%s) AND s.seqincrement > 0
        ORDER BY a.attnum
        """,
        [name.as_string(cur)] * 2 + [list(columns)],
    )
    kept = []
    for column, sequence, allowed in cur.fetchall():
        if not allowed:
            kept.append(
                f"the sequence of {table.name}.{column} could not be moved on: "
                "the role has no UPDATE on it, and the next INSERT may collide"
            )
            continue
        cur.execute(
            sql.SQL(
                """
                SELECT setval({sequence}::regclass, top) FROM (SELECT max({column}) FROM {table})
                AS loaded (top) WHERE top >= (SELECT last_value FROM {relation})
                """
            ).format(
                sequence=sql.Literal(sequence),
                relation=sql.SQL(sequence),
                column=sql.Identifier(column),
                table=name,
            )
        )
    return tuple(kept)
