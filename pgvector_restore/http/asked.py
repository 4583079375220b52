"""A request on its way to its job."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import field, frozen

from pgvector_restore.http.connections import Reached
from pgvector_restore.http.job_entries import JobHandle, JobRequest
from pgvector_restore.http.job_values import JobKind

__all__ = ["Asked", "Work"]

#: What a job does; what it returns is its result.
Work = Callable[[JobHandle], dict[str, Any]]

#: Where a job works that needs the store alone: one at a time.
_NOWHERE = Reached("", "", configured=False, holds=frozenset(["store"]), key="")


@frozen
class Asked:
    """What is common to all requests."""

    #: What to do.
    kind: JobKind
    #: Digest of all that makes it another request.
    digest: str
    #: Client's key.
    idempotency_key: str | None = field(repr=False)
    #: Id in logs.
    request_id: str | None

    def request(
        self, work: Work, label: str | None, reached: Reached | None, ended: Callable[[], None]
    ) -> JobRequest:
        """The job it becomes.

        Args:
            work: What the job does.
            label: The set.
            reached: The database; ``None``: the store alone.
            ended: Called when it has ended.
        """
        there = reached or _NOWHERE
        return JobRequest(
            kind=self.kind,
            target=there.name,
            label=label,
            holds=there.holds,
            work=work,
            digest=self.digest,
            idempotency_key=self.idempotency_key,
            request_id=self.request_id,
            ended=ended,
        )
