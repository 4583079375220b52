"""Tables that are missing are created as the manifest says, and nothing of it is run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
from psycopg import sql

from pgvector_restore import (
    BadManifestError,
    OptionError,
    PgvectorRestoreError,
    Restorer,
    TargetError,
    TargetMismatchError,
    open_store,
)
from pgvector_restore.column_types import _KNOWN, EXTENSION_TYPES, TypeName, parse_type
from pgvector_restore.db.create import _TYPES, _type
from tests.conftest import connect, database
from tests.described import change_manifest, write_described
from tests.restore.content import execute, query, snapshot
from tests.sets import restore

_TABLES = """
CREATE EXTENSION IF NOT EXISTS vector;
CREATE TABLE "source Docs" (
    id bigint PRIMARY KEY,
    "titel ""x"" y" varchar(40) NOT NULL UNIQUE,
    added timestamp(3) with time zone,
    price numeric(10,2),
    tags text[],
    code character(3),
    at time without time zone
);
CREATE TABLE chunks (
    doc bigint NOT NULL REFERENCES "source Docs" (id),
    number int,
    embedding vector(3),
    half halfvec(2),
    sparse sparsevec,
    body text,
    PRIMARY KEY (doc, number)
);
CREATE INDEX chunks_hnsw ON chunks USING hnsw (embedding vector_cosine_ops);
INSERT INTO "source Docs"
SELECT n, 'titel ' || n, '2026-01-02 03:04:05.678+00'::timestamptz + n * interval '1 day',
    n / 8.0, ARRAY['a', NULL, n::text], 'x', '12:34:56'
FROM generate_series(1, 5) n;
INSERT INTO chunks
SELECT n, m, format('[%s,%s,1]', n, m)::vector, '[1,0.5]', '{1:1.5,7:2}/9', repeat('body ', m)
FROM generate_series(1, 5) n, generate_series(1, 4) m;
"""

Form = Literal["csv", "binary"]


@pytest.fixture
def other_dsn(server: Any) -> Any:
    with database(server) as made:
        yield made


@pytest.fixture
def root(dsn: str, tmp_path: Path) -> Path:
    execute(dsn, _TABLES)
    return write_described(tmp_path, dsn, ["source Docs", "chunks"], part_rows=6)


def _types(dsn: str) -> list[tuple[Any, ...]]:
    return query(
        dsn,
        "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull"
        " FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid"
        " WHERE c.relname IN ('source Docs', 'chunks') AND a.attnum > 0 ORDER BY 1, 2",
    )


def _keys(dsn: str) -> list[tuple[Any, ...]]:
    return query(
        dsn,
        "SELECT conrelid::regclass::text, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE contype IN ('p', 'u', 'f') AND connamespace = 'public'::regnamespace ORDER BY 1, 2",
    )


@pytest.mark.parametrize("strategy", ["in_place", "swap"])
@pytest.mark.parametrize("form", ["csv", "binary"])
def test_into_an_empty_database(
    dsn: str, other_dsn: str, tmp_path: Path, form: Form, strategy: str
) -> None:
    execute(dsn, _TABLES)
    write_described(tmp_path, dsn, ["source Docs", "chunks"], form=form)
    if strategy == "swap":
        execute(other_dsn, "CREATE EXTENSION vector")
    report = restore(tmp_path, other_dsn, mode="replace", strategy=strategy, verify="content")
    assert [t.created for t in report.tables] == [True, True]
    assert _types(other_dsn) == _types(dsn)
    assert _keys(other_dsn) == _keys(dsn)
    for table in ('"source Docs"', "chunks"):
        names = query(
            dsn,
            "SELECT string_agg(quote_ident(attname), ',' ORDER BY attname) FROM pg_attribute"
            f" WHERE attrelid = '{table}'::regclass AND attnum > 0",
        )[0][0]
        text = f"SELECT {names} FROM {table} ORDER BY 1, 2, 3"
        assert query(other_dsn, text) == query(dsn, text)
    with Restorer(open_store(tmp_path), other_dsn) as restorer:
        assert restorer.verify().equal


def test_the_plan_tells_what_is_not_created(root: Path, other_dsn: str) -> None:
    with Restorer(open_store(root), other_dsn) as restorer:
        plan = restorer.plan()
    assert plan.creates_extension
    assert (
        "note: chunks had index chunks_hnsw: CREATE INDEX chunks_hnsw ON public.chunks USING hnsw"
    ) in str(plan)
    assert str(plan).count("had index") == 1
    assert plan.to_dict()["generation"] == "the manifest"


def test_columns_that_users_added(g2_dsn: str, other_dsn: str, tmp_path: Path) -> None:
    execute(g2_dsn, "ALTER TABLE langchain_pg_embedding ADD tenant int")
    execute(g2_dsn, "INSERT INTO langchain_pg_embedding (id, tenant) VALUES ('a', 7), ('b', NULL)")
    write_described(tmp_path, g2_dsn)
    restore(tmp_path, other_dsn)
    found = query(other_dsn, "SELECT id, tenant FROM langchain_pg_embedding ORDER BY id")
    assert found == [("a", 7), ("b", None)]
    ((key,),) = query(
        other_dsn,
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE contype = 'f' AND conrelid = 'langchain_pg_embedding'::regclass",
    )
    assert key.endswith("REFERENCES langchain_pg_collection(uuid) ON DELETE CASCADE")


def test_known_tables_are_created_as_langchain_does(
    g2_dsn: str, other_dsn: str, tmp_path: Path
) -> None:
    write_described(tmp_path, g2_dsn)
    with Restorer(open_store(tmp_path), other_dsn) as restorer:
        plan = restorer.plan()
        assert plan.to_dict()["generation"] == "langchain_postgres"
        assert "had index" not in str(plan)
        restorer.run(plan)
    assert query(other_dsn, "SELECT 'ix_cmetadata_gin'::regclass::text") == [("ix_cmetadata_gin",)]


def test_without_vectors_no_extension_is_needed(dsn: str, other_dsn: str, tmp_path: Path) -> None:
    execute(dsn, "CREATE TABLE notes (id int PRIMARY KEY, body text); INSERT INTO notes VALUES (1)")
    write_described(tmp_path, dsn, ["notes"])
    restore(tmp_path, other_dsn)
    assert query(other_dsn, "SELECT id, body FROM notes") == [(1, None)]
    assert query(other_dsn, "SELECT FROM pg_extension WHERE extname = 'vector'") == []


def _chunks(change: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, Any]], None]:
    return lambda document: change(document["tables"][1])


def _typed(name: str) -> Callable[[dict[str, Any]], None]:
    def change(table: dict[str, Any]) -> None:
        for column in table["columns"]:
            if column["name"] == "body":
                column["type_name"] = name

    return _chunks(change)


_EVIL = 'text); DROP TABLE victim; CREATE TABLE "x" (y text'


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (_typed(_EVIL), TargetMismatchError, "with which no table is created"),
        (_typed("text DEFAULT pg_sleep(1)"), TargetMismatchError, "with which no table is created"),
        (_typed("public.color"), TargetMismatchError, "with which no table is created"),
        (_typed("text\x1b[2J"), TargetMismatchError, "has type text\\x1b[2J"),
        (_typed(""), TargetMismatchError, "with which no table is created"),
        (_typed("character varying(0)"), TargetError, "must be at least 1"),
        (
            _chunks(lambda t: t.update(primary_key=["id) ; DROP TABLE victim"])),
            BadManifestError,
            "a key of chunks has column",
        ),
        (_chunks(lambda t: t["unique"].append(["no"])), BadManifestError, 'has column "no"'),
        (
            _chunks(lambda t: t["columns"][0].update(name="x" * 64)),
            BadManifestError,
            "is no PostgreSQL name",
        ),
        (
            _chunks(lambda t: t["foreign_keys"][0].update(parent_column="nothing")),
            TargetError,
            'column "nothing" referenced in foreign key constraint does not exist',
        ),
    ],
)
def test_a_manifest_is_not_run(
    root: Path,
    other_dsn: str,
    change: Callable[[dict[str, Any]], None],
    error: type[PgvectorRestoreError],
    message: str,
) -> None:
    execute(other_dsn, "CREATE TABLE victim (id int)")
    before = snapshot(other_dsn)
    change_manifest(root, change)
    with pytest.raises(error) as caught:
        restore(root, other_dsn)
    assert message in str(caught.value)
    assert snapshot(other_dsn) == before


def test_names_of_a_manifest_are_names(root: Path, other_dsn: str) -> None:
    """A column may be called anything."""

    def rename(table: dict[str, Any]) -> None:
        for column in table["columns"]:
            if column["name"] == "body":
                column["name"] = 'b"; DROP TABLE victim; --'

    execute(other_dsn, "CREATE TABLE victim (id int)")
    change_manifest(root, _chunks(rename))
    restore(root, other_dsn)
    assert query(other_dsn, 'SELECT "b""; DROP TABLE victim; --" FROM chunks LIMIT 1') == [
        ("body ",)
    ]
    assert query(other_dsn, "SELECT count(*) FROM victim") == [(0,)]


def test_a_parent_that_is_not_in_the_backup(dsn: str, other_dsn: str, tmp_path: Path) -> None:
    execute(dsn, _TABLES)
    write_described(tmp_path, dsn, ["chunks"])
    with Restorer(open_store(tmp_path), other_dsn) as restorer:
        plan = restorer.plan()
        assert "the foreign key is not created" in str(plan)
        restorer.run(plan)
    assert query(other_dsn, "SELECT count(*) FROM chunks") == [(20,)]


def test_parents_are_not_replaced_alone(root: Path, dsn: str) -> None:
    with Restorer(open_store(root), dsn) as restorer:
        with pytest.raises(
            OptionError, match="replacing only source Docs would orphan the rows of chunks"
        ):
            restorer.plan(mode="replace", tables=["source Docs"])
        plan = restorer.plan(mode="replace", tables=["chunks"])
    assert [table.name for table in plan.tables] == ["chunks"]


def test_the_target_knows_parents_as_well(dsn: str, tmp_path: Path) -> None:
    execute(dsn, "CREATE TABLE one (id int PRIMARY KEY); CREATE TABLE two (id int)")
    write_described(tmp_path, dsn, ["one", "two"])
    execute(dsn, "ALTER TABLE two ADD FOREIGN KEY (id) REFERENCES one")
    with (
        Restorer(open_store(tmp_path), dsn) as restorer,
        pytest.raises(OptionError, match="replacing only one would orphan the rows of two"),
    ):
        restorer.plan(mode="replace", tables=["one"])


def test_unrelated_tables_are_replaced_in_any_choice(dsn: str, tmp_path: Path) -> None:
    execute(dsn, "CREATE TABLE one (id int); CREATE TABLE two (id int)")
    write_described(tmp_path, dsn, ["one", "two"])
    for name in ("one", "two"):
        report = restore(tmp_path, dsn, mode="replace", tables=[name])
        assert [table.table for table in report.tables] == [name]


def test_every_known_type_can_be_created(dsn: str) -> None:
    assert set(_TYPES) | set(EXTENSION_TYPES) == set(_KNOWN)
    with connect(dsn) as conn:
        for name in _TYPES:
            conn.execute(
                sql.SQL("DROP TABLE IF EXISTS t; CREATE TABLE t (x {})").format(_sql(name))
            )
            ((written,),) = conn.execute(
                "SELECT format_type(atttypid, atttypmod) FROM pg_attribute"
                " WHERE attrelid = 't'::regclass AND attnum > 0"
            ).fetchall()
            found = parse_type(written)
            assert found is not None
            assert found.base == name


def _sql(name: str) -> sql.Composed:
    return _type(TypeName(name), "public")
