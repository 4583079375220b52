"""The matrix: every failpoint, every fault, every way to load; and the fixed sample of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from attrs import frozen

VERSIONS = (16, 18)

#: What happens at a failpoint.
FAULTS = (
    "kill",  # SIGKILL to the client
    "term",  # SIGTERM to the client, which calls the restore off
    "terminate",  # pg_terminate_backend
    "kill_backend",  # kill -9 of the backend: the server ends all sessions and recovers
    "stop_server",  # immediate shutdown, started again after the client has given up
    "reset",  # the network resets the connections
    "stall",  # the network swallows everything
)

#: Failpoints by the phase they belong to, for each way to load. ``@n``: the n-th time.
_IN_PLACE = {
    "prepare": ("connect", "claim.seen", "claim", "create", "empty"),
    "load": (
        "load.begin",
        "load.begin@2",
        "load.block",
        "load.block@5",
        "load.end",
        "load.end@2",
    ),
    "index": ("index.begin", "index.end"),
    "verify": ("verify",),
    "publish": ("commit.before",),
    "done": ("commit.after",),
}
_SWAP = {
    "prepare": ("connect", "claim", "sweep", "drop", "create"),
    "load": _IN_PLACE["load"],
    "index": ("index.begin", "index.end"),
    "verify": ("verify", "publish"),
    "publish": ("exchange.locked", "exchange.dropped", "exchange.moved", "commit.before"),
    "done": ("commit.after",),
}
_PARALLEL = {
    "load": ("part.begin", "load.block@2", "part.end"),
    "index": ("index.begin",),
    "publish": ("commit.before",),
}
_KEEP = {"publish": _SWAP["publish"], "done": _SWAP["done"]}
WAYS: dict[str, tuple[dict[str, Any], Mapping[str, tuple[str, ...]]]] = {
    "in_place": ({"strategy": "in_place"}, _IN_PLACE),
    "swap": ({"strategy": "swap", "jobs": 1}, _SWAP),
    "swap_jobs_2": ({"strategy": "swap", "jobs": 2}, _PARALLEL),
    "swap_keep": ({"strategy": "swap", "jobs": 1, "keep_previous": True}, _KEEP),
}


#: Reached only by restores that set records aside; ``tests/restore/test_quarantine_faults.py``.
ELSEWHERE = {"reject.publish"}


@frozen
class Case:
    """One fault at one failpoint of one restore."""

    version: int
    way: str
    phase: str
    point: str
    fault: str

    @property
    def name(self) -> str:
        """The failpoint, without its number."""
        return self.point.partition("@")[0]

    @property
    def leftover(self) -> bool:
        """There must be a staging schema to sweep."""
        return self.name in ("sweep", "drop")

    def __str__(self) -> str:
        return f"{self.way}-{self.point.replace(chr(64), chr(95))}-{self.fault}-pg{self.version}"


def matrix() -> Iterator[Case]:
    """All cases."""
    for version in VERSIONS:
        for way, (_, phases) in WAYS.items():
            for phase, points in phases.items():
                for point in points:
                    for fault in FAULTS:
                        yield Case(version, way, phase, point, fault)


def sample() -> set[Case]:
    """A fixed part: every failpoint once, and each phase with each fault once on each version.

    Which way and which failpoint of a phase meets which fault goes round, so that the versions
    and the ways share them.
    """
    chosen: set[Case] = set()
    cases = list(matrix())
    phases = list(_SWAP)
    for version in VERSIONS:
        for i, phase in enumerate(phases):
            for j, fault in enumerate(FAULTS):
                fits = [
                    c for c in cases if (c.version, c.phase, c.fault) == (version, phase, fault)
                ]
                chosen.add(fits[(i + 2 * j + 5 * (version == VERSIONS[0])) % len(fits)])
    met = {(case.way, case.point) for case in chosen}
    places = list(dict.fromkeys((c.way, c.point) for c in cases))
    for number, place in enumerate(places):
        if place not in met:
            fits = [c for c in cases if (c.way, c.point) == place]
            chosen.add(fits[(3 * number) % len(fits)])
    return chosen


def parameters() -> list[object]:
    """The matrix as pytest takes it; what is not in the sample runs only when asked for."""
    fixed = sample()
    return [
        pytest.param(
            case,
            id=str(case),
            marks=[
                pytest.mark.faults,
                *([pytest.mark.faults_sample] if case in fixed else []),
            ],
        )
        for case in matrix()
    ]
