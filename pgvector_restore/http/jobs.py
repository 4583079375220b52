"""Jobs: work in threads that clients follow, call off, and find again."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from attrs import evolve

from pgvector_restore.http import logs
from pgvector_restore.http.job_book import JobBook, hashed, now
from pgvector_restore.http.job_entries import (
    JobEntry,
    JobHandle,
    JobRequest,
    failure,
    forget_frames,
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

#: Seconds between two versions of a job whose phase and table stay the same: a client that follows
#: it sees it move, and a fast load does not wake hundreds of clients for every block.
_EVERY_S = 0.2


class JobManager(JobBook):
    """The jobs of a service. Any thread may call any method.

    Args:
        records: Where jobs are kept.
        history: How many finished ones are kept.
    """

    def __init__(self, records: JobRecords, history: int = 1000) -> None:
        super().__init__(records, history)
        self._closing = False
        #: Called after a job has ended.
        self.on_end: Callable[[Job], None] = lambda _: None

    def cancel(self, job_id: str) -> Job:
        """Call a job off; it ends within about a second. One that has ended stays as it is."""
        with self._changed:
            entry = self._entry(job_id)
            entry.cancel.cancel()
            return entry.record.job

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
                created_at=now(),
                request_id=request.request_id,
            )
            key = hashed(request.idempotency_key) if request.idempotency_key is not None else None
            entry = JobEntry(JobRecord(job, request.digest, key), request.holds)
            self._records.save(entry.record)
            self._entries[job.id] = entry
            if key is not None:
                self._keys[key] = job.id
            entry.thread = threading.Thread(
                target=self._logged, args=(entry, request), name=f"job-{job.id}", daemon=True
            )
            try:
                entry.thread.start()
            except RuntimeError:  # the machine has no room for another thread
                self._drop(job.id)
                raise
            return job

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
            self._change(entry, state="running", started_at=now())
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
            self._change(entry, finished_at=now(), **changes)
            entry.thread = None
            self._trim()
        self.on_end(entry.record.job)

    def _remember(self, entry: JobEntry, traces: dict[str, Any]) -> None:
        with self._changed:
            entry.record = evolve(entry.record, traces=entry.record.traces | traces)
            self._records.save(entry.record)

    def _progress(self, entry: JobEntry, event: ProgressEvent) -> None:
        with self._changed:
            job = entry.record.job
            moment = time.monotonic()
            if (job.phase, job.table) == (event.phase, event.table) and moment < entry.due:
                return
            entry.due = moment + _EVERY_S
            entry.record = evolve(entry.record, job=progressed(job, event))
            self._changed.notify_all()
            self.watcher(job, entry.record.job)
