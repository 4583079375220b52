"""Code that hangs on a table and runs with the rights of whoever loads rows into it.

The catalogs hold expressions as trees. A tree names every function and type in it by OID, those of
the server itself as well, which ``pg_depend`` leaves out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, get_args

import psycopg
from attrs import define, field, frozen

from pgvector_restore.target import AttachedCode, CodeKind

__all__ = ["find_attached_code", "insert_triggers"]

_Cursor = psycopg.Cursor[Any]

#: Built-in functions that have side effects or no fixed answer and run nothing of anybody's:
#: usual defaults, and the triggers the server brings.
_HARMLESS_VOLATILE = (
    "clock_timestamp",
    "currval",
    "gen_random_uuid",
    "lastval",
    "nextval",
    "random",
    "suppress_redundant_updates_trigger",
    "timeofday",
    "tsvector_update_trigger",
    "tsvector_update_trigger_column",
    "uuidv4",
    "uuidv7",
)
#: Built-in functions that do not call themselves volatile and still evaluate what a text names:
#: ``table_to_xml`` and its kin read a view, ``pg_input_is_valid`` runs a domain's checks.
_HARMFUL_STABLE = "to_xml|^pg_input_"
#: Extensions whose C functions run no SQL of their callers.
_KNOWN_EXTENSIONS = (
    "btree_gin",
    "btree_gist",
    "citext",
    "cube",
    "fuzzystrmatch",
    "hstore",
    "intarray",
    "isn",
    "ltree",
    "pg_trgm",
    "pgcrypto",
    "seg",
    "unaccent",
    "uuid-ossp",
    "vector",
)

#: OIDs in an expression's tree (``readfuncs.c``): functions, also behind operators; and types.
_FUNCTION = re.compile(r":(?:funcid|opfuncid|aggfnoid|winfnoid) (\d+)")
_TYPE = re.compile(r":\w*type(?:id)? (\d+)")

#: Kind, name, table, its owner, trees of expressions, function of a trigger, type of a column,
#: events. tgtype is a bit mask: 4 is INSERT, 32 is TRUNCATE (pg_trigger.h).
_CODE = """
WITH tree AS (
    SELECT %(oid)s::oid AS relid
    UNION SELECT relid::oid FROM pg_partition_tree(%(oid)s)
), found AS (
    SELECT 'trigger' AS kind, g.tgname AS name, g.tgrelid AS relid, g.tgqual::text AS tree,
           NULL::text AS tree2, g.tgfoid AS func, NULL::oid AS type,
           CASE WHEN g.tgenabled = 'A' OR g.tgenabled = CASE
                    current_setting('session_replication_role') WHEN 'replica' THEN 'R' ELSE 'O' END
                THEN array_remove(ARRAY[CASE WHEN g.tgtype & 4 <> 0 THEN 'INSERT' END,
                                        CASE WHEN g.tgtype & 32 <> 0 THEN 'TRUNCATE' END], NULL)
                ELSE '{}' END AS events
    FROM pg_trigger g JOIN tree ON tree.relid = g.tgrelid
    WHERE NOT g.tgisinternal AND g.tgparentid = 0 AND g.tgtype & 36 <> 0
    UNION ALL
    SELECT 'rule', r.rulename, r.ev_class, r.ev_action::text, r.ev_qual::text, NULL, NULL, '{}'
    FROM pg_rewrite r JOIN tree ON tree.relid = r.ev_class
    UNION ALL
    SELECT 'policy', p.polname, p.polrelid, p.polqual::text, p.polwithcheck::text, NULL, NULL, '{}'
    FROM pg_policy p JOIN tree ON tree.relid = p.polrelid
    UNION ALL
    SELECT 'check', k.conname, k.conrelid, k.conbin::text, NULL, NULL, NULL, '{}'
    FROM pg_constraint k JOIN tree ON tree.relid = k.conrelid
    WHERE k.contype = 'c' AND (k.conislocal OR k.conrelid = %(oid)s)
    UNION ALL
    SELECT CASE a.attgenerated WHEN '' THEN 'default' ELSE 'generated' END, a.attname, d.adrelid,
           d.adbin::text, NULL, NULL, NULL, '{}'
    FROM pg_attrdef d JOIN tree ON tree.relid = d.adrelid
    JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
    WHERE a.attgenerated <> '' OR d.adrelid = %(oid)s
    UNION ALL
    SELECT 'index', i.indexrelid::regclass::text, i.indrelid, i.indexprs::text, i.indpred::text,
           NULL, NULL, '{}'
    FROM pg_index i JOIN tree ON tree.relid = i.indrelid
    WHERE i.indexprs IS NOT NULL OR i.indpred IS NOT NULL
    UNION ALL
    SELECT 'partition key', c.relname, t.partrelid, t.partexprs::text, NULL, NULL, NULL, '{}'
    FROM pg_partitioned_table t JOIN pg_class c ON c.oid = t.partrelid
    WHERE t.partexprs IS NOT NULL AND t.partrelid IN (
        SELECT relid FROM tree UNION SELECT relid FROM pg_partition_ancestors(%(oid)s))
    UNION ALL
    SELECT 'domain', a.attname, a.attrelid, NULL, NULL, NULL, a.atttypid, '{}'
    FROM pg_attribute a
    WHERE a.attrelid = %(oid)s AND a.attnum > 0 AND NOT a.attisdropped AND a.atttypid >= 16384
)
SELECT f.kind, f.name, f.relid::regclass::text, c.relowner, f.tree, f.tree2, f.func, f.type,
       f.events
FROM found f JOIN pg_class c ON c.oid = f.relid
ORDER BY 1, 2, 3
"""

#: Domains that a type is made of, at any depth, with their owners and the trees of their checks
#: and defaults.
_DOMAINS = """
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
SELECT t.typowner, k.conbin::text, t.typdefaultbin::text
FROM part JOIN pg_type t ON t.oid = part.oid
LEFT JOIN pg_constraint k ON k.contypid = t.oid AND k.contype = 'c'
WHERE t.typtype = 'd' AND (k.oid IS NOT NULL OR t.typdefaultbin IS NOT NULL)
"""

_FUNCTIONS = """
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
_STRANGERS = """
SELECT o.oid, pg_get_userbyid(o.oid) FROM unnest(%s::oid[]) AS o (oid)
WHERE NOT (pg_has_role(o.oid, current_user, 'USAGE')
           OR pg_has_role(o.oid, current_user, 'MEMBER WITH ADMIN OPTION'))
"""


@frozen
class _Function:
    """A function that is not known to be harmless."""

    signature: str
    owner: int


@define
class _Found:
    """One piece of code before it is judged."""

    kind: CodeKind
    name: str
    table: str
    events: tuple[str, ...]
    owners: set[int] = field(factory=set)
    functions: set[int] = field(factory=set)


def find_attached_code(cur: _Cursor, oid: int) -> tuple[AttachedCode, ...]:
    """What hangs on a table and its partitions.

    Triggers, rules and policies always; expressions and domains where they call functions that
    are not known to be harmless.

    Args:
        cur: With an empty search path, so that names come qualified.
        oid: The table.
    """
    cur.execute(_CODE, {"oid": oid})
    found = []
    for kind, name, table, owner, tree, tree2, func, column_type, events in cur.fetchall():
        assert kind in get_args(CodeKind)  # noqa: S101 - the query's own words
        one = _Found(kind, name, table, tuple(events), {owner})
        one.functions = {func} if func else set()
        _follow(cur, one, [tree, tree2], {column_type} if column_type else set())
        found.append(one)
    if not found:
        return ()
    functions = _judge(cur, set().union(*(one.functions for one in found)))
    owners = set().union(*(one.owners for one in found), {f.owner for f in functions.values()})
    strangers = _strangers(cur, owners)
    return tuple(code for one in found if (code := _as_code(one, functions, strangers)) is not None)


def insert_triggers(code: Iterable[AttachedCode], table: str) -> tuple[str, ...]:
    """Names of the table's own enabled triggers that fire on INSERT."""
    return tuple(one.name for one in code if "INSERT" in one.events and one.table == table)


def _follow(cur: _Cursor, one: _Found, trees: list[str | None], types: set[int]) -> None:
    """Functions of the trees, and of the domains in them, to the last one."""
    seen: set[int] = set()
    while trees or types:
        for tree in filter(None, trees):
            one.functions |= {int(number) for number in _FUNCTION.findall(tree)}
            # Types of the server itself are made of nothing that anybody could have written.
            types |= {number for text in _TYPE.findall(tree) if (number := int(text)) >= _FIRST_OID}
        types -= seen
        trees = []
        if types:
            cur.execute(_DOMAINS, [list(types)])
            for owner, check, default in cur.fetchall():
                one.owners.add(owner)
                trees += [check, default]
        seen |= types
        types = set()


#: Objects from here on were made by users (``FirstNormalObjectId``).
_FIRST_OID = 16384


def _judge(cur: _Cursor, oids: set[int]) -> dict[int, _Function]:
    cur.execute(
        _FUNCTIONS,
        {
            "oids": list(oids),
            "harmful": _HARMFUL_STABLE,
            "volatile": list(_HARMLESS_VOLATILE),
            "extensions": list(_KNOWN_EXTENSIONS),
        },
    )
    return {
        oid: _Function(signature, owner)
        for oid, signature, owner, harmless in cur.fetchall()
        if not harmless
    }


def _strangers(cur: _Cursor, owners: set[int]) -> dict[int, str]:
    cur.execute(_STRANGERS, [list(owners)])
    return dict(cur.fetchall())


def _as_code(
    one: _Found, functions: dict[int, _Function], strangers: dict[int, str]
) -> AttachedCode | None:
    called = [functions[oid] for oid in one.functions if oid in functions]
    if not called and one.kind not in ("trigger", "rule", "policy"):
        return None
    owners = (one.owners | {f.owner for f in called}) if called else set()
    return AttachedCode(
        one.kind,
        one.name,
        one.table,
        tuple(sorted(f.signature for f in called)),
        tuple(sorted(strangers[owner] for owner in owners if owner in strangers)),
        one.events,
    )
