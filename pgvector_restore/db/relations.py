"""What is backed up: relations of any kind that rows can be read from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from attrs import evolve, frozen

from pgvector_restore.db.attached import find_attached_code
from pgvector_restore.db.elsewhere import find_elsewhere
from pgvector_restore.db.inspect import describe_columns
from pgvector_restore.errors import TargetChangedError, TargetMismatchError, quoted
from pgvector_restore.target import (
    AttachedCode,
    ForeignKey,
    TargetColumn,
    TargetFacts,
    TargetIndex,
)

__all__ = ["Relation", "RelationName", "describe_relations", "find_relations"]

_Cursor = psycopg.Cursor[Any]

#: Kinds of ``pg_class`` that rows can be read from, and those of them LOCK TABLE takes.
_READABLE = {
    "r": "table",
    "p": "partitioned table",
    "v": "view",
    "m": "materialized view",
    "f": "foreign table",
}
_LOCKABLE = ("r", "p", "v")
#: A view's query is a rule of it.
_QUERY = ("v", "rule")

#: The first version that reads a stretch of pages without looking at the others.
_TID_RANGE_VERSION = 140_000

_FIND = """
SELECT c.relname::text, c.oid::int8, c.relkind::text,
       has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT'),
       has_table_privilege(c.oid, 'TRUNCATE'), pg_is_in_recovery()
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = ANY (%s)
"""

_DESCRIBE = """
SELECT c.relkind::text, coalesce(a.amname = 'heap', false), row_security_active(c.oid),
       c.relispopulated,
       CASE WHEN c.relkind IN ('r', 'm')
            THEN pg_relation_size(c.oid) / current_setting('block_size')::int8 ELSE 0 END,
       CASE c.relkind WHEN 'p' THEN (SELECT coalesce(sum(pg_table_size(t.relid)), 0)
                                     FROM pg_partition_tree(c.oid) t)
                      WHEN 'v' THEN 0 WHEN 'f' THEN 0 ELSE pg_table_size(c.oid) END::int8,
       ARRAY(SELECT DISTINCT k.conrelid::regclass::text FROM pg_constraint k
             WHERE k.contype = 'f' AND k.conparentid = 0 AND k.conrelid <> c.oid
               AND (k.confrelid = c.oid
                    OR k.confrelid IN (SELECT relid FROM pg_partition_tree(c.oid))) ORDER BY 1),
       CASE WHEN c.relkind = 'r' THEN ARRAY(SELECT i.inhrelid::regclass::text FROM pg_inherits i
                                            WHERE i.inhparent = c.oid ORDER BY 1) ELSE '{}' END
FROM pg_class c LEFT JOIN pg_am a ON a.oid = c.relam
WHERE c.oid = %s AND c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = %s)
  AND c.relname = %s  -- it was locked by its name
"""

#: Constraints, and unique indexes without one that foreign keys refer to.
_KEYS = """
SELECT found.kind, array_agg(a.attname::text ORDER BY u.place)
FROM (SELECT contype::text AS kind, conname AS name, conkey AS numbers, oid FROM pg_constraint
      WHERE conrelid = %(oid)s AND contype IN ('p', 'u')
      UNION ALL
      SELECT 'u', c.relname, (i.indkey::int2[])[0:i.indnkeyatts - 1], c.oid
      FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
      WHERE i.indrelid = %(oid)s
        AND EXISTS (SELECT FROM pg_constraint k WHERE k.contype = 'f' AND k.conindid = c.oid)
        AND NOT EXISTS (SELECT FROM pg_constraint k
                        WHERE k.contype IN ('p', 'u') AND k.conindid = c.oid)) found
CROSS JOIN unnest(found.numbers) WITH ORDINALITY AS u (number, place)
JOIN pg_attribute a ON a.attrelid = %(oid)s AND a.attnum = u.number
GROUP BY found.kind, found.name, found.oid ORDER BY found.name
"""

#: Columns with NULLs that a later constraint has let stand; before version 18 there are none.
_NULLS_STAND = """
SELECT a.attname::text FROM pg_constraint k
JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[1]
WHERE k.conrelid = %s AND k.contype = 'n' AND NOT k.convalidated
"""

#: Columns with values that another database does not get back from binary, and their type. Those of
#: regclass, regtype and so on are numbers of objects there; an empty tsquery is taken by no server.
_TEXT_ONLY = """
WITH RECURSIVE part (name, number, oid) AS (
    SELECT attname, attnum, atttypid FROM pg_attribute
    WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
    UNION
    SELECT part.name, part.number, inner_type.oid
    FROM part JOIN pg_type t ON t.oid = part.oid
    CROSS JOIN LATERAL (
        SELECT t.typbasetype AS oid UNION ALL SELECT t.typelem
        UNION ALL SELECT attribute.atttypid FROM pg_attribute attribute
                  WHERE attribute.attrelid = t.typrelid AND t.typrelid <> 0
                    AND attribute.attnum > 0 AND NOT attribute.attisdropped
    ) inner_type
    WHERE inner_type.oid <> 0
)
SELECT name::text, t.typname::text FROM part JOIN pg_type t ON t.oid = part.oid
WHERE t.typnamespace = 'pg_catalog'::regnamespace AND t.typname ~ '^reg|^tsquery$'
ORDER BY number, t.typname
"""


@frozen
class RelationName:
    """A relation, as far as it has to be known to lock it."""

    #: Schema it is in.
    schema: str
    #: Name.
    name: str
    #: OID.
    oid: int
    #: ``relkind`` of ``pg_class``.
    kind: str

    @property
    def lockable(self) -> bool:
        """LOCK TABLE takes it."""
        return self.kind in _LOCKABLE


@frozen
class Relation(RelationName):
    """A relation to be backed up."""

    #: Columns in physical order, without those the server computes.
    columns: tuple[TargetColumn, ...]
    #: Pages of its main file; 0 where a stretch of pages cannot be read by itself.
    pages: int
    #: Bytes with TOAST, without indexes; 0: nobody knows, it is a view or a foreign table.
    size_bytes: int
    #: Foreign keys over one column.
    foreign_keys: tuple[ForeignKey, ...] = ()
    #: Columns of the primary key.
    primary_key: tuple[str, ...] = ()
    #: Columns of each UNIQUE constraint.
    unique: tuple[tuple[str, ...], ...] = ()
    #: Indexes by name.
    indexes: tuple[TargetIndex, ...] = ()
    #: Other tables whose foreign keys refer to it.
    referenced_by: tuple[str, ...] = ()
    #: Other tables that inherit from it, a partitioned one's left out.
    inherited_by: tuple[str, ...] = ()
    #: Columns with values that another database does not get back from binary, and their type.
    text_only: tuple[tuple[str, str], ...] = ()
    #: Code of strangers that reading it would run.
    reading_code: tuple[AttachedCode, ...] = ()
    #: Code of strangers that emptying it would run, where that is asked for.
    truncate_code: tuple[AttachedCode, ...] = ()
    #: Where rows of it lie that the snapshot does not cover, one phrase each.
    elsewhere: tuple[str, ...] = ()


def find_relations(
    cur: _Cursor, schema: str, names: Sequence[str], emptied: str | None
) -> tuple[RelationName, ...]:
    """The relations of these names, in this order; all can be read, and one of them emptied.

    Raises:
        TargetMismatchError: One is not there, or is nothing that has rows, or is not for this role.
    """
    cur.execute(_FIND, [schema, list(names)])
    found = {row[0]: row[1:] for row in cur.fetchall()}
    relations = []
    for name in names:
        if name not in found:
            raise TargetMismatchError(
                f"schema {quoted(schema)} has no table {quoted(name)}",
                hint="name the schema it is in, or the tables there are",
            )
        oid, kind, readable, may_truncate, is_standby = found[name]
        if kind not in _READABLE:
            raise TargetMismatchError(f"{schema}.{name} is no table that rows can be read from")
        if not readable:
            raise TargetMismatchError(
                f"role lacks SELECT on {schema}.{name}",
                hint="a backup needs USAGE on the schema and SELECT on its tables",
            )
        if name == emptied and is_standby:
            raise TargetMismatchError(
                f"{schema}.{name} cannot be emptied: the server is a standby",
                hint="connect to the primary server",
            )
        if name == emptied and not may_truncate:
            raise TargetMismatchError(
                f"role lacks TRUNCATE on {schema}.{name}", hint="emptying it needs that"
            )
        relations.append(RelationName(schema, name, oid, kind))
    return tuple(relations)


def describe_relations(
    cur: _Cursor, facts: TargetFacts, names: Sequence[RelationName], emptied: str | None
) -> tuple[Relation, ...]:
    """What has to be known of locked relations. The session must be configured.

    Args:
        cur: In a transaction.
        facts: The server.
        names: The relations.
        emptied: The one that is to be emptied: what that would run is looked for.

    Raises:
        TargetMismatchError: Some rows of one would be hidden from the role, or it has no columns.
        TargetChangedError: One is not what it was a moment ago.
    """
    return tuple(_describe(cur, facts, name, emptied=emptied == name.name) for name in names)


def _describe(
    cur: _Cursor,
    facts: TargetFacts,
    name: RelationName,
    *,
    emptied: bool,
) -> Relation:
    full = f"{name.schema}.{name.name}"
    cur.execute(_DESCRIBE, [name.oid, name.schema, name.name])
    row = cur.fetchone()
    if row is None or row[0] != name.kind:
        raise TargetChangedError(f"{full} was replaced a moment ago", hint="back up again")
    _, is_heap, has_policies, populated, pages, size, referenced_by, inherited_by = row
    if has_policies:
        raise TargetMismatchError(
            f"policies of {full} hide rows from this role",
            hint="back up as a role that is exempt: the table's owner, or one with BYPASSRLS",
        )
    if not populated:
        raise TargetMismatchError(
            f"materialized view {full} has never been filled", hint="refresh it first"
        )
    columns, foreign_keys, indexes = describe_columns(cur, name.oid, facts.vector_schema)
    kept = tuple(column for column in columns if not column.generated)
    if not kept:
        raise TargetMismatchError(f"{full} has no columns that could be backed up")
    cur.execute(_NULLS_STAND, [name.oid])
    nulls = {row[0] for row in cur.fetchall()}
    kept = tuple(evolve(c, not_null=c.not_null and c.name not in nulls) for c in kept)
    cur.execute(_TEXT_ONLY, [name.oid])
    text_only = tuple(cur.fetchall())
    cur.execute(_KEYS, {"oid": name.oid})
    keys = [(kind, tuple(names)) for kind, names in cur.fetchall()]
    in_stretches = is_heap and facts.server_version >= _TID_RANGE_VERSION
    code = [one for one in find_attached_code(cur, name.oid) if one.strangers]
    reading = [one for one in code if one.untrusted_reading or (name.kind, one.kind) == _QUERY]
    return Relation(
        name.schema,
        name.name,
        name.oid,
        name.kind,
        columns=kept,
        pages=pages if in_stretches else 0,
        size_bytes=size,
        foreign_keys=foreign_keys,
        primary_key=next((names for kind, names in keys if kind == "p"), ()),
        unique=tuple(names for kind, names in keys if kind == "u"),
        indexes=indexes,
        referenced_by=tuple(referenced_by),
        inherited_by=tuple(inherited_by),
        text_only=text_only,
        reading_code=tuple(reading),
        truncate_code=tuple(one for one in code if emptied and "TRUNCATE" in one.events),
        elsewhere=find_elsewhere(cur, name.oid, reading=True),
    )
