"""What requests share: the store, its listing, and who restores into which database."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pgvector_restore.errors import BackupNotFoundError
from pgvector_restore.http.connections import Connections, Reached
from pgvector_restore.http.readiness import check_ready
from pgvector_restore.http.settings import ServiceSettings
from pgvector_restore.http.shared import Shared
from pgvector_restore.model import BackupSet, Catalog
from pgvector_restore.restorer import Restorer
from pgvector_restore.storage import open_store

__all__ = ["Resources"]

#: Seconds a listing is used: short enough for people who wait for a backup of another program,
#: long enough that 200 clients who list 10,000 sets cost no more than a few.
_CATALOG_AGE_S = 2.0
#: A listing is used at least so many times as long as it took: while clients never stop asking, a
#: tenth of the time goes into listing, however large the store.
_CATALOG_TIMES = 10.0
#: Seconds an answer to "are you ready" is used: anybody may ask, as often as they like.
_READY_AGE_S = 2.0


class Resources:
    """Store, databases and what is known of them. Any thread may call any method.

    Args:
        settings: What the operator has set.

    Raises:
        OptionError: The store or a target is not understood.
    """

    def __init__(self, settings: ServiceSettings) -> None:
        #: Where backups lie.
        self.store = open_store(settings.store, storage_options=settings.storage_options)
        #: The databases.
        self.connections = Connections(settings)
        #: What backups there are.
        self.catalog = Shared(self._look, _CATALOG_AGE_S, _CATALOG_TIMES)
        #: What can be reached.
        self.ready = Shared(lambda: check_ready(self.store, self.connections), _READY_AGE_S)
        #: Options that requests start from.
        self.defaults: dict[str, Any] = {
            "schema": settings.schema_name,
            "lock_timeout_s": settings.lock_timeout_s,
            "jobs": settings.jobs,
        }
        self._lock = threading.Lock()
        self._restorers: dict[str, Restorer] = {}

    def _look(self) -> Catalog:
        """A store that is not there yet has no backups: the first one makes it."""
        try:
            return self.store.catalog()
        except BackupNotFoundError:
            return Catalog((), (), ())

    def find(self, label: str) -> BackupSet:
        """The set of a label; ``latest`` is that of the store as it is now.

        Raises:
            OptionError: A text that can be no label.
            StoreError: No such set, or the store cannot be listed.
        """
        if label == "latest":
            return self.catalog.get(fresh=True).get(label)
        try:
            return self.store.find(label)[0]
        except BackupNotFoundError:  # the store may not be there yet
            return self.catalog.get(fresh=True).get(label)

    def again(self, found: BackupSet) -> BackupSet:
        """The set as it is now: between request and job its files may have changed."""
        return self.store.catalog_of(found.location).get(found.label)

    @contextmanager
    def restoring(self, reached: Reached) -> Iterator[Restorer]:
        """A target's restorer, which stays, or one for a caller's connection."""
        if reached.configured:
            yield self.restorer(reached.name)
        else:
            with Restorer(self.store, reached.target) as restorer:
                yield restorer

    def restorer(self, name: str) -> Restorer:
        """The restorer of a target."""
        with self._lock:
            if name not in self._restorers:
                self._restorers[name] = Restorer(self.store, self.connections.conninfo(name) or "")
            return self._restorers[name]

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            restorers = list(self._restorers.values())
            self._restorers.clear()
        for restorer in restorers:
            restorer.close()
