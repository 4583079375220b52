"""The command ``backup``."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from pgvector_restore import open_store
from tests.backup.kit import COLLECTION, EMBEDDING, fill_langchain
from tests.cli.conftest import run_command
from tests.conftest import connect


def test_document(g2_dsn: str, tmp_path: Path) -> None:
    fill_langchain(g2_dsn, generation=2)
    done = run_command(
        "backup", tmp_path, "--dsn", g2_dsn, "--format", "binary", "--compress", "zstd", "--json"
    )
    assert (done.code, done.err) == (0, "")
    document = done.document
    (found,) = open_store(tmp_path).catalog().sets
    assert document["ok"] is True
    assert document["label"] == found.label
    assert (document["format"], document["codec"]) == ("binary", "zstd")
    assert {name: table["rows"] for name, table in document["tables"].items()} == {
        COLLECTION: 2,
        EMBEDDING: 40,
    }
    assert document["size_bytes"] == found.size_bytes


def test_table(g2_dsn: str, tmp_path: Path) -> None:
    fill_langchain(g2_dsn, generation=2)
    done = run_command("backup", tmp_path, "--dsn", g2_dsn, "--task", "task_1", "--truncate-after")
    assert (done.code, done.err) == (0, "")
    (found,) = open_store(tmp_path).catalog().sets
    lines = done.out.splitlines()
    assert lines[0] == f"backup {found.label} in {tmp_path}: csv"
    row = next(line.split() for line in lines if EMBEDDING in line)
    assert row[1:4] == ["40", "40", "1"]
    assert lines[-1].startswith("total: 42 rows, ")
    with connect(g2_dsn) as conn:
        assert conn.execute(f"SELECT count(*) FROM {EMBEDDING}").fetchone() == (0,)


def test_tables_schema_and_jobs(g2_dsn: str, tmp_path: Path) -> None:
    with connect(g2_dsn) as conn:
        conn.execute("CREATE SCHEMA s; CREATE TABLE s.docs (id int); CREATE TABLE s.more (id int)")
    done = run_command(
        *("backup", tmp_path, "--dsn", g2_dsn, "--tables", "docs, more", "--schema", "s"),
        *("--jobs", "2", "--no-digest", "--json"),
    )
    assert done.code == 0, done.err
    assert done.document["schema"] == "s"
    assert list(done.document["tables"]) == ["docs", "more"]
    assert done.document["tables"]["docs"]["digest"] is None


def test_errors(g2_dsn: str, tmp_path: Path) -> None:
    done = run_command("backup", tmp_path, "--dsn", g2_dsn, "--tables", "a?", "--json")
    assert done.code == 2
    assert done.document["error"]["message"] == 'table "a?" cannot be a file\'s name'
    done = run_command("backup", tmp_path, "--dsn", g2_dsn, "--tables", "nowhere")
    assert done.code == 5
    assert done.err.startswith('error: schema "public" has no table "nowhere"\nhint: ')
    (tmp_path / "file").write_text("x")
    done = run_command("backup", tmp_path / "file", "--dsn", g2_dsn)
    assert done.code == 3


def test_a_connection_that_is_lost_is_told_once(g2_dsn: str, tmp_path: Path) -> None:
    """And not as the driver's pool tells it."""

    def end(conn: Any) -> None:
        while not conn.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE wait_event_type = 'Lock' AND datname = current_database()"
        ).fetchone():
            pass

    with connect(g2_dsn) as other, connect(g2_dsn) as watching, other.transaction():
        other.execute(f"LOCK TABLE {EMBEDDING} IN ACCESS EXCLUSIVE MODE")
        thread = threading.Thread(target=end, args=[watching])
        thread.start()
        done = run_command("backup", tmp_path, "--dsn", g2_dsn)
        thread.join()
    assert done.code == 5
    assert done.err == (
        "error: server is shutting down or starting up: terminating connection due to"
        " administrator command\nhint: try again in a moment\n"
    )
    assert open_store(tmp_path).catalog().sets == ()
