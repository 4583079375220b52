"""Indexes that are dropped for a load are afterwards what they were before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict

from pgvector_restore import BadDataError, pieces
from tests.restore.content import execute, query
from tests.sets import SQL_ID, embedding_bytes, restore, with_cell, write_set

_DECORATED = """
ALTER TABLE langchain_pg_embedding ALTER embedding TYPE vector(3);
CREATE INDEX near ON langchain_pg_embedding USING hnsw (embedding vector_cosine_ops)
    WITH (m = 5, ef_construction = 20);
CREATE INDEX cells ON langchain_pg_embedding USING ivfflat (embedding vector_l2_ops)
    WITH (lists = 2);
CREATE INDEX "Odd ""name" ON langchain_pg_embedding (lower(document), id DESC NULLS LAST)
    INCLUDE (collection_id) WITH (fillfactor = 71) WHERE document <> '';
ALTER INDEX "Odd ""name" ALTER COLUMN 1 SET STATISTICS 321;
COMMENT ON INDEX "Odd ""name" IS 'it''s odd';
CREATE INDEX by_owner ON langchain_pg_embedding (collection_id);
ALTER TABLE langchain_pg_embedding CLUSTER ON by_owner;
"""

_INDEXES = """
SELECT c.relname, pg_get_indexdef(c.oid), obj_description(c.oid, 'pg_class'), i.indisclustered,
       i.indisvalid, c.reloptions,
       array(SELECT coalesce(a.attstattarget, -1) FROM pg_attribute a WHERE a.attrelid = c.oid
             ORDER BY a.attnum)
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE i.indrelid = 'langchain_pg_embedding'::regclass ORDER BY c.relname
"""


def many(rows: int) -> bytes:
    records = [(f"id-{n}", SQL_ID, f'"[{n},{n % 7},1]"', f"text {n}", "") for n in range(rows)]
    return embedding_bytes(records=records)


@pytest.mark.parametrize("mode", ["replace", "append"])
def test_in_place_builds_them_as_they_were(g2_dsn: str, tmp_path: Path, mode: str) -> None:
    execute(g2_dsn, _DECORATED)
    before = query(g2_dsn, _INDEXES)
    oids = query(g2_dsn, "SELECT 'near'::regclass::oid")
    root = write_set(tmp_path, embedding=many(500))
    restore(root, g2_dsn, mode=mode, strategy="in_place")
    assert query(g2_dsn, _INDEXES) == before
    assert query(g2_dsn, "SELECT 'near'::regclass::oid") != oids  # dropped, and built anew


def test_after_a_failure_they_are_the_same_ones(g2_dsn: str, tmp_path: Path) -> None:
    execute(g2_dsn, _DECORATED)
    before = query(g2_dsn, _INDEXES)
    oids = query(g2_dsn, "SELECT 'near'::regclass::oid")
    root = write_set(tmp_path, embedding=with_cell(2, "embedding", "x"))
    with pytest.raises(BadDataError):
        restore(root, g2_dsn, mode="replace", strategy="in_place")
    assert query(g2_dsn, _INDEXES) == before
    assert query(g2_dsn, "SELECT 'near'::regclass::oid") == oids


@pytest.mark.parametrize("strategy", ["in_place", "swap"])
def test_notices_of_the_server_become_warnings(g2_dsn: str, tmp_path: Path, strategy: str) -> None:
    name = conninfo_to_dict(g2_dsn)["dbname"]
    execute(g2_dsn, f"ALTER DATABASE {name} SET maintenance_work_mem = '1MB'")
    execute(g2_dsn, _DECORATED)
    root = write_set(tmp_path, embedding=many(4000))
    few: dict[str, Any] = {"mode": "replace", "strategy": strategy, "jobs": 1}
    report = restore(root, g2_dsn, maintenance_memory="1MB", **few)
    assert any("near" in w and "maintenance_work_mem" in w for w in report.warnings)
    report = restore(root, g2_dsn, **few)  # what the graph needs is worked out
    assert not any("near" in w for w in report.warnings)


def test_progress_of_a_parallel_load_comes_from_the_server(
    g2_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "PART_BYTES", 100_000)
    rows = 60_000
    root = write_set(tmp_path, embedding=many(rows))
    commands = []

    def listen(event: Any) -> None:
        if event.server is not None and event.server.command.startswith("COPY"):
            commands.append((event.server.command, event.server.done))

    restore(root, g2_dsn, mode="replace", strategy="swap", jobs=2, progress=listen)
    assert "COPY langchain_pg_embedding" in {command for command, _ in commands}
    assert all(0 <= done <= rows for _, done in commands)
