"""Many restores: eight at once into one table, and a thousand one after another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pgvector_restore import ProgressEvent, Restorer, RestoreReport, TargetBusyError, open_store
from tests.conftest import connect
from tests.faults.kit import PATIENCE_S, REPOSITORY
from tests.restore.content import query
from tests.sets import SQL_ID, embedding_bytes, restore, write_set

sampled = pytest.mark.faults_sample
pytestmark = pytest.mark.faults

_CROWD = 8
_EMBEDDING = "langchain_pg_embedding"
_WAYS = {
    "in_place": {"mode": "replace", "strategy": "in_place"},
    "swap": {"mode": "replace", "strategy": "swap"},
    "append": {"mode": "append", "tables": _EMBEDDING},
}


#: Resident memory that may be added between the first fifth and the end. Measured over 1,000
#: restores: 0.5 MB.
_GROWTH_BYTES = 4 << 20


class Contest:
    """Starts restores together; the first to load waits until the others have been refused."""

    def __init__(self) -> None:
        self._start = threading.Barrier(_CROWD, timeout=PATIENCE_S)
        self._refused = threading.Semaphore(0)

    def run(self, root: Path, dsn: str, options: dict[str, Any]) -> RestoreReport | TargetBusyError:
        waited = False

        def listen(event: ProgressEvent) -> None:
            nonlocal waited
            if event.phase == "prepare":
                self._start.wait()
            elif event.phase == "load" and not waited:
                waited = True
                for _ in range(_CROWD - 1):
                    assert self._refused.acquire(timeout=PATIENCE_S)

        with Restorer(open_store(root), dsn) as restorer:
            # More than the test's own patience: nobody may wait for the winner's locks.
            plan = restorer.plan(lock_timeout_s=2 * PATIENCE_S, **options)
            try:
                return restorer.run(plan, progress=listen)
            except TargetBusyError as exc:
                self._refused.release()
                return exc


@sampled
@pytest.mark.parametrize("way", _WAYS)
def test_eight_at_once(g2_dsn: str, tmp_path: Path, way: str) -> None:
    restore(write_set(tmp_path / "before"), g2_dsn)
    roots = [
        write_set(
            tmp_path / str(n),
            embedding=embedding_bytes(records=[(f"of-{n}", SQL_ID, "", "", "")]),
        )
        for n in range(_CROWD)
    ]
    contest = Contest()
    with ThreadPoolExecutor(_CROWD) as executor:
        ends = list(executor.map(lambda root: contest.run(root, g2_dsn, _WAYS[way]), roots))
    winners = [n for n, end in enumerate(ends) if isinstance(end, RestoreReport)]
    assert len(winners) == 1
    for end in ends:
        if not isinstance(end, RestoreReport):
            assert str(end).startswith("another restore is writing public.langchain_pg_")
            assert end.hint == "wait until it has ended"
    found = query(g2_dsn, f"SELECT id FROM {_EMBEDDING} WHERE id LIKE 'of-%'")
    assert found == [(f"of-{winners[0]}",)]
    assert not query(g2_dsn, "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'pgvr%'")
    assert query(g2_dsn, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == [(0,)]


@pytest.mark.skipif(sys.platform != "linux", reason="open files are counted in /proc")
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("times", [pytest.param(100, marks=sampled), pytest.param(1000, id="1000")])
def test_one_after_another_in_one_process(
    g2_dsn: str, g2_template: str, tmp_path: Path, times: int
) -> None:
    assert g2_template
    good = write_set(tmp_path / "good")
    bad = write_set(
        tmp_path / "bad", embedding=embedding_bytes(records=[("x", SQL_ID, '"[1,"', "", "")])
    )
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.many", g2_dsn, str(good), str(bad), str(times)],
        cwd=REPOSITORY,
        env=os.environ | {"TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    early, late = json.loads(done.stdout)
    for held in (early, late):  # by the restorer that stays open: one to restore, one to look
        assert 1 <= held["sessions"] <= 2
    assert late["files"] - late["sessions"] == early["files"] - early["sessions"]
    assert late["threads"] == early["threads"]
    assert late["rss_bytes"] - early["rss_bytes"] < _GROWTH_BYTES, (early, late)
    assert not list(temporary.iterdir())
    assert not query(g2_dsn, "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'pg%temp%'")
    assert not query(g2_dsn, "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'pgvr%'")
    with connect(g2_dsn) as conn:
        counted = conn.execute(f"SELECT count(*) FROM {_EMBEDDING}").fetchone()
    assert counted == (4,)
