"""What the routes of this interface have in common."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from typing import Annotated, Any

import orjson
from attrs import field, frozen
from pydantic import BeforeValidator
from starlette.requests import Request
from starlette.responses import Response

from pgvector_restore.http.pages import Rendered
from pgvector_restore.http.places import Places

__all__ = ["PREFIX", "Flag", "Shared", "Whole", "as_json", "json_response", "shared_of"]

PREFIX = "/api/v1"

#: More than any number in a query has.
_MAX_DIGITS = 9


def _flag(value: object) -> object:
    if isinstance(value, str):
        if value not in ("true", "false"):
            raise ValueError("true or false")
        return value == "true"
    return value


def _whole(value: object) -> object:
    # Not "1_000", " 1" or "1.0", which Python would take.
    if isinstance(value, str):
        if not (value.isascii() and value.isdecimal() and len(value) <= _MAX_DIGITS):
            raise ValueError("digits")
        return int(value)
    return value


#: ``true`` or ``false`` in a query; not ``yes`` or ``1``.
Flag = Annotated[bool, BeforeValidator(_flag)]
#: Digits in a query.
Whole = Annotated[int, BeforeValidator(_whole)]


@frozen
class Shared:
    """What requests of an application share."""

    #: Streams of events: each is a socket and about 20 kB.
    streams: Places = field(factory=lambda: Places(256))
    #: Plans: each is a thread of the 40 that answer requests, and waits for locks on its tables.
    plans: Places = field(factory=lambda: Places(8))
    #: Pages of the catalog.
    pages: Rendered = field(factory=Rendered)


_MAKING = threading.Lock()


def shared_of(request: Request) -> Shared:
    """What requests of the application share."""
    state = request.app.state
    with _MAKING:
        if not hasattr(state, "v1"):
            state.v1 = Shared()
    found: Shared = state.v1
    return found


def as_json(document: Mapping[str, Any]) -> bytes:
    """A document's bytes."""
    try:
        return orjson.dumps(document)
    except TypeError:  # numbers beyond 64 bits, text that is no Unicode: rare, and slower this way
        return json.dumps(document, default=str).encode("ascii")


def json_response(
    document: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """A document as it is; none that was validated a second time, which costs more than it."""
    return Response(as_json(document), status, dict(headers or {}), "application/json")
