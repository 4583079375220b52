"""Rows of backup sets, as their logs and manifests count them: what a catalog does not tell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from attrs import field, frozen

from pgvector_restore.errors import BadManifestError, StoreError
from pgvector_restore.manifest import Manifest
from pgvector_restore.model import BackupFile, BackupSet, Catalog, Location
from pgvector_restore.storage import BackupLog, BackupStore
from pgvector_restore.storage.log import emptied_tables

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
    #: The manifests that were read, or why one cannot be used.
    manifests: Mapping[BackupSet, Manifest | str] = field(factory=dict)
    #: There were too many manifests to read all of them.
    cut: bool = False

    def rows(self, backup: BackupSet, file: BackupFile) -> int | None:
        """Rows of a file; ``None``: nobody has told."""
        log = self.logs.get(backup.location)
        rows = log.rows_of(file.name) if log is not None else None
        if rows is None and (manifest := self._manifest(backup)) is not None:
            table = manifest.table(file.table)
            return table.rows if table is not None else None
        return rows

    def emptied(self, backup: BackupSet) -> tuple[str, ...] | None:
        """Tables whose rows were, or may have been, removed from the database after the set.

        ``None``: nobody has told, its manifest was not read.
        """
        manifest = self._manifest(backup)
        found = emptied_tables(backup, manifest, self.logs.get(backup.location))
        return None if not found and manifest is None and backup.manifest is not None else found

    def _manifest(self, backup: BackupSet) -> Manifest | None:
        found = self.manifests.get(backup)
        return None if isinstance(found, str) else found

    def problem(self, backup: BackupSet) -> str | None:
        """Why the manifest of a set cannot be used; ``None``: it can, or was not read."""
        found = self.manifests.get(backup)
        return found if isinstance(found, str) else None


def read_counts(store: BackupStore, catalog: Catalog, sets: Iterable[BackupSet]) -> Counts:
    """Read logs and manifests, newest first, unless too many.

    Those of sets that no log speaks of come first. What the storage does not give is left out.

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
    described = [
        one
        for one in sorted(sets, key=lambda one: one.timestamp, reverse=True)
        if one.manifest is not None
    ]
    wanted = [one for one in described if None in [known.rows(one, file) for file in one.files]]
    told = set(wanted)
    read = [*wanted, *(one for one in described if one not in told)][:_MAX_MANIFESTS]
    manifests: dict[BackupSet, Manifest | str] = {}
    if read:
        with ThreadPoolExecutor(min(_AT_ONCE, len(read))) as pool:
            found = zip(read, pool.map(lambda one: _read(store, one), read), strict=True)
            manifests = {one: manifest for one, manifest in found if manifest is not None}
    return Counts(logs, manifests, len(wanted) > _MAX_MANIFESTS)


def _read(store: BackupStore, backup: BackupSet) -> Manifest | str | None:
    try:
        return store.read_manifest(backup)
    except BadManifestError as exc:
        return str(exc)
    except StoreError:
        return None
