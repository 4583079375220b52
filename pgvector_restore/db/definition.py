"""Everything about a table but its rows: as statements that make another one like it.

The server writes the statements itself (``format``, ``pg_get_…def``), so names and expressions are
quoted and qualified by the one who will read them. Two tables with equal definitions are alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from attrs import frozen

from pgvector_restore.db import access_catalog, catalog
from pgvector_restore.db.statements import qualified
from pgvector_restore.errors import TargetMismatchError

__all__ = ["IndexDefinition", "TableDefinition", "read_definition"]

_Cursor = psycopg.Cursor[Any]
_Statements = tuple[str, ...]


@frozen
class IndexDefinition:
    """An index, with the constraint it backs if there is one."""

    #: Name of the index, and of its constraint.
    name: str
    #: ``CREATE INDEX …`` or ``ALTER TABLE … ADD CONSTRAINT …``.
    statement: str
    #: As ``pg_get_indexdef`` prints it for the table where it is.
    definition: str
    #: Access method.
    method: str
    #: Tablespace, empty for the database's own.
    tablespace: str


@frozen
class TableDefinition:
    """A table's definition, with statements for a copy of it in another schema."""

    #: Where the table is.
    schema: str
    #: Its name, and the copy's.
    name: str
    #: ``UNLOGGED`` or nothing.
    persistence: str
    #: Table access method, empty for none.
    access_method: str
    #: Tablespace, empty for the database's own.
    tablespace: str
    #: Columns and NOT NULL constraints as ``LIKE`` copies them, for comparison.
    columns: tuple[tuple[Any, ...], ...]
    #: What follows the creation of the copy, before it has rows.
    before_load: _Statements
    #: Indexes and the constraints they back.
    indexes: tuple[IndexDefinition, ...]
    #: What follows the load and the indexes.
    after_load: _Statements
    #: Owner and privileges; whatever a new table has by default is revoked first.
    privileges: _Statements
    #: Security labels, before the copy has rows: a provider may refuse.
    labels: _Statements
    #: Columns and qualified sequences of serial columns.
    serials: tuple[tuple[str, str], ...]
    #: Columns, sequence names, types and parameters of identity columns.
    identities: tuple[tuple[Any, ...], ...]
    #: Schemas and names of statistics objects.
    statistics: tuple[tuple[str, str], ...]


def read_definition(
    cur: _Cursor, schema: str, name: str, home: str, among: Sequence[str]
) -> TableDefinition:
    """Read a definition. The search path must be empty.

    Args:
        cur: In a transaction.
        schema: Schema of the table.
        name: Its name.
        home: Schema of the copy that the statements are about.
        among: Tables of the same schema that are copied with it: references go to the copies.

    Raises:
        TargetMismatchError: A part of it cannot be copied.
    """
    here, there = qualified(cur, schema, name), qualified(cur, home, name)
    cur.execute(catalog.TABLE, {"here": here})
    row = cur.fetchone()
    if row is None:
        raise TargetMismatchError(f"{schema}.{name} does not exist")
    oid, persistence, access_method, tablespace = row
    values = {"oid": oid, "here": here, "there": there, "schema": schema, "home": home}
    values["among"] = list(among)

    def rows(text: str) -> tuple[tuple[Any, ...], ...]:
        cur.execute(text, values)
        return tuple(cur.fetchall())

    def statements(*texts: str) -> _Statements:
        found = tuple(str(row[0]) for text in texts for row in rows(text))
        if "" in found:
            raise TargetMismatchError(
                f"{schema}.{name} has a definition that cannot be copied to another schema",
                hint="use strategy in_place",
            )
        return found

    return TableDefinition(
        schema=schema,
        name=name,
        persistence=persistence,
        access_method=access_method,
        tablespace=tablespace,
        columns=rows(catalog.COLUMNS) + rows(catalog.NOT_NULLS),
        before_load=statements(catalog.CHECKS, catalog.COLUMN_OPTIONS, catalog.OPTIONS),
        indexes=tuple(IndexDefinition(*row) for row in rows(catalog.INDEXES)),
        after_load=statements(
            catalog.INDEX_OPTIONS,
            catalog.INDEX_STATISTICS,
            catalog.FOREIGN_KEYS,
            catalog.TRIGGERS,
            access_catalog.POLICIES,
            catalog.FLAGS,
            catalog.STATISTICS,
            catalog.COMMENTS,
        ),
        privileges=statements(
            access_catalog.OWNER,
            access_catalog.STATISTICS_OWNERS,
            access_catalog.GRANTS,
            access_catalog.SEQUENCE_GRANTS,
        ),
        labels=statements(catalog.LABELS),
        serials=rows(catalog.SERIALS),
        identities=rows(catalog.IDENTITIES),
        statistics=rows(catalog.STATISTICS_NAMES),
    )
