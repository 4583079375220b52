"""Putting back the tables that a swap has kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import psycopg
from attrs import evolve, frozen
from psycopg import sql
from psycopg.rows import tuple_row

from pgvector_restore.cancel import CancelToken
from pgvector_restore.db.alike import (
    Likeness,
    carry_access,
    carry_policies,
    read_likeness,
    refusals,
    told,
)
from pgvector_restore.db.blockers import find_blockers
from pgvector_restore.db.claims import claimed
from pgvector_restore.db.exclusive import exclusively
from pgvector_restore.db.inspect import find_schema, inspect_target
from pgvector_restore.db.interrupt import interruptible
from pgvector_restore.db.kept import dependents, schema_oid
from pgvector_restore.db.marks import Generation, KeptTable, read_generations, write_mark
from pgvector_restore.db.moving import (
    cut_ties,
    move_statistics,
    move_table,
    own_sequences,
)
from pgvector_restore.db.outcome import Evidence, Reconnect, note, resolve
from pgvector_restore.db.session import close_search_path, configure_session
from pgvector_restore.db.staging import new_staging_name
from pgvector_restore.db.statements import run_all, written
from pgvector_restore.errors import TargetChangedError, TargetMismatchError
from pgvector_restore.failpoints import reach
from pgvector_restore.previous import RevertedTable, RevertReport

__all__ = ["RevertedRestore", "revert_swap"]

_Cursor = psycopg.Cursor[Any]

_LISTED = "pgvector-restore previous lists what is kept"

#: Foreign keys between tables of which only some are to be exchanged.
_TIED = """
SELECT a.relname::text, b.relname::text
FROM pg_constraint k JOIN pg_class a ON a.oid = k.conrelid JOIN pg_class b ON b.oid = k.confrelid
WHERE k.contype = 'f' AND a.relnamespace = %(place)s::oid AND b.relnamespace = %(place)s::oid
  AND a.relname = ANY (%(all)s) AND b.relname = ANY (%(all)s)
  AND (a.relname = ANY (%(some)s)) <> (b.relname = ANY (%(some)s))
ORDER BY 1, 2
"""


@frozen
class RevertedRestore:
    """A restore that is to be taken back, as its report tells."""

    #: Its number.
    restore_id: str
    #: Label of its set.
    label: str
    #: It has kept something.
    kept: bool


def revert_swap(
    conn: psycopg.Connection[Any],
    wanted: RevertedRestore | Sequence[str] | None,
    schema: str | None,
    *,
    lock_timeout_s: float,
    reconnect: Reconnect,
    cancel: CancelToken,
) -> RevertReport:
    """Put back tables that a swap has kept.

    Args:
        conn: A connection outside of any transaction.
        wanted: A restore, or names of tables; ``None``: all that the last swap has kept.
        schema: Schema of the tables; ``None``: where the search path finds them.
        lock_timeout_s: Seconds to wait for others.
        reconnect: Another connection, to ask what became of a COMMIT.
        cancel: Calls it off, until COMMIT.

    Raises:
        CancelledError: It was called off; nothing has changed.
        TargetMismatchError: That is not kept, tied to other tables, of another definition, or used
            by something else.
        TargetChangedError: It was changed a moment ago.
        TargetBusyError: Others held the tables until the time for it was over.
        OutcomeUnknownError: The connection was lost during COMMIT, and nobody can tell.
    """
    cur = psycopg.Cursor(conn, row_factory=tuple_row)
    with interruptible(conn, cancel), conn.transaction():
        generation, tables = _choose(cur, wanted, schema, lock_timeout_s)
        rows = _look(cur, generation, tables)
    home, place = generation.schema, generation.place
    names = [one.name for one in tables]
    notes: list[str] = []

    def exchange(inner: _Cursor) -> None:
        reach("revert.locked", conn)
        found = {one.place_oid: one for one in read_generations(inner)}
        if found.get(generation.place_oid) != generation:
            raise TargetChangedError(
                f"what is kept in {place} has changed a moment ago", hint="look again"
            )
        notes[:] = _exchange(inner, generation, tables, new_staging_name())
        reach("revert.moved", conn)

    def committing(inner: _Cursor) -> Callable[[psycopg.Error], None]:
        pending = note(inner, [Evidence(home, one.name, one.oid, None) for one in tables])
        interrupter.disarm()
        cancel.check()
        reach("revert.commit", conn)
        return lambda lost: resolve(pending, reconnect, lost, "the revert")

    with claimed(conn, home, names, reconnect), interruptible(conn, cancel) as interrupter:
        exclusively(
            conn,
            [(where, name) for name in names for where in (home, place)],
            exchange,
            committing,
            lock_timeout_s,
        )
    reach("revert.done", conn)
    return RevertReport(
        generation.origin.restore_id,
        generation.origin.label,
        kept_at=generation.kept_at,
        schema=home,
        kept_in=place,
        tables=tuple(RevertedTable(one.name, rows[one.name], one.reverted_at) for one in tables),
        notes=tuple(notes),
    )


def _choose(
    cur: _Cursor,
    wanted: RevertedRestore | Sequence[str] | None,
    schema: str | None,
    lock_timeout_s: float,
) -> tuple[Generation, tuple[KeptTable, ...]]:
    """What is to be put back, from which of those that are kept."""
    if isinstance(wanted, RevertedRestore):
        configure_session(cur, lock_timeout_s)
        generation = _of_restore(cur, wanted)
        names = [one.name for one in generation.tables]
    elif wanted is not None:
        home = find_schema(cur, schema, wanted)
        configure_session(cur, lock_timeout_s)
        names = list(dict.fromkeys(wanted))
        generation = _of_tables(cur, home, names)
    else:
        homes = [schema] if schema is not None else _search_path(cur)
        configure_session(cur, lock_timeout_s)
        generation = _last(cur, homes)
        names = [one.name for one in generation.tables]
    chosen = [one for one in generation.tables if one.name in names]
    for one in chosen:
        if not one.there:
            raise TargetMismatchError(
                f"{generation.place}.{one.name}, which restore {generation.origin.restore_id} has "
                "kept, is not there any more",
                hint=_LISTED,
            )
    # Once all have been put back, the next revert exchanges them again.
    pending = [one for one in chosen if one.reverted_at is None] or chosen
    return generation, tuple(pending)


def _search_path(cur: _Cursor) -> list[str]:
    cur.execute("SET LOCAL client_encoding = 'UTF8'")
    # Everything qualified up to here: the path may lead to functions of anybody.
    cur.execute("SELECT pg_catalog.current_schemas(false)")
    row = cur.fetchone()
    close_search_path(cur)
    return list(row[0]) if row is not None else []


def _usable(cur: _Cursor) -> list[Generation]:
    """Those that can be put back, newest first."""
    return [one for one in reversed(read_generations(cur)) if one.superseded_by is None]


def _of_restore(cur: _Cursor, wanted: RevertedRestore) -> Generation:
    which = f"restore {wanted.restore_id} of {wanted.label}"
    if not wanted.kept:
        raise TargetMismatchError(
            f"{which} has kept no tables, so it cannot be reverted",
            hint="only a swap with keep_previous keeps tables",
        )
    found = {one.origin.restore_id: one for one in read_generations(cur)}
    generation = found.get(wanted.restore_id)
    if generation is None:
        raise TargetMismatchError(
            f"what {which} had kept is not there any more: a later swap with keep_previous has "
            "taken its place, or it was dropped",
            hint=_LISTED,
        )
    later = generation.superseded_by or generation.replaced_by
    if later is None and not _still_its_own(cur, generation):
        later = "somebody else"
    if later is not None:
        by = later if later == "somebody else" else f"restore {later}"
        raise TargetMismatchError(
            f"{which} cannot be reverted: {by} has replaced its tables since",
            hint="revert without a report puts back what the last swap has kept",
        )
    return generation


def _still_its_own(cur: _Cursor, generation: Generation) -> bool:
    """The tables that took the place of the kept ones are still those in service."""
    cur.execute(
        """
        SELECT count(*) FROM unnest(%s::text[], %s::int8[]) AS t (name, oid)
        JOIN pg_class c ON c.oid = t.oid::oid AND c.relname = t.name AND c.relnamespace = %s::oid
        """,
        [
            [one.name for one in generation.tables],
            [one.live_oid for one in generation.tables],
            generation.schema_oid,
        ],
    )
    return cur.fetchone() == (len(generation.tables),)


def _of_tables(cur: _Cursor, schema: str, names: Sequence[str]) -> Generation:
    home = schema_oid(cur, schema)
    usable = [one for one in _usable(cur) if one.schema_oid == home]
    chosen: list[Generation] = []
    for name in names:
        found = next((one for one in usable if one.table(name) is not None), None)
        if found is None:
            raise TargetMismatchError(
                f"nothing is kept of {schema}.{name}",
                hint="only a swap with keep_previous keeps tables, and only the last one's",
            )
        chosen.append(found)
    if any(one != chosen[0] for one in chosen):
        raise TargetMismatchError(
            f"{', '.join(f'{schema}.{name}' for name in names)} were kept by several restores",
            hint="revert what each restore has kept by itself",
        )
    return chosen[0]


def _last(cur: _Cursor, schemas: Sequence[str]) -> Generation:
    found = next((one for one in _usable(cur) if one.schema in schemas), None)
    if found is None:
        raise TargetMismatchError(
            f"nothing is kept of tables in schema {', '.join(schemas)}",
            hint="only a swap with keep_previous keeps tables",
        )
    return found


def _look(
    cur: _Cursor, generation: Generation, tables: Sequence[KeptTable]
) -> Mapping[str, int | None]:
    """Whether the tables may be exchanged; rows that will be there then."""
    home, place = generation.schema, generation.place
    names = [one.name for one in tables]
    facts = inspect_target(cur, home, names)
    for name in names:
        if facts.table(name) is None:
            raise TargetMismatchError(
                f"there is no {home}.{name} to exchange for {place}.{name}",
                hint="it was dropped or renamed; move the kept table by ALTER TABLE … SET SCHEMA",
            )
    for where in (generation.place_oid, generation.schema_oid):
        values = {"place": where, "all": [one.name for one in generation.tables], "some": names}
        cur.execute(_TIED, values)
        tied = cur.fetchone()
        if tied is not None:
            raise TargetMismatchError(
                f"{home}.{tied[0]} is tied to {home}.{tied[1]} by a foreign key: "
                "one cannot be put back without the other",
                hint="name both, or none to put back all that was kept",
            )
    kept = inspect_target(cur, place, names)
    _compare(cur, generation, tables)
    return {table.name: table.rows for table in kept.tables}


def _compare(
    cur: _Cursor, generation: Generation, tables: Sequence[KeptTable]
) -> list[tuple[Likeness, Likeness]]:
    """The present tables and the kept ones, alike and free.

    Raises:
        TargetMismatchError: They are not.
    """
    home, place = generation.schema, generation.place
    names = [one.name for one in tables]
    pairs = [
        (read_likeness(cur, home, name, home, names), read_likeness(cur, place, name, home, names))
        for name in names
    ]
    live, kept = [now.oid for now, _ in pairs], [then.oid for _, then in pairs]
    for now, then in pairs:
        blockers = find_blockers(cur, now.oid, live)
        if blockers:
            raise TargetMismatchError(
                f"{home}.{now.name} cannot be exchanged: {blockers[0]}",
            )
        in_use = dependents(cur, then.oid, kept)
        if in_use:
            raise TargetMismatchError(
                f"{place}.{then.name} cannot be put back: {in_use[0]}",
            )
        differs = next(refusals(now, then), None)
        if differs is not None:
            raise TargetMismatchError(
                f"{place}.{then.name} is not defined like {home}.{now.name} any more: {differs}",
                hint="make the two alike, then revert again",
            )
    return pairs


def _exchange(
    cur: _Cursor, generation: Generation, tables: Sequence[KeptTable], passage: str
) -> list[str]:
    """Exchange locked tables; returns how they differ in what may.

    Args:
        cur: In the transaction that holds the locks.
        generation: What is kept.
        tables: Those of it that are put back.
        passage: Name of a schema that does not exist, used on the way.
    """
    home, place = generation.schema, generation.place
    pairs = _compare(cur, generation, tables)
    cur.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(passage)))
    for now, then in pairs:
        _move(cur, then, place, passage, statistics=passage)
        carry_access(cur, now, then, passage)
    for now, _ in pairs:
        for _, sequence in now.definition.serials:
            cur.execute(written(f"ALTER SEQUENCE {sequence} OWNED BY NONE"))
        cut_ties(cur, home, now.name, now.ties)
        _move(cur, now, home, place, statistics=place)
    for now, then in pairs:
        homes = {statistics: where for where, statistics in now.definition.statistics}
        move_table(cur, then.name, passage, home)
        for _, statistics in then.definition.statistics:
            move_statistics(cur, statistics, passage, homes.get(statistics, home))
    cur.execute(sql.SQL("DROP SCHEMA {}").format(sql.Identifier(passage)))
    for now, then in pairs:
        carry_policies(cur, now, then)
        run_all(cur, now.ties.set_defaults)
        own_sequences(cur, now.definition)
        _hand_over(cur, now, place)
    for now, _ in pairs:
        _make_keys(cur, now)
    _check(cur, [now for now, _ in pairs])
    cur.execute("SELECT clock_timestamp()")
    moment = (cur.fetchone() or (None,))[0]
    write_mark(cur, _exchanged(generation, [one.name for one in tables], moment, pairs))
    return [text for now, then in pairs for text in told(now, then)]


def _move(cur: _Cursor, one: Likeness, source: str, goal: str, *, statistics: str) -> None:
    for where, name in one.definition.statistics:
        move_statistics(cur, name, where, statistics)
    move_table(cur, one.name, source, goal)


def _hand_over(cur: _Cursor, now: Likeness, place: str) -> None:
    """Identity sequences go on where those of the other table have come to, and never back."""
    for _, name, _, _, increment, *_ in now.definition.identities:
        here, there = sql.Identifier(now.schema, name), sql.Identifier(place, name)
        behind = "o.last_value > n.last_value" if increment > 0 else "o.last_value < n.last_value"
        cur.execute(
            sql.SQL(
                "SELECT setval({here}::regclass, o.last_value, o.is_called) "
                "FROM {there} o, {relation} n WHERE {behind} "
                "OR (o.last_value = n.last_value AND o.is_called > n.is_called)"
            ).format(
                here=sql.Literal(here.as_string(cur)),
                there=there,
                relation=here,
                behind=sql.SQL(behind),
            )
        )


def _make_keys(cur: _Cursor, now: Likeness) -> None:
    """Foreign keys to tables that stay, which the kept rows may not keep any more."""
    try:
        with cur.connection.transaction():
            run_all(cur, now.ties.make_keys)
    except (psycopg.errors.ForeignKeyViolation, psycopg.errors.UndefinedTable) as exc:
        key = exc.diag.constraint_name or ", ".join(now.ties.keys)
        raise TargetMismatchError(
            f"{now.schema}.{now.name} cannot be put back: its rows of that time do not keep the "
            f"foreign key {key} any more",
            hint="put back the rows that they refer to first",
            sqlstate=exc.sqlstate,
        ) from exc


def _check(cur: _Cursor, before: Iterable[Likeness]) -> None:
    """What is in service now has all that what was there had: owner, privileges, policies, keys."""
    before = list(before)
    names = [one.name for one in before]
    for was in before:
        now = read_likeness(cur, was.schema, was.name, was.schema, names)
        if (
            now.firm != was.firm
            or now.policies != was.policies
            or now.ties != was.ties
            or now.privileges != was.privileges
            or now.definition.serials != was.definition.serials
        ):
            raise TargetMismatchError(f"{was.schema}.{was.name} would not be defined as it is now")


def _exchanged(
    generation: Generation,
    names: Sequence[str],
    moment: datetime | None,
    pairs: Sequence[tuple[Likeness, Likeness]],
) -> Generation:
    oids = {now.name: (now.oid, then.oid) for now, then in pairs}

    def turned(one: KeptTable) -> KeptTable:
        if one.name not in names:
            return one
        kept, live = oids[one.name]
        return evolve(
            one,
            oid=kept,
            live_oid=live,
            reverted_at=moment if one.reverted_at is None else None,
        )

    return evolve(generation, tables=tuple(turned(one) for one in generation.tables))
