"""Verifying against a manifest: without a look at values where all is well, by rows where not."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest

from pgvector_restore import (
    BadManifestError,
    Restorer,
    RowDifference,
    TargetMismatchError,
    VerifyReport,
    comparing,
    open_store,
)
from pgvector_restore.schema import EMBEDDING
from tests.described import STAMP, change_file, change_manifest, folder_of, write_described
from tests.restore.content import execute, query
from tests.sets import restore

Form = Literal["csv", "binary"]

_TABLE = """
CREATE TABLE items (
    id int, owner uuid, name varchar(20), data jsonb, raw json, price numeric, tags text[],
    at timestamptz, flag bool, big bigint, PRIMARY KEY (owner, id)
);
INSERT INTO items
SELECT n, ('00000000-0000-4000-8000-00000000000' || n % 3)::uuid, 'name ' || n,
    jsonb_build_object('n', n), '{"a":  1.0}', n / 3.0, ARRAY[n::text, NULL],
    '2026-01-02 03:04:05+00', n % 2 = 0, n * 10000000000
FROM generate_series(1, 20) n;
"""


def verify(root: Path, dsn: str, **options: Any) -> VerifyReport:
    with Restorer(open_store(root), dsn) as restorer:
        return restorer.verify(**options)


@pytest.fixture
def root(dsn: str, tmp_path: Path, form: Form) -> Path:
    execute(dsn, _TABLE)
    return write_described(tmp_path, dsn, ["items"], form=form, part_rows=6)


both = pytest.mark.parametrize("form", ["csv", "binary"])


@both
def test_equal_without_a_look_at_values(
    dsn: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(comparing.TableCheck, "_digest_file", refuse)
    report = verify(root, dsn)
    assert report.equal
    assert report.tables[0].rows_in_file == 20


@pytest.mark.parametrize(
    ("form", "check_manifest"), [("csv", True), ("csv", False), ("binary", True)]
)
def test_rows_that_differ_are_named(
    dsn: str,
    root: Path,
    check_manifest: bool,  # noqa: FBT001
) -> None:
    execute(dsn, "UPDATE items SET name = 'other', price = 1.0 WHERE id = 4")
    execute(dsn, "DELETE FROM items WHERE id = 5")
    execute(dsn, "INSERT INTO items (id, owner) VALUES (99, gen_random_uuid())")
    ((extra,),) = query(dsn, "SELECT owner::text FROM items WHERE id = 99")
    report = verify(root, dsn, check_manifest=check_manifest)
    (table,) = report.tables
    assert table.key == ("owner", "id")
    found = sorted(table.differences, key=lambda one: one.kind)
    assert found == [
        RowDifference(
            "different", ("00000000-0000-4000-8000-000000000001", "4"), 4, ("name", "price")
        ),
        RowDifference("extra", (extra, "99")),
        RowDifference("missing", ("00000000-0000-4000-8000-000000000002", "5"), 5),
    ]
    assert not table.more


@both
@pytest.mark.parametrize("column", ["price", "tags", "raw", "at", "flag"])
def test_any_column_counts(dsn: str, root: Path, column: str) -> None:
    execute(dsn, f"UPDATE items SET {column} = NULL WHERE id = 7")
    (difference,) = verify(root, dsn).tables[0].differences
    assert (difference.record, difference.columns) == (7, (column,))


@both
def test_a_file_that_was_changed(dsn: str, root: Path, form: Form) -> None:
    part = f"items_{STAMP}." + ("csv" if form == "csv" else "part00002.pgcopy")
    good = (folder_of(root) / part).read_bytes()
    change_file(root, part, good.replace(b"name 8", b"name 9"), honest=False)
    with pytest.raises(BadManifestError, match="SHA-256 differs") as caught:
        verify(root, dsn)
    assert caught.value.file == part


@both
def test_a_digest_that_was_not_taken(dsn: str, root: Path) -> None:
    def forget(document: dict[str, Any]) -> None:
        document["tables"][0]["digest"] = None

    change_manifest(root, forget)
    assert verify(root, dsn).equal
    execute(dsn, "UPDATE items SET price = 0 WHERE id = 20")
    (difference,) = verify(root, dsn).tables[0].differences
    assert (difference.record, difference.columns) == (20, ("price",))


@both
def test_settings_of_the_role_make_no_difference(dsn: str, tmp_path: Path, form: Form) -> None:
    execute(dsn, "CREATE TABLE items (id int PRIMARY KEY, took interval, at tstzrange)")
    execute(dsn, "INSERT INTO items VALUES (1, '3 days 4 hours', '[2026-01-02 03:04+00,)')")
    write_described(tmp_path, dsn, ["items"], form=form)
    execute(dsn, "ALTER ROLE CURRENT_USER SET IntervalStyle = 'sql_standard'")
    execute(dsn, "ALTER ROLE CURRENT_USER SET TimeZone = 'Asia/Tokyo'")
    try:
        assert verify(tmp_path, dsn).equal
        execute(dsn, "UPDATE items SET took = '5 days'")
        assert not verify(tmp_path, dsn).equal
    finally:
        execute(dsn, "ALTER ROLE CURRENT_USER RESET ALL")


def test_other_types_with_the_same_values(dsn: str, tmp_path: Path) -> None:
    """Fields of json become those of jsonb and back; texts are texts."""
    execute(dsn, _TABLE)
    write_described(tmp_path, dsn, ["items"], part_rows=6)
    execute(dsn, "ALTER TABLE items ALTER data TYPE json, ALTER raw TYPE jsonb")
    execute(dsn, "ALTER TABLE items ALTER name TYPE text")
    before = query(dsn, "SELECT items::text FROM items ORDER BY id")
    assert verify(tmp_path, dsn).equal
    for strategy in ("in_place", "swap"):
        report = restore(tmp_path, dsn, mode="replace", strategy=strategy, jobs=2, verify="content")
        assert [t.rows_loaded for t in report.tables] == [20]
        assert query(dsn, "SELECT items::text FROM items ORDER BY id") == before
    execute(dsn, "UPDATE items SET raw = '2' WHERE id = 3")
    (difference,) = verify(tmp_path, dsn).tables[0].differences
    assert (difference.record, difference.columns) == (3, ("raw",))


@pytest.mark.parametrize(
    ("column", "new", "said"),
    [
        ("id", "bigint", 'column "id" of items is of type bigint, items_'),
        ("big", "numeric", "has bigint in binary"),
        ("tags", "varchar[]", "is of type character varying[]"),
        ("name", "character(20)", "is of type character(20)"),
        ("price", "numeric(10,1)", "is of type numeric(10,1)"),
    ],
)
def test_other_types_are_refused(
    dsn: str, tmp_path: Path, column: str, new: str, said: str
) -> None:
    execute(dsn, _TABLE)
    write_described(tmp_path, dsn, ["items"])
    execute(dsn, f"ALTER TABLE items ALTER {column} TYPE {new}")
    with Restorer(open_store(tmp_path), dsn) as restorer:
        for call in (restorer.plan, restorer.verify):
            with pytest.raises(TargetMismatchError) as caught:
                call()
            assert said in str(caught.value)
            assert caught.value.hint == "restore a backup in the form csv"


def test_columns_the_server_computes_are_left_out(dsn: str, tmp_path: Path) -> None:
    execute(dsn, "CREATE TABLE items (id int PRIMARY KEY, twice int, name text)")
    execute(dsn, "INSERT INTO items SELECT n, 2 * n, 'n' || n FROM generate_series(1, 9) n")
    write_described(tmp_path, dsn, ["items"], part_rows=4)
    execute(dsn, "DROP TABLE items")
    execute(
        dsn,
        "CREATE TABLE items (id int PRIMARY KEY,"
        " twice int GENERATED ALWAYS AS (2 * id) STORED, name text)",
    )
    report = restore(tmp_path, dsn, mode="replace", verify="content")
    assert any("twice is generated by the server" in warning for warning in report.warnings)
    assert query(dsn, "SELECT * FROM items WHERE id = 9") == [(9, 18, "n9")]
    assert verify(tmp_path, dsn).equal


def test_a_trigger_that_changes_rows_is_found(g2_dsn: str, tmp_path: Path) -> None:
    execute(g2_dsn, "INSERT INTO langchain_pg_embedding (id, document) VALUES ('a', 'x')")
    write_described(tmp_path, g2_dsn)
    execute(
        g2_dsn,
        "CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN NEW.document := upper(NEW.document); RETURN NEW; END';"
        "CREATE TRIGGER shout BEFORE INSERT ON langchain_pg_embedding"
        " FOR EACH ROW EXECUTE FUNCTION shout()",
    )
    with pytest.raises(Exception, match=f"{EMBEDDING} does not hold what") as caught:
        restore(tmp_path, g2_dsn, mode="replace", strategy="in_place", verify="content")
    assert 'different: "a" (record 1) in document' in str(caught.value)
