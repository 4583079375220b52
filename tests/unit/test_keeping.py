from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgvector_restore.errors import OptionError
from pgvector_restore.keeping import Decision, KeepRules, decide
from pgvector_restore.model import BackupFile, BackupSet, Location, ObjectInfo

_GLOBAL = Location("global", "vector_bak", "vector_bak")
_TASK = Location("task", "task_1", "task_1/vector_bak", task_id="task_1")


def made(stamp: str, location: Location = _GLOBAL) -> BackupSet:
    info = ObjectInfo(f"{location.key}/langchain_pg_collection_{stamp}.csv", 1)
    return BackupSet(location, stamp, (BackupFile("langchain_pg_collection", info),))


def stamps(*moments: str, location: Location = _GLOBAL) -> list[BackupSet]:
    return [made(moment, location) for moment in sorted(moments, reverse=True)]


def fine(_: BackupSet) -> None:
    return None


def kept(decisions: tuple[Decision, ...]) -> list[str]:
    return [one.backup.timestamp for one in decisions if one.keep]


#: Three a day from Thursday 1 January 2026, for 70 days.
_MANY = [
    made(f"{datetime(2026, 1, 1) + timedelta(days=day):%Y%m%d}_{hour:02}0000")  # noqa: DTZ001
    for day in reversed(range(70))
    for hour in (22, 12, 2)
]


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (KeepRules(last=2), ["20260311_220000", "20260311_120000"]),
        (KeepRules(daily=2), ["20260311_220000", "20260310_220000"]),
        # 11 March is a Wednesday: the Sundays before it end their weeks.
        (KeepRules(weekly=3), ["20260311_220000", "20260308_220000", "20260301_220000"]),
        (KeepRules(monthly=9), ["20260311_220000", "20260228_220000", "20260131_220000"]),
        (
            KeepRules(within_days=1),
            ["20260311_220000", "20260311_120000", "20260311_020000", "20260310_220000"],
        ),
        (
            KeepRules(daily=1, labels=("vector_bak/20260105_020000",)),
            ["20260311_220000", "20260105_020000"],
        ),
        (
            KeepRules(last=1, daily=2, weekly=2),
            ["20260311_220000", "20260310_220000", "20260308_220000"],
        ),
    ],
)
def test_rules(rules: KeepRules, expected: list[str]) -> None:
    assert kept(decide(_MANY, rules, fine)) == expected


def test_days_before_the_calendar_begins() -> None:
    early = stamps("00010101_000000", "00010102_000000", "00010110_000000")
    assert len(kept(decide(early, KeepRules(within_days=8), fine))) == 2
    assert len(kept(decide(early, KeepRules(within_days=100_000), fine))) == 3


def test_reasons_are_told() -> None:
    first, second, *_ = decide(_MANY, KeepRules(last=1, daily=3, weekly=1), fine)
    assert first.reasons == (
        "last 1 of 1", "daily 1 of 3", "weekly 1 of 1", "newest valid set of its location",
    )  # fmt: skip
    assert (second.keep, second.reasons) == (False, ("no rule keeps it",))


@pytest.mark.parametrize("rules", [KeepRules(), KeepRules(labels=("vector_bak/20260105_020000",))])
def test_without_a_rule_all_stay(rules: KeepRules) -> None:
    assert len(kept(decide(_MANY, rules, fine))) == len(_MANY)


def test_each_location_for_itself_or_all_together() -> None:
    sets = [made("20260103_000000"), made("20260102_000000", _TASK), made("20260101_000000", _TASK)]
    assert kept(decide(sets, KeepRules(last=1), fine)) == ["20260103_000000", "20260102_000000"]
    # The newest valid one of a location stays, whatever the rules.
    together = decide(sets, KeepRules(last=1, per_location=False), fine)
    assert kept(together) == ["20260103_000000", "20260102_000000"]
    assert together[1].reasons == ("newest valid set of its location",)
    two = KeepRules(last=2, per_location=False)
    assert kept(decide(sets, two, fine)) == ["20260103_000000", "20260102_000000"]


def test_a_set_that_is_not_valid_counts_for_no_rule() -> None:
    sets = stamps("20260101_000000", "20260102_000000", "20260103_000000")
    broken = sets[0]
    found = decide(sets, KeepRules(last=1), lambda one: "broken" if one == broken else None)
    assert [one.keep for one in found] == [True, True, False]
    assert found[0].reasons == ("not valid: broken",)


@pytest.mark.parametrize("value", [0, -1, True, 1.0, "1", 100_001])
def test_numbers(value: object) -> None:
    with pytest.raises(OptionError, match="daily must be a whole number from 1 to 100000"):
        KeepRules(daily=value)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="labels to keep are a list"):
        KeepRules(labels="vector_bak/20260101_000000")


_moments = st.datetimes(datetime(2020, 1, 1), datetime(2027, 1, 1))  # noqa: DTZ001 - no zone
_numbers = st.none() | st.integers(1, 5)


@given(
    st.lists(st.tuples(_moments, st.sampled_from([_GLOBAL, _TASK])), max_size=40),
    st.builds(
        KeepRules,
        last=_numbers,
        daily=_numbers,
        weekly=_numbers,
        monthly=_numbers,
        within_days=_numbers,
        per_location=st.booleans(),
    ),
    st.data(),
)
def test_what_always_holds(
    drawn: list[tuple[datetime, Location]], rules: KeepRules, data: st.DataObject
) -> None:
    sets = list({made(f"{moment:%Y%m%d_%H%M%S}", location) for moment, location in drawn})
    sets.sort(key=lambda one: one.timestamp, reverse=True)
    bad = data.draw(st.sets(st.sampled_from(sets))) if sets else set()
    found = decide(sets, rules, lambda one: "x" if one in bad else None)
    assert [one.backup for one in found] == sets
    assert all(one.reasons for one in found)
    for location in (_GLOBAL, _TASK):
        own = [one for one in found if one.backup.location == location]
        valid = [one for one in own if one.backup not in bad]
        assert not valid or valid[0].keep
    assert all(one.keep for one in found if one.backup in bad)
    # Without those that went the same rules let nothing go.
    again = decide(
        [one.backup for one in found if one.keep], rules, lambda one: "x" if one in bad else None
    )
    assert all(one.keep for one in again)
