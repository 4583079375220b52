"""Plans, and the jobs that restore, back up, compare and prune."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Body, Header
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema
from starlette.requests import Request
from starlette.responses import Response

from pgvector_restore.http import examples
from pgvector_restore.http.answers import error_response
from pgvector_restore.http.bodies import JobBody, PlanBody
from pgvector_restore.http.context import request_id_of, service_of
from pgvector_restore.http.documented import (
    BODY,
    JOB_BEGINS,
    Responses,
    error_answers,
    good_answer,
)
from pgvector_restore.http.job_values import Job
from pgvector_restore.http.models import (
    BackupRequest,
    PlanRequest,
    PruneRequest,
    RestoreRequest,
    VerifyRequest,
)
from pgvector_restore.http.places import TOO_MANY_PLANS
from pgvector_restore.http.routing import PREFIX, json_response, shared_of

__all__ = ["router"]

router = APIRouter(tags=["jobs"])

_Key = Annotated[
    Annotated[str, Field(pattern="^[!-~]{1,200}$")] | SkipJsonSchema[None],
    Header(
        alias="Idempotency-Key",
        description="The same key with the same request names the same job, however often it is"
        " sent; with another request it is refused.",
        examples=["nightly-2026-01-02"],
    ),
]
_LABEL = ("BACKUP_NOT_FOUND", "BACKUP_INCOMPLETE", "STORE_ERROR")


def _begins(example: str, *codes: str) -> Responses:
    accepted = good_answer("The job has begun, or had begun with the same key.", example)
    accepted["headers"] = {
        "Location": {
            "description": "Where the job is found.",
            "schema": {"type": "string"},
            "example": f"{PREFIX}/jobs/{examples.RESTORE_JOB['id']}",
        }
    }
    return {**error_answers(*BODY, *JOB_BEGINS, *codes), 202: accepted}


def _accepted(request: Request, job: Job) -> Response:
    location = f"{request.scope.get('root_path', '')}{PREFIX}/jobs/{job.id}"
    return json_response(job.to_dict(), 202, {"Location": location})


def _begun(
    request: Request,
    begin: Callable[..., Job],
    body: RestoreRequest | BackupRequest | VerifyRequest,
    key: str | None,
) -> Response:
    job = begin(
        target=body.target,
        options=body.options,
        idempotency_key=key,
        request_id=request_id_of(request),
    )
    return _accepted(request, job)


def _sample(**fields: Any) -> Any:  # noqa: ANN401 - what FastAPI takes
    return Body(openapi_examples={"request": {"value": fields}})


@router.post(
    "/plan",
    summary="What a restore would do",
    response_model=PlanBody,
    responses={
        **error_answers(
            *BODY, *_LABEL, "INVALID_OPTION", "TARGET_UNREACHABLE", "TARGET_MISMATCH",
            "TARGET_BUSY", "TARGET_ERROR", "BACKUP_CHANGED", "BAD_HEADER", "BAD_MANIFEST",
            "BAD_COMPRESSION", "BAD_CELL", "NOT_INSTALLED", TOO_MANY_PLANS.code, "SHUTTING_DOWN",
        ),
        200: good_answer("The plan; nothing has been touched.", "plan"),
    },
)  # fmt: skip
def plan(
    request: Request,
    body: Annotated[PlanRequest, _sample(label=examples.SET["label"], mode="replace")],
) -> Response:
    """Look at set and database, and tell what a restore with this body would do."""
    service, places = service_of(request), shared_of(request).plans
    if not places.enter():
        return error_response(request, TOO_MANY_PLANS, headers={"Retry-After": "5"})
    try:
        return json_response(service.plan(body.label, body.options, body.target))
    finally:
        places.leave()


@router.post(
    "/restores",
    status_code=202,
    summary="Restore a set",
    response_model=JobBody,
    responses=_begins("restore_begun", *_LABEL),
)
def restores(
    request: Request,
    body: Annotated[RestoreRequest, _sample(label=examples.SET["label"], mode="replace")],
    idempotency_key: _Key = None,
) -> Response:
    """Begin a restore: all tables or none. One job at a time works on a target."""
    begin = partial(service_of(request).restore, body.label)
    return _begun(request, begin, body, idempotency_key)


@router.post(
    "/backups",
    status_code=202,
    summary="Make a backup",
    response_model=JobBody,
    responses=_begins("backup_begun"),
)
def backups(
    request: Request,
    body: Annotated[BackupRequest, _sample(task_id="task_20260105_091500", compress="gzip")],
    idempotency_key: _Key = None,
) -> Response:
    """Begin a backup; the job's label is the new set's once it is there."""
    return _begun(request, service_of(request).backup, body, idempotency_key)


@router.post(
    "/verifications",
    status_code=202,
    summary="Compare a set with a database",
    response_model=JobBody,
    responses=_begins("verification_begun", *_LABEL),
)
def verifications(
    request: Request,
    body: Annotated[VerifyRequest, _sample(label=examples.SET["label"], limit=10)],
    idempotency_key: _Key = None,
) -> Response:
    """Begin a comparison, row by row; the result names rows that differ. Nothing is changed."""
    begin = partial(service_of(request).verify, body.label)
    return _begun(request, begin, body, idempotency_key)


@router.post(
    "/prunes",
    status_code=202,
    summary="Remove sets that no rule keeps",
    response_model=JobBody,
    responses=_begins("prune_begun", "BACKUP_NOT_FOUND", "STORE_ERROR"),
)
def prunes(
    request: Request,
    body: Annotated[PruneRequest, _sample(rules={"daily": 7, "monthly": 12}, dry_run=True)],
    idempotency_key: _Key = None,
) -> Response:
    """Begin a removal; unless `dry_run` is false, it only says what would be removed.

    A set that stays and is not valid is named under `invalid` of the result, whose `ok` is false.
    """
    job = service_of(request).prune(
        rules=body.rules.model_dump(exclude_unset=True),
        dry_run=body.dry_run,
        check=body.check,
        remove_emptied=body.remove_emptied,
        idempotency_key=idempotency_key,
        request_id=request_id_of(request),
    )
    return _accepted(request, job)
