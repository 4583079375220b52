"""Known generations of the LangChain tables: what to create when tables are missing.

Sources: ``langchain_postgres/vectorstores.py`` (release 0.0.14 and later) for the current one,
``langchain_community/vectorstores/pgvector.py`` for the one before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from attrs import evolve, frozen

from pgvector_restore.column_types import described_column, parse_type
from pgvector_restore.manifest import ManifestKey, ManifestTable
from pgvector_restore.target import ColumnKind, ForeignKey, TargetColumn, TargetTable, WireType

__all__ = [
    "COLLECTION",
    "EMBEDDING",
    "GENERATIONS",
    "DescribedTable",
    "Generation",
    "NewTables",
    "TableSchema",
    "columns_of",
    "generation_for",
    "is_parent",
    "parents_of",
    "shape_of",
]

COLLECTION = "langchain_pg_collection"
EMBEDDING = "langchain_pg_embedding"

SqlType = Literal["uuid", "varchar", "json", "jsonb", "vector"]

_KINDS: dict[SqlType, tuple[ColumnKind, WireType]] = {
    "uuid": ("other", "uuid"),
    "varchar": ("text", "text"),
    "json": ("json", "json"),
    "jsonb": ("jsonb", "jsonb"),
    "vector": ("vector", "vector"),
}


@frozen
class ColumnSchema:
    """A column to create."""

    #: Name.
    name: str
    #: Type; ``vector`` is looked up in the extension's schema.
    type: SqlType
    #: ``NOT NULL``.
    not_null: bool = False


@frozen
class TableSchema:
    """A table to create."""

    #: Name.
    name: str
    #: Columns in physical order.
    columns: tuple[ColumnSchema, ...]
    #: Primary key column.
    primary_key: str
    #: Column with a UNIQUE constraint.
    unique: str | None = None
    #: Column, parent table and parent column of a foreign key ``ON DELETE CASCADE``.
    parent: tuple[str, str, str] | None = None
    #: Name and column of a GIN index with ``jsonb_path_ops``.
    gin_index: tuple[str, str] | None = None

    def as_target(self, schema: str) -> TargetTable:
        """The table as it will be found once it is created."""
        columns = tuple(
            TargetColumn(
                c.name, c.type, *_KINDS[c.type], not_null=c.not_null or c.name == self.primary_key
            )
            for c in self.columns
        )
        keys: tuple[ForeignKey, ...] = ()
        if self.parent is not None:
            column, parent, parent_column = self.parent
            keys = (ForeignKey(column, schema, parent, parent_column),)
        return TargetTable(schema, self.name, columns, rows=0, foreign_keys=keys)


@frozen
class Generation:
    """Tables that belong together."""

    #: Name for people.
    title: str
    #: Tables, parents first.
    tables: tuple[TableSchema, ...]

    def table(self, name: str) -> TableSchema | None:
        """The table of that name, or ``None``."""
        return next((t for t in self.tables if t.name == name), None)


@frozen
class DescribedTable:
    """A table to create as a manifest describes it: columns and keys, nothing that is run."""

    #: What the manifest says.
    described: ManifestTable
    #: Foreign keys to create.
    foreign_keys: tuple[ManifestKey, ...] = ()

    @property
    def name(self) -> str:
        """Name."""
        return self.described.name

    @property
    def has_vectors(self) -> bool:
        """A column has a type of the extension."""
        types = [parse_type(column.type_name) for column in self.described.columns]
        return any(found is not None and found.of_extension for found in types)

    def cascades(self, key: ManifestKey) -> bool:
        """The key is the one that LangChain's tables have: rows go with their parent."""
        known = (key.column, key.parent, key.parent_column)
        tables = [t for generation in GENERATIONS for t in generation.tables]
        return any(t.name == self.name and t.parent == known for t in tables)

    def as_target(self, schema: str) -> TargetTable:
        """The table as it will be found once it is created."""
        key = self.described.primary_key
        columns = tuple(
            evolve(described_column(c), not_null=c.not_null or c.name in key)
            for c in self.described.table_columns
        )
        keys = tuple(
            ForeignKey(k.column, schema, k.parent, k.parent_column) for k in self.foreign_keys
        )
        return TargetTable(schema, self.name, columns, rows=0, foreign_keys=keys)


@frozen
class NewTables:
    """Tables that a restore creates."""

    #: What they are created like, for people.
    title: str
    #: The tables, parents first.
    tables: tuple[TableSchema | DescribedTable, ...]

    @property
    def needs_extension(self) -> bool:
        """One of them has vectors."""
        return any(isinstance(t, TableSchema) or t.has_vectors for t in self.tables)

    def table(self, name: str) -> TableSchema | DescribedTable | None:
        """The table of that name, or ``None``."""
        return next((t for t in self.tables if t.name == name), None)


_COLLECTION_COLUMNS = (ColumnSchema("uuid", "uuid"),)
_EMBEDDING_REST = (
    ColumnSchema("collection_id", "uuid"),
    ColumnSchema("embedding", "vector"),
    ColumnSchema("document", "varchar"),
)
_PARENT = ("collection_id", COLLECTION, "uuid")

#: Newest first: the first one that has all columns of a backup is created.
GENERATIONS = (
    Generation(
        "langchain_postgres",
        (
            TableSchema(
                COLLECTION,
                (
                    *_COLLECTION_COLUMNS,
                    ColumnSchema("name", "varchar", not_null=True),
                    ColumnSchema("cmetadata", "json"),
                ),
                primary_key="uuid",
                unique="name",
            ),
            TableSchema(
                EMBEDDING,
                (
                    ColumnSchema("id", "varchar"),
                    *_EMBEDDING_REST,
                    ColumnSchema("cmetadata", "jsonb"),
                ),
                primary_key="id",
                parent=_PARENT,
                gin_index=("ix_cmetadata_gin", "cmetadata"),
            ),
        ),
    ),
    Generation(
        "langchain_community",
        (
            TableSchema(
                COLLECTION,
                (
                    *_COLLECTION_COLUMNS,
                    ColumnSchema("name", "varchar"),
                    ColumnSchema("cmetadata", "json"),
                ),
                primary_key="uuid",
            ),
            TableSchema(
                EMBEDDING,
                (
                    ColumnSchema("uuid", "uuid"),
                    *_EMBEDDING_REST,
                    ColumnSchema("cmetadata", "json"),
                    ColumnSchema("custom_id", "varchar"),
                ),
                primary_key="uuid",
                parent=_PARENT,
            ),
        ),
    ),
)


def generation_for(headers: Mapping[str, tuple[str, ...]]) -> Generation | None:
    """The newest generation whose tables have every column of these headers.

    Args:
        headers: Column names by table, for the tables that are missing.
    """
    for generation in GENERATIONS:
        for name, header in headers.items():
            table = generation.table(name)
            if table is None or not set(header) <= {c.name for c in table.columns}:
                break
        else:
            return generation
    return None


def shape_of(table: str, header: Sequence[str]) -> TableSchema | None:
    """The known shape of a table that has most of a header's columns, the newest of several."""
    known = [t for generation in GENERATIONS if (t := generation.table(table)) is not None]
    return max(known, key=lambda t: len({c.name for c in t.columns} & set(header)), default=None)


def is_parent(table: str) -> bool:
    """Whether rows of another known table refer to this one."""
    return any(
        t.parent is not None and t.parent[1] == table
        for generation in GENERATIONS
        for t in generation.tables
    )


def parents_of(table: str) -> set[str]:
    """Known tables that rows of this one refer to."""
    return {
        t.parent[1]
        for generation in GENERATIONS
        for t in generation.tables
        if t.name == table and t.parent is not None
    }


def columns_of(shape: TableSchema | None, header: Sequence[str]) -> tuple[TargetColumn, ...]:
    """A header's columns as the shape has them; text without a type's name where it has not."""
    known = {} if shape is None else {c.name: c for c in shape.as_target("").columns}
    return tuple(known.get(name) or TargetColumn(name, "", "text") for name in header)
