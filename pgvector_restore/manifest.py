"""Manifests: what a backup says of itself, in ``manifest_<timestamp>.json`` beside its files.

The form is documented in ``docs/manifest.md``. A reader passes over what it does not know, so a
version of the form changes only when an older reader would go wrong.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from attrs import asdict, field, frozen

from pgvector_restore.errors import BadManifestError, quoted
from pgvector_restore.model import FileFormat

__all__ = [
    "MANIFEST_VERSION",
    "Manifest",
    "ManifestColumn",
    "ManifestFile",
    "ManifestIndex",
    "ManifestKey",
    "ManifestTable",
    "parse_manifest",
]

#: Version of the form that is written, and the newest one that is read.
MANIFEST_VERSION = 1

#: What tells a manifest from any other JSON document.
_KIND = "pgvector_restore"

_SHA256 = re.compile(r"[0-9a-f]{64}")
_DIGEST = re.compile(r"[0-9a-f]{32}")


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

    def table(self, name: str) -> ManifestTable | None:
        """The table of that name, or ``None``."""
        return next((table for table in self.tables if table.name == name), None)

    def to_json(self) -> bytes:
        """The manifest as it is stored: UTF-8, indented, with a newline at the end."""
        document = {"manifest": _KIND, "version": MANIFEST_VERSION, **asdict(self)}
        return json.dumps(document, indent=1, ensure_ascii=False).encode() + b"\n"


def parse_manifest(data: bytes, file: str) -> Manifest:
    """Read a manifest.

    Args:
        data: Its bytes.
        file: Its name, for errors.

    Raises:
        BadManifestError: It is none, or of a newer version.
    """
    try:
        document = json.loads(data.decode())
    except (ValueError, RecursionError) as exc:
        raise BadManifestError("manifest is no JSON document", file=file) from exc
    known = isinstance(document, dict) and document.get("manifest") == _KIND
    version = document.get("version") if known else None
    if type(version) is not int or version < 1:
        raise BadManifestError("manifest is not one of this tool", file=file)
    if version > MANIFEST_VERSION:
        raise BadManifestError(
            f"manifest has version {version}, this tool reads up to {MANIFEST_VERSION}",
            hint="restore with the newer version of pgvector_restore that wrote it",
            file=file,
        )
    return _manifest(_Reader(document, file, ""))


@frozen
class _Reader:
    """One object of the document; every way to read a field checks it."""

    values: Mapping[str, Any]
    file: str
    place: str

    def error(self, key: str, wanted: str) -> BadManifestError:
        return BadManifestError(
            f"manifest: {self.place}{key} must be {wanted}, not {_short(self.values.get(key))}",
            file=self.file,
        )

    def text(self, key: str, pattern: re.Pattern[str] | None = None) -> str:
        value = self.values.get(key)
        if not isinstance(value, str) or (pattern and not pattern.fullmatch(value)):
            raise self.error(key, "text" if pattern is None else f"like {pattern.pattern}")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise self.error(key, "text without lone surrogates") from None
        return value

    def text_or_none(self, key: str, pattern: re.Pattern[str] | None = None) -> str | None:
        return None if self.values.get(key) is None else self.text(key, pattern)

    def number(self, key: str) -> int:
        value = self.values.get(key)
        if type(value) is not int or not 0 <= value < 1 << 63:
            raise self.error(key, "a whole number")
        return value

    def number_or_none(self, key: str) -> int | None:
        return None if self.values.get(key) is None else self.number(key)

    def flag(self, key: str) -> bool:
        value = self.values.get(key, False)
        if not isinstance(value, bool):
            raise self.error(key, "true or false")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        value = self.values.get(key, [])
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise self.error(key, "a list of texts")
        return tuple(value)

    def objects(self, key: str, *, at_least: int = 0) -> tuple[_Reader, ...]:
        value = self.values.get(key, [])
        if not isinstance(value, list) or len(value) < at_least:
            raise self.error(key, "a list" if not at_least else "a list that is not empty")
        if not all(isinstance(one, dict) for one in value):
            raise self.error(key, "a list of objects")
        return tuple(
            _Reader(one, self.file, f"{self.place}{key}[{place}].")
            for place, one in enumerate(value)
        )


def _short(value: object) -> str:
    text = repr(value)
    return quoted(text[:60])[1:-1]


def _manifest(found: _Reader) -> Manifest:
    kind = found.text("format")
    if kind not in ("csv", "binary"):
        raise found.error("format", "csv or binary")
    tables = tuple(_table(one) for one in found.objects("tables", at_least=1))
    _check_once(found, "tables", (table.name for table in tables))
    _check_once(found, "files", (file.name for table in tables for file in table.files))
    return Manifest(
        timestamp=found.text("timestamp"),
        format="csv" if kind == "csv" else "binary",
        codec=found.text_or_none("codec"),
        created_at=found.text("created_at"),
        tool_version=found.text("tool_version"),
        server_version=found.number("server_version"),
        vector_version=found.text_or_none("vector_version"),
        tables=tables,
    )


def _check_once(found: _Reader, what: str, names: Any) -> None:  # noqa: ANN401 - any iterable
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise BadManifestError(
                f"manifest: {what} has {quoted(name)} more than once", file=found.file
            )
        seen.add(name)


def _table(found: _Reader) -> ManifestTable:
    table = ManifestTable(
        name=found.text("name"),
        schema=found.text("schema"),
        rows=found.number("rows"),
        digest=found.text_or_none("digest", _DIGEST),
        columns=_each(found, "columns", _column, at_least=1),
        files=_each(found, "files", _file, at_least=1),
        primary_key=found.texts("primary_key"),
        unique=_lists(found, "unique"),
        foreign_keys=_each(found, "foreign_keys", _key),
        indexes=_each(found, "indexes", _index),
    )
    _check_once(found, f"columns of {table.name}", (column.name for column in table.columns))
    counted = sum(file.rows for file in table.files)
    if counted != table.rows:
        raise BadManifestError(
            f"manifest: {table.name} has {table.rows} rows, its files have {counted}",
            file=found.file,
        )
    return table


def _each(
    found: _Reader, key: str, read: Callable[[_Reader], Any], *, at_least: int = 0
) -> tuple[Any, ...]:
    return tuple(read(one) for one in found.objects(key, at_least=at_least))


def _lists(found: _Reader, key: str) -> tuple[tuple[str, ...], ...]:
    value = found.values.get(key, [])
    if not isinstance(value, list) or not all(
        isinstance(one, list) and all(isinstance(name, str) for name in one) for one in value
    ):
        raise found.error(key, "a list of lists of texts")
    return tuple(tuple(one) for one in value)


def _column(found: _Reader) -> ManifestColumn:
    return ManifestColumn(
        found.text("name"),
        found.text("type_name"),
        found.flag("not_null"),
        found.number_or_none("dimensions"),
        found.number_or_none("position"),
    )


def _file(found: _Reader) -> ManifestFile:
    return ManifestFile(
        found.text("name"),
        found.number("size_bytes"),
        found.text("sha256", _SHA256),
        found.number("rows"),
    )


def _key(found: _Reader) -> ManifestKey:
    return ManifestKey(found.text("column"), found.text("parent"), found.text("parent_column"))


def _index(found: _Reader) -> ManifestIndex:
    return ManifestIndex(found.text("name"), found.text("definition"))
