"""Jobs: work in threads that clients follow, call off, and find again."""

from __future__ import annotations

import hashlib
import logging
import secrets
import threading
import time
from collections.abc import Callable
from datetime import datetime, timezone
from functools import partial
from typing import Any

from attrs import evolve

from pgvector_restore.errors import StoreError
from pgvector_restore.http import logs
from pgvector_restore.http.job_entries import (
    JobEntry,
    JobHandle,
    JobRequest,
    failure,
    forget_frames,
    interrupted,
    progressed,
)
from pgvector_restore.http.job_records import JobRecord, JobRecords
from pgvector_restore.http.job_values import (
    FINISHED,
    IdempotencyError,
    Job,
    JobConflictError,
    JobError,
    JobKind,
    JobNotFoundError,
    JobState,
    Outcome,
    ShuttingDownError,
)
from pgvector_restore.progress import ProgressEvent

__all__ = [
    "FINISHED",
    "IdempotencyError",
    "Job",
    "JobConflictError",
    "JobError",
    "JobHandle",
    "JobKind",
    "JobManager",
    "JobNotFoundError",
    "JobRequest",
    "JobState",
    "Outcome",
    "ShuttingDownError",
]

_log = logging.getLogger(__name__)

#: In a class with a method ``list`` the name means that.
_Jobs = list[Job]

#: Seconds between two versions of a job whose phase and table stay the same: a client that follows
#: it sees it move, and a fast load does not wake hundreds of clients for every block.
_EVERY_S = 0.2


class JobManager:
    """The jobs of a service. Any thread may call any method.

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
        self._closing = False
        #: Told of each change of a job, the old and the new one; it is quick and raises nothing.
        self.watcher: Callable[[Job, Job], None] = lambda _, __: None
        #: Called after a job has ended.
        self.on_end: Callable[[Job], None] = lambda _: None
        for record in records.load():
            self._take_up(record)

    def _take_up(self, record: JobRecord) -> None:
        """A job of a process that has ended, perhaps in the middle of it."""
        entry = JobEntry(record)
        self._entries[record.job.id] = entry
        if record.idempotency is not None:
            self._keys[record.idempotency] = record.job.id
        if not record.job.finished:
            entry.record = evolve(record, job=interrupted(record, _now()))
            self._save(entry)

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

    def exception(self, job_id: str) -> BaseException | None:
        """What ended a job of this process; ``None`` for others."""
        with self._changed:
            return self._entry(job_id).exception

    def cancel(self, job_id: str) -> Job:
        """Call a job off; it ends within about a second. One that has ended stays as it is."""
        with self._changed:
            entry = self._entry(job_id)
            entry.cancel.cancel()
            return entry.record.job

    def wait(self, job_id: str, timeout_s: float | None = None) -> Job:
        """The job once it has ended, or as it is when the time is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._entry(job_id).record.job.finished, timeout_s)
            return self._entry(job_id).record.job

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
            job_id = self._keys.get(_hashed(key))
            if job_id is None:
                return None
            record = self._entries[job_id].record
            if record.request != digest:
                raise IdempotencyError("the key was used for another request")
            return record.job

    def start(self, request: JobRequest) -> Job:
        """Begin a job, or find the one that was begun with the same key.

        Raises:
            JobConflictError: Another one has what it needs.
            IdempotencyError: The key was used for another request.
            ShuttingDownError: No more jobs are taken.
        """
        with self._changed:
            found = self.known(request.idempotency_key, request.digest)
            if found is not None:
                return found
            if self._closing:
                raise ShuttingDownError("the service ends")
            for other in self._entries.values():
                if other.holds & request.holds:
                    raise JobConflictError(other.record.job.id)
            job = Job(
                id=secrets.token_hex(16),
                kind=request.kind,
                target=request.target,
                label=request.label,
                state="queued",
                created_at=_now(),
                request_id=request.request_id,
            )
            key = _hashed(request.idempotency_key) if request.idempotency_key is not None else None
            entry = JobEntry(JobRecord(job, request.digest, key), request.holds)
            self._records.save(entry.record)
            self._entries[job.id] = entry
            if key is not None:
                self._keys[key] = job.id
            entry.thread = threading.Thread(
                target=self._logged, args=(entry, request), name=f"job-{job.id}", daemon=True
            )
            entry.thread.start()
            return job

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

    def close(self, grace_s: float) -> bool:
        """Take no more jobs, call off those that run, and wait for them.

        Returns:
            Whether all of them have ended.
        """
        deadline = time.monotonic() + grace_s
        with self._changed:
            self._closing = True
            running = [entry for entry in self._entries.values() if entry.thread is not None]
            threads = [entry.thread for entry in running if entry.thread is not None]
            for entry in running:
                entry.cancel.cancel()
        for thread in threads:
            thread.join(max(deadline - time.monotonic(), 0.0))
        return not any(thread.is_alive() for thread in threads)

    def _logged(self, entry: JobEntry, request: JobRequest) -> None:
        """Run it; all that is logged meanwhile names the job."""
        job = entry.record.job
        names = {"kind": job.kind, "target": job.target, "label": job.label}
        with logs.bound(request_id=job.request_id, job_id=job.id):
            _log.info("job begins", extra=names)
            self._run(entry, request)
            job = entry.record.job
            ended = {"state": job.state, "outcome": job.outcome, "label": job.label}
            _log.info("job ends", extra=names | ended)

    def _run(self, entry: JobEntry, request: JobRequest) -> None:
        handle = JobHandle(
            entry.record.job.id,
            entry.cancel,
            partial(self._progress, entry),
            partial(self._remember, entry),
        )
        changes: dict[str, Any]
        try:
            self._change(entry, state="running", started_at=_now())
            entry.cancel.check()
            result = request.work(handle)
            changes = {"state": "done", "result": result}
            if request.kind == "backup":
                changes["label"] = result.get("label")
        except BaseException as exc:  # noqa: BLE001 - whatever ends it, others must learn of it
            entry.exception = exc
            changes = failure(entry.record.job, exc)
            forget_frames(exc)
        finally:
            if request.ended is not None:
                request.ended()
        with self._changed:
            entry.holds = frozenset()
            self._change(entry, finished_at=_now(), **changes)
            self._trim()
            entry.thread = None
        self.on_end(entry.record.job)

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

    def _remember(self, entry: JobEntry, traces: dict[str, Any]) -> None:
        with self._changed:
            entry.record = evolve(entry.record, traces=entry.record.traces | traces)
            self._records.save(entry.record)

    def _progress(self, entry: JobEntry, event: ProgressEvent) -> None:
        with self._changed:
            job = entry.record.job
            now = time.monotonic()
            if (job.phase, job.table) == (event.phase, event.table) and now < entry.due:
                return
            entry.due = now + _EVERY_S
            entry.record = evolve(entry.record, job=progressed(job, event))
            self._changed.notify_all()
            self.watcher(job, entry.record.job)

    def _entry(self, job_id: str) -> JobEntry:
        entry = self._entries.get(job_id)
        if entry is None:
            raise JobNotFoundError("there is no such job")
        return entry

    def _trim(self) -> None:
        ended = [key for key, entry in self._entries.items() if entry.record.job.finished]
        for job_id in ended[: max(len(ended) - self._history, 0)]:
            entry = self._entries.pop(job_id)
            if entry.record.idempotency is not None:
                self._keys.pop(entry.record.idempotency, None)
            self._records.forget(job_id)


def _hashed(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def _now() -> datetime:
    return datetime.now(timezone.utc)
