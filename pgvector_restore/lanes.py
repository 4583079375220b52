"""Loading one file over several connections: where tasks run, and how many at a time.

Results are kept, futures are not: what an executor knows nobody to wait for, it does not compute
again when a worker is lost.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from concurrent.futures import CancelledError as FutureCancelledError
from contextlib import contextmanager
from typing import Any

from attrs import frozen

from pgvector_restore.errors import BadDataError, PgvectorRestoreError
from pgvector_restore.executors import failure, send, submit
from pgvector_restore.pieces import Loaded, Task, load_part
from pgvector_restore.storage import BackupStore

__all__ = ["Lane", "lanes", "load_parallel", "sendable"]

#: Seconds after which a worker without a task ends: none outlives a restore that was killed.
_IDLE_S = 10

#: Seconds between two looks at the server while tasks run.
_POLL_S = 0.5

#: Seconds between a worker process's looks at whether its restore is alive. A restore that was
#: killed would leave it with whatever pipes it has got from there.
_ALIVE_S = 0.25

#: Seconds without a finished part after which the log says what is waited for.
_SILENCE_S = 60

_log = logging.getLogger(__name__)


@frozen
class Lane:
    """An executor, and how many tasks it is given at a time."""

    executor: Executor
    capacity: int
    #: It is the caller's: its workers may be anywhere.
    abroad: bool = False


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
        CancelledError: The executor was shut down.
        ExecutorError: A worker was lost, or the executor has given up.
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
    """Tasks in the order of the file: those that run, and what the others have come to."""

    def __init__(self, lanes: Sequence[Lane], *, apart: bool) -> None:
        self._lanes = lanes
        self._apart = apart
        self._added = 0
        self._open: dict[Future[Loaded], tuple[int, Lane]] = {}
        self._loaded: dict[int, Loaded] = {}
        #: The first task that has failed, and how.
        self._failed: tuple[int, PgvectorRestoreError] | None = None
        #: Sums over the finished parts, wherever they lie in the file.
        self.finished = Loaded()
        #: Records that finished tasks have set aside.
        self.rejected = 0
        #: When a part has last been finished; ``None``: it was told that none is.
        self._last: float | None = time.monotonic()

    @property
    def count(self) -> int:
        return len(self._open)

    @property
    def failed(self) -> bool:
        return self._failed is not None

    @property
    def full(self) -> bool:
        return self._free() is None

    def _free(self) -> Lane | None:
        taken = [lane for _, lane in self._open.values()]
        for lane in self._lanes:
            if sum(other is lane for other in taken) < lane.capacity:
                return lane
        return None

    def add(self, task: Task) -> None:
        """Start a task; only where not all lanes are full."""
        lane = self._free()
        assert lane is not None  # noqa: S101 - asked a moment ago
        number, self._added = self._added, self._added + 1
        try:
            if lane.abroad:
                future = send(lane.executor, task)
            else:
                future = submit(lane.executor, load_part, task)
        except PgvectorRestoreError as exc:
            self._fail(number, exc)
        else:
            self._open[future] = (number, lane)

    def wait_for_one(self) -> None:
        """Wait for a task, but not for long. After a failure later parts do not matter."""
        done, _ = wait(self._open, _POLL_S, FIRST_COMPLETED)
        self._tell_of_silence(finished=bool(done))
        # Of those that were cancelled, only some wake up who waits.
        # A failure takes later parts away, those that are done too.
        while (future := next(filter(Future.done, self._open), None)) is not None:
            number, lane = self._open.pop(future)
            try:
                loaded = future.result()
            except (Exception, FutureCancelledError) as exc:  # noqa: BLE001 - becomes one of ours
                problem = failure(exc, lane.executor)
                if problem is not exc:
                    problem.__cause__ = exc
                self._fail(number, problem)
            else:
                self._loaded[number] = loaded
                self.rejected += len(loaded.rejects)
                self.finished = Loaded(
                    self.finished.rows + loaded.rows, self.finished.bytes_read + loaded.bytes_read
                )

    def _tell_of_silence(self, *, finished: bool) -> None:
        """Say once that a caller's executor is waited for: it may have no workers left."""
        if finished:
            self._last = time.monotonic()
        elif self._last is not None and time.monotonic() - self._last > _SILENCE_S:
            self._last = None
            if any(lane.abroad for _, lane in self._open.values()):
                _log.warning(
                    "no part was finished for %d s: the executor's workers are waited for",
                    _SILENCE_S,
                )

    def _fail(self, number: int, problem: PgvectorRestoreError) -> None:
        if self._failed is None or number < self._failed[0]:
            self._failed = (number, problem)
        for future, (other, _) in list(self._open.items()):
            if other > self._failed[0]:
                future.cancel()
                del self._open[future]

    def result(self) -> Loaded:
        loaded = Loaded()
        for number in range(self._added):
            if self._failed is not None and self._failed[0] == number:
                problem = self._failed[1]
                if isinstance(problem, BadDataError) and problem.record is not None:
                    problem.record += 0 if self._apart else loaded.rows_read
                raise problem
            loaded = loaded.followed_by(self._loaded[number])
        return loaded

    def cancel(self) -> None:
        for future in self._open:
            future.cancel()


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


def _begin(parent: int) -> None:
    """Get a worker process ready: it ends when its restore has ended, whatever has ended that."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the restore says what to do
    if os.name == "posix":
        watch = threading.Thread(target=_end_with, args=[parent], name="pgvector_restore alive")
        watch.daemon = True
        watch.start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_ALIVE_S)
    os._exit(1)


def _start() -> None:
    """Nothing; a worker process that gets to it has imported this package."""


@contextmanager
def lanes(executor: Executor | None, jobs: int, threads: int = 1) -> Iterator[list[Lane]]:
    """The caller's executor, or threads and worker processes of our own until the block ends.

    The processes, which take half a second, start at once; the threads are at work meanwhile. A
    daemonic process, such as a worker of ``multiprocessing.Pool``, may start none: all are threads
    there.

    Args:
        executor: The caller's.
        jobs: How many parts are loaded at a time.
        threads: How many of them by threads of this process, which share Python's lock.
    """
    if executor is not None:
        # One waits: the way to an executor may be long.
        yield [Lane(executor, jobs + 1, abroad=True)]
        return
    if threads < jobs and multiprocessing.current_process().daemon:
        _log.info("parts are loaded by threads: a daemonic process may start no others")
        threads = jobs
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

    workers = ProcessPoolExecutor(
        max_workers=count, timeout=_IDLE_S, initializer=_begin, initargs=(os.getpid(),)
    )
    try:
        for _ in range(count):
            workers.submit(_start)  # none starts without a task
        yield [Lane(workers, count)]
    finally:
        workers.shutdown(wait=True, kill_workers=True)
