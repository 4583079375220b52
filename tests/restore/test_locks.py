"""Sessions that lock the tables in an order of their own are in no deadlock with us."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from pgvector_restore import Backuper, Restorer, TargetBusyError, open_store
from pgvector_restore.schema import COLLECTION, EMBEDDING
from tests.conftest import connect
from tests.faults.kit import wait_until
from tests.restore.content import count, execute
from tests.sets import SQL_ID, embedding_bytes, restore, write_set

#: They take long, with processes, poolers and silences that are waited for.
pytestmark = pytest.mark.faults

#: Somebody of this program waits for a lock.
_WAITS = """
    SELECT FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE a.application_name = 'pgvector_restore' AND a.datname = current_database()
      AND NOT l.granted
"""
_ORDERS = [(EMBEDDING, COLLECTION), (COLLECTION, EMBEDDING)]
_IN_BOTH = [pytest.param(*order, id=order[0].rpartition("_")[2]) for order in _ORDERS]


def impatient(dsn: str) -> psycopg.Connection[Any]:
    """A session that looks for a deadlock soon, and does not wait for ever."""
    options = "-c deadlock_timeout=900ms -c lock_timeout=60s"
    return psycopg.connect(make_conninfo(dsn, options=options))


@contextmanager
def meanwhile(dsn: str, action: Callable[[], Any]) -> Iterator[Future[Any]]:
    """Run it beside the block, which begins when it waits for a lock."""
    with ThreadPoolExecutor(1) as pool, connect(dsn) as other:
        running = pool.submit(action)
        wait_until(
            lambda: running.done() or other.execute(_WAITS).rowcount,
            "it waits",
        )
        yield running


def restoring(root: Path, dsn: str, **options: Any) -> Callable[[], Any]:
    def run() -> Any:
        return restore(root, dsn, mode="replace", lock_timeout_s=60.0, **options)

    return run


@pytest.mark.parametrize(("first", "second"), _IN_BOTH)
@pytest.mark.parametrize("what", ["in_place", "swap", "revert"])
def test_a_reader_in_any_order(
    g2_dsn: str, tmp_path: Path, what: str, first: str, second: str
) -> None:
    root = write_set(tmp_path)
    restore(root, g2_dsn, mode="replace", strategy="swap", keep_previous=True)
    restore(root, g2_dsn, mode="replace", strategy="swap", keep_previous=True)
    with Restorer(open_store(root), g2_dsn) as restorer, impatient(g2_dsn) as reader:
        plan = restorer.plan(
            mode="replace",
            strategy="swap" if what == "revert" else what,
            lock_timeout_s=60.0,
        )

        def act() -> Any:
            if what == "revert":
                return restorer.revert(tables=[COLLECTION, EMBEDDING])
            return restorer.run(plan)

        reader.execute(f"SELECT count(*) FROM {first}")
        with meanwhile(g2_dsn, act) as running:
            for _ in range(3):  # whenever it comes, it is not refused
                reader.execute(f"SELECT count(*) FROM {second}")
                time.sleep(0.1)
            assert not running.done()
            reader.commit()
            assert running.result()
    assert count(g2_dsn, EMBEDDING) == 4


@pytest.mark.parametrize("what", ["in_place", "swap"])
def test_a_writer_who_has_the_parent(g2_dsn: str, tmp_path: Path, what: str) -> None:
    """Only the embeddings are replaced: the collections are others' rows, and locks for us."""
    root = write_set(tmp_path)
    restore(root, g2_dsn)
    only = write_set(tmp_path / "only", collection=None)
    with impatient(g2_dsn) as writer:
        writer.execute(f"UPDATE {COLLECTION} SET uuid = uuid WHERE uuid = '{SQL_ID}'")
        run = restoring(only, g2_dsn, strategy=what, tables=EMBEDDING)
        with meanwhile(g2_dsn, run) as running:
            writer.execute(f"DELETE FROM {EMBEDDING} WHERE collection_id = '{SQL_ID}'")
            writer.commit()
            assert running.result().rows_loaded == 4
    assert count(g2_dsn, EMBEDDING) == 4


def test_an_append_waits_for_no_writer_of_its_parents(g2_dsn: str, tmp_path: Path) -> None:
    restore(write_set(tmp_path / "old"), g2_dsn)
    more = write_set(
        tmp_path / "more", embedding=embedding_bytes(records=[("new", SQL_ID, "", "", "")])
    )
    with impatient(g2_dsn) as writer:
        writer.execute(f"UPDATE {COLLECTION} SET cmetadata = NULL WHERE uuid = '{SQL_ID}'")
        report = restore(more, g2_dsn, mode="append", tables=EMBEDDING, lock_timeout_s=5.0)
        assert report.rows_loaded == 1


@contextmanager
def emptying(dsn: str, folder: Path, seconds: float) -> Iterator[Callable[[], Any]]:
    with Backuper(open_store(folder), dsn) as backuper:

        def run() -> Any:
            return backuper.backup(
                tables=[COLLECTION, EMBEDDING], truncate_after=True, lock_timeout_s=seconds
            )

        yield run


def test_a_table_is_emptied_among_readers(g2_dsn: str, tmp_path: Path) -> None:
    restore(write_set(tmp_path / "old"), g2_dsn)
    (tmp_path / "new").mkdir()
    with emptying(g2_dsn, tmp_path / "new", 60.0) as run, impatient(g2_dsn) as reader:
        reader.execute(f"SELECT count(*) FROM {EMBEDDING}")
        with meanwhile(g2_dsn, run) as running:
            reader.execute(f"SELECT count(*) FROM {COLLECTION}")
            reader.commit()
            assert running.result()
    assert count(g2_dsn, EMBEDDING) == 0


def test_who_has_read_it_and_waits_to_write_is_told_not_ended(g2_dsn: str, tmp_path: Path) -> None:
    restore(write_set(tmp_path / "old"), g2_dsn)
    (tmp_path / "new").mkdir()
    with (
        emptying(g2_dsn, tmp_path / "new", 2.0) as run,
        impatient(g2_dsn) as writer,
        ThreadPoolExecutor(2) as pool,
        connect(g2_dsn) as other,
    ):
        writer.execute(f"SELECT count(*) FROM {EMBEDDING}")
        running = pool.submit(run)
        held = "SELECT FROM pg_locks WHERE mode = 'ExclusiveLock' AND locktype = 'relation'"
        wait_until(lambda: running.done() or other.execute(held).rowcount, "it is locked")
        insert = f"INSERT INTO {EMBEDDING} (id) VALUES ('meanwhile')"
        writing = pool.submit(writer.execute, insert)
        with pytest.raises(TargetBusyError, match=r"could not be locked within 2 s") as caught:
            running.result()
        assert "waits to write" in str(caught.value.hint)
        writing.result()
        writer.commit()
    assert count(g2_dsn, EMBEDDING) == 5


def test_partitions_are_locked_by_themselves(g2_dsn: str, tmp_path: Path) -> None:
    execute(
        g2_dsn,
        f"DROP TABLE {EMBEDDING}; CREATE TABLE {EMBEDDING} (id varchar PRIMARY KEY, "
        "collection_id uuid, embedding vector, document varchar, cmetadata jsonb) "
        "PARTITION BY HASH (id); "
        + "".join(
            f"CREATE TABLE part{n} PARTITION OF {EMBEDDING} "
            f"FOR VALUES WITH (MODULUS 2, REMAINDER {n}); "
            for n in range(2)
        ),
    )
    root = write_set(tmp_path)
    restore(root, g2_dsn)
    for first, second in (("part0", "part1"), ("part1", "part0"), ("part1", COLLECTION)):
        with impatient(g2_dsn) as reader:
            reader.execute(f"SELECT count(*) FROM {first}")
            with meanwhile(g2_dsn, restoring(root, g2_dsn)) as running:
                reader.execute(f"SELECT count(*) FROM {second}")
                reader.commit()
                assert running.result().rows_loaded == 6
