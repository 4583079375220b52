"""Which backups to keep: rules in, decisions out. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from attrs import Attribute, asdict, field, fields, frozen

from pgvector_restore.errors import OptionError
from pgvector_restore.model import BackupSet

__all__ = ["EMPTIED", "Decision", "KeepRules", "decide", "labels_of"]

#: Why a set stays that may be the only copy of its rows.
EMPTIED = "its rows were removed from the database after this backup"

#: No calendar needs more, and a number beyond it is a slip.
_MAX = 100_000


def _number(_: object, attribute: Attribute[Any], value: object) -> None:
    if value is None:
        return
    if type(value) is not int or not 1 <= value <= _MAX:
        raise OptionError(
            f"{attribute.name} must be a whole number from 1 to {_MAX}, not {value!r}"
        )


def _texts(value: Iterable[str]) -> tuple[str, ...]:
    if isinstance(value, str):
        raise OptionError("labels to keep are a list of labels, not one text")
    return tuple(value)


@frozen
class KeepRules:
    """What is kept; a set that no rule keeps may go. Without any rule everything is kept.

    Of a day, week or month the newest set is kept. Only those count that have a set: after a
    pause nothing goes because of its age alone. Weeks are those of ISO 8601, from Monday; times are
    those in the labels.

    Raises:
        OptionError: A number below 1.
    """

    #: The newest sets.
    last: int | None = field(default=None, validator=_number)
    #: Days of which one is kept.
    daily: int | None = field(default=None, validator=_number)
    #: Weeks of which one is kept.
    weekly: int | None = field(default=None, validator=_number)
    #: Months of which one is kept.
    monthly: int | None = field(default=None, validator=_number)
    #: All sets of so many days before the newest one.
    within_days: int | None = field(default=None, validator=_number)
    #: Labels that are kept in any case.
    labels: tuple[str, ...] = field(default=(), converter=_texts)
    #: Rules go for each location by itself, not for all of them together.
    per_location: bool = True

    @property
    def given(self) -> bool:
        """Whether there is a rule by which sets could go."""
        numbers = (self.last, self.daily, self.weekly, self.monthly, self.within_days)
        return any(number is not None for number in numbers)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {**asdict(self), "labels": list(self.labels)}


@frozen
class Decision:
    """What becomes of a set."""

    #: The set.
    backup: BackupSet
    #: It stays.
    keep: bool
    #: Why, one reason each.
    reasons: tuple[str, ...]
    #: What is wrong with it; ``None``: nothing that was seen.
    problem: str | None = None
    #: Tables whose rows were, or may have been, removed from the database after it.
    emptied: tuple[str, ...] = ()
    #: It was read whole for this, and is what it should be.
    proved: bool = False

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            **self.backup.to_dict(),
            "size_bytes": self.backup.size_bytes,
            "keep": self.keep,
            "reasons": list(self.reasons),
            "problem": self.problem,
            "emptied": list(self.emptied),
            "proved": self.proved,
        }


def decide(
    sets: Sequence[BackupSet],
    rules: KeepRules,
    problem: Callable[[BackupSet], str | None],
    emptied: Callable[[BackupSet], tuple[str, ...]] = lambda _: (),
    *,
    remove_emptied: bool = False,
) -> tuple[Decision, ...]:
    """What the rules say of each set, in the order of the sets.

    The newest valid set of each location is always kept. A set that is not valid counts for no
    rule, and stays as well: somebody should look at it. One whose rows were removed from the
    database after it was made stays too: it may be the only copy of them.

    Args:
        sets: Complete sets, newest first.
        rules: What to keep.
        problem: Why a set is not valid; ``None``: it is.
        emptied: Tables of a set whose rows were, or may have been, removed after it.
        remove_emptied: Such a set goes like any other.
    """
    problems = {one: found for one in sets if (found := problem(one)) is not None}
    good = [one for one in sets if one not in problems]
    reasons: dict[BackupSet, list[str]] = {one: [] for one in good}
    for group in _groups(good, rules):
        for one, reason in _kept(group, rules):
            reasons[one].append(reason)
    for group in _groups(good, KeepRules()):
        reasons[group[0]].append("newest valid set of its location")
    gone = {one: tables for one in sets if (tables := emptied(one))}
    for one in good if not remove_emptied else ():
        if one in gone:
            reasons[one].append(EMPTIED)
    return tuple(
        Decision(
            one,
            keep=True,
            reasons=(f"not valid: {problems[one]}",),
            problem=problems[one],
            emptied=gone.get(one, ()),
        )
        if one in problems
        else Decision(
            one,
            bool(reasons[one]),
            tuple(reasons[one]) or ("no rule keeps it",),
            emptied=gone.get(one, ()),
        )
        for one in sets
    )


def _groups(sets: Sequence[BackupSet], rules: KeepRules) -> list[list[BackupSet]]:
    groups: dict[str, list[BackupSet]] = {}
    for one in sets:
        groups.setdefault(one.location.key if rules.per_location else "", []).append(one)
    return list(groups.values())


#: The day, week or month a moment is in.
_PERIODS: dict[str, Callable[[datetime], object]] = {
    "daily": lambda moment: moment.date(),
    "weekly": lambda moment: moment.isocalendar()[:2],
    "monthly": lambda moment: (moment.year, moment.month),
}


def _kept(group: Sequence[BackupSet], rules: KeepRules) -> Iterable[tuple[BackupSet, str]]:
    """Sets of a group that are kept, newest first, with the reason."""
    if not rules.given:
        yield from ((one, "no rule is given") for one in group)
    for number, one in enumerate(group[: rules.last or 0], 1):
        yield one, f"last {number} of {rules.last}"
    for name, period_of in _PERIODS.items():
        seen: set[object] = set()
        most = getattr(rules, name) or 0
        for one in group:
            period = period_of(one.backup_date)
            if len(seen) < most and period not in seen:
                seen.add(period)
                yield one, f"{name} {len(seen)} of {most}"
    if rules.within_days is not None:
        newest, span = group[0].backup_date, timedelta(days=rules.within_days)
        recent = (one for one in group if newest - one.backup_date <= span)
        yield from ((one, f"within {rules.within_days} days") for one in recent)
    named = {label.removeprefix("./") for label in rules.labels}  # as Catalog.get reads them
    yield from ((one, "named") for one in group if labels_of(one) & named)


def labels_of(one: BackupSet) -> set[str]:
    """All ways to name a set."""
    return {f"{name}/{one.timestamp}" if name else one.timestamp for name in one.location.names}


assert {field.name for field in fields(KeepRules)} >= _PERIODS.keys()  # noqa: S101 - the table fits
