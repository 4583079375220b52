"""A backup set while it is written: a marker first, the manifest last, nothing after an error."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import datetime, timedelta
from threading import Lock
from typing import BinaryIO

from attrs import define

from pgvector_restore.errors import (
    BackupExistsError,
    BackupNotFoundError,
    StoreChangedError,
    StoreError,
)
from pgvector_restore.manifest import Manifest
from pgvector_restore.model import TIMESTAMP_FORMAT, BackupSet, Location, parse_timestamp
from pgvector_restore.storage.hashing import SideHash
from pgvector_restore.storage.log import EmptiedFile, LogLine, write_log
from pgvector_restore.storage.writing import WritableStore

__all__ = ["NewSet", "StoredFile"]

_log = logging.getLogger(__name__)

#: Backups that begin at one location within one second take one second after the other; so many
#: at once are somebody's mistake.
_MOST_SECONDS = 60

#: Clocks are put back by an hour when summer time ends, by two at the most. A set that lies further
#: ahead was made with a wrong clock, or in another time zone.
_PUT_BACK = timedelta(hours=3)

#: Bytes per read when a file is read back.
_BLOCK_BYTES = 1 << 20


@define
class StoredFile:
    """A file of the set; written by one thread."""

    #: Name, without folder.
    name: str
    _stream: BinaryIO | None
    _sha: SideHash
    #: Stored bytes so far.
    size_bytes: int = 0
    #: SHA-256 of the stored bytes; known when it is closed.
    sha256: str = ""

    def write(self, data: bytes) -> None:
        """Add bytes at the end."""
        if self._stream is None:
            raise ValueError(self.name)
        self._sha.update(data)
        self._stream.write(data)
        self.size_bytes += len(data)

    def close(self) -> None:
        """Nothing more can be added."""
        if self._stream is not None:
            self.sha256 = self._sha.hexdigest()
            self._stream = None
        self._sha.close()


class NewSet:
    """One set being written.

    Args:
        store: Where.
        location: The folder.
        now: When the backup begins, local time.

    Raises:
        StoreError: The marker cannot be written.
    """

    def __init__(self, store: WritableStore, location: Location, now: datetime) -> None:
        self._store = store
        self.location = location
        self._folder = f"{location.key}/" if location.key else ""
        self._lock = Lock()
        self._files: list[StoredFile] = []
        #: What is to be seen and must go if there is an error, in the order of writing.
        self._written: list[str] = []
        #: When the backup was made, to the second; no other set of the location has it.
        self.made_at = self._claim(self._not_before_others(now))
        self._later: list[str] = []

    @property
    def timestamp(self) -> str:
        """``YYYYMMDD_HHMMSS`` of the set."""
        return self.made_at.strftime(TIMESTAMP_FORMAT)

    @property
    def label(self) -> str:
        """Label the set will have."""
        return BackupSet(self.location, self.timestamp, ()).label

    @contextmanager
    def file(self, name: str, *, aside: bool) -> Iterator[StoredFile]:
        """Write a file; it is there, and counts, when the block ends.

        Args:
            name: Its name, without folder.
            aside: Take its SHA-256 in a thread beside the one that writes.
        """
        key = self._folder + name
        with self._created(key) as stream:
            file = StoredFile(name, stream, SideHash(aside=aside))
            with closing(file):
                yield file
        with self._lock:
            self._files.append(file)

    @contextmanager
    def _created(self, key: str) -> Iterator[BinaryIO]:
        try:
            with self._store.create(key) as stream:
                yield stream
                # From here on it may come to be seen, whatever happens.
                with self._lock:
                    self._written.append(key)
        except BackupExistsError:
            with self._lock, suppress(ValueError):
                self._written.remove(key)  # somebody else's, which came meanwhile
            raise

    def check(self, *, read_back: bool, on_block: Callable[[], None]) -> None:
        """Compare what the storage has with what was written.

        Args:
            read_back: Read all bytes again, and compare their SHA-256 too.
            on_block: Called for each block that was read; what it raises ends the reading.

        Raises:
            StoreChangedError: They differ.
        """
        prefix = self._folder
        listed = {
            info.key: info.size_bytes
            for info in self._store.list(prefix, max_depth=prefix.count("/") + 1)
        }
        for file in self._files:
            size = listed.get(self._folder + file.name)
            if size != file.size_bytes:
                found = "is not there" if size is None else f"has {size} bytes"
                raise StoreChangedError(
                    f"{file.name} was written with {file.size_bytes} bytes and {found}"
                )
            if read_back and self._read_back(file, on_block) != file.sha256:
                raise StoreChangedError(
                    f"{file.name} does not read as it was written",
                    hint="the storage changes what it is given: do not rely on it",
                )

    def _read_back(self, file: StoredFile, on_block: Callable[[], None]) -> str:
        sha = hashlib.sha256()
        with self._store.open(self._folder + file.name) as stream:
            while block := stream.read(_BLOCK_BYTES):
                sha.update(block)
                on_block()
        return sha.hexdigest()

    def publish(self, manifest: Manifest) -> BackupSet:
        """Write the manifest: now it is a set. Gives it as a catalog shows it.

        Raises:
            StoreError: It cannot be written, or the set does not show.
        """
        key = self._folder + self._store.layout.manifest_name(self.timestamp)
        with self._created(key) as stream:
            stream.write(manifest.to_json())
        found = self._store.catalog_of(self.location)
        soon = self.made_at + _PUT_BACK  # until then it may be one that was begun after this one
        self._later = [one.label for one in found.sets if one.backup_date > soon]
        backup = next((one for one in found.sets if one.timestamp == self.timestamp), None)
        if backup is None or self._store.read_manifest(backup) != manifest:
            raise StoreChangedError(f"backup {self.label} was written and is not listed as a set")
        return backup

    def unmark(self) -> list[str]:
        """Remove the marker of a published set; gives warnings: what fails, and later sets."""
        warnings = [
            f"backup {label} has a later time in its name: it counts as the newer one"
            for label in self._later[:1]
        ]
        try:
            self._store.delete(self._marker(self.timestamp))
        except StoreError as exc:
            warnings.append(f"the marker of the finished backup is left behind: {exc}")
        return warnings

    def write_log(self, lines: Iterable[LogLine], seconds: float) -> list[str]:
        """Rewrite the location's log; gives a warning if that fails: the set is there.

        What the log before has told of rows that were removed stays in it: of a set without a
        manifest nothing else tells.

        Args:
            lines: The tables.
            seconds: How long the backup took.
        """
        key = self._folder + self._store.layout.log_name
        try:
            log = write_log(
                lines, self.made_at, self.location.name, seconds, self._emptied_before()
            )
            with self._store.create(key, replace=True) as stream:
                stream.write(log)
        except StoreError as exc:
            return [f"the backup log could not be written: {exc}"]
        return []

    def _emptied_before(self) -> list[EmptiedFile]:
        """What the log tells so far of files of other sets that are still there."""
        catalog = self._store.catalog_of(self.location)
        log = self._store.read_log(catalog.locations[0]) if catalog.locations else None
        found = [
            log.emptied_of(file.name)
            for one in catalog.sets
            for file in one.files
            if log is not None and one.timestamp != self.timestamp
        ]
        return [one for one in found if one is not None]

    def abandon(self) -> None:
        """Remove everything that was written, the marker last; what cannot be is logged."""
        for key in [*reversed(self._written), self._marker(self.timestamp)]:
            self._remove(key)

    def _remove(self, key: str) -> None:
        try:
            self._store.delete(key)
        except BackupNotFoundError:
            pass  # it was on its way and has not come
        except StoreError as exc:
            _log.warning("%s is left behind: %s", key, exc)

    def _marker(self, timestamp: str) -> str:
        return self._folder + self._store.layout.marker_name(timestamp)

    def _not_before_others(self, now: datetime) -> datetime:
        """A second after the newest set, where the clock was put back since that was made."""
        layout, depth = self._store.layout, self._folder.count("/") + 1
        first, last = (f"{moment:{TIMESTAMP_FORMAT}}" for moment in (now, now + _PUT_BACK))
        moments = [now]
        with suppress(BackupNotFoundError):  # the store is made with its first set
            for info in self._store.list(self._folder, max_depth=depth):
                name = info.key.rpartition("/")[2]
                described, parsed = layout.parse_manifest_name(name), layout.parse_file_name(name)
                stamp = described[0] if described else parsed.timestamp if parsed else ""
                moment = parse_timestamp(stamp) if first < stamp <= last else None
                if moment is not None:
                    moments.append(moment + timedelta(seconds=1))
        return max(moments)

    def _claim(self, now: datetime) -> datetime:
        """Put up the marker of the first free second."""
        now = now.replace(microsecond=0)
        for _ in range(_MOST_SECONDS):
            timestamp = now.strftime(TIMESTAMP_FORMAT)
            try:
                with self._store.create(self._marker(timestamp)) as stream:
                    stream.write(b"a backup is being written, or its writer has died\n")
            except BackupExistsError:
                pass
            else:
                # Looked at only now: whoever was first with this second has gone on by then.
                if not self._is_taken(timestamp):
                    return now
                self._store.delete(self._marker(timestamp))
            now += timedelta(seconds=1)
        raise BackupExistsError(
            f"other backups have every second from {_MOST_SECONDS} ago on at"
            f" {self.location.relative_path}"
        )

    def _is_taken(self, timestamp: str) -> bool:
        marker = self._marker(timestamp)
        depth = self._folder.count("/") + 1
        return any(
            timestamp in info.key.rpartition("/")[2] and not info.key.startswith(marker)
            for info in self._store.list(self._folder, max_depth=depth)
        )
