"""What the target looks like, read from the system catalogs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from attrs import evolve, frozen
from psycopg import sql

from pgvector_restore.db.attached import find_attached_code, insert_triggers
from pgvector_restore.db.blockers import find_blockers
from pgvector_restore.db.columns import find_columns
from pgvector_restore.db.elsewhere import find_elsewhere
from pgvector_restore.db.labels import find_providers
from pgvector_restore.db.privileges import find_privileges
from pgvector_restore.db.replication import (
    find_publications,
    find_subscriptions,
    publications_of_new_tables,
)
from pgvector_restore.db.server import server_facts
from pgvector_restore.db.session import close_search_path, lift_limits
from pgvector_restore.db.statements import qualified
from pgvector_restore.errors import TargetChangedError, TargetMismatchError, quoted
from pgvector_restore.target import (
    ForeignKey,
    TargetColumn,
    TargetFacts,
    TargetIndex,
    TargetTable,
)

__all__ = [
    "analyze",
    "check_same",
    "count_rows",
    "describe_columns",
    "find_schema",
    "inspect_target",
    "table_oid",
]

_Cursor = psycopg.Cursor[Any]

#: Tables that COPY can load and TRUNCATE can empty: plain and partitioned ones.
_PLAIN, _PARTITIONED = "r", "p"


def find_schema(cur: _Cursor, wanted: str | None, tables: Sequence[str]) -> str:
    """The schema of the tables. Reads the session's own search path, then closes it.

    Without a wanted one: the first of the search path that has one of the tables, else the one
    in which a new table would be created.

    Raises:
        TargetMismatchError: It does not exist, or the search path names none that does.
    """
    lift_limits(cur)
    # In a database of SQL_ASCII names would come as bytes.
    cur.execute("SET LOCAL client_encoding = 'UTF8'")
    # Everything qualified up to here: the path may lead to functions of anybody.
    cur.execute("SELECT pg_catalog.current_schemas(false), pg_catalog.current_schema()")
    path, first = cur.fetchone() or ([], None)
    close_search_path(cur)
    if wanted is not None:
        cur.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", [wanted])
        if cur.fetchone() is None:
            raise TargetMismatchError(
                f"schema {quoted(wanted)} does not exist", hint="create it, or name another one"
            )
        return wanted
    cur.execute(
        """
        SELECT s.name FROM unnest(%s::text[]) WITH ORDINALITY AS s (name, place)
        JOIN pg_namespace n ON n.nspname = s.name
        JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = ANY (%s)
        ORDER BY s.place LIMIT 1
        """,
        [path, list(tables)],
    )
    row = cur.fetchone()
    found = row[0] if row is not None else first
    if found is None:
        raise TargetMismatchError(
            "no schema of the search path exists, or may be used", hint="name the schema"
        )
    return str(found)


def inspect_target(
    cur: _Cursor,
    schema: str,
    names: Sequence[str],
    *,
    trusting: bool = False,
    everywhere: bool = False,
) -> TargetFacts:
    """The facts a plan is made from. The session must be configured.

    Args:
        cur: In a transaction.
        schema: Schema of the tables.
        names: The tables.
        trusting: Count rows even if that may run code somebody has written.
        everywhere: Count rows that lie on other servers as well.
    """
    facts = server_facts(cur, schema, names)
    found = _find_tables(cur, schema, names)
    oids = [oid for oid, *_ in found.values()]
    return evolve(
        facts,
        publications=publications_of_new_tables(cur, schema),
        tables=tuple(
            _table(cur, facts, name, relation, oids, _Counted(trusting, everywhere))
            for name, relation in found.items()
        ),
    )


@frozen
class _Counted:
    """Which tables' rows are counted beside those that are safe to count and here."""

    trusting: bool
    everywhere: bool


def _table(
    cur: _Cursor,
    facts: TargetFacts,
    name: str,
    relation: tuple[int, str, bool],
    oids: list[int],
    counted: _Counted,
) -> TargetTable:
    oid, kind, unlogged = relation
    code = find_attached_code(cur, oid)
    privileges = find_privileges(cur, oid)
    readable = facts.may_use_schema and "SELECT" not in privileges.get("lacking", ())
    readable &= counted.trusting or not any(one.untrusted_reading for one in code)
    elsewhere = find_elsewhere(cur, oid)
    readable &= counted.everywhere or not elsewhere
    return TargetTable(
        schema=facts.schema,
        name=name,
        oid=oid,
        columns=find_columns(cur, oid, facts.vector_schema),
        rows=count_rows(cur, facts.schema, name) if readable else None,
        foreign_keys=_foreign_keys(cur, oid),
        referenced_by=_referenced_by(cur, oid, oids),
        inherited_by=() if kind == _PARTITIONED else _inherited_by(cur, oid),
        partitioned=kind == _PARTITIONED,
        unlogged=unlogged,
        indexes=_indexes(cur, oid),
        swap_blockers=find_blockers(cur, oid, oids),
        elsewhere=elsewhere,
        publications=find_publications(cur, oid),
        subscriptions=find_subscriptions(cur, oid),
        label_providers=find_providers(cur, oid),
        insert_triggers=insert_triggers(code, qualified(cur, facts.schema, name)),
        attached_code=code,
        **privileges,
    )


def describe_columns(
    cur: _Cursor, oid: int, vector_schema: str | None
) -> tuple[tuple[TargetColumn, ...], tuple[ForeignKey, ...], tuple[TargetIndex, ...]]:
    """Columns, foreign keys that all rows keep, and indexes of a relation of any kind."""
    keys = _foreign_keys(cur, oid, kept=True)
    return find_columns(cur, oid, vector_schema), keys, _indexes(cur, oid)


def check_same(cur: _Cursor, facts: TargetFacts, names: Sequence[str]) -> None:
    """The tables are still those the plan was made for; rows may have come and gone.

    Raises:
        TargetChangedError: One of them is not.
    """
    now = inspect_target(cur, facts.schema, facts.asked)
    for name in names:
        if _without_rows(now.table(name)) != _without_rows(facts.table(name)):
            raise TargetChangedError(
                f"{facts.schema}.{name} has changed since the plan was made", hint="plan again"
            )


def _without_rows(table: TargetTable | None) -> TargetTable | None:
    return (
        evolve(table, rows=None, size_bytes=None, total_bytes=None) if table is not None else None
    )


def analyze(cur: _Cursor, table: TargetTable) -> None:
    """Fresh statistics for the planner, where the role may make them and nobody is in the way."""
    if table.owned:
        cur.execute(
            sql.SQL("ANALYZE (SKIP_LOCKED) {}").format(sql.Identifier(table.schema, table.name))
        )


def count_rows(cur: _Cursor, schema: str, table: str) -> int:
    """Exact number of rows the transaction sees."""
    cur.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(schema, table)))
    row = cur.fetchone()
    return int(row[0]) if row else 0


def table_oid(cur: _Cursor, schema: str, table: str) -> int:
    """OID of a table that is there."""
    cur.execute("SELECT %s::regclass::oid::int8", [sql.Identifier(schema, table).as_string(cur)])
    row = cur.fetchone()
    return int(row[0]) if row else 0


def _find_tables(
    cur: _Cursor, schema: str, names: Sequence[str]
) -> dict[str, tuple[int, str, bool]]:
    """OID, kind and whether it is unlogged, by name."""
    cur.execute(
        """
        SELECT c.relname, c.oid, c.relkind::text, c.relpersistence = 'u' FROM pg_class c
        JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = %s AND c.relname = ANY (%s)
        """,
        [schema, list(names)],
    )
    found = {row[0]: row[1:] for row in cur.fetchall()}
    for name, (_, kind, _) in found.items():
        if kind not in (_PLAIN, _PARTITIONED):
            raise TargetMismatchError(
                f"{schema}.{name} is no table that rows can be loaded into",
                hint="it is a view, a foreign table or another relation of that name",
            )
    return {name: found[name] for name in names if name in found}


def _foreign_keys(cur: _Cursor, oid: int, *, kept: bool = False) -> tuple[ForeignKey, ...]:
    """All, or only those that all rows keep."""
    # Before version 18 no column says whether the server checks a key: it checks all.
    cur.execute(
        """
        SELECT a.attname, n.nspname, c.relname, f.attname,
               coalesce((to_jsonb(k) ->> 'conenforced')::bool, true)
        FROM pg_constraint k
        JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[1]
        JOIN pg_class c ON c.oid = k.confrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_attribute f ON f.attrelid = k.confrelid AND f.attnum = k.confkey[1]
        WHERE k.contype = 'f' AND k.conrelid = %s AND cardinality(k.conkey) = 1
          AND (k.convalidated OR NOT %s)
        ORDER BY a.attname, k.oid
        """,
        [oid, kept],
    )
    return tuple(ForeignKey(*row) for row in cur.fetchall())


def _indexes(cur: _Cursor, oid: int) -> tuple[TargetIndex, ...]:
    cur.execute(
        """
        SELECT c.relname, pg_get_indexdef(i.indexrelid), a.amname,
               i.indisunique OR i.indisprimary OR i.indisexclusion, i.indisvalid AND i.indisready
        FROM pg_index i
        JOIN pg_class c ON c.oid = i.indexrelid
        JOIN pg_am a ON a.oid = c.relam
        WHERE i.indrelid = %s ORDER BY c.relname
        """,
        [oid],
    )
    return tuple(TargetIndex(*row) for row in cur.fetchall())


def _inherited_by(cur: _Cursor, oid: int) -> tuple[str, ...]:
    cur.execute(
        """
        SELECT n.nspname || '.' || c.relname FROM pg_inherits i
        JOIN pg_class c ON c.oid = i.inhrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE i.inhparent = %s ORDER BY 1
        """,
        [oid],
    )
    return tuple(row[0] for row in cur.fetchall())


def _referenced_by(cur: _Cursor, oid: int, among: list[int]) -> tuple[str, ...]:
    cur.execute(
        """
        SELECT DISTINCT n.nspname || '.' || c.relname FROM pg_constraint k
        JOIN pg_class c ON c.oid = k.conrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE k.contype = 'f' AND k.confrelid = %(oid)s AND NOT k.conrelid = ANY (%(among)s)
          AND NOT EXISTS (SELECT FROM pg_partition_ancestors(k.conrelid) a
                          WHERE a.relid = ANY (%(among)s))
        ORDER BY 1
        """,
        {"oid": oid, "among": among},
    )
    return tuple(row[0] for row in cur.fetchall())
