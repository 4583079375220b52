"""``prune`` and ``copy`` as commands."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

_TABLES = ("langchain_pg_collection", "langchain_pg_embedding")
_STAMPS = ("20260101_000000", "20260102_000000", "20260103_000000")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root" / "vector_bak"
    folder.mkdir(parents=True)
    for stamp in _STAMPS:
        for table in _TABLES:
            (folder / f"{table}_{stamp}.csv").write_text("id\n")
    return tmp_path / "root"


def call(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pgvector_restore", *args],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )


def left(root: Path) -> list[str]:
    return sorted(p.name for p in root.rglob("*.csv"))


def test_prune(root: Path) -> None:
    told = call("prune", str(root), "--keep-last", "1", "--dry-run")
    assert (told.returncode, told.stderr) == (0, "")
    assert told.stdout.splitlines() == [
        f"keep      vector_bak/{_STAMPS[2]}  6.0 B  last 1 of 1, newest valid set of its location",
        "would go  vector_bak/20260102_000000  6.0 B  no rule keeps it",
        "would go  vector_bak/20260101_000000  6.0 B  no rule keeps it",
        "would go: 2 of 3 sets, 0 unfinished, 12.0 B",
    ]
    assert len(left(root)) == 6
    done = call(
        "prune", str(root), "--keep-last", "2", "--keep", "vector_bak/20260101_000000", "--json"
    )
    document: dict[str, Any] = json.loads(done.stdout)
    assert (document["ok"], document["dry_run"], document["bytes_removed"]) == (True, False, 0)
    done = call("prune", str(root), "--keep-daily", "1", "--json")
    document = json.loads(done.stdout)
    assert [(one["timestamp"], one["keep"]) for one in document["sets"]] == [
        (_STAMPS[2], True), (_STAMPS[1], False), (_STAMPS[0], False),
    ]  # fmt: skip
    assert left(root) == [f"{table}_{_STAMPS[2]}.csv" for table in _TABLES]


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["--keep-last", "0"], 2, "0 is not in the range x>=1"),
        (["--task", "task_1", "--global-only"], 2, "exclude each other"),
        (["--keep", "vector_bak/20260109_000000"], 3, "no backup set"),
        (["--keep", "../x"], 2, "leads upwards"),
    ],
)
def test_prune_refuses(root: Path, args: list[str], code: int, message: str) -> None:
    found = call("prune", str(root), *args)
    assert (found.returncode, found.stdout) == (code, "")
    assert message in found.stderr
    assert len(left(root)) == 6


def test_copy(root: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    found = call("copy", str(root), "latest", str(there))
    assert (found.returncode, found.stderr) == (0, "")
    lines = found.stdout.splitlines()
    assert [line.split()[:2] for line in lines[:2]] == [
        ["copied", f"{table}_{_STAMPS[2]}.csv"] for table in _TABLES
    ]
    assert lines[2] == f"vector_bak/{_STAMPS[2]} is in {there}, 6.0 B"
    assert left(there) == [f"{table}_{_STAMPS[2]}.csv" for table in _TABLES]
    again: dict[str, Any] = json.loads(
        call("copy", str(root), f"vector_bak/{_STAMPS[2]}", str(there), "--json").stdout
    )
    assert (again["ok"], again["was_there"]) == (True, True)


def test_copy_refuses(root: Path, tmp_path: Path) -> None:
    found = call("copy", str(root), "latest", str(root))
    assert found.returncode == 2
    assert "is source and destination" in found.stderr
    found = call("copy", str(root), "vector_bak/20250101_000000", str(tmp_path / "there"))
    assert found.returncode == 3
    assert not (tmp_path / "there").exists()


def test_half_a_log_is_shown_and_swept(root: Path) -> None:
    half = root / "vector_bak" / "vector_backup_log.txt.tmp"
    half.write_text("ha")
    shown = call("list", str(root))
    assert "vector_bak/vector_backup_log.txt.tmp" in shown.stdout
    told = call("prune", str(root), "--leftover-age", "0")
    assert told.stdout.splitlines()[3:] == [
        f"removed   vector_bak/{half.name}  unfinished  unfinished: {half.name}",
        "removed: 0 of 3 sets, 1 unfinished, 2.0 B",
    ]
    assert not half.exists()
