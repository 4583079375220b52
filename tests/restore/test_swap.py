"""Strategy ``swap``: the old rows are served until the new ones are there."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import psycopg
import pytest
from distributed import Client, LocalCluster

from pgvector_restore import (
    OptionError,
    ProgressEvent,
    Restorer,
    RowRejectedError,
    TargetMismatchError,
    open_store,
    pieces,
)
from tests.conftest import connect
from tests.restore.content import count, execute, query, snapshot
from tests.sets import (
    SQL_ID,
    collection_bytes,
    embedding_bytes,
    restore,
    write_set,
)

_ROWS = 100_000
_STAGING = "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'pgvr%'"


def many(word: str, rows: int) -> bytes:
    return embedding_bytes(
        records=[(f"{word}-{n}", SQL_ID, '"[1,2,3]"', word, "") for n in range(rows)]
    )


class Crowd:
    """Sessions that read or write until the block ends; what one of them sees wrong is raised."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._over = threading.Event()
        self.seen: set[str] = set()
        self.rounds = 0

    @contextmanager
    def busy(self, *members: Callable[[psycopg.Connection[Any]], None]) -> Iterator[None]:
        with ThreadPoolExecutor(len(members)) as pool:
            running = [pool.submit(self._run, member) for member in members]
            try:
                yield
            finally:
                self._over.set()
            for future in running:
                future.result()

    def _run(self, member: Callable[[psycopg.Connection[Any]], None]) -> None:
        with connect(self._dsn) as conn:
            conn.execute("SET lock_timeout = '30s'")  # whoever waits longer than that fails
            while not self._over.is_set():
                member(conn)
                self.rounds += 1

    def count(self, conn: psycopg.Connection[Any]) -> None:
        found = conn.execute(
            "SELECT document, count(*) FROM langchain_pg_embedding "
            "WHERE document IN ('old', 'new') GROUP BY document"
        ).fetchall()
        assert len(found) == 1, found
        assert found[0][1] == _ROWS
        self.seen.add(found[0][0])

    def join(self, conn: psycopg.Connection[Any]) -> None:
        with conn.transaction():
            names = conn.execute("SELECT count(*) FROM langchain_pg_collection").fetchone()
            found = conn.execute(
                "SELECT DISTINCT e.document FROM langchain_pg_embedding e "
                "JOIN langchain_pg_collection c ON c.uuid = e.collection_id "
                "WHERE e.document IN ('old', 'new')"
            ).fetchall()
        assert names == (2,)
        assert len(found) == 1

    def repeat(self, conn: psycopg.Connection[Any]) -> None:
        with conn.transaction():
            conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            conn.execute("SELECT 1")  # takes the snapshot
            self.count(conn)

    def write(self, conn: psycopg.Connection[Any]) -> None:
        conn.execute(
            "INSERT INTO langchain_pg_embedding (id, document) VALUES (gen_random_uuid(), 'w')"
        )
        conn.execute("DELETE FROM langchain_pg_embedding WHERE document = 'w'")


@pytest.mark.parametrize("jobs", [1, 2])
def test_readers_and_writers_meanwhile(g2_dsn: str, tmp_path: Path, jobs: int) -> None:
    restore(write_set(tmp_path / "old", embedding=many("old", _ROWS)), g2_dsn, strategy="in_place")
    root = write_set(tmp_path / "new", embedding=many("new", _ROWS))
    crowd = Crowd(g2_dsn)
    with crowd.busy(crowd.count, crowd.join, crowd.repeat, crowd.write):
        report = restore(root, g2_dsn, mode="replace", strategy="swap", jobs=jobs)
    assert report.warnings == ()
    assert crowd.seen <= {"old", "new"}
    assert "old" in crowd.seen
    assert crowd.rounds > 4
    assert count(g2_dsn, "langchain_pg_embedding") - _ROWS in (0, 1)
    assert not query(g2_dsn, _STAGING)


@contextmanager
def loky() -> Iterator[None]:
    yield


@contextmanager
def pool() -> Iterator[Executor]:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        yield executor


@contextmanager
def dask() -> Iterator[Executor]:
    with (
        LocalCluster(  # type: ignore[no-untyped-call]
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
        ) as cluster,
        Client(cluster) as client,  # type: ignore[no-untyped-call]
    ):
        yield client.get_executor()


@pytest.mark.parametrize("workers", [loky, pool, dask])
def test_executors(
    g2_dsn: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    workers: Callable[[], Any],
) -> None:
    monkeypatch.setattr(pieces, "PART_BYTES", 20_000)
    records = [
        (f"{n}", SQL_ID, '"[1 2  3]"' if n % 7 == 5 else '"[1,2,3]"', f'"line {n}\n"', "")
        for n in range(2000)
    ]
    root = write_set(tmp_path, embedding=embedding_bytes(records=records))
    with workers() as executor:
        report = restore(root, g2_dsn, executor=executor, mode="replace", strategy="swap", jobs=2)
    assert report.warnings == ()
    embedding = report.table("langchain_pg_embedding")
    assert embedding.rows_loaded == embedding.rows_read == 2000
    (repair,) = embedding.repairs
    assert (repair.cells, repair.record) == (len(range(5, 2000, 7)), 6)
    found = query(g2_dsn, "SELECT id, document FROM langchain_pg_embedding ORDER BY id::int")
    assert found == [(f"{n}", f"line {n}\n") for n in range(2000)]


class AtOnce(Executor):
    """All its tasks are done when somebody looks."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as exc:  # noqa: BLE001 - as executors do
            future.set_exception(exc)
        return future


@pytest.mark.parametrize("bad", [(700, 1500), (1999,), (0, 1, 2), (0, 300, 600)])
@pytest.mark.parametrize(
    "make", [lambda: ThreadPoolExecutor(3), AtOnce], ids=["threads", "at once"]
)
def test_the_first_bad_record_is_named_whoever_meets_it(
    g2_dsn: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    bad: tuple[int, ...],
    make: Callable[[], Executor],
) -> None:
    monkeypatch.setattr(pieces, "PART_BYTES", 5_000)
    restore(write_set(tmp_path / "old"), g2_dsn)
    content = snapshot(g2_dsn)
    records = [
        (f"{n}", SQL_ID, '"[1,2,nan]"' if n in bad else '"[1,2,3]"', "", "") for n in range(2000)
    ]
    root = write_set(tmp_path, embedding=embedding_bytes(records=records))
    with (
        make() as executor,
        pytest.raises(ValueError, match=rf"record {bad[0] + 1},"),
    ):
        restore(root, g2_dsn, executor=executor, mode="replace", strategy="swap", jobs=3)
    assert snapshot(g2_dsn) == content
    assert not query(g2_dsn, _STAGING)


def test_a_duplicate_is_named_by_its_record(g2_dsn: str, tmp_path: Path) -> None:
    records = [(f"{n % 90}", SQL_ID, "", "", "") for n in range(100)]
    root = write_set(tmp_path, embedding=embedding_bytes(records=records))
    with pytest.raises(RowRejectedError) as caught:
        restore(root, g2_dsn, mode="replace", strategy="swap")
    assert (caught.value.record, caught.value.column) == (91, "id")
    assert caught.value.constraint == "langchain_pg_embedding_pkey"


def served(dsn: str) -> dict[str, Any]:
    """What there is outside of the schema of previous tables."""
    rows = snapshot(dsn)["rows"]
    return {name: rows[name] for name in rows if name.startswith("public.")}


def test_previous_tables_come_back_and_go_again(g2_dsn: str, tmp_path: Path) -> None:
    restore(write_set(tmp_path / "old"), g2_dsn)
    old = served(g2_dsn)
    root = write_set(tmp_path / "new", embedding=many("new", 5))
    with Restorer(open_store(root), g2_dsn) as restorer:
        report = restorer.restore(mode="replace", strategy="swap", keep_previous=True)
        new = served(g2_dsn)
        assert restorer.revert(report)
        assert served(g2_dsn) == old
        restorer.revert(tables=["langchain_pg_collection", "langchain_pg_embedding"])
        assert served(g2_dsn) == new
        again = restorer.restore(mode="replace", strategy="swap", keep_previous=True)
        assert again.table("langchain_pg_embedding").rows_removed == 5
        with pytest.raises(OptionError, match="report or the names"):
            restorer.revert(report, tables=["langchain_pg_embedding"])
        with pytest.raises(TargetMismatchError):
            restorer.revert(tables=["nothing"])
    execute(g2_dsn, "INSERT INTO langchain_pg_embedding (id) VALUES ('x')")


def test_plan_chooses_and_explains(g2_dsn: str, tmp_path: Path) -> None:
    root = write_set(tmp_path, collection=collection_bytes())
    with Restorer(open_store(root), g2_dsn) as restorer:
        assert restorer.plan(mode="replace").strategy == "in_place"
        execute(
            g2_dsn,
            "CREATE INDEX ix ON langchain_pg_embedding "
            "USING hnsw ((embedding::vector(3)) vector_cosine_ops)",
        )
        plan = restorer.plan(mode="replace")
        assert plan.strategy == "swap"
        assert "ix" in plan.strategy_reason
        execute(g2_dsn, "CREATE VIEW v AS SELECT id FROM langchain_pg_embedding")
        plan = restorer.plan(mode="replace")
        assert plan.strategy == "in_place"
        assert "public.v" in plan.strategy_reason
        with pytest.raises(TargetMismatchError, match=r"public\.v"):
            restorer.plan(mode="replace", strategy="swap")
        with pytest.raises(OptionError):
            restorer.plan(mode="append", strategy="swap")


def test_a_listener_ends_it_at_any_phase(g2_dsn: str, tmp_path: Path) -> None:
    restore(write_set(tmp_path / "old"), g2_dsn)
    old = snapshot(g2_dsn)
    root = write_set(tmp_path / "new", embedding=many("new", 5))
    for phase in ("prepare", "load", "index", "verify", "publish"):

        def fail(event: ProgressEvent, phase: str = phase) -> None:
            if event.phase == phase:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            restore(root, g2_dsn, mode="replace", strategy="swap", progress=fail)
        assert snapshot(g2_dsn) == old
        assert not query(g2_dsn, _STAGING)
