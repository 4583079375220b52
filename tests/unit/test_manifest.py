from __future__ import annotations

import json
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from pgvector_restore.errors import BadManifestError
from pgvector_restore.manifest import (
    Manifest,
    ManifestColumn,
    ManifestFile,
    ManifestIndex,
    ManifestKey,
    ManifestTable,
)
from pgvector_restore.manifest_parsing import parse_manifest

_FILE = "manifest_20261125_003000.json"

MANIFEST = Manifest(
    timestamp="20261125_003000",
    format="binary",
    codec="zstd",
    created_at="2026-11-25T00:30:00+00:00",
    tool_version="0.1.0",
    server_version=180004,
    vector_version="0.8.5",
    tables=(
        ManifestTable(
            name="docs",
            schema="public",
            rows=3,
            digest="0" * 32,
            columns=(
                ManifestColumn("id", "uuid", not_null=True, position=2),
                ManifestColumn("embedding", "vector(3)", dimensions=3, position=1),
            ),
            files=(
                ManifestFile("docs_20261125_003000.part00001.pgcopy.zst", 10, "a" * 64, 2),
                ManifestFile("docs_20261125_003000.part00002.pgcopy.zst", 9, "b" * 64, 1),
            ),
            primary_key=("id",),
            unique=(("id", "embedding"),),
            foreign_keys=(ManifestKey("id", "parents", "uuid"),),
            indexes=(ManifestIndex("docs_pkey", "CREATE UNIQUE INDEX …"),),
            outside_snapshot=True,
        ),
    ),
)


def test_columns_in_the_order_of_the_table() -> None:
    (table,) = MANIFEST.tables
    assert [column.name for column in table.table_columns] == ["embedding", "id"]
    untold = evolve(table, columns=tuple(evolve(c, position=None) for c in table.columns))
    assert untold.table_columns == untold.columns


def document() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(MANIFEST.to_json())
    return found


def test_what_is_written_is_read() -> None:
    assert parse_manifest(MANIFEST.to_json(), _FILE) == MANIFEST


def test_what_it_does_not_know_is_passed_over() -> None:
    later = document() | {"later": [1]}
    later["tables"][0]["later"] = {"x": None}
    assert parse_manifest(json.dumps(later).encode(), _FILE) == MANIFEST


def test_of_which_moment_rows_are() -> None:
    assert not MANIFEST.one_snapshot
    # A manifest that does not tell is of a time when nothing else was backed up without saying so.
    untold = json.dumps(_set("tables.0.outside_snapshot", None)).encode()
    assert parse_manifest(untold, _FILE).one_snapshot


def _set(path: str, value: object) -> Any:
    found = document()
    *parents, last = path.split(".")
    place: Any = found
    for name in parents:
        place = place[int(name)] if name.isdigit() else place[name]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return found


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("manifest", "other", "manifest is not one of this tool"),
        ("version", "1", "manifest is not one of this tool"),
        ("version", True, "manifest is not one of this tool"),
        ("version", 0, "manifest is not one of this tool"),
        ("version", 2, "manifest has version 2, this tool reads up to 1"),
        ("format", "parquet", "manifest: format must be csv or binary, not 'parquet'"),
        ("timestamp", None, "manifest: timestamp must be like [0-9]{8}_[0-9]{6}, not None"),
        ("tables", [], "manifest: tables must be a list that is not empty, not []"),
        ("tables", [1], "manifest: tables must be a list of objects, not [1]"),
        ("server_version", -1, "manifest: server_version must be a whole number, not -1"),
        ("tables.0.rows", 2.0, "manifest: tables[0].rows must be a whole number, not 2.0"),
        ("tables.0.rows", 4, "manifest: docs has 4 rows, its files have 3"),
        ("tables.0.digest", "x", "manifest: tables[0].digest must be like [0-9a-f]{32}, not 'x'"),
        ("tables.0.name", "\ud800", "manifest: tables[0].name must be text without lone"),
        ("tables.0.outside_snapshot", 1, "manifest: tables[0].outside_snapshot must be true or"),
        ("tables.0.primary_key", "id", "manifest: tables[0].primary_key must be a list of names"),
        ("tables.0.unique", ["id"], "manifest: tables[0].unique must be a list of lists of names"),
        ("tables.0.columns", [], "manifest: tables[0].columns must be a list that is not empty"),
        (
            "tables.0.columns.1.name", "id",
            'manifest: columns of docs has "id" more than once',
        ),
        (
            "tables.0.columns.0.not_null", 1,
            "manifest: tables[0].columns[0].not_null must be true or false, not 1",
        ),
        (
            "tables.0.files.0.sha256", "A" * 64,
            "manifest: tables[0].files[0].sha256 must be like [0-9a-f]{64}",
        ),
        (
            "tables.0.files.1.name", "docs_20261125_003000.part00001.pgcopy.zst",
            'manifest: files has "docs_20261125_003000.part00001.pgcopy.zst" more than once',
        ),
        ("timestamp", "2026-11-25", "manifest: timestamp must be like [0-9]{8}_[0-9]{6}, not"),
        ("tables.0.name", "", "manifest: tables[0].name must be a name, not ''"),
        ("tables.0.name", "x" * 256, "manifest: tables[0].name must be a name, not 'xxx"),
        ("tables.0.schema", "a\0", r"manifest: tables[0].schema must be a name, not 'a\x00'"),
        ("tables.0.columns.0.name", "a\0", "manifest: tables[0].columns[0].name must be a name"),
        ("tables.0.primary_key", ["a\0"], "manifest: tables[0].primary_key must be a list of"),
        ("tables.0.primary_key", ["id", "id"], "manifest: tables[0].primary_key must be a list"),
        ("tables.0.columns.0.type_name", "x" * 256, "manifest: tables[0].columns[0].type_name"),
        ("tables.0.unique", [["\ud800"]], "manifest: tables[0].unique must be a list of lists of"),
        ("tables.0.unique", [[]], "manifest: tables[0].unique must be a list of lists of names"),
        *(
            ("tables.0.files.0.name", name,
             "manifest: tables[0].files[0].name must be the name of a file, not ")
            for name in ("../x", "/etc/passwd", "..", "a\\b", "a\nb", "a\x1b[2J")
        ),
        (
            "tables.0.foreign_keys.0.parent", "",
            "manifest: tables[0].foreign_keys[0].parent must be a name, not ''",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(path: str, value: object, message: str) -> None:
    data = json.dumps(_set(path, value)).encode()
    with pytest.raises(BadManifestError) as caught:
        parse_manifest(data, _FILE)
    assert caught.value.message.startswith(message)
    assert caught.value.file == _FILE


@pytest.mark.parametrize(
    "data", [b"", b"{", b"\xff", b"[1]", b"null", b'"x"', b"[" * 100_000, MANIFEST.to_json()[:-9]]
)
def test_what_is_no_manifest(data: bytes) -> None:
    with pytest.raises(BadManifestError, match="manifest is n"):
        parse_manifest(data, _FILE)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (b'"rows": 3', b'"rows": 9, "rows": 3', "manifest: 'rows' is there twice"),
        (b'"sha256": ', b'"sha256": "", "sha256": ', "manifest: 'sha256' is there twice"),
        (b'"codec": ', b'"later": {"a": 1, "a": 1}, "codec": ', "manifest: 'a' is there twice"),
        (b'"codec": ', b'"later": NaN, "codec": ', "manifest is no JSON document"),
        (b'"codec": ', b'"later": -Infinity, "codec": ', "manifest is no JSON document"),
    ],
)
def test_what_readers_would_read_differently(before: bytes, after: bytes, message: str) -> None:
    data = MANIFEST.to_json().replace(before, after, 1)
    assert data != MANIFEST.to_json()
    with pytest.raises(BadManifestError) as caught:
        parse_manifest(data, _FILE)
    assert str(caught.value) == f"{message} ({_FILE})"


@given(st.data())
def test_any_change_is_read_or_refused(data: st.DataObject) -> None:
    text = MANIFEST.to_json()
    at = data.draw(st.integers(0, len(text) - 1))
    changed = text[:at] + data.draw(st.binary(max_size=2)) + text[at + 1 :]
    try:
        found = parse_manifest(changed, _FILE)
    except BadManifestError as exc:
        place = exc.file
    else:
        place = _FILE
        assert parse_manifest(found.to_json(), _FILE) == found
    assert place == _FILE
