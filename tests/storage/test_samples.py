"""Backup sets of a real system, where they are at hand; they are no part of the repository."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pgvector_restore.storage import BackupStore, open_store

_VARIABLE = "PGVECTOR_RESTORE_SAMPLES"
_REPOSITORY = Path(__file__).parents[2]
_NEAR = _REPOSITORY.parent / "shared" / "samples" / "training_data"


@pytest.fixture(scope="module")
def store() -> BackupStore:
    folder = Path(os.environ.get(_VARIABLE, _NEAR))
    if not folder.is_dir():
        pytest.skip(f"no sample backups: set {_VARIABLE} to their folder")
    return open_store(folder)


def test_sets(store: BackupStore) -> None:
    catalog = store.catalog()
    assert [one.label for one in catalog.sets] == [
        "vector_bak/20250722_173950",
        "vector_bak/20250722_010318",
        "task_20250721_213627/20250721_215758",
        "task_20250721_202929/20250721_203539",
    ]
    assert catalog.incomplete == ()
    assert [location.kind for location in catalog.locations] == ["global", "task", "task"]


@pytest.mark.parametrize(
    ("label", "counts"),
    [
        ("vector_bak/20250722_173950", [4, 62]),
        ("vector_bak/20250722_010318", [None, None]),
        ("task_20250721_213627/20250721_215758", [4, 58]),
        ("task_20250721_202929/20250721_203539", [4, 0]),
    ],
)
def test_counts_of_the_log(store: BackupStore, label: str, counts: list[int | None]) -> None:
    found = store.catalog().get(label)
    log = store.read_log(found.location)
    assert log is not None
    assert log.failed == {}
    assert log.backup_time is not None
    assert [log.rows_of(file.name) for file in found.files] == counts


def test_files_read_to_their_listed_end(store: BackupStore) -> None:
    for found in store.catalog().sets:
        for file in found.files:
            assert sum(map(len, store.blocks(file))) == file.size_bytes
            store.check_unchanged(file)
