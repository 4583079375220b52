"""Who sends the rows of a table elsewhere, and who else writes them: logical replication."""

from __future__ import annotations

from typing import Any

import psycopg

from pgvector_restore.db.statements import written
from pgvector_restore.target import Publication

__all__ = ["find_publications", "find_subscriptions", "publications_of_new_tables"]

_Cursor = psycopg.Cursor[Any]

#: The first version that publishes schemas.
_SCHEMAS_VERSION = 150_000

#: A publication of a table above or below counts as well. Of several entries the topmost says under
#: which name rows are sent.
_PUBLICATIONS = """
WITH kin AS (
    SELECT a.relid AS oid, 1 - a.place AS level
    FROM pg_partition_ancestors(%(oid)s) WITH ORDINALITY AS a (relid, place)
    UNION SELECT %(oid)s::oid, 0
    UNION SELECT t.relid, t.level FROM pg_partition_tree(%(oid)s) t
), published AS (
    SELECT kin.oid, kin.level, c.relnamespace, c.oid::regclass::text AS name
    FROM kin JOIN pg_class c ON c.oid = kin.oid AND c.relpersistence = 'p'
), found AS (
    SELECT p.oid AS publication, o.name, o.level, 'all tables' AS what
    FROM pg_publication p CROSS JOIN published o WHERE p.puballtables
    UNION ALL
    SELECT r.prpubid, o.name, o.level, CASE o.level WHEN 0 THEN 'it' ELSE o.name END
    FROM pg_publication_rel r JOIN published o ON o.oid = r.prrelid
    {schemas}
)
SELECT DISTINCT ON (p.pubname) quote_ident(p.pubname), f.what, p.pubinsert, p.pubtruncate,
       CASE WHEN p.pubviaroot AND f.level < 0 THEN f.name END
FROM found f JOIN pg_publication p ON p.oid = f.publication
ORDER BY p.pubname, f.level
"""
_BY_SCHEMA = """
    UNION ALL
    SELECT s.pnpubid, o.name, o.level, 'schema ' || quote_ident(n.nspname)
    FROM pg_publication_namespace s
    JOIN published o ON o.relnamespace = s.pnnspid JOIN pg_namespace n ON n.oid = s.pnnspid
"""

_OF_NEW = """
SELECT quote_ident(p.pubname), 'all tables', p.pubinsert, p.pubtruncate, NULL
FROM pg_publication p WHERE p.puballtables
{schemas}
ORDER BY 1
"""
_OF_NEW_BY_SCHEMA = """
UNION ALL
SELECT quote_ident(p.pubname), 'schema ' || quote_ident(n.nspname), p.pubinsert, p.pubtruncate, NULL
FROM pg_publication_namespace s JOIN pg_publication p ON p.oid = s.pnpubid
JOIN pg_namespace n ON n.oid = s.pnnspid WHERE n.nspname = %(schema)s
"""

_SUBSCRIPTIONS = """
SELECT DISTINCT quote_ident(s.subname)
FROM pg_subscription_rel r JOIN pg_subscription s ON s.oid = r.srsubid
WHERE r.srrelid = %(oid)s OR r.srrelid IN (SELECT relid FROM pg_partition_tree(%(oid)s))
   OR r.srrelid IN (SELECT relid FROM pg_partition_ancestors(%(oid)s))
ORDER BY 1
"""


def find_publications(cur: _Cursor, oid: int) -> tuple[Publication, ...]:
    """Publications that send what happens to a table, by name."""
    text = _PUBLICATIONS.format(schemas=_BY_SCHEMA if _publishes_schemas(cur) else "")
    cur.execute(written(text), {"oid": oid})
    return tuple(Publication(*row) for row in cur.fetchall())


def publications_of_new_tables(cur: _Cursor, schema: str) -> tuple[Publication, ...]:
    """Publications that send what happens to any table that is created in a schema."""
    text = _OF_NEW.format(schemas=_OF_NEW_BY_SCHEMA if _publishes_schemas(cur) else "")
    cur.execute(written(text), {"schema": schema})
    return tuple(Publication(*row) for row in cur.fetchall())


def find_subscriptions(cur: _Cursor, oid: int) -> tuple[str, ...]:
    """Names of subscriptions that write to a table, to one of its partitions or to one above."""
    cur.execute(_SUBSCRIPTIONS, {"oid": oid})
    return tuple(row[0] for row in cur.fetchall())


def _publishes_schemas(cur: _Cursor) -> bool:
    return cur.connection.info.server_version >= _SCHEMAS_VERSION
