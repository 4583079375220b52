"""The endpoints existing callers speak: list, restore, backup, each answered when it is done.

They start the same jobs as the others and wait for them. A caller that goes away ends nothing.
"""

from __future__ import annotations

import weakref
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import anyio
from anyio.to_thread import run_sync
from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from pgvector_restore.errors import PgvectorRestoreError
from pgvector_restore.http import legacy_openapi as documented
from pgvector_restore.http import legacy_texts as texts
from pgvector_restore.http.connections import ConnectionNotAllowedError
from pgvector_restore.http.context import language_of, request_id_of, service_of
from pgvector_restore.http.job_values import Job, JobConflictError, ShuttingDownError
from pgvector_restore.http.legacy_answers import backed_up, envelope, nothing_done, restored
from pgvector_restore.http.legacy_failures import INVALID_PARAMS, LegacyError, failure_of
from pgvector_restore.http.legacy_listing import Listings
from pgvector_restore.http.legacy_paths import find_location, shown_path
from pgvector_restore.http.legacy_requests import (
    BackupRequest,
    ListRequest,
    RestoreRequest,
    read_body,
)
from pgvector_restore.http.service import Service
from pgvector_restore.model import Location
from pgvector_restore.schema import EMBEDDING

__all__ = ["router"]

router = APIRouter(prefix="/api/v0/data_pipeline/vector", tags=["existing callers"])

#: Lists of each service of this process.
_listings: weakref.WeakKeyDictionary[Service, Listings] = weakref.WeakKeyDictionary()

_FAILURES = (
    PgvectorRestoreError,
    JobConflictError,
    ConnectionNotAllowedError,
    ShuttingDownError,
)


@router.get("/restore/list", **documented.LIST)
async def list_backups(request: Request) -> Response:
    """The backup sets there are, by location."""

    async def answer() -> Response:
        return await run_sync(_list, request, ListRequest.of(request.query_params))

    return await _answered(request, answer)


@router.post("/restore", **documented.RESTORE)
async def restore_backup(request: Request) -> Response:
    """Restore a set, all tables or none, and answer when it is done."""

    async def answer() -> Response:
        wanted = RestoreRequest.of(read_body(await request.body()))
        service, job, path = await run_sync(_begin_restore, request, wanted)
        report = await _waited(service, job)
        language = language_of(request)
        return JSONResponse(restored(report, path, language, truncated=wanted.truncate))

    return await _answered(request, answer)


@router.post("/backup", **documented.BACKUP)
async def make_backup(request: Request) -> Response:
    """Back the vector tables up, and empty the embedding table if asked to, in one job."""

    async def answer() -> Response:
        wanted = BackupRequest.of(read_body(await request.body()))
        language = language_of(request)
        if not wanted.backup:
            return JSONResponse(nothing_done(language))
        service, job = await run_sync(_begin_backup, request, wanted)
        report = await _waited(service, job)
        path = shown_path(service.store.url, _location(report))
        return JSONResponse(backed_up(report, path, language, truncated=wanted.truncate))

    return await _answered(request, answer)


async def _answered(request: Request, answer: Callable[[], Awaitable[Response]]) -> Response:
    """The answer, or the one to what went wrong."""
    try:
        return await answer()
    except LegacyError as exc:
        failure = exc
    except _FAILURES as exc:
        failure = failure_of(exc)
    data = {"error_type": failure.error_type, **failure.details}
    language = language_of(request)
    body = envelope(failure.status, failure.say, language, data, **failure.values)
    return JSONResponse(body, failure.status)


def _list(request: Request, wanted: ListRequest) -> Response:
    service = service_of(request)
    listings = _listings.setdefault(service, Listings(service.store.url))
    return listings.answer(service.catalog(), wanted, language_of(request))


def _begin_restore(request: Request, wanted: RestoreRequest) -> tuple[Service, Job, str]:
    """The job of a restore, and the path of its location as the list shows it."""
    service = service_of(request)
    if wanted.connection is not None:
        service.connection(wanted.connection)  # before a word about what there is
    catalog = service.catalog()
    location = find_location(catalog, service.store.url, wanted.backup_path)
    if location is None:  # it may have come a moment ago
        catalog = service.catalog(fresh=True)
        location = find_location(catalog, service.store.url, wanted.backup_path)
    if location is None:
        raise LegacyError(404, "RESOURCE_NOT_FOUND", texts.NO_LOCATION)
    for backup in catalog.sets_of(location):
        held = {file.table for file in backup.files}
        if backup.timestamp == wanted.timestamp and not held.issuperset(wanted.tables or ()):
            raise LegacyError(400, INVALID_PARAMS, texts.NO_SUCH_TABLE)
    if wanted.truncate and wanted.tables is not None and EMBEDDING not in wanted.tables:
        raise LegacyError(400, INVALID_PARAMS, texts.ORPHANS)
    # By key: a task may have two folders, and its name is that of both.
    label = f"{location.key}/{wanted.timestamp}" if location.key else wanted.timestamp
    options: dict[str, Any] = {"mode": "replace" if wanted.truncate else "append"}
    if wanted.tables is not None:
        options["tables"] = list(wanted.tables)
    job = service.restore(
        label,
        options=options,
        request_id=request_id_of(request) or None,
        connection=wanted.connection,
    )
    return service, job, shown_path(service.store.url, location)


def _begin_backup(request: Request, wanted: BackupRequest) -> tuple[Service, Job]:
    service = service_of(request)
    options: dict[str, Any] = {"truncate_after": wanted.truncate}
    if wanted.task_id is not None:
        if not service.store.layout.is_task_folder(wanted.task_id):
            raise LegacyError(400, INVALID_PARAMS, texts.LOST_TASK)
        options["task_id"] = wanted.task_id
    job = service.backup(
        options=options,
        request_id=request_id_of(request) or None,
        connection=wanted.connection,
    )
    return service, job


async def _waited(service: Service, job: Job) -> dict[str, Any]:
    """The report of a job, once it has ended.

    Raises:
        LegacyError: It failed.
    """
    # A thread for each job that is waited for: those that others share would be used up by a few
    # long restores. One that is left alone ends with its job.
    alone = anyio.CapacityLimiter(1)
    wait = partial(service.jobs.ended, job.id)
    ended, exc = await run_sync(wait, abandon_on_cancel=True, limiter=alone)
    if ended.state == "done" and ended.result is not None:
        return ended.result
    raise failure_of(exc or RuntimeError())


def _location(report: dict[str, Any]) -> Location:
    """The location of a backup that was just made."""
    key = str(report["backup_path"]).removeprefix("./")
    return Location("global", key, "" if key == "." else key)
