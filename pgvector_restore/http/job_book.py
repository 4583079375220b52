"""All jobs there are: found, listed, waited for, and kept."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from attrs import evolve

from pgvector_restore.errors import StoreError
from pgvector_restore.http.job_entries import JobEntry, interrupted
from pgvector_restore.http.job_records import JobRecord, JobRecords
from pgvector_restore.http.job_values import (
    IdempotencyError,
    Job,
    JobKind,
    JobNotFoundError,
    JobState,
    Outcome,
)

__all__ = ["JobBook", "hashed", "now"]

_log = logging.getLogger(__name__)

#: In a class with a method ``list`` the name means that.
_Jobs = list[Job]


class JobBook:
    """Jobs by id and by key. Any thread may call any method.

    Args:
        records: Where jobs are kept.
        history: How many finished ones are kept.
    """

    def __init__(self, records: JobRecords, history: int = 1000) -> None:
        self._records = records
        self._history = history
        self._changed = threading.Condition()
        self._entries: dict[str, JobEntry] = {}
        self._keys: dict[str, str] = {}
        #: Told of each change of a job, the old and the new one; it is quick and raises nothing.
        self.watcher: Callable[[Job, Job], None] = lambda _, __: None
        for record in records.load():
            self._take_up(record)

    def get(self, job_id: str) -> Job:
        """A job.

        Raises:
            JobNotFoundError: There is none.
        """
        with self._changed:
            return self._entry(job_id).record.job

    def list(
        self,
        *,
        kind: JobKind | None = None,
        state: JobState | None = None,
        limit: int = 50,
        before: str | None = None,
    ) -> _Jobs:
        """Jobs, newest first.

        Args:
            kind: Only these.
            state: Only those in it.
            limit: So many at the most.
            before: Only those older than this job.

        Raises:
            JobNotFoundError: There is no such job as ``before``.
        """
        with self._changed:
            if before is not None:
                self._entry(before)
            jobs = [entry.record.job for entry in reversed(self._entries.values())]
        if before is not None:
            jobs = jobs[next(i for i, job in enumerate(jobs) if job.id == before) + 1 :]
        fitting = (job for job in jobs if kind in (None, job.kind) and state in (None, job.state))
        return [job for job, _ in zip(fitting, range(limit), strict=False)]

    def wait(self, job_id: str, timeout_s: float | None = None) -> Job:
        """The job once it has ended, or as it is when the time is over."""
        return self.ended(job_id, timeout_s)[0]

    def ended(
        self, job_id: str, timeout_s: float | None = None
    ) -> tuple[Job, BaseException | None]:
        """As :meth:`wait`, with what ended it; also of a job that leaves the history meanwhile."""
        with self._changed:
            entry = self._entry(job_id)
            self._changed.wait_for(lambda: entry.record.job.finished, timeout_s)
            return entry.record.job, entry.exception

    def changes(self, job_id: str, after_version: int, timeout_s: float) -> Job | None:
        """The job once its version is greater, or ``None`` when the time is over."""
        with self._changed:
            newer = self._changed.wait_for(
                lambda: self._entry(job_id).record.job.version > after_version, timeout_s
            )
            return self._entry(job_id).record.job if newer else None

    def known(self, key: str | None, digest: str) -> Job | None:
        """The job that was started with a key.

        Raises:
            IdempotencyError: For another request.
        """
        if key is None:
            return None
        with self._changed:
            job_id = self._keys.get(hashed(key))
            if job_id is None:
                return None
            record = self._entries[job_id].record
            if record.request != digest:
                raise IdempotencyError("the key was used for another request")
            return record.job

    def unknown(self) -> dict[str, dict[str, Any]]:
        """Traces of the restores whose outcome is not known, by job."""
        with self._changed:
            records = [entry.record for entry in self._entries.values()]
        return {
            record.job.id: record.traces
            for record in records
            if record.job.outcome == "unknown" and record.traces
        }

    def settle(self, job_id: str, outcome: Outcome) -> None:
        """The outcome of a restore has been found out; harmless for a job that has gone."""
        with self._changed:
            entry = self._entries.get(job_id)
            if entry is not None and entry.record.job.outcome != outcome:
                self._change(entry, outcome=outcome)

    def _take_up(self, record: JobRecord) -> None:
        """A job of a process that has ended, perhaps in the middle of it."""
        entry = JobEntry(record)
        self._entries[record.job.id] = entry
        if record.idempotency is not None:
            self._keys[record.idempotency] = record.job.id
        if not record.job.finished:
            entry.record = evolve(record, job=interrupted(record, now()))
            self._save(entry)

    def _change(self, entry: JobEntry, **changes: Any) -> None:  # noqa: ANN401 - fields of Job
        with self._changed:
            before = entry.record.job
            entry.record = evolve(entry.record, job=before.changed(**changes))
            self._changed.notify_all()
            self.watcher(before, entry.record.job)
            self._save(entry)

    def _save(self, entry: JobEntry) -> None:
        try:
            self._records.save(entry.record)
        except StoreError as exc:  # what has happened has happened
            _log.error("%s", exc, extra={"job_id": entry.record.job.id})

    def _entry(self, job_id: str) -> JobEntry:
        entry = self._entries.get(job_id)
        if entry is None:
            raise JobNotFoundError("there is no such job")
        return entry

    def _trim(self) -> None:
        """Forget those that ended first: a long job is not old when it ends."""
        jobs = [entry.record.job for entry in self._entries.values() if entry.record.job.finished]
        jobs.sort(key=lambda job: job.finished_at or job.created_at)
        for job in jobs[: max(len(jobs) - self._history, 0)]:
            self._drop(job.id)

    def _drop(self, job_id: str) -> None:
        entry = self._entries.pop(job_id)
        if entry.record.idempotency is not None:
            self._keys.pop(entry.record.idempotency, None)
        self._records.forget(job_id)


def hashed(key: str) -> str:
    """A client's key as it is kept."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def now() -> datetime:
    """This moment."""
    return datetime.now(timezone.utc)
