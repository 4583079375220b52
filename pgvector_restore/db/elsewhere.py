"""Rows that lie outside of what one transaction of the server covers: foreign tables, shards."""

from __future__ import annotations

from typing import Any

import psycopg

from pgvector_restore.db.extension_tables import find_keepers

__all__ = ["find_elsewhere"]

_Cursor = psycopg.Cursor[Any]

#: Extensions that keep the rows of a table on other servers, by the table where they say so.
_DISTRIBUTING = ("pg_dist_partition",)

#: The relation itself and its partitions; for who reads it also tables that inherit from it, and
#: what its query names if it is a view.
_PARTS = """
WITH RECURSIVE part (oid) AS (
    SELECT %(oid)s::oid
    UNION
    SELECT inner_part.oid FROM part CROSS JOIN LATERAL (
        SELECT i.inhrelid AS oid FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = part.oid AND (c.relispartition OR %(reading)s)
        UNION ALL
        SELECT d.refobjid FROM pg_class v
        JOIN pg_rewrite r ON r.ev_class = v.oid
        JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
                        AND d.refclassid = 'pg_class'::regclass
        WHERE v.oid = part.oid AND v.relkind = 'v' AND %(reading)s
    ) inner_part
)
SELECT c.oid::int8, c.relkind::text, c.relispartition, c.oid::regclass::text,
       quote_ident(s.srvname)
FROM part JOIN pg_class c ON c.oid = part.oid
LEFT JOIN pg_foreign_table f ON f.ftrelid = c.oid
LEFT JOIN pg_foreign_server s ON s.oid = f.ftserver
WHERE c.relkind IN ('r', 'p', 'f')
ORDER BY c.oid <> %(oid)s, 4
"""


def find_elsewhere(cur: _Cursor, oid: int, *, reading: bool = False) -> tuple[str, ...]:
    """Where rows of a relation lie that no single COMMIT or snapshot covers, one phrase each.

    Args:
        cur: With an empty search path.
        oid: The relation.
        reading: Also what only a query of it reads: tables that inherit from it, those of a view.
    """
    cur.execute(_PARTS, {"oid": oid, "reading": reading})
    found = []
    for part, kind, is_partition, name, server in cur.fetchall():
        what = "it" if part == oid else f"its partition {name}" if is_partition else name
        if kind == "f":
            found.append(f"{what} is a foreign table of server {server}")
            continue
        found += [
            f"{keeper.extension} distributes the rows of {what}"
            for keeper in find_keepers(cur, part)
            if keeper.name in _DISTRIBUTING and keeper.certain
        ]
    return tuple(found)
