"""Reading over several connections where one of them carries too little."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine

__all__ = ["WideBody"]

#: Bytes of an answer that are waited for before it is judged, and how many a second are enough. A
#: restore takes in some 250 MB/s; Amazon's guide to the performance of S3 ("Horizontal scaling and
#: request parallelization") counts a request for each 85 to 90 MB/s that are wanted.
_JUDGED_BYTES = 4 << 20
_ENOUGH_BYTES_PER_S = 100e6
#: Bytes of a request after that, and how many of them there are at once, of which those that came
#: too early wait in memory.
_PIECE_BYTES = 4 << 20
_AT_ONCE = 4

_Fetch = Callable[[int, int], Coroutine[None, None, bytes]]


class WideBody:
    """The body of an answer, and of several requests at once for the rest of it if it is slow.

    Only time that is spent waiting for bytes counts: who reads slowly gets one answer as before.
    To be used in the loop of the file system.

    Args:
        read: Reads at most so many bytes of the answer; nothing at its end.
        close: Lets go of it.
        fetch: All bytes of a range of the same object, or an error; ``None``: there is no way to
            be sure that it is the same.
        start: Where the answer starts.
        end: Byte after its last one.
    """

    def __init__(
        self,
        read: Callable[[int], Awaitable[bytes]],
        close: Callable[[], None],
        fetch: _Fetch | None,
        start: int,
        end: int,
    ) -> None:
        self._read = read
        self._close = close
        self._fetch = fetch
        self._at = start
        self._end = end
        self._judged = 0
        self._waited_s = 0.0
        self._is_wide = False
        self._pieces: deque[asyncio.Task[bytes]] = deque()
        self._rest = memoryview(b"")

    async def read(self, size: int) -> bytes:
        """At most so many bytes; nothing at the end."""
        if self._is_wide:
            return await self._next(size)
        began = time.monotonic()
        data = await self._read(size)
        self._waited_s += time.monotonic() - began
        self._judged += len(data)
        self._at += len(data)
        if self._judged >= _JUDGED_BYTES:
            self._judge()
        return data

    def close(self) -> None:
        """Let go of what is on its way."""
        self._close()
        for piece in self._pieces:
            piece.cancel()

    def _judge(self) -> None:
        is_slow = self._judged < _ENOUGH_BYTES_PER_S * self._waited_s
        self._judged, self._waited_s = 0, 0.0
        if is_slow and self._fetch is not None and self._end - self._at > _PIECE_BYTES:
            self._is_wide = True
            self._close()
            self._ask()

    async def _next(self, size: int) -> bytes:
        if not self._rest and self._pieces:
            # Taken off when it has come: what is called off is still to be seen by close().
            self._rest = memoryview(await self._pieces[0])
            self._pieces.popleft()
            self._ask()
        data, self._rest = self._rest[:size], self._rest[size:]
        return bytes(data)

    def _ask(self) -> None:
        """Have as many requests on their way as there may be."""
        while self._fetch is not None and len(self._pieces) < _AT_ONCE and self._at < self._end:
            start, self._at = self._at, min(self._at + _PIECE_BYTES, self._end)
            piece = asyncio.ensure_future(_whole(self._fetch, start, self._at))
            piece.add_done_callback(_heard)
            self._pieces.append(piece)


async def _whole(fetch: _Fetch, start: int, end: int) -> bytes:
    """All of a range, and nothing else: there are servers that know no ranges."""
    data = await fetch(start, end)
    if len(data) != end - start:
        raise ConnectionError(f"{end - start} bytes were asked for, {len(data)} came")
    return data


def _heard(piece: asyncio.Task[bytes]) -> None:
    """Take note of an error, which nobody may come to ask for."""
    if not piece.cancelled():
        piece.exception()
