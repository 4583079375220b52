"""Inspecting sets with a manifest, as CSV and in binary."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

from pgvector_restore import (
    BadManifestError,
    InspectReport,
    Restorer,
    inspect_set,
    open_store,
    surveying,
)
from pgvector_restore.schema import COLLECTION, EMBEDDING
from tests.conftest import connect
from tests.described import STAMP, change_file, change_manifest, folder_of, write_described
from tests.restore.content import execute

Form = Literal["csv", "binary"]

_FILL = """
INSERT INTO langchain_pg_collection VALUES
    ('11111111-1111-4111-8111-111111111111', 'sql', NULL),
    ('22222222-2222-4222-8222-222222222222', 'documentation', '{"owner":  "data team"}');
INSERT INTO langchain_pg_embedding
SELECT 'row-' || n, '11111111-1111-4111-8111-111111111111'::uuid,
    CASE n WHEN 1 THEN '[0,-0]' WHEN 2 THEN NULL ELSE format('[%s,1,-0.5]', n) END::public.vector,
    'text ' || n, NULL
FROM generate_series(1, 12) n;
"""

#: Tables without keys: a dump of what a broken table holds.
_LOOSE = """
ALTER TABLE langchain_pg_embedding DROP CONSTRAINT langchain_pg_embedding_pkey;
ALTER TABLE langchain_pg_embedding DROP CONSTRAINT langchain_pg_embedding_collection_id_fkey;
INSERT INTO langchain_pg_embedding (id, collection_id) VALUES
    ('row-3', '11111111-1111-4111-8111-111111111111'),
    ('row-3', '99999999-9999-4999-8999-999999999999');
"""


def inspect(root: Path, **options: Any) -> InspectReport:
    return inspect_set(open_store(root), **options)


@pytest.mark.parametrize("part_rows", [None, 5])
@pytest.mark.parametrize("codec", [None, "gzip"])
@pytest.mark.parametrize("form", ["csv", "binary"])
def test_what_a_set_holds(
    g2_dsn: str, tmp_path: Path, form: Form, codec: Any, part_rows: int | None
) -> None:
    execute(g2_dsn, _FILL)
    write_described(tmp_path, g2_dsn, form=form, codec=codec, part_rows=part_rows)
    report = inspect(tmp_path)
    assert report.ok
    assert report.manifest_error is None
    collection, embedding = report.file(COLLECTION), report.file(EMBEDDING)
    assert (collection.records, embedding.records) == (2, 12)
    assert [(claim.source, claim.rows) for claim in embedding.claims] == [("manifest", 12)]
    columns = {column.name: column for column in embedding.columns}
    assert columns["embedding"].type_name == "vector"
    assert columns["embedding"].dimensions == ((3, 10), (2, 1))
    assert columns["embedding"].zero_vectors == 1
    assert {name: column.nulls for name, column in columns.items()} == {
        "cmetadata": 12, "collection_id": 0, "document": 0, "embedding": 1, "id": 0,
    }  # fmt: skip
    assert embedding.orphans == 0


@pytest.mark.parametrize("form", ["csv", "binary"])
def test_keys_that_are_repeated_and_orphans(g2_dsn: str, tmp_path: Path, form: Form) -> None:
    execute(g2_dsn, _FILL + _LOOSE)
    write_described(tmp_path, g2_dsn, form=form, part_rows=5)

    def claim_keys(document: dict[str, Any]) -> None:
        document["tables"][1]["primary_key"] = ["id"]
        document["tables"][1]["foreign_keys"] = [
            {"column": "collection_id", "parent": COLLECTION, "parent_column": "uuid"}
        ]

    change_manifest(tmp_path, claim_keys)
    report = inspect(tmp_path)
    found = report.file(EMBEDDING)
    assert not report.ok
    (repeated,) = found.repeated
    assert (repeated.column, repeated.extra_records, repeated.exact) == ("id", 2, True)
    assert [(key.value, key.count) for key in repeated.first] == [("row-3", 3)]
    assert repeated.first[0].records[1:] == (13, 14)
    assert found.orphans == 1
    assert [(one.record, one.key) for one in found.first_orphans] == [
        (14, "99999999-9999-4999-8999-999999999999")
    ]


@pytest.mark.parametrize("form", ["csv", "binary"])
def test_tables_that_no_shape_knows(dsn: str, tmp_path: Path, form: Form) -> None:
    execute(
        dsn,
        "CREATE EXTENSION vector;"
        "CREATE TABLE one (id bigint PRIMARY KEY, price numeric, half halfvec(2));"
        "CREATE TABLE two (id uuid PRIMARY KEY, one bigint REFERENCES one, tags text[]);"
        "INSERT INTO one VALUES (-7, 1.50, '[1,2]'), (8, NULL, NULL);"
        "INSERT INTO two SELECT gen_random_uuid(), -7, '{a}' FROM generate_series(1, 3)",
    )
    write_described(tmp_path, dsn, ["one", "two"], form=form)
    report = inspect(tmp_path)
    assert report.ok, str(report)
    assert report.file("two").orphans == 0
    assert {c.name: c.type_name for c in report.file("one").columns} == {
        "half": "halfvec(2)", "id": "bigint", "price": "numeric",
    }  # fmt: skip
    assert not any("no known shape" in note for file in report.files for note in file.notes)


def _part(number: int) -> str:
    return f"{EMBEDDING}_{STAMP}.part{number:05}.pgcopy"


def test_a_part_that_was_changed(g2_dsn: str, tmp_path: Path) -> None:
    execute(g2_dsn, _FILL)
    write_described(tmp_path, g2_dsn, part_rows=5)
    good = (folder_of(tmp_path) / _part(2)).read_bytes()
    change_file(tmp_path, _part(2), good.replace(b"text 7", b"text 8"), honest=False)
    report = inspect(tmp_path)
    assert not report.ok
    assert report.file(EMBEDDING).changed == (_part(2),)
    assert f"{_part(2)} is not the file the manifest was written for" in str(report)
    assert report.file(COLLECTION).ok


def test_a_csv_file_that_was_changed(g2_dsn: str, tmp_path: Path) -> None:
    execute(g2_dsn, _FILL)
    write_described(tmp_path, g2_dsn, form="csv")
    name = f"{EMBEDDING}_{STAMP}.csv"
    good = (folder_of(tmp_path) / name).read_bytes()
    change_file(tmp_path, name, good + good.splitlines(keepends=True)[-1], honest=False)
    found = inspect(tmp_path).file(EMBEDDING)
    assert found.changed == (name,)
    assert [(claim.source, claim.rows) for claim in found.disagreeing] == [("manifest", 12)]


@pytest.mark.parametrize(
    ("old", "new", "column", "reason"),
    [
        (b"\0\0\0\x10\0\3\0\0", b"\0\0\0\x10\0\4\0\0", "embedding", "4 dimensions has 16 bytes"),
        (b"\xbf\0\0\0", b"\x7f\xc0\0\0", "embedding", "vector holds NaN or an infinity"),
    ],
)
def test_bad_cells_in_binary(
    g2_dsn: str, tmp_path: Path, old: bytes, new: bytes, column: str, reason: str
) -> None:
    execute(g2_dsn, _FILL)
    write_described(tmp_path, g2_dsn, part_rows=5)
    good = (folder_of(tmp_path) / _part(2)).read_bytes()
    change_file(tmp_path, _part(2), good.replace(old, new, 1), honest=True)
    found = inspect(tmp_path).file(EMBEDDING)
    (bad,) = found.first_bad
    assert (bad.record, bad.column) == (6, column)
    assert reason in bad.reason


def test_a_part_that_is_cut(g2_dsn: str, tmp_path: Path) -> None:
    execute(g2_dsn, _FILL)
    write_described(tmp_path, g2_dsn, part_rows=5)
    good = (folder_of(tmp_path) / _part(2)).read_bytes()
    change_file(tmp_path, _part(2), good[:-2], honest=True)
    found = inspect(tmp_path).file(EMBEDDING)
    assert found.error is not None
    assert "file ends before its end mark" in str(found.error["message"])
    assert found.error["file"] == _part(2)


def test_a_manifest_that_is_damaged(g2_dsn: str, tmp_path: Path) -> None:
    execute(g2_dsn, _FILL)
    write_described(tmp_path, g2_dsn, form="csv")
    manifest = folder_of(tmp_path) / f"manifest_{STAMP}.json"
    manifest.write_bytes(manifest.read_bytes()[:-10])
    report = inspect(tmp_path)
    assert not report.ok
    assert report.manifest_error is not None
    assert report.manifest_error["type"] == "BadManifestError"
    assert "manifest is no JSON document" in str(report)
    assert all(file.ok for file in report.files)


def _drop_last(columns: list[Any]) -> None:
    del columns[-1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda columns: columns.reverse(),
            'column 1 of {} is "cmetadata", in the header it is "id"',
        ),
        (_drop_last, 'column 5 of {} is none, in the header it is "cmetadata"'),
        (
            lambda columns: columns.append({"name": "more", "type_name": "text"}),
            'column 6 of {} is "more", in the header it is none',
        ),
    ],
)
def test_a_manifest_of_other_columns(
    g2_dsn: str, tmp_path: Path, change: Callable[[list[Any]], None], message: str
) -> None:
    execute(g2_dsn, _FILL)
    write_described(tmp_path, g2_dsn, form="csv")
    change_manifest(tmp_path, lambda document: change(document["tables"][1]["columns"]))
    execute(g2_dsn, "DELETE FROM langchain_pg_embedding WHERE id = 'row-1'")
    expected = f"manifest: {message.format(EMBEDDING)} ({EMBEDDING}_{STAMP}.csv)"
    found = inspect(tmp_path).file(EMBEDDING)
    assert found.error is not None
    assert (found.error["type"], found.error["message"]) == ("BadManifestError", expected)
    assert found.records == 12
    with Restorer(open_store(tmp_path), g2_dsn) as restorer:
        for call in (restorer.plan, restorer.restore, restorer.verify):
            with pytest.raises(BadManifestError) as caught:
                call()
            assert str(caught.value) == expected
    with connect(g2_dsn) as conn:
        assert conn.execute("SELECT count(*) FROM langchain_pg_embedding").fetchall() == [(11,)]


def test_a_binary_set_whose_manifest_lies_on_sizes(g2_dsn: str, tmp_path: Path) -> None:
    execute(g2_dsn, _FILL)
    write_described(tmp_path, g2_dsn)

    def lie(document: dict[str, Any]) -> None:
        document["tables"][0]["files"][0]["size_bytes"] += 1

    change_manifest(tmp_path, lie)
    report = inspect(tmp_path)
    assert not report.ok
    assert report.manifest_error is not None
    for file in report.files:
        assert file.error is not None
        assert "no manifest tells its columns" in str(file.error["message"])


def test_many_keys_are_spilled(
    g2_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute(g2_dsn, _FILL)
    write_described(tmp_path, g2_dsn, part_rows=5)
    monkeypatch.setattr(surveying, "_MAX_PARENT_KEYS", 1)
    found = inspect(tmp_path, run_values=3).file(EMBEDDING)
    assert found.repeated == ()
    assert found.orphans is None
