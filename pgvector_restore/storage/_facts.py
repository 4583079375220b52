"""What file systems tell of an object, each under names of its own."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from pgvector_restore.errors import quoted
from pgvector_restore.model import ObjectInfo

__all__ = ["object_info"]

_log = logging.getLogger(__name__)

#: Names under which file systems tell an object's version and time, best first. Google's ETag
#: changes with what is noted beside the object as well.
_VERSIONS = ("generation", "ETag", "etag", "version_id", "VersionId")
_TIMES = ("mtime", "LastModified", "last_modified", "updated", "modified", "modify", "created")


def object_info(key: str, raw: Mapping[str, Any]) -> ObjectInfo | None:
    """Size, version and time as far as they are told; ``None`` for what is no file."""
    kind = raw.get("type", "file")
    if kind == "link" or raw.get("islink"):
        _log.warning("link not followed: %s", quoted(key))
        return None
    if kind != "file":
        return None
    version = next((str(raw[name]) for name in _VERSIONS if raw.get(name)), None)
    times = (_seconds(raw[name]) for name in _TIMES if raw.get(name) is not None)
    mtime = next((time for time in times if time is not None), None)
    return ObjectInfo(key, int(raw.get("size") or 0), version, mtime)


def _seconds(value: object) -> float | None:
    """A time as seconds since the epoch, in whichever form a file system tells it."""
    if isinstance(value, (int, float)):
        return float(value)
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.replace("Z", "+00:00"))
        except ValueError:
            return None
    if isinstance(value, datetime):
        known = value if value.tzinfo else value.replace(tzinfo=timezone.utc)
        return known.timestamp()
    return None
