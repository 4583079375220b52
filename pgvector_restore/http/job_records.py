"""Where jobs are kept: a SQLite file that outlives the process, or memory."""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
from pathlib import Path
from typing import Any

from attrs import field, frozen

from pgvector_restore.errors import OptionError, StoreError, quoted
from pgvector_restore.http.job_values import Job

__all__ = ["JobRecord", "JobRecords"]

_log = logging.getLogger(__name__)

#: Name of the file in the folder.
_FILE = "jobs.sqlite3"
#: Version of the tables in it.
_VERSION = 1

_TABLES = """
CREATE TABLE jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    idempotency TEXT UNIQUE,
    request TEXT NOT NULL,
    document TEXT NOT NULL,
    traces TEXT NOT NULL
)
"""


@frozen
class JobRecord:
    """A job and what has to be remembered of it."""

    #: The job.
    job: Job
    #: Digest of the request.
    request: str
    #: Digest of the idempotency key, if there was one.
    idempotency: str | None = None
    #: Where to look for what became of it; no secrets.
    traces: dict[str, Any] = field(factory=dict)


class JobRecords:
    """Jobs on disk. One process has the file for itself, until it ends or closes it.

    Args:
        folder: Where the file is; made if it is not there. ``None``: in memory.

    Raises:
        OptionError: The folder cannot be used, or another service has it.
    """

    def __init__(self, folder: Path | None) -> None:
        self._lock = threading.Lock()
        self._closed = False
        try:
            if folder is not None:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                path = folder / _FILE
                path.touch(mode=0o600)
            self._db = sqlite3.connect(
                ":memory:" if folder is None else path,
                timeout=1.0,
                isolation_level=None,
                check_same_thread=False,
            )
        except (OSError, sqlite3.Error) as exc:
            raise _unusable(folder, exc) from exc
        try:
            self._prepare()
        except sqlite3.Error as exc:
            self._db.close()
            raise _unusable(folder, exc) from exc
        except OptionError:
            self._db.close()
            raise

    def _prepare(self) -> None:
        # The lock is taken with the first write and kept: two services that share a folder would
        # each take the other's jobs for interrupted.
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("BEGIN EXCLUSIVE")
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version == 0:
            self._db.execute(_TABLES)
            self._db.execute(f"PRAGMA user_version = {_VERSION}")
        elif version != _VERSION:
            self._db.execute("ROLLBACK")
            raise OptionError(
                f"the jobs in state_dir have version {version}, this program writes {_VERSION}",
                hint="use another state_dir, or the newer program",
            )
        self._db.execute("COMMIT")

    def load(self) -> list[JobRecord]:
        """All of them, oldest first.

        Raises:
            OptionError: They are damaged.
        """
        try:
            with self._lock:
                found = self._db.execute(
                    "SELECT document, request, idempotency, traces FROM jobs ORDER BY number"
                ).fetchall()
            return [
                JobRecord(Job.from_dict(json.loads(document)), request, key, json.loads(traces))
                for document, request, key, traces in found
            ]
        except (sqlite3.Error, ValueError, LookupError, TypeError) as exc:
            raise OptionError(
                f"the jobs in state_dir cannot be read: {type(exc).__name__}",
                hint=f"set {_FILE} aside, or name another folder with state_dir",
            ) from exc

    def save(self, record: JobRecord) -> None:
        """Keep it, in place of what was kept of it before. Nothing is kept once this is closed.

        Raises:
            StoreError: The disk is full, or does not take it for another reason.
        """
        with self._lock:
            if self._closed:
                return
            try:
                self._db.execute(
                    "INSERT INTO jobs (id, idempotency, request, document, traces) "
                    "VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE "
                    "SET document = excluded.document, traces = excluded.traces",
                    [
                        record.job.id,
                        record.idempotency,
                        record.request,
                        json.dumps(record.job.to_dict()),
                        json.dumps(record.traces),
                    ],
                )
            except sqlite3.Error as exc:
                raise StoreError(
                    f"the job cannot be kept in state_dir: {type(exc).__name__}",
                    hint="look at the room and the rights there",
                ) from exc

    def forget(self, job_id: str) -> None:
        """Keep nothing of it any more."""
        with self._lock:
            if self._closed:
                return
            try:
                self._db.execute("DELETE FROM jobs WHERE id = ?", [job_id])
            except sqlite3.Error as exc:  # it is found there again by the next service
                _log.error(
                    "a job stays in state_dir: %s", type(exc).__name__, extra={"job_id": job_id}
                )

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._closed = True
            self._db.close()


def _unusable(folder: Path | None, exc: Exception) -> OptionError:
    busy = isinstance(exc, sqlite3.OperationalError) and "locked" in str(exc)
    reason = "another service has it" if busy else type(exc).__name__
    return OptionError(
        f"state_dir {quoted(str(folder))} cannot be used: {reason}",
        hint="name another folder with state_dir",
    )
