"""Parts that are loaded elsewhere: tasks that run again, workers that are lost, killed or unfit."""

from __future__ import annotations

import logging
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from distributed import Client, LocalCluster

from pgvector_restore import (
    CancelledError,
    CancelToken,
    ExecutorError,
    ProgressEvent,
    Restorer,
    StoreError,
    __version__,
    executors,
    lanes,
    open_store,
    pieces,
)
from pgvector_restore.failpoints import ENV_FAILPOINT
from tests.restore import killed
from tests.restore.content import count, query, snapshot
from tests.sets import EMBEDDING_FILE, SQL_ID, embedding_bytes, restore, write_set

#: They take long, with processes, poolers and silences that are waited for.
pytestmark = pytest.mark.faults

_EMBEDDING = "langchain_pg_embedding"
_LEFT_OVER = "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'pgvr%'"
_ROWS = 4000
_SWAP: dict[str, Any] = {"mode": "replace", "strategy": "swap", "jobs": 2}
_PATIENCE_S = 240.0

#: Run in a worker: from now on this package is not there, however it is looked for.
_HIDE = """
import sys
from importlib import metadata
class Hidden(metadata.MetadataPathFinder):
    real = metadata.MetadataPathFinder.find_distributions
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.partition(".")[0] == "pgvector_restore":
            raise ModuleNotFoundError(name, name=name)
    @classmethod
    def find_distributions(cls, context=metadata.DistributionFinder.Context()):
        return [] if context.name == "pgvector_restore" else cls.real(context)
for name in [name for name in sys.modules if name.partition(".")[0] == "pgvector_restore"]:
    del sys.modules[name]
metadata.MetadataPathFinder.find_distributions = Hidden.find_distributions
sys.meta_path.insert(0, Hidden)
"""
_SHOW = """
import sys
from importlib import metadata
metadata.MetadataPathFinder.find_distributions = sys.meta_path.pop(0).real
"""
#: Run in a worker: it dies when its next part is committed, before it can say so.
_DIE = """
from pgvector_restore.db import staged
from pgvector_restore.failpoints import Failpoint
staged.reach = Failpoint("part.end=kill").reach
"""


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PART_BYTES", 20_000)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A set of many parts, with cells to repair."""
    records = [
        (f"{n}", SQL_ID, '"[1 2  3]"' if n % 7 == 5 else '"[1,2,3]"', f"new {n}", "")
        for n in range(_ROWS)
    ]
    return write_set(tmp_path / "new", embedding=embedding_bytes(records=records))


@pytest.fixture
def old(g2_dsn: str, tmp_path: Path) -> Any:
    restore(write_set(tmp_path / "old"), g2_dsn)
    return snapshot(g2_dsn)


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """A client of two workers, each a process under a nanny that starts it again."""
    with (
        LocalCluster(  # type: ignore[no-untyped-call]
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address=":0",
            silence_logs=50,
        ) as cluster,
        Client(cluster) as made,  # type: ignore[no-untyped-call]
    ):
        yield made


@pytest.fixture
def workers(client: Any) -> Any:
    """The same, when both of its workers are there."""
    client.wait_for_workers(2, timeout=4 * _PATIENCE_S)
    return client


def assert_exact(dsn: str, root: Path, executor: Executor, listen: Any = None) -> None:
    """Restore; every record is there once, and is counted once."""
    events: list[ProgressEvent] = []

    def progress(event: ProgressEvent) -> None:
        events.append(event)
        if listen is not None:
            listen(event)

    report = restore(root, dsn, executor=executor, progress=progress, **_SWAP)
    assert report.warnings == ()
    embedding = report.table(_EMBEDDING)
    assert embedding.rows_loaded == embedding.rows_read == embedding.rows_after == _ROWS
    (repair,) = embedding.repairs
    assert (repair.cells, repair.record) == (len(range(5, _ROWS, 7)), 6)
    found = query(dsn, f"SELECT id, document FROM {_EMBEDDING} ORDER BY id::int")
    assert found == [(f"{n}", f"new {n}") for n in range(_ROWS)]
    done = [event.rows_done for event in events if event.phase == "load"]
    assert done == sorted(done)
    assert done[-1] == report.rows_loaded
    assert not query(dsn, _LEFT_OVER)


def assert_fails(dsn: str, root: Path, executor: Executor | None, old: Any, **more: Any) -> str:
    """Restore; it ends in an error that is no cancellation, and nothing has changed."""
    with pytest.raises(ExecutorError) as caught:
        restore(root, dsn, executor=executor, **_SWAP, **more)
    assert caught.value.exit_code == 9
    assert snapshot(dsn) == old
    assert not query(dsn, _LEFT_OVER)
    return str(caught.value)


class Twice(ThreadPoolExecutor):
    """Runs every part twice, as a scheduler may that takes a worker for lost."""

    def __init__(self, *, at_once: bool) -> None:
        super().__init__(3)
        self._runs = 2 if at_once else 1

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        if fn is not pickle.loads:
            return super().submit(fn, *args, **kwargs)

        def twice() -> Any:
            with ThreadPoolExecutor(self._runs) as pool:
                return [pool.submit(fn, *args) for _ in range(2)][-1].result()

        return super().submit(twice)


@pytest.mark.parametrize("at_once", [False, True])
def test_tasks_that_run_twice(g2_dsn: str, root: Path, *, at_once: bool) -> None:
    with Twice(at_once=at_once) as executor:
        assert_exact(g2_dsn, root, executor)


class Impatient(Executor):
    """Has every part run twice; the first to end counts."""

    def __init__(self, inner: Executor) -> None:
        self._inner = inner

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        if fn is not pickle.loads:
            return self._inner.submit(fn, *args, **kwargs)
        first: Future[Any] = Future()

        def end(future: Future[Any]) -> None:
            if not first.done():
                first.set_result(future.result())

        for _ in range(2):
            self._inner.submit(fn, *args).add_done_callback(end)
        return first


class Deserted(Executor):
    """Its workers have answered the question what they are, and then have gone."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        if fn is not pickle.loads:
            future.set_result(fn(*args, **kwargs))
        return future


def test_an_executor_without_workers(
    g2_dsn: str,
    root: Path,
    old: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It may get new ones: the log says what is waited for, and it can be called off."""
    monkeypatch.setattr(lanes, "_SILENCE_S", 0)
    token = CancelToken()

    def call_off(record: logging.LogRecord) -> bool:
        if record.levelno == logging.WARNING:
            token.cancel()
        return True

    caplog.handler.addFilter(call_off)
    with pytest.raises(CancelledError):
        restore(root, g2_dsn, executor=Deserted(), cancel=token, **_SWAP)
    assert [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING] == [
        "no part was finished for 0 s: the executor's workers are waited for"
    ]
    assert snapshot(g2_dsn) == old
    assert not query(g2_dsn, _LEFT_OVER)


def test_a_task_that_was_given_up_and_is_still_at_work(
    g2_dsn: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stands still in the middle of its COPY; the tables are published all the same."""
    there, go = tmp_path / "there", tmp_path / "there.go"
    monkeypatch.setenv(ENV_FAILPOINT, f"load.block=stop:{there}")
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as inner:
        try:
            assert_exact(g2_dsn, root, Impatient(inner))
            assert there.exists()
        finally:
            go.touch()
    assert count(g2_dsn, _EMBEDDING) == _ROWS


def test_workers_that_are_killed(g2_dsn: str, root: Path, workers: Any) -> None:
    marks = [0.25, 0.5, 0.75]

    def kill(event: ProgressEvent) -> None:
        # One is left each time: without any, Dask waits for those that it starts again.
        if marks and event.rows_done > marks[0] * _ROWS and len(workers.nthreads()) == 2:
            marks.pop(0)
            os.kill(next(iter(workers.run(os.getpid).values())), signal.SIGKILL)

    assert_exact(g2_dsn, root, workers.get_executor(), kill)
    assert len(marks) < 3


def test_workers_that_die_before_they_tell(g2_dsn: str, root: Path, workers: Any) -> None:
    workers.run(exec, _DIE, {})
    assert_exact(g2_dsn, root, workers.get_executor())


def test_a_task_that_all_workers_die_of(
    g2_dsn: str, root: Path, old: Any, workers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers.cluster.scheduler, "allowed_failures", 0)
    workers.run(exec, _DIE, {})
    said = assert_fails(g2_dsn, root, workers.get_executor(), old)
    assert "were lost, the last one at tcp://127.0.0.1:" in said


def test_workers_without_the_package(g2_dsn: str, root: Path, old: Any, workers: Any) -> None:
    pids = workers.run(os.getpid).values()
    workers.run(exec, _HIDE, {})
    try:
        said = assert_fails(g2_dsn, root, workers.get_executor(), old)
    finally:
        workers.run(exec, _SHOW, {})
    where = [f"process {pid} on {socket.gethostname()}" for pid in pids]
    what = "pgvector_restore cannot be imported where the executor runs tasks: "
    assert said in [what + place for place in where]
    assert set(workers.run(os.getpid).values()) == set(pids)  # none has died of it


def test_workers_that_lose_the_package_later(
    g2_dsn: str, root: Path, old: Any, workers: Any
) -> None:
    def hide(event: ProgressEvent) -> None:
        if event.phase == "load" and not hidden:
            hidden.append(event)
            workers.run(exec, _HIDE, {})

    hidden: list[ProgressEvent] = []
    try:
        said = assert_fails(g2_dsn, root, workers.get_executor(), old, progress=hide)
    finally:
        workers.run(exec, _SHOW, {})
    assert said == "pgvector_restore cannot be imported where the executor runs tasks"


def test_workers_with_another_version(
    g2_dsn: str, root: Path, old: Any, workers: Any, tmp_path: Path
) -> None:
    other = tmp_path / "other" / "pgvector_restore-9.8.7.dist-info" / "METADATA"
    other.parent.mkdir(parents=True)
    other.write_text("Metadata-Version: 2.1\nName: pgvector_restore\nVersion: 9.8.7\n")
    folder = str(other.parents[1])
    workers.run(exec, f"import sys; sys.path.insert(0, {folder!r})", {})
    try:
        said = assert_fails(g2_dsn, root, workers.get_executor(), old)
    finally:
        workers.run(exec, f"import sys; sys.path.remove({folder!r})", {})
    assert said.startswith(
        f"pgvector_restore is 9.8.7 where the executor runs tasks and {__version__} here: process "
    )
    assert said.endswith(f" on {socket.gethostname()}")


def test_a_part_that_meets_another_version(g2_dsn: str, root: Path, old: Any, workers: Any) -> None:
    """Where nothing is installed, the sources themselves say which version they are."""
    change = "from pgvector_restore import executors; executors.__version__ = {!r}"
    workers.run(exec, change.format("9.8.7"), {})
    try:
        said = assert_fails(g2_dsn, root, workers.get_executor(), old)
    finally:
        workers.run(exec, change.format(__version__), {})
    assert f"is 9.8.7 where the executor runs tasks and {__version__} at the sender" in said
    assert said.endswith(f" on {socket.gethostname()}")


class Losing(Executor):
    """Takes the file away before the first part is loaded."""

    def __init__(self, inner: Executor, file: Path) -> None:
        self._inner, self._file = inner, file

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        if fn is pickle.loads:
            self._file.unlink(missing_ok=True)
        return self._inner.submit(fn, *args, **kwargs)


def test_an_error_names_the_machine(g2_dsn: str, root: Path, old: Any, workers: Any) -> None:
    executor = Losing(workers.get_executor(), root / "vector_bak" / EMBEDDING_FILE)
    with pytest.raises(StoreError, match=rf" on {socket.gethostname()}\)$") as caught:
        restore(root, g2_dsn, executor=executor, **_SWAP)
    assert any(f"process {pid}" in str(caught.value) for pid in workers.run(os.getpid).values())
    assert snapshot(g2_dsn) == old


def test_tasks_that_somebody_cancels(g2_dsn: str, root: Path, old: Any, workers: Any) -> None:
    executor = workers.get_executor()

    def cancel(event: ProgressEvent) -> None:
        if event.phase == "load" and event.rows_done > 2:
            workers.cancel(list(executor._futures))

    said = assert_fails(g2_dsn, root, executor, old, progress=cancel)
    assert said.startswith("the executor has given up tasks: its scheduler is gone")


def test_a_scheduler_that_is_killed(g2_dsn: str, root: Path, old: Any, tmp_path: Path) -> None:
    file = tmp_path / "scheduler.json"
    scheduler = subprocess.Popen(
        [
            *(sys.executable, "-m", "distributed.cli.dask_scheduler", "--no-dashboard"),
            *("--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file)),
        ],
        stderr=subprocess.DEVNULL,
    )
    try:
        with Client(  # type: ignore[no-untyped-call]
            scheduler_file=str(file), timeout=_PATIENCE_S
        ) as client:
            executor = client.get_executor()
            # It has no workers: the questions are on their way when it goes.
            ended = threading.Timer(1.0, scheduler.kill)
            ended.start()
            said = assert_fails(g2_dsn, root, executor, old)
            ended.join()
    finally:
        scheduler.kill()
        scheduler.wait()
    assert said.startswith("the executor has given up tasks: its scheduler is gone")


class Silent(Executor):
    """Takes tasks, and that is all."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        del fn, args, kwargs
        return Future()


def test_workers_that_never_answer(
    g2_dsn: str, root: Path, old: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executors, "_FIRST_ANSWER_S", 0.3)
    said = assert_fails(g2_dsn, root, Silent(), old)
    assert said == "no worker of the executor has answered within 0.3 s"


def test_called_off_while_no_worker_answers(g2_dsn: str, root: Path, old: Any) -> None:
    token = CancelToken()
    later = threading.Timer(0.5, token.cancel)
    later.start()
    with (
        Restorer(open_store(root), g2_dsn, executor=Silent()) as restorer,
        pytest.raises(CancelledError),
    ):
        restorer.restore(cancel=token, **_SWAP)
    later.join()
    assert snapshot(g2_dsn) == old


def test_a_pool_whose_process_is_killed(g2_dsn: str, root: Path, old: Any) -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:

        def kill(event: ProgressEvent) -> None:
            if event.phase == "load" and event.rows_done > 2:
                for process in list((pool._processes or {}).values()):
                    process.kill()

        said = assert_fails(g2_dsn, root, pool, old, progress=kill)
    assert said == f"a worker process on {socket.gethostname()} was killed or has crashed"


def own_workers() -> list[int]:
    """Worker processes of a restore of this process."""
    listed = subprocess.run(
        ["ps", "-o", "pid=,args=", "--ppid", str(os.getpid())],
        check=True,
        capture_output=True,
        text=True,
    )
    lines = [line.split(maxsplit=1) for line in listed.stdout.splitlines()]
    return [int(pid) for pid, args in lines if "popen_loky" in args]


def test_own_workers_that_are_killed(g2_dsn: str, root: Path, old: Any) -> None:
    def kill(event: ProgressEvent) -> None:
        if event.phase == "load" and event.rows_done > 2:
            for pid in own_workers():
                os.kill(pid, signal.SIGKILL)

    said = assert_fails(g2_dsn, root, None, old, progress=kill)
    assert said == f"a worker process on {socket.gethostname()} was killed or has crashed"


def test_workers_end_with_their_restore(g2_dsn: str, root: Path) -> None:
    """It is killed; whoever reads its output sees the end of it."""
    command = [sys.executable, "-m", "tests.restore.killed", g2_dsn, str(root), "2", "index"]
    with subprocess.Popen(
        command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        process.wait(_PATIENCE_S)
        ended = time.monotonic()
        process.communicate(timeout=_PATIENCE_S)
        assert process.returncode == -signal.SIGKILL
        # Workers that have nothing to do end after 40 s.
        assert time.monotonic() - ended < 20


def test_in_a_daemonic_process(g2_dsn: str, root: Path) -> None:
    """It may start no processes: parts are loaded by threads."""
    with get_context("spawn").Pool(1) as pool:
        pool.apply(killed.main, (g2_dsn, str(root), 2, "never"))
    assert count(g2_dsn, _EMBEDDING) == _ROWS
    assert not query(g2_dsn, _LEFT_OVER)
