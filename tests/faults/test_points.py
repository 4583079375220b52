"""Every failpoint is on the way of some restore."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pgvector_restore.failpoints import POINTS
from tests.faults.cases import ELSEWHERE, VERSIONS, WAYS, matrix
from tests.faults.kit import Arena, Client

pytestmark = [pytest.mark.faults, pytest.mark.faults_sample]

#: Those of backups, of reverts and of dropping what was kept have tests of their own.
OF_RESTORES = {
    name for name in POINTS if not name.startswith(("backup.", "revert.", "previous.", "prune."))
} - ELSEWHERE


@pytest.mark.parametrize("version", VERSIONS)
def test_every_failpoint_is_reached(
    arenas: Callable[[int], Arena], tmp_path: Path, version: int
) -> None:
    arena = arenas(version)
    notes = tmp_path / "notes"
    passed: dict[str, list[str]] = {}
    for way, (options, phases) in WAYS.items():
        arena.leave_behind()
        notes.write_text("")
        client = Client(
            tmp_path / "client", arena.dsn, arena.roots["one"], f"*=note:{notes}", **options
        )
        outcome = client.wait()
        assert outcome.error is None, outcome
        passed[way] = notes.read_text().split()
        for points in phases.values():
            for point in points:
                name, _, times = point.partition("@")
                assert passed[way].count(name) >= int(times or 1), (way, point)
    assert set().union(*passed.values()) == OF_RESTORES


def test_every_failpoint_is_in_the_matrix() -> None:
    assert {case.name for case in matrix()} == OF_RESTORES
