"""A client that is gone: the server ends what it was doing, and gives its locks back."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from pgvector_restore.db import session
from tests.restore.content import count, execute, query
from tests.sets import restore, write_set

#: They take long, with processes, poolers and silences that are waited for.
pytestmark = pytest.mark.faults

TABLE = "langchain_pg_embedding"
#: An index that is never done.
_ENDLESS = f"""
    CREATE FUNCTION endless(text) RETURNS text IMMUTABLE LANGUAGE plpgsql
        AS 'BEGIN PERFORM pg_sleep(600); RETURN $1; END';
    CREATE INDEX sleepy ON {TABLE} (endless(id));
"""
_CLIENT = """
import sys
from pgvector_restore import Restorer, open_store
with Restorer(open_store(sys.argv[1]), sys.argv[2]) as restorer:
    restorer.restore(mode="replace", strategy=sys.argv[3], jobs=1)
"""
#: Backends of this database that sleep in a statement.
_ASLEEP = """
    SELECT pid FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event = 'PgSleep'
"""


def wait_until(dsn: str, text: str, *, there: bool) -> None:
    """Until a query has rows, or none."""
    end = time.monotonic() + 120
    while bool(query(dsn, text)) is not there:
        assert time.monotonic() < end, f"waited for too long: {text}"
        time.sleep(0.05)


@pytest.mark.parametrize("strategy", ["in_place", "swap"])
def test_a_killed_client_builds_no_index(g2_dsn: str, tmp_path: Path, strategy: str) -> None:
    execute(g2_dsn, _ENDLESS)
    root = write_set(tmp_path)
    client = subprocess.Popen([sys.executable, "-c", _CLIENT, str(root), g2_dsn, strategy])
    try:
        wait_until(g2_dsn, _ASLEEP, there=True)
    finally:
        client.kill()
        client.wait()
    wait_until(g2_dsn, _ASLEEP, there=False)
    execute(g2_dsn, "DROP INDEX sleepy")
    restore(root, g2_dsn, mode="replace", strategy=strategy, jobs=1)
    assert count(g2_dsn, TABLE) == 4


@pytest.mark.parametrize("strategy", ["in_place", "swap"])
def test_a_server_that_cannot_look(
    g2_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strategy: str
) -> None:
    """Where the system tells it nothing, it refuses any other value: that is not needed."""
    monkeypatch.setattr(session, "_LOOKS", {"client_connection_check_interval": "-1"})
    root = write_set(tmp_path)
    assert restore(root, g2_dsn, mode="replace", strategy=strategy).rows_loaded == 6
