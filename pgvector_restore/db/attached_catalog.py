"""Catalog queries for the code that hangs on a table: see :mod:`pgvector_restore.db.attached`."""

from __future__ import annotations

__all__ = ["CODE", "EVENT_TRIGGERS", "FUNCTIONS", "OPERATORS", "STRANGERS", "SUPPORT", "TYPES"]

#: Kind, name, table, its owner, trees of expressions, function that is called, type of a column,
#: events. tgtype is a bit mask: 4 is INSERT, 32 is TRUNCATE (pg_trigger.h).
#:
#: ``written`` are the tables that rows are routed to; ``read`` those that queries read as well:
#: what inherits from them, and the tables that foreign keys refer to. Planning a query evaluates
#: expressions and predicates of their indexes and statistics as far as they are constant.
#:
#: A partition's copy of a trigger is left out, unless it comes from a table above the target or was
#: enabled by itself.
CODE = """
WITH RECURSIVE written AS (
    SELECT %(oid)s::oid AS relid
    UNION SELECT relid::oid FROM pg_partition_tree(%(oid)s)
), read AS (
    SELECT relid FROM written
    UNION SELECT k.confrelid FROM pg_constraint k JOIN written w ON w.relid = k.conrelid
          WHERE k.contype = 'f'
    UNION SELECT i.inhrelid FROM read JOIN pg_inherits i ON i.inhparent = read.relid
), found AS (
    SELECT 'trigger' AS kind, g.tgname AS name, g.tgrelid AS relid, g.tgqual::text AS tree,
           NULL::text AS tree2, g.tgfoid AS func, NULL::oid AS type,
           CASE WHEN g.tgenabled = 'A' OR g.tgenabled = CASE
                    current_setting('session_replication_role') WHEN 'replica' THEN 'R' ELSE 'O' END
                THEN array_remove(ARRAY[CASE WHEN g.tgtype & 4 <> 0 THEN 'INSERT' END,
                                        CASE WHEN g.tgtype & 32 <> 0 THEN 'TRUNCATE' END], NULL)
                ELSE '{}' END AS events
    FROM pg_trigger g JOIN written w ON w.relid = g.tgrelid
    LEFT JOIN pg_trigger above ON above.oid = g.tgparentid
    WHERE NOT g.tgisinternal AND g.tgtype & 36 <> 0
      AND (above.oid IS NULL OR g.tgrelid = %(oid)s OR g.tgenabled <> above.tgenabled)
    UNION ALL
    SELECT 'rule', r.rulename, r.ev_class, r.ev_action::text, r.ev_qual::text, NULL, NULL, '{}'
    FROM pg_rewrite r JOIN written w ON w.relid = r.ev_class
    UNION ALL
    SELECT 'policy', p.polname, p.polrelid, p.polqual::text, p.polwithcheck::text, NULL, NULL,
           '{}'
    FROM pg_policy p JOIN written w ON w.relid = p.polrelid
    UNION ALL
    SELECT 'check', k.conname, k.conrelid, k.conbin::text, NULL, NULL, NULL, '{}'
    FROM pg_constraint k JOIN written w ON w.relid = k.conrelid
    WHERE k.contype = 'c' AND (k.conislocal OR k.conrelid = %(oid)s)
    UNION ALL
    SELECT CASE a.attgenerated WHEN '' THEN 'default' ELSE 'generated' END, a.attname, d.adrelid,
           d.adbin::text, NULL, NULL, NULL, '{}'
    FROM pg_attrdef d JOIN written w ON w.relid = d.adrelid
    JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
    WHERE a.attgenerated <> '' OR d.adrelid = %(oid)s
    UNION ALL
    SELECT 'index', i.indexrelid::regclass::text, i.indrelid, i.indexprs::text, i.indpred::text,
           NULL, NULL, '{}'
    FROM pg_index i JOIN read ON read.relid = i.indrelid
    WHERE i.indexprs IS NOT NULL OR i.indpred IS NOT NULL
    UNION  -- only superusers make operator classes, but of anybody's functions
    SELECT 'index', i.indexrelid::regclass::text, i.indrelid, NULL, NULL, s.amproc, NULL, '{}'
    FROM pg_index i JOIN read ON read.relid = i.indrelid
    JOIN pg_opclass o ON o.oid = ANY (i.indclass::oid[]) AND o.oid >= 16384
    JOIN pg_amproc s ON s.amprocfamily = o.opcfamily
    JOIN pg_proc p ON p.oid = s.amproc
    WHERE EXISTS (SELECT FROM pg_roles r WHERE r.oid = p.proowner AND NOT r.rolsuper)
    UNION ALL
    SELECT 'statistics', format('%%I.%%I', n.nspname, s.stxname), s.stxrelid, s.stxexprs::text,
           NULL, NULL, NULL, '{}'
    FROM pg_statistic_ext s JOIN read ON read.relid = s.stxrelid
    JOIN pg_namespace n ON n.oid = s.stxnamespace
    WHERE s.stxexprs IS NOT NULL
    UNION ALL
    SELECT 'partition key', c.relname, t.partrelid, t.partexprs::text, NULL, NULL, NULL, '{}'
    FROM pg_partitioned_table t JOIN pg_class c ON c.oid = t.partrelid
    WHERE t.partexprs IS NOT NULL AND t.partrelid IN (
        SELECT relid FROM read UNION SELECT relid FROM pg_partition_ancestors(%(oid)s))
    UNION ALL
    SELECT 'foreign server', s.srvname, f.ftrelid, NULL, NULL, w.fdwhandler, NULL, '{}'
    FROM pg_foreign_table f JOIN read ON read.relid = f.ftrelid
    JOIN pg_foreign_server s ON s.oid = f.ftserver
    JOIN pg_foreign_data_wrapper w ON w.oid = s.srvfdw
    UNION ALL
    SELECT CASE t.typtype WHEN 'd' THEN 'domain' ELSE 'type' END, a.attname, a.attrelid, NULL, NULL,
           NULL, a.atttypid, '{}'
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
    WHERE a.attrelid = %(oid)s AND a.attnum > 0 AND NOT a.attisdropped AND a.atttypid >= 16384
)
SELECT f.kind, f.name, f.relid::regclass::text, c.relowner, f.tree, f.tree2, f.func, f.type,
       f.events
FROM found f JOIN pg_class c ON c.oid = f.relid
ORDER BY 1, 2, 3
"""

_PARTS = """
WITH RECURSIVE part AS (
    SELECT unnest(%s::oid[]) AS oid
    UNION
    SELECT inner_type.oid
    FROM part JOIN pg_type t ON t.oid = part.oid
    CROSS JOIN LATERAL (
        SELECT t.typbasetype AS oid UNION ALL SELECT t.typelem
        UNION ALL SELECT a.atttypid FROM pg_attribute a
                  WHERE a.attrelid = t.typrelid AND t.typrelid <> 0
                    AND a.attnum > 0 AND NOT a.attisdropped
        UNION ALL SELECT r.rngsubtype FROM pg_range r WHERE t.oid IN (r.rngtypid, r.rngmultitypid)
    ) inner_type
    WHERE inner_type.oid <> 0
)
"""

#: Domains that a type is made of, at any depth, with their owners and the trees of their checks
#: and defaults.
TYPES = (
    _PARTS
    + """
SELECT t.typowner, k.conbin::text, t.typdefaultbin::text
FROM part JOIN pg_type t ON t.oid = part.oid
LEFT JOIN pg_constraint k ON k.contypid = t.oid AND k.contype = 'c'
WHERE t.typtype = 'd' AND (k.oid IS NOT NULL OR t.typdefaultbin IS NOT NULL)
"""
)

#: Functions that values of a type are treated with and that no tree names: input and output, the
#: distance of a range's bounds, which its index asks for, and casts, which ``to_json`` and a
#: foreign key look up. Those of superusers are part of how the type works.
SUPPORT = (
    _PARTS  # noqa: S608 - both halves are constants
    + """
SELECT p.oid
FROM part JOIN pg_type t ON t.oid = part.oid AND t.oid >= 16384
CROSS JOIN LATERAL (
    SELECT unnest(ARRAY[t.typinput, t.typoutput, t.typreceive, t.typsend]::oid[]) AS oid
    UNION ALL SELECT unnest(ARRAY[r.rngsubdiff, r.rngcanonical]::oid[])
              FROM pg_range r WHERE t.oid IN (r.rngtypid, r.rngmultitypid)
    UNION ALL SELECT k.castfunc FROM pg_cast k
              WHERE k.castsource = t.oid
                AND (k.casttarget < 16384 OR k.casttarget IN (SELECT oid FROM part))
) used
JOIN pg_proc p ON p.oid = used.oid
WHERE EXISTS (SELECT FROM pg_roles r WHERE r.oid = p.proowner AND NOT r.rolsuper)
"""
)

#: Comparisons of rows name operators, not functions.
OPERATORS = "SELECT oprcode::oid FROM pg_operator WHERE oid = ANY (%s)"

#: Made by superusers, who may have used anybody's functions; run by every CREATE, ALTER and DROP.
EVENT_TRIGGERS = """
SELECT e.evtname, p.oid::regprocedure::text, ARRAY[e.evtowner, p.proowner]::oid[]
FROM pg_event_trigger e JOIN pg_proc p ON p.oid = e.evtfoid
WHERE e.evtenabled <> 'D'
  AND EXISTS (SELECT FROM pg_roles r WHERE r.oid IN (e.evtowner, p.proowner) AND NOT r.rolsuper)
ORDER BY e.evtname
"""

FUNCTIONS = """
SELECT p.oid, p.oid::regprocedure::text, p.proowner,
       n.nspname = 'pg_catalog' AND p.oid < 16384 AND (
           p.provolatile = 'i'
           OR (p.provolatile = 's' AND p.proname !~ %(harmful)s)
           OR p.proname = ANY (%(volatile)s))
       OR (l.lanname = 'c'
           AND EXISTS (SELECT FROM pg_roles r WHERE r.oid = p.proowner AND r.rolsuper)
           AND EXISTS (SELECT FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
                       WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid
                         AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
                         AND e.extname = ANY (%(extensions)s)))
FROM pg_proc p
JOIN pg_namespace n ON n.oid = p.pronamespace
JOIN pg_language l ON l.oid = p.prolang
WHERE p.oid = ANY (%(oids)s)
ORDER BY 2
"""

#: Roles that cannot act as the current one: neither it, nor a superuser, nor a member of it.
STRANGERS = """
SELECT o.oid, pg_get_userbyid(o.oid) FROM unnest(%s::oid[]) AS o (oid)
WHERE NOT (pg_has_role(o.oid, current_user, 'USAGE')
           OR pg_has_role(o.oid, current_user, 'MEMBER WITH ADMIN OPTION'))
"""
