"""Code that hangs on a table and runs with the rights of whoever loads rows into it.

The catalogs hold expressions as trees. A tree names every function and type in it by OID, those of
the server itself as well, which ``pg_depend`` leaves out. Looking must run nothing: only catalogs
are read here, never the table, for whose indexes the planner evaluates what their owner wrote.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, get_args

import psycopg
from attrs import define, field, frozen

from pgvector_restore.db.attached_catalog import (
    CODE,
    EVENT_TRIGGERS,
    FUNCTIONS,
    OPERATORS,
    STRANGERS,
    SUPPORT,
    TYPES,
)
from pgvector_restore.target import AttachedCode, CodeKind

__all__ = ["find_attached_code", "find_event_triggers", "insert_triggers"]

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

#: OIDs in an expression's tree (``readfuncs.c``): built-in functions, also behind operators.
_BUILT_IN = re.compile(r":(?:funcid|opfuncid|aggfnoid|winfnoid) (\d+)")
#: Any number that may be the OID of something users made. Kinds of nodes differ in how they call
#: functions, operators and types, and every version has new ones; a number that is none does no
#: harm. Type modifiers and lengths can be as large.
_USERS = re.compile(
    r":(?!(?i:\w*typ(?:e)?mods?|constlen|constvalue|location|stmt_\w+) )\w+ (?:\([io] )?([\d ]+)"
)
#: Objects from here on were made by users (``FirstNormalObjectId``).
_FIRST_OID = 16384


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
    cur.execute(CODE, {"oid": oid})
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


def find_event_triggers(cur: _Cursor) -> tuple[AttachedCode, ...]:
    """Event triggers of the database whose function a role has written that is no superuser."""
    cur.execute(EVENT_TRIGGERS)
    found = cur.fetchall()
    strangers = _strangers(cur, {owner for _, _, owners in found for owner in owners})
    return tuple(
        AttachedCode(
            "event trigger",
            name,
            "the database",
            (function,),
            tuple(sorted({strangers[owner] for owner in owners if owner in strangers})),
        )
        for name, function, owners in found
    )


def _follow(cur: _Cursor, one: _Found, trees: list[str | None], types: set[int]) -> None:
    """Functions of the trees, and of the types in them, to the last one."""
    seen: set[int] = set()
    operators: set[int] = set()
    while trees or types:
        for tree in filter(None, trees):
            users = _users_oids(tree)
            one.functions |= {int(number) for number in _BUILT_IN.findall(tree)} | users
            operators |= users
            # Types of the server itself are made of nothing that anybody could have written.
            types |= users
        types -= seen
        trees = []
        if types:
            cur.execute(SUPPORT, [list(types)])
            one.functions |= {oid for (oid,) in cur.fetchall()}
            cur.execute(TYPES, [list(types)])
            for owner, check, default in cur.fetchall():
                one.owners.add(owner)
                trees += [check, default]
        seen |= types
        types = set()
    if operators:
        cur.execute(OPERATORS, [list(operators)])
        one.functions |= {oid for (oid,) in cur.fetchall()}


def _users_oids(tree: str) -> set[int]:
    return {
        number
        for numbers in _USERS.findall(tree)
        for text in numbers.split()
        if (number := int(text)) >= _FIRST_OID
    }


def _judge(cur: _Cursor, oids: set[int]) -> dict[int, _Function]:
    cur.execute(
        FUNCTIONS,
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
    cur.execute(STRANGERS, [list(owners)])
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
