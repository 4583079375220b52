"""Tables that a swap keeps: set aside, listed, dropped. Putting them back is in ``revert``."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import psycopg
from attrs import evolve, frozen
from psycopg import sql
from psycopg.rows import tuple_row

from pgvector_restore.cancel import CancelToken
from pgvector_restore.db.attached import find_attached_code
from pgvector_restore.db.blockers import find_blockers
from pgvector_restore.db.claims import claimed
from pgvector_restore.db.definition import TableDefinition
from pgvector_restore.db.exclusive import exclusively
from pgvector_restore.db.interrupt import interruptible
from pgvector_restore.db.marks import Generation, KeptTable, Origin, read_generations, write_mark
from pgvector_restore.db.moving import (
    cut_ties,
    find_ties,
    move_statistics,
    move_table,
)
from pgvector_restore.db.outcome import Evidence, Reconnect, note, resolve
from pgvector_restore.db.session import begin_reading, configure_session
from pgvector_restore.errors import TargetChangedError, TargetMismatchError, quoted
from pgvector_restore.failpoints import reach
from pgvector_restore.previous import PreviousTable, PreviousTables

__all__ = [
    "Kept",
    "dependents",
    "drop_previous",
    "keep",
    "list_previous",
    "note_replaced",
    "schema_oid",
]

_log = logging.getLogger(__name__)
_Cursor = psycopg.Cursor[Any]
_Definitions = Mapping[str, TableDefinition]

#: What is appended to a schema's name for the tables that are kept of it.
_PREVIOUS = "_previous"
_MAX_IDENTIFIER_BYTES = 63
#: What a name lacks that cannot be had as it is.
_TOKEN_BYTES = 4

#: Publications of a table or of its whole schema.
_PUBLICATIONS = """
SELECT 'publication ' || quote_ident(p.pubname) || ' publishes it' FROM pg_publication p
WHERE p.oid IN (SELECT r.prpubid FROM pg_publication_rel r WHERE r.prrelid = %(oid)s)
   OR p.oid IN (SELECT (to_jsonb(s) ->> 'pnpubid')::oid FROM {} s
                WHERE (to_jsonb(s) ->> 'pnnspid')::oid =
                      (SELECT relnamespace FROM pg_class WHERE oid = %(oid)s))
ORDER BY 1
"""

#: What one may meet on the way to kept tables that others use, or have done something to.
_IN_USE = (
    psycopg.errors.LockNotAvailable,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.DependentObjectsStillExist,
    psycopg.errors.InsufficientPrivilege,
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedObject,
    psycopg.errors.InvalidSchemaName,
    psycopg.errors.ObjectNotInPrerequisiteState,
    psycopg.errors.InternalError_,  # of two that change one row of a catalog, one ends so
)


@frozen
class Kept:
    """What an exchange has kept."""

    #: Schema they are in now.
    place: str
    #: Names of the tables.
    tables: tuple[str, ...]
    #: What is worth knowing, one line each.
    warnings: tuple[str, ...]


class _InUseError(Exception):
    """Something depends on a kept table."""


def keep(
    cur: _Cursor, schema: str, definitions: _Definitions, staging: str, origin: Origin
) -> Kept | None:
    """Move tables aside, in place of those that were kept of them before.

    Args:
        cur: In the transaction that holds their locks.
        schema: Schema of the tables.
        definitions: The tables. Their serial sequences have no owner any more.
        staging: Schema of those that take their place.
        origin: The restore.

    Returns:
        What was kept; ``None``: there was nothing.
    """
    if not definitions:
        return None
    warnings, left = _make_room(cur, schema, list(definitions), origin)
    place = _create_place(cur, schema)
    tables = tuple(
        KeptTable(name, _oid(cur, schema, name), _oid(cur, staging, name)) for name in definitions
    )
    ties = {
        name: find_ties(cur, schema, name, list(definitions), definition)
        for name, definition in definitions.items()
    }
    for name, definition in definitions.items():
        cut_ties(cur, schema, name, ties[name])
        for home, statistics in definition.statistics:
            move_statistics(cur, statistics, home, place)
        move_table(cur, name, schema, place)
    cur.execute("SELECT clock_timestamp()")
    row = cur.fetchone()
    assert row is not None  # noqa: S101 - a SELECT without FROM has one row
    write_mark(
        cur,
        Generation(
            origin,
            place=place,
            place_oid=schema_oid(cur, place),
            schema=schema,
            schema_oid=schema_oid(cur, schema),
            kept_at=row[0],
            tables=tables,
        ),
    )
    if left:
        warnings.append(f"what this restore has kept is in {place}")
    return Kept(place, tuple(definitions), tuple(warnings))


def _make_room(
    cur: _Cursor, schema: str, names: Sequence[str], origin: Origin
) -> tuple[list[str], bool]:
    """Drop what was kept of the tables before; warnings, and whether some of it had to stay."""
    warnings: list[str] = []
    left = False
    home = schema_oid(cur, schema)
    for generation in read_generations(cur):
        if not generation.overlaps(home, names):
            continue
        try:
            with cur.connection.transaction():
                _drop(cur, generation, wait=False)
        except (_InUseError, *_IN_USE) as exc:
            left = True
            why = str(exc) if isinstance(exc, _InUseError) else "somebody uses it"
            warnings.append(
                f"{generation.place}, which an earlier restore has kept, could not be dropped: "
                f"{why}"
            )
            _remark(cur, evolve(generation, superseded_by=origin.restore_id))
        else:
            others = [name for name in generation.names if name not in names]
            if others:
                warnings.append(
                    f"what restore {generation.origin.restore_id} had kept has gone as a whole, "
                    f"with its {', '.join(others)}"
                )
    return warnings, left


def note_replaced(cur: _Cursor, schema: str, names: Sequence[str], origin: Origin) -> None:
    """Remember on what was kept of the tables that a later restore has replaced their rows.

    Nothing that others do to kept tables ends a restore: where it cannot be written it is left out.
    """
    home = schema_oid(cur, schema)
    for generation in read_generations(cur):
        if generation.overlaps(home, names):
            _remark(cur, evolve(generation, replaced_by=origin.restore_id))


def _remark(cur: _Cursor, generation: Generation) -> None:
    cur.execute("SELECT current_setting('lock_timeout')")
    limit = (cur.fetchone() or ("0",))[0]
    try:
        with cur.connection.transaction():
            cur.execute("SET LOCAL lock_timeout = '100ms'")
            write_mark(cur, generation)
            # What is set in a savepoint that is kept stays set.
            cur.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(sql.Literal(limit)))
    except _IN_USE as exc:
        _log.info("the mark of %s could not be changed: %s", generation.place, exc.sqlstate)


def _drop(cur: _Cursor, generation: Generation, *, wait: bool) -> None:
    """Drop tables of a mark that are where it says, and their schema if nothing else is in it.

    Raises:
        _InUseError: Something depends on one of them.
    """
    oids = [one.oid for one in generation.tables if one.there]
    tables = sql.SQL(", ").join(sql.Identifier(generation.place, name) for name in generation.names)
    if oids:
        nowait = sql.SQL("") if wait else sql.SQL(" NOWAIT")
        cur.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE{}").format(tables, nowait))
        for one in generation.tables:
            found = dependents(cur, one.oid, oids) if one.there else ()
            if found:
                raise _InUseError(f"{generation.place}.{one.name}: {found[0]}")
        cur.execute(sql.SQL("DROP TABLE {}").format(tables))
    try:
        with cur.connection.transaction():
            cur.execute(sql.SQL("DROP SCHEMA {}").format(sql.Identifier(generation.place)))
    except psycopg.errors.DependentObjectsStillExist:
        _log.warning("schema %s stays: there is something else in it", generation.place)
        cur.execute(
            sql.SQL("COMMENT ON SCHEMA {} IS NULL").format(sql.Identifier(generation.place))
        )


def dependents(cur: _Cursor, oid: int, among: Sequence[int]) -> tuple[str, ...]:
    """What of others depends on a kept table, one phrase each."""
    # Publications of schemas came with version 15.
    cur.execute("SELECT coalesce(to_regclass('pg_publication_namespace')::text, 'pg_publication')")
    row = cur.fetchone() or ("pg_publication",)
    cur.execute(sql.SQL(_PUBLICATIONS).format(sql.Identifier(row[0])), {"oid": oid})
    published = [phrase for (phrase,) in cur.fetchall()]
    return tuple(dict.fromkeys([*find_blockers(cur, oid, among), *published]))


def _create_place(cur: _Cursor, schema: str) -> str:
    """A schema that nobody has."""
    plain = schema + _PREVIOUS
    if len(plain.encode()) <= _MAX_IDENTIFIER_BYTES:
        cur.execute("SELECT FROM pg_namespace WHERE nspname = %s", [plain])
        if cur.fetchone() is None:
            try:
                with cur.connection.transaction():
                    cur.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(plain)))
            except (psycopg.errors.DuplicateSchema, psycopg.errors.UniqueViolation):
                pass  # somebody else was a moment earlier
            else:
                return plain
    ending = f"_{secrets.token_hex(_TOKEN_BYTES)}{_PREVIOUS}"
    room = _MAX_IDENTIFIER_BYTES - len(ending)
    name = schema.encode()[:room].decode(errors="ignore") + ending
    cur.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
    return name


def schema_oid(cur: _Cursor, schema: str) -> int:
    """OID of a schema; 0 where there is none."""
    cur.execute("SELECT oid::int8 FROM pg_namespace WHERE nspname = %s", [schema])
    row = cur.fetchone()
    return int(row[0]) if row is not None else 0


def _oid(cur: _Cursor, schema: str, name: str) -> int:
    cur.execute("SELECT %s::regclass::oid::int8", [sql.Identifier(schema, name).as_string(cur)])
    row = cur.fetchone()
    return int(row[0]) if row else 0


def list_previous(
    conn: psycopg.Connection[Any], schema: str | None, lock_timeout_s: float
) -> tuple[PreviousTables, ...]:
    """What restores of this role have kept, newest first.

    Args:
        conn: A connection outside of any transaction.
        schema: Only what was kept of tables in this schema; ``None``: all of the database.
        lock_timeout_s: Seconds to wait for others.
    """
    cur = psycopg.Cursor(conn, row_factory=tuple_row)
    with conn.transaction():
        begin_reading(cur)
        configure_session(cur, lock_timeout_s)
        found = [
            one for one in reversed(read_generations(cur)) if schema is None or one.schema == schema
        ]
        return tuple(_described(cur, one) for one in found)


def _described(cur: _Cursor, generation: Generation) -> PreviousTables:
    tables = []
    for one in generation.tables:
        if not one.there:
            continue
        cur.execute(
            "SELECT pg_total_relation_size(%s::oid), has_table_privilege(%s::oid, 'SELECT') "
            "AND NOT row_security_active(%s::oid)",
            [one.oid] * 3,
        )
        size, readable = cur.fetchone() or (None, False)
        rows = None
        if readable and not any(c.untrusted_reading for c in find_attached_code(cur, one.oid)):
            cur.execute(
                sql.SQL("SELECT count(*) FROM {}").format(
                    sql.Identifier(generation.place, one.name)
                )
            )
            rows = (cur.fetchone() or (None,))[0]
        tables.append(PreviousTable(one.name, rows, size or 0, one.reverted_at))
    return PreviousTables(
        generation.origin.restore_id,
        generation.origin.label,
        schema=generation.schema,
        kept_in=generation.place,
        kept_at=generation.kept_at,
        tables=tuple(tables),
        superseded_by=generation.superseded_by,
        replaced_by=generation.replaced_by,
    )


def drop_previous(
    conn: psycopg.Connection[Any],
    restore_ids: Sequence[str],
    *,
    lock_timeout_s: float,
    reconnect: Reconnect,
    cancel: CancelToken,
) -> tuple[PreviousTables, ...]:
    """Drop what these restores have kept: all of it or none; returns what it was.

    Raises:
        CancelledError: It was called off; nothing has changed.
        TargetMismatchError: One of them has kept nothing that is there, or something depends on it.
        TargetBusyError: Others held the tables until the time for it was over.
        OutcomeUnknownError: The connection was lost during COMMIT, and nobody can tell.
    """
    cur = psycopg.Cursor(conn, row_factory=tuple_row)
    with interruptible(conn, cancel), conn.transaction():
        configure_session(cur, lock_timeout_s)
        known = {one.origin.restore_id: one for one in read_generations(cur)}
        for wanted in restore_ids:
            if wanted not in known:
                raise TargetMismatchError(
                    f"nothing is kept of a restore {quoted(wanted)}",
                    hint="pgvector-restore previous lists what is kept",
                )
        chosen = [known[wanted] for wanted in dict.fromkeys(restore_ids)]
        described = tuple(_described(cur, one) for one in chosen)
    cancel.check()
    tables = [(one.place, name) for one in chosen for name in one.names]

    def drop(inner: _Cursor) -> None:
        reach("previous.locked", conn)
        now = {one.place_oid: one for one in read_generations(inner)}
        for one in chosen:
            if now.get(one.place_oid) != one:
                raise TargetChangedError(
                    f"what is kept in {one.place} has changed a moment ago", hint="look again"
                )
            try:
                _drop(inner, one, wait=True)
            except _InUseError as exc:
                raise TargetMismatchError(f"{exc}: it cannot be dropped") from None
        reach("previous.dropped", conn)

    def committing(inner: _Cursor) -> Callable[[psycopg.Error], None]:
        pending = note(inner, [Evidence(place, name, None, None) for place, name in tables])
        interrupter.disarm()
        cancel.check()
        return lambda lost: resolve(pending, reconnect, lost, "dropping what was kept")

    with ExitStack() as stack:
        claims: dict[str, list[str]] = {}
        for one in chosen:
            claims.setdefault(one.schema, []).extend(one.names)
        for schema, names in sorted(claims.items()):
            stack.enter_context(claimed(conn, schema, sorted(set(names)), reconnect))
        interrupter = stack.enter_context(interruptible(conn, cancel))
        exclusively(conn, tables, drop, committing, lock_timeout_s)
    reach("previous.done", conn)
    return described
