"""Faults while kept tables are put back or dropped: one state or the other, nothing between."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import product
from pathlib import Path

import pytest
from attrs import frozen

from pgvector_restore.failpoints import POINTS
from pgvector_restore.restorer import drop_previous, previous_tables, revert_tables
from tests.faults.cases import FAULTS, VERSIONS
from tests.faults.kit import Arena, Client, Outcome
from tests.faults.test_matrix import healthy
from tests.proxy import Proxy
from tests.sets import restore

#: What is done, and the failpoints on its way.
DEEDS = {
    "revert": tuple(name for name in POINTS if name.startswith("revert.")),
    "drop": tuple(name for name in POINTS if name.startswith("previous.")),
}
_LOST = ("ConnectError", "OutcomeUnknownError")


@frozen
class Case:
    """One fault at one failpoint."""

    version: int
    deed: str
    point: str
    fault: str

    def __str__(self) -> str:
        return f"{self.point}-{self.fault}-pg{self.version}"

    @property
    def committed(self) -> bool:
        """The server has answered COMMIT when the fault comes."""
        return self.point.endswith(".done")

    @property
    def sent(self) -> bool:
        """COMMIT is next: it is too late to call it off."""
        return self.point.endswith(".commit")


def matrix() -> Iterator[Case]:
    for version, (deed, points) in product(VERSIONS, DEEDS.items()):
        for point, fault in product(points, FAULTS):
            yield Case(version, deed, point, fault)


def sample() -> set[Case]:
    """Every failpoint once and every fault once; versions take turns."""
    points = [(deed, point) for deed, found in DEEDS.items() for point in found]
    return {
        Case(VERSIONS[number % 2], *points[number % len(points)], FAULTS[number % len(FAULTS)])
        for number in range(max(len(points), len(FAULTS)))
    }


def parameters() -> list[object]:
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


def suffer(arena: Arena, case: Case, folder: Path, restores: list[str]) -> Outcome:
    with ExitStack() as stack:
        dsn = arena.dsn
        if case.fault in ("reset", "stall"):
            proxy = stack.enter_context(Proxy(arena.dsn))
            dsn = proxy.dsn
        itself = case.fault in ("kill", "term")
        point = f"{case.point}={case.fault if itself else 'stop'}"
        client = Client(folder, dsn, arena.roots["one"], point, case.deed, restores)
        stack.callback(client.close)
        if not itself:
            backend = arena.backend(client.wait_at_failpoint())
            match case.fault:
                case "terminate":
                    arena.end_backend(backend, None)
                case "kill_backend":
                    arena.end_backend(backend, signal.SIGKILL)
                case "stop_server":
                    arena.end_server()
                case "reset":
                    proxy.reset()
                case "stall":
                    proxy.stall()
            client.go_on()
        return client.wait()


def assert_agrees(case: Case, outcome: Outcome, *, new: bool) -> None:
    """What the client said is true, and is what such a fault may come to."""
    if case.fault == "kill":
        assert (outcome.told, outcome.code) == (None, -signal.SIGKILL), outcome.output
        assert new == case.committed
    elif case.committed or (case.fault == "term" and case.sent):
        assert outcome.error is None, outcome.told
        assert new
    elif case.fault == "term":
        assert outcome.error == "CancelledError", outcome.told
        assert not new
    else:
        assert outcome.error in _LOST, outcome.told
        assert not new


@pytest.mark.parametrize("case", parameters())
def test_one_state_or_the_other_and_the_next_succeeds(
    arenas: Callable[[int], Arena], tmp_path: Path, case: Case
) -> None:
    arena = arenas(case.version)
    with healthy(arena) as old:
        goal = next(word for word in arena.roots if word != old)
        for one in previous_tables(arena.dsn):
            drop_previous(arena.dsn, [one.restore_id])
        report = restore(
            arena.roots[goal],
            arena.dsn,
            mode="replace",
            strategy="swap",
            jobs=1,
            keep_previous=True,
        )
        outcome = suffer(arena, case, tmp_path / "client", [report.restore_id])
        arena.up()
        arena.settle()
        kept = previous_tables(arena.dsn)
        if case.deed == "revert":
            new = arena.served() == old
            assert [one.restore_id for one in kept] == [report.restore_id]
            assert_agrees(case, outcome, new=new)
            revert_tables(arena.dsn)
            assert arena.served() == (goal if new else old)
        else:
            assert arena.served() == goal
            new = not kept
            assert new or len(kept[0].tables) == 2
            assert_agrees(case, outcome, new=new)
        for one in previous_tables(arena.dsn):
            drop_previous(arena.dsn, [one.restore_id])
        assert not previous_tables(arena.dsn)
        arena.settle()
        arena.assert_clean()


def test_the_sample_has_every_place_and_every_fault() -> None:
    assert {case.point for case in sample()} == {case.point for case in matrix()}
    assert {case.fault for case in sample()} == set(FAULTS)
    assert {case.version for case in sample()} == set(VERSIONS)
