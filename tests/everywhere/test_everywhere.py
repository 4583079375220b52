"""Backup, restore into a fresh database, comparison: every shape, form, codec and storage."""

from __future__ import annotations

import itertools
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from pgvector_restore import Backuper, BackupStore, Restorer, copy_set, inspect_set, open_store
from pgvector_restore.db.embedded import EmbeddedServer
from tests.conftest import connect, database
from tests.storage.conftest import cloud_place
from tests.storage.serving import USER, s3_options, sftp_options
from tests.storage.web import web_server

_numbers = itertools.count(1)

#: Statements that make the tables of each shape, and those tables, parents first. Every text that
#: CSV could mistake for another is in there, and every value that is near the edge of a float.
_ROWS = """
    INSERT INTO langchain_pg_collection (uuid, name, cmetadata) VALUES
      ('00000000-0000-0000-0000-00000000000a', 'plain', NULL),
      ('00000000-0000-0000-0000-00000000000b', E'ünï "quoted", \\n', '{{"b": 1, "a": [null]}}');
    INSERT INTO langchain_pg_embedding ({key}, collection_id, embedding, document, cmetadata)
      SELECT {key_of}, '00000000-0000-0000-0000-00000000000a',
             ARRAY[n, -0.0, 1e-40, 16777217, 0.1 * n]::real[]::vector,
             (ARRAY[NULL, '', ' ', 'NULL', E'a\\r\\nb', E'\\\\.', '"', ',', 'ü'])[n % 9 + 1],
             CASE WHEN n % 3 > 0 THEN jsonb_build_object('id', n, 'c', NULL, 't', 'é"') END
      FROM generate_series(1, 60) n;
    INSERT INTO langchain_pg_embedding ({key}) VALUES ({null_key});
"""
SHAPES: dict[str, tuple[str, tuple[str, ...]]] = {
    "g1": (
        """
        CREATE TABLE langchain_pg_collection (uuid uuid PRIMARY KEY, name varchar, cmetadata json);
        CREATE TABLE langchain_pg_embedding (uuid uuid PRIMARY KEY, collection_id uuid REFERENCES
          langchain_pg_collection (uuid) ON DELETE CASCADE, embedding vector, document varchar,
          cmetadata json, custom_id varchar);
        """
        + _ROWS.format(
            key="uuid",
            key_of="('00000000-0000-0000-0000-' || lpad(n::text, 12, '0'))::uuid",
            null_key="'ffffffff-ffff-ffff-ffff-ffffffffffff'",
        ),
        ("langchain_pg_collection", "langchain_pg_embedding"),
    ),
    "g2": (
        """
        CREATE TABLE langchain_pg_collection (uuid uuid PRIMARY KEY, name varchar NOT NULL UNIQUE,
          cmetadata json);
        CREATE TABLE langchain_pg_embedding (id varchar PRIMARY KEY, collection_id uuid REFERENCES
          langchain_pg_collection (uuid) ON DELETE CASCADE, embedding vector, document varchar,
          cmetadata jsonb);
        CREATE INDEX ON langchain_pg_embedding USING gin (cmetadata jsonb_path_ops);
        """
        + _ROWS.format(key="id", key_of="n || '-ddl'", null_key="''"),
        ("langchain_pg_collection", "langchain_pg_embedding"),
    ),
    "g3": (
        """
        CREATE TABLE my_docs (langchain_id uuid PRIMARY KEY, content text NOT NULL,
          embedding vector(4) NOT NULL, source text, page integer, seen timestamptz,
          langchain_metadata json);
        CREATE INDEX ON my_docs USING hnsw (embedding vector_cosine_ops);
        INSERT INTO my_docs
          SELECT ('00000000-0000-0000-0000-' || lpad(n::text, 12, '0'))::uuid, '', '[1,2,3,4]',
                 nullif('s' || n % 3, 's0'), nullif(n % 5, 0),
                 CASE WHEN n % 2 > 0 THEN timestamptz '2026-01-01' + n * interval '1.1 s' END,
                 '{"a" : 1}'
          FROM generate_series(1, 50) n;
        """,
        ("my_docs",),
    ),
}

FORMATS = ("csv", "binary")
CODECS = ("none", "gzip", "bzip2", "xz", "zstd", "lz4")
PLACES = ("local", "memory", "s3", "gs", "az", "sftp", "web", "zip")


class Place:
    """Where backups are written to and read from."""

    def __init__(self, to: BackupStore, reading: Callable[[], BackupStore]) -> None:
        self.to = to
        self.reading = reading


@pytest.fixture
def somewhere(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[str], Place]]:
    stack = ExitStack()

    def find(kind: str) -> Place:
        name = f"everywhere{next(_numbers)}"
        if kind == "memory":
            store = open_store(f"memory://{name}")
        elif kind == "s3":
            server = request.getfixturevalue("s3_server")
            bucket = request.getfixturevalue("s3_bucket")
            store = open_store(f"s3://{bucket}/{name}", storage_options=s3_options(server))
        elif kind in ("gs", "az"):
            url, options = cloud_place(request, kind, name)
            store = open_store(url, storage_options=options)
        elif kind == "sftp":
            server = request.getfixturevalue("sftp_server")
            folder = server["folder"] / name
            folder.mkdir()
            store = open_store(
                f"sftp://{USER}@127.0.0.1:{server['port']}{folder}",
                storage_options=sftp_options(server),
            )
        else:
            root = tmp_path / name
            store = open_store(str(root))
            if kind == "zip":
                return Place(store, lambda: open_store(f"zip://{_zipped(root)}"))
            if kind == "web":
                root.mkdir()
                server = stack.enter_context(web_server(root))
                return Place(store, lambda: open_store(server.url))
        return Place(store, lambda: store)

    with stack:
        yield find


def _zipped(root: Path) -> Path:
    target = root.with_suffix(".zip")
    with zipfile.ZipFile(target, "w") as archive:
        for path in root.rglob("*"):
            archive.write(path, path.relative_to(root))
    return target


def content(dsn: str, tables: tuple[str, ...]) -> dict[str, list[Any]]:
    """Every row as the server prints it, and columns with their types."""
    with connect(dsn) as conn:
        return {
            table: [
                conn.execute(f"SELECT t::text FROM {table} t ORDER BY 1").fetchall(),
                conn.execute(
                    "SELECT attname, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute"
                    " WHERE attrelid = %s::regclass AND attnum > 0 ORDER BY attnum",
                    [table],
                ).fetchall(),
            ]
            for table in tables
        }


@pytest.mark.sampled("shape", "form", "codec")
@pytest.mark.parametrize("kind", PLACES)
@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("shape", SHAPES)
def test_there_and_back(
    server: EmbeddedServer,
    somewhere: Callable[[str], Place],
    shape: str,
    form: str,
    codec: str,
    kind: str,
) -> None:
    ddl, tables = SHAPES[shape]
    where = somewhere(kind)
    with database(server) as source, database(server) as fresh:
        with connect(source) as conn:
            conn.execute("CREATE EXTENSION vector")
            conn.execute(ddl)
        with connect(fresh) as conn:
            conn.execute("CREATE EXTENSION vector")
        with Backuper(where.to, source) as backuper:
            report = backuper.backup(format=form, compress=codec, tables=tables)
        assert [table.table for table in report.tables] == list(tables)
        store = where.reading()
        catalog = store.catalog()
        assert [one.label for one in catalog.sets] == [report.label]
        assert catalog.incomplete == ()
        inspected = inspect_set(store, report.label)
        assert inspected.ok, inspected.to_dict()
        with Restorer(store, fresh) as restorer:
            restored = restorer.restore(report.label, mode="replace", verify="content")
            compared = restorer.verify(report.label)
        assert restored.rows_loaded == report.rows > 40
        assert compared.equal, compared.to_dict()
        assert content(fresh, tables) == content(source, tables)


@pytest.mark.parametrize("kind", ["s3", "gs", "az", "sftp", "memory"])
def test_a_copy_restores_like_the_original(
    g2_dsn: str, somewhere: Callable[[str], Place], tmp_path: Path, kind: str
) -> None:
    ddl, tables = SHAPES["g2"]
    with connect(g2_dsn) as conn:
        conn.execute("DROP TABLE langchain_pg_embedding, langchain_pg_collection")
        conn.execute(ddl)
    before = content(g2_dsn, tables)
    local, remote = open_store(str(tmp_path / "local")), somewhere(kind).to
    with Backuper(local, g2_dsn) as backuper:
        label = backuper.backup(format="binary", compress="zstd").label
    there = copy_set(local, label, remote)
    back = copy_set(remote, label, open_store(str(tmp_path / "back")))
    assert [file.sha256 for file in there.files] == [file.sha256 for file in back.files]
    with connect(g2_dsn) as conn:
        conn.execute("TRUNCATE langchain_pg_collection, langchain_pg_embedding")
    with Restorer(remote, g2_dsn) as restorer:
        restorer.restore(label, mode="replace", verify="content")
    assert content(g2_dsn, tables) == before
