"""SHA-256 of what passes by, taken by a thread beside the one that passes it on."""

from __future__ import annotations

import hashlib
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor

__all__ = ["SideHash"]

#: Blocks that may wait for the thread; whoever adds one more waits as well.
_WAITING = 4
#: A shorter block is hashed at once: handing it over takes longer.
_SHORT_BYTES = 1 << 16


class SideHash:
    """The SHA-256 of blocks, in the order they are given. Close it, or its thread stays.

    Hashing leaves Python's lock alone, and takes half a second for each gigabyte. That is gained
    where one thread does all the rest; where several threads are at work already, one more costs
    as much as it gains.

    Args:
        aside: Use a thread.
    """

    def __init__(self, *, aside: bool) -> None:
        self._aside = aside
        self._sha = hashlib.sha256()
        self._thread: ThreadPoolExecutor | None = None
        self._waiting: deque[Future[None]] = deque()

    def update(self, block: bytes) -> None:
        """Add a block, which must not change any more."""
        if not self._aside or (len(block) < _SHORT_BYTES and not self._waiting):
            self._sha.update(block)
            return
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="pgvector_restore sha256")
        self._waiting.append(self._thread.submit(self._sha.update, block))
        while len(self._waiting) > _WAITING:
            self._waiting.popleft().result()

    def hexdigest(self) -> str:
        """The hash of all blocks so far, as 64 hexadecimal digits."""
        while self._waiting:
            self._waiting.popleft().result()
        return self._sha.hexdigest()

    def close(self) -> None:
        """End the thread; blocks that wait are forgotten unless the hash was asked for."""
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)
            self._thread = None
