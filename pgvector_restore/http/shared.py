"""An answer that is found once for all who ask at the same time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["Shared"]

_T = TypeVar("_T")


class Shared(Generic[_T]):
    """The newest answer. While it is looked for, others wait for it, and share its error as well.

    Args:
        find: Finds the answer.
        age_s: Seconds an answer is used, from when it began to be looked for.
        times: It is used at least so many times as long as it took to find.
    """

    def __init__(self, find: Callable[[], _T], age_s: float, times: float = 0.0) -> None:
        self._find = find
        self._age_s = age_s
        self._times = times
        self._finding = threading.Lock()
        self._lock = threading.Lock()  # for what follows
        self._generation = 0
        self._found: tuple[int, float, _T] | None = None
        self._failed: tuple[int, float, Exception] | None = None

    def get(self, *, fresh: bool = False) -> _T:
        """The answer.

        Args:
            fresh: One that begins to be looked for after this call.

        Raises:
            Exception: Whatever it failed with.
        """
        asked = time.monotonic()
        with self._lock:
            self._generation += fresh
            wanted = self._generation
        usable = self._usable(wanted, asked)
        if usable is not None:
            return usable[0]
        with self._finding:
            usable = self._usable(wanted, asked)
            return usable[0] if usable is not None else self._look()

    def invalidate(self) -> None:
        """What was found up to now, or is being looked for, is of no use any more."""
        with self._lock:
            self._generation += 1

    def _look(self) -> _T:
        with self._lock:
            generation = self._generation
        began = time.monotonic()
        try:
            found = self._find()
        except Exception as exc:
            with self._lock:
                self._failed = (generation, time.monotonic(), exc)
            raise
        ended = time.monotonic()
        until = max(began + self._age_s, ended + self._times * (ended - began))
        with self._lock:
            self._found, self._failed = (generation, until, found), None
        return found

    def _usable(self, wanted: int, asked: float) -> tuple[_T] | None:
        with self._lock:
            if self._failed is not None:
                generation, ended, exc = self._failed
                if generation >= wanted and ended >= asked:
                    raise exc
            if self._found is None:
                return None
            generation, until, found = self._found
            fits = generation >= wanted and time.monotonic() < until
            return (found,) if fits else None
