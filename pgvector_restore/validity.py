"""Why sets are not valid, as far as names, sizes and manifests tell."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

from attrs import frozen

from pgvector_restore.cancel import CancelToken
from pgvector_restore.errors import BackupNotFoundError, BadManifestError, CancelledError
from pgvector_restore.manifest import Manifest
from pgvector_restore.model import BackupSet
from pgvector_restore.storage import BackupStore
from pgvector_restore.storage.log import emptied_tables

__all__ = ["AT_ONCE", "CALLED_OFF", "Look", "looks_at"]

#: Sets that are looked at at once over a network, where each answer takes its time to come.
AT_ONCE = 8

#: What a prune says that was called off.
CALLED_OFF = "cancelled: what was removed before that is gone"

#: Labels have the local time of some machine, and zones lie 26 hours apart at the most. A set from
#: further ahead was made with a wrong clock.
_AHEAD = timedelta(hours=26)


@frozen
class Look:
    """What names, sizes, manifest and log tell of a set."""

    #: Why it is not valid; ``None``: nothing speaks against it.
    problem: str | None
    #: Tables whose rows were, or may have been, removed from the database after it.
    emptied: tuple[str, ...]


def looks_at(
    store: BackupStore, sets: Sequence[BackupSet], clock: float, cancel: CancelToken | None
) -> dict[BackupSet, Look]:
    """What is seen of each set without its files; over a network several are looked at at once.

    Args:
        store: Where they lie.
        sets: The sets.
        clock: What time it is, seconds since the epoch.
        cancel: Calls it off.

    Raises:
        CancelledError: It was called off.
        StoreError: A manifest or a log cannot be read.
    """
    threads = ThreadPoolExecutor(1 if store.is_local else AT_ONCE, "pgvector_restore prune")
    try:
        places = dict.fromkeys(one.location for one in sets)
        logs = {place: threads.submit(store.read_log, place) for place in places}
        futures = [threads.submit(_look, store, one, clock) for one in sets]
        found = {}
        for one, future in zip(sets, futures, strict=True):
            if cancel is not None and cancel.cancelled:
                raise CancelledError(CALLED_OFF)
            problem, manifest = future.result()
            emptied = emptied_tables(one, manifest, logs[one.location].result())
            found[one] = Look(problem, emptied)
        return found
    finally:
        threads.shutdown(cancel_futures=True)


def _look(
    store: BackupStore, backup: BackupSet, clock: float
) -> tuple[str | None, Manifest | None]:
    try:
        manifest = store.read_manifest(backup)
    except (BadManifestError, BackupNotFoundError) as exc:
        return str(exc), None
    if backup.backup_date > datetime.fromtimestamp(clock) + _AHEAD:  # noqa: DTZ006 - local as well
        return "its time lies ahead of the clock", manifest
    for file in backup.files:
        for info in file.objects:
            if not info.size_bytes:  # without rows there is a header still
                return f"{info.key.rpartition('/')[2]} is empty", manifest
    return None, manifest
