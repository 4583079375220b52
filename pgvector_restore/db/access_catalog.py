"""Catalog queries that write statements for who may do what with a copy of a table.

Parameters are those of :mod:`pgvector_restore.db.catalog`.
"""

from __future__ import annotations

__all__ = ["GRANTS", "OWNER", "POLICIES", "SEQUENCE_GRANTS", "STATISTICS_OWNERS"]

POLICIES = """
SELECT format('CREATE POLICY %%I ON %%s AS %%s FOR %%s TO %%s%%s%%s', polname, %(there)s::text,
              CASE WHEN polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,
              CASE polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE'
                          WHEN 'd' THEN 'DELETE' ELSE 'ALL' END,
              (SELECT string_agg(CASE r WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(r))
                                 END, ', ' ORDER BY r) FROM unnest(polroles) r),
              ' USING (' || pg_get_expr(polqual, polrelid) || ')',
              ' WITH CHECK (' || pg_get_expr(polwithcheck, polrelid) || ')')
FROM pg_policy WHERE polrelid = %(oid)s ORDER BY polname
"""

OWNER = """
SELECT format('ALTER TABLE %%s OWNER TO %%I', %(there)s::text, pg_get_userbyid(relowner))
FROM pg_class WHERE oid = %(oid)s
"""

#: Whoever makes a statistics object owns it, whoever owns the table.
STATISTICS_OWNERS = """
SELECT format('ALTER STATISTICS %%I.%%I OWNER TO %%I', %(home)s::text, s.stxname,
              pg_get_userbyid(s.stxowner))
FROM pg_statistic_ext s WHERE s.stxrelid = %(oid)s ORDER BY s.stxname
"""

GRANTS = """
WITH found AS (
    SELECT x.privilege_type AS privilege, x.grantee, x.is_grantable
    FROM pg_class c, aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) x
    WHERE c.oid = %(oid)s
    UNION
    SELECT format('%%s (%%I)', x.privilege_type, a.attname), x.grantee, x.is_grantable
    FROM pg_attribute a, aclexplode(a.attacl) x
    WHERE a.attrelid = %(oid)s AND NOT a.attisdropped
)
SELECT format('GRANT %%s ON TABLE %%s TO %%s%%s', privilege, %(there)s::text,
              CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END,
              CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
FROM found ORDER BY 1
"""

#: Identity columns' sequences; those of serial columns go on living.
SEQUENCE_GRANTS = """
SELECT format('GRANT %%s ON SEQUENCE %%I.%%I TO %%s%%s', x.privilege_type, %(home)s::text,
              s.relname,
              CASE x.grantee WHEN 0 THEN 'PUBLIC'
              ELSE quote_ident(pg_get_userbyid(x.grantee)) END,
              CASE WHEN x.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
FROM pg_depend d
JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
CROSS JOIN aclexplode(s.relacl) x
WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
  AND d.refobjid = %(oid)s AND d.deptype = 'i'
ORDER BY 1
"""
