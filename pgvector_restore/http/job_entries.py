"""A job from inside: what was asked for, what runs, and how it failed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime
from typing import Any

from attrs import define, evolve, field, frozen

from pgvector_restore.cancel import CancelToken
from pgvector_restore.errors import CancelledError, OutcomeUnknownError, PgvectorRestoreError
from pgvector_restore.http import logs
from pgvector_restore.http.answers import answer_for
from pgvector_restore.http.job_records import JobRecord
from pgvector_restore.http.job_values import Job, JobError, JobKind, Outcome
from pgvector_restore.progress import ProgressEvent

__all__ = [
    "JobEntry",
    "JobHandle",
    "JobRequest",
    "failure",
    "forget_frames",
    "interrupted",
    "progressed",
]

_log = logging.getLogger(__name__)

#: Versions that tell of progress are not written down, and clients have seen them: none has so
#: many.
_UNSEEN_VERSIONS = 1 << 32


@frozen
class JobHandle:
    """What the work of a job is given: how to be called off, whom to tell."""

    #: The job's id.
    id: str
    #: Calls the job off.
    cancel: CancelToken
    #: Told how far it is.
    progress: Callable[[ProgressEvent], None] = field(repr=False)
    #: Keeps, on disk, where to look for what became of the job should this process end; raises
    #: ``StoreError`` where it cannot be kept.
    remember: Callable[[dict[str, Any]], None] = field(repr=False)


@frozen
class JobRequest:
    """What is asked for."""

    #: What to do.
    kind: JobKind
    #: Name of the target, as jobs show it.
    target: str
    #: Label of the set.
    label: str | None
    #: What no other job may have meanwhile.
    holds: frozenset[str]
    #: Does it; what it returns is the job's result.
    work: Callable[[JobHandle], dict[str, Any]] = field(repr=False)
    #: Digest of the request, to compare those that come with the same key.
    digest: str
    #: Client's key.
    idempotency_key: str | None = field(default=None, repr=False)
    #: The request's id in logs.
    request_id: str | None = None
    #: Called when it has ended.
    ended: Callable[[], None] | None = field(default=None, repr=False)


@define
class JobEntry:
    """A job of the manager, under its lock."""

    #: The job as it is.
    record: JobRecord
    #: What no other job may have.
    holds: frozenset[str] = frozenset()
    #: Calls it off.
    cancel: CancelToken = field(factory=CancelToken)
    #: What ended it.
    exception: BaseException | None = None
    #: Where it runs; ``None`` once it has ended.
    thread: threading.Thread | None = None
    #: When the next version may follow the last one.
    due: float = 0.0


def failure(job: Job, exc: BaseException) -> dict[str, Any]:
    """What becomes of a job that an error ends: of the error only its kind is told.

    Our own errors' texts go to the log. Those of others may hold rows or passwords: of them only
    the places go there.
    """
    about = {"job_id": job.id, "request_id": job.request_id}
    if isinstance(exc, CancelledError):
        _log.info("%s was called off", job.kind, extra=about)
        return {"state": "cancelled"}
    name = type(exc).__name__
    level = logging.WARNING if isinstance(exc, PgvectorRestoreError) else logging.ERROR
    logs.failed(_log, f"{job.kind} failed", exc, level, about)
    exit_code = exc.exit_code if isinstance(exc, PgvectorRestoreError) else 1
    outcome = "unknown" if isinstance(exc, OutcomeUnknownError) else None
    error = JobError(name, exit_code, answer_for(exc).code)
    return {"state": "failed", "error": error, "outcome": outcome}


def forget_frames(exc: BaseException | None) -> None:
    """Let go of what an error's frames hold: blocks of files, parameters of connections."""
    seen: set[int] = set()
    while exc is not None and id(exc) not in seen:
        seen.add(id(exc))
        exc.__traceback__ = None
        exc = exc.__cause__ or exc.__context__


def progressed(job: Job, event: ProgressEvent) -> Job:
    """The job's next version, of an event."""
    return job.changed(
        phase=event.phase,
        table=event.table,
        bytes_done=event.bytes_done,
        bytes_total=event.bytes_total,
        rows_done=event.rows_done,
        rows_total=event.rows_total,
    )


def interrupted(record: JobRecord, noticed: datetime) -> Job:
    """What has become of a job whose process has ended.

    A restore that had not left traces had not begun to write.
    """
    outcome: Outcome | None = None
    if record.job.kind == "restore":
        outcome = "unknown" if record.traces else "nothing_changed"
    version = record.job.version + _UNSEEN_VERSIONS
    return evolve(
        record.job, state="interrupted", finished_at=noticed, outcome=outcome, version=version
    )
