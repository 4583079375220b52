"""Manifests: what a backup says of itself, in ``manifest_<timestamp>.json`` beside its files.

The form is documented in ``docs/manifest.md``. A reader passes over what it does not know, so a
version of the form changes only when an older reader would go wrong.
"""

from __future__ import annotations

import json

from attrs import asdict, field, frozen

from pgvector_restore.model import FileFormat

__all__ = [
    "MANIFEST_KIND",
    "MANIFEST_VERSION",
    "Manifest",
    "ManifestColumn",
    "ManifestFile",
    "ManifestIndex",
    "ManifestKey",
    "ManifestTable",
]

#: Version of the form that is written, and the newest one that is read.
MANIFEST_VERSION = 1

#: What tells a manifest from any other JSON document.
MANIFEST_KIND = "pgvector_restore"


@frozen
class ManifestFile:
    """One file of a table; large tables in binary have several."""

    #: Name, without folder.
    name: str
    #: Stored bytes.
    size_bytes: int
    #: SHA-256 of the stored bytes, 64 hexadecimal digits.
    sha256: str
    #: Rows in it.
    rows: int


@frozen
class ManifestColumn:
    """A column of a table."""

    #: Name.
    name: str
    #: Type as the server writes it: ``vector(384)``, ``character varying``.
    type_name: str
    #: ``NOT NULL``.
    not_null: bool = False
    #: Dimensions of a vector column whose type has them; ``None``: it has none.
    dimensions: int | None = None
    #: Place among the columns of the table, from 1; ``None``: as in the file.
    position: int | None = None


@frozen
class ManifestKey:
    """A foreign key of one column."""

    #: Column.
    column: str
    #: Table it refers to.
    parent: str
    #: Column there.
    parent_column: str


@frozen
class ManifestIndex:
    """An index; for people to read, never run."""

    #: Name.
    name: str
    #: As ``pg_get_indexdef`` writes it.
    definition: str


@frozen
class ManifestTable:
    """A table of a backup."""

    #: Name.
    name: str
    #: Schema it was in.
    schema: str
    #: Rows.
    rows: int
    #: Digest of the rows, whatever their order, 32 hexadecimal digits; see ``rows/digest.py``.
    #: ``None``: not taken.
    digest: str | None
    #: Columns in the order of the files.
    columns: tuple[ManifestColumn, ...]
    #: Its files in the order of their parts.
    files: tuple[ManifestFile, ...]
    #: Columns of the primary key; empty: it has none.
    primary_key: tuple[str, ...] = ()
    #: Columns of each UNIQUE constraint.
    unique: tuple[tuple[str, ...], ...] = ()
    #: Foreign keys of one column.
    foreign_keys: tuple[ManifestKey, ...] = ()
    #: Indexes, those of keys as well.
    indexes: tuple[ManifestIndex, ...] = ()
    #: Rows of it lay on other servers, which the snapshot did not cover.
    outside_snapshot: bool = False
    #: The rows were to be removed from the database once the backup was there: nothing else may
    #: have them. Written before they go, so it can be said of rows that have stayed.
    emptied: bool = False

    @property
    def size_bytes(self) -> int:
        """Stored bytes of all files."""
        return sum(file.size_bytes for file in self.files)

    @property
    def table_columns(self) -> tuple[ManifestColumn, ...]:
        """Columns in the order of the table; where it is not told, in that of the files."""
        numbered = enumerate(self.columns, 1)
        ordered = sorted((column.position or place, place) for place, column in numbered)
        return tuple(self.columns[place - 1] for _, place in ordered)

    def file(self, name: str) -> ManifestFile | None:
        """The file of that name, or ``None``."""
        return next((file for file in self.files if file.name == name), None)


@frozen
class Manifest:
    """What a backup set is made of."""

    #: ``YYYYMMDD_HHMMSS`` of the set.
    timestamp: str
    #: ``csv`` or ``binary``.
    format: FileFormat
    #: How files are compressed, a name of the table in ``storage/compression.py``; ``None``: not.
    codec: str | None
    #: When the snapshot was taken, ISO 8601 with zone.
    created_at: str
    #: Version of this package that wrote it.
    tool_version: str
    #: ``server_version_num``: 180004 is 18.4.
    server_version: int
    #: Version of pgvector; ``None``: not installed.
    vector_version: str | None
    #: Tables, parents before children.
    tables: tuple[ManifestTable, ...] = field(factory=tuple)

    @property
    def one_snapshot(self) -> bool:
        """All rows are of one moment."""
        return not any(table.outside_snapshot for table in self.tables)

    def table(self, name: str) -> ManifestTable | None:
        """The table of that name, or ``None``."""
        return next((table for table in self.tables if table.name == name), None)

    def to_json(self) -> bytes:
        """The manifest as it is stored: UTF-8, indented, with a newline at the end."""
        document = {"manifest": MANIFEST_KIND, "version": MANIFEST_VERSION, **asdict(self)}
        return json.dumps(document, indent=1, ensure_ascii=False).encode() + b"\n"
