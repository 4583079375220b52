"""SIGKILL while a set in binary is restored: old rows or new rows, and the next run is clean."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from tests.described import write_described
from tests.faults.kit import Client
from tests.restore.content import execute, query
from tests.sets import restore

_FILL = """
INSERT INTO langchain_pg_collection VALUES ('11111111-1111-4111-8111-111111111111', 'sql', NULL);
INSERT INTO langchain_pg_embedding
SELECT 'row-' || n, '11111111-1111-4111-8111-111111111111', '[1,2,3]', 'new', NULL
FROM generate_series(1, 900) n;
"""
_WORDS = "SELECT DISTINCT document FROM langchain_pg_embedding"
_LEFT_OVER = "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'pgvr%'"

_IN_PLACE = {"strategy": "in_place"}
_PARALLEL = {"strategy": "swap", "jobs": 2}


@pytest.mark.parametrize(
    ("options", "point", "word"),
    [
        (_IN_PLACE, "load.begin@2", "old"),
        (_IN_PLACE, "load.block@4", "old"),
        (_IN_PLACE, "load.end@2", "old"),
        (_IN_PLACE, "verify", "old"),
        (_IN_PLACE, "commit.before", "old"),
        (_IN_PLACE, "commit.after", "new"),
        (_PARALLEL, "part.begin", "old"),
        (_PARALLEL, "load.block@3", "old"),
        (_PARALLEL, "part.end", "old"),
        (_PARALLEL, "index.end", "old"),
        (_PARALLEL, "exchange.moved", "old"),
        (_PARALLEL, "commit.after", "new"),
    ],
    ids=lambda value: value["strategy"] if isinstance(value, dict) else str(value),
)
def test_killed(
    g2_dsn: str, tmp_path: Path, options: dict[str, Any], point: str, word: str
) -> None:
    execute(g2_dsn, _FILL)
    root = write_described(tmp_path / "store", g2_dsn, part_rows=100)
    execute(g2_dsn, "UPDATE langchain_pg_embedding SET document = 'old'")
    client = Client(tmp_path / "client", g2_dsn, root, f"{point}=kill", **options)
    try:
        outcome = client.wait()
    finally:
        client.close()
    # A worker that is killed is one process; the restore ends in an error then.
    assert outcome.code == -signal.SIGKILL or (outcome.told or {}).get("typed") is True
    assert query(g2_dsn, _WORDS) == [(word,)]
    report = restore(root, g2_dsn, mode="replace", **options)
    assert [table.rows_after for table in report.tables] == [1, 900]
    assert query(g2_dsn, _WORDS) == [("new",)]
    assert query(g2_dsn, _LEFT_OVER) == []
