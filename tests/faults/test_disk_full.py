"""A disk that is full: a clear error, the old rows, and room that is given back."""

from __future__ import annotations

import base64
import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import frozen
from psycopg import sql

from pgvector_restore import TargetError
from pgvector_restore.db.embedded import EmbeddedServer
from tests.conftest import connect, database
from tests.disks import unmount
from tests.restore.content import snapshot
from tests.sets import SQL_ID, embedding_bytes, restore, write_set

pytestmark = [pytest.mark.faults, pytest.mark.faults_sample]

#: Bytes of the disk, and of the one that has been enlarged; in between lies the set.
_SMALL, _LARGE = "12m", "64m"
_ROWS, _DOCUMENT_BYTES = 2000, 9000
_SPACE = "small_disk"


@frozen
class Disk:
    """A file system in memory that holds a tablespace."""

    folder: Path

    def mount(self, options: str) -> None:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", self.folder],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            pytest.skip(f"no tmpfs can be mounted here: {done.stderr.strip()}")

    def enlarge(self) -> None:
        self.mount(f"remount,size={_LARGE}")

    def used_bytes(self) -> int:
        return shutil.disk_usage(self.folder).used


@pytest.fixture
def disk(server: EmbeddedServer, place: Path) -> Iterator[Disk]:
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a small tmpfs")
    folder = place / f"disk{server.version}"
    folder.mkdir()
    small = Disk(folder)
    owner = server.data_dir.stat()
    try:
        small.mount(f"size={_SMALL},mode=0700,uid={owner.st_uid},gid={owner.st_gid}")
        yield small
        unmount(folder)
    finally:
        folder.rmdir()


@pytest.fixture
def small_dsn(server: EmbeddedServer, g2_template: str, disk: Disk) -> Iterator[str]:
    """A database whose embeddings lie on the small disk."""
    with connect(server.conninfo) as admin:
        admin.execute(
            sql.SQL("CREATE TABLESPACE {} LOCATION {}").format(
                sql.Identifier(_SPACE), sql.Literal(str(disk.folder))
            )
        )
        try:
            with database(server, g2_template) as dsn:
                with connect(dsn) as conn:
                    conn.execute(f"ALTER TABLE langchain_pg_embedding SET TABLESPACE {_SPACE}")
                yield dsn
        finally:
            admin.execute("CHECKPOINT")  # dropped files are kept until then
            admin.execute(f"DROP TABLESPACE {_SPACE}")


def large_set(root: Path) -> Path:
    """18 MB of text that cannot be compressed."""
    chance = random.Random(1)  # noqa: S311 - made-up rows
    records = [
        (f"new-{n}", SQL_ID, "", base64.b64encode(chance.randbytes(_DOCUMENT_BYTES)).decode(), "")
        for n in range(_ROWS)
    ]
    return write_set(root, embedding=embedding_bytes(records=records))


@pytest.mark.parametrize("strategy", ["in_place", "swap"])
def test_disk_full_while_loading(small_dsn: str, disk: Disk, tmp_path: Path, strategy: str) -> None:
    restore(write_set(tmp_path / "old"), small_dsn)
    before, used = snapshot(small_dsn), disk.used_bytes()
    root = large_set(tmp_path / "new")
    with pytest.raises(TargetError) as caught:
        restore(root, small_dsn, mode="replace", strategy=strategy)
    assert caught.value.sqlstate == "53100"
    assert str(caught.value).startswith("server has no disk space left: ")
    assert caught.value.hint == "make room, then try again"
    assert snapshot(small_dsn) == before
    assert disk.used_bytes() < used + (1 << 20)
    disk.enlarge()
    report = restore(root, small_dsn, mode="replace", strategy=strategy)
    assert (report.strategy, report.table("langchain_pg_embedding").rows_after) == (strategy, _ROWS)
