"""The catalog, listed once for all who ask at the same time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from pgvector_restore.model import Catalog

__all__ = ["SharedCatalog"]

#: Seconds a listing is used: short enough for people who wait for a backup of another program,
#: long enough that 200 clients who list 10,000 sets cost no more than a few.
_AGE_S = 2.0


class SharedCatalog:
    """The newest catalog. While it is listed, others wait for that listing.

    Args:
        listing: Lists the store.
        age_s: Seconds a listing is used.
    """

    def __init__(self, listing: Callable[[], Catalog], age_s: float = _AGE_S) -> None:
        self._listing = listing
        self._age_s = age_s
        self._lock = threading.Lock()  # held by the one who lists
        self._found: tuple[float, int, Catalog] | None = None
        self._generation = 0

    def get(self, *, fresh: bool = False) -> Catalog:
        """The catalog.

        Args:
            fresh: From a listing that began after this call.

        Raises:
            StoreError: The store could not be listed.
        """
        if fresh:
            self.invalidate()
        wanted = self._generation
        found = self._usable(wanted)
        if found is not None:
            return found
        with self._lock:
            found = self._usable(wanted)
            if found is not None:
                return found
            generation, began = self._generation, time.monotonic()
            catalog = self._listing()
            self._found = (began, generation, catalog)
            return catalog

    def invalidate(self) -> None:
        """What was listed up to now, or is being listed, is of no use any more."""
        with _COUNTING:
            self._generation += 1

    def _usable(self, wanted: int) -> Catalog | None:
        found = self._found
        if found is None:
            return None
        began, generation, catalog = found
        return catalog if generation >= wanted and time.monotonic() - began < self._age_s else None


#: Adding one is no single step.
_COUNTING = threading.Lock()
