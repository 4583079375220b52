"""A job's progress as server-sent events."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import orjson
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from pgvector_restore.http.job_values import Job, JobNotFoundError
from pgvector_restore.http.jobs import JobManager
from pgvector_restore.http.places import Places

__all__ = ["stream"]

#: Seconds between two looks at a job. Streams share one thread, the event loop's, and hold no other
#: while they wait, so that clients cannot use up the threads that answer requests.
_LOOK_S = 0.2
#: Seconds after which a line is sent to a client that has heard nothing. Proxies commonly close
#: what is silent for 60 seconds.
_KEEP_ALIVE_S = 15.0
#: Milliseconds after which a client comes back that has lost its stream.
_RETRY = b"retry: 2000\n\n"


class _EventResponse(StreamingResponse):
    """Leaves the count however it ends: by the job, by the client, or before it has begun."""

    def __init__(self, events: AsyncIterator[bytes], left: Callable[[], None]) -> None:
        # The last header keeps nginx from collecting events until it has a buffer full of them.
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(events, media_type="text/event-stream", headers=headers)
        self._left = left

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._left()


def stream(jobs: JobManager, job_id: str, after: int, streams: Places) -> Response:
    """The events of a job that are newer than a version; the caller has a place in ``streams``.

    A client that goes away ends it: the server cancels what it would have sent.
    """
    return _EventResponse(_events(jobs, job_id, after), streams.leave)


async def _events(jobs: JobManager, job_id: str, after: int) -> AsyncIterator[bytes]:
    """Each newer version of the job as it is seen, until it has ended."""
    yield _RETRY
    heard = time.monotonic()
    while True:
        try:
            job = jobs.get(job_id)
        except JobNotFoundError:  # it has left the history
            return
        if job.version > after:
            yield event_of(job)
            after, heard = job.version, time.monotonic()
        elif time.monotonic() - heard >= _KEEP_ALIVE_S:
            yield KEEPALIVE_COMMENT
            heard = time.monotonic()
        if job.finished:
            return
        await asyncio.sleep(_LOOK_S)


def event_of(job: Job) -> bytes:
    """A version of a job as one event."""
    return format_sse_event(
        event="end" if job.finished else "progress",
        data_str=orjson.dumps(job.to_dict()).decode(),
        id=str(job.version),
    )
