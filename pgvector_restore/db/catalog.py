"""Catalog queries that write the statements for a copy of a table.

Parameters: ``oid`` of the table, ``here`` and ``there`` its own and the copy's qualified name,
``schema`` and ``home`` their schemas, ``among`` names of tables copied with it. An empty string
stands for something that cannot be written for the copy.
"""

from __future__ import annotations

TABLE = """
SELECT c.oid, CASE c.relpersistence WHEN 'u' THEN 'UNLOGGED' ELSE '' END,
       coalesce(a.amname, ''), coalesce(s.spcname, '')
FROM pg_class c
LEFT JOIN pg_am a ON a.oid = c.relam
LEFT JOIN pg_tablespace s ON s.oid = c.reltablespace
WHERE c.oid = %(here)s::regclass
"""

#: ``to_jsonb`` reads a column that older servers do not have as NULL.
COLUMNS = """
SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attstorage::text,
       a.attcompression::text, a.attidentity::text, a.attgenerated::text,
       a.attcollation::regcollation::text, pg_get_expr(d.adbin, d.adrelid)
FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = %(oid)s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""

#: Named constraints from PostgreSQL 18 on.
NOT_NULLS = """
SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
WHERE conrelid = %(oid)s AND contype = 'n' ORDER BY conname
"""

CHECKS = """
SELECT format('ALTER TABLE %%s ADD CONSTRAINT %%I %%s', %(there)s::text, conname,
              pg_get_constraintdef(oid))
FROM pg_constraint WHERE conrelid = %(oid)s AND contype = 'c' ORDER BY conname
"""

COLUMN_OPTIONS = """
SELECT format('ALTER TABLE %%s ALTER COLUMN %%I SET STATISTICS %%s', %(there)s::text, attname,
              attstattarget)
FROM pg_attribute
WHERE attrelid = %(oid)s AND attnum > 0 AND NOT attisdropped AND coalesce(attstattarget, -1) >= 0
UNION ALL
SELECT format('ALTER TABLE %%s ALTER COLUMN %%I SET (%%s)', %(there)s::text, a.attname,
              string_agg(format('%%I = %%L', split_part(o, '=', 1), substr(o, strpos(o, '=') + 1)),
                         ', ' ORDER BY o))
FROM pg_attribute a, unnest(a.attoptions) o
WHERE a.attrelid = %(oid)s AND a.attnum > 0 AND NOT a.attisdropped
GROUP BY a.attname ORDER BY 1
"""

OPTIONS = """
SELECT format('ALTER TABLE %%s SET (%%s%%I = %%L)', %(there)s::text, prefix, split_part(o, '=', 1),
              substr(o, strpos(o, '=') + 1))
FROM (SELECT '' AS prefix, o, place
      FROM pg_class, unnest(reloptions) WITH ORDINALITY AS u (o, place) WHERE oid = %(oid)s
      UNION ALL
      SELECT 'toast.', o, place
      FROM pg_class c JOIN pg_class t ON t.oid = c.reltoastrelid,
           unnest(t.reloptions) WITH ORDINALITY AS u (o, place)
      WHERE c.oid = %(oid)s) AS options
ORDER BY prefix, place
"""

#: Constraints first: a primary key is what foreign keys of later tables refer to.
INDEXES = """
WITH found AS (
    SELECT c.relname, c.oid, i.indisunique, a.amname, pg_get_indexdef(c.oid) AS definition,
           format('CREATE %%sINDEX %%I ON %%s USING',
                  CASE WHEN i.indisunique THEN 'UNIQUE ' ELSE '' END, c.relname, %(here)s::text)
               AS beginning,
           k.oid AS constraint_oid, coalesce(s.spcname, '') AS tablespace
    FROM pg_index i
    JOIN pg_class c ON c.oid = i.indexrelid
    JOIN pg_am a ON a.oid = c.relam
    LEFT JOIN pg_tablespace s ON s.oid = c.reltablespace
    LEFT JOIN pg_constraint k ON k.conindid = c.oid AND k.contype IN ('p', 'u', 'x')
    WHERE i.indrelid = %(oid)s AND i.indisvalid
)
SELECT relname,
       CASE WHEN constraint_oid IS NOT NULL
           THEN format('ALTER TABLE %%s ADD CONSTRAINT %%I %%s', %(there)s::text, relname,
                       pg_get_constraintdef(constraint_oid))
           ELSE format('CREATE %%sINDEX %%I ON %%s USING%%s',
                       CASE WHEN indisunique THEN 'UNIQUE ' ELSE '' END, relname, %(there)s::text,
                       substr(definition, length(beginning) + 1)) END,
       definition, amname, tablespace
FROM found ORDER BY constraint_oid IS NULL, relname
"""

#: ``pg_get_constraintdef`` leaves them out; for other indexes they are in the definition.
INDEX_OPTIONS = """
SELECT format('ALTER INDEX %%I.%%I SET (%%I = %%L)', %(home)s::text, c.relname,
              split_part(o, '=', 1), substr(o, strpos(o, '=') + 1))
FROM pg_index i
JOIN pg_class c ON c.oid = i.indexrelid
JOIN pg_constraint k ON k.conindid = c.oid AND k.contype IN ('p', 'u', 'x')
CROSS JOIN unnest(c.reloptions) o
WHERE i.indrelid = %(oid)s ORDER BY 1
"""

INDEX_STATISTICS = """
SELECT format('ALTER INDEX %%I.%%I ALTER COLUMN %%s SET STATISTICS %%s', %(home)s::text, c.relname,
              a.attnum, a.attstattarget)
FROM pg_index i
JOIN pg_class c ON c.oid = i.indexrelid
JOIN pg_attribute a ON a.attrelid = c.oid AND coalesce(a.attstattarget, -1) >= 0
WHERE i.indrelid = %(oid)s AND i.indisvalid
UNION ALL
SELECT format('ALTER TABLE %%s CLUSTER ON %%I', %(there)s::text, c.relname)
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE i.indrelid = %(oid)s AND i.indisclustered
ORDER BY 1
"""

FOREIGN_KEYS = """
WITH found AS (
    SELECT k.conname, pg_get_constraintdef(k.oid) AS definition,
           format('FOREIGN KEY (%%s) REFERENCES %%I.%%I(',
                  (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY u.place)
                   FROM unnest(k.conkey) WITH ORDINALITY AS u (attnum, place)
                   JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.attnum),
                  n.nspname, p.relname) AS beginning,
           n.nspname, p.relname
    FROM pg_constraint k
    JOIN pg_class p ON p.oid = k.confrelid
    JOIN pg_namespace n ON n.oid = p.relnamespace
    WHERE k.conrelid = %(oid)s AND k.contype = 'f' AND k.conparentid = 0
)
SELECT CASE
    WHEN nspname <> %(schema)s OR NOT relname = ANY (%(among)s)
        THEN format('ALTER TABLE %%s ADD CONSTRAINT %%I %%s', %(there)s::text, conname, definition)
    WHEN starts_with(definition, beginning)
        THEN format('ALTER TABLE %%s ADD CONSTRAINT %%I %%s%%I.%%I(%%s', %(there)s::text, conname,
                    left(beginning, -length(format('%%I.%%I(', nspname, relname))),
                    %(home)s::text, relname, substr(definition, length(beginning) + 1))
    ELSE '' END
FROM found ORDER BY conname
"""

#: A trigger or a column may have any name, with an ``ON`` in it too, so all that comes before the
#: table's own name is written as the server writes it.
TRIGGERS = """
WITH found AS (
    SELECT tgname, tgenabled, pg_get_triggerdef(oid) AS definition,
           format('CREATE %%sTRIGGER %%I %%s %%s ON ',
                  CASE WHEN tgconstraint <> 0 THEN 'CONSTRAINT ' ELSE '' END, tgname,
                  CASE WHEN tgtype & 2 <> 0 THEN 'BEFORE' WHEN tgtype & 64 <> 0 THEN 'INSTEAD OF'
                  ELSE 'AFTER' END,
                  concat_ws(' OR ', CASE WHEN tgtype & 4 <> 0 THEN 'INSERT' END,
                            CASE WHEN tgtype & 8 <> 0 THEN 'DELETE' END,
                            CASE WHEN tgtype & 16 <> 0 THEN 'UPDATE' || coalesce(
                                (SELECT ' OF ' || string_agg(quote_ident(a.attname), ', '
                                                             ORDER BY u.place)
                                 FROM unnest(tgattr::int2[]) WITH ORDINALITY AS u (number, place)
                                 JOIN pg_attribute a ON a.attrelid = tgrelid
                                                    AND a.attnum = u.number), '') END,
                            CASE WHEN tgtype & 32 <> 0 THEN 'TRUNCATE' END)) AS beginning
    FROM pg_trigger WHERE tgrelid = %(oid)s AND NOT tgisinternal
), statements AS (
    SELECT tgname, 1 AS step,
           CASE WHEN starts_with(definition, beginning || %(here)s::text || ' ')
           THEN beginning || %(there)s::text
                || substr(definition, length(beginning || %(here)s::text) + 1)
           ELSE '' END AS statement
    FROM found
    UNION ALL
    SELECT tgname, 2, format('ALTER TABLE %%s %%s TRIGGER %%I', %(there)s::text,
                             CASE tgenabled WHEN 'D' THEN 'DISABLE' WHEN 'R' THEN 'ENABLE REPLICA'
                             ELSE 'ENABLE ALWAYS' END, tgname)
    FROM found WHERE tgenabled <> 'O'
)
SELECT statement FROM statements ORDER BY tgname, step
"""

FLAGS = """
SELECT format('ALTER TABLE %%s ENABLE ROW LEVEL SECURITY', %(there)s::text)
FROM pg_class WHERE oid = %(oid)s AND relrowsecurity
UNION ALL
SELECT format('ALTER TABLE %%s FORCE ROW LEVEL SECURITY', %(there)s::text)
FROM pg_class WHERE oid = %(oid)s AND relforcerowsecurity
UNION ALL
SELECT format('ALTER TABLE %%s REPLICA IDENTITY %%s', %(there)s::text,
              CASE relreplident WHEN 'f' THEN 'FULL' WHEN 'n' THEN 'NOTHING'
              ELSE (SELECT 'USING INDEX ' || quote_ident(i.relname)
                    FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
                    WHERE x.indrelid = %(oid)s AND x.indisreplident) END)
FROM pg_class WHERE oid = %(oid)s AND relreplident <> 'd'
"""

STATISTICS_NAMES = """
SELECT n.nspname, s.stxname FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace
WHERE s.stxrelid = %(oid)s ORDER BY n.nspname, s.stxname
"""

STATISTICS = """
WITH found AS (
    SELECT s.stxname, coalesce((to_jsonb(s)->>'stxstattarget')::int, -1) AS target,
           pg_get_statisticsobjdef(s.oid) AS definition,
           format('CREATE STATISTICS %%I.%%I', n.nspname, s.stxname) AS beginning,
           ' FROM ' || %(here)s::text AS ending
    FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace
    WHERE s.stxrelid = %(oid)s
), statements AS (
    SELECT stxname, 1 AS step,
           CASE WHEN starts_with(definition, beginning)
                 AND right(definition, length(ending)) = ending
           THEN format('CREATE STATISTICS %%I.%%I%%s FROM %%s', %(home)s::text, stxname,
                       substr(left(definition, -length(ending)), length(beginning) + 1),
                       %(there)s::text)
           ELSE '' END AS statement
    FROM found
    UNION ALL
    SELECT stxname, 2,
           format('ALTER STATISTICS %%I.%%I SET STATISTICS %%s', %(home)s::text, stxname, target)
    FROM found WHERE target >= 0
)
SELECT statement FROM statements ORDER BY stxname, step
"""

COMMENTS = """
WITH found AS (
    SELECT CASE WHEN d.objsubid = 0 THEN 'TABLE ' || %(there)s::text
                ELSE format('COLUMN %%s.%%I', %(there)s::text, a.attname) END AS what,
           d.description
    FROM pg_description d
    LEFT JOIN pg_attribute a ON a.attrelid = d.objoid AND a.attnum = d.objsubid
    WHERE d.classoid = 'pg_class'::regclass AND d.objoid = %(oid)s
    UNION ALL
    SELECT format('INDEX %%I.%%I', %(home)s::text, c.relname), d.description
    FROM pg_index i
    JOIN pg_class c ON c.oid = i.indexrelid
    JOIN pg_description d ON d.classoid = 'pg_class'::regclass AND d.objoid = c.oid
    WHERE i.indrelid = %(oid)s AND i.indisvalid
    UNION ALL
    SELECT format('CONSTRAINT %%I ON %%s', k.conname, %(there)s::text), d.description
    FROM pg_constraint k
    JOIN pg_description d ON d.classoid = 'pg_constraint'::regclass AND d.objoid = k.oid
    WHERE k.conrelid = %(oid)s
    UNION ALL
    SELECT format('TRIGGER %%I ON %%s', t.tgname, %(there)s::text), d.description
    FROM pg_trigger t
    JOIN pg_description d ON d.classoid = 'pg_trigger'::regclass AND d.objoid = t.oid
    WHERE t.tgrelid = %(oid)s
    UNION ALL
    SELECT format('POLICY %%I ON %%s', p.polname, %(there)s::text), d.description
    FROM pg_policy p
    JOIN pg_description d ON d.classoid = 'pg_policy'::regclass AND d.objoid = p.oid
    WHERE p.polrelid = %(oid)s
    UNION ALL
    SELECT format('STATISTICS %%I.%%I', %(home)s::text, s.stxname), d.description
    FROM pg_statistic_ext s
    JOIN pg_description d ON d.classoid = 'pg_statistic_ext'::regclass AND d.objoid = s.oid
    WHERE s.stxrelid = %(oid)s
    UNION ALL
    SELECT 'TYPE ' || %(there)s::text, d.description
    FROM pg_class c
    JOIN pg_description d ON d.classoid = 'pg_type'::regclass AND d.objoid = c.reltype
    WHERE c.oid = %(oid)s
    UNION ALL
    SELECT format('SEQUENCE %%I.%%I', %(home)s::text, s.relname), d.description
    FROM pg_depend o
    JOIN pg_class s ON s.oid = o.objid AND s.relkind = 'S'
    JOIN pg_description d ON d.classoid = 'pg_class'::regclass AND d.objoid = s.oid
    WHERE o.classid = 'pg_class'::regclass AND o.refclassid = 'pg_class'::regclass
      AND o.refobjid = %(oid)s AND o.deptype = 'i'
)
SELECT format('COMMENT ON %%s IS %%L', what, description) FROM found ORDER BY 1
"""

#: Of the table, its columns, its row type and sequences of identity columns; nothing else that is
#: copied can have one.
LABELS = """
WITH found AS (
    SELECT l.provider, CASE WHEN l.objsubid = 0 THEN 'TABLE ' || %(there)s::text
                ELSE format('COLUMN %%s.%%I', %(there)s::text, a.attname) END AS what, l.label
    FROM pg_seclabel l
    LEFT JOIN pg_attribute a ON a.attrelid = l.objoid AND a.attnum = l.objsubid
    WHERE l.classoid = 'pg_class'::regclass AND l.objoid = %(oid)s
    UNION ALL
    SELECT l.provider, 'TYPE ' || %(there)s::text, l.label
    FROM pg_class c JOIN pg_seclabel l ON l.classoid = 'pg_type'::regclass AND l.objoid = c.reltype
    WHERE c.oid = %(oid)s
    UNION ALL
    SELECT l.provider, format('SEQUENCE %%I.%%I', %(home)s::text, s.relname), l.label
    FROM pg_depend o
    JOIN pg_class s ON s.oid = o.objid AND s.relkind = 'S'
    JOIN pg_seclabel l ON l.classoid = 'pg_class'::regclass AND l.objoid = s.oid
    WHERE o.classid = 'pg_class'::regclass AND o.refclassid = 'pg_class'::regclass
      AND o.refobjid = %(oid)s AND o.deptype = 'i'
)
SELECT format('SECURITY LABEL FOR %%I ON %%s IS %%L', provider, what, label) FROM found ORDER BY 1
"""

#: Owned by a column, which ``LIKE`` lets the copy's default refer to.
SERIALS = """
SELECT a.attname, s.oid::regclass::text
FROM pg_depend d
JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
  AND d.refobjid = %(oid)s AND d.deptype = 'a'
ORDER BY 1, 2
"""

IDENTITIES = """
SELECT a.attname, s.relname, q.seqtypid::regtype::text, q.seqstart, q.seqincrement, q.seqmin,
       q.seqmax, q.seqcache, q.seqcycle
FROM pg_depend d
JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
JOIN pg_sequence q ON q.seqrelid = s.oid
JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
  AND d.refobjid = %(oid)s AND d.deptype = 'i'
ORDER BY 1
"""
