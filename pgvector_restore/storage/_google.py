"""Google Cloud Storage over gcsfs: requests of one kind, and objects read as one stream each."""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import Callable, Mapping
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import Any

import aiohttp
from gcsfs.core import GCSFileSystem
from gcsfs.retry import HttpError, is_retriable, validate_response

from pgvector_restore.backoff import pauses
from pgvector_restore.storage._protocols import CONNECT_S, READ_S
from pgvector_restore.storage._reading import AheadSource

__all__ = ["GoogleFiles", "google_file_system", "google_source"]

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
            body = io.BytesIO(data) if isinstance(data, (bytes, memoryview)) else data
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
    """One request for a range of an object: its body, and its generation."""
    answer = None
    if end is None or start < end:
        asking = _body(fs, path, start, end)
        answer = asyncio.run_coroutine_threadsafe(asking, fs.loop).result()
    if answer is None:
        found = fs.info(path)
        if found["type"] != "file":
            raise IsADirectoryError(path)
        return io.BytesIO(), found.get("generation")
    source = AheadSource(fs.loop, answer.content.read, answer.close)
    return source, answer.headers.get("x-goog-generation")


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
