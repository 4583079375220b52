"""An object that is uploaded block by block, several of them at once, and shown at the end."""

from __future__ import annotations

import asyncio
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Mapping
from concurrent.futures import Future, wait
from typing import Any, TypeVar
from uuid import uuid4

from pgvector_restore.storage._protocols import CONNECT_S, READ_S, Stream

__all__ = ["BlockSink", "Uploads", "block_bytes"]

T = TypeVar("T")

#: Bytes of one block while an object is not large: the fewest that S3 takes.
_BLOCK_BYTES = 5 << 20
#: Bytes of blocks on their way at once, or two blocks if they have grown. A connection of an object
#: storage carries less than a network does (see ``_wide``); each block costs its memory.
_ON_THE_WAY_BYTES = 4 * _BLOCK_BYTES

#: Name in the metadata of objects. Some proxies drop what has underscores, Azure refuses hyphens.
_MARK = "pgvectorupload"


def block_bytes(size: int, most: int | None) -> int:
    """Bytes of the next block of an object.

    After the first eighth of the blocks there may be, each is a fixed part of what has come, so
    that it takes e^7 = 1097 times as much to use up the other seven: 10,000 blocks reach for 7 TB.

    Args:
        size: Bytes of those before it.
        most: How many there may be in all; ``None``: any number, all of one size.
    """
    return _BLOCK_BYTES if most is None else max(_BLOCK_BYTES, 8 * size // most)


class Uploads:
    """What all uploads to one storage share: how much of them may be on its way.

    Args:
        kind: Which storage it is.
    """

    def __init__(self, kind: Stream | None) -> None:
        self.kind = kind
        self._changed = threading.Condition()
        self._turn = threading.Lock()
        self._bytes = 0

    def begin(self, size: int) -> None:
        """Wait until so many bytes more may be on their way."""
        limit = max(_ON_THE_WAY_BYTES, 2 * size)
        # One waits at a time: a large block would wait for ever behind small ones of others.
        with self._turn, self._changed:
            self._changed.wait_for(lambda: self._bytes + size <= limit)
            self._bytes += size

    def end(self, size: int) -> None:
        """They have arrived, or are given up."""
        with self._changed:
            self._bytes -= size
            self._changed.notify_all()


class BlockSink(ABC):
    """What comes is kept until it makes a block, and uploaded while the next one comes.

    What is abstract here runs in the loop. Where it fails, the next write or the end tells.

    Args:
        fs: The file system, of fsspec's kind with a loop of its own.
        uploads: Shared by all that is uploaded over it.
        path: The object, as the file system names it.
        most: How many blocks there may be; ``None``: any number, all of one size.
        in_order: A block is sent when the one before it has arrived.
    """

    def __init__(
        self,
        fs: Any,  # noqa: ANN401 - fsspec has no types
        uploads: Uploads,
        path: str,
        most: int | None,
        *,
        in_order: bool = False,
    ) -> None:
        self._fs = fs
        self._uploads = uploads
        self._path = path
        self._most = most
        self._in_order = in_order
        #: Metadata of the object: which upload it came by. Another one may be of the same bytes.
        self._mark = {_MARK: uuid4().hex}
        self._blocks = self._sent = self._filled = 0
        self._pending: set[Future[None]] = set()
        self._tasks: set[asyncio.Task[Any] | None] = set()
        # Those whose answer is waited for: without it nobody knows what the storage has.
        self._answers: set[asyncio.Task[Any] | None] = set()
        #: What a write ended with: bytes may be missing since.
        self.error: BaseException | None = None
        # Filled again and again: memory that is asked for piece by piece falls to pieces.
        self._buffer = bytearray()

    @abstractmethod
    async def _begin(self) -> None:
        """Prepare for an object of several blocks."""

    @abstractmethod
    async def _send(self, number: int, block: bytes, *, is_last: bool) -> None:
        """Upload a block.

        Args:
            number: Which it is, from 0.
            block: Its bytes.
            is_last: No other one comes.
        """

    @abstractmethod
    async def _publish(self) -> None:
        """Show the object; all blocks have arrived."""

    @abstractmethod
    async def _send_whole(self, data: bytes) -> None:
        """Upload an object of a single block, or of no bytes, and show it."""

    @abstractmethod
    async def _abandon(self) -> None:
        """Have the storage forget what was uploaded."""

    @abstractmethod
    async def _metadata(self) -> Mapping[str, str]:
        """Of the object that lies there."""

    def write(self, data: Any, /) -> int:  # noqa: ANN401 - any buffer
        """Take all of it; wait only where too many blocks are on their way."""
        self._check()
        view = memoryview(data).cast("B")
        size = len(view)
        try:
            while view:
                view = view[self._take(view) :]
        except BaseException as exc:
            self.error = exc
            raise
        return size

    def close(self) -> None:  # noqa: B027 - nothing, for all of them
        """Nothing: it is published, or discarded."""

    def publish(self) -> None:
        """Upload what is left and show the object."""
        self._check()
        if self._blocks:
            self._hand_over(is_last=True)
            self._settle()
            self._wait(self._publish(), self._answers)
        else:
            self._wait(self._send_whole(self._rest()), self._answers)

    def was_published(self) -> bool:
        """Whether what lies there is this object: the answer that it was shown may be lost."""
        found = self._wait(self._metadata())
        # Servers spell names as they spell those of headers.
        return self._mark[_MARK] in [found[name] for name in found if name.lower() == _MARK]

    def discard(self) -> None:
        """Give it up: nothing of it is on its way any more, and nothing is shown."""
        if sys.is_finalizing():
            return  # the loop stands still by now, and would not answer
        loop = self._fs.loop  # or an error, in a forked process
        asyncio.run_coroutine_threadsafe(self._stop(), loop).result()

    def _check(self) -> None:
        if self.error is not None:
            raise self.error

    def _take(self, view: memoryview) -> int:
        if self._filled == len(self._buffer):
            self._hand_over(is_last=False)
        end = min(self._filled + len(view), len(self._buffer))
        count = end - self._filled
        self._buffer[self._filled : end] = view[:count]
        self._filled = end
        return count

    def _rest(self) -> bytes:
        return bytes(memoryview(self._buffer)[: self._filled])

    def _hand_over(self, *, is_last: bool) -> None:
        """Upload what is there as one block, and make room for the next one."""
        if self._filled:
            self._begin_block(self._rest(), is_last=is_last)
        size = block_bytes(self._sent, self._most)
        if len(self._buffer) != size:
            self._buffer = bytearray(size)
        self._filled = 0

    def _begin_block(self, block: bytes, *, is_last: bool) -> None:
        if not self._blocks:
            self._wait(self._begin(), self._answers)
        self._settle(None if self._in_order else 0)
        size = len(block)
        self._uploads.begin(size)
        try:
            work = self._noted(self._send(self._blocks, block, is_last=is_last), self._tasks)
            future = asyncio.run_coroutine_threadsafe(work, self._fs.loop)
        except BaseException:
            self._uploads.end(size)
            raise
        future.add_done_callback(lambda _: self._uploads.end(size))
        self._pending.add(future)
        self._blocks += 1
        self._sent += size

    def _settle(self, timeout_s: float | None = None) -> None:
        """Wait for blocks to arrive; what went wrong with one is raised."""
        done, self._pending = wait(self._pending, timeout_s)
        for one in done:
            one.result()

    async def _noted(self, work: Coroutine[Any, Any, T], tasks: set[asyncio.Task[Any] | None]) -> T:
        """Do some work that can be called off."""
        task = asyncio.current_task()
        tasks.add(task)
        try:
            return await work
        finally:
            tasks.discard(task)

    async def _stop(self) -> None:
        if answers := {task for task in self._answers if task is not None}:
            await asyncio.wait(answers, timeout=CONNECT_S)
        tasks = [task for task in self._tasks | self._answers if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.wait_for(self._abandon(), READ_S)

    def _wait(
        self,
        work: Coroutine[Any, Any, T],
        tasks: set[asyncio.Task[Any] | None] | None = None,
    ) -> T:
        noted = self._noted(work, self._tasks if tasks is None else tasks)
        return asyncio.run_coroutine_threadsafe(noted, self._fs.loop).result()
