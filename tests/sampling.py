"""Which part of a large table of tests runs by default: every row, by few of the ways it can go.

A test marked ``sampled("case")`` runs by default for every value of its parameter ``case``, each
with one combination of its other parameters: roads, codecs, servers. ``sampled("case", "pack")``
runs every pair of the two, ``each=2`` every row by two ways. Which ones goes round, and is the
same in every run. The other calls are marked ``faults``: ``pytest -m faults`` runs all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import pytest
from attrs import frozen

__all__ = ["SAMPLES", "Call", "Sample", "choose", "mark"]

#: The values of a test's parameters, by name.
Call = Mapping[str, Hashable]


@frozen
class Sample:
    """What a sampled test could run, and what of it runs by default."""

    #: Parameters whose values, taken together, are a row.
    row: tuple[str, ...]
    #: Ways chosen for every row, if it has as many.
    each: int
    #: All calls, in the order of collection.
    calls: tuple[Call, ...]
    #: Positions of those that run by default.
    chosen: frozenset[int]


#: Samples of the tests that were collected, by the test's name and file.
SAMPLES = pytest.StashKey[dict[str, Sample]]()


def choose(calls: Sequence[Call], row: Sequence[str], each: int = 1) -> frozenset[int]:
    """Positions of the calls that run by default.

    Rows are taken in their order. A row goes the way that shares the least with the ways it has
    gone already; then the one that was gone least so far; then the one whose values were met least.

    Args:
        calls: All calls of one test.
        row: Parameters whose values, taken together, are a row; the others are its way.
        each: Ways for every row, if it has as many.
    """
    rows: dict[tuple[Hashable, ...], list[int]] = {}
    for number, call in enumerate(calls):
        rows.setdefault(tuple(call[name] for name in row), []).append(number)
    ways = [tuple(pair for pair in call.items() if pair[0] not in row) for call in calls]
    gone: Counter[Hashable] = Counter()  # ways, and the values in them
    chosen: list[int] = []
    for numbers in rows.values():
        mine: Counter[Hashable] = Counter()
        left = list(numbers)
        for _ in range(min(each, len(left))):
            costs = {
                number: (
                    sum(mine[pair] for pair in ways[number]),
                    gone[ways[number]],
                    sum(gone[pair] for pair in ways[number]),
                )
                for number in left
            }
            best = min(left, key=costs.__getitem__)
            left.remove(best)
            chosen.append(best)
            mine.update(ways[best])
            gone.update([ways[best], *ways[best]])
    return frozenset(chosen)


def mark(items: Sequence[pytest.Item]) -> dict[str, Sample]:
    """Mark the calls of sampled tests; the samples by test."""
    tests: dict[str, list[pytest.Function]] = {}
    for item in items:
        if isinstance(item, pytest.Function) and item.get_closest_marker("sampled"):
            tests.setdefault(item.nodeid.partition("[")[0], []).append(item)
    samples = {}
    for name, functions in tests.items():
        marker = functions[0].get_closest_marker("sampled")
        assert marker is not None
        calls = tuple(
            {key: _comparable(value) for key, value in function.callspec.params.items()}
            for function in functions
        )
        each = marker.kwargs.get("each", 1)
        sample = Sample(marker.args, each, calls, choose(calls, marker.args, each))
        for number, function in enumerate(functions):
            function.add_marker(pytest.mark.faults)
            if number in sample.chosen:
                function.add_marker(pytest.mark.faults_sample)
        samples[name] = sample
    return samples


def _comparable(value: Any) -> Hashable:
    """The value, or what stands for it: the calls of a test share their values."""
    try:
        hash(value)
    except TypeError:
        return id(value)
    return value  # type: ignore[no-any-return]  # it has a hash
