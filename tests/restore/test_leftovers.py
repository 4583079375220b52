"""Staging schemas: those of the dead are swept away, those of the living and of others are not."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pgvector_restore.db import staging
from tests.conftest import connect
from tests.restore.content import execute, query
from tests.sets import restore, write_set

_SCHEMAS = "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'pgvr%' ORDER BY nspname"


def abandoned(dsn: str) -> str:
    """What a restore leaves that died while it loaded."""
    name = staging.new_staging_name()
    with connect(dsn) as conn, conn.transaction():
        staging.create_staging(conn.cursor(), name)
        conn.execute(f"CREATE TABLE {name}.langchain_pg_embedding (id int)")
    return name


def swap(root: Path, dsn: str) -> None:
    restore(root, dsn, mode="replace", strategy="swap", lock_timeout_s=5)


def test_what_the_dead_left_is_swept(
    g2_dsn: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = [abandoned(g2_dsn) for _ in range(3)]
    with caplog.at_level(logging.INFO):
        swap(write_set(tmp_path), g2_dsn)
    assert not query(g2_dsn, _SCHEMAS)
    assert all(f"swept {name}" in caplog.text for name in names)


def test_what_the_living_hold_stays(g2_dsn: str, tmp_path: Path) -> None:
    root = write_set(tmp_path)
    name = abandoned(g2_dsn)
    with connect(g2_dsn) as living:
        living.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", [name])
        swap(root, g2_dsn)
        assert query(g2_dsn, _SCHEMAS) == [(name,)]
    swap(root, g2_dsn)
    assert not query(g2_dsn, _SCHEMAS)


def test_schemas_of_others_stay(g2_dsn: str, tmp_path: Path) -> None:
    execute(g2_dsn, "CREATE SCHEMA pgvr_staging_mine; CREATE TABLE pgvr_staging_mine.t (a int)")
    swap(write_set(tmp_path), g2_dsn)
    assert query(g2_dsn, _SCHEMAS) == [("pgvr_staging_mine",)]


def test_leftovers_that_are_locked_wait_for_the_next_time(
    g2_dsn: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A dump looks at what was left: only sessions that load into it are ended."""
    root = write_set(tmp_path)
    name = abandoned(g2_dsn)
    with connect(g2_dsn) as looking, looking.transaction():
        looking.execute(f"SELECT FROM {name}.langchain_pg_embedding")
        swap(root, g2_dsn)
        assert looking.execute("SELECT 1").fetchone() == (1,)
    assert f"{name} is left for the next restore" in caplog.text
    swap(root, g2_dsn)
    assert not query(g2_dsn, _SCHEMAS)


def test_sessions_that_still_load_are_ended(g2_dsn: str, tmp_path: Path) -> None:
    root = write_set(tmp_path)
    name = abandoned(g2_dsn)
    with connect(g2_dsn) as loading:
        loading.execute("BEGIN")
        loading.execute(f"INSERT INTO {name}.langchain_pg_embedding VALUES (1)")
        swap(root, g2_dsn)
        with pytest.raises(psycopg.OperationalError):
            loading.execute("COMMIT")
    assert not query(g2_dsn, _SCHEMAS)


def test_two_restores_into_two_schemas_do_not_sweep_each_other(g2_dsn: str, tmp_path: Path) -> None:
    execute(g2_dsn, "CREATE SCHEMA other")
    root = write_set(tmp_path)
    seen: list[Any] = []

    def meanwhile(event: Any) -> None:
        if event.phase == "index" and not seen:
            seen.append(query(g2_dsn, _SCHEMAS))
            restore(root, g2_dsn, schema="other", mode="replace", strategy="swap")
            seen.append(query(g2_dsn, _SCHEMAS))

    report = restore(root, g2_dsn, mode="replace", strategy="swap", progress=meanwhile)
    assert report.table("langchain_pg_embedding").rows_after == 4
    assert len(seen[0]) == 1
    assert seen[0] == seen[1]
    assert not query(g2_dsn, _SCHEMAS)
