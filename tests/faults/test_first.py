"""A client that is killed while it restores into a database where nothing is: nothing or all."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.faults.kit import ROWS, Client, wait_until, write_word
from tests.restore.content import count, execute, query
from tests.sets import restore

pytestmark = [pytest.mark.faults, pytest.mark.faults_sample]

_POINTS = ("create", "load.begin@2", "index.end", "commit.before", "commit.after")
_RELATIONS = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
_EXTENSION = "SELECT FROM pg_extension WHERE extname = 'vector'"
_SESSIONS = "SELECT FROM pg_stat_activity WHERE application_name = 'pgvector_restore'"
_LEFT_OVER = "SELECT nspname FROM pg_namespace WHERE starts_with(nspname, 'pgvr_staging_')"


@pytest.mark.parametrize("strategy", ["in_place", "swap"])
def test_nothing_or_all(dsn: str, tmp_path: Path, strategy: str) -> None:
    root = write_word(tmp_path / "set", "first", ROWS)
    if strategy == "swap":  # which creates tables, but no extension
        execute(dsn, "CREATE EXTENSION vector")
    for point in _POINTS:
        client = Client(tmp_path / "client", dsn, root, f"{point}=kill", strategy=strategy, jobs=1)
        outcome = client.wait()
        assert outcome.code == -signal.SIGKILL, outcome
        wait_until(lambda: not query(dsn, _SESSIONS), "end of its sessions")
        if point == "commit.after":
            assert count(dsn, "langchain_pg_embedding") == ROWS
        else:
            assert not query(dsn, _RELATIONS), point
            if strategy == "in_place":
                assert not query(dsn, _EXTENSION), point
    report = restore(root, dsn, mode="replace", strategy=strategy)
    assert report.table("langchain_pg_embedding").rows_before == ROWS
    assert count(dsn, "langchain_pg_embedding") == ROWS
    assert not query(dsn, _LEFT_OVER)
