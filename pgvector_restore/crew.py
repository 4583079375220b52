"""Threads that read one snapshot, each over a connection of its own."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from typing import Generic, TypeVar

from pgvector_restore.cancel import CancelToken
from pgvector_restore.db.errors import server_errors
from pgvector_restore.db.reader import Reader
from pgvector_restore.errors import CancelledError

__all__ = ["Crew", "Pipe", "crew_of"]

_T = TypeVar("_T")

#: Seconds between two looks at whether it was called off.
_POLL_S = 0.1


class Crew:
    """Runs work with readers; the first error ends everything.

    Made by :func:`crew_of`. Threads rather than processes: the driver and the libraries that
    hash and compress leave Python's lock alone while they work.
    """

    def __init__(self, readers: Sequence[Reader], cancel: CancelToken) -> None:
        self.size = len(readers)
        #: Ends the work of all threads.
        self.stop = CancelToken()
        self._cancel = cancel
        self._error: BaseException | None = None
        self._free: queue.SimpleQueue[Reader] = queue.SimpleQueue()
        for reader in readers:
            self._free.put(reader)
        self._pool = ThreadPoolExecutor(self.size, thread_name_prefix="pgvector_restore backup")

    def submit(self, work: Callable[[Reader], _T]) -> Future[_T]:
        """Run it in a thread, in the order of submission."""
        return self._pool.submit(self._run, lambda readers: work(readers[0]), 1)

    def submit_alone(self, work: Callable[[Sequence[Reader]], _T]) -> Future[_T]:
        """Run it in one thread with all readers; nothing else may be running."""
        return self._pool.submit(self._run, work, self.size)

    def _run(self, work: Callable[[Sequence[Reader]], _T], count: int) -> _T:
        self.stop.check()
        readers = [self._free.get() for _ in range(count)]
        try:
            with server_errors():
                return work(readers)
        except BaseException as exc:
            # What ends because of the stop is not what it was stopped for.
            if not self.stop.cancelled:
                self._error = exc
                self.stop.cancel()
            raise
        finally:
            for reader in readers:
                self._free.put(reader)

    def check(self) -> None:
        """Raise if it was called off, or what a thread has raised.

        Raises:
            CancelledError: It was called off.
        """
        if self._error is not None:
            raise self._error
        self._cancel.check()

    def results(self, futures: Sequence[Future[_T]], on_wait: Callable[[], None]) -> list[_T]:
        """What the work has come to, in order; ``on_wait`` is called while it is waited for."""
        pending: set[Future[_T]] = set(futures)
        while pending:
            _, pending = wait(pending, _POLL_S, FIRST_EXCEPTION)
            self.check()
            on_wait()
        return [future.result() for future in futures]

    def close(self) -> None:
        """End the threads, whatever they are doing."""
        self.stop.cancel()
        self._pool.shutdown(cancel_futures=True)


@contextmanager
def crew_of(readers: Sequence[Reader], cancel: CancelToken) -> Iterator[Crew]:
    """A crew for as long as the block runs; nothing of its work goes on after that."""
    crew = Crew(readers, cancel)
    with ExitStack() as stack:
        interrupters = [stack.enter_context(reader.until(crew.stop)) for reader in readers]
        try:
            yield crew
        except CancelledError:
            crew.check()  # a thread that failed has stopped the one that was waited for
            raise
        else:
            for interrupter in interrupters:  # the work is done: there is nothing to cancel
                interrupter.disarm()
        finally:
            crew.close()


class Pipe(Generic[_T]):
    """Things on their way from a thread that reads to the one that writes; it holds a few.

    Args:
        crew: Whose thread it is that reads.
        capacity: Things that may wait.
    """

    def __init__(self, crew: Crew, capacity: int) -> None:
        self._crew = crew
        self._capacity = capacity
        # Whoever looks before it puts something may put one more and the end without waiting.
        self._queue: queue.Queue[_T | None] = queue.Queue(capacity + 1)

    @property
    def full(self) -> bool:
        """Whether as many wait as there should; if not, two can be put without waiting."""
        return self._queue.qsize() >= self._capacity

    def put(self, block: _T | None) -> None:
        """Add one, ``None`` after the last; waits for room.

        Raises:
            CancelledError: The crew was stopped.
        """
        while True:
            self._crew.stop.check()
            try:
                self._queue.put(block, timeout=_POLL_S)
            except queue.Full:
                continue
            return

    def __iter__(self) -> Iterator[_T]:
        while True:
            self._crew.check()
            try:
                block = self._queue.get(timeout=_POLL_S)
            except queue.Empty:
                continue
            if block is None:
                return
            yield block
