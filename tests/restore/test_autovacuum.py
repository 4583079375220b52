"""Autovacuum at work on the tables that a restore exchanges."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pgvector_restore import Restorer, TargetBusyError, open_store
from tests.conftest import connect
from tests.restore.content import snapshot
from tests.sets import restore, write_set

_EMBEDDING = "langchain_pg_embedding"

#: Each page takes a tenth of a second: vacuum is not done before the test is.
_SLOW = {
    "autovacuum_vacuum_threshold": 0,
    "autovacuum_vacuum_scale_factor": 0,
    "autovacuum_vacuum_cost_delay": 100,
    "autovacuum_vacuum_cost_limit": 1,
}


@contextmanager
def slow_autovacuum(dsn: str, part: str) -> Iterator[None]:
    """Autovacuum works on the table, or what is stored outside of it, while the block runs."""
    prefix = "toast." if part == "toast" else ""
    options = ", ".join(f"{prefix}{name} = {value}" for name, value in _SLOW.items())
    relation = "c.reltoastrelid" if part == "toast" else "c.oid"
    with connect(dsn) as conn:
        conn.execute(f"ALTER TABLE {_EMBEDDING} ALTER document SET STORAGE EXTERNAL")
        for _ in range(2):
            conn.execute(
                f"UPDATE {_EMBEDDING} SET document = repeat('x', 2000000)"
                if part == "toast"
                else f"INSERT INTO {_EMBEDDING} (id, document)"
                " SELECT 'more' || n || clock_timestamp(), repeat('x', 500)"
                " FROM generate_series(1, 5000) AS n"
            )
        conn.execute(f"DELETE FROM {_EMBEDDING} WHERE id LIKE 'more%'")
        conn.execute(f"ALTER TABLE {_EMBEDDING} SET ({options})")
        conn.execute("ALTER SYSTEM SET autovacuum_naptime = '1s'")
        conn.execute("SELECT pg_reload_conf()")
        try:
            deadline = time.monotonic() + 240
            at_work = (
                f"SELECT FROM pg_stat_progress_vacuum v JOIN pg_class c ON v.relid = {relation}"
                f" WHERE c.oid = '{_EMBEDDING}'::regclass"
            )
            while not conn.execute(at_work).fetchall():
                assert time.monotonic() < deadline, "autovacuum does not come"
                time.sleep(0.05)
            yield
        finally:
            conn.execute("ALTER SYSTEM RESET autovacuum_naptime")
            conn.execute("SELECT pg_reload_conf()")


@pytest.mark.parametrize(
    ("part", "keep_previous"), [("heap", False), ("toast", False), ("heap", True)]
)
def test_autovacuum_gives_way_to_an_exchange(
    g2_dsn: str,
    tmp_path: Path,
    part: str,
    keep_previous: bool,  # noqa: FBT001 - a parameter
) -> None:
    root = write_set(tmp_path)
    restore(root, g2_dsn)
    content = snapshot(g2_dsn)["rows"]
    with slow_autovacuum(g2_dsn, part), Restorer(open_store(root), g2_dsn) as restorer:
        restorer.restore(
            "latest",
            mode="replace",
            strategy="swap",
            lock_timeout_s=6,
            keep_previous=keep_previous,
        )
    after = snapshot(g2_dsn)["rows"]
    assert {table: after[table] for table in content} == content


def test_without_the_time_for_that_it_is_named(g2_dsn: str, tmp_path: Path) -> None:
    root = write_set(tmp_path)
    restore(root, g2_dsn)
    with slow_autovacuum(g2_dsn, "heap"), Restorer(open_store(root), g2_dsn) as restorer:
        content = snapshot(g2_dsn)
        with pytest.raises(TargetBusyError, match=r"could not be locked within 0\.5 s") as caught:
            restorer.restore("latest", mode="replace", strategy="swap", lock_timeout_s=0.5)
        assert snapshot(g2_dsn) == content
    assert caught.value.hint == "autovacuum works on them; wait, or raise lock_timeout_s"
