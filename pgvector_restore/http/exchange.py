"""A request and its answer: what every answer has, and the line in the log."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import Message, Send

from pgvector_restore.http.context import route_path

__all__ = ["Exchange"]

_log = logging.getLogger(__name__)

#: Added to every answer: nothing here is a page, and nothing is for a cache.
_HEADERS = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
)


class Exchange:
    """A request and what was answered."""

    def __init__(
        self, request: HTTPConnection, request_id: str, origin: str | None, send: Send
    ) -> None:
        self.request = request
        #: Status of the answer, once it has begun.
        self.status: int | None = None
        #: Code of an error.
        self.code: str | None = None
        self._request_id = request_id
        self._send = send
        self._began = time.monotonic()
        self._headers = [*_HEADERS, (b"x-request-id", request_id.encode("ascii"))]
        if origin is not None:
            self._headers += [
                (b"access-control-allow-origin", origin.encode("latin-1")),
                (b"access-control-expose-headers", b"Location, X-Request-ID"),
                (b"vary", b"Origin"),
            ]

    async def send(self, message: Message) -> None:
        """Pass a part of the answer on, with what every answer has."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            own = {name for name, _ in self._headers}
            kept = [h for h in message.get("headers", ()) if h[0].lower() not in own]
            message = {**message, "headers": [*kept, *self._headers]}
        await self._send(message)

    async def answer(self, response: Response) -> None:
        """Answer without having asked for the body."""

        async def receive() -> Message:
            return {"type": "http.disconnect"}

        await response(self.request.scope, receive, self.send)

    def log(self) -> None:
        """One line for each request, and nothing of its query."""
        scope: Mapping[str, Any] = self.request.scope
        _log.info(
            "request",
            extra={
                "request_id": self._request_id,
                "method": scope["method"],
                "path": route_path(scope)[:200],
                "status": self.status,
                "code": self.code,
                "seconds": round(time.monotonic() - self._began, 4),
            },
        )
