"""Whether the service is there, and whether it can work. Anybody may ask; a status is all."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse

from pgvector_restore.http.context import service_of

__all__ = ["Readiness", "router"]

#: Seconds an answer is used: anybody may ask, and each look asks storage and databases.
_AGE_S = 2.0

router = APIRouter()


class Readiness:
    """The last look; while one is taken, others who ask wait for it.

    Args:
        look: Takes a look: ``{"store": …, "targets": {…}}``.
    """

    def __init__(self, look: Callable[[], Mapping[str, Any]]) -> None:
        self._look = look
        self._lock = threading.Lock()
        self._last: tuple[float, bool] | None = None

    def check(self) -> bool:
        """Whether the store can be listed and every target answers."""
        with self._lock:
            if self._last is None or time.monotonic() - self._last[0] > _AGE_S:
                found = self._look()
                ready = bool(found["store"]) and all(found["targets"].values())
                self._last = (time.monotonic(), ready)
            return self._last[1]


@router.get("/healthz", tags=["operation"], summary="Whether the service is there")
async def healthz() -> dict[str, str]:
    """Answers as long as the process does."""
    return {"status": "ok"}


@router.get(
    "/readyz",
    tags=["operation"],
    summary="Whether the service can work",
    responses={503: {"description": "Storage or a database cannot be reached."}},
)
def readyz(request: Request) -> JSONResponse:
    """The store can be listed, and every database answers."""
    service_of(request)
    if request.app.state.readiness.check():
        return JSONResponse({"status": "ok"})
    return JSONResponse({"status": "unavailable"}, 503)
