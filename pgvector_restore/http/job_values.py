"""What a job looks like from outside, and the errors of asking for one."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from attrs import asdict, evolve, frozen

__all__ = [
    "FINISHED",
    "IdempotencyError",
    "Job",
    "JobConflictError",
    "JobError",
    "JobKind",
    "JobNotFoundError",
    "JobState",
    "Outcome",
    "ShuttingDownError",
]

#: What a job does.
JobKind = Literal["restore", "backup", "verify", "prune"]
#: Where it is. ``interrupted``: the service ended while it ran.
JobState = Literal["queued", "running", "done", "failed", "cancelled", "interrupted"]
#: What became of a restore whose end nobody saw.
Outcome = Literal["committed", "nothing_changed", "unknown"]

#: States that no job leaves.
FINISHED: frozenset[JobState] = frozenset(("done", "failed", "cancelled", "interrupted"))


class JobConflictError(Exception):
    """Another job has the database or the store.

    Args:
        job_id: That job.
    """

    def __init__(self, job_id: str) -> None:
        super().__init__(f"job {job_id} is running there")
        self.job_id = job_id


class JobNotFoundError(Exception):
    """No job has this id, or it has left the history."""


class IdempotencyError(Exception):
    """The key was used before, for another request."""


class ShuttingDownError(Exception):
    """The service ends and takes no more jobs."""


@frozen
class JobError:
    """Why a job failed: fixed words only, never those of a server."""

    #: Name of the error's class.
    type: str
    #: Exit code of the command line for it.
    exit_code: int
    #: The code that answers carry: ``TARGET_BUSY``.
    code: str


@frozen
class Job:
    """A job as it was at one moment."""

    #: Its name, at random.
    id: str
    #: What it does.
    kind: JobKind
    #: Name of the target, or ``host:port/database`` of a caller's own; empty for ``prune``.
    target: str
    #: Label of the set; ``None`` for ``prune``, and for a backup that has not made one.
    label: str | None
    #: Where it is.
    state: JobState
    #: When it was asked for.
    created_at: datetime
    #: When it began.
    started_at: datetime | None = None
    #: When it ended; of an interrupted one, when that was noticed.
    finished_at: datetime | None = None
    #: Phase it is in, as in ``ProgressEvent``.
    phase: str | None = None
    #: Table at hand.
    table: str | None = None
    #: Bytes so far.
    bytes_done: int = 0
    #: Bytes of all.
    bytes_total: int = 0
    #: Rows so far.
    rows_done: int = 0
    #: Rows of all, where that is known.
    rows_total: int | None = None
    #: The report's ``to_dict()``, once it is done.
    result: dict[str, Any] | None = None
    #: Why it failed.
    error: JobError | None = None
    #: What became of a restore whose end nobody saw; ``None`` for all others.
    outcome: Outcome | None = None
    #: The request that asked for it.
    request_id: str | None = None
    #: Grows with each change.
    version: int = 1

    @property
    def finished(self) -> bool:
        """It has ended, one way or another."""
        return self.state in FINISHED

    def changed(self, **changes: Any) -> Job:  # noqa: ANN401 - the fields
        """The next version of it."""
        return evolve(self, version=self.version + 1, **changes)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        times = {
            name: moment.isoformat() if moment is not None else None
            for name, moment in (
                ("created_at", self.created_at),
                ("started_at", self.started_at),
                ("finished_at", self.finished_at),
            )
        }
        error = asdict(self.error) if self.error is not None else None
        return {**asdict(self, recurse=False), **times, "error": error}

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> Job:
        """The job of a :meth:`to_dict`."""
        times = {
            name: datetime.fromisoformat(document[name]) if document[name] else None
            for name in ("created_at", "started_at", "finished_at")
        }
        error = JobError(**document["error"]) if document["error"] else None
        return cls(**{**document, **times, "error": error})
