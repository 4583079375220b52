"""What belongs to a request: the service, its language, its id, its path in this application."""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, Literal, cast

from starlette.requests import HTTPConnection

if TYPE_CHECKING:
    from pgvector_restore.http.service import Service

__all__ = [
    "LEGACY_PREFIX",
    "Language",
    "language_of",
    "request_id_of",
    "route_path",
    "service_of",
]

Language = Literal["zh", "en"]

#: Paths of the interface that existing callers speak.
LEGACY_PREFIX = "/api/v0/"

_RANGE = re.compile(r"\s*([A-Za-z]{1,8})(?:-[A-Za-z0-9-]+)?\s*(?:;\s*q=([01](?:\.\d{0,3})?))?\s*")


def service_of(request: HTTPConnection) -> Service:
    """The application's service, started: an application that is mounted has no start of its own.

    Call it in a handler that runs in a thread: the first call may read the records of old jobs.
    """
    service = cast("Service", request.app.state.service)
    service.start()
    return service


def language_of(request: HTTPConnection) -> Language:
    """The language of texts: of ``Accept-Language``, else of the settings."""
    wanted = _preferred(request.headers.get("accept-language", ""))
    return wanted or cast("Language", request.app.state.settings.language)


def _preferred(header: str) -> Language | None:
    """The known language a caller likes best; the first one of those that it likes the same."""
    best: tuple[float, Language | None] = (0.0, None)
    for part in header[:200].split(","):
        found = _RANGE.fullmatch(part)
        name = found[1].lower() if found else ""
        liked = float(found[2] or 1) if found else 0.0
        if name in ("zh", "en") and liked > best[0]:
            best = (liked, cast("Language", name))
    return best[1]


def request_id_of(request: HTTPConnection) -> str:
    """The request's id, which the answer has in ``X-Request-ID`` and every log line names."""
    return cast("str", request.scope.get("state", {}).get("request_id", ""))


def route_path(scope: Mapping[str, Any] | MutableMapping[str, Any]) -> str:
    """The path that routes are looked up by: without what this application is mounted under."""
    path, prefix = cast("str", scope["path"]), cast("str", scope.get("root_path", ""))
    if prefix and path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in ("", "/"):
        return path[len(prefix) :]
    return path
