"""The application: routes, the gate around them, and answers to what goes wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import anyio.to_thread
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from pgvector_restore._version import __version__
from pgvector_restore.http import api, health, legacy, metrics
from pgvector_restore.http.answers import ANSWERS, INTERNAL, error_response
from pgvector_restore.http.documented import add_examples
from pgvector_restore.http.guard import PUBLIC, Guard
from pgvector_restore.http.service import Service
from pgvector_restore.http.settings import ServiceSettings
from pgvector_restore.http.tokens import Tokens
from pgvector_restore.http.validation import invalid_fields

__all__ = ["create_app"]

_BY_STATUS = {404: ANSWERS["NOT_FOUND"], 405: ANSWERS["METHOD_NOT_ALLOWED"]}


def create_app(settings: ServiceSettings) -> FastAPI:
    """The service as an application, to be run or to be mounted in another one.

    Jobs that run when the process ends are called off if its server tells the application so; one
    that is mounted is not told, and calls ``app.state.service.close()`` itself.

    Raises:
        OptionError: The settings cannot be used: no token, no such storage, a bad connection.
        MissingExtraError: The storage needs a package that is not installed.
    """
    tokens = Tokens(settings)
    service = Service(settings)
    app = FastAPI(
        title="pgvector_restore",
        version=__version__,
        summary="Backups of pgvector tables: list, plan, restore, back up, verify, prune.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_lifespan,
    )
    app.state.settings = settings
    app.state.service = service
    app.state.metrics = metrics.Metrics(service)
    service.watcher = app.state.metrics.changed
    for router in (health.router, metrics.router, legacy.router, api.router):
        app.include_router(router)
    app.add_exception_handler(HTTPException, _not_routed)
    app.add_exception_handler(RequestValidationError, _not_valid)
    app.add_middleware(Guard, settings=settings, tokens=tokens)
    app.openapi = _describe(app)  # type: ignore[method-assign] # FastAPI's own way
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    service = cast("Service", app.state.service)
    await anyio.to_thread.run_sync(service.start)
    try:
        yield
    finally:
        await anyio.to_thread.run_sync(service.close)


async def _not_routed(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, HTTPException)  # noqa: S101 - what it is registered for
    answer = _BY_STATUS.get(exc.status_code)
    if answer is None:
        answer = ANSWERS["BAD_JSON"] if exc.status_code == 400 else INTERNAL  # noqa: PLR2004
    return error_response(request, answer, headers=exc.headers)


async def _not_valid(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, RequestValidationError)  # noqa: S101 - what it is registered for
    fields = {"fields": invalid_fields(exc.errors())}
    return error_response(request, ANSWERS["INVALID_REQUEST"], fields)


def _describe(app: FastAPI) -> Callable[[], dict[str, Any]]:
    """The description of the interface, with what the gate asks for."""
    described = app.openapi

    def openapi() -> dict[str, Any]:
        document = described()
        schemes = document.setdefault("components", {}).setdefault("securitySchemes", {})
        if "bearer" not in schemes:
            schemes["bearer"] = {"type": "http", "scheme": "bearer"}
            document["security"] = [{"bearer": []}]
            add_examples(document)
            for path in PUBLIC:
                for operation in document["paths"][path].values():
                    operation["security"] = []
        return document

    return openapi
