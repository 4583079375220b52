"""Two tables that are to take each other's place: what differs, and who may do what with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
from attrs import frozen
from psycopg import sql

from pgvector_restore.db import access_catalog, catalog
from pgvector_restore.db.definition import TableDefinition, read_definition
from pgvector_restore.db.moving import Ties, find_ties
from pgvector_restore.db.statements import qualified, run_all

__all__ = ["Likeness", "carry_access", "carry_policies", "read_likeness", "refusals", "told"]

_Cursor = psycopg.Cursor[Any]
_Statements = tuple[str, ...]

#: Parts that change how fast a table is or what is said of it, and neither its rows nor who may
#: see them. Indexes that are not unique are added to these.
_LIGHT = (
    catalog.COLUMN_OPTIONS,
    catalog.OPTIONS,
    catalog.INDEX_OPTIONS,
    catalog.INDEX_STATISTICS,
    catalog.STATISTICS,
    catalog.COMMENTS,
)
#: Row security, which belongs to who may do what.
_FLAGS = """
SELECT format('ALTER TABLE %%s %%s ROW LEVEL SECURITY', %(there)s::text,
              CASE WHEN relrowsecurity THEN 'ENABLE' ELSE 'DISABLE' END)
FROM pg_class WHERE oid = %(oid)s
UNION ALL
SELECT format('ALTER TABLE %%s %%s ROW LEVEL SECURITY', %(there)s::text,
              CASE WHEN relforcerowsecurity THEN 'FORCE' ELSE 'NO FORCE' END)
FROM pg_class WHERE oid = %(oid)s
"""
#: Of identity sequences too where they have only what their owner has by default.
_SEQUENCE_GRANTS = access_catalog.SEQUENCE_GRANTS.replace(
    "aclexplode(s.relacl)", "aclexplode(coalesce(s.relacl, acldefault('s', s.relowner)))"
)
_POLICY_COMMENTS = """
SELECT format('COMMENT ON POLICY %%I ON %%s IS %%L', p.polname, %(there)s::text, d.description)
FROM pg_policy p
JOIN pg_description d ON d.classoid = 'pg_policy'::regclass AND d.objoid = p.oid
WHERE p.polrelid = %(oid)s ORDER BY p.polname
"""

#: Place of a default among what is read of a column.
_DEFAULT = 8


@frozen
class Likeness:
    """What a table is like, told as that of a table in the schema where it is to be used."""

    #: Schema it is in, and its name.
    schema: str
    name: str
    #: Its OID.
    oid: int
    #: All of it.
    definition: TableDefinition
    #: What ties it to others.
    ties: Ties
    #: What must be the same: columns, keys, checks, triggers, identities.
    firm: frozenset[object]
    #: What may differ, and is told.
    light: frozenset[str]
    #: Row security flags, policies and their comments.
    policies: _Statements
    #: Owner and grants.
    privileges: _Statements


def read_likeness(
    cur: _Cursor, schema: str, name: str, home: str, among: Sequence[str]
) -> Likeness:
    """Read what a table is like. The search path must be empty.

    Args:
        cur: In a transaction.
        schema: Schema that the table is in.
        name: Its name.
        home: Schema that it is to be used in.
        among: Tables of its schema that go with it.
    """
    definition = read_definition(cur, schema, name, home, among)
    here, there = qualified(cur, schema, name), qualified(cur, home, name)
    cur.execute("SELECT %s::regclass::oid::int8", [here])
    oid = int((cur.fetchone() or (0,))[0])
    values = {"oid": oid, "here": here, "there": there, "home": home, "schema": schema}

    def statements(*texts: str) -> _Statements:
        return tuple(str(row[0]) for text in texts for row in cur.execute(text, values).fetchall())

    privileges = _privileges(cur, oid, there, home)
    policies = statements(_FLAGS, access_catalog.POLICIES, _POLICY_COMMENTS)
    ties = find_ties(cur, schema, name, among, definition)
    light = set(statements(*_LIGHT)) - {*policies, *ties.make_keys}
    firm: set[object] = {*definition.before_load, *definition.after_load}
    firm -= {*policies, *ties.make_keys, *light}
    for index in definition.indexes:
        if index.statement.startswith("CREATE INDEX "):
            light.add(index.statement)
        else:
            firm.add(index.statement)
    columns = (_without_default(one, ties.columns) for one in definition.columns)
    firm |= {
        ("columns", *columns),
        ("identities", *definition.identities),
        definition.persistence or "LOGGED",
    }
    return Likeness(
        schema,
        name,
        oid,
        definition,
        ties,
        firm=frozenset(firm),
        light=frozenset(light),
        policies=policies,
        privileges=privileges,
    )


def _privileges(cur: _Cursor, oid: int, there: str, home: str) -> _Statements:
    values = {"oid": oid, "there": there, "home": home}
    texts = (access_catalog.OWNER, access_catalog.GRANTS, _SEQUENCE_GRANTS)
    return tuple(str(row[0]) for text in texts for row in cur.execute(text, values).fetchall())


def _without_default(column: tuple[Any, ...], tied: Sequence[str]) -> tuple[Any, ...]:
    if column[0] not in tied or len(column) <= _DEFAULT:
        return column
    return (*column[:_DEFAULT], None, *column[_DEFAULT + 1 :])


def refusals(now: Likeness, then: Likeness) -> Iterator[str]:
    """How a kept table differs from the present one in what must be the same."""
    for key in then.ties.keys:
        yield f"it has a foreign key {key}"
    for phrase, parts in (("has", then.firm - now.firm), ("lacks", now.firm - then.firm)):
        for part in sorted(map(_phrase, parts)):
            yield f"it {phrase} {part}"


def told(now: Likeness, then: Likeness) -> Iterator[str]:
    """How it differs in what may."""
    table = f"{now.schema}.{now.name}"
    for part in sorted(then.light - now.light):
        yield f"{table} has again: {part}"
    for part in sorted(now.light - then.light):
        yield f"{table} has no more: {part}"


def _phrase(part: object) -> str:
    return f"other {part[0]}" if isinstance(part, tuple) else str(part)


def carry_access(cur: _Cursor, now: Likeness, then: Likeness, place: str) -> None:
    """Give a table the present owner and privileges, where they differ from its own.

    Args:
        cur: In the transaction of the exchange.
        now: The present table, where it is still.
        then: The kept one, as it was read.
        place: Schema that the kept one is in meanwhile, where its owner may be changed.
    """
    if then.privileges == now.privileges:
        return
    wanted = _privileges(cur, now.oid, qualified(cur, place, now.name), place)
    name = sql.Identifier(place, now.name)
    _revoke_all(cur, sql.SQL("TABLE"), name)
    for _, sequence, *_ in then.definition.identities:
        _revoke_all(cur, sql.SQL("SEQUENCE"), sql.Identifier(place, sequence))
    owner = sql.SQL(wanted[0].rpartition(" OWNER TO ")[2])
    cur.execute(
        sql.SQL("GRANT USAGE, CREATE ON SCHEMA {} TO {}").format(sql.Identifier(place), owner)
    )
    run_all(cur, wanted)


def _revoke_all(cur: _Cursor, kind: sql.SQL, name: sql.Identifier) -> None:
    cur.execute(
        """
        SELECT DISTINCT CASE x.grantee WHEN 0 THEN 'PUBLIC'
                        ELSE quote_ident(pg_get_userbyid(x.grantee)) END
        FROM (SELECT (aclexplode(coalesce(c.relacl, acldefault(
                  CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner)))).grantee
              FROM pg_class c WHERE c.oid = %(name)s::regclass
              UNION ALL
              SELECT (aclexplode(a.attacl)).grantee FROM pg_attribute a
              WHERE a.attrelid = %(name)s::regclass AND NOT a.attisdropped) x
        """,
        {"name": name.as_string(cur)},
    )
    for (grantee,) in cur.fetchall():
        cur.execute(
            sql.SQL("REVOKE ALL ON {} {} FROM {} CASCADE").format(kind, name, sql.SQL(grantee))
        )


def carry_policies(cur: _Cursor, now: Likeness, then: Likeness) -> None:
    """Give a table, which is in its place, the present policies and row security."""
    if then.policies == now.policies:
        return
    name = sql.Identifier(now.schema, now.name)
    cur.execute(
        "SELECT polname FROM pg_policy WHERE polrelid = %s::regclass", [name.as_string(cur)]
    )
    for (policy,) in cur.fetchall():
        cur.execute(sql.SQL("DROP POLICY {} ON {}").format(sql.Identifier(policy), name))
    run_all(cur, now.policies)
