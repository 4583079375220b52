"""What was left unfinished: what of it may go."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pgvector_restore.model import Catalog, IncompleteSet, ObjectInfo, parse_timestamp
from pgvector_restore.prune_report import Leftover
from pgvector_restore.storage import BackupStore

__all__ = ["judge_leftover"]


def judge_leftover(
    store: BackupStore, found: IncompleteSet, catalog: Catalog, then: float
) -> Leftover:
    """What becomes of it.

    Args:
        store: Where it lies.
        found: What is unfinished.
        catalog: Where it was found.
        then: What was not changed since, seconds since the epoch, was given up.
    """
    layout = store.layout
    marked = any(layout.parse_manifest_name(_name(i)) == (found.timestamp, False)
                 for i in found.objects)  # fmt: skip
    beside = any(
        one.location == found.location and one.timestamp == found.timestamp for one in catalog.sets
    )
    partial = tuple(i for i in found.objects if i.key.endswith(layout.partial_suffix))
    # Beside a complete set a mark is only what its writer had no time to take away.
    objects = _marker_last(found.objects, partial) if marked and not beside else partial
    if not objects:
        return Leftover(found, (), keep=True, reason=f"look at it: {found.reason}")
    newest = _newest(found, found.objects if marked else objects)
    if newest is None or newest > then:
        return Leftover(found, objects, keep=True, reason="it may still be written")
    return Leftover(found, objects, keep=False, reason=found.reason)


def _marker_last(
    objects: Sequence[ObjectInfo], partial: Sequence[ObjectInfo]
) -> tuple[ObjectInfo, ...]:
    """An end in the middle leaves the mark, so that what is left is no set."""
    return (*(info for info in objects if info not in partial), *partial)


def _newest(found: IncompleteSet, objects: Sequence[ObjectInfo]) -> float | None:
    """When it was last changed; by its name where the storage does not tell."""
    times = [info.mtime for info in objects if info.mtime is not None]
    if times:
        return max(times)
    moment = parse_timestamp(found.timestamp)
    try:
        return moment.timestamp() if moment is not None else None
    except (ValueError, OverflowError, OSError):  # systems count from 1970, some not far back
        return -math.inf


def _name(info: ObjectInfo) -> str:
    return info.key.rpartition("/")[2]
