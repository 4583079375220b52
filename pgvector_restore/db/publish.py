"""The last step of a swap: new tables take the place of the old ones, in one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from psycopg import sql

from pgvector_restore.db.blockers import find_blockers
from pgvector_restore.db.definition import TableDefinition, read_definition
from pgvector_restore.db.kept import Kept, keep, note_replaced
from pgvector_restore.db.marks import Origin
from pgvector_restore.db.moving import move_statistics, move_table, own_sequences
from pgvector_restore.db.statements import written
from pgvector_restore.errors import TargetChangedError
from pgvector_restore.failpoints import reach

__all__ = ["check_unchanged", "publish"]

_Cursor = psycopg.Cursor[Any]
_Definitions = Mapping[str, TableDefinition]


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


def publish(  # noqa: PLR0913 - what is exchanged, and what for
    cur: _Cursor,
    schema: str,
    names: Sequence[str],
    definitions: _Definitions,
    staging: str,
    origin: Origin,
    *,
    keep_previous: bool,
) -> Kept | None:
    """Exchange the tables. The old ones must be locked, the new ones complete.

    Args:
        cur: In the transaction that holds the locks.
        schema: Schema of the tables.
        names: All tables, parents first.
        definitions: Of those that exist.
        staging: Schema of the new ones.
        origin: The restore.
        keep_previous: Keep the old ones.

    Returns:
        What was kept, if anything was.

    Raises:
        TargetChangedError: The new tables would not be like the old ones.
    """
    old = list(definitions)
    _free_sequences(cur, definitions, staging)
    kept = None
    if keep_previous:
        kept = keep(cur, schema, definitions, staging, origin)
    elif old:
        note_replaced(cur, schema, old, origin)
        cur.execute(
            sql.SQL("DROP TABLE {}").format(
                sql.SQL(", ").join(sql.Identifier(schema, name) for name in old)
            )
        )
    reach("exchange.dropped", cur.connection)
    for name in names:
        move_table(cur, name, staging, schema)
    for definition in definitions.values():
        for home, name in definition.statistics:
            move_statistics(cur, name, staging, home)
    for definition in definitions.values():
        own_sequences(cur, definition)
    cur.execute(sql.SQL("DROP SCHEMA {}").format(sql.Identifier(staging)))
    reach("exchange.moved", cur.connection)
    for name, planned in definitions.items():
        if _read(cur, schema, name, staging, old) != planned:
            raise TargetChangedError(
                f"the new {schema}.{name} would not be defined like the old one",
                hint="use strategy in_place",
            )
    return kept


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
