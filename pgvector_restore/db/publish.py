"""The last step of a swap: new tables take the place of the old ones, in one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from psycopg import sql

from pgvector_restore.db.blockers import find_blockers
from pgvector_restore.db.definition import TableDefinition, read_definition
from pgvector_restore.db.statements import written
from pgvector_restore.errors import TargetChangedError, TargetMismatchError
from pgvector_restore.failpoints import reach

__all__ = ["check_unchanged", "previous_schema", "publish", "revert"]

_Cursor = psycopg.Cursor[Any]
_Definitions = Mapping[str, TableDefinition]

#: What is appended to a schema's name for its previous tables.
_PREVIOUS = "_previous"
_MAX_IDENTIFIER_BYTES = 63


def previous_schema(schema: str) -> str:
    """Where the previous tables of a schema are kept."""
    room = _MAX_IDENTIFIER_BYTES - len(_PREVIOUS)
    return schema.encode()[:room].decode(errors="ignore") + _PREVIOUS


def check_unchanged(cur: _Cursor, definitions: _Definitions, staging: str) -> None:
    """The targets are still like the definitions, and nothing has come to depend on them.

    Raises:
        TargetChangedError: One is not.
    """
    for name, planned in definitions.items():
        now = _read(cur, planned.schema, name, staging, list(definitions))
        blockers = find_blockers(cur, *_oids(cur, planned.schema, name, list(definitions)))
        if now != planned or blockers:
            why = f": {blockers[0]}" if blockers else ""
            raise TargetChangedError(
                f"{planned.schema}.{name} has changed since the restore began{why}",
                hint="restore again",
            )


def publish(
    cur: _Cursor,
    schema: str,
    names: Sequence[str],
    definitions: _Definitions,
    staging: str,
    *,
    keep_previous: bool,
) -> None:
    """Exchange the tables. The old ones must be locked, the new ones complete.

    Args:
        cur: In the transaction that holds the locks.
        schema: Schema of the tables.
        names: All tables, parents first.
        definitions: Of those that exist.
        staging: Schema of the new ones.
        keep_previous: Keep the old ones in :func:`previous_schema`.

    Raises:
        TargetChangedError: The new tables would not be like the old ones.
    """
    old = list(definitions)
    _free_sequences(cur, definitions, staging)
    if keep_previous:
        _keep(cur, schema, definitions)
    elif old:
        cur.execute(
            sql.SQL("DROP TABLE {}").format(
                sql.SQL(", ").join(sql.Identifier(schema, name) for name in old)
            )
        )
    reach("exchange.dropped", cur.connection)
    for name in names:
        _move_table(cur, name, staging, schema)
    for definition in definitions.values():
        for home, name in definition.statistics:
            _move_statistics(cur, name, staging, home)
    for definition in definitions.values():
        _own_sequences(cur, definition)
    cur.execute(sql.SQL("DROP SCHEMA {}").format(sql.Identifier(staging)))
    reach("exchange.moved", cur.connection)
    for name, planned in definitions.items():
        if _read(cur, schema, name, staging, old) != planned:
            raise TargetChangedError(
                f"the new {schema}.{name} would not be defined like the old one",
                hint="use strategy in_place",
            )


def _read(cur: _Cursor, schema: str, name: str, home: str, among: Sequence[str]) -> TableDefinition:
    return read_definition(cur, schema, name, home, among)


def _oids(cur: _Cursor, schema: str, name: str, among: Sequence[str]) -> tuple[int, list[int]]:
    cur.execute(
        """
        SELECT c.relname, c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = %s AND c.relname = ANY (%s)
        """,
        [schema, [name, *among]],
    )
    found = dict(cur.fetchall())
    return found[name], list(found.values())


def _free_sequences(cur: _Cursor, definitions: _Definitions, staging: str) -> None:
    """Serial sequences outlive the old table; identity sequences hand over where they are."""
    for definition in definitions.values():
        for _, sequence in definition.serials:
            cur.execute(written(f"ALTER SEQUENCE {sequence} OWNED BY NONE"))
        for _, name, *_ in definition.identities:
            cur.execute(
                sql.SQL("SELECT setval({}::regclass, last_value, is_called) FROM {}").format(
                    sql.Literal(sql.Identifier(staging, name).as_string(cur)),
                    sql.Identifier(definition.schema, name),
                )
            )


def _own_sequences(cur: _Cursor, definition: TableDefinition) -> None:
    for column, sequence in definition.serials:
        cur.execute(
            sql.SQL("ALTER SEQUENCE {} OWNED BY {}").format(
                written(sequence), sql.Identifier(definition.schema, definition.name, column)
            )
        )


def _move_table(cur: _Cursor, name: str, source: str, goal: str) -> None:
    cur.execute(
        sql.SQL("ALTER TABLE {} SET SCHEMA {}").format(
            sql.Identifier(source, name), sql.Identifier(goal)
        )
    )


def _move_statistics(cur: _Cursor, name: str, source: str, goal: str) -> None:
    if source != goal:
        cur.execute(
            sql.SQL("ALTER STATISTICS {} SET SCHEMA {}").format(
                sql.Identifier(source, name), sql.Identifier(goal)
            )
        )


def _keep(cur: _Cursor, schema: str, definitions: _Definitions) -> None:
    """Move the old tables aside, in place of those that were kept before."""
    kept = previous_schema(schema)
    cur.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(kept)))
    cur.execute(
        sql.SQL("DROP TABLE IF EXISTS {}").format(
            sql.SQL(", ").join(sql.Identifier(kept, name) for name in definitions)
        )
    )
    for name, definition in definitions.items():
        for home, statistics in definition.statistics:
            _move_statistics(cur, statistics, home, kept)
        _move_table(cur, name, schema, kept)


def revert(cur: _Cursor, schema: str, names: Sequence[str], passage: str) -> None:
    """Exchange the tables for those that were kept. They must be locked.

    Args:
        cur: In the transaction that holds the locks.
        schema: Schema of the tables.
        names: The tables.
        passage: Name of a schema that does not exist, used on the way.

    Raises:
        TargetMismatchError: Something has come to depend on one of them.
    """
    kept = previous_schema(schema)
    now = {name: _read(cur, schema, name, schema, names) for name in names}
    then = {name: _read(cur, kept, name, kept, names) for name in names}
    for name in names:
        blockers = find_blockers(cur, *_oids(cur, schema, name, names))
        if blockers:
            raise TargetMismatchError(
                f"{schema}.{name} cannot be exchanged: {blockers[0]}",
            )
    for definition in now.values():
        for _, sequence in definition.serials:
            cur.execute(written(f"ALTER SEQUENCE {sequence} OWNED BY NONE"))
    cur.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(passage)))
    for definitions, source, goal in (
        (now, schema, passage),
        (then, kept, schema),
        (now, passage, kept),
    ):
        for name, definition in definitions.items():
            for _, statistics in definition.statistics:
                _move_statistics(cur, statistics, source, goal)
            _move_table(cur, name, source, goal)
    cur.execute(sql.SQL("DROP SCHEMA {}").format(sql.Identifier(passage)))
    for definition in now.values():
        _own_sequences(cur, definition)
