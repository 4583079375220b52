"""From a listing to a catalog: pure, in one pass, whatever the storage and its order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from attrs import define, evolve, field

from pgvector_restore.errors import OptionError, quoted
from pgvector_restore.model import (
    BackupFile,
    BackupSet,
    Catalog,
    IncompleteSet,
    Location,
    ObjectInfo,
)
from pgvector_restore.storage.layout import Layout, is_task_id

__all__ = ["build_catalog", "check_task_id"]


def check_task_id(text: str) -> None:
    """Refuse what cannot be a task's id.

    Raises:
        OptionError: Anything but ASCII letters, digits and underscores.
    """
    if not is_task_id(text):
        raise OptionError(
            f"{quoted(text)} is no task id",
            hint="a task id is made of the letters A-Z and a-z, digits and underscores",
        )


@define
class _Folder:
    """What was seen of one location so far."""

    #: The location, still without its log.
    location: Location
    #: The backup log, if it was seen.
    log: ObjectInfo | None = None
    #: Finished files by timestamp, one place per table of the layout.
    final: dict[str, list[ObjectInfo | None]] = field(factory=dict)
    #: Unfinished files by timestamp.
    partial: dict[str, list[ObjectInfo]] = field(factory=dict)

    @property
    def newest(self) -> str:
        """The latest timestamp of all files, real or not; ``""`` where there are none."""
        return max((*self.final, *self.partial), default="")


def build_catalog(
    objects: Iterable[ObjectInfo],
    layout: Layout,
    *,
    task_id: str | None = None,
    global_only: bool = False,
) -> Catalog:
    """The catalog of the listed objects; their order does not matter, each key counts once.

    Args:
        objects: A listing, relative to the store's root.
        layout: Naming rules.
        task_id: Only this task's location.
        global_only: Only global locations.
    """
    folders: list[_Folder] = []
    sets: list[BackupSet] = []
    incomplete: list[IncompleteSet] = []
    for folder in _collect(objects, layout):
        if task_id is not None and folder.location.task_id != task_id:
            continue
        if global_only and folder.location.kind != "global":
            continue
        folders.append(folder)
    folders.sort(key=lambda folder: (folder.location.kind != "global", folder.location.names))
    for folder in folders:
        folder.location = evolve(folder.location, log=folder.log)
        for timestamp in folder.final.keys() | folder.partial.keys():
            _judge(folder, timestamp, layout, sets, incomplete)
    # Sorting is stable, reversed too: at equal times the order of the folders remains.
    sets.sort(key=lambda one: one.timestamp, reverse=True)
    incomplete.sort(key=lambda one: one.timestamp, reverse=True)
    folders.sort(key=lambda folder: folder.newest, reverse=True)
    folders.sort(key=lambda folder: folder.location.kind != "global")
    return Catalog(tuple(f.location for f in folders), tuple(sets), tuple(incomplete))


def _collect(objects: Iterable[ObjectInfo], layout: Layout) -> Iterator[_Folder]:
    """Sort objects into their folders; give back those that hold files of sets."""
    folders: dict[str, _Folder | None] = {}
    places = {table: place for place, table in enumerate(layout.tables)}
    for info in objects:
        parent, slash, name = info.key.rpartition("/")
        if slash and not parent:
            continue  # an absolute key is not in the root
        if parent in folders:
            folder = folders[parent]
        else:
            location = layout.parse_folder(parent)
            folder = folders[parent] = _Folder(location) if location else None
        if folder is None:
            continue
        if name == layout.log_name:
            folder.log = info
            continue
        parsed = layout.parse_file_name(name)
        if parsed is None:
            continue
        if parsed.state == "partial":
            folder.partial.setdefault(parsed.timestamp, []).append(info)
            continue
        files = folder.final.get(parsed.timestamp)
        if files is None:
            files = folder.final[parsed.timestamp] = [None] * len(places)
        files[places[parsed.table]] = info
    return (folder for folder in folders.values() if folder and (folder.final or folder.partial))


def _judge(
    folder: _Folder,
    timestamp: str,
    layout: Layout,
    sets: list[BackupSet],
    incomplete: list[IncompleteSet],
) -> None:
    """Put one timestamp's files where they belong: a set, a leftover, or both."""
    final = folder.final.get(timestamp, [None] * len(layout.tables))
    partial = sorted(folder.partial.get(timestamp, ()), key=lambda info: info.key)
    files = [
        BackupFile(table, info) for table, info in zip(layout.tables, final, strict=True) if info
    ]
    complete = len(files) == len(layout.tables) and _is_moment(timestamp)
    if complete:
        sets.append(BackupSet(folder.location, timestamp, tuple(files)))
        if not partial:
            return
    names = ", ".join(info.key.rpartition("/")[2] for info in partial)
    left = tuple(partial) if complete else (*(file.info for file in files), *partial)
    if complete:
        reason = f"{names} is unfinished, beside a complete set of that time"
    elif not _is_moment(timestamp):
        reason = f"{timestamp} is no date and time"
    else:
        missing = (table for table, info in zip(layout.tables, final, strict=True) if not info)
        reason = ", ".join(layout.file_name(table, timestamp) for table in missing) + " missing"
        reason += f"; unfinished: {names}" if partial else ""
    incomplete.append(IncompleteSet(folder.location, timestamp, left, reason))


def _is_moment(stamp: str) -> bool:
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
