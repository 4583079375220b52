"""What backups there are."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic.json_schema import SkipJsonSchema
from starlette.requests import Request
from starlette.responses import Response

from pgvector_restore.http.bodies import CatalogPage, IncompletePage, OneSetBody
from pgvector_restore.http.context import service_of
from pgvector_restore.http.documented import error_answers, good_answer
from pgvector_restore.http.pages import (
    MAX_CURSOR_CHARS,
    Filter,
    incomplete_document,
    page_of,
    read_cursor,
    set_document,
)
from pgvector_restore.http.routing import Flag, Whole, as_json, json_response, shared_of

__all__ = ["router"]

router = APIRouter(tags=["catalog"])


_Cursor = Annotated[
    str, Field(min_length=1, max_length=MAX_CURSOR_CHARS, pattern="^[A-Za-z0-9_-]+$")
]


class CatalogQuery(BaseModel):
    """Which entries, and which page of them."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    task_id: Annotated[str, Field(pattern="^[A-Za-z0-9_]{1,200}$")] | SkipJsonSchema[None] = Field(
        default=None, description="Only those of this task."
    )
    global_only: Flag = Field(default=False, description="Only those of no task.")
    location: Annotated[str, Field(min_length=1, max_length=300)] | SkipJsonSchema[None] = Field(
        default=None,
        description="Only those of this location: `vector_bak`, or its folder `./vector_bak`.",
    )
    limit: Whole = Field(default=100, ge=1, le=1000, description="Entries of a page at the most.")
    cursor: _Cursor | SkipJsonSchema[None] = Field(
        default=None,
        description="`next_cursor` of the page before; without it: the first page.",
    )

    @field_validator("cursor")
    @classmethod
    def _check_cursor(cls, text: str | None) -> str | None:
        if text is not None:
            read_cursor(text)
        return text


_Query = Annotated[CatalogQuery, Query()]


def _page(request: Request, query: CatalogQuery, what: str, document: Any) -> Response:  # noqa: ANN401 - by kind
    catalog = service_of(request).catalog()

    def made() -> bytes:
        wanted = Filter(query.task_id, query.global_only, query.location)
        cursor = None if query.cursor is None else read_cursor(query.cursor)
        page = page_of(wanted.of(getattr(catalog, what)), query.limit, cursor)
        return as_json(
            {
                what: [document(one) for one in page.entries],
                "total": page.total,
                "next_cursor": None if page.cursor is None else str(page.cursor),
            }
        )

    body = shared_of(request).pages.get(catalog, (what, query), made)
    return Response(body, media_type="application/json")


@router.get(
    "/catalog",
    summary="Complete sets, newest first",
    response_model=CatalogPage,
    responses={
        **error_answers("STORE_ERROR"),
        200: good_answer("A page of sets.", "catalog"),
    },
)
def catalog(request: Request, query: _Query) -> Response:
    """A page of the sets that the filters let through."""
    return _page(request, query, "sets", set_document)


@router.get(
    "/catalog/incomplete",
    summary="What looks like a backup and is none, with the reason",
    response_model=IncompletePage,
    responses={
        **error_answers("STORE_ERROR"),
        200: good_answer("A page of it.", "incomplete"),
    },
)
def incomplete(request: Request, query: _Query) -> Response:
    """A page of what cannot be restored, and why."""
    return _page(request, query, "incomplete", incomplete_document)


@router.get(
    "/sets/{label:path}",
    summary="One set",
    response_model=OneSetBody,
    responses={
        **error_answers("INVALID_OPTION", "BACKUP_NOT_FOUND", "BACKUP_INCOMPLETE", "STORE_ERROR"),
        200: good_answer("The set.", "set"),
    },
)
def one_set(
    request: Request,
    label: Annotated[
        str,
        Path(
            min_length=1,
            max_length=300,
            description="`<location>/<timestamp>`, `latest` or `<location>/latest`.",
            examples=["vector_bak/20260102_030405"],
        ),
    ],
) -> Response:
    """The set that a label names."""
    service = service_of(request)
    found = service.catalog().get(label)
    return json_response(set_document(found, service.store.emptied(found)))
