"""``prune`` and ``copy`` as commands."""

from __future__ import annotations

import json
import shutil
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
        timeout=400,
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


@pytest.mark.skipif(sys.platform == "win32", reason="rights are another matter there")
def test_prune_tells_what_could_not_be_removed(root: Path) -> None:
    locked = root / "task_1" / "vector_bak"
    shutil.copytree(root / "vector_bak", locked)
    mark = locked / f"manifest_{_STAMPS[0]}.tmp"
    mark.mkdir()  # no file can take its place, whoever tries
    found = call("prune", str(root), "--keep-last", "1")
    assert found.returncode == 3
    assert found.stderr.startswith(f"error: could not remove task_1/{_STAMPS[0]}: ")
    lines = found.stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["keep", f"vector_bak/{_STAMPS[2]}"], ["keep", f"task_1/{_STAMPS[2]}"],
        ["removed", f"vector_bak/{_STAMPS[1]}"], ["removed", f"task_1/{_STAMPS[1]}"],
        ["removed", f"vector_bak/{_STAMPS[0]}"], ["failed", f"task_1/{_STAMPS[0]}"],
        ["removed:", "3"],
    ]  # fmt: skip
    assert "not removed: " in lines[5]
    assert lines[6] == "removed: 3 of 6 sets, 0 unfinished, 18.0 B"
    found = call("prune", str(root), "--keep-last", "1", "--json")
    document: dict[str, Any] = json.loads(found.stdout)
    assert (document["ok"], document["error"]["type"]) == (False, "PruneError")
    assert document["error"]["report"]["failed"] == [f"task_1/{_STAMPS[0]}"]
    mark.rmdir()
    assert call("prune", str(root), "--keep-last", "1").returncode == 0
    assert len(left(root)) == 4


def test_prune_tells_two_folders_of_a_task_apart(root: Path) -> None:
    for name in ("vector_bak", "global_vector_bak"):
        shutil.copytree(root / "vector_bak", root / "task_1" / name)
    told = call("prune", str(root), "--keep-last", "3", "--task", "task_1")
    assert [line.split()[1] for line in told.stdout.splitlines()[:2]] == [
        f"task_1/global_vector_bak/{_STAMPS[2]}",
        f"task_1/vector_bak/{_STAMPS[2]}",
    ]
    rest = call(
        *("prune", str(root), "--keep-last", "1", "--task", "task_1"),
        *("--keep", f"task_1/vector_bak/{_STAMPS[0]}"),
    )
    assert rest.returncode == 0
    assert sorted(path.parent.name for path in (root / "task_1").rglob(f"*_{_STAMPS[0]}.csv")) == [
        "vector_bak",
        "vector_bak",
    ]
