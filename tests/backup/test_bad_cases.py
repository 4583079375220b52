"""What goes wrong: a typed error, earlier sets untouched, nothing half-written shown as a set."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest

from pgvector_restore import (
    Backuper,
    BackupStore,
    CancelledError,
    CancelToken,
    ConnectError,
    OptionError,
    ProgressEvent,
    StoreChangedError,
    StoreError,
    TargetBusyError,
    TargetMismatchError,
    WritableStore,
    open_store,
)
from pgvector_restore.db import embedded
from pgvector_restore.db.embedded import EmbeddedServer
from pgvector_restore.model import TIMESTAMP_FORMAT, ObjectInfo
from tests.backup.kit import COLLECTION, EMBEDDING, backup, files, make, store_at, unchanged
from tests.conftest import SETTINGS, connect, database
from tests.disks import unmount
from tests.restore.roles import role


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.fixture
def filled(server: EmbeddedServer, root: Path) -> Iterator[str]:
    """A database with rows, and an earlier backup of it in ``root``."""
    with database(server) as made:
        make(made, "g2")
        backup(root, made)
        yield made


class Dying(WritableStore):
    """A store that fails after so many bytes, or gives other bytes back."""

    def __init__(
        self, root: Path, *, most: int | None = None, lies: str = "", without: str = ""
    ) -> None:
        self._inner, self._left, self._lies = store_at(root), most, lies
        self._without = without

    @property
    def url(self) -> str:
        return self._inner.url

    def list(self, prefix: str = "", *, max_depth: int | None = None) -> Iterator[ObjectInfo]:
        for info in self._inner.list(prefix, max_depth=max_depth):
            cut = self._lies == "size" and EMBEDDING in info.key
            yield ObjectInfo(info.key, info.size_bytes - cut, info.version, info.mtime)

    def open(self, key: str, start: int = 0, end: int | None = None) -> BinaryIO:
        if self._lies == "bytes" and EMBEDDING in key:
            key = key.replace(EMBEDDING, COLLECTION)
        return self._inner.open(key, start, end)

    @contextmanager
    def create(self, key: str, *, replace: bool = False) -> Iterator[BinaryIO]:
        if self._without and key.endswith(self._without):
            self._left = 0
        with self._inner.create(key, replace=replace) as stream:
            yield cast("BinaryIO", _Counted(self, stream))

    def delete(self, key: str) -> None:
        self._inner.delete(key)

    def spend(self, size: int) -> None:
        if self._left is not None:
            self._left -= size
            if self._left < 0:
                raise StoreError("the storage has gone")


class _Counted:
    def __init__(self, store: Dying, stream: BinaryIO) -> None:
        self._store, self._stream = store, stream

    def write(self, data: bytes) -> int:
        self._store.spend(len(data))
        return self._stream.write(data)


@pytest.mark.sampled("most")
@pytest.mark.parametrize("kind", ["csv", "binary"])
@pytest.mark.parametrize("most", [0, 60, 500, 1500, 5000])
def test_storage_that_dies(filled: str, root: Path, most: int, kind: str) -> None:
    with (
        unchanged(root),
        Backuper(Dying(root, most=most), filled) as backuper,
        pytest.raises(StoreError, match="the storage has gone"),
    ):
        backuper.backup(format=kind)


@pytest.mark.parametrize("jobs", [1, 3])
@pytest.mark.parametrize(
    "options",
    [{"format": "csv"}, {"format": "csv", "digest": False}, {"format": "binary"}],
    ids=["csv", "no digest", "binary"],
)
def test_storage_that_dies_while_rows_are_still_coming(
    filled: str, root: Path, options: dict[str, Any], jobs: int
) -> None:
    # Far more than the threads hold: they are in the middle of COPY, which has to end as well.
    with connect(filled) as conn:
        conn.execute(
            "CREATE TABLE wide AS SELECT repeat('x', 1500000) t FROM generate_series(1, 40)"
        )
    with (
        unchanged(root),
        Backuper(Dying(root, most=2_000_000), filled) as backuper,
        pytest.raises(StoreError, match="the storage has gone"),
    ):
        backuper.backup(tables="wide", jobs=jobs, **options)
    with connect(filled) as conn:
        conn.execute("DROP TABLE wide")  # nobody holds it any more


def test_storage_that_dies_while_the_log_is_written(filled: str, root: Path) -> None:
    with Backuper(Dying(root, without="vector_backup_log.txt"), filled) as backuper:
        report = backuper.backup()
    assert report.warnings == ("the backup log could not be written: the storage has gone",)
    assert open_store(root).catalog().get(report.label).manifest is not None


def test_storage_that_stores_less(filled: str, root: Path) -> None:
    with (
        unchanged(root),
        Backuper(Dying(root, lies="size"), filled) as backuper,
        pytest.raises(StoreChangedError, match=r"_embedding_.* was written with \d+ bytes and has"),
    ):
        backuper.backup()


def test_nothing_is_emptied_when_files_read_differently(filled: str, root: Path) -> None:
    with (
        unchanged(root),
        Backuper(Dying(root, lies="bytes"), filled) as backuper,
        pytest.raises(StoreChangedError, match="does not read as it was written"),
    ):
        backuper.backup(truncate_after=True)
    with connect(filled) as conn:
        assert conn.execute(f"SELECT count(*) FROM {EMBEDDING}").fetchone() == (40,)


def test_no_room(filled: str, root: Path) -> None:
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a small tmpfs")
    small = root.parent / "small"
    small.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", small],
        capture_output=True,
        check=False,
    )
    if done.returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        first = backup(small, filled)
        with connect(filled) as conn:
            conn.execute(
                f"INSERT INTO {EMBEDDING} (id, document)"
                " SELECT n, repeat(md5(n::text), 300) FROM generate_series(1, 100) n"
            )
        for kind in ("csv", "binary"):
            with unchanged(small), pytest.raises(StoreError, match="No space left"):
                backup(small, filled, format=kind)
        assert [one.label for one in open_store(small).catalog().sets] == [first.label]
    finally:
        unmount(small)


def test_read_only_stores(filled: str, root: Path) -> None:
    class ReadOnly(Dying):
        @property
        def read_only_reason(self) -> str | None:
            return "it is an archive"

    class NoWriting(BackupStore):
        url = "nowhere"
        list = Dying.list
        open = Dying.open

    with pytest.raises(OptionError, match=r"no backup can be written to .*: it is an archive"):
        Backuper(ReadOnly(root), filled)
    with pytest.raises(OptionError, match=r'written to "nowhere": it is read-only'):
        Backuper(NoWriting(), filled)


def test_a_table_is_missing(filled: str, root: Path) -> None:
    with unchanged(root), pytest.raises(TargetMismatchError) as caught:
        backup(root, filled, tables=f"{COLLECTION},nowhere")
    assert str(caught.value) == 'schema "public" has no table "nowhere"'


def test_no_table(filled: str, root: Path) -> None:
    with connect(filled) as conn:
        conn.execute("CREATE SEQUENCE s")
    with unchanged(root), pytest.raises(TargetMismatchError, match=r"public\.s is no table"):
        backup(root, filled, tables="s")


def test_types_without_a_binary_form(filled: str, root: Path) -> None:
    with connect(filled) as conn:
        conn.execute("CREATE TABLE t (a aclitem); INSERT INTO t VALUES ('postgres=r/postgres')")
    with unchanged(root), pytest.raises(TargetMismatchError) as caught:
        backup(root, filled, tables="t", format="binary")
    assert str(caught.value).startswith("public.t has a column without a binary form: ")
    assert backup(root, filled, tables="t").rows == 1


def test_more_columns_than_can_be_sent_twice(filled: str, root: Path) -> None:
    columns = ", ".join(f"c{number} int" for number in range(1600))
    with connect(filled) as conn:
        conn.execute(f"CREATE TABLE broad ({columns})")
        conn.execute("INSERT INTO broad DEFAULT VALUES")
    with unchanged(root), pytest.raises(TargetMismatchError, match="too many columns") as caught:
        backup(root, filled, tables="broad")
    assert caught.value.hint == "back it up without a digest, or in binary"
    assert backup(root, filled, tables="broad", digest=False).rows == 1
    assert backup(root, filled, tables="broad", format="binary").rows == 1


def test_privileges(filled: str, root: Path) -> None:
    with role(filled, f"GRANT SELECT ON {COLLECTION} TO {{}}") as (_, dsn):
        with unchanged(root), pytest.raises(TargetMismatchError) as caught:
            backup(root, dsn)
        assert str(caught.value) == f"role lacks SELECT on public.{EMBEDDING}"
        assert backup(root, dsn, tables=COLLECTION).rows == 2
    with role(filled, f"GRANT SELECT ON {COLLECTION}, {EMBEDDING} TO {{}}") as (_, dsn):
        with unchanged(root), pytest.raises(TargetMismatchError) as caught:
            backup(root, dsn, truncate_after=True)
        assert str(caught.value) == f"role lacks TRUNCATE on public.{EMBEDDING}"


def test_policies_hide_no_rows(filled: str, root: Path) -> None:
    with connect(filled) as conn:
        conn.execute(
            f"ALTER TABLE {EMBEDDING} ENABLE ROW LEVEL SECURITY;"
            f"CREATE POLICY few ON {EMBEDDING} USING (id < 'k')"
        )
    with role(filled, f"GRANT SELECT ON {COLLECTION}, {EMBEDDING} TO {{}}") as (_, dsn):
        with unchanged(root), pytest.raises(TargetMismatchError) as caught:
            backup(root, dsn)
        assert str(caught.value) == f"policies of public.{EMBEDDING} hide rows from this role"


def test_another_session_holds_a_table(filled: str, root: Path) -> None:
    with connect(filled) as other, other.transaction():
        other.execute(f"LOCK TABLE {EMBEDDING} IN ACCESS EXCLUSIVE MODE")
        with (
            unchanged(root),
            pytest.raises(TargetBusyError, match=f"public.{EMBEDDING} could not be locked"),
        ):
            backup(root, filled, lock_timeout_s=0.1)


def test_a_table_cannot_be_dropped_meanwhile(filled: str, root: Path) -> None:
    """Whoever wants to drop one waits; readers that join after that would wait for him."""
    dropped = threading.Event()

    def drop() -> None:
        with connect(filled) as conn:
            conn.execute(f"DROP TABLE {EMBEDDING}")
            dropped.set()

    thread = threading.Thread(target=drop)

    def begin(event: ProgressEvent) -> None:
        if event.phase == "read" and not thread.ident:
            thread.start()
            with connect(filled) as conn:
                while not conn.execute(
                    "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                    " AND datname = current_database()"
                ).fetchone():
                    pass
            assert not dropped.is_set()

    for options in ({"jobs": 1}, {"jobs": 2}):
        if thread.ident is None:
            report = backup(root, filled, progress=begin, **options)
            assert report.table(EMBEDDING).rows == 40
    thread.join()
    assert dropped.is_set()


@pytest.mark.parametrize("jobs", [1, 3])
@pytest.mark.parametrize("kind", ["csv", "binary"])
def test_backend_terminated(filled: str, root: Path, kind: str, jobs: int) -> None:
    def end(event: ProgressEvent) -> None:
        if event.phase == "read":
            with connect(filled) as conn:
                conn.execute(
                    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )

    # With one file written, the next statement or the COMMIT finds the connection gone.
    with connect(filled) as conn:
        conn.execute(f"INSERT INTO {EMBEDDING} (id) SELECT 'n' || n FROM generate_series(1, 9) n")
    if jobs == 1 and kind == "csv":
        with unchanged(root), pytest.raises(ConnectError):
            backup(root, filled, format=kind, jobs=jobs, progress=end)
    else:  # all rows may have been read by then: then the set is whole
        try:
            report = backup(root, filled, format=kind, jobs=jobs, progress=end)
        except ConnectError:
            assert len(open_store(root).catalog().sets) == 1
        else:
            assert report.table(EMBEDDING).rows == 49
    assert open_store(root).catalog().incomplete == ()


def test_server_stopped(place: Path, root: Path) -> None:
    data_dir = place / "to-be-stopped"
    server = embedded.start(data_dir, version=18, settings=SETTINGS)
    with connect(server.conninfo) as conn:
        conn.execute("CREATE DATABASE a")
    dsn = server.conninfo.replace("dbname=postgres", "dbname=a")
    make(dsn, "g2")
    backup(root, dsn)

    def stop(event: ProgressEvent) -> None:
        if event.phase == "read":
            embedded.stop(data_dir)

    with unchanged(root), pytest.raises(ConnectError):
        backup(root, dsn, progress=stop, jobs=1)


@pytest.mark.sampled("phase")
@pytest.mark.parametrize("phase", ["prepare", "read", "verify", "publish"])
@pytest.mark.parametrize("kind", ["csv", "binary"])
def test_called_off(filled: str, root: Path, kind: str, phase: str) -> None:
    token = CancelToken()

    def call_off(event: ProgressEvent) -> None:
        if event.phase == phase:
            token.cancel()

    with unchanged(root), pytest.raises(CancelledError):
        backup(root, filled, format=kind, progress=call_off, cancel=token)


def test_called_off_while_it_waits_for_a_lock(filled: str, root: Path) -> None:
    token = CancelToken()
    with connect(filled) as other, other.transaction():
        other.execute(f"LOCK TABLE {EMBEDDING} IN ACCESS EXCLUSIVE MODE")
        timer = threading.Timer(0.3, token.cancel)
        timer.start()
        with unchanged(root), pytest.raises(CancelledError, match="cancelled: nothing has changed"):
            backup(root, filled, cancel=token)
        timer.join()


def test_a_listener_that_fails(filled: str, root: Path) -> None:
    def fail(event: ProgressEvent) -> None:
        if event.phase == "read":
            raise KeyError(event.phase)

    with unchanged(root), pytest.raises(KeyError):
        backup(root, filled, progress=fail)


def test_backups_of_one_second(filled: str, root: Path) -> None:
    """Each takes a second of its own; none is lost."""
    reports: list[Any] = []
    threads = [
        threading.Thread(target=lambda: reports.append(backup(root, filled))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    catalog = open_store(root).catalog()
    assert {report.label for report in reports} < {one.label for one in catalog.sets}
    assert len(catalog.sets) == 5
    assert catalog.incomplete == ()


def put_ahead(root: Path, *, hours: int) -> datetime:
    """Rename the newest set as if it was made so much later; tells when that is."""
    ahead = datetime.now() + timedelta(hours=hours)  # noqa: DTZ005 - sets have local time
    stamp = ahead.strftime(TIMESTAMP_FORMAT)
    old = open_store(root).catalog().latest().timestamp
    for path in [*(root / "vector_bak").glob("lang*")]:
        path.rename(path.with_name(path.name.replace(old, stamp)))
    return ahead


def test_a_clock_that_was_put_back(filled: str, root: Path) -> None:
    """At the end of summer time the newest set must not come to look older."""
    ahead = put_ahead(root, hours=1)
    report = backup(root, filled)
    assert report.backup.backup_date == ahead.replace(microsecond=0) + timedelta(seconds=1)
    assert report.warnings == ()
    assert open_store(root).catalog().latest().label == report.label


def test_a_set_of_another_time_zone_is_told(filled: str, root: Path) -> None:
    stamp = put_ahead(root, hours=8).strftime(TIMESTAMP_FORMAT)
    report = backup(root, filled)
    assert report.warnings == (
        f"backup vector_bak/{stamp} has a later time in its name: it counts as the newer one",
    )


def test_a_second_that_another_tool_has(filled: str, root: Path) -> None:
    """A set without manifest is no less taken."""
    last = open_store(root).catalog().latest()
    (root / "vector_bak" / f"manifest_{last.timestamp}.json").unlink()
    report = backup(root, filled)
    assert report.backup.timestamp != last.timestamp
    assert len(files(root)) == 5


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a/b"], 'table "a/b" cannot be a file\'s name'),
        (["a\\b"], 'table "a\\b" cannot be a file\'s name'),
        (["a:b"], 'table "a:b" cannot be a file\'s name'),
        (["what?"], 'table "what?" cannot be a file\'s name'),
        (["a\nb"], 'table "a\\nb" cannot be a file\'s name'),
        (["a."], 'table "a." cannot be a file\'s name'),
        ([".."], 'table ".." cannot be a file\'s name'),
        (["Docs", "docs"], 'tables "Docs" and "docs" would have one file on some systems'),
        (
            ["e\u0301", "\u00c9"],
            'tables "e\u0301" and "\u00c9" would have one file on some systems',
        ),
    ],
)
def test_names_that_are_no_files(root: Path, names: list[str], message: str) -> None:
    """Refused before there is a connection."""
    with pytest.raises(OptionError) as caught:
        backup(root, "host=/nowhere", tables=names)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "parquet"}, 'format "parquet" is not known'),
        ({"compress": "zip"}, 'compress "zip" is not known'),
        ({"jobs": 0}, "jobs must be a whole number from 1 to 64, not 0"),
        ({"tables": ()}, "tables names no table"),
        ({"task_id": "../x"}, '"../x" is no task id'),
        ({"task_id": "other"}, 'task "other" would not be found again'),
        ({"task_id": ""}, 'task_id must be the id of a task, not ""'),
        ({"truncate_after": 1}, "truncate_after must be true or false, not 1"),
        ({"wire": "text"}, 'option "wire" is not known'),
        (
            {"tables": "a,b", "truncate_after": True},
            "truncate_after empties one table, and 2 are backed up",
        ),
    ],
)
def test_wrong_options(root: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        backup(root, "host=/nowhere", **options)
    assert str(caught.value) == message
    assert not root.exists()
