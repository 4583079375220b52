"""What a listing shows of one location, sorted by timestamp."""

from __future__ import annotations

from datetime import datetime

from attrs import define, field

from pgvector_restore.model import BackupFile, Location, ObjectInfo
from pgvector_restore.storage.layout import FileName, Layout

__all__ = ["Folder", "is_moment", "name_of"]


@define
class Folder:
    """What was seen of one location so far."""

    #: The location, still without its log.
    location: Location
    #: The backup log, if it was seen, and what there is of one that was being rewritten.
    log: ObjectInfo | None = None
    half_log: ObjectInfo | None = None
    #: Finished files by timestamp, one place per table of the layout.
    final: dict[str, list[BackupFile | None]] = field(factory=dict)
    #: What else there is of a timestamp: unfinished files, files that cannot be read, and second
    #: files of a table.
    beside: dict[str, list[tuple[FileName, ObjectInfo]]] = field(factory=dict)
    #: What only a manifest explains: files in binary, and those of other tables.
    explained: dict[str, list[tuple[FileName, ObjectInfo]]] = field(factory=dict)
    #: Manifests, and what lies beside sets that are being written, by timestamp.
    manifests: dict[str, ObjectInfo] = field(factory=dict)
    markers: dict[str, list[ObjectInfo]] = field(factory=dict)

    @property
    def timestamps(self) -> set[str]:
        """Those of all files, real dates or not."""
        # Files of other tables are none of ours where nothing says that they are.
        ours = [
            stamp
            for stamp, files in self.explained.items()
            if any(parsed.format == "binary" for parsed, _ in files)
        ]
        return {*self.final, *self.beside, *self.manifests, *self.markers, *ours}

    @property
    def newest(self) -> str:
        """The latest of them; ``""`` where there are none."""
        return max(self.timestamps, default="")

    def add(self, name: str, info: ObjectInfo, layout: Layout) -> None:
        """Put an object of the folder where it belongs."""
        if name == layout.log_name:
            self.log = info
            return
        if name == layout.half_log_name:
            self.half_log = info
            return
        described = layout.parse_manifest_name(name)
        if described is not None:
            stamp, finished = described
            if finished:
                self.manifests.setdefault(stamp, info)
            else:
                self.markers.setdefault(stamp, []).append(info)
            return
        parsed = layout.parse_file_name(name, any_table=True)
        if parsed is None:
            return
        if parsed.format == "binary" or parsed.table not in layout.tables:
            self.explained.setdefault(parsed.timestamp, []).append((parsed, info))
            return
        if parsed.state == "final":
            files = self.final.get(parsed.timestamp)
            if files is None:
                files = self.final[parsed.timestamp] = [None] * len(layout.tables)
            place = layout.tables.index(parsed.table)
            if files[place] is None:
                files[place] = BackupFile(parsed.table, info, parsed.codec)
                return
        self.beside.setdefault(parsed.timestamp, []).append((parsed, info))

    def everything(self, timestamp: str) -> list[ObjectInfo]:
        """All files of a timestamp by key, without manifest and marker."""
        plain = [file.info for file in self.final.get(timestamp, ()) if file is not None]
        others = (*self.beside.get(timestamp, ()), *self.explained.get(timestamp, ()))
        return sorted([*plain, *(info for _, info in others)], key=lambda info: info.key)


def name_of(info: ObjectInfo) -> str:
    """Last part of the key."""
    return info.key.rpartition("/")[2]


def is_moment(stamp: str) -> bool:
    """Whether a stamp of the right form is a real date and time.

    As ``parse_timestamp`` decides, at a sixth of the time: strptime was a quarter of a catalog.
    """
    try:
        datetime(  # noqa: DTZ001 - stamps carry no zone
            int(stamp[:4]), int(stamp[4:6]), int(stamp[6:8]),
            int(stamp[9:11]), int(stamp[11:13]), int(stamp[13:]),
        )  # fmt: skip
    except ValueError:
        return False
    return True
