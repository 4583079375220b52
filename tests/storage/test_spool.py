"""Parts of a remote file on their way to the processes that load them."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgvector_restore import BackupStore, Restorer, open_store, pieces, strategy
from pgvector_restore.schema import EMBEDDING
from pgvector_restore.storage.spool import PartStore, Spool
from tests.disks import unmount
from tests.restore.content import query
from tests.sets import restore, write_set
from tests.storage.web import web_server


def read(store: BackupStore, start: int = 0, end: int | None = None) -> bytes:
    with store.open("file", start, end) as stream:
        return stream.read()


def stored(root: Path, data: bytes) -> BackupStore:
    (root / "file").write_bytes(data)
    return open_store(root)


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=20), st.integers(0, 20))))
def test_parts_are_what_was_read(blocks: list[tuple[bytes, int]]) -> None:
    whole = b"".join(block for block, _ in blocks)
    with tempfile.TemporaryDirectory() as folder:
        root, copies = Path(folder, "root"), Path(folder, "copies")
        root.mkdir()
        copies.mkdir()
        store = stored(root, b"not looked at")
        start, seen = 0, 0
        with Spool(store, "file", str(copies)) as spool:
            for block, back in blocks:
                spool.add(block)
                seen += len(block)
                end = seen - back
                if back <= len(block) and start < end:
                    assert read(spool.part(end), start, end) == whole[start:end]
                    start = end
            assert read(spool.part(None), start) == whole[start:]
        assert not list(copies.iterdir())


def test_other_objects_and_ranges_are_the_store_s(tmp_path: Path) -> None:
    store = stored(tmp_path, b"0123456789")
    with Spool(store, "file") as spool:
        spool.add(b"abcdefghij")
        part = spool.part(4)
        assert read(part, 0, 4) == b"abcd"
        assert read(part, 0, 5) == b"01234"
        assert read(part, 4) == b"456789"
        assert [info.key for info in part.list()] == ["file"]
        assert part.url == store.url
        assert repr(part) == repr(store)


def test_a_part_travels(tmp_path: Path) -> None:
    with Spool(stored(tmp_path, b"0123"), "file") as spool:
        spool.add(b"abcd")
        part = pickle.loads(pickle.dumps(spool.part(2)))  # noqa: S301 - it is ours
        assert read(part, 0, 2) == b"ab"


def test_a_copy_that_has_gone_is_fetched(tmp_path: Path) -> None:
    with Spool(stored(tmp_path, b"0123"), "file") as spool:
        spool.add(b"abcd")
        part = spool.part(2)
        assert isinstance(part, PartStore)
        part.remove()
        assert read(part, 0, 2) == b"01"
        part.remove()
        assert read(spool.part(None), 2) == b"cd"


def test_without_a_place_for_copies(tmp_path: Path) -> None:
    store = stored(tmp_path, b"0123")
    with Spool(store, "file", str(tmp_path / "missing")) as spool:
        spool.add(b"abcd")
        assert spool.part(2) is store
        assert spool.part(None) is store


def test_without_room_for_copies(tmp_path: Path) -> None:
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a small tmpfs")
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        store = stored(tmp_path, b"0123")
        with Spool(store, "file", str(small)) as spool:
            spool.add(bytes(10_000))
            assert len(read(spool.part(10_000), 0, 10_000)) == 10_000
            for _ in range(10):
                spool.add(bytes(10_000))
            assert spool.part(110_000) is store
            assert spool.part(None) is store
        assert not list(small.iterdir())
    finally:
        unmount(small)


@pytest.mark.parametrize(("cores", "local", "remote"), [(1, 1, 1), (2, 2, 1), (4, 4, 3)])
def test_fetching_takes_a_core(
    cores: int,
    local: int,
    remote: int,
    g2_dsn: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    monkeypatch.setattr(strategy, "LARGE_BYTES", 64)
    root = write_set(tmp_path / "root")
    with web_server(root) as server:
        for store, jobs in ((root, local), (server.url, remote)):
            with Restorer(open_store(store), g2_dsn) as restorer:
                assert restorer.plan("latest", mode="replace", strategy="swap").jobs == jobs


@pytest.mark.parametrize("room", [True, False])
def test_a_file_is_fetched_once(
    room: bool,  # noqa: FBT001 - a parameter of pytest
    g2_dsn: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = write_set(tmp_path / "root")
    restore(root, g2_dsn, mode="replace")
    wanted = query(g2_dsn, f"SELECT t::text FROM {EMBEDDING} t ORDER BY 1")
    copies = tmp_path / "copies"
    if room:
        copies.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(copies))
    monkeypatch.setattr(pieces, "PART_BYTES", 64)
    with web_server(root) as server, Restorer(open_store(server.url), g2_dsn) as restorer:
        plan = restorer.plan("latest", mode="replace", strategy="swap", jobs=2)
        server.requests.clear()
        report = restorer.run(plan)
        fetched = [r[2] for r in server.requests if r[0] == "GET" and EMBEDDING in r[1]]
    assert report.rows_loaded > 0
    assert (fetched == [None]) == room
    assert query(g2_dsn, f"SELECT t::text FROM {EMBEDDING} t ORDER BY 1") == wanted
    if room:
        assert not list(copies.iterdir())


KILLED = """
import os, signal, sys
from pgvector_restore import open_store
from pgvector_restore.storage.spool import Spool
spool = Spool(open_store(sys.argv[1]), "file", sys.argv[2])
spool.add(b"x" * 1000)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path: Path) -> None:
    copies = tmp_path / "copies"
    copies.mkdir()
    (tmp_path / "file").write_bytes(b"")
    (copies / "pgvector_restore-parts-stranger").mkdir()
    (copies / "pgvector_restore-parts-link").symlink_to(tmp_path)
    strangers = set(copies.iterdir())
    for _ in range(2):
        subprocess.run([sys.executable, "-c", KILLED, tmp_path, copies], check=False)
    old, young = set(copies.iterdir()) - strangers
    with Spool(open_store(tmp_path), "file", str(copies)) as living:
        living.add(b"y")
        (live,) = set(copies.iterdir()) - strangers - {old, young}
        for folder in {old, live, *strangers}:
            os.utime(folder, (1.0, 1.0))
        with Spool(open_store(tmp_path), "file", str(copies)) as other:
            other.add(b"z")
            assert {old, young, live} & set(copies.iterdir()) == {young, live}
        assert read(living.part(None)) == b"y"
    assert set(copies.iterdir()) == {young, *strangers}
