"""Requests that are not what the interface describes: which field, and what is wrong with it.

Values are not repeated, and names only where they can be no more than names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from pgvector_restore.http.answers import ANSWERS, error_response

__all__ = ["ProjectRoute", "invalid_fields"]

#: A request with more wrong fields is wrong enough.
_MAX_FIELDS = 20
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")

_Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class ProjectRoute(APIRoute):
    """A route that answers a bad request as the project does, wherever it is mounted."""

    def get_route_handler(self) -> _Handler:
        """The handler, with bad requests answered."""
        handle = super().get_route_handler()

        async def answered(request: Request) -> Response:
            try:
                return await handle(request)
            except RequestValidationError as exc:
                errors = exc.errors()
                if any(one.get("type") == "json_invalid" for one in errors):
                    return error_response(request, ANSWERS["BAD_JSON"])
                fields = {"fields": invalid_fields(errors)}
                return error_response(request, ANSWERS["INVALID_REQUEST"], fields)
            except HTTPException as exc:
                # What a parser of JSON does not take: bytes of no encoding, brackets without end.
                if exc.status_code != ANSWERS["BAD_JSON"].status:
                    raise
                return error_response(request, ANSWERS["BAD_JSON"])

        return answered


def invalid_fields(errors: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Where something is wrong and what, without any value.

    >>> invalid_fields([{"loc": ("body", "mode"), "type": "literal_error", "input": "secret"}])
    [{'field': 'body.mode', 'problem': 'literal_error'}]
    """
    found = {(_place(one["loc"]), str(one["type"])): None for one in errors}
    return [{"field": field, "problem": kind} for field, kind in list(found)[:_MAX_FIELDS]]


def _place(loc: Sequence[object]) -> str:
    parts = [str(part) for part in loc]
    return ".".join(part if _NAME.fullmatch(part) else "?" for part in parts)
