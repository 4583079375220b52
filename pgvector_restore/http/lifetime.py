"""The jobs of a service from its start to its end, with what lasts as long as they do."""

from __future__ import annotations

import threading
from collections.abc import Callable

from pgvector_restore.errors import OptionError
from pgvector_restore.http.job_records import JobRecords
from pgvector_restore.http.jobs import Job, JobManager
from pgvector_restore.http.recovery import Recovery
from pgvector_restore.http.resources import Resources
from pgvector_restore.http.settings import ServiceSettings

__all__ = ["Lifetime"]


class Lifetime:
    """Begins and ends the jobs, their records, and the look at what became of restores.

    Any thread may call any method.

    Args:
        settings: What the operator has set.
        resources: What is let go of in the end.
    """

    def __init__(self, settings: ServiceSettings, resources: Resources) -> None:
        self._settings = settings
        self._resources = resources
        #: The jobs; ``None`` before the start.
        self.jobs: JobManager | None = None
        self._lock = threading.Lock()
        self._records: JobRecords | None = None
        self._recovery: Recovery | None = None
        self._ending = threading.Lock()
        self._ended = False

    def start(self, watcher: Callable[[Job, Job], None]) -> None:
        """Take up work; see :meth:`Service.start`.

        Args:
            watcher: Told of each change of a job.

        Raises:
            OptionError: ``state_dir`` cannot be used, or another service has it.
        """
        with self._lock:
            if self.jobs is not None:
                return
            records = JobRecords(self._settings.state_dir)
            try:
                jobs = JobManager(records, self._settings.history)
            except OptionError:
                records.close()
                raise
            self._records = records
            recovery = Recovery(jobs, self._resources.connections.conninfo)
            jobs.watcher = watcher
            jobs.on_end = lambda job: recovery.wake() if job.outcome == "unknown" else None
            self.jobs, self._recovery = jobs, recovery
        recovery.wake()

    def close(self) -> None:
        """End all of it; see :meth:`Service.close`."""
        with self._ending:
            if self._ended:
                return
            self._ended = True
            if self._recovery is not None:
                self._recovery.stop()
            ended = self.jobs is None or self.jobs.close(self._settings.shutdown_grace_s)
            self._resources.close()
            if self._records is not None and ended:  # else nobody may take them up yet
                self._records.close()
