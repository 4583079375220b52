"""Why sets are not valid, as far as names, sizes and manifests tell."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

from pgvector_restore.cancel import CancelToken
from pgvector_restore.errors import BackupNotFoundError, BadManifestError, CancelledError
from pgvector_restore.model import BackupSet
from pgvector_restore.storage import BackupStore

__all__ = ["problems_of"]

#: Manifests asked for at once over a network, where each takes its time to come.
_AT_ONCE = 8

#: Labels have the local time of some machine, and zones lie 26 hours apart at the most. A set from
#: further ahead was made with a wrong clock.
_AHEAD = timedelta(hours=26)


def problems_of(
    store: BackupStore, sets: Sequence[BackupSet], clock: float, cancel: CancelToken | None
) -> dict[BackupSet, str | None]:
    """Why each set is not valid, or ``None``; over a network several are looked at at once.

    Args:
        store: Where they lie.
        sets: The sets.
        clock: What time it is, seconds since the epoch.
        cancel: Calls it off.

    Raises:
        CancelledError: It was called off.
        StoreError: A manifest cannot be read.
    """
    threads = ThreadPoolExecutor(1 if store.is_local else _AT_ONCE, "pgvector_restore prune")
    try:
        futures = [threads.submit(_problem, store, one, clock) for one in sets]
        found = {}
        for one, future in zip(sets, futures, strict=True):
            if cancel is not None and cancel.cancelled:
                raise CancelledError("cancelled: what was removed before that is gone")
            found[one] = future.result()
        return found
    finally:
        threads.shutdown(cancel_futures=True)


def _problem(store: BackupStore, backup: BackupSet, clock: float) -> str | None:
    if backup.backup_date > datetime.fromtimestamp(clock) + _AHEAD:  # noqa: DTZ006 - local as well
        return "its time lies ahead of the clock"
    for file in backup.files:
        for info in file.objects:
            if not info.size_bytes:  # without rows there is a header still
                return f"{info.key.rpartition('/')[2]} is empty"
    try:
        store.read_manifest(backup)
    except (BadManifestError, BackupNotFoundError) as exc:
        return str(exc)
    return None
