"""Calling a restore off: within a moment, with the old state intact, whatever it waits for."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pgvector_restore import (
    CancelledError,
    CancelToken,
    ProgressEvent,
    Restorer,
    inspect_set,
    open_store,
    pieces,
)
from tests.conftest import connect
from tests.restore.content import execute, query, snapshot
from tests.sets import SQL_ID, embedding_bytes, restore, write_set

_STRATEGIES = pytest.mark.parametrize("strategy", ["in_place", "swap"])
_LEFT_OVER = "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'pgvr%'"
#: Sessions of a restore that are in a transaction or run something.
_BUSY = """
    SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
    AND (state <> 'idle' OR xact_start IS NOT NULL) AND backend_type = 'client backend'
"""
_INDEX = """
    CREATE INDEX near ON langchain_pg_embedding
    USING hnsw ((embedding::vector(3)) vector_cosine_ops)
"""


def many(rows: int) -> bytes:
    return embedding_bytes(
        records=[(f"{n}", SQL_ID, f'"[{n},{n % 7},1]"', "new", "") for n in range(rows)]
    )


@pytest.fixture
def old(g2_dsn: str, tmp_path: Path) -> Any:
    restore(write_set(tmp_path / "old"), g2_dsn)
    return snapshot(g2_dsn)


def cancelled(dsn: str, root: Path, when: Callable[[ProgressEvent], bool], **options: Any) -> None:
    """Restore, and call it off from another thread when an event says so."""
    token = CancelToken()
    now = threading.Event()

    def call_off() -> None:
        now.wait()
        token.cancel()

    def listen(event: ProgressEvent) -> None:
        if when(event):
            now.set()

    with ThreadPoolExecutor(1) as other, Restorer(open_store(root), dsn) as restorer:
        other.submit(call_off)
        try:
            with pytest.raises(CancelledError, match="nothing has changed"):
                restorer.restore(mode="replace", progress=listen, cancel=token, **options)
        finally:
            now.set()


@_STRATEGIES
@pytest.mark.parametrize("jobs", [1, 2])
def test_while_rows_are_loaded(
    g2_dsn: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    old: Any,
    strategy: str,
    jobs: int,
) -> None:
    monkeypatch.setattr(pieces, "PART_BYTES", 100_000)
    root = write_set(tmp_path, embedding=many(200_000))
    cancelled(g2_dsn, root, lambda e: e.rows_done > 2, strategy=strategy, jobs=jobs)
    assert snapshot(g2_dsn) == old
    assert not query(g2_dsn, _LEFT_OVER)


@_STRATEGIES
def test_while_an_index_is_built(g2_dsn: str, tmp_path: Path, old: Any, strategy: str) -> None:
    del old
    execute(g2_dsn, _INDEX)
    before = snapshot(g2_dsn)
    root = write_set(tmp_path, embedding=many(60_000))
    cancelled(
        g2_dsn,
        root,
        lambda e: e.server is not None and e.server.command == "CREATE INDEX near",
        strategy=strategy,
        jobs=1,
    )
    assert snapshot(g2_dsn) == before
    assert not query(g2_dsn, _LEFT_OVER)


@_STRATEGIES
def test_while_it_waits_for_a_lock(g2_dsn: str, tmp_path: Path, old: Any, strategy: str) -> None:
    root = write_set(tmp_path, embedding=many(5))
    with connect(g2_dsn) as other, other.transaction():
        other.execute("SELECT FROM langchain_pg_embedding")
        phase = "prepare" if strategy == "in_place" else "publish"
        cancelled(g2_dsn, root, lambda e: e.phase == phase, strategy=strategy)
    assert snapshot(g2_dsn) == old
    assert not query(g2_dsn, _LEFT_OVER)
    assert not query(g2_dsn, _BUSY)


def test_while_the_server_answers_nothing(g2_dsn: str, tmp_path: Path, old: Any) -> None:
    """A statement that cannot be cancelled: the connection is cut."""
    execute(
        g2_dsn,
        """
        CREATE FUNCTION deaf() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE ended timestamptz := clock_timestamp() + interval '20 s';
        BEGIN
            WHILE clock_timestamp() < ended LOOP
                BEGIN PERFORM pg_sleep(20); EXCEPTION WHEN query_canceled THEN NULL; END;
            END LOOP;
            RETURN NULL;
        END $$;
        CREATE TRIGGER deaf BEFORE INSERT ON langchain_pg_embedding FOR EACH ROW
            EXECUTE FUNCTION deaf();
        """,
    )
    root = write_set(tmp_path, embedding=many(5))
    cancelled(g2_dsn, root, lambda e: e.rows_done > 2, strategy="in_place")
    execute(
        g2_dsn,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
    execute(g2_dsn, "DROP FUNCTION deaf CASCADE")
    assert snapshot(g2_dsn) == old


def test_a_token_that_was_used_before(g2_dsn: str, tmp_path: Path, old: Any) -> None:
    token = CancelToken()
    assert repr(token) == "<CancelToken waiting>"
    token.cancel()
    assert repr(token) == "<CancelToken cancelled>"
    with (
        Restorer(open_store(write_set(tmp_path)), g2_dsn) as restorer,
        pytest.raises(CancelledError),
    ):
        restorer.restore(mode="replace", cancel=token)
    assert snapshot(g2_dsn) == old


def test_too_late_it_is_done(g2_dsn: str, tmp_path: Path) -> None:
    token = CancelToken()

    def listen(event: ProgressEvent) -> None:
        if event.phase == "done":
            token.cancel()

    with Restorer(open_store(write_set(tmp_path)), g2_dsn) as restorer:
        report = restorer.restore(mode="replace", progress=listen, cancel=token)
    assert report.table("langchain_pg_embedding").rows_after == 4


def test_an_executor_that_is_shut_down(
    g2_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: Any
) -> None:
    monkeypatch.setattr(pieces, "PART_BYTES", 5_000)
    root = write_set(tmp_path, embedding=many(20_000))
    executor = ThreadPoolExecutor(2)

    def listen(event: ProgressEvent) -> None:
        if event.rows_done > 2:
            executor.shutdown(wait=False, cancel_futures=True)

    with pytest.raises(CancelledError, match="executor"):
        restore(
            root,
            g2_dsn,
            executor=executor,
            mode="replace",
            strategy="swap",
            jobs=2,
            progress=listen,
        )
    assert snapshot(g2_dsn) == old
    assert not query(g2_dsn, _LEFT_OVER)


@pytest.mark.parametrize("packed", [False, True])
def test_an_inspection(tmp_path: Path, packed: bool) -> None:  # noqa: FBT001 - a parameter
    root = write_set(tmp_path, embedding=many(20_000))
    if packed:
        for path in (root / "vector_bak").glob("*.csv"):
            path.with_suffix(".csv.gz").write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()
    store, token, heard = open_store(root), CancelToken(), []

    def listen(event: ProgressEvent) -> None:
        heard.append(event)
        if event.table == "langchain_pg_embedding":
            token.cancel()

    with pytest.raises(CancelledError) as caught:
        inspect_set(store, progress=listen, cancel=token)
    assert str(caught.value) == "cancelled: nothing has changed"
    assert len(heard) == 2
    with pytest.raises(CancelledError):
        inspect_set(store, cancel=token)
    heard.clear()
    report = inspect_set(store, progress=heard.append)
    assert report.ok
    assert [event.phase for event in heard[:-1]] == ["inspect"] * (len(heard) - 1)
    size = report.backup.size_bytes
    assert heard[-1] == ProgressEvent("done", None, size, size, 0)
    done = [event.bytes_done for event in heard]
    assert done == sorted(done)
    assert done[-2] == size


def test_a_comparison(g2_dsn: str, tmp_path: Path) -> None:
    root = write_set(tmp_path, embedding=many(20_000))
    restore(root, g2_dsn)
    token, heard = CancelToken(), []

    def listen(event: ProgressEvent) -> None:
        heard.append(event)
        token.cancel()

    with Restorer(open_store(root), g2_dsn) as restorer:
        with pytest.raises(CancelledError) as caught:
            restorer.verify(progress=listen, cancel=token)
        assert str(caught.value) == "cancelled: nothing has changed"
        assert [event.phase for event in heard] == ["verify"]
        assert restorer.verify(progress=heard.append).equal
    assert heard[-1].phase == "done"
    assert query(g2_dsn, _BUSY) == []


def test_a_comparison_that_waits(g2_dsn: str, tmp_path: Path) -> None:
    root = write_set(tmp_path)
    restore(root, g2_dsn)
    token = CancelToken()
    waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'relation'"
    with (
        Restorer(open_store(root), g2_dsn) as restorer,
        ThreadPoolExecutor(1) as executor,
        connect(g2_dsn) as other,
    ):
        with other.transaction():
            other.execute("LOCK TABLE langchain_pg_embedding")
            running = executor.submit(restorer.verify, cancel=token)
            while query(g2_dsn, waits) == [(0,)]:
                assert not running.done()
            token.cancel()
            with pytest.raises(CancelledError):
                running.result(240)
        assert restorer.verify().equal
