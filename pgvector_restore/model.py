"""Values of discovery: frozen, hashable, picklable, without I/O."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Literal

from attrs import evolve, field, frozen

from pgvector_restore.errors import (
    BackupNotFoundError,
    IncompleteBackupError,
    OptionError,
    quoted,
)
from pgvector_restore.names import check_place

LocationKind = Literal["global", "task"]
#: ``csv``: text with a header; ``binary``: PostgreSQL's COPY BINARY, columns as the manifest says.
FileFormat = Literal["csv", "binary"]

#: ``YYYYMMDD_HHMMSS``: how backup sets are stamped.
TIMESTAMP_FORMAT = "%Y%m%d_%H%M%S"
_TIMESTAMP = re.compile(r"[0-9]{8}_[0-9]{6}")


def parse_timestamp(text: str) -> datetime | None:
    """The moment a stamp names, or ``None`` if it is not a stamp of a real date and time."""
    if not _TIMESTAMP.fullmatch(text):
        return None
    try:
        return datetime.strptime(text, TIMESTAMP_FORMAT)  # noqa: DTZ007 - stamps carry no zone
    except ValueError:
        return None


@frozen
class ObjectInfo:
    """One stored object as a listing shows it."""

    #: ``/``-separated key, relative to the store's root.
    key: str
    #: Stored bytes.
    size_bytes: int
    #: ETag, version or generation, where the storage has one.
    version: str | None = None
    #: Last modification, seconds since the epoch, where the storage tells.
    mtime: float | None = None
    #: Key of the file that is read instead, where it is a link to one.
    link: str | None = None


@frozen
class Location:
    """A folder of a store that holds backups."""

    #: ``global`` or ``task``.
    kind: LocationKind
    #: First part of its labels: ``vector_bak``, ``task_20250721_213627``; ``""`` for the root.
    name: str
    #: Key of the folder, ``""`` for the root.
    key: str
    #: The folder's name for a task location, ``None`` for a global one.
    task_id: str | None = None
    #: The backup log beside the files, or ``None``.
    log: ObjectInfo | None = None

    @property
    def names(self) -> tuple[str, str]:
        """What a label may call it: its name, or its whole key."""
        return (self.name, self.key)

    @property
    def relative_path(self) -> str:
        """The folder as users read it: Unix-style, relative to the store: ``./vector_bak``."""
        return f"./{self.key}" if self.key else "."


@frozen
class BackupFile:
    """One table's file of a backup set; a file in parts counts as one."""

    #: Table the file is for.
    table: str
    #: The stored object. Of a file in parts: the name without the part, the bytes of all.
    info: ObjectInfo
    #: How it is compressed: a name of the table in ``storage/compression.py``; ``None``: it is not.
    codec: str | None = None
    #: What is in it once it is unpacked.
    format: FileFormat = "csv"
    #: The stored objects of a file in parts, in order; empty for any other.
    parts: tuple[ObjectInfo, ...] = field(default=(), repr=False)

    @property
    def objects(self) -> tuple[ObjectInfo, ...]:
        """All stored objects, in order."""
        return self.parts or (self.info,)

    @property
    def pieces(self) -> tuple[BackupFile, ...]:
        """The parts as files of their own; a file that has none is its only piece."""
        return tuple(evolve(self, info=info, parts=()) for info in self.objects)

    @property
    def key(self) -> str:
        """Key of the object."""
        return self.info.key

    @property
    def name(self) -> str:
        """Last part of the key."""
        return self.info.key.rpartition("/")[2]

    @property
    def size_bytes(self) -> int:
        """Stored bytes."""
        return self.info.size_bytes


@frozen
class UnpackLimits:
    """How much may come out of a compressed file."""

    #: Bytes of text for each stored byte. The first 64 MiB of a file are let through at any ratio.
    #: Measured: vectors of 1,536 dimensions 1.5 (lz4) to 3.0 (xz); records without vectors that are
    #: all but equal 11 (lz4) to 90 (xz); files made to fill disks 1,029 (gzip), 32,676 (zstd).
    ratio: int = 200
    #: Bytes of text in all, 1 TiB: about 50 million vectors of 1,536 dimensions.
    total_bytes: int = 1 << 40


#: Limits where nothing else is asked for.
DEFAULT_LIMITS = UnpackLimits()


@frozen
class BackupSet:
    """One timestamp at one location, with a file for every table of the layout."""

    #: Where it lies.
    location: Location
    #: ``YYYYMMDD_HHMMSS``.
    timestamp: str
    #: One file per table, in the order of the layout (parents before children).
    files: tuple[BackupFile, ...]
    #: The manifest beside the files; ``None`` for sets of tools that write none.
    manifest: ObjectInfo | None = None

    @property
    def label(self) -> str:
        """``<location>/<timestamp>``; the timestamp alone for a set in the root."""
        return f"{self.location.name}/{self.timestamp}" if self.location.name else self.timestamp

    @property
    def backup_date(self) -> datetime:
        """When the backup was made, in the local time of the machine that made it."""
        return datetime.strptime(self.timestamp, TIMESTAMP_FORMAT)  # noqa: DTZ007 - no zone given

    @property
    def size_bytes(self) -> int:
        """Stored bytes of all files."""
        return sum(file.size_bytes for file in self.files)

    def to_dict(self) -> dict[str, str]:
        """What plans and reports say of the set, JSON-ready."""
        return {
            "label": self.label,
            "backup_path": self.location.relative_path,
            "timestamp": self.timestamp,
            "backup_date": self.backup_date.isoformat(sep=" "),
        }

    def file(self, table: str) -> BackupFile:
        """The file of one table; ``KeyError`` if the set has none."""
        for file in self.files:
            if file.table == table:
                return file
        raise KeyError(table)


@frozen
class IncompleteSet:
    """Something that looks like a backup and cannot be restored."""

    #: Where it lies.
    location: Location
    #: ``YYYYMMDD_HHMMSS``, as far as the name tells; ``""`` for a log that was being rewritten.
    timestamp: str
    #: What is there.
    objects: tuple[ObjectInfo, ...]
    #: Why it is not a set, one line.
    reason: str

    @property
    def label(self) -> str:
        """Label the set would have if it were complete; of a log its place."""
        last = self.timestamp or self.objects[0].key.rpartition("/")[2]
        return f"{self.location.name}/{last}" if self.location.name else last


@frozen
class Catalog:
    """All backups of a store, as one listing showed them."""

    #: Locations with at least one set or leftover: global ones first, then tasks, newest first.
    locations: tuple[Location, ...]
    #: Complete sets, newest first; at equal times global before task.
    sets: tuple[BackupSet, ...]
    #: What looks like a backup and is not complete, newest first.
    incomplete: tuple[IncompleteSet, ...]

    def sets_of(self, location: Location) -> tuple[BackupSet, ...]:
        """The sets of one location, newest first."""
        return tuple(s for s in self.sets if s.location == location)

    def latest(self, location: str | None = None) -> BackupSet:
        """The newest set, of all or of one location's name.

        Raises:
            OptionError: A name that can be no location.
            BackupNotFoundError: There is none; the message says what is there instead.
        """
        check_place(location or "", "location")
        for candidate in self.sets:
            if location is None or location in candidate.location.names:
                return candidate
        where = f" at {quoted(location)}" if location else ""
        raise BackupNotFoundError(
            f"no complete backup set{where}", hint=self._instead(location) or None
        )

    def get(self, label: str) -> BackupSet:
        """The set a label names: ``<location>/<timestamp>``, ``latest``, ``<location>/latest``.

        A set that lies in the root has its timestamp alone as a label.

        Raises:
            OptionError: A text that can be no label, or the label of two sets.
            BackupNotFoundError: No such set; the hint names what comes closest.
            IncompleteBackupError: The set is there in part; the message says what is missing.
        """
        check_place(label, "label")
        name, _, stamp = label.removeprefix("./").rpartition("/")
        if stamp == "latest":
            return self.latest(name or None)
        found = [s for s in self.sets if s.timestamp == stamp and name in s.location.names]
        if len(found) > 1:
            raise OptionError(
                f"{quoted(label)} names {len(found)} backup sets",
                hint=f"there are {', '.join(f'{s.location.key}/{stamp}' for s in found)}",
            )
        if found:
            return found[0]
        for leftover in self.incomplete:
            if stamp and leftover.timestamp == stamp and name in leftover.location.names:
                raise IncompleteBackupError(
                    f"backup set {quoted(label)} is incomplete: {leftover.reason}",
                    hint=self._instead(name),
                )
        raise BackupNotFoundError(f"no backup set {quoted(label)}", hint=self._instead(name))

    def _instead(self, location: str | None) -> str | None:
        near = [s.label for s in self.sets if location in s.location.names] if location else []
        labels = near or [s.label for s in self.sets]
        if labels:
            more = f" and {len(labels) - 3} more" if len(labels) > 3 else ""  # noqa: PLR2004
            return f"there are {', '.join(labels[:3])}{more}"
        if self.incomplete:
            return f"only incomplete ones are there: {self.incomplete[0].reason}"
        return "the store holds no backups; is this its root folder?"


@frozen
class RepairCount:
    """How many cells of a table were repaired in one way, with the first of them."""

    #: Column name.
    column: str
    #: ``python_repr`` or ``numpy_vector``.
    kind: str
    #: Number of cells.
    cells: int
    #: Record of the sample.
    record: int
    #: The sample as it stood in the file, shortened.
    before: str
    #: The sample as it went to the server, shortened.
    after: str
