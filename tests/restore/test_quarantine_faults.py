"""Quarantine when its folder fails, or the restore is killed before the folder has its name."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pgvector_restore import ProgressEvent, Restorer, StoreError, open_store
from pgvector_restore.schema import EMBEDDING
from tests.disks import unmount
from tests.faults.kit import Client
from tests.restore.content import count, snapshot
from tests.sets import (
    EMBEDDING_FILE,
    SQL_ID,
    STAMP,
    embedding_bytes,
    quote,
    restore,
    with_cell,
    write_set,
)

_BAD = with_cell(2, "embedding", '"[1,nan]"')
_HINT = "name a folder that can be written with reject_dir"


def aside(rejects: Path) -> dict[str, Any]:
    return {"mode": "replace", "on_bad_row": "quarantine", "reject_dir": str(rejects)}


def test_killed_between_commit_and_the_folders_name(g2_dsn: str, tmp_path: Path) -> None:
    rejects, root = tmp_path / "rejects", write_set(tmp_path / "store", embedding=_BAD)
    client = Client(tmp_path / "client", g2_dsn, root, "reject.publish=kill", **aside(rejects))
    outcome = client.wait()
    assert (outcome.code, outcome.told) == (-signal.SIGKILL, None), outcome.output
    assert count(g2_dsn, EMBEDDING) == 3  # committed
    (kept,) = rejects.iterdir()
    assert kept.name.startswith(f".rejected_{STAMP}.")
    assert kept.name.endswith(".partial")
    written = (kept / EMBEDDING_FILE).read_bytes()
    assert written == b"\r\n".join([*_BAD.split(b"\r\n")[:1], *_bad_record(_BAD), b""])
    report = restore(root, g2_dsn, **aside(rejects))
    assert count(g2_dsn, EMBEDDING) == 3
    assert report.reject_folder == str(rejects / f"rejected_{STAMP}")
    assert sorted(rejects.iterdir()) == [kept, rejects / f"rejected_{STAMP}"]
    assert (kept / EMBEDDING_FILE).read_bytes() == written


def _bad_record(data: bytes) -> list[bytes]:
    return [line for line in data.split(b"\r\n") if b"nan" in line]


def test_a_folder_that_goes_away_before_it_is_sealed(g2_dsn: str, tmp_path: Path) -> None:
    rejects, root = tmp_path / "rejects", tmp_path / "store"
    restore(write_set(root), g2_dsn, mode="replace")
    before = snapshot(g2_dsn)
    write_set(root, embedding=_BAD)

    def listen(event: ProgressEvent) -> None:
        if event.phase == "index":
            shutil.rmtree(next(rejects.iterdir()))

    with Restorer(open_store(root), g2_dsn) as restorer, pytest.raises(StoreError) as caught:
        restorer.restore("latest", progress=listen, **aside(rejects))
    assert str(caught.value).startswith(f"records cannot be set aside in {rejects}: ")
    assert caught.value.hint == _HINT
    assert snapshot(g2_dsn) == before
    assert list(rejects.iterdir()) == []


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system in memory with room for one page."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a small tmpfs")
    folder = tmp_path / "small"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4k,mode=0700", "tmpfs", folder],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        unmount(folder)


#: Bad records that fill the disk at once, or that wait in a buffer until the end.
_FULL = {"while writing": (500, 400), "when sealing": (1, 4)}


@pytest.mark.parametrize("strategy", ["in_place", "swap"])
@pytest.mark.parametrize("when", _FULL)
def test_a_full_disk_under_the_folder(
    g2_dsn: str, tmp_path: Path, small: Path, when: str, strategy: str
) -> None:
    rows, size = _FULL[when]
    root = tmp_path / "store"
    restore(write_set(root), g2_dsn, mode="replace")
    before = snapshot(g2_dsn)
    records = [(f"{n}", SQL_ID, '"[1,nan]"', quote("x" * size), "") for n in range(rows)]
    write_set(root, embedding=embedding_bytes(records=records))
    phases = []
    with Restorer(open_store(root), g2_dsn) as restorer, pytest.raises(StoreError) as caught:
        restorer.restore(
            "latest",
            progress=lambda event: phases.append(event.phase),
            strategy=strategy,
            **aside(small),
        )
    assert str(caught.value) == f"records cannot be set aside in {small}: No space left on device"
    assert caught.value.hint == _HINT
    assert phases[-1] == ("load" if when == "while writing" else "verify")
    assert snapshot(g2_dsn) == before
    assert list(small.iterdir()) == []
