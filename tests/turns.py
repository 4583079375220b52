"""The order of tests that must end at a set time: each test once before any is run again.

``PGVECTOR_RESTORE_TESTS_UNTIL`` is that time, in seconds since 1970. Without it every test that was
chosen runs, in pytest's own order. With it the tests go in turns: in the first each test function
runs with one set of its parameters, servers and roads mixed; in the next with another, and so on.
Whatever has not begun by then is skipped, with that reason.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Sequence
from zlib import crc32

import pytest

__all__ = ["ENV_UNTIL", "UNTIL", "in_turns", "read_until", "skip_when_time_is_up"]

ENV_UNTIL = "PGVECTOR_RESTORE_TESTS_UNTIL"

#: When no more tests begin, in seconds since 1970; the session's tests do not see the environment.
UNTIL = pytest.StashKey[float | None]()

#: Turns at most: the last one has all calls that are left, by file.
TURNS = 4


def read_until() -> float | None:
    """The time in the environment; None if there is none."""
    text = os.environ.get(ENV_UNTIL)
    return float(text) if text else None


def in_turns(functions: Sequence[str]) -> list[int]:
    """Positions of the calls in the order they run.

    Within a turn the files come in an order of their own, the same in every run, so that what ran
    in time is of all parts of the suite and of both servers.

    Args:
        functions: For each call the node id of its test function, in the order of collection.
    """
    totals = Counter(functions)
    first = {name: number for number, name in enumerate(totals)}
    seen: Counter[str] = Counter()
    turns = []
    for name in functions:
        turns.append(min((seen[name] + first[name]) % totals[name], TURNS - 1))
        seen[name] += 1
    files = [crc32(name.partition("::")[0].encode()) for name in functions]
    return sorted(range(len(functions)), key=lambda number: (turns[number], files[number]))


def skip_when_time_is_up(until: float | None) -> None:
    """Skip the test that is about to begin."""
    if until is not None and time.time() > until:
        pytest.skip(f"not run: the time for tests was up ({ENV_UNTIL})")
