"""Several sessions at once, interleaved on purpose."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from pgvector_restore import (
    ProgressEvent,
    Restorer,
    RestoreReport,
    TargetBusyError,
    open_store,
)
from tests.conftest import connect
from tests.faults.kit import Client
from tests.restore.content import count, execute, snapshot
from tests.sets import SQL_ID, embedding_bytes, restore, write_set

_EMBEDDING = "langchain_pg_embedding"
_MORE = embedding_bytes(records=[("new", SQL_ID, "", "", "")])


class Pause:
    """A listener that stops at a phase until it is let go."""

    def __init__(self, phase: str = "load") -> None:
        self._phase = phase
        self.reached = threading.Event()
        self.go_on = threading.Event()

    def __call__(self, event: ProgressEvent) -> None:
        if event.phase == self._phase:
            self.reached.set()
            assert self.go_on.wait(240)


@contextmanager
def halfway(
    root: Path, dsn: str, mode: str, phase: str = "load"
) -> Iterator[Future[RestoreReport]]:
    """A restore of the embeddings that waits in the middle while the block runs."""
    pause = Pause(phase)
    with ThreadPoolExecutor(1) as executor, Restorer(open_store(root), dsn) as restorer:
        running = executor.submit(restorer.restore, mode=mode, tables=_EMBEDDING, progress=pause)
        try:
            assert pause.reached.wait(240)
            yield running
        finally:
            pause.go_on.set()


@pytest.mark.parametrize("mode", ["replace", "append"])
def test_lock_of_another_session(g2_dsn: str, tmp_path: Path, mode: str) -> None:
    root = write_set(tmp_path)
    restore(root, g2_dsn)
    content = snapshot(g2_dsn)
    with Restorer(open_store(root), g2_dsn) as restorer:
        plan = restorer.plan(mode=mode, lock_timeout_s=0.2)
        with connect(g2_dsn) as other, other.transaction():
            other.execute(f"LOCK TABLE {_EMBEDDING} IN SHARE MODE")
            with pytest.raises(
                TargetBusyError, match=r"could not be locked within 0\.2 s"
            ) as caught:
                restorer.run(plan)
    assert caught.value.sqlstate == "55P03"
    assert snapshot(g2_dsn) == content


def test_lock_of_another_session_while_planning(g2_dsn: str, tmp_path: Path) -> None:
    with (
        Restorer(open_store(write_set(tmp_path)), g2_dsn) as restorer,
        connect(g2_dsn) as other,
        other.transaction(),
    ):
        other.execute(f"LOCK TABLE {_EMBEDDING}")
        with pytest.raises(TargetBusyError, match="holds a lock"):
            restorer.plan(lock_timeout_s=0.2)


@pytest.mark.parametrize("first", ["replace", "append"])
@pytest.mark.parametrize("second", ["replace", "append"])
def test_second_restore_is_refused_at_once(
    g2_dsn: str, tmp_path: Path, first: str, second: str
) -> None:
    restore(write_set(tmp_path), g2_dsn)
    root = write_set(tmp_path, embedding=_MORE)
    with Restorer(open_store(root), g2_dsn) as restorer:
        # A time that would end the test: the second one must not wait for the first one's locks.
        plan = restorer.plan(mode=second, tables=_EMBEDDING, lock_timeout_s=3600)
        with halfway(root, g2_dsn, first) as running:
            with pytest.raises(TargetBusyError, match="another restore is writing"):
                restorer.run(plan)
            assert not running.done()
    assert running.result().rows_loaded == 1


@pytest.mark.parametrize("indexes", ["rebuilt", "kept"])
def test_an_append_that_saw_nobody_does_not_wait(g2_dsn: str, tmp_path: Path, indexes: str) -> None:
    """Another restore begins between its look and its locks, which would be waited for."""
    root = write_set(tmp_path / "store")
    restore(root, g2_dsn)
    execute(g2_dsn, f"TRUNCATE {_EMBEDDING}")  # indexes of empty tables are rebuilt
    if indexes == "kept":
        execute(g2_dsn, "DROP INDEX ix_cmetadata_gin")
    client = Client(
        *(tmp_path / "client", g2_dsn, root, "claim.seen=stop"),
        mode="append",
        strategy="in_place",
        lock_timeout_s=3600,
    )
    try:
        client.wait_at_failpoint()
        with halfway(root, g2_dsn, "replace") as running:
            client.go_on()
            outcome = client.wait()
            assert not running.done()
    finally:
        client.close()
    assert outcome.told is not None, outcome.output
    assert outcome.error == "TargetBusyError", outcome.told
    message = outcome.told["message"]
    assert message.startswith("another restore is writing public.langchain_pg_embedding (server ")
    assert running.result().rows_loaded == 4
    restore(root, g2_dsn, mode="replace")  # nothing is claimed any more


def test_missing_tables_are_claimed_too(dsn: str, tmp_path: Path) -> None:
    root = write_set(tmp_path)
    pause = Pause()
    with Restorer(open_store(root), dsn) as restorer, ThreadPoolExecutor(1) as executor:
        plan = restorer.plan(lock_timeout_s=3600)
        running = executor.submit(restorer.run, plan, progress=pause)
        try:
            assert pause.reached.wait(240)
            with pytest.raises(TargetBusyError, match="another restore is writing"):
                restorer.run(plan)
        finally:
            pause.go_on.set()
        assert running.result().rows_loaded == 6


@pytest.mark.parametrize("phase", ["load", "publish"])
def test_readers_of_an_append_see_old_rows_until_commit(
    g2_dsn: str, tmp_path: Path, phase: str
) -> None:
    restore(write_set(tmp_path), g2_dsn)
    root = write_set(tmp_path, embedding=_MORE)
    with halfway(root, g2_dsn, "append", phase):
        assert count(g2_dsn, _EMBEDDING) == 4
    assert count(g2_dsn, _EMBEDDING) == 5


def test_writers_go_on_during_an_append(g2_dsn: str, tmp_path: Path) -> None:
    restore(write_set(tmp_path), g2_dsn)
    root = write_set(tmp_path, embedding=_MORE)
    with halfway(root, g2_dsn, "append") as running:
        execute(g2_dsn, f"INSERT INTO {_EMBEDDING} (id) VALUES ('meanwhile')")
        execute(g2_dsn, f"DELETE FROM {_EMBEDDING} WHERE id = 'a-ddl'")
    table = running.result().tables[0]
    assert (table.rows_before, table.rows_loaded, table.rows_after) == (4, 1, 5)
    assert count(g2_dsn, _EMBEDDING) == 5


def test_readers_of_a_replace_wait(g2_dsn: str, tmp_path: Path) -> None:
    root = write_set(tmp_path)
    restore(root, g2_dsn)
    with (
        halfway(root, g2_dsn, "replace"),
        connect(g2_dsn) as reader,
        pytest.raises(Exception, match="lock timeout"),
    ):
        reader.execute(f"SET lock_timeout = 100; SELECT count(*) FROM {_EMBEDDING}")


def test_one_restorer_in_four_threads(g2_dsn: str, tmp_path: Path) -> None:
    root = write_set(tmp_path)
    schemas = ["s0", "s1", "s2", "s3"]
    for schema in schemas:
        execute(g2_dsn, f"CREATE SCHEMA {schema}")
    # All four hold their transaction open at once before any may go on.
    together = threading.Barrier(len(schemas), timeout=240)

    def meet(event: ProgressEvent) -> None:
        if event.phase == "publish":
            together.wait()

    with Restorer(open_store(root), g2_dsn) as restorer, ThreadPoolExecutor(4) as executor:
        jobs = [
            executor.submit(restorer.restore, schema=schema, progress=meet) for schema in schemas
        ]
        assert [job.result().schema for job in jobs] == schemas
    assert [count(g2_dsn, f"{schema}.{_EMBEDDING}") for schema in schemas] == [4] * 4


def test_from_an_event_loop(g2_dsn: str, tmp_path: Path) -> None:
    root = write_set(tmp_path)

    async def serve() -> RestoreReport:
        with Restorer(open_store(root), g2_dsn) as restorer:
            return await asyncio.to_thread(restorer.restore, "latest", mode="replace")

    assert asyncio.run(serve()).rows_loaded == 6
