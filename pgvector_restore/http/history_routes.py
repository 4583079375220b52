"""Jobs that run and that have run: their list, each of them, its events, and its cancellation."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Path, Query
from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema
from starlette.requests import Request
from starlette.responses import Response

from pgvector_restore.http import examples
from pgvector_restore.http.answers import error_response
from pgvector_restore.http.bodies import JobBody, JobPage
from pgvector_restore.http.context import service_of
from pgvector_restore.http.documented import error_answers, good_answer
from pgvector_restore.http.events import stream
from pgvector_restore.http.job_values import JobKind, JobState
from pgvector_restore.http.places import TOO_MANY_STREAMS
from pgvector_restore.http.routing import Whole, json_response, shared_of

__all__ = ["router"]

router = APIRouter(tags=["jobs"])

_ID_PATTERN = "^[0-9a-f]{32}$"
_JobId = Annotated[
    str, Path(pattern=_ID_PATTERN, examples=[examples.RESTORE_JOB["id"]], description="A job's id.")
]


class JobsQuery(BaseModel):
    """Which jobs, and which page of them."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    kind: JobKind | SkipJsonSchema[None] = Field(
        default=None, description="Only jobs of this kind."
    )
    state: JobState | SkipJsonSchema[None] = Field(
        default=None, description="Only jobs in this state."
    )
    limit: Whole = Field(default=50, ge=1, le=1000, description="Jobs of a page at the most.")
    before: Annotated[str, Field(pattern=_ID_PATTERN)] | SkipJsonSchema[None] = Field(
        default=None, description="Only jobs older than this one."
    )


@router.get(
    "/jobs",
    summary="Jobs, newest first",
    response_model=JobPage,
    responses={
        **error_answers("JOB_NOT_FOUND"),
        200: good_answer("A page of jobs.", "jobs"),
    },
)
def jobs(request: Request, query: Annotated[JobsQuery, Query()]) -> Response:
    """Jobs that run and those that the history still has."""
    # One more tells whether there is another page.
    found = service_of(request).jobs.list(
        kind=query.kind, state=query.state, limit=query.limit + 1, before=query.before
    )
    page = found[: query.limit]
    after = page[-1].id if len(found) > len(page) else None
    return json_response({"jobs": [job.to_dict() for job in page], "next_before": after})


@router.get(
    "/jobs/{job_id}",
    summary="One job",
    response_model=JobBody,
    responses={
        **error_answers("JOB_NOT_FOUND"),
        200: good_answer(
            "The job as it is now.",
            "job_running",
            "job_verified",
            "job_failed",
        ),
    },
)
def one_job(request: Request, job_id: _JobId) -> Response:
    """Where the job is, and what became of it."""
    return json_response(service_of(request).jobs.get(job_id).to_dict())


@router.post(
    "/jobs/{job_id}/cancel",
    status_code=202,
    summary="Call a job off",
    response_model=JobBody,
    responses={
        **error_answers("JOB_NOT_FOUND"),
        200: {
            "model": JobBody,
            **good_answer("It had ended already and stays as it is.", "job_failed"),
        },
        202: good_answer("It will end within about a second.", "job_running"),
    },
)
def cancel(request: Request, job_id: _JobId) -> Response:
    """Call it off. A restore that is called off before COMMIT has changed nothing."""
    job = service_of(request).jobs.cancel(job_id)
    return json_response(job.to_dict(), 200 if job.finished else 202)


@router.get(
    "/jobs/{job_id}/events",
    summary="A job's progress as server-sent events",
    response_class=Response,
    responses={
        **error_answers("JOB_NOT_FOUND", TOO_MANY_STREAMS.code),
        200: {
            "description": "Events `progress`, then one `end`; data is the job, id its version.",
            "content": {"text/event-stream": {"examples": {"stream": {"value": examples.EVENTS}}}},
        },
        204: {"description": "The client has seen the end: there is nothing to come back for."},
    },
)
def events(
    request: Request,
    job_id: _JobId,
    last_event_id: Annotated[
        Annotated[str, Field(pattern="^[0-9]{0,18}$")] | SkipJsonSchema[None],
        Header(
            alias="Last-Event-ID",
            description="Version that the client has seen; newer ones follow.",
            examples=["4"],
        ),
    ] = None,
) -> Response:
    """Follow a job to its end; comments keep the connection open meanwhile."""
    manager = service_of(request).jobs
    seen = int(last_event_id or 0)
    job = manager.get(job_id)
    if job.finished and seen >= job.version:
        return Response(status_code=204)
    streams = shared_of(request).streams
    if not streams.enter():
        return error_response(request, TOO_MANY_STREAMS, headers={"Retry-After": "5"})
    return stream(manager, job_id, seen, streams)
