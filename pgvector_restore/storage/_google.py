"""Google Cloud Storage over gcsfs: requests of one kind, and objects read as one stream each."""

from __future__ import annotations

import asyncio
import io
import json
import os
from collections.abc import Callable, Mapping
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import aiohttp
from gcsfs.core import GCSFileSystem, initiate_upload
from gcsfs.retry import HttpError, is_retriable, validate_response

from pgvector_restore.backoff import pauses
from pgvector_restore.storage._blocks import BlockSink, Uploads
from pgvector_restore.storage._protocols import CONNECT_S, READ_S
from pgvector_restore.storage._reading import AheadSource
from pgvector_restore.storage._wide import WideBody

__all__ = ["GoogleFiles", "GoogleSink", "google_file_system", "google_source"]

#: Attempts of one request, and seconds between them: about 4 s together. What only reads is tried
#: again as a whole besides, a part of an upload is not. gcsfs waits for half a minute.
_ATTEMPTS, _FIRST_PAUSE_S, _LONGEST_PAUSE_S = 4, 0.5, 4.0

#: Seconds that are waited for connections to be closed.
_CLOSE_S = 0.1

_WHOLE, _PARTIAL = 200, 206
_NOT_LOGGED_IN, _FORBIDDEN, _PAST_THE_END = 401, 403, 416


class GoogleFiles(GCSFileSystem):  # type: ignore[misc]  # gcsfs has no types
    """The file system of gcsfs that asks for nothing but what it is asked for.

    The one that gcsfs itself hands out asks first, by gRPC, for the kind of each bucket, and again
    where that is not told: at an endpoint of another server, or without the right to know, each
    call takes a minute. Its buckets of a zone show an object while it is written.
    """

    async def _request(self, *args: Any, data: Any = None, **kwargs: Any) -> Any:  # noqa: ANN401
        """One request; gcsfs would log what fails, with its traceback, as an error."""
        waits = islice(pauses(_FIRST_PAUSE_S, _LONGEST_PAUSE_S), _ATTEMPTS - 1)
        while True:
            # A part of an upload as a file: aiohttp warns of large bodies that are none.
            body = io.BytesIO(data) if isinstance(data, bytes) else data
            try:
                return await _asked(self, *args, data=body, **kwargs)
            except Exception as exc:
                _refuse(exc)
                pause = next(waits, None) if is_retriable(exc) else None
                if pause is None:
                    raise
                await asyncio.sleep(pause)

    @property
    def close_session(self) -> Callable[..., None]:
        """What gcsfs calls in the end: it would touch the loop from another thread."""
        return partial(_closed, os.getpid())


class GoogleSink(BlockSink):
    """An object being uploaded: in one request, or in a session of several.

    A session takes its blocks one after the other, of any number, each a multiple of 256 KiB.

    Args:
        fs: The file system.
        uploads: Shared by all that is uploaded over it.
        path: The object.
        replace: Take the place of one that is there.
    """

    def __init__(self, fs: GoogleFiles, uploads: Uploads, path: str, *, replace: bool) -> None:
        super().__init__(fs, uploads, path, None, in_order=True)
        self._bucket, self._key, _ = fs.split_path(path)
        self._mode = "overwrite" if replace else "create"
        self._session: str | None = None
        self._taken = 0

    async def _begin(self) -> None:
        self._session = await initiate_upload(
            self._fs, self._bucket, self._key, metadata=self._mark, mode=self._mode
        )

    async def _send(self, number: int, block: bytes, *, is_last: bool) -> None:  # noqa: ARG002
        total = str(self._taken + len(block)) if is_last else "*"
        while block:
            block = block[await self._upload(block, total) :]

    async def _publish(self) -> None:
        """Nothing: the last block has shown it."""

    async def _send_whole(self, data: bytes) -> None:
        # gcsfs would end the lines of the form with LF alone, where a CR at the end of the data can
        # be taken for theirs.
        edge = uuid4().hex
        form = (
            f"--{edge}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n"
            f"{json.dumps({'name': self._key, 'metadata': self._mark})}\r\n"
            f"--{edge}\r\nContent-Type: application/octet-stream\r\n\r\n"
        )
        bucket, key = quote(self._bucket, safe=""), quote(self._key, safe="")
        await self._fs._call(  # noqa: SLF001 - its requests, in its loop
            "POST",
            f"{self._fs._location}/upload/storage/v1/b/{bucket}/o?name={key}",  # noqa: SLF001 - as it does
            uploadType="multipart",
            ifGenerationMatch="0" if self._mode == "create" else None,
            headers={"Content-Type": f'multipart/related; boundary="{edge}"'},
            data=b"".join((form.encode(), data, f"\r\n--{edge}--".encode())),
        )

    async def _abandon(self) -> None:
        if self._session is not None:
            # Without the condition, which is one of uploads.
            session = self._session.replace("&ifGenerationMatch=0", "")
            await self._fs._call("DELETE", session)  # noqa: SLF001 - its requests, in its loop

    async def _metadata(self) -> Mapping[str, str]:
        found = await self._fs._call(  # noqa: SLF001 - its requests, in its loop
            "GET", "b/{}/o/{}", self._bucket, self._key, json_out=True
        )
        return found.get("metadata") or {}

    async def _upload(self, block: bytes, total: str) -> int:
        """How many bytes of it were taken: it may be fewer."""
        end = self._taken + len(block)
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Range": f"bytes {self._taken}-{end - 1}/{total}",
        }
        answered, _ = await self._fs._call("POST", self._session, headers=headers, data=block)  # noqa: SLF001
        # What is there so far; nothing is said when all of it is.
        until = int(answered["Range"].rpartition("-")[2]) + 1 if "Range" in answered else end
        taken, self._taken = until - self._taken, until
        if taken <= 0:
            raise ConnectionError("nothing was taken")
        return taken


def _closed(
    pid: int, loop: asyncio.AbstractEventLoop, session: aiohttp.ClientSession, *_: object
) -> None:
    """Close a session, in its loop; leave one of a parent process to that."""
    if pid != os.getpid() and session.connector is not None:
        session.connector._closed = True  # noqa: SLF001 - or it would close what the parent uses
        session.detach()
    if session.closed or not loop.is_running():
        return
    closing = asyncio.run_coroutine_threadsafe(session.close(), loop)
    if asyncio._get_running_loop() is not loop:  # noqa: SLF001 - the plain call raises
        with suppress(TimeoutError, FutureTimeoutError):  # of a process that ends, soon
            closing.result(_CLOSE_S)


#: The request of gcsfs without its attempts.
_asked = GCSFileSystem._request.__wrapped__  # noqa: SLF001 - its only door


def google_file_system(url: str, options: Mapping[str, object]) -> tuple[GoogleFiles, str]:
    """The file system of a URL and the path in it.

    Args:
        url: ``gs://bucket/folder``.
        options: Keywords of gcsfs.
    """
    silence = options.get("requests_timeout", READ_S)
    if isinstance(silence, (int, float)):
        # gcsfs would take it for all of a request, however much that carries.
        silence = aiohttp.ClientTimeout(
            total=None, sock_connect=min(CONNECT_S, silence), sock_read=silence
        )
    fs = GoogleFiles(**{**options, "requests_timeout": silence})
    return fs, str(fs._strip_protocol(url))  # noqa: SLF001 - fsspec's url_to_fs does the same


def google_source(
    fs: GoogleFiles, path: str, start: int, end: int | None
) -> tuple[AheadSource | io.BytesIO, str | None]:
    """A range of an object, and its generation: one request, several where it is slow."""
    answer = None
    if end is None or start < end:
        asking = _body(fs, path, start, end)
        answer = asyncio.run_coroutine_threadsafe(asking, fs.loop).result()
    if answer is None:
        found = fs.info(path)
        if found["type"] != "file":
            raise IsADirectoryError(path)
        return io.BytesIO(), found.get("generation")
    generation = answer.headers.get("x-goog-generation")

    async def fetch(first: int, after: int) -> bytes:
        part = await _body(fs, path, first, after)
        if part is None or part.headers.get("x-goog-generation") != generation:
            raise ConnectionError("another object by now")
        async with part:
            return await part.read()

    length = answer.content_length
    source = WideBody(
        answer.content.read,
        answer.close,
        fetch if generation and length is not None else None,
        start,
        start + (length or 0),
    )
    return AheadSource(fs.loop, source.read, source.close), generation


async def _body(
    fs: GoogleFiles, path: str, start: int, end: int | None
) -> aiohttp.ClientResponse | None:
    """The answer, not yet read; ``None`` where the object has no byte of the range."""
    # What is stored packed is to come as it is stored: its size is the one that is listed.
    headers = {"Accept-Encoding": "gzip"}
    if start or end is not None:
        headers["Range"] = f"bytes={start}-{'' if end is None else end - 1}"
    try:
        session = await fs._set_session()  # noqa: SLF001 - gcsfs reads whole bodies into memory
        answer: aiohttp.ClientResponse = await session.get(
            fs.url(path),
            params=fs._get_params({}),  # noqa: SLF001 - who pays
            headers=fs._get_headers(headers),  # noqa: SLF001 - the login
            timeout=fs.requests_timeout,
            auto_decompress=False,
        )
        if answer.status == (_PARTIAL if "Range" in headers else _WHOLE):
            return answer
        async with answer:
            if answer.status == _PAST_THE_END:
                return None
            validate_response(answer.status, await answer.read(), path)
    except Exception as exc:
        _refuse(exc)
        raise
    raise ConnectionError(f"status {answer.status}")  # another range than was asked for


def _refuse(exc: Exception) -> None:
    """Raise what is a matter of rights as such; gcsfs tells it by a text or a number."""
    login = isinstance(exc, HttpError) and exc.code in {_NOT_LOGGED_IN, _FORBIDDEN}
    if login or (isinstance(exc, OSError) and str(exc).startswith("Forbidden")):
        raise PermissionError(str(exc)) from exc
