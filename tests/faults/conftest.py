"""Servers that may be ended: one of each version for every test process."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.kit import Arena


@pytest.fixture(scope="session")
def arenas(
    place: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[int], Arena]]:
    """The arena of a version, built when it is first asked for."""
    if sys.platform != "linux":
        pytest.skip("signals, /proc and packet filters are those of Linux")
    built: dict[int, Arena] = {}

    def arena(version: int) -> Arena:
        if version not in built:
            folder = tmp_path_factory.mktemp(f"arena{version}")
            built[version] = Arena.build(place / f"faults{version}", version, folder)
        built[version].up()
        return built[version]

    yield arena
    for one in built.values():
        one.up()  # a server that is down cannot be stopped in order
