from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import pytest
from attrs import evolve

from pgvector_restore.cancel import CancelToken
from pgvector_restore.errors import (
    BackupInUseError,
    BackupNotFoundError,
    CancelledError,
    OptionError,
    PruneError,
    StoreError,
)
from pgvector_restore.inspecting import inspect_set
from pgvector_restore.keeping import KeepRules
from pgvector_restore.model import ObjectInfo
from pgvector_restore.progress import ProgressEvent
from pgvector_restore.prune_report import PruneReport
from pgvector_restore.pruning import prune
from pgvector_restore.restorer import Restorer
from pgvector_restore.storage import BackupStore, WritableStore, open_store
from pgvector_restore.storage._local import LocalStore
from pgvector_restore.storage._paths import local_place
from pgvector_restore.storage._wrapping import WrappingStore
from tests.disks import unmount
from tests.keep.conftest import DAY, NOW, Write

_A, _B, _C = "20260101_000000", "20260102_000000", "20260103_000000"
_LAST = KeepRules(last=1)
EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "training_data"


def keys(root: Path) -> set[str]:
    return {str(p.relative_to(root)) for p in root.rglob("*") if p.is_file()}


def run(root: Path, rules: KeepRules = _LAST, *, dry_run: bool = False) -> PruneReport:
    return prune(open_store(str(root)), rules, dry_run=dry_run, now=NOW)


@pytest.mark.parametrize("manifest", [False, True])
@pytest.mark.parametrize("ends", [(".csv",), (".csv.gz",)])
def test_what_no_rule_keeps_goes(
    root: Path, write: Write, ends: tuple[str, ...], *, manifest: bool
) -> None:
    write(_A, ends=ends, manifest=manifest)
    write(_B, "task_1/vector_bak", ends=ends, manifest=manifest)
    stay = write(_C, ends=ends, manifest=manifest)
    (root / "vector_bak" / "vector_backup_log.txt").write_text("log")
    other = root / "vector_bak" / f"notes_{_A}.txt"
    other.write_text("not ours")
    report = run(root)
    assert [one.backup.label for one in report.removed] == [f"vector_bak/{_A}"]
    assert report.bytes_removed == report.removed[0].backup.size_bytes > 0
    left = keys(root)
    assert {*stay, "vector_bak/vector_backup_log.txt", f"vector_bak/notes_{_A}.txt"} <= left
    assert [key for key in left if _A in key] == [f"vector_bak/notes_{_A}.txt"]
    assert len([key for key in left if _B in key]) == 2 + manifest


def test_parts_go_all(root: Path, write: Write) -> None:
    ends = [f".part{n:05}.pgcopy.zst" for n in (1, 2, 3)]
    write(_A, ends=ends, manifest=True)
    stay = write(_B, ends=ends, manifest=True)
    assert len(run(root).removed) == 1
    assert keys(root) == set(stay)


def test_dry_run_tells_the_same_and_removes_nothing(root: Path, write: Write) -> None:
    for stamp in (_A, _B, _C):
        write(stamp)
    write("20251231_000000", marker=True, age_s=2 * DAY)
    before = keys(root)
    told = run(root, dry_run=True)
    assert keys(root) == before
    done = run(root)
    assert told.to_dict() | {"dry_run": False} == done.to_dict()
    assert keys(root) == {key for key in before if _C in key}


def test_no_rule_removes_no_set(root: Path, write: Write) -> None:
    write(_A)
    write(_B)
    assert run(root, KeepRules()).removed == ()
    assert len(keys(root)) == 4


def test_unfinished_goes_after_a_day(root: Path, write: Write) -> None:
    stay = write(_C)
    old = write(_A, marker=True, age_s=DAY + 1)
    stay += write(_B, marker=True, age_s=DAY - 1)
    report = run(root, KeepRules())
    assert [(one.found.timestamp, one.keep, one.reason) for one in report.leftovers] == [
        (_B, True, "it may still be written"),
        (_A, False, f"unfinished: manifest_{_A}.tmp"),
    ]
    assert [info.key for info in report.leftovers[1].objects] == old
    assert keys(root) == set(stay)


def test_half_a_mark_is_swept(root: Path, write: Write) -> None:
    stay = write(_A)
    (root / "vector_bak" / f"manifest_{_B}.tmp.tmp").write_bytes(b"")
    assert [one.found.label for one in run(root).leftovers if not one.keep] == [f"vector_bak/{_B}"]
    assert keys(root) == set(stay)


@pytest.mark.parametrize("folder", ["vector_bak", "task_1/vector_bak", "."])
def test_a_half_written_log_is_swept(root: Path, write: Write, folder: str) -> None:
    stay = {str(Path(key)) for key in write(_A, folder)}
    half = root / folder / "vector_backup_log.txt.tmp"
    half.write_text("ha")
    os.utime(half, (NOW - DAY + 1, NOW - DAY + 1))
    (kept,) = run(root).leftovers
    assert (kept.keep, kept.reason) == (True, "it may still be written")
    os.utime(half, (NOW - DAY - 1, NOW - DAY - 1))
    catalog = open_store(str(root)).catalog()
    (one,) = catalog.incomplete
    where = {"vector_bak": "vector_bak/", "task_1/vector_bak": "task_1/", ".": ""}[folder]
    assert one.label == f"{where}vector_backup_log.txt.tmp"
    assert (one.timestamp, one.reason) == ("", "unfinished: vector_backup_log.txt.tmp")
    with pytest.raises(BackupNotFoundError, match="no backup set"):
        catalog.get(where)
    (gone,) = run(root, KeepRules()).leftovers
    assert (gone.found, gone.keep) == (one, False)
    assert keys(root) == stay


class _Timeless(LocalStore):
    """A storage that does not tell when an object was changed."""

    def list(self, prefix: str = "", *, max_depth: int | None = None) -> Iterator[ObjectInfo]:
        for info in super().list(prefix, max_depth=max_depth):
            yield evolve(info, mtime=None)

    def candidates(self, prefix: str = "", *, max_depth: int | None = None) -> Iterator[ObjectInfo]:
        for info in super().candidates(prefix, max_depth=max_depth):
            yield evolve(info, mtime=None)


def test_without_times_names_tell_the_age(root: Path, write: Write) -> None:
    stay = write(_A) + write("20991231_000000", marker=True) + write("20260231_000000", marker=True)
    write(_B, marker=True)
    write("00010101_000000", marker=True)  # before all that systems can count from
    store = _Timeless(local_place(str(root), windows=False))
    report = prune(store, _LAST, now=NOW)
    assert {one.found.timestamp for one in report.leftovers if not one.keep} == {
        _B,
        "00010101_000000",
    }
    assert keys(root) == set(stay)


def test_a_file_still_growing_keeps_the_whole(root: Path, write: Write) -> None:
    stay = write(_A, marker=True, age_s=9 * DAY)
    growing = root / f"vector_bak/langchain_pg_embedding_{_A}.csv.gz.tmp"
    growing.write_text("x")
    os.utime(growing, (NOW - 60, NOW - 60))
    assert [one.keep for one in run(root).leftovers] == [True]
    assert keys(root) == {*stay, str(growing.relative_to(root))}


def test_files_of_other_tools_that_are_unfinished(root: Path, write: Write) -> None:
    """Only what is named so goes: the rest of a half set may be all there is of its rows."""
    write(_A, ends=(".csv.tmp",), age_s=3 * DAY)
    stay = write(_B, age_s=3 * DAY)
    half = root / stay.pop()
    half.rename(f"{half}.tmp")
    report = run(root)
    assert [one.keep for one in report.leftovers] == [False, False]
    assert keys(root) == set(stay)
    report = run(root)
    assert [(one.keep, one.reason) for one in report.leftovers] == [
        (True, f"look at it: langchain_pg_embedding_{_B}.csv missing")
    ]
    assert keys(root) == set(stay)


def test_a_mark_beside_a_complete_set_goes_alone(root: Path, write: Write) -> None:
    stay = write(_A, manifest=True, age_s=3 * DAY)
    write(_A, marker=True, manifest=True, age_s=3 * DAY)
    report = run(root)
    assert [len(one.objects) for one in report.leftovers] == [1]
    assert keys(root) == set(stay)


def test_a_set_that_lies_stays_and_counts_for_nothing(root: Path, write: Write) -> None:
    first, second = write(_A, manifest=True), write(_B, manifest=True)
    broken = write(_C, manifest=True)
    (root / broken[0]).write_text("shorter")
    report = run(root)
    assert report.decisions[0].reasons[0].startswith("not valid: langchain_pg_collection_20260103")
    assert [one.backup.timestamp for one in report.removed] == [_A]
    assert keys(root) == {*second, *broken}
    assert not set(first) & keys(root)


def test_a_set_with_an_empty_file_counts_for_nothing(root: Path, write: Write) -> None:
    good, broken = write(_A), write(_B)
    (root / broken[1]).write_bytes(b"")
    report = run(root)
    assert report.decisions[0].reasons == (f"not valid: langchain_pg_embedding_{_B}.csv is empty",)
    assert keys(root) == {*good, *broken}


def test_choice_of_sets(root: Path, write: Write) -> None:
    for folder in ("vector_bak", "task_1/vector_bak", "task_2/vector_bak"):
        write(_A, folder)
        write(_B, folder)
    store = open_store(str(root))
    assert [d.backup.label for d in prune(store, _LAST, task_id="task_1").removed] == [
        f"task_1/{_A}"
    ]
    assert [d.backup.label for d in prune(store, _LAST, global_only=True).removed] == [
        f"vector_bak/{_A}"
    ]
    assert len(keys(root)) == 8


def test_labels_to_keep(root: Path, write: Write) -> None:
    for stamp in (_A, _B, _C):
        write(stamp)
    for label in (f"vector_bak/{_A}", f"./vector_bak/{_A}"):
        report = run(root, KeepRules(last=1, labels=(label,)), dry_run=label.startswith("v"))
        assert [one.backup.timestamp for one in report.removed] == [_B]
    with pytest.raises(BackupNotFoundError, match=f'no backup set "vector_bak/{_B}"'):
        run(root, KeepRules(last=1, labels=(f"vector_bak/{_B}",)))
    with pytest.raises(OptionError, match="names another set each time"):
        run(root, KeepRules(last=1, labels=("vector_bak/latest",)))


def test_a_label_of_two_sets_keeps_both(root: Path, write: Write) -> None:
    for folder in ("task_1/vector_bak", "task_1/global_vector_bak"):
        for stamp in (_A, _B, _C):
            write(stamp, folder)
    report = run(root, KeepRules(last=1, labels=(f"task_1/{_A}",)))
    assert [one.backup.timestamp for one in report.removed] == [_B, _B]


def test_what_is_read_stays(root: Path, write: Write) -> None:
    write(_A)
    write(_B)
    store = open_store(str(root))
    with open_store(str(root)).hold(store.catalog().get(f"vector_bak/{_A}")):
        report = prune(store, _LAST)
        assert [one.reasons for one in report.decisions] == [
            ("last 1 of 1", "newest valid set of its location"),
            ("it is being read",),
        ]
    assert len(keys(root)) == 4
    assert len(prune(store, _LAST).removed) == 1
    assert len(keys(root)) == 2


_HOLD = """
import sys
from pgvector_restore import open_store
store = open_store(sys.argv[1])
with store.hold(store.catalog().get(sys.argv[2])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there open files cannot be removed at all")
def test_what_another_process_reads_stays(root: Path, write: Write) -> None:
    write(_A)
    write(_B)
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(root), f"vector_bak/{_A}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert run(root).removed == ()
        holder.communicate("")
    assert len(run(root).removed) == 1


def test_nobody_gets_what_is_removed(root: Path, write: Write) -> None:
    write(_A)
    store = open_store(str(root))
    found = store.catalog().latest()
    with store.hold(found, alone=True):
        for alone in (False, True):
            with pytest.raises(BackupInUseError), store.hold(found, alone=alone):
                pytest.fail("the block must not run")
    with store.hold(found), store.hold(found):
        pass


def test_interrupted_between_any_two_steps_no_half_set_is_left(
    root: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each file that is removed could be the last one before a crash."""
    write(_A, manifest=True)
    stay = write(_B, manifest=True)
    store = open_store(str(root))
    delete = type(store).delete  # type: ignore[attr-defined]

    def crash(_: BackupStore, key: str) -> None:
        delete(store, key)
        raise StoreError(f"crash after {key}")

    monkeypatch.setattr(type(store), "delete", crash)
    for _ in range(3):
        with pytest.raises(StoreError, match="crash after"):
            prune(store, _LAST, leftover_age_s=0, now=4e9)
        catalog = store.catalog()
        assert [one.timestamp for one in catalog.sets] == [_B]
        assert [one.reason for one in catalog.incomplete] == [f"unfinished: manifest_{_A}.tmp"]
    with pytest.raises(StoreError, match=r"crash after .*\.tmp"):
        prune(store, _LAST, leftover_age_s=0, now=4e9)
    assert keys(root) == set(stay)


def test_read_only_stores(root: Path, write: Write) -> None:
    write(_A)

    class ReadOnly(BackupStore):
        inner = open_store(str(root))
        url, list, open = inner.url, inner.list, inner.open

    with pytest.raises(OptionError, match="cannot be written"):
        prune(ReadOnly(), _LAST)
    assert prune(ReadOnly(), _LAST, dry_run=True).removed == ()
    with pytest.raises(OptionError, match="leftover_age_s must be 0 or more, it is -1"):
        prune(open_store(str(root)), _LAST, leftover_age_s=-1)
    with pytest.raises(OptionError, match="leftover_age_s must be 0 or more, it is nan"):
        prune(open_store(str(root)), _LAST, leftover_age_s=float("nan"))


def test_a_restore_a_comparison_and_an_inspection_hold_their_set(
    g2_dsn: str, tmp_path: Path
) -> None:
    shutil.copytree(EXAMPLES, tmp_path / "examples")
    store = open_store(str(tmp_path / "examples"))
    found = store.catalog().latest()
    met: list[str] = []

    def try_it(event: ProgressEvent) -> None:
        if event.phase != "done":
            met.append(event.phase)
            with pytest.raises(BackupInUseError), store.hold(found, alone=True):
                pytest.fail("the block must not run")

    with Restorer(store, g2_dsn) as restorer:
        restorer.restore(found, mode="replace", progress=try_it)
        restorer.verify(found, progress=try_it)
    inspect_set(store, found, progress=try_it)
    assert {"prepare", "load", "publish", "verify", "inspect"} <= set(met)
    with store.hold(found, alone=True):
        assert store.catalog().latest() == found


class _After(CancelToken):
    """Called off once it has been looked at so many times."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self._looks = looks

    @property
    def cancelled(self) -> bool:
        self._looks -= 1
        return self._looks < 0


def test_on_a_full_disk(root: Path, write: Write) -> None:
    if sys.platform == "win32" or os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a small tmpfs")
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(root)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        write(_A)
        stay = write(_B)
        with (root / "fill").open("wb", buffering=0) as fill, suppress(OSError):
            while fill.write(bytes(4096)):
                pass
        assert [one.backup.timestamp for one in run(root).removed] == [_A]
        assert keys(root) == {*stay, "fill"}
    finally:
        unmount(root)


def test_somebody_else_removes_a_set_meanwhile(root: Path, write: Write) -> None:
    gone = write(_A)
    write(_B)
    stay = write(_C)
    store = open_store(str(root))
    with pytest.MonkeyPatch.context() as patch:
        catalog = store.catalog()
        patch.setattr(store, "catalog", lambda **_: catalog)
        for key in gone:
            (root / key).unlink()
        report = prune(store, _LAST, now=NOW)
    assert [(one.keep, one.reasons) for one in report.decisions[1:]] == [
        (False, ("no rule keeps it",)),
        (True, ("somebody else is removing it",)),
    ]
    assert keys(root) == set(stay)


@pytest.mark.parametrize(("looks", "removed"), [(0, 0), (2, 0), (3, 0), (4, 1)])
def test_called_off_between_two_sets(root: Path, write: Write, looks: int, removed: int) -> None:
    made = [write(stamp, manifest=True) for stamp in (_A, _B, _C)]
    with pytest.raises(CancelledError, match="what was removed before"):
        prune(open_store(str(root)), _LAST, now=NOW, cancel=_After(looks))
    # Once all were looked at, the oldest goes first, and no set is left in part.
    assert keys(root) == {key for keys_of in made[removed:] for key in keys_of}


def _refusing(
    patch: pytest.MonkeyPatch, store: BackupStore, refused: Callable[[str], bool]
) -> None:
    """Makes a store refuse to remove some keys."""
    assert isinstance(store, WritableStore)
    delete = store.delete

    def refuse(key: str) -> None:
        if refused(key):
            raise StoreError(f"no permission to write {key}")
        delete(key)

    patch.setattr(store, "delete", refuse)


@pytest.mark.parametrize(
    ("manifest", "number"), [(False, 0), (False, 1), (True, 0), (True, 1), (True, 2)]
)
def test_one_file_that_cannot_be_removed(
    root: Path, write: Write, monkeypatch: pytest.MonkeyPatch, number: int, *, manifest: bool
) -> None:
    stay = write(_C, manifest=manifest)
    write(_B, manifest=manifest)
    made = write(_A, manifest=manifest)
    order = [*made[2:], *made[:2]]  # the manifest goes first
    store, bad = open_store(str(root)), order[number]
    _refusing(monkeypatch, store, lambda key: key == bad)
    with pytest.raises(PruneError) as caught:
        prune(store, _LAST, now=NOW)
    assert str(caught.value) == (f"could not remove vector_bak/{_A}: no permission to write {bad}")
    report = caught.value.report
    assert isinstance(report, PruneReport)
    assert [one.label for one in report.failed] == [f"vector_bak/{_A}"]
    how = "removed in part, unfinished now" if number else "not removed"
    assert [(one.keep, one.reasons[0]) for one in report.decisions] == [
        (True, "last 1 of 1"),
        (False, "no rule keeps it"),
        (True, f"{how}: no permission to write {bad}"),
    ]
    assert caught.value.to_dict()["report"] == report.to_dict()
    left = order[number:] + ([f"vector_bak/manifest_{_A}.tmp"] if number else [])
    assert keys(root) == {*stay, *left}
    catalog = store.catalog()
    shown = [_C] if number else [_C, _A]  # whole as before
    assert [one.timestamp for one in catalog.sets] == shown
    assert len(catalog.incomplete) == (number > 0)
    monkeypatch.undo()
    prune(open_store(str(root)), _LAST, now=4e9)
    assert keys(root) == set(stay)


def test_a_storage_that_refuses_everything(
    root: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    stamps = [f"202601{day:02}_000000" for day in range(1, 8)]
    for stamp in stamps:
        write(stamp)
    write("20251231_000000", marker=True, age_s=2 * DAY)
    store, before = open_store(str(root)), keys(root)
    tried: list[str] = []

    def refused(key: str) -> bool:
        tried.append(key)
        return key.endswith(".csv")

    _refusing(monkeypatch, store, refused)
    with pytest.raises(PruneError) as caught:
        prune(store, _LAST, now=NOW)
    report = caught.value.report
    assert isinstance(report, PruneReport)
    assert [one.label for one in report.failed] == [f"vector_bak/{one}" for one in stamps[:3]]
    assert len(tried) == 6  # and the marks
    untried = [one.reasons for one in report.decisions[1:4]] + [(report.leftovers[0].reason,)]
    assert untried == [("not tried after failures in a row",)] * 4
    assert report.bytes_removed == 0
    assert keys(root) == before
    assert len(store.catalog().sets) == 7


def test_a_folder_that_refuses_everything_does_not_keep_the_others(
    root: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    stamps = [f"202601{day:02}_000000" for day in range(1, 8)]
    for stamp in stamps[:4]:
        write(stamp, "task_1/vector_bak")
    for stamp in stamps[4:]:
        write(stamp)
    store, before = open_store(str(root)), keys(root)
    _refusing(monkeypatch, store, lambda key: key.startswith("task_1/") and key.endswith(".csv"))
    with pytest.raises(PruneError, match=rf"task_1/{stamps[0]}, task_1/{stamps[1]}, task_1/"):
        prune(store, KeepRules(last=1, per_location=False), now=NOW)
    assert keys(root) == {key for key in before if "task_1" in key or stamps[-1] in key}


def test_a_storage_that_has_died_is_left_alone(
    root: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(7):
        for stamp in (_A, _B, _C):
            write(stamp, f"task_{number}/vector_bak")
    store = open_store(str(root))
    _refusing(monkeypatch, store, lambda key: key.endswith(".csv"))
    with pytest.raises(PruneError, match=r"and 7 more: no permission") as caught:
        prune(store, _LAST, now=NOW)
    report = caught.value.report
    assert isinstance(report, PruneReport)
    assert (len(report.failed), len(report.decisions)) == (10, 21)


def test_what_is_unfinished_and_cannot_be_removed(
    root: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    stay = write(_C)
    stay += write(_A, marker=True, age_s=2 * DAY)
    write(_B, marker=True, age_s=2 * DAY)
    store = open_store(str(root))
    _refusing(monkeypatch, store, lambda key: _A in key)
    with pytest.raises(PruneError, match=f"could not remove vector_bak/{_A}: no permission"):
        prune(store, KeepRules(), now=NOW)
    assert keys(root) == set(stay)


def test_a_set_that_lies_ahead_counts_for_nothing(root: Path, write: Write) -> None:
    day = f"{datetime.fromtimestamp(NOW):%Y%m%d}"  # noqa: DTZ006 - as labels have it
    soon = f"{datetime.fromtimestamp(NOW + 25 * 3600):%Y%m%d_%H%M%S}"  # noqa: DTZ006
    far = f"{datetime.fromtimestamp(NOW + 27 * 3600):%Y%m%d_%H%M%S}"  # noqa: DTZ006
    stay = write("20990101_000000") + write(far) + write(f"{day}_000000")
    write(_A)
    write("00010101_000000")
    for rules in (_LAST, KeepRules(within_days=7)):
        report = run(root, rules)
        for one in report.decisions[:2]:
            assert one.reasons == ("not valid: its time lies ahead of the clock",)
        assert report.decisions[2].keep
        assert keys(root) == set(stay)
    stay = [*stay[:4], *write(soon)]  # in another time zone
    assert [one.backup.timestamp for one in run(root).removed] == [f"{day}_000000"]
    assert keys(root) == set(stay)


def test_files_that_a_set_which_stays_has_links_to(root: Path, write: Write) -> None:
    write(_A)
    stay = write(_B) + write(_C)
    for key, old in zip(stay[2:], stay[:2], strict=True):
        (root / key).unlink()
        (root / key).symlink_to(Path(old).name)
    report = run(root)
    assert [(one.keep, one.reasons[-1]) for one in report.decisions] == [
        (True, "newest valid set of its location"),
        (True, f"vector_bak/{_C} has links to its files"),
        (False, "no rule keeps it"),
    ]
    assert keys(root) == set(stay)
    assert [one.timestamp for one in open_store(str(root)).catalog().sets] == [_C, _B]
    newest = write("20260104_000000")
    assert len(run(root).removed) == 2
    assert keys(root) == set(newest)
    assert not any(path.is_symlink() for path in root.rglob("*"))


class _Distant(WrappingStore):
    """Opens nothing before two ask for something."""

    def __init__(self, inner: BackupStore) -> None:
        super().__init__(inner)
        self.is_local = False
        self._both = threading.Barrier(2)
        self._asked = itertools.count()

    def open(self, key: str, start: int = 0, end: int | None = None) -> BinaryIO:
        if next(self._asked) < self._both.parties:
            self._both.wait(120)
        return super().open(key, start, end)


def test_over_a_network_several_sets_are_looked_at_at_once(root: Path, write: Write) -> None:
    for stamp in (_A, _B, _C, "20260104_000000"):
        write(stamp, manifest=True)
    report = prune(_Distant(open_store(str(root))), KeepRules(last=3), dry_run=True, now=NOW)
    assert [one.backup.timestamp for one in report.removed] == [_A]
