"""SIGKILL in the middle of a swap: the old rows stay in service, and the next run is clean."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pgvector_restore.db.embedded import EmbeddedServer
from tests.conftest import connect
from tests.restore.content import execute, query, snapshot
from tests.sets import SQL_ID, embedding_bytes, restore, write_set

_LEFT_OVER = "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'pgvr%'"
_MANY = 1_000_000
#: Every so many statements of a restore one is chosen to end at; three tests share them.
_STEP = 45
_SHARES = 3


def killed(dsn: str, root: Path, jobs: int, where: str) -> tuple[int, str]:
    told = root / "told"  # a file: workers that outlive the program keep pipes open
    with told.open("w") as out:
        done = subprocess.run(
            [sys.executable, "-m", "tests.restore.killed", dsn, str(root), str(jobs), where],
            check=False,
            stdout=out,
            stderr=out,
            timeout=400,
            cwd=Path(__file__).parents[2],
        )
    text = told.read_text()
    assert done.returncode in (0, -signal.SIGKILL), text
    return done.returncode, text


@pytest.fixture
def sets(g2_dsn: str, tmp_path: Path) -> tuple[Path, Path]:
    """Two stores; the rows of the first are in the database, with a vector index on them."""
    made = []
    for word in ("one", "two"):
        records = [(f"{word}-{n}", SQL_ID, f'"[{n},2,3]"', word, "") for n in range(1500)]
        made.append(write_set(tmp_path / word, embedding=embedding_bytes(records=records)))
    execute(
        g2_dsn,
        "CREATE INDEX ix ON langchain_pg_embedding "
        "USING hnsw ((embedding::vector(3)) vector_cosine_ops)",
    )
    restore(made[0], g2_dsn, mode="replace")
    return made[0], made[1]


def assert_clean_afterwards(dsn: str, before: Any, roots: tuple[Path, Path], after: Any) -> None:
    """The database serves old or new rows, whole; one more run makes them new, and tidies up."""
    with connect(dsn) as conn:  # a client that died is noticed by its backend, but not at once
        conn.execute("SET lock_timeout = '20s'")
        found = conn.execute("SELECT DISTINCT document FROM langchain_pg_embedding").fetchall()
        rows = conn.execute("SELECT count(*) FROM langchain_pg_embedding").fetchone()
    assert (found, rows) in [([("one",)], (1500,)), ([("two",)], (1500,))]
    restore(roots[1], dsn, mode="replace", strategy="swap")
    assert snapshot(dsn) == after
    assert not query(dsn, _LEFT_OVER)
    restore(roots[0], dsn, mode="replace", strategy="swap")
    assert snapshot(dsn) == before


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("phase", ["load", "index", "publish"])
def test_killed_at_a_phase(g2_dsn: str, sets: tuple[Path, Path], phase: str, jobs: int) -> None:
    before = snapshot(g2_dsn)
    assert killed(g2_dsn, sets[1], jobs, phase)[0] == -signal.SIGKILL
    served = query(g2_dsn, "SELECT DISTINCT document FROM langchain_pg_embedding")
    assert served == [("one",)]
    restore(sets[1], g2_dsn, mode="replace", strategy="swap")
    after = snapshot(g2_dsn)
    restore(sets[0], g2_dsn, mode="replace", strategy="swap")
    assert_clean_afterwards(g2_dsn, before, sets, after)


@pytest.mark.parametrize("share", range(_SHARES))
def test_killed_at_a_statement(
    server: EmbeddedServer, g2_dsn: str, sets: tuple[Path, Path], share: int
) -> None:
    assert server.pid
    before = snapshot(g2_dsn)
    code, left = killed(g2_dsn, sets[1], 1, str(_MANY))
    assert code == 0
    after = snapshot(g2_dsn)
    statements = _MANY - int(left)
    assert statements > 50
    restore(sets[0], g2_dsn, mode="replace", strategy="swap")
    for number in range(_STEP * (share + 1), statements, _STEP * _SHARES):
        assert killed(g2_dsn, sets[1], 1, str(number))[0] == -signal.SIGKILL
        assert_clean_afterwards(g2_dsn, before, sets, after)
