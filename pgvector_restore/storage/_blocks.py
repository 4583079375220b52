"""An object that is uploaded block by block, several of them at once, and shown at the end."""

from __future__ import annotations

import asyncio
import io
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, Future, wait
from typing import Any, TypeVar

__all__ = ["BlockSink", "block_bytes"]

T = TypeVar("T")

#: Bytes of one block while an object is not large. On its way it is held in memory about twice.
_BLOCK_BYTES = 8 << 20
#: Bytes of blocks on their way at once, if that is more than one: a connection of an object
#: storage carries much less than a network does.
_ON_THE_WAY_BYTES = 4 * _BLOCK_BYTES


def block_bytes(size: int, most: int | None) -> int:
    """Bytes of the next block of an object.

    After the first eighth of the blocks there may be, each is a fixed part of what has come, so
    that it takes e^7 = 1097 times as much to use up the other seven: 10,000 blocks reach for 11 TB.

    Args:
        size: Bytes of those before it.
        most: How many there may be in all; ``None``: any number, all of one size.
    """
    return _BLOCK_BYTES if most is None else max(_BLOCK_BYTES, 8 * size // most)


class BlockSink(ABC):
    """What comes is kept until it makes a block, and uploaded while the next one comes.

    What is abstract here runs in the loop. Where it fails, the next write or the end tells.

    Args:
        fs: The file system, of fsspec's kind with a loop of its own.
        path: The object, as the file system names it.
        most: How many blocks there may be; ``None``: any number, all of one size.
        in_order: A block is sent when the one before it has arrived.
    """

    def __init__(
        self,
        fs: Any,  # noqa: ANN401 - fsspec has no types
        path: str,
        most: int | None,
        *,
        in_order: bool = False,
    ) -> None:
        self._fs = fs
        self._path = path
        self._most = most
        self._in_order = in_order
        self._buffer = io.BytesIO()
        self._room = block_bytes(0, most)
        self._blocks = self._sent = 0
        self._pending: set[Future[None]] = set()
        self._tasks: set[asyncio.Task[Any] | None] = set()

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
    async def _is_shown(self) -> bool:
        """Whether the object of several blocks that lies there is put together from these."""

    def write(self, data: Any, /) -> int:  # noqa: ANN401 - any buffer
        """Take all of it; wait only where too many blocks are on their way."""
        view = memoryview(data).cast("B")
        size = len(view)
        while view:
            if not self._room:
                self._hand_over(is_last=False)
            piece = view[: self._room]
            self._buffer.write(piece)
            self._room -= len(piece)
            view = view[len(piece) :]
        return size

    def close(self) -> None:  # noqa: B027 - nothing is the right thing for all of them
        """Nothing: it is published, or discarded."""

    def publish(self) -> None:
        """Upload what is left and show the object."""
        if self._blocks:
            self._hand_over(is_last=True)
            self._settle(ALL_COMPLETED)
            self._wait(self._publish())
        else:
            self._wait(self._send_whole(self._buffer.getvalue()))

    def was_published(self) -> bool:
        """Whether what lies there is this object: the answer that it was shown may be lost."""
        if self._blocks:
            return self._wait(self._is_shown())
        return bool(self._fs.cat_file(self._path) == self._buffer.getvalue())

    def discard(self) -> None:
        """Give it up: nothing of it is on its way any more, and nothing is shown."""
        asyncio.run_coroutine_threadsafe(self._stop(), self._fs.loop).result()

    def _hand_over(self, *, is_last: bool) -> None:
        """Upload what is there as one block."""
        if not self._blocks:
            self._wait(self._begin())
        size = self._buffer.tell()
        at_once = 1 if self._in_order else max(1, _ON_THE_WAY_BYTES // size)
        while len(self._pending) >= at_once:
            self._settle(FIRST_COMPLETED)
        block, self._buffer = self._buffer.getvalue(), io.BytesIO()
        work = self._noted(self._send(self._blocks, block, is_last=is_last))
        self._pending.add(asyncio.run_coroutine_threadsafe(work, self._fs.loop))
        self._blocks += 1
        self._sent += size
        self._room = block_bytes(self._sent, self._most)

    def _settle(self, until: str) -> None:
        """Wait for blocks to arrive; what went wrong with one is raised."""
        done, self._pending = wait(self._pending, return_when=until)
        for one in done:
            one.result()

    async def _noted(self, work: Coroutine[Any, Any, T]) -> T:
        """Do some work that can be called off."""
        task = asyncio.current_task()
        self._tasks.add(task)
        try:
            return await work
        finally:
            self._tasks.discard(task)

    async def _stop(self) -> None:
        tasks = [task for task in self._tasks if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._abandon()

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(self._noted(work), self._fs.loop).result()
