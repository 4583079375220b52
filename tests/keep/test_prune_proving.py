"""What stays is read before anything goes, and rows that are nowhere else stay."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from pgvector_restore.copying import copy_set
from pgvector_restore.errors import OptionError, StoreError
from pgvector_restore.keeping import EMPTIED, KeepRules
from pgvector_restore.model import ObjectInfo
from pgvector_restore.prune_report import Check
from pgvector_restore.pruning import prune
from pgvector_restore.storage import open_store
from pgvector_restore.storage._wrapping import WrappingStore
from tests.keep.conftest import NOW, Write, files

_A, _B, _C = "20260101_000000", "20260102_000000", "20260103_000000"
_LAST = KeepRules(last=1)
_EMBEDDING = "langchain_pg_embedding"


def _log(root: Path, stamp: str, removed: int) -> None:
    name = f"{_EMBEDDING}_{stamp}.csv"
    text = f"✓ {_EMBEDDING}: 1 rows -> {name} (1.0 KB)\n\nTruncate Status:\n"
    text += f"✓ {_EMBEDDING}: TRUNCATED ({removed} rows removed)\n"
    (root / "vector_bak" / "vector_backup_log.txt").write_text(text, encoding="utf-8")


@pytest.mark.parametrize(("removed", "gone"), [(1, [_A]), (0, [_B, _A])])
def test_the_only_copy_of_rows_goes_only_when_asked_for(
    root: Path, write: Write, removed: int, gone: list[str]
) -> None:
    for stamp in (_A, _B, _C):
        write(stamp)
    _log(root, _B, removed)
    store = open_store(str(root))
    report = prune(store, _LAST, dry_run=True, now=NOW)
    assert [one.backup.timestamp for one in report.removed] == gone
    assert report.decisions[1].emptied == ((_EMBEDDING,) if removed else ())
    assert (EMPTIED in report.decisions[1].reasons) == (removed > 0)
    assert store.emptied(store.catalog().get(f"vector_bak/{_B}")) == report.decisions[1].emptied
    asked = prune(store, _LAST, dry_run=True, remove_emptied=True, now=NOW)
    assert [one.backup.timestamp for one in asked.removed] == [_B, _A]


@pytest.mark.parametrize("other_log", [False, True])
def test_a_copy_says_so_too(root: Path, write: Write, there: Path, *, other_log: bool) -> None:
    write(_A)
    _log(root, _A, 1)
    if other_log:
        (there / "vector_bak").mkdir(parents=True)
        (there / "vector_bak" / "vector_backup_log.txt").write_text("said before")
    source, copy = open_store(str(root)), open_store(str(there))
    copy_set(source, f"vector_bak/{_A}", copy)
    assert copy.emptied(copy.catalog().latest()) == (_EMBEDDING,)
    if other_log:
        text = (there / "vector_bak" / "vector_backup_log.txt").read_text(encoding="utf-8")
        assert text.startswith("said before\n")


def _damaged(data: bytes, how: str) -> bytes:
    middle = len(data) // 2
    return {
        "cut": data[:middle],
        "last row end": data[:-2],
        "zeros": bytes(len(data)),
        "zeros at the end": data[:-9] + bytes(9),
        "flipped": data[:middle] + bytes([data[middle] ^ 0x80]) + data[middle + 1 :],
    }[how]


@pytest.mark.parametrize("how", ["cut", "zeros", "zeros at the end", "flipped", "last row end"])
@pytest.mark.parametrize(
    ("end", "manifest"), [(".csv", False), (".csv", True), (".csv.gz", False), (".csv.gz", True)]
)
def test_junk_takes_no_place(
    root: Path, write: Write, end: str, how: str, *, manifest: bool
) -> None:
    write(_A, ends=(end,), manifest=manifest)
    write(_B, ends=(end,), manifest=manifest)
    newest = root / write(_C, ends=(end,), manifest=manifest)[1]
    newest.write_bytes(_damaged(newest.read_bytes(), how))
    before = files(root)
    report = prune(open_store(str(root)), _LAST, dry_run=True, now=NOW)
    assert files(root) == before
    assert [(one.keep, one.proved) for one in report.decisions] == [
        (True, False), (True, True), (False, False),
    ]  # fmt: skip
    assert report.decisions[0].reasons[0].startswith("not valid: ")
    assert not report.ok
    assert report.to_dict()["invalid"] == [f"vector_bak/{_C}"]


def test_where_nothing_can_be_proved_nothing_goes(root: Path, write: Write) -> None:
    for stamp in (_A, _B, _C):
        (root / write(stamp)[1]).write_bytes(bytes(100))
    before = files(root)
    report = prune(open_store(str(root)), _LAST, now=NOW)
    assert (len(report.invalid), files(root)) == (3, before)


@pytest.mark.parametrize(
    ("check", "proved"), [("quick", [True, False]), ("full", [True, True]), ("none", [False] * 2)]
)
def test_how_much_is_proved(root: Path, write: Write, check: Check, proved: list[bool]) -> None:
    for stamp in (_A, _B, _C):
        write(stamp)
    report = prune(open_store(str(root)), KeepRules(last=2), check=check, dry_run=True, now=NOW)
    assert [one.proved for one in report.decisions] == [*proved, False]


def test_arguments(root: Path) -> None:
    store = open_store(str(root))
    with pytest.raises(OptionError, match='check "some" is not known'):
        prune(store, _LAST, check="some")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="remove_emptied must be true or false, not 1"):
        prune(store, _LAST, remove_emptied=1)  # type: ignore[arg-type]


class _Failing(WrappingStore):
    """A storage that does not give the files of the newest set."""

    def open(self, key: str, start: int = 0, end: int | None = None) -> BinaryIO:
        if _C in key and "embedding" in key:
            raise StoreError(f"no answer for {key}")
        return super().open(key, start, end)

    def list(self, prefix: str = "", *, max_depth: int | None = None) -> Iterator[ObjectInfo]:
        return super().list(prefix, max_depth=max_depth)


@pytest.mark.parametrize("manifest", [False, True])
def test_a_storage_that_does_not_answer_makes_no_junk(
    root: Path, write: Write, *, manifest: bool
) -> None:
    for stamp in (_A, _B, _C):
        write(stamp, manifest=manifest)
    with pytest.raises(StoreError, match="no answer for"):
        prune(_Failing(open_store(str(root))), _LAST, dry_run=True, now=NOW)


def test_codec_damage_is_seen_without_reading_rows(root: Path, write: Write) -> None:
    write(_A, ends=(".csv.gz",))
    newest = root / write(_B, ends=(".csv.gz",))[1]
    data = bytearray(newest.read_bytes())
    data[-6] ^= 1  # of the checksum: every row can be read
    newest.write_bytes(data)
    with pytest.raises(gzip.BadGzipFile):
        gzip.decompress(data)
    assert prune(open_store(str(root)), _LAST, dry_run=True, now=NOW).removed == ()
