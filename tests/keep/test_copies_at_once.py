"""Several copies of one set to one place at the same time."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pgvector_restore.copy_report import CopyReport
from pgvector_restore.copying import copy_set
from pgvector_restore.errors import BackupInUseError, StoreChangedError
from pgvector_restore.progress import Progress, ProgressEvent
from pgvector_restore.storage import BackupStore, open_store
from tests.cli.conftest import Done, run_command
from tests.keep.conftest import Write, files
from tests.storage.serving import s3_options

_A = "20260101_000000"
_LABEL = f"vector_bak/{_A}"


#: With a manifest or without, and when: of two files, and of a manifest, each is read twice.
_MOMENTS = [*((False, at) for at in range(1, 6)), *((True, at) for at in range(1, 8))]


def _two_copies(
    source: BackupStore, open_destination: Callable[[], BackupStore], at: int
) -> list[CopyReport | BackupInUseError]:
    """One copy, and a whole other one while it tells of its n-th block."""
    results: list[CopyReport | BackupInUseError] = []
    seen = 0

    def tell(_: ProgressEvent) -> None:
        nonlocal seen
        seen += 1
        if seen == at:
            copy(lambda _: None)

    def copy(progress: Progress) -> None:
        try:
            results.append(copy_set(source, _LABEL, open_destination(), progress=progress))
        except BackupInUseError as exc:
            results.append(exc)

    copy(tell)
    assert len(results) == 2
    return results


@pytest.mark.parametrize(("manifest", "at"), _MOMENTS)
def test_two_copies_at_once(
    root: Path, there: Path, write: Write, at: int, *, manifest: bool
) -> None:
    keys = write(_A, manifest=manifest)
    results = _two_copies(open_store(str(root)), lambda: open_store(str(there)), at)
    assert any(isinstance(one, CopyReport) for one in results)
    for one in results:
        if isinstance(one, BackupInUseError):
            assert str(one) == f'somebody else is copying "{_LABEL}" to {there}'
            assert one.hint == "wait until that has ended; if it was broken off, copy again"
    assert files(there) == {key: (root / key).read_bytes() for key in keys}
    destination = open_store(str(there))
    assert [one.label for one in destination.catalog().sets] == [_LABEL]
    assert destination.catalog().incomplete == ()
    assert copy_set(open_store(str(root)), _LABEL, destination).was_there


@pytest.mark.parametrize(("manifest", "at"), _MOMENTS)
def test_two_copies_at_once_to_an_object_storage(
    root: Path,
    write: Write,
    s3_server: dict[str, Any],
    s3_bucket: str,
    at: int,
    *,
    manifest: bool,
) -> None:
    keys = write(_A, manifest=manifest)
    url, options = f"s3://{s3_bucket}/two-{at}-{manifest}", s3_options(s3_server)
    results = _two_copies(
        open_store(str(root)), lambda: open_store(url, storage_options=options), at
    )
    assert [type(one) for one in results] == [CopyReport, CopyReport]
    destination = open_store(url, storage_options=options)
    assert [info.key for info in destination.list()] == sorted(keys)
    for key in keys:
        with destination.open(key) as stream:
            assert stream.read() == (root / key).read_bytes()
    assert [one.label for one in destination.catalog().sets] == [_LABEL]


@pytest.mark.parametrize("kind", ["folder", "s3"])
def test_many_copies_at_once(
    request: pytest.FixtureRequest, root: Path, there: Path, write: Write, kind: str
) -> None:
    keys = write(_A, manifest=True)
    url, options = str(there), None
    if kind == "s3":
        url = f"s3://{request.getfixturevalue('s3_bucket')}/many"
        options = s3_options(request.getfixturevalue("s3_server"))
    start = threading.Barrier(4)

    def copy(_: int) -> str:
        source, destination = open_store(str(root)), open_store(url, storage_options=options)
        start.wait()
        try:
            copy_set(source, _LABEL, destination)
        except BackupInUseError:
            return "in use"
        return "copied"

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(copy, range(4)))
    assert "copied" in results
    destination = open_store(url, storage_options=options)
    assert [info.key for info in destination.list()] == sorted(keys)
    for key in keys:
        with destination.open(key) as stream:
            assert stream.read() == (root / key).read_bytes()


def test_two_copies_of_different_sets_of_one_label(
    root: Path, there: Path, write: Write, tmp_path: Path
) -> None:
    keys = write(_A)
    other = tmp_path / "other"
    shutil.copytree(root, other)
    (other / keys[0]).write_bytes(b"x" * (root / keys[0]).stat().st_size)
    told: list[ProgressEvent] = []

    def replace(event: ProgressEvent) -> None:
        told.append(event)
        if len(told) == 3:  # the second file is being written
            (there / keys[0]).write_bytes((other / keys[0]).read_bytes())

    source, destination = open_store(str(root)), open_store(str(there))
    with pytest.raises(StoreChangedError, match=f'"{keys[0]}" was changed by somebody else'):
        copy_set(source, _LABEL, destination, progress=replace)
    assert destination.catalog().sets == ()
    copy_set(source, _LABEL, destination)
    assert files(there) == {key: (root / key).read_bytes() for key in keys}


def test_the_command_says_that_somebody_else_copies_it(
    root: Path, there: Path, write: Write
) -> None:
    keys = write(_A)
    done: list[Done] = []

    def copy_too(_: ProgressEvent) -> None:
        if not done:
            done.append(run_command("copy", root, _LABEL, there, "--json"))

    copy_set(open_store(str(root)), _LABEL, open_store(str(there)), progress=copy_too)
    assert done[0].code == 3
    assert done[0].document["error"]["type"] == "BackupInUseError"
    assert f'somebody else is copying "{_LABEL}"' in done[0].err
    assert files(there) == {key: (root / key).read_bytes() for key in keys}
