"""Reading over several connections where one of them carries too little."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterator

__all__ = ["AT_ONCE", "Spread", "WideBody"]

#: Bytes of an answer that are waited for before it is judged, and how many a second are enough. A
#: restore takes in some 250 MB/s; Amazon's guide to the performance of S3 ("Horizontal scaling and
#: request parallelization") counts a request for each 85 to 90 MB/s that are wanted.
_JUDGED_BYTES = 4 << 20
_ENOUGH_BYTES_PER_S = 100e6
#: Bytes of a request after that, and how many of them there are at once, of which those that came
#: too early wait in memory.
_PIECE_BYTES = 4 << 20
AT_ONCE = 4

_Fetch = Callable[[int, int], Coroutine[None, None, bytes]]


class Spread:
    """What of an answer is still to come, and which requests are to bring it.

    Only time that is spent waiting for bytes counts: who reads slowly gets one answer as before.

    Args:
        start: Where the answer starts.
        end: Byte after its last one.
    """

    def __init__(self, start: int, end: int) -> None:
        #: First byte that has neither come nor been asked for.
        self.at = start
        self._end = end
        self._judged = 0
        self._waited_s = 0.0

    def is_slow(self, count: int, waited_s: float) -> bool:
        """Note bytes that have come of the answer; whether several requests are worth it now."""
        self.at += count
        self._judged += count
        self._waited_s += waited_s
        if self._judged < _JUDGED_BYTES:
            return False
        is_slow = self._judged < _ENOUGH_BYTES_PER_S * self._waited_s
        self._judged, self._waited_s = 0, 0.0
        return is_slow and self._end - self.at > _PIECE_BYTES

    def ranges(self, under_way: int) -> Iterator[tuple[int, int]]:
        """Those that are to be asked for while so many others are on their way."""
        for _ in range(under_way, AT_ONCE):
            if self.at >= self._end:
                break
            start, self.at = self.at, min(self.at + _PIECE_BYTES, self._end)
            yield start, self.at


class WideBody:
    """The body of an answer, and of several requests at once for the rest of it if it is slow.

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
        self._spread = Spread(start, end)
        self._is_wide = False
        self._pieces: deque[asyncio.Task[bytes]] = deque()
        self._rest = memoryview(b"")

    async def read(self, size: int) -> bytes:
        """At most so many bytes; nothing at the end."""
        if self._is_wide:
            return await self._next(size)
        began = time.monotonic()
        data = await self._read(size)
        is_slow = self._spread.is_slow(len(data), time.monotonic() - began)
        if is_slow and self._fetch is not None:
            self._is_wide = True
            self._close()
            self._ask(self._fetch)
        return data

    def close(self) -> None:
        """Let go of what is on its way."""
        self._close()
        for piece in self._pieces:
            piece.cancel()

    async def _next(self, size: int) -> bytes:
        if not self._rest and self._pieces and self._fetch is not None:
            # Taken off when it has come: what is called off is still to be seen by close().
            self._rest = memoryview(await self._pieces[0])
            self._pieces.popleft()
            self._ask(self._fetch)
        data, self._rest = self._rest[:size], self._rest[size:]
        return bytes(data)

    def _ask(self, fetch: _Fetch) -> None:
        """Have as many requests on their way as there may be."""
        for start, end in self._spread.ranges(len(self._pieces)):
            piece = asyncio.ensure_future(_whole(fetch, start, end))
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
