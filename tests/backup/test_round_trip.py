"""What is backed up comes back: every shape of tables, format and codec, on both servers."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from pgvector_restore import Manifest, Restorer, TargetError, open_store
from pgvector_restore.db.embedded import EmbeddedServer
from pgvector_restore.db.inspect import describe_columns, table_oid
from pgvector_restore.db.session import configure_session
from pgvector_restore.db.verify import TableReader, snapshot
from pgvector_restore.rows.digest import digest_of, form_of, row_hash
from tests.backup.kit import (
    COLLECTION,
    EMBEDDING,
    SHAPES,
    backup,
    content,
    files,
    make,
    restored,
    stored,
)
from tests.conftest import G2_TABLES, connect, database

#: Notes on several pages, one of which is no UTF-8, and a column that is all right.
MANY_NOTES = r"""
ALTER TABLE notes ADD id int PRIMARY KEY DEFAULT 0, ADD fine text DEFAULT 'fine';
INSERT INTO notes SELECT repeat('x', 100), 100 + n FROM generate_series(1, 300) n;
INSERT INTO notes VALUES (E'\377', 7);
INSERT INTO notes SELECT repeat('y', 100), 1000 + n FROM generate_series(1, 300) n;
"""

CODECS = ("none", "gzip", "bzip2", "xz", "zstd", "lz4")


def _manifest(root: Path, report: Any) -> Manifest:
    found = open_store(root).read_manifest(report.backup)
    assert found is not None
    return found


def _digest(dsn: str, table: str) -> tuple[int, str]:
    """Number and sum of the rows of a table, read by what compares tables."""
    with psycopg.connect(dsn) as conn, snapshot(conn) as cur:
        configure_session(cur, 10)
        oid = table_oid(cur, "public", table)
        columns = [c for c in describe_columns(cur, oid, "public")[0] if not c.generated]
        form = form_of(columns)
        reader = TableReader(conn, "public", table, form.columns)
        digest = digest_of([row_hash(form, row) for row in reader.rows()])
    return digest.rows, digest.hex


@pytest.mark.sampled("shape")
@pytest.mark.parametrize("shape", SHAPES)
def test_csv_comes_back(server: EmbeddedServer, tmp_path: Path, shape: str) -> None:
    with database(server) as source, database(server) as target:
        tables = make(source, shape)
        report = backup(tmp_path, source, tables=tables)
        with connect(target) as conn:
            conn.execute(SHAPES[shape][0])
        restored(tmp_path, target, report.label)
        for table in tables:
            assert content(target, table) == content(source, table), table
            assert report.table(table).rows == len(content(source, table))


@pytest.mark.sampled("shape")
@pytest.mark.parametrize("kind", ["csv", "binary"])
@pytest.mark.parametrize("shape", SHAPES)
def test_manifest_tells_the_truth(
    server: EmbeddedServer, tmp_path: Path, shape: str, kind: str
) -> None:
    with database(server) as source:
        tables = make(source, shape)
        report = backup(tmp_path, source, tables=tables, format=kind)
        manifest = _manifest(tmp_path, report)
        assert {table.name for table in manifest.tables} == set(tables)
        for table in manifest.tables:
            assert (table.rows, table.digest) == _digest(source, table.name)
            assert report.table(table.name).digest == table.digest
            for file in table.files:
                data = (tmp_path / "vector_bak" / file.name).read_bytes()
                assert file.sha256 == hashlib.sha256(data).hexdigest()
                assert file.size_bytes == len(data)


def test_manifest_describes_tables(server: EmbeddedServer, tmp_path: Path) -> None:
    with database(server) as source:
        make(source, "g3")
        report = backup(tmp_path, source, tables="docs")
        (table,) = _manifest(tmp_path, report).tables
    types = {column.name: column.type_name for column in table.columns}
    assert types["embedding"] == "vector(3)"
    assert types["half"] == "halfvec(2)"
    assert types["price"] == "numeric(10,2)"
    assert "content_size" not in types
    assert {c.name: c.dimensions for c in table.columns if c.dimensions} == {
        "embedding": 3,
        "half": 2,
        "sparse": 5,
    }
    assert table.primary_key == ("langchain_id",)
    assert [index.name for index in table.indexes] == ["docs_hnsw", "docs_pkey"]
    assert {c.name for c in table.columns if c.not_null} == {"langchain_id", "content", "embedding"}


@pytest.mark.sampled("compress")
@pytest.mark.parametrize("compress", CODECS)
def test_every_codec(server: EmbeddedServer, tmp_path: Path, compress: str) -> None:
    with database(server) as source, database(server) as target:
        make(source, "g2")
        plain = backup(tmp_path, source)
        report = backup(tmp_path, source, compress=compress, jobs=2)
        assert stored(tmp_path, report, EMBEDDING) == stored(tmp_path, plain, EMBEDDING)
        assert report.codec == (None if compress == "none" else compress)
        with connect(target) as conn:
            conn.execute(G2_TABLES)
        restored(tmp_path, target, report.label)
        assert content(target, EMBEDDING) == content(source, EMBEDDING)


def test_null_and_empty_are_told_apart(g2_dsn: str, tmp_path: Path) -> None:
    with connect(g2_dsn) as conn:
        conn.execute(f"INSERT INTO {EMBEDDING} (id, document) VALUES ('a', ''), ('b', NULL)")
    report = backup(tmp_path, g2_dsn, tables=EMBEDDING)
    (text,) = stored(tmp_path, report, EMBEDDING)
    assert text == b'id,collection_id,embedding,document,cmetadata\na,,,"",\nb,,,,\n'


def test_loads_by_the_method_that_is_replaced(server: EmbeddedServer, tmp_path: Path) -> None:
    """It reads with ``csv``, writes that out again, and loads by position."""
    with database(server) as source, database(server) as target:
        make(source, "g2")
        with connect(source) as conn:  # it cannot tell NULL from the empty string
            conn.execute(f"UPDATE {EMBEDDING} SET document = NULL WHERE document = ''")
            conn.execute(f"UPDATE {COLLECTION} SET name = 'a, b' WHERE name = ''")
        report = backup(tmp_path, source)
        with connect(target) as conn:
            conn.execute(G2_TABLES)
            for table in (COLLECTION, EMBEDDING):
                path = tmp_path / "vector_bak" / report.table(table).files[0]
                with path.open(encoding="utf-8", newline="") as file:
                    rows = list(csv.reader(file))[1:]
                if table == EMBEDDING:
                    assert all(isinstance(json.loads(row[4] or "1"), object) for row in rows)
                text = io.StringIO()
                csv.writer(text).writerows(rows)
                with conn.cursor().copy(f"COPY {table} FROM STDIN (FORMAT csv)") as copy:
                    copy.write(text.getvalue())
        assert content(target, EMBEDDING) == content(source, EMBEDDING)


@pytest.mark.sampled("shape")
@pytest.mark.parametrize("shape", SHAPES)
def test_binary_is_what_copy_gives(server: EmbeddedServer, tmp_path: Path, shape: str) -> None:
    with database(server) as source:
        tables = make(source, shape)
        report = backup(tmp_path, source, tables=tables, format="binary")
        for table in _manifest(tmp_path, report).tables:
            names = ", ".join(f'"{c.name.replace(chr(34), chr(34) * 2)}"' for c in table.columns)
            statement = f'COPY (SELECT {names} FROM "{table.name}") TO STDOUT (FORMAT binary)'
            with psycopg.connect(source) as conn, conn.cursor().copy(statement) as copy:
                expected = b"".join(bytes(block) for block in copy)
            assert stored(tmp_path, report, table.name) == [expected]


#: Types whose text a cast gives differently, and values CSV has rules for.
ODD_TABLE = """
CREATE EXTENSION vector;
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN label AS text;
CREATE TABLE odd (
    id "char", one vector(1), half halfvec(1), padded char(5), net inet, mask cidr, state boolean,
    list int[], two pair, note label, tree tsvector, named name, "quoted "", name" bigint,
    gap interval, amount money, bits bit varying
);
CREATE TABLE lines (line text);
INSERT INTO lines VALUES ('\\.'), (''), (NULL), ('\\.x');
"""
ODD_ROWS = """
INSERT INTO odd VALUES
    ('a', '[1]', '[-0.5]', 'ab', '10.0.0.1', '10.0.0.0/8', true, '{1,NULL}', '(1,"x, y")',
     '\\.', 'a:1,2 b', 'n', 1, '1 day', 1.5, B'101'),
    ('', '[1e-7]', NULL, '', '::1/64', NULL, false, '{NULL}', '(,)', '', '', '', -1, '-1 s', 0,
     ''),
    (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)
"""


@pytest.mark.parametrize("digest", [True, False])
@pytest.mark.parametrize("shape", [*SHAPES, "odd"])
def test_csv_is_what_copy_gives(
    server: EmbeddedServer, tmp_path: Path, shape: str, *, digest: bool
) -> None:
    with database(server) as source:
        if shape == "odd":
            with connect(source) as conn:
                conn.execute(ODD_TABLE)
                conn.execute(ODD_ROWS)
        tables = ("odd", "lines") if shape == "odd" else make(source, shape)
        report = backup(tmp_path, source, tables=tables, digest=digest)
        for table in tables:
            (found,) = stored(tmp_path, report, table)
            names = ", ".join(
                f'"{c.name.replace(chr(34), chr(34) * 2)}"'
                for c in sorted(
                    next(t for t in _manifest(tmp_path, report).tables if t.name == table).columns,
                    key=lambda column: column.position or 0,
                )
            )
            statement = f'COPY (SELECT {names} FROM "{table}") TO STDOUT (FORMAT csv, HEADER)'
            with psycopg.connect(source) as conn, conn.cursor().copy(statement) as copy:
                expected = b"".join(bytes(block) for block in copy)
            assert found == expected


@pytest.fixture
def large(server: EmbeddedServer) -> Any:
    """Tables of many pages, dead rows among them."""
    with database(server) as made:
        with connect(made) as conn:
            conn.execute(G2_TABLES)
            conn.execute(
                f"INSERT INTO {EMBEDDING} (id, document, embedding, cmetadata)"
                " SELECT n, repeat(md5(n::text), 20), array_fill(n::real / 7, ARRAY[64])::vector,"
                " jsonb_build_object('n', n) FROM generate_series(1, 4000) n"
            )
            conn.execute(f"DELETE FROM {EMBEDDING} WHERE id::int % 10 = 0")
        yield made


def test_stretches_make_one_file(
    large: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = backup(tmp_path, large, jobs=1)
    assert one.table(EMBEDDING).rows == 3600
    monkeypatch.setattr("pgvector_restore.dumping._CSV_EXTENT_BYTES", 50_000)
    monkeypatch.setattr("pgvector_restore.dumping._BLOCK_BYTES", 10_000)
    for compress in ("none", "zstd"):
        many = backup(tmp_path, large, jobs=3, compress=compress)
        assert stored(tmp_path, many, EMBEDDING) == stored(tmp_path, one, EMBEDDING)
        assert many.table(EMBEDDING).digest == one.table(EMBEDDING).digest


@pytest.mark.parametrize("compress", ["none", "lz4"])
def test_parts(large: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compress: str) -> None:
    one = backup(tmp_path, large, format="binary")
    monkeypatch.setattr("pgvector_restore.dumping._PART_BYTES", 700_000)
    many = backup(tmp_path, large, format="binary", jobs=2, compress=compress)
    parts = stored(tmp_path, many, EMBEDDING)
    assert len(parts) > 3
    assert len(many.table(EMBEDDING).files) == len(parts)
    assert ".part00001.pgcopy" in many.table(EMBEDDING).files[0]
    (whole,) = stored(tmp_path, one, EMBEDDING)
    assert whole == whole[:19] + b"".join(part[19:-2] for part in parts) + b"\xff\xff"
    assert all(part.startswith(whole[:19]) and part.endswith(b"\xff\xff") for part in parts)
    manifest = _manifest(tmp_path, many)
    assert [file.rows > 0 for file in manifest.tables[1].files] == [True] * len(parts)
    assert many.table(EMBEDDING).digest == one.table(EMBEDDING).digest
    assert many.table(COLLECTION).files == (f"{COLLECTION}_{many.backup.timestamp}.pgcopy"
                                           + (".lz4" if compress == "lz4" else ""),)  # fmt: skip


def test_other_relations(dsn: str, tmp_path: Path) -> None:
    """Views, materialized views and partitioned tables are read in one piece."""
    with connect(dsn) as conn:
        conn.execute(
            "CREATE TABLE p (id int, t text) PARTITION BY RANGE (id);"
            "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);"
            "CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20);"
            "INSERT INTO p SELECT n, 'x' FROM generate_series(0, 19) n;"
            "CREATE VIEW v AS SELECT * FROM p WHERE id < 5;"
            "CREATE MATERIALIZED VIEW m AS SELECT * FROM p WHERE id < 7"
        )
    for kind in ("csv", "binary"):
        report = backup(tmp_path, dsn, tables="p,v,m", format=kind)
        assert {t.table: t.rows for t in report.tables} == {"p": 20, "v": 5, "m": 7}


def test_empty_tables(g2_dsn: str, tmp_path: Path) -> None:
    for kind in ("csv", "binary"):
        report = backup(tmp_path, g2_dsn, format=kind, compress="gzip")
        assert [table.rows for table in report.tables] == [0, 0]
        assert report.table(EMBEDDING).digest == "0" * 32
    restored(tmp_path, g2_dsn, open_store(tmp_path).catalog().sets[1].label)


def test_without_digest(g2_dsn: str, tmp_path: Path) -> None:
    for kind in ("csv", "binary"):
        report = backup(tmp_path, g2_dsn, format=kind, digest=False)
        assert {table.digest for table in report.tables} == {None}
        assert _manifest(tmp_path, report).tables[1].digest is None


def test_one_snapshot_of_all_tables(g2_dsn: str, tmp_path: Path) -> None:
    """Rows that come after the first table was read are in none."""

    def write(event: Any) -> None:
        if event.phase == "read" and event.table == COLLECTION:
            with connect(g2_dsn) as conn:
                conn.execute(
                    f"INSERT INTO {COLLECTION} VALUES (gen_random_uuid(), md5(random()::text));"
                    f"INSERT INTO {EMBEDDING} (id) VALUES (md5(random()::text))"
                )

    report = backup(tmp_path, g2_dsn, jobs=2, progress=write)
    assert [table.rows for table in report.tables] == [0, 0]
    assert len(content(g2_dsn, EMBEDDING)) > 0


def test_files_of_a_set(g2_dsn: str, tmp_path: Path) -> None:
    report = backup(tmp_path, g2_dsn, task_id="task_7")
    stamp = report.backup.timestamp
    assert report.label == f"task_7/{stamp}"
    assert files(tmp_path) == [
        f"task_7/vector_bak/{COLLECTION}_{stamp}.csv",
        f"task_7/vector_bak/{EMBEDDING}_{stamp}.csv",
        f"task_7/vector_bak/manifest_{stamp}.json",
    ]


def test_database_without_an_encoding(server: EmbeddedServer, tmp_path: Path) -> None:
    with database(server) as target, connect(target) as admin:
        admin.execute(
            "CREATE DATABASE test_ascii TEMPLATE template0 ENCODING 'SQL_ASCII'"
            " LOCALE_PROVIDER libc LC_COLLATE 'C' LC_CTYPE 'C'"
        )
        source = make_conninfo(target, dbname="test_ascii")
        try:
            with connect(source) as conn:
                conn.execute("CREATE TABLE notes AS SELECT E'gr\\303\\266\\303\\237e' t")
            for kind in ("csv", "binary"):
                report = backup(tmp_path, source, tables="notes", format=kind)
                restored(tmp_path, source, report.label)
                restored(tmp_path, target, report.label)
                assert content(target, "notes") == [("größe",)]
            with connect(source) as conn:
                conn.execute(MANY_NOTES)
                row = conn.execute("SELECT ctid::text::bytea FROM notes WHERE id = 7").fetchone()
            assert row is not None
            place = f'column "t" (row {row[0].decode()}, id "7")'
            named = re.escape(f"public.notes has text that is not UTF-8 in {place}")
            for kind in ("csv", "binary"):
                with pytest.raises(TargetError, match=named):
                    backup(tmp_path, source, tables="notes", format=kind)
            with (
                Restorer(open_store(tmp_path), source) as restorer,
                pytest.raises(TargetError, match=named),
            ):
                restorer.verify(tables="notes")
        finally:
            admin.execute("DROP DATABASE test_ascii WITH (FORCE)")
