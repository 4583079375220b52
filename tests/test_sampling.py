"""The sample of large tables that runs by default: nothing is lost but repetitions."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Hashable, Iterator
from itertools import product

import pytest

from tests.sampling import SAMPLES, Call, Sample, choose
from tests.turns import in_turns, skip_when_time_is_up

ROADS = ("text", "binary", "swap", "parallel")
SERVERS = (16, 18)


def calls(cases: int) -> list[Call]:
    return [
        {"case": case, "road": road, "server": server}
        for server, road, case in product(SERVERS, ROADS, range(cases))
    ]


def picked(table: list[Call], *row: str, each: int = 1) -> list[Call]:
    return [table[number] for number in sorted(choose(table, row, each))]


def test_every_row_goes_one_way_and_all_ways_are_gone_alike() -> None:
    found = picked(calls(99), "case")
    assert sorted(str(call["case"]) for call in found) == sorted(map(str, range(99)))
    ways = Counter((call["road"], call["server"]) for call in found)
    assert set(ways) == set(product(ROADS, SERVERS))
    assert max(ways.values()) - min(ways.values()) <= 1


def test_two_ways_of_a_row_have_nothing_in_common() -> None:
    found = picked(calls(99), "case", each=2)
    assert len(found) == 2 * 99
    for case in range(99):
        one, two = (call for call in found if call["case"] == case)
        assert one["road"] != two["road"]
        assert one["server"] != two["server"]
    ways = Counter((call["road"], call["server"]) for call in found)
    assert max(ways.values()) - min(ways.values()) <= 1


def test_a_row_of_two_parameters() -> None:
    found = picked(calls(7), "case", "road")
    assert {(call["case"], call["road"]) for call in found} == set(product(range(7), ROADS))
    assert len(found) == 7 * 4
    assert Counter(call["server"] for call in found) == {16: 14, 18: 14}


def test_rows_with_ways_of_their_own() -> None:
    table: list[Call] = [{"case": "one", "codec": "gzip"}]
    table += [{"case": "two", "codec": codec} for codec in ("gzip", "xz", "zstd")]
    table += [{"case": "three", "codec": codec} for codec in ("gzip", "xz", "zstd")]
    assert picked(table, "case") == [table[0], table[2], table[6]]
    assert picked(table, "case", each=5) == table


def test_the_choice_is_the_same_every_time() -> None:
    assert choose(calls(20), ["case"]) == choose(calls(20), ["case"])
    assert picked(calls(20)[:8], "case", "road", "server") == calls(20)[:8]


def collected(config: pytest.Config) -> Iterator[tuple[str, Sample]]:
    whole = {
        name: sample
        for name, sample in config.stash[SAMPLES].items()
        if len({call.get("server") for call in sample.calls}) == len(SERVERS)
    }
    if not whole:
        pytest.skip("no sampled test was collected; they are in tests/restore and tests/faults")
    yield from whole.items()


def values(sample: Sample, numbers: Iterator[int]) -> set[tuple[str, Hashable]]:
    return {pair for number in numbers for pair in sample.calls[number].items()}


def test_samples_of_this_suite_meet_every_row_and_every_value(
    pytestconfig: pytest.Config,
) -> None:
    for name, sample in collected(pytestconfig):
        everything = values(sample, iter(range(len(sample.calls))))
        assert values(sample, iter(sample.chosen)) == everything, name
        rows = {tuple(call[part] for part in sample.row) for call in sample.calls}
        met = Counter(tuple(sample.calls[n][part] for part in sample.row) for n in sample.chosen)
        assert set(met) == rows, name
        assert max(met.values()) == sample.each, name


def test_turns_take_each_test_once_before_any_again() -> None:
    functions = ["one"] + ["two"] * 2 + ["six"] * 6 + ["pair"] * 2
    order = in_turns(functions)
    assert sorted(order) == list(range(len(functions)))
    names = [functions[number] for number in order]
    assert Counter(names[:4]) == Counter(["one", "two", "six", "pair"])
    assert Counter(names[4:7]) == Counter(["two", "six", "pair"])
    # Where calls of two tests have the same parameters, their first turns differ.
    alike = ["x.py::a", "x.py::a", "x.py::b", "x.py::b"]
    assert [number % 2 for number in in_turns(alike)[:2]] == [0, 1]
    # Files stay together.
    mixed = in_turns(["x.py::a", "y.py::a", "x.py::b", "y.py::b"])
    assert mixed in ([0, 2, 1, 3], [1, 3, 0, 2])


def test_no_test_begins_when_the_time_is_up() -> None:
    skip_when_time_is_up(None)
    skip_when_time_is_up(time.time() + 60)
    with pytest.raises(pytest.skip.Exception, match="time for tests was up"):
        skip_when_time_is_up(time.time() - 1)
