"""What the role may do with a table."""

from __future__ import annotations

from typing import Any

import psycopg

__all__ = ["find_privileges"]

_TABLE = """
SELECT pg_get_userbyid(c.relowner), pg_has_role(c.relowner, 'USAGE'),
       has_schema_privilege(c.relnamespace, 'CREATE'),
       array_remove(ARRAY[
           -- Of the whole table: with single columns LOCK TABLE would be refused.
           CASE WHEN NOT has_table_privilege(c.oid, 'INSERT') THEN 'INSERT' END,
           CASE WHEN NOT has_table_privilege(c.oid, 'SELECT') THEN 'SELECT' END,
           CASE WHEN NOT has_table_privilege(c.oid, 'TRUNCATE') THEN 'TRUNCATE' END,
           CASE WHEN NOT has_any_column_privilege(c.oid, 'REFERENCES') THEN 'REFERENCES' END],
       NULL),
       pg_table_size(c.oid::regclass), pg_total_relation_size(c.oid::regclass)
FROM pg_class c WHERE c.oid = %s
"""

#: nextval() runs as whoever inserts; identity columns ask for nothing.
_SEQUENCES = """
SELECT DISTINCT a.attname::text, s.oid::regclass::text
FROM pg_attrdef f
JOIN pg_attribute a ON a.attrelid = f.adrelid AND a.attnum = f.adnum
JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid
                AND d.refclassid = 'pg_class'::regclass
JOIN pg_class s ON s.oid = d.refobjid
WHERE f.adrelid = %s
  -- CASE, for the server may ask for privileges first, and of a table it would raise.
  AND CASE WHEN s.relkind = 'S' THEN NOT (has_sequence_privilege(s.oid, 'USAGE')
                                          OR has_sequence_privilege(s.oid, 'UPDATE')) END
ORDER BY 1
"""


def find_privileges(cur: psycopg.Cursor[Any], oid: int) -> dict[str, Any]:
    """The table's owner, what the role lacks there, and sizes: fields of ``TargetTable``."""
    cur.execute(_TABLE, [oid])
    row = cur.fetchone()
    if row is None:  # dropped a moment ago: what comes next will say so
        return {}
    owner, owned, may_create, lacking, size, total = row
    cur.execute(_SEQUENCES, [oid])
    return {
        "owner": owner,
        "owned": owned,
        "may_build_indexes": owned and may_create,
        "lacking": tuple(lacking),
        "closed_sequences": tuple(cur.fetchall()),
        "size_bytes": size,
        "total_bytes": total,
    }
