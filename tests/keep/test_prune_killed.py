"""SIGKILL and SIGTERM at every failpoint of a prune: no half set is shown, the next one ends it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pgvector_restore import KeepRules, open_store, prune
from pgvector_restore.failpoints import ENV_FAILPOINT, POINTS
from tests.keep.conftest import Write, files

PRUNE_POINTS = tuple(name for name in POINTS if name.startswith("prune."))
#: In which set or leftover the end comes: the first one, and one in the middle.
_TIMES = {"prune.proved": (1,), "prune.object": (1, 2, 5), "prune.leftover": (1, 2)}


def _run(root: Path, failpoint: str) -> subprocess.CompletedProcess[str]:
    command = ("prune", str(root), "--keep-last", "1", "--leftover-age", "0")
    return subprocess.run(
        [sys.executable, "-m", "pgvector_restore", *command],
        env=dict(os.environ) | {ENV_FAILPOINT: failpoint},
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )


@pytest.fixture
def filled(root: Path, write: Write) -> Path:
    """Three sets, the newer two with a manifest, and two files that were left unfinished."""
    for day, manifest in ((1, False), (2, True), (3, True)):
        write(f"2026010{day}_000000", manifest=manifest, age_s=5e8)
    for number in (1, 2):
        half = f"langchain_pg_embedding_2026010{number}_120000.csv.tmp"
        (root / "vector_bak" / half).write_bytes(b"id\r\n")
    return root


def assert_agrees(root: Path, before: dict[str, bytes]) -> None:
    """Every set that is shown is as it was; the newest one is."""
    now = files(root)
    catalog = open_store(root).catalog()
    for one in catalog.sets:
        objects = [info for file in one.files for info in file.objects]
        objects += [one.manifest] if one.manifest is not None else []
        assert all(now[info.key] == before[info.key] for info in objects)
        assert {file.table for file in one.files} == set(open_store(root).layout.tables)
    assert catalog.latest().timestamp == "20260103_000000"
    assert now.items() <= before.items() | {(key, b"") for key in marks(root)}


def marks(root: Path) -> list[str]:
    return [key for key in files(root) if key.rpartition("/")[2].startswith("manifest_")
            and key.endswith(".tmp")]  # fmt: skip


def cases() -> list[tuple[str, int]]:
    return [(point, nth) for point in PRUNE_POINTS for nth in _TIMES.get(point, (1, 2))]


def test_every_failpoint_is_reached(filled: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    assert _run(filled, f"*=note:{notes}").returncode == 0
    reached = [name for name in notes.read_text().split() if name.startswith("prune.")]
    assert list(dict.fromkeys(reached)) == list(PRUNE_POINTS)
    for point, nth in cases():
        assert reached.count(point) >= nth


@pytest.mark.sampled("case")
@pytest.mark.parametrize("how", ["kill", "term"])
@pytest.mark.parametrize("case", cases())
def test_the_end_comes_in_the_middle(
    filled: Path, tmp_path: Path, case: tuple[str, int], how: str
) -> None:
    whole = tmp_path / "whole"
    shutil.copytree(filled, whole)
    prune(open_store(whole), KeepRules(last=1), leftover_age_s=0)
    before = files(filled)
    point, nth = case
    done = _run(filled, f"{point}@{nth}={how}")
    assert_agrees(filled, before)
    if how == "kill":
        assert done.returncode == -signal.SIGKILL
    else:
        assert done.returncode in (0, 128 + signal.SIGTERM)
        assert marks(filled) == []  # it is called off between two sets, not in one
    prune(open_store(filled), KeepRules(last=1), leftover_age_s=0)
    assert files(filled) == files(whole)
