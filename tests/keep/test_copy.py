from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest

from pgvector_restore.cancel import CancelToken
from pgvector_restore.copying import copy_set
from pgvector_restore.errors import (
    BackupExistsError,
    BackupInUseError,
    BadManifestError,
    CancelledError,
    OptionError,
    StoreChangedError,
    StoreError,
)
from pgvector_restore.progress import ProgressEvent
from pgvector_restore.storage import WritableStore, open_store
from tests.keep.conftest import Write, files

_A = "20260101_000000"
_LABEL = f"vector_bak/{_A}"


@pytest.mark.parametrize("manifest", [False, True])
def test_byte_for_byte(root: Path, there: Path, write: Write, *, manifest: bool) -> None:
    write("20260102_000000")
    keys = write(_A, ends=(".part00001.pgcopy", ".part00002.pgcopy") if manifest else (".csv",),
                 manifest=manifest)  # fmt: skip
    source, destination = open_store(str(root)), open_store(str(there))
    events: list[ProgressEvent] = []
    report = copy_set(source, _LABEL, destination, progress=events.append)
    assert files(there) == {key: (root / key).read_bytes() for key in keys}
    assert not report.was_there
    assert {f.name: f.sha256 for f in report.files} == {
        Path(key).name: hashlib.sha256((root / key).read_bytes()).hexdigest()
        for key in keys
        if "manifest" not in key
    }
    assert report.size_bytes == source.catalog().get(_LABEL).size_bytes
    assert (events[-1].phase, events[-2].bytes_done) == ("done", events[-1].bytes_total)
    again = copy_set(source, _LABEL, destination)
    assert again.was_there
    assert [f.sha256 for f in again.files] == [f.sha256 for f in report.files]


def test_the_log_goes_along_where_there_is_none(root: Path, there: Path, write: Write) -> None:
    write(_A)
    text = f"✓ langchain_pg_embedding: 3 rows -> langchain_pg_embedding_{_A}.csv (1.0 KB)\n"
    (root / "vector_bak/vector_backup_log.txt").write_text(text, encoding="utf-8")
    copy_set(open_store(str(root)), _LABEL, open_store(str(there)))
    log = there / "vector_bak/vector_backup_log.txt"
    assert log.read_text(encoding="utf-8") == text
    log.write_text("another", encoding="utf-8")
    copy_set(open_store(str(root)), _LABEL, open_store(str(there)))
    assert log.read_text(encoding="utf-8") == "another"


class _Failing:
    """Makes a store fail in the middle of its n-th file."""

    def __init__(self, store: WritableStore, number: int) -> None:
        self.left = number
        self.create_ = store.create

    @contextmanager
    def create(self, key: str, *, replace: bool = False) -> Iterator[BinaryIO]:
        self.left -= 1
        with self.create_(key, replace=replace) as stream:
            yield stream
            if self.left == 0:
                raise StoreError("the storage has died")


@pytest.mark.parametrize("manifest", [False, True])
@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_broken_off_anywhere_and_again(
    root: Path, there: Path, write: Write, number: int, *, manifest: bool
) -> None:
    keys = write(_A, manifest=manifest)
    source, destination = open_store(str(root)), open_store(str(there))
    assert isinstance(destination, WritableStore)
    if number <= len(keys) + 1:  # the mark comes first
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(destination, "create", _Failing(destination, number).create)
            with pytest.raises(StoreError, match="the storage has died"):
                copy_set(source, _LABEL, destination)
        catalog = destination.catalog()
        assert catalog.sets == ()
        assert [one.reason for one in catalog.incomplete] == (
            [f"unfinished: manifest_{_A}.tmp"] if number > 1 else []
        )
    report = copy_set(source, _LABEL, destination)
    assert [f.was_there for f in report.files] == [2 < number <= len(keys) + 1,
                                                   3 < number <= len(keys) + 1]  # fmt: skip
    assert files(there) == {key: (root / key).read_bytes() for key in keys}


def test_what_a_killed_copy_left_half_written(root: Path, there: Path, write: Write) -> None:
    keys = write(_A)
    source, destination = open_store(str(root)), open_store(str(there))
    assert isinstance(destination, WritableStore)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(destination, "create", _Failing(destination, 2).create)
        with pytest.raises(StoreError):
            copy_set(source, _LABEL, destination)
    (there / f"{keys[0]}.tmp").write_bytes(b"half")
    (there / keys[1]).write_bytes((root / keys[1]).read_bytes()[:-1] + b"?")
    copy_set(source, _LABEL, destination)
    assert files(there) == {key: (root / key).read_bytes() for key in keys}


def test_killed_while_it_put_up_its_mark(root: Path, there: Path, write: Write) -> None:
    keys = write(_A, manifest=True)
    half = there / f"vector_bak/manifest_{_A}.tmp.tmp"
    half.parent.mkdir(parents=True)
    half.write_bytes(b"")
    destination = open_store(str(there))
    assert [one.reason for one in destination.catalog().incomplete] == [f"unfinished: {half.name}"]
    copy_set(open_store(str(root)), _LABEL, destination)
    assert files(there) == {key: (root / key).read_bytes() for key in keys}


def test_another_set_of_that_label(root: Path, there: Path, write: Write) -> None:
    keys = write(_A)
    source, destination = open_store(str(root)), open_store(str(there))
    copy_set(source, _LABEL, destination)
    (there / keys[0]).write_bytes(b"x" * len((root / keys[0]).read_bytes()))
    with pytest.raises(BackupExistsError, match=f'another backup set "{_LABEL}": .*differs'):
        copy_set(source, _LABEL, destination)
    (there / keys[0]).unlink()
    before = files(there)
    with pytest.raises(BackupExistsError, match=f"another backup set .*: with {keys[0]}"):
        copy_set(source, _LABEL, destination)
    assert files(there) == before


def test_a_set_that_is_being_written_there(root: Path, there: Path, write: Write) -> None:
    write(_A)
    marker = there / f"vector_bak/manifest_{_A}.tmp"
    marker.parent.mkdir(parents=True)
    marker.write_text("{}")
    with pytest.raises(BackupExistsError, match="it is being written"):
        copy_set(open_store(str(root)), _LABEL, open_store(str(there)))


def test_a_file_that_is_not_the_manifests(root: Path, there: Path, write: Write) -> None:
    keys = write(_A, manifest=True)
    data = (root / keys[1]).read_bytes()
    (root / keys[1]).write_bytes(data[:-1] + b"?")
    with pytest.raises(BadManifestError) as caught:
        copy_set(open_store(str(root)), _LABEL, open_store(str(there)))
    assert str(caught.value) == (
        "file is not the one the manifest was written for: SHA-256 differs"
        f" (langchain_pg_embedding_{_A}.csv)"
    )
    assert open_store(str(there)).catalog().sets == ()


def test_a_destination_that_does_not_keep_what_it_is_given(
    root: Path, there: Path, write: Write
) -> None:
    write(_A)
    source, destination = open_store(str(root)), open_store(str(there))
    assert isinstance(destination, WritableStore)
    create = destination.create

    @contextmanager
    def lying(key: str, *, replace: bool = False) -> Iterator[BinaryIO]:
        with create(key, replace=replace) as stream:
            yield stream
        if key.endswith(".csv"):
            path = there / key
            path.write_bytes(path.read_bytes()[:-1] + b"?")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(destination, "create", lying)
        with pytest.raises(StoreChangedError, match="is not what was written"):
            copy_set(source, _LABEL, destination)
    assert destination.catalog().sets == ()


def test_a_source_that_changes(root: Path, there: Path, write: Write) -> None:
    keys = write(_A)
    source, destination = open_store(str(root)), open_store(str(there))
    found = source.catalog().latest()
    (root / keys[1]).write_bytes(b"shorter")
    with pytest.raises(StoreChangedError, match="was listed with"):
        copy_set(source, found, destination)
    assert destination.catalog().sets == ()


def test_called_off(root: Path, there: Path, write: Write) -> None:
    keys = write(_A)
    token = CancelToken()
    source, destination = open_store(str(root)), open_store(str(there))
    with pytest.raises(CancelledError, match="what was copied stays, marked as unfinished"):
        copy_set(source, _LABEL, destination, progress=lambda _: token.cancel(), cancel=token)
    assert destination.catalog().sets == ()
    assert not copy_set(source, _LABEL, destination).was_there
    assert set(files(there)) == set(keys)


def test_the_source_is_held(root: Path, there: Path, write: Write) -> None:
    write(_A)
    source, destination = open_store(str(root)), open_store(str(there))
    found = source.catalog().latest()

    def try_it(event: ProgressEvent) -> None:
        if event.phase == "done":
            return
        with pytest.raises(BackupInUseError), source.hold(found, alone=True):
            pytest.fail("the block must not run")

    copy_set(source, found, destination, progress=try_it)
    with source.hold(found, alone=True):
        assert set(files(there)) == set(files(root))


def test_nowhere_to_copy_to(root: Path, write: Write) -> None:
    write(_A)
    source = open_store(str(root))
    for destination in (source, open_store(str(root))):
        with pytest.raises(OptionError, match="is source and destination"):
            copy_set(source, _LABEL, destination)


def test_onto_itself_by_another_name(
    root: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(_A)
    (root.parent / "link").symlink_to(root)
    monkeypatch.chdir(root.parent)
    names = ["root", "./root/", "other/../root", "link", str(root), f"file://{root}", f"{root}//"]
    (root.parent / "other").mkdir()
    for name in names:
        with pytest.raises(OptionError, match="is source and destination"):
            copy_set(open_store(name), _LABEL, open_store(root))
    source = open_store("root")
    (root.parent / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")  # where the same spelling is another folder
    copy_set(source, _LABEL, open_store("root"))
    assert files(root.parent / "elsewhere" / "root") == files(root)


def test_onto_itself_with_a_slash_more(root: Path, write: Write) -> None:
    write(_A)
    copy_set(open_store(root), _LABEL, open_store("memory://itself"))
    for one, other in (("itself", "itself/"), ("itself/", "itself")):
        with pytest.raises(OptionError, match="is source and destination"):
            copy_set(open_store(f"memory://{one}"), _LABEL, open_store(f"memory://{other}"))


def test_another_manifest_is_another_set(root: Path, there: Path, write: Write) -> None:
    keys = write(_A, manifest=True)
    source, destination = open_store(str(root)), open_store(str(there))
    copy_set(source, _LABEL, destination)
    good = (there / keys[2]).read_bytes()
    for other in (b"{}", good.replace(b"180004", b"170004")):
        (there / keys[2]).write_bytes(other)
        with pytest.raises(BackupExistsError, match=f"manifest_{_A}.json differs"):
            copy_set(source, _LABEL, destination)
        assert (there / keys[2]).read_bytes() == other


def _write_log(root: Path) -> Path:
    text = f"✓ langchain_pg_embedding: 3 rows -> langchain_pg_embedding_{_A}.csv (1.0 KB)\n"
    log = root / "vector_bak/vector_backup_log.txt"
    log.write_text(text, encoding="utf-8")
    return log


def test_called_off_when_only_the_log_is_left(root: Path, there: Path, write: Write) -> None:
    write(_A)
    _write_log(root)
    source, token = open_store(str(root)), CancelToken()
    total = 2 * source.catalog().latest().size_bytes

    def call_off(event: ProgressEvent) -> None:
        if event.bytes_done == total:
            token.cancel()

    destination = open_store(str(there))
    report = copy_set(source, _LABEL, destination, progress=call_off, cancel=token)
    assert report.warnings == ("the backup log was not copied: called off",)
    assert [one.label for one in destination.catalog().sets] == [_LABEL]
    assert destination.catalog().incomplete == ()


def test_half_a_log_is_written_anew(root: Path, there: Path, write: Write) -> None:
    write(_A)
    log = _write_log(root)
    half = there / "vector_bak/vector_backup_log.txt.tmp"
    half.parent.mkdir(parents=True)
    half.write_text("ha")
    report = copy_set(open_store(str(root)), _LABEL, open_store(str(there)))
    assert report.warnings == ()
    assert files(there) == files(root)
    assert log.is_file()


#: A copy that ends itself at its n-th step: a block, and before and after a file gets its name, is
#: begun or is removed.
_KILLED = """
import os, signal, sys
from pgvector_restore import copy_set, copying, open_store
from pgvector_restore.storage import _local

copying._BLOCK_BYTES = 20_000
left = int(sys.argv[3])

def step(*_):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

def around(name, place):
    before = getattr(place, name)
    def call(*args, **options):
        step()
        found = before(*args, **options)
        step()
        return found
    setattr(place, name, call)

around("put_in_place", _local)
around("partial_file", _local)
around("delete", _local.LocalStore)
copy_set(open_store(sys.argv[1]), "latest", open_store(sys.argv[2]), progress=step)
print("done")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
@pytest.mark.parametrize("moment", range(1, 38, 3))
@pytest.mark.parametrize("manifest", [False, True])
def test_killed_anywhere_and_again(
    root: Path, there: Path, write: Write, moment: int, *, manifest: bool
) -> None:
    keys = write(_A, manifest=manifest)
    if not manifest:
        _write_log(root)
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, str(root), str(there), str(moment)],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert (done.returncode, done.stdout) in ((-signal.SIGKILL, ""), (0, "done\n")), done.stderr
    there.mkdir(exist_ok=True)
    destination = open_store(str(there))
    if destination.catalog().sets:  # what is shown is whole
        assert files(there).items() >= {key: (root / key).read_bytes() for key in keys}.items()
    else:
        assert done.returncode != 0
    copy_set(open_store(str(root)), _LABEL, destination)
    assert files(there) == files(root)
