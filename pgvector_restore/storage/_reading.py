"""Reading from remote file systems: one stream of bytes, the next of them asked for in time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from pgvector_restore.errors import StoreChangedError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = [
    "STALL_S",
    "AheadSource",
    "PlainSource",
    "check_same",
    "opened",
    "version_of",
]

#: Bytes asked for while those before them are decoded. Less costs a change of threads more often.
_AHEAD_BYTES = 2 << 20
#: Seconds without any byte after which a body is given up; the file system's own limits are lower.
STALL_S = 120.0


class PlainSource:
    """A file of a file system, also of one that has no ``readinto``.

    Args:
        file: The open file.
    """

    def __init__(self, file: Any) -> None:  # noqa: ANN401 - fsspec has no types
        self._file = file

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """One read."""
        if hasattr(self._file, "readinto"):
            return self._file.readinto(buffer) or 0
        view = memoryview(buffer).cast("B")
        data = self._file.read(len(view))
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def opened(fs: Any, path: str, start: int) -> Any:  # noqa: ANN401 - fsspec has no types
    """A file as the file system opens it, at a byte of it."""
    try:
        file = fs.open(path, mode="rb")
    except FileNotFoundError:
        raise
    except Exception as exc:
        # SFTP has one word, "failure", for a folder and for all that has no word of its own.
        if fs.info(path).get("type") == "directory":
            raise IsADirectoryError from exc
        raise
    try:
        if start:
            file.seek(start)
    except BaseException:
        file.close()
        raise
    return file


class AheadSource:
    """The body of an answer, of which the next piece is fetched while one is used.

    Args:
        loop: Where the body lives.
        read: Reads at most so many bytes of it; nothing at its end.
        close: Lets go of it, in the loop.
        piece_bytes: Bytes of a piece.
        first: What has come of it already.
        stall_s: Seconds a read may take; ``None``: it has a limit of its own.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        read: Callable[[int], Coroutine[Any, Any, bytes]],
        close: Callable[[], None],
        *,
        piece_bytes: int = _AHEAD_BYTES,
        first: bytes = b"",
        stall_s: float | None = STALL_S,
    ) -> None:
        self._loop = loop
        self._read = read
        self._close = close
        self._piece_bytes = piece_bytes
        self._stall_s = stall_s
        self._piece = memoryview(first)
        self._closed = False
        self._failure: Exception | None = None
        self._next: Future[bytes] | None = self._ask()

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """What is there of the present piece, or of the next one."""
        if not self._piece:
            self._piece = memoryview(self._take())
        view = memoryview(buffer).cast("B")
        count = min(len(view), len(self._piece))
        view[:count] = self._piece[:count]
        self._piece = self._piece[count:]
        return count

    def close(self) -> None:
        """Let go of the answer, whether it has been read to its end or not."""
        self._closed = True
        ahead, self._next = self._next, None
        if ahead is not None:
            ahead.cancel()
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._close)

    def _ask(self) -> Future[bytes]:
        return asyncio.run_coroutine_threadsafe(self._fill(), self._loop)

    def _take(self) -> bytes:
        if self._next is None:
            return b""
        ahead, self._next = self._next, None
        data = ahead.result()
        if data:
            self._next = self._ask()
        return data

    async def _fill(self) -> bytes:
        """A whole piece: bodies come in some 100 KB at a time, each worth no change of threads."""
        if self._failure is not None:
            raise self._failure
        parts: list[bytes] = []
        missing = self._piece_bytes
        try:
            while missing and not self._closed:
                data = await asyncio.wait_for(self._read(missing), self._stall_s)
                if not data:
                    break
                parts.append(data)
                missing -= len(data)
        except Exception as exc:
            if not self._closed and not parts:
                raise  # or nobody would ask for it, and asyncio complain of that
            # What has come counts: a connection that breaks after each 1 MiB gets on as well.
            self._failure = exc
        return b"".join(parts)


def version_of(stream: Any) -> str | None:  # noqa: ANN401 - any store's
    """Which version of an object an open stream is of, where its store tells."""
    version: str | None = getattr(getattr(stream, "raw", None), "version", None)
    return version


def check_same(first: str | None, now: str | None, what: str) -> None:
    """Refuse to go on reading in another object than the one that was begun.

    Raises:
        StoreChangedError: Both versions are known and differ.
    """
    if first is not None and now is not None and first != now:
        raise StoreChangedError(
            f"{what} was replaced while it was read",
            hint="the file changed while it was read: wait until it is written, then retry",
        )
