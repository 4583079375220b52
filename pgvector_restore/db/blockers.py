"""What would break, or vanish, if a table were exchanged for another one of the same name.

What a swap carries over is written by ``catalog.py`` and ``access_catalog.py``. All else that a
catalog can say of a table has to be found here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg

from pgvector_restore.db.extension_tables import find_keepers
from pgvector_restore.db.replication import find_publications, find_subscriptions

__all__ = ["find_blockers"]

#: The table itself: kind of relation, persistence, inheritance, owner.
_OWN = """
SELECT CASE c.relkind WHEN 'p' THEN 'it is partitioned' END,
       CASE WHEN c.relispartition THEN 'it is a partition' END,
       CASE WHEN c.reloftype <> 0 THEN 'it is a typed table' END,
       CASE c.relpersistence WHEN 't' THEN 'it is temporary' END,
       CASE WHEN NOT pg_has_role(c.relowner, 'USAGE')
            THEN 'it is owned by ' || pg_get_userbyid(c.relowner) END,
       (SELECT 'it inherits from ' || string_agg(i.inhparent::regclass::text, ', ')
        FROM pg_inherits i WHERE i.inhrelid = c.oid AND NOT c.relispartition),
       (SELECT string_agg(i.inhrelid::regclass::text, ', ') || ' inherits from it'
        FROM pg_inherits i WHERE i.inhparent = c.oid AND c.relkind <> 'p'),
       (SELECT 'it belongs to extension ' || string_agg(e.extname, ', ')
        FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
        WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
          AND d.refclassid = 'pg_extension'::regclass AND d.deptype IN ('e', 'x')),
       (SELECT 'extension ' || string_agg(e.extname, ', ') || ' dumps its rows'
        FROM pg_extension e WHERE c.oid = ANY (e.extconfig)),
       (SELECT 'its row type has privileges of its own' FROM pg_type t
        WHERE t.oid = c.reltype AND t.typacl IS NOT NULL)
FROM pg_class c WHERE c.oid = %(oid)s
"""

#: Everything that depends on the table or its row type and is not the table's own.
_DEPENDENTS = """
WITH own AS (
    SELECT 'pg_class'::regclass AS classid, c.oid AS objid FROM pg_class c WHERE c.oid = %(oid)s
    UNION ALL SELECT 'pg_type'::regclass, c.reltype FROM pg_class c WHERE c.oid = %(oid)s
    UNION ALL SELECT 'pg_type'::regclass, t.typarray
              FROM pg_class c JOIN pg_type t ON t.oid = c.reltype WHERE c.oid = %(oid)s
)
SELECT DISTINCT
    CASE d.classid
        WHEN 'pg_rewrite'::regclass THEN (
            SELECT CASE v.relkind
                WHEN 'v' THEN 'view ' || v.oid::regclass || ' reads it'
                WHEN 'm' THEN 'materialized view ' || v.oid::regclass || ' reads it'
                ELSE 'rule ' || quote_ident(r.rulename) || ' on ' || v.oid::regclass END
            FROM pg_rewrite r JOIN pg_class v ON v.oid = r.ev_class WHERE r.oid = d.objid)
        WHEN 'pg_constraint'::regclass THEN (
            SELECT 'foreign key ' || quote_ident(k.conname) || ' of ' || k.conrelid::regclass
                   || ' refers to it'
            FROM pg_constraint k
            WHERE k.oid = d.objid AND k.contype = 'f' AND k.conrelid <> %(oid)s
              AND NOT k.conrelid = ANY (%(among)s)
              AND NOT EXISTS (SELECT FROM pg_partition_ancestors(k.conrelid) a
                              WHERE a.relid = ANY (%(among)s)))
        WHEN 'pg_policy'::regclass THEN (
            SELECT 'policy ' || quote_ident(p.polname) || ' of ' || p.polrelid::regclass
                   || ' reads it'
            FROM pg_policy p WHERE p.oid = d.objid AND p.polrelid <> %(oid)s)
        WHEN 'pg_proc'::regclass THEN 'function ' || d.objid::regprocedure || ' depends on it'
        WHEN 'pg_trigger'::regclass THEN (
            SELECT 'trigger ' || quote_ident(g.tgname) || ' of ' || g.tgrelid::regclass
                   || ' depends on it'
            FROM pg_trigger g
            WHERE g.oid = d.objid AND g.tgrelid <> %(oid)s AND NOT g.tgisinternal)
        WHEN 'pg_class'::regclass THEN (
            SELECT CASE WHEN o.relkind IN ('r', 'p', 'f', 'c', 'v', 'm')
                THEN pg_describe_object(d.classid, d.objid, d.objsubid) || ' depends on it' END
            FROM pg_class o
            WHERE o.oid = d.objid AND o.oid <> %(oid)s
              AND NOT EXISTS (SELECT FROM pg_inherits i
                              WHERE i.inhrelid = o.oid AND i.inhparent = %(oid)s))
        WHEN 'pg_attrdef'::regclass THEN (
            SELECT 'a default of ' || a.adrelid::regclass || ' depends on it'
            FROM pg_attrdef a WHERE a.oid = d.objid AND a.adrelid <> %(oid)s)
        WHEN 'pg_type'::regclass THEN (
            SELECT 'type ' || t.oid::regtype || ' depends on it' FROM pg_type t
            WHERE t.oid = d.objid AND (d.classid, d.objid) NOT IN (SELECT classid, objid FROM own))
        WHEN 'pg_statistic_ext'::regclass THEN NULL
        WHEN 'pg_publication_rel'::regclass THEN NULL
        ELSE pg_describe_object(d.classid, d.objid, d.objsubid) || ' depends on it'
    END AS phrase
FROM own JOIN pg_depend d ON d.refclassid = own.classid AND d.refobjid = own.objid
WHERE d.deptype IN ('n', 'a')
"""

#: Rules of the table itself; and columns of others that have its row type are found above.
_RULES = """
SELECT 'rule ' || quote_ident(r.rulename) || ' on it' FROM pg_rewrite r WHERE r.ev_class = %(oid)s
UNION ALL
SELECT 'sequence ' || s.oid::regclass || ' of it is used by ' || a.adrelid::regclass
FROM pg_depend o
JOIN pg_class s ON s.oid = o.objid AND s.relkind = 'S'
JOIN pg_depend u ON u.refclassid = 'pg_class'::regclass AND u.refobjid = s.oid
                AND u.classid = 'pg_attrdef'::regclass
JOIN pg_attrdef a ON a.oid = u.objid
JOIN pg_class r ON r.oid = a.adrelid
JOIN pg_namespace n ON n.oid = r.relnamespace
WHERE NOT starts_with(n.nspname, 'pgvr_staging_')  -- a copy of the table itself
  AND o.classid = 'pg_class'::regclass AND o.refclassid = 'pg_class'::regclass
  AND o.refobjid = %(oid)s AND o.deptype IN ('a', 'i') AND a.adrelid <> %(oid)s
"""

#: What the table's own parts have that a copy of them would not.
_PARTS = """
WITH part (classid, objid, what) AS (
    SELECT 'pg_class'::regclass, i.indexrelid, 'index ' || i.indexrelid::regclass
    FROM pg_index i WHERE i.indrelid = %(oid)s
    UNION ALL
    SELECT 'pg_trigger'::regclass, t.oid, 'trigger ' || quote_ident(t.tgname)
    FROM pg_trigger t WHERE t.tgrelid = %(oid)s AND NOT t.tgisinternal
    UNION ALL
    SELECT 'pg_constraint'::regclass, k.oid, 'constraint ' || quote_ident(k.conname)
    FROM pg_constraint k WHERE k.conrelid = %(oid)s
    UNION ALL
    SELECT 'pg_policy'::regclass, p.oid, 'policy ' || quote_ident(p.polname)
    FROM pg_policy p WHERE p.polrelid = %(oid)s
    UNION ALL
    SELECT 'pg_statistic_ext'::regclass, x.oid, 'statistics ' || quote_ident(x.stxname)
    FROM pg_statistic_ext x WHERE x.stxrelid = %(oid)s
    UNION ALL
    SELECT 'pg_class'::regclass, s.oid, 'sequence ' || s.oid::regclass
    FROM pg_depend o JOIN pg_class s ON s.oid = o.objid AND s.relkind = 'S'
    WHERE o.classid = 'pg_class'::regclass AND o.refclassid = 'pg_class'::regclass
      AND o.refobjid = %(oid)s AND o.deptype = 'i'
), acl AS (
    SELECT c.relowner AS owner, c.relacl AS given FROM pg_class c WHERE c.oid = %(oid)s
    UNION ALL
    SELECT c.relowner, a.attacl FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
    WHERE a.attrelid = %(oid)s AND NOT a.attisdropped
    UNION ALL
    SELECT c.relowner, c.relacl FROM part JOIN pg_class c ON c.oid = part.objid
    WHERE part.classid = 'pg_class'::regclass AND c.relkind = 'S'
)
SELECT part.what || ' of it depends on extension ' || quote_ident(e.extname)
FROM part
JOIN pg_depend d ON d.classid = part.classid AND d.objid = part.objid
                AND d.refclassid = 'pg_extension'::regclass AND d.deptype IN ('e', 'x')
JOIN pg_extension e ON e.oid = d.refobjid
UNION
SELECT pg_describe_object(d.classid, d.objid, d.objsubid) || ' depends on ' || part.what
FROM part
JOIN pg_class s ON s.oid = part.objid AND s.relkind = 'S'
JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = s.oid
                AND d.deptype = 'n' AND d.classid <> 'pg_attrdef'::regclass
WHERE part.classid = 'pg_class'::regclass
UNION
SELECT part.what || ' of it is not logged like the table'
FROM part
JOIN pg_class s ON s.oid = part.objid AND s.relkind = 'S'
JOIN pg_class c ON c.oid = %(oid)s AND c.relpersistence <> s.relpersistence
WHERE part.classid = 'pg_class'::regclass
UNION
SELECT 'somebody else than its owner has granted privileges on it: '
       || string_agg(DISTINCT pg_get_userbyid(x.grantor)::text, ', ')
FROM acl CROSS JOIN aclexplode(acl.given) x WHERE x.grantor <> acl.owner HAVING count(*) > 0
UNION
SELECT 'statistics ' || quote_ident(x.stxname) || ' of it are owned by '
       || pg_get_userbyid(x.stxowner)
FROM pg_statistic_ext x WHERE x.stxrelid = %(oid)s AND NOT pg_has_role(x.stxowner, 'USAGE')
UNION
SELECT 'triggers of its foreign keys do not fire as they were made to'
FROM pg_trigger t WHERE t.tgrelid = %(oid)s AND t.tgisinternal AND t.tgenabled <> 'O'
"""


def find_blockers(cur: psycopg.Cursor[Any], oid: int, among: Sequence[int]) -> tuple[str, ...]:
    """What stands in the way of swapping a table, one phrase each.

    Args:
        cur: With an empty search path, so that names come qualified.
        oid: The table.
        among: Tables that are swapped together with it.
    """
    values = {"oid": oid, "among": list(among)}
    cur.execute(_OWN, values)
    row = cur.fetchone() or ()
    found = [phrase for phrase in row if phrase]
    found += map(str, find_publications(cur, oid))
    found += [f"subscription {name} writes to it" for name in find_subscriptions(cur, oid)]
    for text in (_DEPENDENTS, _RULES, _PARTS):
        cur.execute(text, values)
        found += sorted(row[0] for row in cur.fetchall() if row[0])
    found += map(str, find_keepers(cur, oid))
    return tuple(dict.fromkeys(found))
