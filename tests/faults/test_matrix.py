"""A fault at every failpoint: old state or new state, never between, and the next run succeeds."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.faults.cases import FAULTS, WAYS, Case, matrix, parameters, sample
from tests.faults.kit import Arena, Client, Outcome
from tests.proxy import Proxy
from tests.sets import restore

#: Ended by a signal before it could say anything.
_KILLED = -signal.SIGKILL

#: What a lost connection may be reported as.
_LOST = ("ConnectError", "OutcomeUnknownError")


@contextmanager
def healthy(arena: Arena) -> Iterator[str]:
    """The set that is served in the beginning; a test that fails leaves a new database behind."""
    try:
        arena.settle()
        yield arena.served()
    except BaseException:
        arena.renew()
        raise


def suffer(arena: Arena, case: Case, folder: Path, root: Path) -> Outcome:
    """Restore with the case's fault; how the client ended."""
    options: dict[str, Any] = WAYS[case.way][0]
    with ExitStack() as stack:
        dsn = arena.dsn
        if case.fault in ("reset", "stall"):
            proxy = stack.enter_context(Proxy(arena.dsn))
            dsn = proxy.dsn
        itself = case.fault in ("kill", "term")
        action = case.fault if itself else "stop"
        client = Client(folder, dsn, root, f"{case.point}={action}", **options)
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
    if outcome.told is None:
        assert (case.fault, outcome.code) == ("kill", _KILLED), outcome.output
        assert new == (case.name == "commit.after")
    elif outcome.error is None:
        assert new
    else:
        assert outcome.told["typed"], outcome.told["traceback"]
        assert outcome.error == "OutcomeUnknownError" or not new, outcome.told["traceback"]
        if case.fault == "term" and not case.name.startswith("part"):
            assert outcome.error == "CancelledError"
    if case.name == "commit.after":
        assert outcome.error is None, outcome.told
    elif case.fault not in ("kill", "term") and not case.name.startswith("part"):
        assert outcome.error in _LOST, outcome.told
        assert not new


@pytest.mark.parametrize("case", parameters())
def test_old_or_new_and_the_next_run_succeeds(
    arenas: Callable[[int], Arena], tmp_path: Path, case: Case
) -> None:
    arena = arenas(case.version)
    with healthy(arena) as old:
        goal = next(word for word in arena.roots if word != old)
        if case.leftover:
            arena.leave_behind()
        outcome = suffer(arena, case, tmp_path, arena.roots[goal])
        arena.up()
        arena.settle()
        served = arena.served()
        assert_agrees(case, outcome, new=served == goal)
        restore(arena.roots[goal], arena.dsn, mode="replace", **WAYS[case.way][0])
        arena.settle()
        assert arena.served() == goal
        arena.assert_clean()


def test_the_sample_has_every_place_and_every_phase_with_every_fault() -> None:
    fixed = sample()
    assert {(c.way, c.point) for c in fixed} == {(c.way, c.point) for c in matrix()}
    assert {(c.phase, c.fault, c.version) for c in fixed} == {
        (c.phase, c.fault, c.version) for c in matrix()
    }
    assert {c.fault for c in fixed} == set(FAULTS)
