"""Indexes that are dropped for a load are afterwards what they were before."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict

from pgvector_restore import BadDataError, PgvectorRestoreError, ProgressEvent, pieces
from tests.conftest import connect
from tests.restore.content import execute, query, snapshot
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


_IN_PLACE_OR_SWAP = pytest.mark.parametrize("strategy", ["in_place", "swap"])
_OWN_MEMORY = "2MB"


def short_if(dsn: str, condition: str) -> None:
    """Let the server be out of shared memory when it is to create an index."""
    name = conninfo_to_dict(dsn)["dbname"]
    execute(dsn, f"ALTER DATABASE {name} SET maintenance_work_mem = '{_OWN_MEMORY}'")
    execute(
        dsn,
        f"""
        CREATE FUNCTION public.shortage() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
            IF {condition} THEN
                RAISE 'could not resize shared memory segment "/PostgreSQL.1": no space left'
                USING ERRCODE = 'disk_full';
            END IF;
        END $$;
        CREATE EVENT TRIGGER shortage ON ddl_command_start WHEN TAG IN ('CREATE INDEX')
            EXECUTE FUNCTION public.shortage();
        """,
    )


@_IN_PLACE_OR_SWAP
@pytest.mark.parametrize(
    ("condition", "tries"),
    [
        ("current_setting('max_parallel_maintenance_workers') <> '0'", 1),
        (f"current_setting('maintenance_work_mem') <> '{_OWN_MEMORY}'", 2),
    ],
)
def test_a_server_short_of_memory_is_asked_for_less(
    g2_dsn: str, tmp_path: Path, strategy: str, condition: str, tries: int
) -> None:
    execute(g2_dsn, _DECORATED)
    before = query(g2_dsn, _INDEXES)
    short_if(g2_dsn, condition)
    root = write_set(tmp_path, embedding=many(9000))
    report = restore(root, g2_dsn, mode="replace", strategy=strategy, jobs=2)
    assert query(g2_dsn, _INDEXES) == before
    told = [w for w in report.warnings if w.startswith("index near: could not resize")]
    assert len(told) == tries
    assert all(text.endswith("and no parallel workers") for text in told)
    assert ("built again with 2.0 MB" in told[-1]) == (tries == 2)


@_IN_PLACE_OR_SWAP
def test_a_server_without_any_memory_left_keeps_what_it_has(
    g2_dsn: str, tmp_path: Path, strategy: str
) -> None:
    execute(g2_dsn, _DECORATED)
    restore(write_set(tmp_path), g2_dsn)
    before = (snapshot(g2_dsn), query(g2_dsn, _INDEXES))
    short_if(g2_dsn, "true")
    with pytest.raises(PgvectorRestoreError, match="could not resize shared memory segment"):
        restore(write_set(tmp_path), g2_dsn, mode="replace", strategy=strategy, jobs=2)
    assert (snapshot(g2_dsn), query(g2_dsn, _INDEXES)) == before


@_IN_PLACE_OR_SWAP
def test_tables_and_indexes_stay_in_their_tablespaces(
    g2_dsn: str, tmp_path: Path, strategy: str
) -> None:
    with connect(g2_dsn) as conn:
        conn.execute("SET allow_in_place_tablespaces = on")
        for name in ("Fast disk", "slow"):
            if not conn.execute("SELECT FROM pg_tablespace WHERE spcname = %s", [name]).rowcount:
                conn.execute(f"CREATE TABLESPACE \"{name}\" LOCATION ''")
    execute(
        g2_dsn,
        _DECORATED
        + """
        ALTER INDEX near SET TABLESPACE "Fast disk";
        ALTER INDEX langchain_pg_embedding_pkey SET TABLESPACE slow;
        ALTER TABLE langchain_pg_embedding SET TABLESPACE slow;
        """,
    )
    places = """
    SELECT c.relname, t.spcname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_tablespace t ON t.oid = c.reltablespace WHERE n.nspname = 'public' ORDER BY 1
    """
    before = (query(g2_dsn, _INDEXES), query(g2_dsn, places))
    assert {place for _, place in before[1]} == {None, "Fast disk", "slow"}
    restore(write_set(tmp_path), g2_dsn, mode="replace", strategy=strategy)
    assert (query(g2_dsn, _INDEXES), query(g2_dsn, places)) == before


def slow_to_index(dsn: str, root: Path) -> Path:
    """An index that takes a second or two, and its rows."""
    execute(
        dsn,
        "ALTER TABLE langchain_pg_embedding ALTER embedding TYPE vector(24);"
        "CREATE INDEX near ON langchain_pg_embedding USING hnsw (embedding vector_l2_ops)"
        " WITH (m = 32, ef_construction = 200)",
    )
    random = Random(7)  # noqa: S311 - any vectors will do
    records = [
        (f"id-{n}", SQL_ID, f'"{[round(random.random(), 3) for _ in range(24)]}"', "x", "")
        for n in range(6000)
    ]
    return write_set(root, embedding=embedding_bytes(records=records))


@_IN_PLACE_OR_SWAP
def test_progress_of_an_index_comes_from_the_server(
    g2_dsn: str, tmp_path: Path, strategy: str
) -> None:
    root = slow_to_index(g2_dsn, tmp_path)
    steps = []

    def listen(event: ProgressEvent) -> None:
        if event.server is not None and event.server.command == "CREATE INDEX near":
            steps.append((event.phase, event.server))

    restore(root, g2_dsn, mode="replace", strategy=strategy, jobs=1, progress=listen)
    assert {phase for phase, _ in steps} == {"index"}
    assert any(step.part == "building index: loading tuples" for _, step in steps)
    assert all(0 <= step.done <= max(step.total, 6000) for _, step in steps)


@_IN_PLACE_OR_SWAP
def test_a_listener_ends_the_building_of_an_index(
    g2_dsn: str, tmp_path: Path, strategy: str
) -> None:
    root = slow_to_index(g2_dsn, tmp_path / "new")
    execute(g2_dsn, "INSERT INTO langchain_pg_embedding (id) VALUES ('old')")
    before = (snapshot(g2_dsn), query(g2_dsn, _INDEXES))

    def listen(event: ProgressEvent) -> None:
        if event.server is not None and event.server.command == "CREATE INDEX near":
            raise InterruptedError("enough")

    with pytest.raises(InterruptedError, match="enough"):
        restore(root, g2_dsn, mode="replace", strategy=strategy, jobs=1, progress=listen)
    assert (snapshot(g2_dsn), query(g2_dsn, _INDEXES)) == before
