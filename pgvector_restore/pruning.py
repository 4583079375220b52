"""Removing backups that no rule keeps, and what was left unfinished."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from attrs import evolve, frozen

from pgvector_restore.cancel import CancelToken
from pgvector_restore.errors import (
    BackupInUseError,
    BackupNotFoundError,
    BadManifestError,
    CancelledError,
    OptionError,
)
from pgvector_restore.keeping import Decision, KeepRules, decide
from pgvector_restore.model import BackupSet, Catalog, IncompleteSet, ObjectInfo, parse_timestamp
from pgvector_restore.storage import BackupStore, WritableStore

__all__ = ["Leftover", "PruneReport", "check_label", "prune"]

_log = logging.getLogger(__name__)

#: Seconds after which what is unfinished is taken for given up, unless asked otherwise: a day.
_LEFTOVER_AGE_S = 86_400.0

#: Manifests asked for at once over a network, where each takes its time to come.
_AT_ONCE = 8


@frozen
class Leftover:
    """What was left unfinished, and what becomes of it."""

    #: As the catalog shows it.
    found: IncompleteSet
    #: Objects that go, or would go.
    objects: tuple[ObjectInfo, ...]
    #: It stays.
    keep: bool
    #: Why.
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            "label": self.found.label,
            "objects": [info.key for info in self.objects],
            "size_bytes": sum(info.size_bytes for info in self.objects),
            "keep": self.keep,
            "reason": self.reason,
        }


@frozen
class PruneReport:
    """What was removed, or would be, and why."""

    #: The store, as people may see it.
    store: str
    #: The rules.
    rules: KeepRules
    #: Nothing was removed; this is what would be.
    dry_run: bool
    #: Complete sets, newest first.
    decisions: tuple[Decision, ...]
    #: What is unfinished.
    leftovers: tuple[Leftover, ...]

    @property
    def removed(self) -> tuple[Decision, ...]:
        """Sets that went, or would go."""
        return tuple(one for one in self.decisions if not one.keep)

    @property
    def bytes_removed(self) -> int:
        """Stored bytes that went, or would go."""
        swept = (info for one in self.leftovers if not one.keep for info in one.objects)
        return sum(one.backup.size_bytes for one in self.removed) + sum(
            info.size_bytes for info in swept
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            "store": self.store,
            "rules": self.rules.to_dict(),
            "dry_run": self.dry_run,
            "bytes_removed": self.bytes_removed,
            "sets": [one.to_dict() for one in self.decisions],
            "leftovers": [one.to_dict() for one in self.leftovers],
        }


def prune(  # noqa: PLR0913 - a choice of sets, and how to go about it
    store: BackupStore,
    rules: KeepRules,
    *,
    task_id: str | None = None,
    global_only: bool = False,
    dry_run: bool = False,
    leftover_age_s: float = _LEFTOVER_AGE_S,
    now: float | None = None,
    cancel: CancelToken | None = None,
) -> PruneReport:
    """Remove the sets that no rule keeps, and what was left unfinished long enough ago.

    The newest valid set of each location is never removed, nor one that is being read
    (:meth:`BackupStore.hold`) or written. Unfinished are files that are still named so and sets
    whose writer has left its mark; a set that only lacks a file stays, for people to look at.

    A set is removed in an order that leaves nothing which looks like one: marked as unfinished,
    then its manifest goes, then its files, then the mark.

    Args:
        store: Where they lie.
        rules: What to keep.
        task_id: Only this task's sets.
        global_only: Only those of global locations.
        dry_run: Remove nothing.
        leftover_age_s: Seconds since the last change of what is unfinished.
        now: Seconds since the epoch; ``None``: the clock.
        cancel: Calls it off from another thread, between two sets.

    Returns:
        What was removed; a set that could not be, because it is read, is told as kept.

    Raises:
        OptionError: A read-only store, a label to keep that is not there.
        StoreError: Something could not be removed; what went before it is gone.
        CancelledError: It was called off; what went before is gone.
    """
    if not leftover_age_s >= 0:  # NaN is not either
        raise OptionError(f"leftover_age_s must be 0 or more, it is {leftover_age_s}")
    writable = None if dry_run else _writable(store)
    catalog = store.catalog(task_id=task_id, global_only=global_only)
    for label in rules.labels:
        check_label(catalog, label)
    decisions = decide(catalog.sets, rules, _problems(store, catalog.sets, cancel).get)
    then = (time.time() if now is None else now) - leftover_age_s
    leftovers = tuple(_leftover(store, one, catalog, then) for one in catalog.incomplete)
    if writable is not None:
        # The oldest first: ended in the middle, the newest are still there.
        gone = []
        for decision in reversed(decisions):
            _check(cancel)
            gone.append(_remove(writable, decision))
        decisions = tuple(reversed(gone))
        for one in leftovers:
            if not one.keep:
                _check(cancel)
                _delete(writable, one.objects)
    return PruneReport(store.url, rules, dry_run, decisions, leftovers)


def _check(cancel: CancelToken | None) -> None:
    if cancel is not None and cancel.cancelled:
        raise CancelledError("cancelled: what was removed before that is gone")


def _writable(store: BackupStore) -> WritableStore:
    if not isinstance(store, WritableStore):
        raise OptionError(f"{store.url} cannot be written: nothing can be removed there")
    if store.read_only_reason is not None:
        raise OptionError(f"{store.url} cannot be written: {store.read_only_reason}")
    return store


def check_label(catalog: Catalog, label: str) -> None:
    """Refuse a label that cannot be kept.

    Raises:
        OptionError: It means another set each time.
        StoreError: There is no such set.
    """
    if label.rpartition("/")[2] == "latest":
        raise OptionError(f"{label} names another set each time: the newest is kept anyway")
    catalog.get(label)


def _problems(
    store: BackupStore, sets: Sequence[BackupSet], cancel: CancelToken | None
) -> dict[BackupSet, str | None]:
    """Why sets are not valid; over a network several are looked at at once."""
    threads = ThreadPoolExecutor(1 if store.is_local else _AT_ONCE, "pgvector_restore prune")
    try:
        futures = [threads.submit(_problem, store, one) for one in sets]
        found = {}
        for one, future in zip(sets, futures, strict=True):
            _check(cancel)
            found[one] = future.result()
        return found
    finally:
        threads.shutdown(cancel_futures=True)


def _problem(store: BackupStore, backup: BackupSet) -> str | None:
    """Why a set is not valid, as far as names, sizes and its manifest tell."""
    for file in backup.files:
        for info in file.objects:
            if not info.size_bytes:  # without rows there is a header still
                return f"{_name(info)} is empty"
    try:
        store.read_manifest(backup)
    except (BadManifestError, BackupNotFoundError) as exc:
        return str(exc)
    return None


def _remove(store: WritableStore, decision: Decision) -> Decision:
    if decision.keep:
        return decision
    backup = decision.backup
    folder = f"{backup.location.key}/" if backup.location.key else ""
    marker = folder + store.layout.marker_name(backup.timestamp)
    try:
        with store.hold(backup, alone=True):
            with store.create(marker, replace=True):
                pass  # empty: on a full disk there is room for nothing else
            manifest = [backup.manifest] if backup.manifest is not None else []
            files = [info for file in backup.files for info in file.objects]
            _delete(store, [*manifest, *files])
            store.delete(marker)
    except BackupInUseError as exc:
        _log.info("%s", exc)
        return evolve(decision, keep=True, reasons=("it is being read",))
    except BackupNotFoundError as exc:
        _log.info("%s", exc)
        return evolve(decision, keep=True, reasons=("somebody else is removing it",))
    return decision


def _delete(store: WritableStore, objects: Iterable[ObjectInfo]) -> None:
    for info in objects:
        try:
            store.delete(info.key)
        except BackupNotFoundError:  # noqa: PERF203 - somebody else was faster
            _log.info("%s had gone", info.key)


def _leftover(store: BackupStore, found: IncompleteSet, catalog: Catalog, then: float) -> Leftover:
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
