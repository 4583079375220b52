"""Rows of backup sets, as their logs and manifests count them: what a catalog does not tell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from attrs import field, frozen

from pgvector_restore.errors import BadManifestError, StoreError
from pgvector_restore.model import BackupFile, BackupSet, Catalog, Location
from pgvector_restore.storage import BackupLog, BackupStore

__all__ = ["Counts", "read_counts"]

#: A log or a manifest is a request of its own to the storage: more would be slower than the
#: listing.
_MAX_LOGS = 50
_MAX_MANIFESTS = 50
#: So many manifests are asked for at a time.
_AT_ONCE = 8


@frozen
class Counts:
    """What is known of the rows of some sets."""

    #: Logs of the locations that have one.
    logs: Mapping[Location, BackupLog] = field(factory=dict)
    #: Rows by table as the manifest has them, or why it cannot be used.
    manifests: Mapping[BackupSet, Mapping[str, int] | str] = field(factory=dict)
    #: There were too many manifests to read all of them.
    cut: bool = False

    def rows(self, backup: BackupSet, file: BackupFile) -> int | None:
        """Rows of a file; ``None``: nobody has told."""
        log = self.logs.get(backup.location)
        rows = log.rows_of(file.name) if log is not None else None
        counted = self.manifests.get(backup)
        if rows is None and counted is not None and not isinstance(counted, str):
            return counted.get(file.table)
        return rows

    def problem(self, backup: BackupSet) -> str | None:
        """Why the manifest of a set cannot be used; ``None``: it can, or was not read."""
        found = self.manifests.get(backup)
        return found if isinstance(found, str) else None


def read_counts(store: BackupStore, catalog: Catalog, sets: Iterable[BackupSet]) -> Counts:
    """Read logs, and manifests of sets that no log speaks of, newest first, unless too many.

    What the storage does not give is left out.

    Args:
        store: Where they lie.
        catalog: What is there.
        sets: Those that are shown.
    """
    logs: dict[Location, BackupLog] = {}
    if len(catalog.locations) <= _MAX_LOGS:
        for location in catalog.locations:
            with suppress(StoreError):
                log = store.read_log(location)
                if log is not None:
                    logs[location] = log
    known = Counts(logs)
    wanted = [
        one
        for one in sorted(sets, key=lambda one: one.timestamp, reverse=True)
        if one.manifest is not None and None in [known.rows(one, file) for file in one.files]
    ]
    read = wanted[:_MAX_MANIFESTS]
    manifests: dict[BackupSet, Mapping[str, int] | str] = {}
    if read:
        with ThreadPoolExecutor(min(_AT_ONCE, len(read))) as pool:
            found = zip(read, pool.map(lambda one: _counted(store, one), read), strict=True)
            manifests = {one: counted for one, counted in found if counted is not None}
    return Counts(logs, manifests, len(read) < len(wanted))


def _counted(store: BackupStore, backup: BackupSet) -> Mapping[str, int] | str | None:
    try:
        manifest = store.read_manifest(backup)
    except BadManifestError as exc:
        return str(exc)
    except StoreError:
        return None
    return None if manifest is None else {one.name: one.rows for one in manifest.tables}
