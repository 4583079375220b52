"""The service: one store, some databases, and jobs between them. No HTTP in here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from attrs import asdict, evolve

from pgvector_restore.backup_checks import location_of
from pgvector_restore.backuper import Backuper
from pgvector_restore.db.callers import reachable
from pgvector_restore.errors import ConnectError
from pgvector_restore.http.asked import Asked, Work
from pgvector_restore.http.connections import ConnectionNotAllowedError, Reached
from pgvector_restore.http.jobs import Job, JobHandle, JobKind, JobManager
from pgvector_restore.http.lifetime import Lifetime
from pgvector_restore.http.operations import (
    backup_options,
    check_removable,
    keep_rules,
    request_digest,
    restore_options,
    verify_options,
)
from pgvector_restore.http.recovery import look_before
from pgvector_restore.http.resources import Resources
from pgvector_restore.http.settings import ServiceSettings
from pgvector_restore.model import Catalog
from pgvector_restore.prune_report import Check
from pgvector_restore.pruning import check_label, prune

__all__ = ["ConnectionNotAllowedError", "Service"]

_NONE: Mapping[str, Any] = {}


class Service:
    """Lists, restores, backs up, compares and prunes the backups of one store.

    Any thread may call any method. What a request can be refused for without looking into files or
    databases is raised at once; all else becomes of its job.

    Args:
        settings: What the operator has set.

    Raises:
        OptionError: The store or a target is not understood.
    """

    def __init__(self, settings: ServiceSettings) -> None:
        #: What the operator has set.
        self.settings = settings
        self._resources = Resources(settings)
        #: Where backups lie.
        self.store = self._resources.store
        self._lifetime = Lifetime(settings, self._resources)
        #: Told of each change of a job; set before the first one.
        self.watcher: Callable[[Job, Job], None] = lambda _, __: None

    def __repr__(self) -> str:
        return f"<Service of {self.store.url}>"

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the databases, ``default`` first."""
        return self._resources.connections.names

    @property
    def jobs(self) -> JobManager:
        """Its jobs."""
        if self._lifetime.jobs is None:
            self.start()
        assert self._lifetime.jobs is not None  # noqa: S101 - start() has made it
        return self._lifetime.jobs

    def start(self) -> None:
        """Take up work: jobs of a process that has ended are found again. More calls do no more.

        Raises:
            OptionError: ``state_dir`` cannot be used, or another service has it.
        """
        self._lifetime.start(self.watcher)

    def close(self) -> None:
        """Call off what runs, wait for it as long as settings say, and let go of everything.

        What has not ended by then ends with the process, and is found again by the next one. A
        second call waits for the first one and does no more.
        """
        self._lifetime.close()

    def catalog(self, *, fresh: bool = False) -> Catalog:
        """What backups there are, as of two seconds ago at the most.

        Args:
            fresh: As of now.

        Raises:
            StoreError: The store cannot be listed.
        """
        return self._resources.catalog.get(fresh=fresh)

    def plan(
        self, label: str, options: Mapping[str, Any], target: str | None = None
    ) -> dict[str, Any]:
        """What a restore would do, as JSON; nothing is touched.

        Raises:
            PgvectorRestoreError: As :meth:`pgvector_restore.Restorer.plan`.
        """
        name = self._resources.connections.name(target)
        chosen = restore_options(options, self._resources.defaults)
        # Somebody waits for the answer, in one of a few places.
        patience = min(chosen.lock_timeout_s, self.settings.lock_timeout_s)
        chosen = evolve(chosen, lock_timeout_s=patience)
        if not reachable(self._resources.connections.conninfo(name) or ""):
            raise ConnectError("the database does not answer")  # a pool would try for long
        return self._resources.restorer(name).plan(self._resources.find(label), chosen).to_dict()

    def restore(
        self,
        label: str,
        *,
        target: str | None = None,
        options: Mapping[str, Any] = _NONE,
        idempotency_key: str | None = None,
        request_id: str | None = None,
        connection: str | None = None,
    ) -> Job:
        """Begin to restore a set.

        Args:
            label: The set; ``latest`` is that of the store as it is now.
            target: Name of a target; ``None``: the only one, or ``default``.
            options: Those of ``RESTORE_OPTIONS``.
            idempotency_key: A request that comes again with it gets the same job.
            request_id: The request's id in logs.
            connection: A caller's own connection, in place of a target.

        Raises:
            OptionError: A wrong option, target or label.
            StoreError: No such set, or the store cannot be listed.
            ConnectionNotAllowedError: The connection is not allowed.
            JobConflictError: Another job has that database.
            IdempotencyError: The key was used for another request.
            ShuttingDownError: No more jobs are taken.
        """
        reached = self._resources.connections.reach(target, connection)
        asked = self._asked("restore", (label, reached.key, options), idempotency_key, request_id)
        if isinstance(asked, Job):
            return asked
        chosen = restore_options(options, self._resources.defaults)
        found = self._resources.find(label)

        def work(job: JobHandle) -> dict[str, Any]:
            with self._resources.restoring(reached) as restorer:
                plan = restorer.plan(self._resources.again(found), chosen, cancel=job.cancel)
                traces, ledger = look_before(reached, plan.facts.schema, job.id)
                job.remember(asdict(traces))
                # Without the right to keep one it is restored all the same: only what became of it
                # cannot be found out should this process end meanwhile.
                plan = evolve(plan, options=evolve(plan.options, ledger=ledger))
                report = restorer.run(plan, progress=job.progress, cancel=job.cancel, mark=job.id)
            return report.to_dict()

        return self._begin(asked, work, found.label, reached)

    def backup(
        self,
        *,
        target: str | None = None,
        options: Mapping[str, Any] = _NONE,
        idempotency_key: str | None = None,
        request_id: str | None = None,
        connection: str | None = None,
    ) -> Job:
        """Begin to back up a database; arguments and errors as for :meth:`restore`."""
        reached = self._resources.connections.reach(target, connection)
        asked = self._asked("backup", (reached.key, options), idempotency_key, request_id)
        if isinstance(asked, Job):
            return asked
        chosen = backup_options(options, self._resources.defaults)
        location_of(self.store.layout, chosen.task_id)
        backuper = Backuper(self.store, reached.target)

        def work(job: JobHandle) -> dict[str, Any]:
            with backuper:
                return backuper.backup(chosen, progress=job.progress, cancel=job.cancel).to_dict()

        return self._begin(asked, work, None, reached)

    def verify(
        self,
        label: str,
        *,
        target: str | None = None,
        options: Mapping[str, Any] = _NONE,
        idempotency_key: str | None = None,
        request_id: str | None = None,
        connection: str | None = None,
    ) -> Job:
        """Begin to compare a database with a set; arguments and errors as for :meth:`restore`.

        A job whose result is not ``equal`` is done all the same.
        """
        reached = self._resources.connections.reach(target, connection)
        asked = self._asked("verify", (label, reached.key, options), idempotency_key, request_id)
        if isinstance(asked, Job):
            return asked
        chosen = verify_options(options, self._resources.defaults)
        found = self._resources.find(label)

        def work(job: JobHandle) -> dict[str, Any]:
            with self._resources.restoring(reached) as restorer:
                report = restorer.verify(
                    self._resources.again(found), **chosen, progress=job.progress, cancel=job.cancel
                )
            return report.to_dict()

        return self._begin(asked, work, found.label, reached)

    def prune(
        self,
        *,
        rules: Mapping[str, Any],
        dry_run: bool,
        check: Check = "quick",
        remove_emptied: bool = False,
        idempotency_key: str | None = None,
        request_id: str | None = None,
    ) -> Job:
        """Begin to remove the sets that no rule keeps.

        Args:
            rules: Those of ``PRUNE_RULES``.
            dry_run: Remove nothing, and tell what would go.
            check: Which sets that stay are proved first; see :func:`pgvector_restore.prune`.
            remove_emptied: Sets whose rows were removed from the database go like any other.
            idempotency_key: As for :meth:`restore`.
            request_id: As for :meth:`restore`.

        Raises:
            OptionError: A wrong rule, or a store that cannot be written.
            StoreError: No such set as one of ``labels``.
            JobConflictError: Another job prunes.
            IdempotencyError: The key was used for another request.
            ShuttingDownError: No more jobs are taken.
        """
        parts = (rules, dry_run, check, remove_emptied)
        asked = self._asked("prune", parts, idempotency_key, request_id)
        if isinstance(asked, Job):
            return asked
        chosen = keep_rules(rules)
        for label in chosen.labels:
            check_label(self._resources.catalog.get(), label)
        if not dry_run:
            check_removable(self.store)

        def work(job: JobHandle) -> dict[str, Any]:
            report = prune(
                self.store,
                chosen,
                dry_run=dry_run,
                check=check,
                remove_emptied=remove_emptied,
                cancel=job.cancel,
            )
            return report.to_dict()

        return self._begin(asked, work)

    def connection(self, text: str) -> str:
        """The name of the target that a caller's connection means, or the text if it is allowed.

        Raises:
            ConnectionNotAllowedError: It is not.
        """
        return self._resources.connections.check(text)

    def ready(self) -> dict[str, Any]:
        """Whether the store can be listed and each target answers, as of two seconds ago."""
        return self._resources.ready.get()

    def _asked(
        self, kind: JobKind, parts: tuple[object, ...], key: str | None, request_id: str | None
    ) -> Asked | Job:
        """The request, or the job of an earlier one with the same key."""
        digest = request_digest(kind, *parts)
        return self.jobs.known(key, digest) or Asked(kind, digest, key, request_id)

    def _begin(
        self, asked: Asked, work: Work, label: str | None = None, reached: Reached | None = None
    ) -> Job:
        ended = self._resources.catalog.invalidate
        return self.jobs.start(asked.request(work, label, reached, ended))
