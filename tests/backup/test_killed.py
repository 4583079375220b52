"""SIGKILL and SIGTERM at every failpoint: earlier sets stay, nothing half-written is a set."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pgvector_restore import open_store
from pgvector_restore.db.embedded import EmbeddedServer
from pgvector_restore.failpoints import ENV_FAILPOINT, POINTS
from tests.backup.kit import EMBEDDING, backup, content, make
from tests.conftest import database

BACKUP_POINTS = tuple(name for name in POINTS if name.startswith("backup."))
#: From there on the set is published.
_PUBLISHED = ("backup.published", "backup.emptied", "backup.commit")


def _run(root: Path, dsn: str, failpoint: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pgvector_restore", "backup", str(root), "--dsn", dsn, *options],
        env=dict(os.environ) | {ENV_FAILPOINT: failpoint},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


@pytest.mark.parametrize("kind", ["csv", "binary"])
def test_every_failpoint_is_reached(server: EmbeddedServer, tmp_path: Path, kind: str) -> None:
    notes = tmp_path / "notes"
    with database(server) as dsn:
        make(dsn, "g2")
        done = _run(tmp_path / "root", dsn, f"*=note:{notes}", "--format", kind, "--truncate-after")
    assert done.returncode == 0, done.stderr
    passed = [name for name in notes.read_text().split() if name.startswith("backup.")]
    assert list(dict.fromkeys(passed)) == list(BACKUP_POINTS)


@pytest.mark.sampled("point")
@pytest.mark.parametrize("point", BACKUP_POINTS)
@pytest.mark.parametrize("kind", ["csv", "binary"])
def test_killed(server: EmbeddedServer, tmp_path: Path, kind: str, point: str) -> None:
    root = tmp_path / "root"
    with database(server) as dsn:
        make(dsn, "g2")
        first = backup(root, dsn)
        rows = content(dsn, EMBEDDING)
        done = _run(root, dsn, f"{point}=kill", "--format", kind, "--truncate-after")
        assert done.returncode == -signal.SIGKILL
        catalog = open_store(root).catalog()
        assert catalog.get(first.label).files == first.backup.files
        assert len(catalog.sets) == 1 + (point in _PUBLISHED)
        for one in catalog.incomplete:
            assert "manifest_" in one.reason or "unfinished" in one.reason
        assert bool(catalog.incomplete) == (point not in ("backup.snapshot", "backup.emptied",
                                                          "backup.commit"))  # fmt: skip
        emptied = content(dsn, EMBEDDING) == []
        assert emptied == (point == "backup.commit")
        assert emptied or content(dsn, EMBEDDING) == rows
        after = backup(root, dsn, format=kind)
        assert after.table(EMBEDDING).rows == (0 if emptied else len(rows))


@pytest.mark.sampled("point")
@pytest.mark.parametrize("point", [name for name in BACKUP_POINTS if name not in _PUBLISHED])
@pytest.mark.parametrize("kind", ["csv", "binary"])
def test_ended(server: EmbeddedServer, tmp_path: Path, kind: str, point: str) -> None:
    """SIGTERM calls it off: nothing is left, and the exit code says so."""
    root = tmp_path / "root"
    with database(server) as dsn:
        make(dsn, "g2")
        first = backup(root, dsn)
        rows = content(dsn, EMBEDDING)
        done = _run(root, dsn, f"{point}=term", "--format", kind, "--truncate-after")
        catalog = open_store(root).catalog()
        assert catalog.incomplete == ()
        assert content(dsn, EMBEDDING) == rows
        assert done.returncode == 128 + signal.SIGTERM
        labels = [one.label for one in catalog.sets]
        if point == "backup.publish":  # too late for the backup, not for the rows
            what = f"backup {labels[0]} is complete, nothing was removed from {EMBEDDING}"
            assert labels[1:] == [first.label]
        else:
            what = "nothing has changed"
            assert labels == [first.label]
        assert done.stderr.splitlines()[-1] == f"interrupted: {what}"
