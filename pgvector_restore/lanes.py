"""Loading one file over several connections: where tasks run, and how many at a time."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any

from attrs import frozen

from pgvector_restore.errors import BadDataError, CancelledError, PgvectorRestoreError
from pgvector_restore.pieces import Loaded, Task, load_part
from pgvector_restore.storage import BackupStore

__all__ = ["Lane", "lanes", "load_parallel", "sendable"]

#: Seconds after which a worker without a task ends: none outlives a restore that was killed.
_IDLE_S = 10

#: Seconds between two looks at the server while tasks run.
_POLL_S = 0.5


@frozen
class Lane:
    """An executor, and how many tasks it is given at a time."""

    executor: Executor
    capacity: int


def load_parallel(
    lanes: Sequence[Lane],
    tasks: Iterator[Task],
    on_change: Callable[[Loaded], None],
    max_rejects: int = 0,
    *,
    apart: bool = False,
) -> Loaded:
    """Run the tasks of one file, a few at a time.

    Args:
        lanes: Where they run.
        tasks: In the file's order.
        on_change: Called about twice a second with what is finished.
        max_rejects: When the tasks have set more records aside than this, no further ones begin:
            the caller has to refuse the result.
        apart: Each task has a file of its own, whose records are counted from 1.

    Raises:
        BadDataError: The first bad record of the file, whichever task met one first.
        PgvectorRestoreError: A task failed otherwise.
    """
    running = _Running(lanes, apart=apart)
    try:
        for task in tasks:
            while running.full:
                running.wait_for_one()
                on_change(running.finished)
            if running.failed or running.rejected > max_rejects:
                break
            running.add(task)
        while running.count:
            running.wait_for_one()
            on_change(running.finished)
        return running.result()
    finally:
        running.cancel()


class _Running:
    """Futures in the order of the file."""

    def __init__(self, lanes: Sequence[Lane], *, apart: bool) -> None:
        self._lanes = lanes
        self._apart = apart
        self._futures: list[Future[Loaded]] = []
        self._open: dict[Future[Loaded], Lane] = {}
        self.failed = False
        #: Records that finished tasks have set aside.
        self.rejected = 0

    @property
    def count(self) -> int:
        return len(self._open)

    @property
    def full(self) -> bool:
        return self._free() is None

    def _free(self) -> Lane | None:
        taken = list(self._open.values())
        for lane in self._lanes:
            if sum(other is lane for other in taken) < lane.capacity:
                return lane
        return None

    @property
    def finished(self) -> Loaded:
        """Sums over the finished parts, wherever they lie in the file."""
        done = [f.result() for f in self._futures if f.done() and not _failed(f)]
        return Loaded(sum(d.rows for d in done), sum(d.bytes_read for d in done))

    def add(self, task: Task) -> None:
        """Start a task; only where not all lanes are full."""
        lane = self._free()
        assert lane is not None  # noqa: S101 - asked a moment ago
        try:
            future = lane.executor.submit(load_part, task)
        except RuntimeError as exc:  # it has been shut down
            raise CancelledError("the executor takes no tasks: nothing has changed") from exc
        self._futures.append(future)
        self._open[future] = lane

    def wait_for_one(self) -> None:
        """Wait for a future, but not for long. After a failure later parts do not matter."""
        done, _ = wait(self._open, _POLL_S, FIRST_COMPLETED)
        for future in done:
            self._open.pop(future, None)
            if not _failed(future):
                self.rejected += len(future.result().rejects)
            if _problem(future):
                self.failed = True
                for later in self._futures[self._futures.index(future) + 1 :]:
                    later.cancel()
                    self._open.pop(later, None)

    def result(self) -> Loaded:
        loaded = Loaded()
        for future in self._futures:
            if future.cancelled():
                raise CancelledError("the executor called the restore off: nothing has changed")
            problem = _problem(future)
            if isinstance(problem, BadDataError) and not self._apart and problem.record is not None:
                problem.record += loaded.rows_read
            if isinstance(problem, PgvectorRestoreError):
                raise problem
            if problem is not None:
                raise PgvectorRestoreError(
                    f"a worker process failed: {type(problem).__name__}",
                    hint="was it killed for its memory? with jobs=1 there are no workers",
                ) from problem
            loaded = loaded.followed_by(future.result())
        return loaded

    def cancel(self) -> None:
        for future in self._open:
            future.cancel()


def _failed(future: Future[Loaded]) -> bool:
    return future.cancelled() or future.exception() is not None


def _problem(future: Future[Loaded]) -> BaseException | None:
    return None if future.cancelled() else future.exception()


def sendable(store: BackupStore, connection: Mapping[str, Any] | None) -> str | None:
    """Why tasks cannot go to another process, or ``None`` where they can."""
    if connection is None:
        return "the connections come from a pool whose parameters cannot be passed on"
    if not store.is_shared:
        return f"{store.url} exists in this process only"
    try:
        pickle.dumps((store, connection))
    except Exception as exc:  # noqa: BLE001 - pickle raises whatever the objects raise
        return f"the store cannot be passed on: {type(exc).__name__}"
    return None


def _start() -> None:
    """Nothing; a worker process that gets to it has imported this package."""


@contextmanager
def lanes(executor: Executor | None, jobs: int, threads: int = 1) -> Iterator[list[Lane]]:
    """The caller's executor, or threads and worker processes of our own until the block ends.

    The processes, which take half a second, start at once; the threads are at work meanwhile.

    Args:
        executor: The caller's.
        jobs: How many parts are loaded at a time.
        threads: How many of them by threads of this process, which share Python's lock.
    """
    if executor is not None:
        yield [Lane(executor, jobs + 1)]  # one waits: the way to an executor may be long
        return
    pool = ThreadPoolExecutor(max(threads, 1), thread_name_prefix="pgvector_restore load")
    try:
        with _workers(jobs - threads) as workers:
            yield [Lane(pool, threads), *workers]
    finally:
        # Whatever still runs there has lost its table by now, and its connection with it.
        pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def _workers(count: int) -> Iterator[list[Lane]]:
    if count < 1:
        yield []
        return
    from loky import ProcessPoolExecutor  # noqa: PLC0415 - takes a while, and is rarely needed

    workers = ProcessPoolExecutor(max_workers=count, timeout=_IDLE_S)
    try:
        for _ in range(count):
            workers.submit(_start)  # none starts without a task
        yield [Lane(workers, count)]
    finally:
        workers.shutdown(wait=True, kill_workers=True)
