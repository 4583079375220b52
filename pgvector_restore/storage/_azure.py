"""Azure Blob Storage over adlfs: blobs read and written piece by piece, each as one blob."""

from __future__ import annotations

import asyncio
import io
import os
import weakref
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar
from uuid import uuid4

from adlfs import AzureBlobFileSystem
from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.storage.blob import BlobBlock

from pgvector_restore.storage._blocks import BlockSink, Uploads
from pgvector_restore.storage._reading import AheadSource
from pgvector_restore.storage._wide import WideBody

__all__ = ["AzureFiles", "AzureSink", "azure_file_system", "azure_source"]

T = TypeVar("T")

#: Bytes of the first request for a blob, on which the caller waits, and of each after it: up to
#: four of those are in memory. Azure's client has no stream that it does not put together itself.
#: Fewer bytes would wait more often; Azurite is three times slower with 4 MiB, which it sums up.
_FIRST_BYTES, _PIECE_BYTES = 1 << 20, 8 << 20

#: Seconds before the second attempt of a request; the third waits for their square … and how much
#: of it is left to chance. The client's own pauses are 15, 18 and 24 s.
_PAUSE_S, _JITTER_S = 2.0, 1.0

#: Blocks of one blob.
_MOST_BLOCKS = 50_000

_PAST_THE_END = 416


class AzureFiles(AzureBlobFileSystem):  # type: ignore[misc]  # adlfs has no types
    """The file system of adlfs, which takes any name for what it is.

    It would look for versions and queries in names: ``x?versionid=1`` be written as ``x``.
    """

    def do_connect(self) -> None:
        """Connect; requests are tried again after seconds, for which adlfs has no option."""
        super().do_connect()
        policy = self.service_client._config.retry_policy  # noqa: SLF001 - the client has none
        policy.initial_backoff = 0
        policy.increment_base = _PAUSE_S
        policy.random_jitter_range = _JITTER_S

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        is_url = path.startswith(tuple(f"{protocol}://" for protocol in cls.protocol))
        return str(super()._strip_protocol(path)) if is_url else path.lstrip("/")

    def split_path(self, path: str, **_options: object) -> tuple[str, str, None]:
        """Container, name, and no version."""
        container, _, name = self._strip_protocol(path).partition("/")
        return container, name, None

    def disconnect(self) -> None:
        """Close what is connected: adlfs itself keeps it until the process ends."""
        if self._pid == os.getpid() and self.loop.is_running():
            asyncio.run_coroutine_threadsafe(self.service_client.close(), self.loop)


def _forget_inherited() -> None:
    """Leave out, in a forked process, what adlfs does at its end: wait for a loop of the parent.

    Python tells of no other way to the callbacks that were registered by others.
    """
    for callback in tuple(weakref.finalize._registry):  # type: ignore[attr-defined]  # noqa: SLF001
        found = callback.peek()
        if found is not None and isinstance(found[0], AzureFiles):
            callback.atexit = False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_inherited)


def azure_file_system(url: str, options: Mapping[str, object]) -> tuple[AzureFiles, str]:
    """The file system of a URL and the path in it.

    Args:
        url: ``az://container/folder``, ``abfss://container@account.dfs.core.windows.net/folder``.
        options: Keywords of adlfs.
    """
    of_url = AzureFiles._get_kwargs_from_urls(url)  # noqa: SLF001 - as fsspec's url_to_fs
    fs = AzureFiles(**{**of_url, **options})
    return fs, AzureFiles._strip_protocol(url)  # noqa: SLF001 - the same


def azure_source(
    fs: AzureFiles, path: str, start: int, end: int | None
) -> tuple[AheadSource | io.BytesIO, str | None]:
    """A range of a blob and the ETag of the blob all of it comes from."""
    reading = _Reading(fs, path, start, end)
    first = _in_loop(fs, reading.first())
    if reading.is_read:
        return io.BytesIO(first), reading.etag
    wide = WideBody(reading.next, lambda: None, reading.fetch, start + len(first), reading.end)
    ahead = AheadSource(
        fs.loop,
        wide.read,
        wide.close,
        piece_bytes=_PIECE_BYTES,
        first=first,
        stall_s=None,  # a piece takes as long as it takes, if only something comes
    )
    return ahead, reading.etag


class _Reading:
    """Requests for one range of a blob.

    Args:
        fs: The file system.
        path: The blob, as the file system names it.
        start: First byte.
        end: Byte after the last; ``None``: where the blob ends.
    """

    def __init__(self, fs: AzureFiles, path: str, start: int, end: int | None) -> None:
        self._blob = _blob(fs, path)
        self._path = path
        self._at = start
        self._end = end
        # The reader tries again, at the byte it has got to.
        self._options = {**fs._timeout_kwargs, "retry_total": 0}  # noqa: SLF001 - given options
        #: Of the first answer: the later ones must be of the same blob.
        self.etag: str | None = None

    @property
    def is_read(self) -> bool:
        """Whether there is nothing more to ask for."""
        return self._end is not None and self._at >= self._end

    async def first(self) -> bytes:
        """The first bytes; from now on it is known which blob it is and where it ends."""
        if not self.is_read:
            try:
                return await self.next(_FIRST_BYTES)
            except HttpResponseError as exc:
                if exc.status_code != _PAST_THE_END:
                    raise
                self._end = self._at
        with _plain_errors(self._path):
            found = await self._blob.get_blob_properties()
        self._known(found)
        return b""

    @property
    def end(self) -> int:
        """Byte after the last; known when the first ones have come."""
        return self._at if self._end is None else self._end

    async def next(self, size: int) -> bytes:
        """At most so many bytes; none at the end."""
        if self.is_read:
            return b""
        until = self._at + size
        data = await self.fetch(self._at, until if self._end is None else min(until, self._end))
        self._at += len(data)
        return data

    async def fetch(self, start: int, end: int) -> bytes:
        """A range of the blob in one request."""
        same = {"etag": self.etag, "match_condition": MatchConditions.IfNotModified}
        with _plain_errors(self._path):
            answer = await self._blob.download_blob(
                offset=start,
                length=end - start,
                decompress=False,
                **(same if self.etag else {}),
                **self._options,
            )
            data = bytes(await answer.readall())
        if self.etag is None:
            self._known(answer.properties)
            whole = int(answer.properties.content_range.rpartition("/")[2])
            self._end = whole if self._end is None else min(self._end, whole)
        return data

    def _known(self, found: Any) -> None:  # noqa: ANN401 - BlobProperties
        marks = {name.lower(): value for name, value in (found.metadata or {}).items()}
        if "true" in (marks.get("hdi_isfolder"), marks.get("is_directory")):
            raise IsADirectoryError(self._path)
        self.etag = found.etag


class AzureSink(BlockSink):
    """A blob being uploaded in blocks, which are nothing until they are put together.

    Blocks that are given up stay invisible; Azure drops them after a week.

    Args:
        fs: The file system.
        uploads: Shared by all that is uploaded over it.
        path: The blob.
        replace: Take the place of a blob that is there.
    """

    def __init__(self, fs: AzureFiles, uploads: Uploads, path: str, *, replace: bool) -> None:
        self._blob = _blob(fs, path)
        super().__init__(fs, uploads, path, _MOST_BLOCKS)
        self._condition = {} if replace else {"match_condition": MatchConditions.IfMissing}
        self._names: dict[int, str] = {}

    async def _begin(self) -> None:
        """Nothing: a block needs no upload that it belongs to."""

    async def _send(self, number: int, block: bytes, *, is_last: bool) -> None:  # noqa: ARG002
        name = uuid4().hex
        with _plain_errors(self._path):
            await self._blob.stage_block(name, _Block(block), length=len(block))
        self._names[number] = name

    async def _publish(self) -> None:
        blocks = [BlobBlock(self._names[number]) for number in sorted(self._names)]
        with _plain_errors(self._path):
            await self._blob.commit_block_list(blocks, metadata=self._mark, **self._condition)

    async def _send_whole(self, data: bytes) -> None:
        if data:
            await self._send(0, data, is_last=True)
        await self._publish()

    async def _abandon(self) -> None:
        """Nothing: blocks cannot be removed."""

    async def _metadata(self) -> Mapping[str, str]:
        with _plain_errors(self._path):
            found: Mapping[str, str] = (await self._blob.get_blob_properties()).metadata
        return found


class _Block(io.BytesIO):
    """What is uploaded, as a file: aiohttp warns of large bodies that are none.

    It stays open for another attempt, which goes back to its beginning.
    """

    def close(self) -> None:
        """Nothing: aiohttp closes what it has sent."""


def _blob(fs: AzureFiles, path: str) -> Any:  # noqa: ANN401 - as the file system keeps it
    container, name, _ = fs.split_path(path)
    if not name:
        raise IsADirectoryError(path)
    return fs.service_client.get_blob_client(container, name)


def _in_loop(fs: AzureFiles, work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run_coroutine_threadsafe(work, fs.loop).result()


@contextmanager
def _plain_errors(path: str) -> Iterator[None]:
    """Turn errors of Azure into those of Python, where there is one."""
    try:
        yield
    except ResourceNotFoundError as exc:
        raise FileNotFoundError(path) from exc
    except ResourceExistsError as exc:
        raise FileExistsError(path) from exc
