"""Where a set is copied to: what lies there, the mark of a copy, and others who copy it."""

from __future__ import annotations

import json
from contextlib import suppress

from pgvector_restore.errors import (
    BackupExistsError,
    BackupInUseError,
    BackupNotFoundError,
    quoted,
)
from pgvector_restore.manifest import Manifest
from pgvector_restore.model import BackupFile, BackupSet, ObjectInfo
from pgvector_restore.storage import WritableStore

__all__ = ["CopyPlace"]

#: A mark says little; what is longer is none of ours.
_MAX_MARK_BYTES = 1 << 20


class CopyPlace:
    """The place of one set in the destination.

    Args:
        store: The destination.
        backup: The set of the source.
        manifest: Its manifest, if it has one.
    """

    def __init__(self, store: WritableStore, backup: BackupSet, manifest: Manifest | None) -> None:
        self._store = store
        self._backup = backup
        key = backup.location.key
        self._folder = f"{key}/" if key else ""
        self._marker = self._folder + store.layout.marker_name(backup.timestamp)
        self._half_marker = self._marker + store.layout.partial_suffix
        self._mark = _mark_of(backup, manifest)

    def listed(self) -> dict[str, ObjectInfo]:
        """What lies there; a store that does not exist yet is made by writing."""
        try:
            return {info.key: info for info in self._store.list(self._folder)}
        except BackupNotFoundError:
            return {}

    def look(self, key: str) -> ObjectInfo | None:
        """One object, as it is by now."""
        with suppress(BackupNotFoundError):
            for info in self._store.list(key, max_depth=key.count("/") + 1):
                if info.key == key:
                    return info
                break
        return None

    def has_set(self, there: dict[str, ObjectInfo]) -> bool:
        """Whether a finished set of that label lies there.

        Raises:
            BackupExistsError: One of other files.
        """
        if self._marker in there:
            return False
        ours = {piece.key for file in self._backup.files for piece in file.pieces}
        if self._backup.manifest is not None:
            ours.add(self._backup.manifest.key)
        theirs = {key for key in there if self._is_of_that_time(key)}
        if not theirs:
            return False
        if theirs != ours:
            raise self.exists(f"with {', '.join(sorted(theirs ^ ours))}")
        return True

    def mark(self, there: dict[str, ObjectInfo]) -> bool | None:
        """Say what is being copied.

        Returns:
            Whether a copy of just that has said it before, one that was broken off or one that
            still goes on; ``None``: somebody was faster, look again.

        Raises:
            BackupExistsError: Something else is being written there.
        """
        if self._marker in there:
            return self._is_marked()
        try:
            # A copy that was killed while it put up its mark has left half of one.
            with self._store.create(self._marker, replace=self._half_marker in there) as stream:
                stream.write(self._mark)
        except (BackupExistsError, BackupInUseError):
            return None
        return False

    def unmark(self) -> None:
        """Take the mark away, unless another copy has."""
        with suppress(BackupNotFoundError):
            self._store.delete(self._marker)

    def exists(self, how: str) -> BackupExistsError:
        """The error that another set is in the way."""
        return BackupExistsError(
            f"{self._store.url} has another backup set {quoted(self._backup.label)}: {how}",
            hint="it is left as it is; copy to a store that has no set of that label",
        )

    def in_use(self) -> BackupInUseError:
        """The error that somebody else copies the set."""
        return BackupInUseError(
            f"somebody else is copying {quoted(self._backup.label)} to {self._store.url}",
            hint="wait until that has ended; if it was broken off, copy again",
        )

    def _is_marked(self) -> bool | None:
        try:
            with self._store.open(self._marker, 0, _MAX_MARK_BYTES) as stream:
                found = stream.read(_MAX_MARK_BYTES)
        except BackupNotFoundError:
            return None  # the other one has ended
        if found != self._mark:
            raise self.exists("it is being written")
        return True

    def _is_of_that_time(self, key: str) -> bool:
        layout = self._store.layout
        name = key.removeprefix(self._folder)
        if "/" in name or key == self._half_marker:
            return False
        parsed = layout.parse_file_name(name, any_table=True)
        described = layout.parse_manifest_name(name)
        stamp = parsed.timestamp if parsed else described[0] if described else None
        return stamp == self._backup.timestamp


def _mark_of(backup: BackupSet, manifest: Manifest | None) -> bytes:
    """What a mark says: copies of one set from two places agree only if the set is the same."""
    pieces: list[BackupFile] = [piece for file in backup.files for piece in file.pieces]
    content: dict[str, object] = {
        "copy_of": backup.label,
        "files": {piece.name: piece.size_bytes for piece in pieces},
    }
    if manifest is not None:
        content["sha256"] = {
            file.name: file.sha256 for table in manifest.tables for file in table.files
        }
    return (json.dumps(content, sort_keys=True) + "\n").encode()
