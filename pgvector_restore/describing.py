"""What a manifest says of the tables that were backed up. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime

from pgvector_restore._version import __version__
from pgvector_restore.backup_options import BackupOptions
from pgvector_restore.db.relations import Relation
from pgvector_restore.dumping import Dumped
from pgvector_restore.manifest import (
    Manifest,
    ManifestColumn,
    ManifestIndex,
    ManifestKey,
    ManifestTable,
)
from pgvector_restore.rows.digest import form_of
from pgvector_restore.target import ForeignKey, TargetColumn, TargetFacts

__all__ = ["describe_set", "parents_first"]

_VECTORS = ("vector", "halfvec", "sparsevec")


def parents_first(tables: Sequence[Relation]) -> tuple[Relation, ...]:
    """Tables after those their foreign keys refer to; in the given order as far as that goes."""
    left = list(tables)
    ordered: list[Relation] = []
    while left:
        names = {(table.schema, table.name) for table in left}
        for table in left:
            parents = {(key.parent_schema, key.parent) for key in table.foreign_keys}
            if not (parents & names) - {(table.schema, table.name)}:
                break
        else:
            table = left[0]  # they refer to each other in a circle
        left.remove(table)
        ordered.append(table)
    return tuple(ordered)


def describe_set(  # noqa: PLR0913 - what a manifest says
    timestamp: str,
    taken_at: datetime,
    facts: TargetFacts,
    tables: Sequence[Relation],
    dumped: Mapping[str, Dumped],
    options: BackupOptions,
    *,
    emptied: str | None,
) -> Manifest:
    """The manifest of a set.

    Args:
        timestamp: Of the set.
        taken_at: When the snapshot was taken, with zone.
        facts: The server.
        tables: Parents first.
        dumped: What was written of each.
        options: Format, codec, digest or none.
        emptied: Table whose rows will be removed next; one without rows has none to lose.
    """
    return Manifest(
        timestamp=timestamp,
        format=options.format,
        codec=options.codec,
        created_at=taken_at.isoformat(timespec="seconds"),
        tool_version=__version__,
        server_version=facts.server_version,
        vector_version=facts.vector_version if facts.vector_schema is not None else None,
        tables=tuple(
            _table(table, dumped[table.name], options, emptied=table.name == emptied)
            for table in tables
        ),
    )


def _table(
    table: Relation, dumped: Dumped, options: BackupOptions, *, emptied: bool
) -> ManifestTable:
    in_binary = options.format == "binary"
    columns = form_of(table.columns).columns if in_binary else table.columns
    return ManifestTable(
        name=table.name,
        schema=table.schema,
        rows=dumped.digest.rows,
        digest=dumped.digest.hex if options.digest else None,
        columns=tuple(_column(column, table.columns.index(column) + 1) for column in columns),
        files=dumped.files,
        primary_key=table.primary_key,
        unique=table.unique,
        foreign_keys=tuple(
            ManifestKey(key.column, _parent(key, table.schema), key.parent_column)
            for key in table.foreign_keys
        ),
        indexes=tuple(ManifestIndex(one.name, one.definition) for one in table.indexes),
        outside_snapshot=bool(table.elsewhere),
        emptied=emptied and dumped.digest.rows > 0,
    )


def _parent(key: ForeignKey, schema: str) -> str:
    """A table of another schema is no table of the backup, whatever its name."""
    return key.parent if key.parent_schema == schema else f"{key.parent_schema}.{key.parent}"


def _column(column: TargetColumn, position: int) -> ManifestColumn:
    # That an index wants so many dimensions is no part of the type.
    written = re.fullmatch(r".+\(([0-9]+)\)", column.type_name)
    dimensions = int(written[1]) if written and column.wire in _VECTORS else None
    return ManifestColumn(column.name, column.type_name, column.not_null, dimensions, position)
