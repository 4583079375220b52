"""The list of existing callers, written once for each catalog and filter."""

from __future__ import annotations

import threading
from typing import Any

import orjson

from pgvector_restore.http import legacy_texts as texts
from pgvector_restore.http.legacy_answers import envelope, locations_of, now_text, summary_of
from pgvector_restore.http.legacy_requests import ListRequest
from pgvector_restore.http.legacy_texts import Language
from pgvector_restore.model import Catalog

__all__ = ["Listings"]

#: Filters whose lists are kept. Measured: the list of 10,000 sets takes 60 ms to make and is 3 MB.
_KEPT = 16


class Listings:
    """Lists of the newest catalog. Many clients that list a large store share one.

    Args:
        store: The store's ``url``.
    """

    def __init__(self, store: str) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._catalog: Catalog | None = None
        self._made: dict[ListRequest, tuple[bytes, dict[str, Any]]] = {}

    def body(self, catalog: Catalog, request: ListRequest, language: Language) -> bytes:
        """The whole answer as JSON."""
        locations, summary = self._of(catalog, request)
        counts = {"locations": summary["total_locations"], "sets": summary["total_backup_sets"]}
        data = {
            "backup_locations": orjson.Fragment(locations),
            "summary": {**summary, "scan_time": now_text()},
        }
        say = texts.LISTED if counts["sets"] else texts.NONE_LISTED
        return orjson.dumps(envelope(200, say, language, data, **counts))

    def _of(self, catalog: Catalog, request: ListRequest) -> tuple[bytes, dict[str, Any]]:
        with self._lock:  # others wait rather than make the same list
            if self._catalog is not catalog:
                self._catalog, self._made = catalog, {}
            found = self._made.get(request)
            if found is None:
                locations = locations_of(catalog, self._store, request)
                found = orjson.dumps(locations), summary_of(locations)
                if len(self._made) < _KEPT:
                    self._made[request] = found
            return found
