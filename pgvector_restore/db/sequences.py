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
    """Move serial and identity sequences of loaded columns past the last value there.

    Only in the sequence's own direction. ``setval`` is the one thing here that a rollback does not
    take back: a failed COMMIT leaves a gap in the numbers and nothing else.

    Returns:
        A warning for each column whose sequence could not be moved.
    """
    name = sql.Identifier(table.schema, table.name)
    cur.execute(_OWNED, [name.as_string(cur)] * 2 + [list(columns)])
    kept = []
    for column, sequence, allowed, is_number, up, low, high in cur.fetchall():
        why = None
        if not is_number:
            why = "the column holds no numbers"
        elif not allowed:
            why = "the role has no UPDATE on it"
        else:
            why = _advance(cur, name, column, sequence, up=up, bounds=(low, high))
        if why is not None:
            kept.append(
                f"the sequence of {table.name}.{column} could not be moved on: "
                f"{why}, and the next INSERT may collide"
            )
    return tuple(kept)


#: Sequences owned by columns: whether the role may move it, whether the column has numbers, whether
#: it goes up, and its bounds.
_OWNED = """
WITH RECURSIVE owned AS (
    SELECT a.attname, a.attnum, a.atttypid AS type, s.seqrelid, s.seqincrement, s.seqmin, s.seqmax
    FROM pg_attribute a
    JOIN pg_sequence s ON s.seqrelid = pg_get_serial_sequence(%s, a.attname)::regclass
    WHERE a.attrelid = %s::regclass AND a.attname = ANY (%s)
    UNION ALL
    SELECT o.attname, o.attnum, t.typbasetype, o.seqrelid, o.seqincrement, o.seqmin, o.seqmax
    FROM owned o JOIN pg_type t ON t.oid = o.type WHERE t.typtype = 'd'
)
SELECT o.attname, o.seqrelid::regclass::text,
       has_sequence_privilege(o.seqrelid, 'UPDATE')
       AND has_sequence_privilege(o.seqrelid, 'SELECT'),
       o.type IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype, 'numeric'::regtype),
       o.seqincrement > 0, o.seqmin, o.seqmax
FROM owned o JOIN pg_type t ON t.oid = o.type WHERE t.typtype <> 'd'
ORDER BY o.attnum
"""


def _advance(
    cur: psycopg.Cursor[Any],
    table: sql.Identifier,
    column: str,
    sequence: str,
    *,
    up: bool,
    bounds: tuple[int, int],
) -> str | None:
    """Move one sequence; returns why it stays where it is, unless it is where it has to be."""
    number = sql.SQL("{}::numeric").format(sql.Identifier(column))
    last = sql.SQL("max({})" if up else "min({})").format(number)
    # NaN and infinity are no numbers to go on from, and what follows a fraction is beyond it.
    cur.execute(
        sql.SQL(
            """
            SELECT {rounded}({last}) FROM {table}
            WHERE {number} NOT IN ('NaN', 'Infinity', '-Infinity')
            """
        ).format(rounded=sql.SQL("ceil" if up else "floor"), last=last, table=table, number=number)
    )
    (top,) = cur.fetchone() or (None,)
    if top is None:
        return None
    if not bounds[0] <= top <= bounds[1]:
        beyond = (top > bounds[1]) if up else (top < bounds[0])
        # Of what lies before its first value nothing is in the way.
        return f"{top} is beyond its bounds" if beyond else None
    cur.execute(
        sql.SQL(
            "SELECT setval({sequence}::regclass, {top}) WHERE {top} {beyond} "
            "(SELECT last_value FROM {relation})"
        ).format(
            sequence=sql.Literal(sequence),
            top=sql.Literal(int(top)),
            beyond=sql.SQL(">=" if up else "<="),
            relation=sql.SQL(sequence),
        )
    )
    return None
