"""The list of existing callers, written once for each catalog and filter."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from typing import Any

import orjson
from starlette.responses import Response, StreamingResponse

from pgvector_restore.http import legacy_texts as texts
from pgvector_restore.http.legacy_answers import envelope, locations_of, now_text, summary_of
from pgvector_restore.http.legacy_requests import ListRequest
from pgvector_restore.http.legacy_texts import Language
from pgvector_restore.model import Catalog

__all__ = ["Listings"]

#: Stands in an answer for the list; no other byte of JSON is NUL.
_PLACE = b"\0"
#: Bytes that are handed over at once: a slow client has no more than that in memory, and all of
#: them share the rest.
_PIECE = 64 << 10
#: Filters whose lists are kept. Measured: the list of 10,000 sets takes 90 ms to make and is 3 MB.
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

    def answer(self, catalog: Catalog, request: ListRequest, language: Language) -> Response:
        """The whole answer."""
        locations, summary = self._of(catalog, request)
        counts = {"locations": summary["total_locations"], "sets": summary["total_backup_sets"]}
        data = {
            "backup_locations": orjson.Fragment(_PLACE),
            "summary": {**summary, "scan_time": now_text()},
        }
        say = texts.LISTED if counts["sets"] else texts.NONE_LISTED
        around = orjson.dumps(envelope(200, say, language, data, **counts))
        return _response(*around.partition(_PLACE), locations)

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


def _response(before: bytes, _: bytes, after: bytes, locations: bytes) -> Response:
    size = len(before) + len(locations) + len(after)
    if size <= _PIECE:
        return Response(before + locations + after, media_type="application/json")

    async def pieces() -> AsyncIterator[bytes]:
        yield before
        for start in range(0, len(locations), _PIECE):
            yield locations[start : start + _PIECE]
        yield after

    headers = {"Content-Length": str(size)}
    return StreamingResponse(pieces(), headers=headers, media_type="application/json")
