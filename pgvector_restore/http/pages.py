"""Pages of a catalog: filters, cursors, and what is shown of a set. Pure."""

from __future__ import annotations

import base64
import binascii
import bisect
import json
import threading
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from attrs import frozen

from pgvector_restore.errors import shown
from pgvector_restore.model import BackupSet, Catalog, IncompleteSet, Location, LocationKind

__all__ = [
    "Cursor",
    "Filter",
    "Page",
    "incomplete_document",
    "page_of",
    "read_cursor",
    "set_document",
]

_Entry = TypeVar("_Entry", BackupSet, IncompleteSet)

#: What entries are sorted by, newest first, then global locations, then names.
_Key = tuple[tuple[int, ...], bool, str, str]

#: Bytes of a cursor; the longest names of folders make some hundred.
MAX_CURSOR_CHARS = 2000

_CURSOR_FIELDS = 5


@frozen
class Cursor:
    """A place between two entries. It stays where it is whatever comes and goes around it."""

    #: Stamp of the entry before it.
    timestamp: str
    #: Kind of that entry's location.
    kind: LocationKind
    #: The location's name.
    name: str
    #: The location's key.
    key: str
    #: Entries with all these in common that lie before it.
    passed: int

    def __str__(self) -> str:
        fields = [self.timestamp, self.kind, self.name, self.key, self.passed]
        packed = json.dumps(fields, separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def read_cursor(text: str) -> Cursor:
    """The cursor of a text that :class:`Cursor` has made.

    Raises:
        ValueError: It is none.
    """
    try:
        padded = text.encode("ascii") + b"=" * (-len(text) % 4)
        fields = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, RecursionError, binascii.Error) as exc:
        raise ValueError("no cursor") from exc
    kinds = (str, str, str, str, int)
    if not isinstance(fields, list) or len(fields) != _CURSOR_FIELDS:
        raise ValueError("no cursor")
    if any(type(value) is not kind for value, kind in zip(fields, kinds, strict=True)):
        raise ValueError("no cursor")
    made = Cursor(*fields)
    if made.kind not in ("global", "task") or made.passed < 1 or str(made) != text:
        raise ValueError("no cursor")
    return made


@frozen
class Filter:
    """Which entries are wanted; a field that is ``None`` lets all through."""

    #: Those of a task.
    task_id: str | None = None
    #: Those of global locations.
    global_only: bool = False
    #: Those of a location, by its name or its folder, with ``./`` before it or without.
    location: str | None = None

    def of(self, entries: Sequence[_Entry]) -> Sequence[_Entry]:
        """The entries wanted, in their order."""
        if self == Filter():
            return entries
        where: dict[Location, bool] = {}
        for one in entries:
            if one.location not in where:
                where[one.location] = self._fits(one.location)
        return [one for one in entries if where[one.location]]

    def _fits(self, location: Location) -> bool:
        if self.task_id is not None and location.task_id != self.task_id:
            return False
        if self.global_only and location.kind != "global":
            return False
        if self.location is None:
            return True
        named = "" if self.location == "." else self.location.removeprefix("./").rstrip("/")
        return named in location.names


@frozen
class Page(Generic[_Entry]):
    """Some entries, and where the next ones begin."""

    #: The entries.
    entries: Sequence[_Entry]
    #: How many there are on all pages.
    total: int
    #: The place after them; ``None``: nothing follows.
    cursor: Cursor | None


def page_of(entries: Sequence[_Entry], limit: int, cursor: Cursor | None) -> Page[_Entry]:
    """So many entries from a place on.

    Args:
        entries: In the order of a catalog.
        limit: How many at the most.
        cursor: The place; ``None``: the beginning.
    """
    start = 0
    if cursor is not None:
        key = _key(cursor.timestamp, cursor.kind, cursor.name, cursor.key)
        start = bisect.bisect_left(entries, key, key=_key_of)
        end = bisect.bisect_right(entries, key, lo=start, key=_key_of)
        start = min(start + cursor.passed, end)
    chosen = entries[start : start + limit]
    if start + len(chosen) >= len(entries):
        return Page(chosen, len(entries), None)
    last = chosen[-1]
    first = bisect.bisect_left(entries, _key_of(last), key=_key_of)
    where = last.location
    passed = start + len(chosen) - first
    after = Cursor(last.timestamp, where.kind, where.name, where.key, passed)
    return Page(chosen, len(entries), after)


def _key(timestamp: str, kind: LocationKind, name: str, key: str) -> _Key:
    # The later text first; 1 is greater than what any character becomes, so of two texts of which
    # one begins the other, the longer one is first.
    return ((*(-ord(char) for char in timestamp), 1), kind != "global", name, key)


def _key_of(one: BackupSet | IncompleteSet) -> _Key:
    where = one.location
    return _key(one.timestamp, where.kind, where.name, where.key)


def set_document(one: BackupSet, emptied: Sequence[str] | None = None) -> dict[str, Any]:
    """What is told of a set, JSON-ready.

    Args:
        one: The set.
        emptied: Tables whose rows were removed from the database after it; ``None``: not looked at.
    """
    where = one.location
    about = {} if emptied is None else {"emptied": [_text(name) for name in emptied]}
    return about | {
        "label": _text(one.label),
        "location": _text(where.relative_path),
        "kind": where.kind,
        "task_id": None if where.task_id is None else _text(where.task_id),
        "timestamp": one.timestamp,
        "backup_date": _date(one.timestamp),
        "size_bytes": one.size_bytes,
        "manifest": one.manifest is not None,
        "files": [
            {
                "table": _text(file.table),
                "name": _text(file.name),
                "format": file.format,
                "codec": file.codec,
                "parts": len(file.parts),
                "size_bytes": file.size_bytes,
            }
            for file in one.files
        ],
    }


def incomplete_document(one: IncompleteSet) -> dict[str, Any]:
    """What is told of something that is no set, JSON-ready; its names may be anything."""
    return {
        "label": shown(one.label),
        "location": shown(one.location.relative_path),
        "timestamp": shown(one.timestamp),
        "reason": shown(one.reason),
        "files": [shown(info.key.rpartition("/")[2]) for info in one.objects],
    }


def _text(name: str) -> str:
    r"""A name that is valid Unicode: ``\udce4`` of a name in another encoding is spelled out."""
    return name if name.isascii() else name.encode("utf-8", "backslashreplace").decode()


def _date(stamp: str) -> str:
    """The date of a set's stamp. Parsing it would be a third of the time that a page takes."""
    day = f"{stamp[:4]}-{stamp[4:6]}-{stamp[6:8]}"
    return f"{day} {stamp[9:11]}:{stamp[11:13]}:{stamp[13:]}"


class Rendered:
    """Bodies of pages, kept while the catalog stays as it is: clients that list it share them.

    Any thread may call it.
    """

    #: Pages together may take so many bytes: a page of 1,000 sets has about half a megabyte, and
    #: all of 10,000 sets five.
    MAX_BYTES = 32 << 20

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of: Catalog | None = None
        self._pages: dict[object, bytes] = {}
        self._left = self.MAX_BYTES

    def get(self, catalog: Catalog, what: object, make: Callable[[], bytes]) -> bytes:
        """A page of a catalog, made unless it is there; by one thread, while others wait for it."""
        with self._lock:
            if catalog is not self._of:
                # Listed anew, and the same as a rule. Comparing 10,000 sets takes 60 ms, and making
                # their pages 160 ms.
                if catalog != self._of:
                    self._pages, self._left = {}, self.MAX_BYTES
                self._of = catalog
            body = self._pages.get(what)
            if body is None:
                body = make()
                if len(body) <= self._left:
                    self._left -= len(body)
                    self._pages[what] = body
            return body
