"""What file systems tell of an object, each under names of its own."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from pgvector_restore.model import ObjectInfo

__all__ = ["object_info"]

#: Names under which file systems tell an object's version and time, best first.
_VERSIONS = ("ETag", "etag", "generation", "version_id", "VersionId")
_TIMES = ("mtime", "LastModified", "last_modified", "updated", "modified", "modify", "created")


def object_info(key: str, raw: Mapping[str, Any]) -> ObjectInfo:
    """Size, version and time as far as they are told."""
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
