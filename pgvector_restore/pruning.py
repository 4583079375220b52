"""Removing backups that no rule keeps, and what was left unfinished."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from typing import get_args

from attrs import define, evolve, field, frozen

from pgvector_restore.cancel import CancelToken
from pgvector_restore.errors import (
    BackupInUseError,
    BackupNotFoundError,
    CancelledError,
    OptionError,
    PruneError,
    StoreError,
    quoted,
)
from pgvector_restore.failpoints import reach
from pgvector_restore.keeping import Decision, KeepRules, decide, labels_of
from pgvector_restore.leftovers import judge_leftover
from pgvector_restore.model import BackupSet, Catalog, IncompleteSet, ObjectInfo
from pgvector_restore.proving import prove
from pgvector_restore.prune_report import Check, Leftover, PruneReport
from pgvector_restore.storage import BackupStore, WritableStore
from pgvector_restore.validity import CALLED_OFF, looks_at

__all__ = ["check_label", "prune"]

_log = logging.getLogger(__name__)

#: Seconds after which what is unfinished is taken for given up, unless asked otherwise: a day.
_LEFTOVER_AGE_S = 86_400.0

#: So many failures in a row are those of a folder, or of the storage, not of single sets: the rest
#: there is not tried.
_MOST_FAILURES = 3
_MOST_FAILURES_IN_ALL = 10


def prune(  # noqa: PLR0913 - a choice of sets, and how to go about it
    store: BackupStore,
    rules: KeepRules,
    *,
    task_id: str | None = None,
    global_only: bool = False,
    dry_run: bool = False,
    check: Check = "quick",
    remove_emptied: bool = False,
    leftover_age_s: float = _LEFTOVER_AGE_S,
    now: float | None = None,
    cancel: CancelToken | None = None,
) -> PruneReport:
    """Remove the sets that no rule keeps, and what was left unfinished long enough ago.

    The newest valid set of each location is never removed, nor one that is being read
    (:meth:`BackupStore.hold`) or written, nor one whose files are those of a set that stays: links
    in a local folder. A set whose time lies ahead counts for no rule and stays.

    Before anything goes, sets that stay are proved: one with a manifest by size and SHA-256 of its
    files, one without by reading it as :func:`inspect_set` does. A set that fails is named in the
    report, stays, and counts for no rule: the next one takes its place, and is proved in turn.
    Where no set of a location can be proved nothing goes there.

    A set whose rows were removed from the database after it, by ``truncate_after``, may be the only
    copy of them. It stays unless ``remove_emptied`` is asked for.

    Unfinished are files that are still named so and sets whose writer has left its mark; a set that
    only lacks a file stays, for people to look at.

    A set is removed in an order that leaves nothing which looks like one: marked as unfinished,
    then its manifest goes, then its files, then the mark.

    Args:
        store: Where they lie.
        rules: What to keep.
        task_id: Only this task's sets.
        global_only: Only those of global locations.
        dry_run: Remove nothing; look at everything all the same.
        check: ``quick`` proves the newest set that stays at each location, ``full`` all that stay,
            ``none`` none; without a rule nothing goes, and ``quick`` proves nothing.
        remove_emptied: Sets whose rows were removed from the database go like any other.
        leftover_age_s: Seconds since the last change of what is unfinished.
        now: Seconds since the epoch; ``None``: the clock.
        cancel: Calls it off from another thread, within about a second while sets are proved,
            later between two sets.

    Returns:
        What was removed; a set that could not be, because it is read, is told as kept.

    Raises:
        OptionError: A wrong argument, a read-only store, a label to keep that is not there.
        MissingExtraError: The package is not there to unpack a set that is to be proved.
        PruneError: Something could not be removed; all that could be is gone, and its ``report``
            tells what became of each set.
        StoreError: The store cannot be listed, or a manifest, a log or a file that is to be proved
            cannot be read; nothing is removed.
        CancelledError: It was called off; what went before is gone.
    """
    if not leftover_age_s >= 0:  # NaN is not either
        raise OptionError(f"leftover_age_s must be 0 or more, it is {leftover_age_s}")
    _check_asked(check, remove_emptied)
    writable = None if dry_run else _writable(store)
    clock = time.time() if now is None else now
    catalog = store.catalog(task_id=task_id, global_only=global_only)
    for label in rules.labels:
        check_label(catalog, label)
    asked = _Asked(rules, check, remove_emptied)
    decisions = _decided(store, catalog.sets, asked, clock, cancel)
    then = clock - leftover_age_s
    leftovers = tuple(judge_leftover(store, one, catalog, then) for one in catalog.incomplete)
    if writable is None:
        report = PruneReport(store.url, rules, dry_run, decisions, leftovers)
        return evolve(report, check=check, remove_emptied=remove_emptied)
    reach("prune.proved")
    run = _Run(writable, cancel)
    # The oldest first: ended in the middle, the newest are still there. Links before what they
    # lead to: a link to nothing is no file any more.
    oldest_first = decisions[::-1]
    order = sorted(oldest_first, key=lambda one: not _links(one.backup))
    done = {one.backup: run.remove(one) for one in order}
    decisions = tuple(done[one.backup] for one in decisions)
    swept = tuple(run.sweep(one) for one in leftovers)
    report = PruneReport(
        *(store.url, rules, dry_run, decisions, swept, tuple(run.failed), check, remove_emptied)
    )
    if run.first is not None:
        labels = ", ".join(one.label for one in report.failed[:_MOST_FAILURES])
        more = len(report.failed) - _MOST_FAILURES
        error = PruneError(
            f"could not remove {labels}{f' and {more} more' if more > 0 else ''}: {run.first}",
            hint=run.first.hint,
        )
        error.report = report
        raise error from run.first
    return report


@frozen
class _Asked:
    """What is to stay, and how sure of it one wants to be."""

    rules: KeepRules
    check: Check
    remove_emptied: bool


def _decided(
    store: BackupStore,
    sets: Sequence[BackupSet],
    asked: _Asked,
    clock: float,
    cancel: CancelToken | None,
) -> tuple[Decision, ...]:
    """What becomes of each set, once those that stay were proved."""
    looks = looks_at(store, sets, clock, cancel)
    problems = {one: look.problem for one, look in looks.items()}
    proved: set[BackupSet] = set()
    while True:
        decisions = decide(
            sets,
            asked.rules,
            problems.get,
            lambda one: looks[one].emptied,
            remove_emptied=asked.remove_emptied,
        )
        decisions = _with_links(decisions)
        wanted = _to_prove(decisions, asked, proved)
        if not wanted:
            break
        found = prove(store, wanted, cancel)
        problems |= {one: problem for one, problem in found.items() if problem is not None}
        proved |= {one for one, problem in found.items() if problem is None}
    for one in decisions:
        if one.problem is not None:
            _log.warning("backup set %s is not valid: %s", quoted(one.backup.label), one.problem)
    return tuple(evolve(one, proved=one.backup in proved) for one in decisions)


def _to_prove(
    decisions: Sequence[Decision], asked: _Asked, proved: AbstractSet[BackupSet]
) -> list[BackupSet]:
    """Sets that are to be read before anything goes, and were not yet."""
    stay = [one.backup for one in decisions if one.keep and one.problem is None]
    if asked.check == "none" or (asked.check == "quick" and not asked.rules.given):
        return []
    if asked.check == "quick":  # the newest of each location, which comes first
        newest: dict[str, BackupSet] = {}
        for one in stay:
            newest.setdefault(one.location.key, one)
        stay = list(newest.values())
    return [one for one in stay if one not in proved]


@define
class _Run:
    """Removing, one thing after the other."""

    store: WritableStore
    cancel: CancelToken | None
    #: What could not be removed, and the first error.
    failed: list[BackupSet | IncompleteSet] = field(factory=list)
    first: StoreError | None = None
    #: Failures without any success between, by folder and in all.
    _at: Counter[str] = field(factory=Counter)
    _in_all: int = 0

    def remove(self, decision: Decision) -> Decision:
        """Remove a set that is to go."""
        if decision.keep or not self._go_on(decision.backup):
            return decision if decision.keep else self._untried(decision)
        backup = decision.backup
        objects = [backup.manifest] if backup.manifest is not None else []
        objects += [info for file in backup.files for info in file.objects]
        try:
            _remove(self.store, backup, objects)
        except BackupInUseError as exc:
            _log.info("%s", exc)
            return evolve(decision, keep=True, reasons=("it is being read",))
        except BackupNotFoundError as exc:
            _log.info("%s", exc)
            return evolve(decision, keep=True, reasons=("somebody else is removing it",))
        except StoreError as exc:
            self._note(backup, exc)
            whole = all(_is_there(self.store, info) for info in objects)
            how = "not removed" if whole else "removed in part, unfinished now"
            return evolve(decision, keep=True, reasons=(f"{how}: {exc}",))
        self._note(backup, None)
        return decision

    def sweep(self, one: Leftover) -> Leftover:
        """Remove what is unfinished, if it is to go."""
        if one.keep or not self._go_on(one.found):
            return one if one.keep else evolve(one, keep=True, reason=_UNTRIED)
        try:
            for info in one.objects:
                _delete(self.store, info)
                reach("prune.leftover")
        except StoreError as exc:
            self._note(one.found, exc)
            return evolve(one, keep=True, reason=f"not removed: {exc}")
        self._note(one.found, None)
        return one

    def _go_on(self, one: BackupSet | IncompleteSet) -> bool:
        if self.cancel is not None and self.cancel.cancelled:
            raise CancelledError(CALLED_OFF)
        here = self._at[one.location.key]
        return here < _MOST_FAILURES and self._in_all < _MOST_FAILURES_IN_ALL

    def _untried(self, decision: Decision) -> Decision:
        return evolve(decision, keep=True, reasons=(_UNTRIED,))

    def _note(self, one: BackupSet | IncompleteSet, exc: StoreError | None) -> None:
        place = one.location.key
        if exc is None:
            self._at[place] = self._in_all = 0
            return
        self.failed.append(one)
        self.first = self.first or exc
        self._at[place] += 1
        self._in_all += 1


_UNTRIED = "not tried after failures in a row"


def _check_asked(check: object, remove_emptied: object) -> None:
    if check not in get_args(Check):
        raise OptionError(
            f"check {quoted(str(check)[:80])} is not known",
            hint=f"check is one of {', '.join(get_args(Check))}",
        )
    if not isinstance(remove_emptied, bool):
        raise OptionError(f"remove_emptied must be true or false, not {remove_emptied!r}")


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
    if not any(label.removeprefix("./") in labels_of(one) for one in catalog.sets):
        catalog.get(label)  # which says what is there instead


def _with_links(decisions: Sequence[Decision]) -> tuple[Decision, ...]:
    """The decisions, with sets kept that others need: their files are links to those."""
    needed: dict[str, str] = {}
    for one in decisions:
        if one.keep:
            needed |= dict.fromkeys(_links(one.backup), one.backup.label)
    if not needed:
        return tuple(decisions)
    found = []
    for one in decisions:
        keys = [info.key for file in one.backup.files for info in file.objects]
        by = next((needed[key] for key in keys if key in needed), None)
        why = (f"{by} has links to its files",)
        found.append(one if one.keep or by is None else evolve(one, keep=True, reasons=why))
    return tuple(found)


def _links(backup: BackupSet) -> list[str]:
    """Keys that files of a set are links to."""
    return [i.link for file in backup.files for i in file.objects if i.link is not None]


def _remove(store: WritableStore, backup: BackupSet, objects: Sequence[ObjectInfo]) -> None:
    folder = f"{backup.location.key}/" if backup.location.key else ""
    marker = folder + store.layout.marker_name(backup.timestamp)
    with store.hold(backup, alone=True):
        try:
            with store.create(marker, replace=True):
                pass  # empty: on a full disk there is room for nothing else
        except BackupNotFoundError as exc:  # of the mark, not of the set
            raise StoreError(exc.message, hint=exc.hint) from exc
        reach("prune.marker")
        try:
            for info in objects:
                _delete(store, info)
                reach("prune.object")
        except StoreError:
            with suppress(StoreError):  # as long as the set is whole it needs no mark
                if all(_is_there(store, info) for info in objects):
                    store.delete(marker)
            raise
        reach("prune.objects")
        with suppress(BackupNotFoundError):
            store.delete(marker)
    reach("prune.set")


def _delete(store: WritableStore, info: ObjectInfo) -> None:
    try:
        store.delete(info.key)
    except BackupNotFoundError:  # somebody else was faster
        _log.info("%s had gone", info.key)


def _is_there(store: BackupStore, info: ObjectInfo) -> bool:
    """Whether an object is there still; one that nobody can tell of may be gone."""
    with suppress(StoreError):
        found = store.list(info.key, max_depth=info.key.count("/") + 1)
        return any(one.key == info.key for one in found)
    return False
