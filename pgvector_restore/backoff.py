"""Pauses between attempts."""

from __future__ import annotations

import random
from collections.abc import Iterator

__all__ = ["pauses"]


def pauses(first_s: float, longest_s: float) -> Iterator[float]:
    """Seconds to wait before the next attempt, without end: each about twice the one before.

    Half of each is left to chance, so that those who failed together do not come back together.

    >>> 0.05 <= next(pauses(0.1, 1.0)) <= 0.1
    True
    """
    pause = first_s
    while True:
        yield pause * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
        pause = min(2 * pause, longest_s)
