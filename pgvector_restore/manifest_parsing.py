"""Reading manifests: every field is checked before it is believed; see ``manifest.py``."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from attrs import frozen

from pgvector_restore.errors import BadManifestError, quoted, shown
from pgvector_restore.manifest import (
    MANIFEST_KIND,
    MANIFEST_VERSION,
    Manifest,
    ManifestColumn,
    ManifestFile,
    ManifestIndex,
    ManifestKey,
    ManifestTable,
)

__all__ = ["parse_manifest"]

_SHA256 = re.compile(r"[0-9a-f]{64}")
_DIGEST = re.compile(r"[0-9a-f]{32}")
_STAMP = re.compile(r"[0-9]{8}_[0-9]{6}")
_TYPE = re.compile(r".{0,255}", re.DOTALL)
#: No folder of any system takes a longer name, and no server knows one of a table or column.
_MAX_NAME_BYTES = 255


def parse_manifest(data: bytes, file: str) -> Manifest:
    """Read a manifest.

    Args:
        data: Its bytes.
        file: Its name, for errors.

    Raises:
        BadManifestError: It is none, or of a newer version.
    """
    try:
        document = json.loads(data.decode(), object_pairs_hook=_once, parse_constant=_no_number)
    except _TwiceError as exc:
        raise BadManifestError(f"manifest: {_short(exc.key)} is there twice", file=file) from exc
    except (ValueError, RecursionError) as exc:
        raise BadManifestError("manifest is no JSON document", file=file) from exc
    known = isinstance(document, dict) and document.get("manifest") == MANIFEST_KIND
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


class _TwiceError(ValueError):
    """A field is there twice: nobody can tell which one is meant."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _TwiceError(key)
            seen.add(key)
    return found


def _no_number(text: str) -> NoReturn:
    """Refuse ``NaN`` and ``Infinity``, which Python's module takes for numbers."""
    raise ValueError(text)


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
        if not _can_be_encoded(value):
            raise self.error(key, "text without lone surrogates")
        return value

    def name(self, key: str) -> str:
        """What PostgreSQL can have as a name."""
        value = self.text(key)
        if not _is_name(value):
            raise self.error(key, "a name")
        return value

    def file_name(self, key: str) -> str:
        """The name of something in the manifest's own folder."""
        value = self.name(key)
        if value in (".", "..") or not value.isprintable() or set(value) & set("/\\"):
            raise self.error(key, "the name of a file")
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

    def names(self, key: str) -> tuple[str, ...]:
        value = self.values.get(key, [])
        if not _are_names(value):
            raise self.error(key, "a list of names")
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


def _can_be_encoded(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_name(value: object) -> bool:
    if not isinstance(value, str) or "\0" in value or not _can_be_encoded(value):
        return False
    return 0 < len(value.encode()) <= _MAX_NAME_BYTES


def _are_names(value: object) -> bool:
    """Whether it is a list of names, each one once."""
    return isinstance(value, list) and all(map(_is_name, value)) and len(set(value)) == len(value)


def _manifest(found: _Reader) -> Manifest:
    kind = found.text("format")
    if kind not in ("csv", "binary"):
        raise found.error("format", "csv or binary")
    tables = tuple(_table(one) for one in found.objects("tables", at_least=1))
    _check_once(found, "tables", (table.name for table in tables))
    _check_once(found, "files", (file.name for table in tables for file in table.files))
    return Manifest(
        timestamp=found.text("timestamp", _STAMP),
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
        name=found.name("name"),
        schema=found.name("schema"),
        rows=found.number("rows"),
        digest=found.text_or_none("digest", _DIGEST),
        columns=_each(found, "columns", _column, at_least=1),
        files=_each(found, "files", _file, at_least=1),
        primary_key=found.names("primary_key"),
        unique=_lists(found, "unique"),
        foreign_keys=_each(found, "foreign_keys", _key),
        indexes=_each(found, "indexes", _index),
        outside_snapshot=found.flag("outside_snapshot"),
        emptied=found.flag("emptied"),
    )
    _check_once(found, f"columns of {shown(table.name)}", (column.name for column in table.columns))
    counted = sum(file.rows for file in table.files)
    if counted != table.rows:
        raise BadManifestError(
            f"manifest: {shown(table.name)} has {table.rows} rows, its files have {counted}",
            file=found.file,
        )
    return table


def _each(
    found: _Reader, key: str, read: Callable[[_Reader], Any], *, at_least: int = 0
) -> tuple[Any, ...]:
    return tuple(read(one) for one in found.objects(key, at_least=at_least))


def _lists(found: _Reader, key: str) -> tuple[tuple[str, ...], ...]:
    value = found.values.get(key, [])
    if not isinstance(value, list) or not all(_are_names(one) and one for one in value):
        raise found.error(key, "a list of lists of names")
    return tuple(tuple(one) for one in value)


def _column(found: _Reader) -> ManifestColumn:
    return ManifestColumn(
        found.name("name"),
        found.text("type_name", _TYPE),
        found.flag("not_null"),
        found.number_or_none("dimensions"),
        found.number_or_none("position"),
    )


def _file(found: _Reader) -> ManifestFile:
    return ManifestFile(
        found.file_name("name"),
        found.number("size_bytes"),
        found.text("sha256", _SHA256),
        found.number("rows"),
    )


def _key(found: _Reader) -> ManifestKey:
    return ManifestKey(found.name("column"), found.name("parent"), found.name("parent_column"))


def _index(found: _Reader) -> ManifestIndex:
    return ManifestIndex(found.text("name"), found.text("definition"))
