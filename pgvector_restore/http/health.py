"""Whether the service is there, and whether it can work. Anybody may ask; a status is all."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse

from pgvector_restore.http.context import service_of

__all__ = ["router"]

router = APIRouter()


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
    """The store can be listed, there is a database, and every one answers."""
    found = service_of(request).ready()
    if found["store"] and found["targets"] and all(found["targets"].values()):
        return JSONResponse({"status": "ok"})
    return JSONResponse({"status": "unavailable"}, 503)
