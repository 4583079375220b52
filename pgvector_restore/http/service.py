"""The service: one store, some databases, and jobs between them. No HTTP in here."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import SecretStr

from pgvector_restore.backuper import Backuper
from pgvector_restore.db.pool import TargetLike
from pgvector_restore.errors import BackupNotFoundError, OptionError, quoted
from pgvector_restore.http.catalogs import SharedCatalog
from pgvector_restore.http.job_records import JobRecords
from pgvector_restore.http.jobs import Job, JobHandle, JobManager, JobRequest
from pgvector_restore.http.operations import (
    backup_options,
    keep_rules,
    request_digest,
    restore_options,
    verify_options,
)
from pgvector_restore.model import BackupSet, Catalog
from pgvector_restore.pruning import prune
from pgvector_restore.restorer import Restorer
from pgvector_restore.storage import open_store

__all__ = ["ConnectionNotAllowedError", "Service"]


class ConnectionNotAllowedError(Exception):
    """A caller's connection, where the operator allows none, or not this one."""


class Service:
    """Lists, restores, backs up, compares and prunes the backups of one store.

    Args:
        settings: What the operator has set.

    Raises:
        OptionError: The store, a target or the folder of jobs cannot be used.
    """

    def __init__(self, settings: Any) -> None:  # noqa: ANN401 - replaced by ServiceSettings
        #: What the operator has set.
        self.settings = settings
        #: Where backups lie.
        self.store = open_store(settings.store, storage_options=settings.storage_options or None)
        self._targets: dict[str, SecretStr] = dict(settings.targets)
        if settings.dsn is not None:
            self._targets.setdefault("default", settings.dsn)
        self._catalog = SharedCatalog(self.store.catalog)
        self._lock = threading.Lock()
        self._restorers: dict[str, Restorer] = {}
        self._jobs: JobManager | None = None
        self._watcher: Callable[[Job, Job], None] | None = None

    def __repr__(self) -> str:
        return f"<Service of {self.store.url}>"

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the databases."""
        return tuple(self._targets)

    @property
    def jobs(self) -> JobManager:
        """Its jobs."""
        self.start()
        assert self._jobs is not None  # noqa: S101 - start() has made it
        return self._jobs

    def start(self) -> None:
        """Take up work: jobs of a process that has ended are found again. More calls do no more."""
        with self._lock:
            if self._jobs is None:
                self._jobs = JobManager(JobRecords(self.settings.state_dir), self.settings.history)
                self._jobs.watcher = self._watcher

    def watch(self, watcher: Callable[[Job, Job], None]) -> None:
        """Tell somebody of each change of a job, before the first one."""
        self._watcher = watcher

    def close(self) -> None:
        """Call off what runs, wait for it as long as settings say, and let go of everything."""
        if self._jobs is not None:
            self._jobs.close(self.settings.shutdown_grace_s)
        for restorer in self._restorers.values():
            restorer.close()

    def catalog(self) -> Catalog:
        """What backups there are, a moment old at the most."""
        return self._catalog.get()

    def plan(
        self, label: str, options: Mapping[str, Any], target: str | None = None
    ) -> dict[str, Any]:
        """What a restore would do, as JSON; nothing is touched."""
        chosen = restore_options(options, self._defaults)
        found = self._find(label)
        return self._restorer(self._target(target)).plan(found, chosen).to_dict()

    def restore(
        self,
        label: str,
        *,
        target: str | None = None,
        options: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
        request_id: str | None = None,
        connection: str | None = None,
    ) -> Job:
        """Restore a set."""
        name = self._reached(target, connection)
        digest = request_digest("restore", label, name, options or {})
        if (known := self.jobs.known(idempotency_key, digest)) is not None:
            return known
        chosen = restore_options(options or {}, self._defaults)
        found = self._find(label)

        def work(job: JobHandle) -> dict[str, Any]:
            restorer = self._restorer(name)
            plan = restorer.plan(self._again(found), chosen)
            return restorer.run(plan, progress=job.progress, cancel=job.cancel).to_dict()

        return self._begin(
            JobRequest("restore", name, found.label, frozenset([f"target {name}"]), work, digest,
                       idempotency_key, request_id)
        )  # fmt: skip

    def backup(
        self,
        *,
        target: str | None = None,
        options: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
        request_id: str | None = None,
        connection: str | None = None,
    ) -> Job:
        """Back up a database."""
        name = self._reached(target, connection)
        digest = request_digest("backup", name, options or {})
        if (known := self.jobs.known(idempotency_key, digest)) is not None:
            return known
        chosen = backup_options(options or {}, self._defaults)
        backuper = Backuper(self.store, self._conninfo(name))

        def work(job: JobHandle) -> dict[str, Any]:
            with backuper:
                return backuper.backup(chosen, progress=job.progress, cancel=job.cancel).to_dict()

        return self._begin(
            JobRequest("backup", name, None, frozenset([f"target {name}"]), work, digest,
                       idempotency_key, request_id)
        )  # fmt: skip

    def verify(
        self,
        label: str,
        *,
        target: str | None = None,
        options: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
        request_id: str | None = None,
        connection: str | None = None,
    ) -> Job:
        """Compare a database with a set."""
        name = self._reached(target, connection)
        digest = request_digest("verify", label, name, options or {})
        if (known := self.jobs.known(idempotency_key, digest)) is not None:
            return known
        chosen = verify_options(options or {}, self._defaults)
        found = self._find(label)

        def work(job: JobHandle) -> dict[str, Any]:
            return (
                self._restorer(name)
                .verify(self._again(found), **chosen, progress=job.progress, cancel=job.cancel)
                .to_dict()
            )

        return self._begin(
            JobRequest("verify", name, found.label, frozenset([f"target {name}"]), work, digest,
                       idempotency_key, request_id)
        )  # fmt: skip

    def prune(
        self,
        *,
        rules: Mapping[str, Any],
        dry_run: bool,
        idempotency_key: str | None = None,
        request_id: str | None = None,
    ) -> Job:
        """Remove the sets that no rule keeps."""
        digest = request_digest("prune", rules, dry_run)
        if (known := self.jobs.known(idempotency_key, digest)) is not None:
            return known
        chosen = keep_rules(rules)

        def work(_: JobHandle) -> dict[str, Any]:
            return prune(self.store, chosen, dry_run=dry_run).to_dict()

        return self._begin(
            JobRequest("prune", "", None, frozenset(["store"]), work, digest,
                       idempotency_key, request_id)
        )  # fmt: skip

    def connection(self, text: str) -> str:  # noqa: ARG002 - for now
        """A caller's connection, if it is allowed, or the name of the target that it names.

        Raises:
            ConnectionNotAllowedError: It is not.
        """
        raise ConnectionNotAllowedError("connections of callers are not allowed")

    def ready(self) -> dict[str, Any]:
        """What can be reached: the store, and each target."""
        return {"store": True, "targets": dict.fromkeys(self._targets, True)}

    def _begin(self, request: JobRequest) -> Job:
        request.ended = self._catalog.invalidate
        return self.jobs.start(request)

    @property
    def _defaults(self) -> dict[str, Any]:
        settings = self.settings
        return {
            "schema": settings.schema_name,
            "lock_timeout_s": settings.lock_timeout_s,
            "jobs": settings.jobs,
        }

    def _reached(self, target: str | None, connection: str | None) -> str:
        return self._target(target) if connection is None else self.connection(connection)

    def _target(self, name: str | None) -> str:
        if name is None:
            name = "default" if len(self._targets) != 1 else next(iter(self._targets))
        if name not in self._targets:
            raise OptionError(
                f"no target is called {quoted(name[:80])}",
                hint=f"there are {', '.join(self._targets)}" if self._targets else None,
            )
        return name

    def _conninfo(self, name: str) -> TargetLike:
        return self._targets[name].get_secret_value()

    def _restorer(self, name: str) -> Restorer:
        with self._lock:
            if name not in self._restorers:
                self._restorers[name] = Restorer(self.store, self._conninfo(name))
            return self._restorers[name]

    def _find(self, label: str) -> BackupSet:
        """The set of a label; ``latest`` is that of the store as it is now."""
        if label.rpartition("/")[2] == "latest":
            return self._catalog.get(fresh=True).get(label)
        try:
            return self._catalog.get().get(label)
        except BackupNotFoundError:
            return self._catalog.get(fresh=True).get(label)

    def _again(self, found: BackupSet) -> BackupSet:
        """The set as it is now: between request and job files may have changed."""
        return self.store.catalog_of(found.location).get(found.label)


_Work = Callable[[JobHandle], dict[str, Any]]
