"""SFTP over sshfs, bounded: a connection that has ended ends what waits for it as well."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from pgvector_restore.storage._reading import STALL_S, AheadSource

__all__ = ["SftpSink", "has_ended", "in_loop", "rename", "sftp_file_system", "sftp_source"]

T = TypeVar("T")

#: Reads of a file that are on their way, 2 MiB and many requests each. With one of them a
#: connection is idle after each for as long as an answer takes: 34 of 40 MB/s were left over 20 ms.
#: What may come without a word of ours has to be more than that (``window`` in ``_protocols``).
_AT_ONCE = 2


def sftp_file_system(url: str, options: Mapping[str, object]) -> tuple[Any, str]:
    """The file system of a URL and the path in it; fsspec takes an IPv6 address for a chain.

    Args:
        url: ``sftp://user@host/folder``.
        options: Keywords of sshfs.
    """
    from sshfs import SSHFileSystem  # noqa: PLC0415 - the extra is there

    of_url = SSHFileSystem._get_kwargs_from_urls(url)  # noqa: SLF001 - as fsspec's url_to_fs
    fs = SSHFileSystem(**{**of_url, **options})
    return fs, str(SSHFileSystem._strip_protocol(url))  # noqa: SLF001 - the same


async def _bounded(fs: Any, work: Awaitable[T]) -> T:  # noqa: ANN401 - sshfs has no types
    """The result of one request, as long as there is a connection.

    Reads and writes that are split over many requests wait for ever when the connection ends.
    """
    working = asyncio.ensure_future(work)
    ended = asyncio.ensure_future(fs.client.wait_closed())
    try:
        done, _ = await asyncio.wait(
            {working, ended}, timeout=STALL_S, return_when=asyncio.FIRST_COMPLETED
        )
        if working not in done:
            raise ConnectionError("the connection has ended" if done else "no answer")
        return working.result()
    finally:
        working.cancel()
        ended.cancel()


def in_loop(fs: Any, work: Awaitable[T]) -> T:  # noqa: ANN401 - sshfs has no types
    """Run one request in the file system's loop and wait for it."""
    return asyncio.run_coroutine_threadsafe(_bounded(fs, work), fs.loop).result()


def sftp_source(
    fs: Any,  # noqa: ANN401 - sshfs has no types
    file: Any,  # noqa: ANN401 - the same
    start: int,
    end: int | None,
) -> AheadSource:
    """The rest of an open file.

    Args:
        fs: The file system.
        file: The open file.
        start: First byte wanted.
        end: Byte after the last; ``None``: where the file ends.
    """
    inner = _taken(file)
    reading: deque[tuple[int, asyncio.Future[bytes]]] = deque()
    asked = came = start

    async def read(size: int) -> bytes:
        nonlocal asked, came
        while len(reading) < _AT_ONCE and (end is None or asked < end):
            count = size if end is None else min(size, end - asked)
            # Not to be cancelled: the requests it is made of would go on, with nobody to hear of
            # them.
            reading.append((count, asyncio.ensure_future(inner.read(count, asked))))
            asked += count
        if not reading:
            return b""
        count, first = reading[0]
        data = await _bounded(fs, asyncio.shield(first))
        reading.popleft()
        came += len(data)
        if len(data) < count:  # the end, or less than was asked for: what follows starts elsewhere
            others = asyncio.gather(*(one for _, one in reading), return_exceptions=True)
            await _bounded(fs, asyncio.shield(others))
            reading.clear()
            asked = came
        return data

    def close() -> None:
        fs.loop.create_task(_close_quietly(fs, inner, *(one for _, one in reading)))

    return AheadSource(fs.loop, read, close)


def _taken(file: Any) -> Any:  # noqa: ANN401 - sshfs has no types
    """The file of asyncssh, which the one of sshfs no longer closes when it is collected."""
    file._closed = True  # noqa: SLF001 - it would wait for the loop, maybe from within it
    return file._file  # noqa: SLF001 - what its own methods call


async def _close_quietly(fs: Any, inner: Any, *reading: Awaitable[bytes]) -> None:  # noqa: ANN401
    """Close a file that is no longer read, after what it was asked for last."""
    with suppress(Exception):  # with the connection it has gone
        await _bounded(fs, asyncio.gather(*reading, return_exceptions=True))
        await inner.close()


class SftpSink:
    """A file open for writing, brought to the server's disk where it can be.

    Args:
        fs: The file system.
        file: The open file.
    """

    def __init__(self, fs: Any, file: Any) -> None:  # noqa: ANN401 - sshfs has no types
        self._fs = fs
        self._inner = _taken(file)

    def write(self, data: Any, /) -> None:  # noqa: ANN401 - any buffer
        """Write all of it."""
        in_loop(self._fs, self._inner.write(bytes(data)))

    def fsync(self) -> None:
        """Ask the server to bring it to its disk, an extension that most have."""
        in_loop(self._fs, self._inner.fsync())

    def close(self) -> None:
        """Close the file."""
        in_loop(self._fs, self._inner.close())


def rename(fs: Any, partial: str, path: str) -> None:  # noqa: ANN401 - sshfs has no types
    """SFTP's own rename, which refuses a name that is taken; the one of sshfs does not."""

    async def renaming() -> None:
        async with fs._pool.get() as channel:  # noqa: SLF001 - sshfs has no other way to it
            await channel.rename(partial, path)

    in_loop(fs, renaming())


def has_ended(fs: Any) -> bool:  # noqa: ANN401 - fsspec has no types
    """Whether a file system lives on one connection, and that is closed."""
    client = getattr(fs, "_client", None)
    return client is not None and hasattr(client, "is_closed") and bool(client.is_closed())
