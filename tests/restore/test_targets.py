"""Targets of many shapes: restored by name, or refused in planning with the reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pgvector_restore import (
    BadHeaderError,
    OptionError,
    Restorer,
    TargetMismatchError,
    open_store,
)
from tests.conftest import connect
from tests.restore.content import count, execute, query, snapshot
from tests.sets import (
    COLLECTION_CELLS,
    DOC_ID,
    EMBEDDING_CELLS,
    EMBEDDING_HEADER,
    SQL_ID,
    collection_bytes,
    embedding_bytes,
    raw_file,
    restore,
    write_set,
)

_EMBEDDING = "langchain_pg_embedding"
_G1_HEADER = ("collection_id", "embedding", "document", "cmetadata", "custom_id", "uuid")
_G1_CELLS = [
    (parent, vector, document, meta, key, f"00000000-0000-4000-8000-00000000000{n}")
    for n, (key, parent, vector, document, meta) in enumerate(EMBEDDING_CELLS)
]
_G1_TABLES = """
CREATE EXTENSION vector;
CREATE TABLE langchain_pg_collection (name varchar, cmetadata json, uuid uuid PRIMARY KEY);
CREATE TABLE langchain_pg_embedding (
    collection_id uuid REFERENCES langchain_pg_collection ON DELETE CASCADE,
    embedding vector(3), document varchar, cmetadata json, custom_id varchar,
    uuid uuid PRIMARY KEY
);
"""


def g1_set(root: Path, **changes: Any) -> Path:
    return write_set(root, embedding=raw_file(_G1_HEADER, _G1_CELLS), **changes)


def with_column(root: Path, name: str, *values: str) -> Path:
    """The small set with one more column of embeddings."""
    records = [(*cells, value) for cells, value in zip(EMBEDDING_CELLS, values, strict=False)]
    return write_set(root, embedding=raw_file((*EMBEDDING_HEADER, name), records))


def columns(dsn: str, table: str) -> list[str]:
    text = f"SELECT attname FROM pg_attribute WHERE attrelid = '{table}'::regclass AND attnum > 0"
    return [row[0] for row in query(dsn, f"{text} ORDER BY attnum")]


def test_g1_tables(dsn: str, tmp_path: Path) -> None:
    execute(dsn, _G1_TABLES)
    report = restore(g1_set(tmp_path), dsn, mode="replace")
    assert not any(table.created for table in report.tables)
    assert query(dsn, f"SELECT custom_id, cmetadata FROM {_EMBEDDING} ORDER BY uuid LIMIT 1") == [
        ("a-ddl", {"a": None})
    ]


def test_g1_backup_into_missing_tables(dsn: str, tmp_path: Path) -> None:
    report = restore(g1_set(tmp_path), dsn)
    assert all(table.created for table in report.tables)
    assert "custom_id" in columns(dsn, _EMBEDDING)
    assert count(dsn, _EMBEDDING) == 4


def test_g1_names_may_stand_twice(dsn: str, tmp_path: Path) -> None:
    twice = [(SQL_ID, "same", ""), (DOC_ID, "same", "")]
    restore(g1_set(tmp_path, collection=collection_bytes(records=twice)), dsn)
    assert query(dsn, "SELECT name FROM langchain_pg_collection") == [("same",), ("same",)]


def test_missing_tables_are_created_as_langchain_does(dsn: str, tmp_path: Path) -> None:
    report = restore(write_set(tmp_path), dsn)
    assert report.extension_created
    assert columns(dsn, _EMBEDDING) == list(EMBEDDING_HEADER)
    assert query(dsn, "SELECT indexname FROM pg_indexes WHERE indexname ~ '^ix' ") == [
        ("ix_cmetadata_gin",)
    ]
    # They are the tables of the next restore, too.
    assert restore(tmp_path, dsn, mode="replace").rows_loaded == 6


def test_creating_can_be_forbidden(dsn: str, tmp_path: Path) -> None:
    content = snapshot(dsn)
    with pytest.raises(TargetMismatchError, match="has no table langchain_pg_collection, "):
        restore(write_set(tmp_path), dsn, create_tables=False)
    assert snapshot(dsn) == content


def test_only_one_table_is_missing(g2_dsn: str, tmp_path: Path) -> None:
    execute(g2_dsn, f"DROP TABLE {_EMBEDDING}")
    report = restore(write_set(tmp_path), g2_dsn)
    assert [table.created for table in report.tables] == [False, True]
    assert not report.extension_created


def test_columns_of_no_known_shape_are_not_created(dsn: str, tmp_path: Path) -> None:
    content = snapshot(dsn)
    with pytest.raises(BadHeaderError, match="no known shape") as caught:
        restore(with_column(tmp_path, "mine", "1"), dsn)
    assert "create the table" in (caught.value.hint or "")
    assert snapshot(dsn) == content


def test_column_of_the_target_with_a_default(g2_dsn: str, tmp_path: Path) -> None:
    execute(g2_dsn, f"ALTER TABLE {_EMBEDDING} ADD n int NOT NULL DEFAULT 7, ADD m text")
    restore(write_set(tmp_path), g2_dsn)
    assert query(g2_dsn, f"SELECT DISTINCT n, m FROM {_EMBEDDING}") == [(7, None)]


def test_column_without_an_encoder_makes_the_table_text(g2_dsn: str, tmp_path: Path) -> None:
    execute(g2_dsn, f'ALTER TABLE {_EMBEDDING} ADD seen inet, ADD "at ""x" int4range')
    seen = ["10.0.0.1", "", "::1", "10.1.0.0/16"]
    root = with_column(tmp_path, "seen", *seen)
    with Restorer(open_store(root), g2_dsn) as restorer:
        plan = restorer.plan("latest")
        assert [table.wire for table in plan.tables] == ["binary", "text"]
        assert plan.tables[1].wire_reason == (
            'column "seen" has type inet, for which there is no binary encoder'
        )
        restorer.run(plan)
    rows = query(g2_dsn, f"SELECT seen::text, vector_dims(embedding) FROM {_EMBEDDING} ORDER BY id")
    assert rows == [("10.0.0.1/32", 3), (None, 3), ("::1/128", 3), ("10.1.0.0/16", None)]
    before = snapshot(g2_dsn)
    with pytest.raises(TargetMismatchError, match='in binary: column "seen" has type inet'):
        restore(root, g2_dsn, mode="replace", wire="binary")
    assert snapshot(g2_dsn) == before


def test_column_of_the_target_without_a_default(g2_dsn: str, tmp_path: Path) -> None:
    execute(g2_dsn, f"ALTER TABLE {_EMBEDDING} ADD n int NOT NULL")
    with pytest.raises(TargetMismatchError, match=r'column "n".*NOT NULL without a default'):
        restore(write_set(tmp_path), g2_dsn)


def test_columns_that_the_target_lacks_are_all_named(g2_dsn: str, tmp_path: Path) -> None:
    header = ("id", "collection_id", "embedding", "text", "meta")
    with pytest.raises(BadHeaderError, match='has no column "text", "meta"') as caught:
        restore(write_set(tmp_path, embedding=embedding_bytes(header=header)), g2_dsn)
    assert "document" in (caught.value.hint or "")


@pytest.mark.parametrize("in_header", [True, False])
def test_generated_column(g2_dsn: str, tmp_path: Path, *, in_header: bool) -> None:
    execute(
        g2_dsn, f"ALTER TABLE {_EMBEDDING} ADD size int GENERATED ALWAYS AS (length(id)) STORED"
    )
    root = with_column(tmp_path, "size", *"9999") if in_header else write_set(tmp_path)
    report = restore(root, g2_dsn, mode="replace")
    assert query(g2_dsn, f"SELECT DISTINCT size FROM {_EMBEDDING}") == [(5,)]
    assert [w for w in report.warnings if "size is generated" in w] == list(report.warnings)
    assert len(report.warnings) == in_header


@pytest.mark.parametrize("kind", ["ALWAYS", "BY DEFAULT"])
def test_identity_column(g2_dsn: str, tmp_path: Path, kind: str) -> None:
    execute(g2_dsn, f"ALTER TABLE {_EMBEDDING} ADD n int GENERATED {kind} AS IDENTITY")
    restore(write_set(tmp_path), g2_dsn, mode="replace")
    assert query(g2_dsn, f"SELECT n FROM {_EMBEDDING} ORDER BY id") == [(1,), (2,), (3,), (4,)]
    restore(with_column(tmp_path, "n", *"8765"), g2_dsn, mode="replace")
    assert query(g2_dsn, f"SELECT n FROM {_EMBEDDING} ORDER BY id") == [(8,), (7,), (6,), (5,)]


@pytest.mark.parametrize("existing", [True, False])
def test_another_schema(dsn: str, tmp_path: Path, *, existing: bool) -> None:
    name = 'My "Schema'
    execute(dsn, 'CREATE SCHEMA "My ""Schema"')
    root = write_set(tmp_path)
    if existing:
        restore(root, dsn, schema=name)
    report = restore(root, dsn, schema=name, mode="replace")
    assert report.schema == name
    assert count(dsn, f'"My ""Schema".{_EMBEDDING}') == 4
    assert query(dsn, f"SELECT to_regclass('public.{_EMBEDDING}')") == [(None,)]
    with pytest.raises(TargetMismatchError, match='schema "absent" does not exist'):
        restore(root, dsn, schema="absent")


@pytest.mark.parametrize("path", [("a", "b"), ("b", "a")], ids=",".join)
def test_search_path_decides(g2_dsn: str, tmp_path: Path, path: tuple[str, str]) -> None:
    root = write_set(tmp_path)
    for schema in ("b", "a"):
        execute(g2_dsn, f"CREATE SCHEMA {schema}")
        restore(root, g2_dsn, schema=schema)
    options = {"options": f"-c search_path=none,{','.join(path)},public"}
    target = dict(part.split("=", 1) for part in g2_dsn.split()) | options
    assert restore(root, target, mode="replace").schema == path[0]
    execute(g2_dsn, f"DROP TABLE {path[0]}.{_EMBEDDING}, {path[0]}.langchain_pg_collection")
    assert restore(root, target, mode="replace").schema == path[1]


def test_search_path_without_tables(dsn: str, tmp_path: Path) -> None:
    execute(dsn, "CREATE SCHEMA mine")
    base = dict(part.split("=", 1) for part in dsn.split())
    report = restore(write_set(tmp_path), base | {"options": "-c search_path=nobody,mine"})
    assert report.schema == "mine"
    with pytest.raises(TargetMismatchError, match="no schema of the search path exists"):
        restore(tmp_path, base | {"options": "-c search_path=nobody"})


def test_extension_in_another_schema(dsn: str, tmp_path: Path) -> None:
    execute(dsn, "CREATE SCHEMA ext; CREATE EXTENSION vector SCHEMA ext")
    report = restore(write_set(tmp_path), dsn)
    assert not report.extension_created
    execute(
        dsn,
        f"CREATE INDEX ON {_EMBEDDING} USING hnsw ((embedding::ext.vector(3)) ext.vector_l2_ops)",
    )
    assert restore(tmp_path, dsn, mode="replace").rows_loaded == 6
    bad = embedding_bytes(records=[("x", SQL_ID, '"[1,2]"', "", "")])
    with pytest.raises(ValueError, match="vector has 2 dimensions, the column takes 3"):
        restore(write_set(tmp_path, embedding=bad), dsn, mode="replace")


@pytest.mark.parametrize(
    "kind", ["VIEW {} AS SELECT 1 AS id", "MATERIALIZED VIEW {} AS SELECT 1 AS id", "SEQUENCE {}"]
)
def test_view_of_that_name_is_refused(dsn: str, tmp_path: Path, kind: str) -> None:
    execute(dsn, f"CREATE EXTENSION vector; CREATE {kind.format(_EMBEDDING)}")
    content = snapshot(dsn)
    with pytest.raises(TargetMismatchError, match=f"public.{_EMBEDDING} is no table"):
        restore(write_set(tmp_path), dsn)
    assert snapshot(dsn) == content


def test_foreign_key_from_elsewhere_is_named(g2_dsn: str, tmp_path: Path) -> None:
    execute(g2_dsn, f"CREATE SCHEMA s; CREATE TABLE s.note (e varchar REFERENCES {_EMBEDDING})")
    root = write_set(tmp_path)
    restore(root, g2_dsn)
    content = snapshot(g2_dsn)
    with pytest.raises(TargetMismatchError, match=r"cannot be emptied: s\.note refers"):
        restore(root, g2_dsn, mode="replace")
    assert snapshot(g2_dsn) == content


def test_partitioned_table(g2_dsn: str, tmp_path: Path) -> None:
    execute(
        g2_dsn,
        f"DROP TABLE {_EMBEDDING}; CREATE TABLE {_EMBEDDING} (id varchar PRIMARY KEY, "
        "collection_id uuid REFERENCES langchain_pg_collection, embedding vector, "
        "document varchar, cmetadata jsonb) PARTITION BY HASH (id);"
        f"CREATE TABLE p0 PARTITION OF {_EMBEDDING} FOR VALUES WITH (MODULUS 2, REMAINDER 0);"
        f"CREATE TABLE p1 PARTITION OF {_EMBEDDING} FOR VALUES WITH (MODULUS 2, REMAINDER 1);",
    )
    root = write_set(tmp_path)
    restore(root, g2_dsn)
    with connect(g2_dsn) as reader, reader.transaction():
        reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SELECT 1")  # takes the snapshot
        assert restore(root, g2_dsn, mode="replace").tables[1].rows_removed == 4
        # The guide says so: rows of a partitioned table cannot be loaded frozen.
        assert reader.execute(f"SELECT count(*) FROM {_EMBEDDING}").fetchone() == (0,)
        found = reader.execute("SELECT count(*) FROM langchain_pg_collection").fetchone()
        assert found == (2,)
    assert count(g2_dsn, "p0") + count(g2_dsn, "p1") == 4


def test_tables_of_choice(g2_dsn: str, tmp_path: Path) -> None:
    root = write_set(tmp_path)
    assert restore(root, g2_dsn, tables="langchain_pg_collection").rows_loaded == 2
    for _ in range(2):
        report = restore(root, g2_dsn, tables=[_EMBEDDING], mode="replace")
        assert [t.table for t in report.tables] == [_EMBEDDING]
    assert count(g2_dsn, "langchain_pg_collection") == len(COLLECTION_CELLS)
    with pytest.raises(OptionError, match="would orphan the rows of langchain_pg_embedding"):
        restore(root, g2_dsn, tables="langchain_pg_collection", mode="replace")
    with pytest.raises(OptionError, match='has no table "other"') as caught:
        restore(root, g2_dsn, tables="langchain_pg_collection,other")
    assert "langchain_pg_embedding" in (caught.value.hint or "")
