"""The mark of kept tables: a comment on the schema they are in.

It says which restore has kept which tables of which schema, by OIDs. A name alone proves nothing:
without a mark a schema is somebody else's, whatever it is called. Nor does a mark that somebody has
written whom the role has no reason to trust, or that came from another database with a dump: OIDs
in it are not those of the schema and the tables it speaks of.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import psycopg
from attrs import evolve, frozen
from psycopg import sql

__all__ = ["Generation", "KeptTable", "Origin", "read_generations", "write_mark"]

_Cursor = psycopg.Cursor[Any]

#: What comments begin with, for people who meet one; JSON follows.
_PREFIX = "pgvector_restore: tables that a restore has kept, see pgvector-restore previous: "

#: Schemas with a mark, of owners who could act as this role anyway, and as whom it can act.
_SCHEMAS = """
SELECT n.oid::int8, n.nspname::text, substr(d.description, length(%(prefix)s) + 1)
FROM pg_namespace n
JOIN pg_description d ON d.classoid = 'pg_namespace'::regclass AND d.objoid = n.oid
WHERE starts_with(d.description, %(prefix)s)
  AND pg_has_role(n.nspowner, current_user, 'USAGE') AND pg_has_role(n.nspowner, 'USAGE')
ORDER BY n.oid
"""
_TABLES = """
SELECT c.oid::int8, c.relname::text FROM pg_class c
WHERE c.relnamespace = %s::oid AND c.relkind = 'r'
"""


@frozen
class Origin:
    """The restore that does something to tables."""

    #: As ``RestoreReport.restore_id``.
    restore_id: str
    #: Label of its set.
    label: str


@frozen
class KeptTable:
    """One table that is kept."""

    #: Name, here and there.
    name: str
    #: OID of the kept table.
    oid: int
    #: OID of the table that took its place.
    live_oid: int
    #: When it was exchanged by a revert.
    reverted_at: datetime | None = None
    #: It is still where it was kept.
    there: bool = True


@frozen
class Generation:
    """What one restore has kept."""

    #: The restore.
    origin: Origin
    #: Schema that they are kept in, and its OID.
    place: str
    place_oid: int
    #: Schema of the tables, and its OID; the name is empty where the schema is gone.
    schema: str
    schema_oid: int
    #: When.
    kept_at: datetime
    #: The tables.
    tables: tuple[KeptTable, ...]
    #: A later restore that has kept its own.
    superseded_by: str | None = None
    #: A later restore that has replaced the tables and kept nothing.
    replaced_by: str | None = None

    @property
    def names(self) -> list[str]:
        """Names of the tables that are still there."""
        return [one.name for one in self.tables if one.there]

    def table(self, name: str) -> KeptTable | None:
        """The table of that name, or ``None``."""
        return next((one for one in self.tables if one.name == name), None)

    def overlaps(self, schema_oid: int, names: Iterable[str]) -> bool:
        """It has one of these tables."""
        return self.schema_oid == schema_oid and any(self.table(name) for name in names)


def read_generations(cur: _Cursor) -> tuple[Generation, ...]:
    """What restores of this role have kept in this database, oldest first.

    Args:
        cur: With an empty search path.
    """
    cur.execute(_SCHEMAS, {"prefix": _PREFIX})
    found = []
    for oid, name, text in cur.fetchall():
        marked = _parse(oid, name, text)
        if marked is None:
            continue
        cur.execute("SELECT nspname::text FROM pg_namespace WHERE oid = %s", [marked.schema_oid])
        home = cur.fetchone()
        cur.execute(_TABLES, [oid])
        there = set(cur.fetchall())
        found.append(
            evolve(
                marked,
                schema=home[0] if home is not None else "",
                tables=tuple(
                    evolve(one, there=(one.oid, one.name) in there) for one in marked.tables
                ),
            )
        )
    return tuple(sorted(found, key=lambda one: (one.kept_at, one.place_oid)))


def write_mark(cur: _Cursor, generation: Generation) -> None:
    """Say on the schema what is kept in it."""
    one = generation
    mark = {
        "restore": one.origin.restore_id,
        "label": one.origin.label,
        "place": one.place_oid,
        "schema": one.schema_oid,
        "kept_at": one.kept_at.isoformat(),
        "tables": [
            {
                "name": table.name,
                "oid": table.oid,
                "live": table.live_oid,
                "reverted_at": table.reverted_at and table.reverted_at.isoformat(),
            }
            for table in one.tables
        ],
        "superseded_by": one.superseded_by,
        "replaced_by": one.replaced_by,
    }
    cur.execute(
        sql.SQL("COMMENT ON SCHEMA {} IS {}").format(
            sql.Identifier(one.place), sql.Literal(_PREFIX + json.dumps(mark))
        )
    )


def _parse(oid: int, name: str, text: str) -> Generation | None:
    """A mark that is one, and speaks of this very schema."""
    try:
        mark = json.loads(text)
        found = Generation(
            Origin(_text(mark["restore"]), _text(mark["label"])),
            place=name,
            place_oid=_number(mark["place"]),
            schema="",
            schema_oid=_number(mark["schema"]),
            kept_at=_moment(mark["kept_at"]),
            tables=tuple(_table(one) for one in mark["tables"]),
            superseded_by=_text(mark["superseded_by"]) if mark["superseded_by"] else None,
            replaced_by=_text(mark["replaced_by"]) if mark["replaced_by"] else None,
        )
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return None
    return found if found.place_oid == oid else None


def _table(one: Any) -> KeptTable:  # noqa: ANN401 - what somebody has written
    reverted = one["reverted_at"]
    return KeptTable(
        _text(one["name"]),
        _number(one["oid"]),
        _number(one["live"]),
        _moment(reverted) if reverted else None,
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 1 << 32:
        raise ValueError
    return value


def _moment(value: object) -> datetime:
    moment = datetime.fromisoformat(_text(value))
    if moment.tzinfo is None:
        raise ValueError
    return moment
