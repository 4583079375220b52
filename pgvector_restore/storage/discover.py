"""From a listing to a catalog: pure, in one pass, whatever the storage and its order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from attrs import evolve, frozen

from pgvector_restore.errors import OptionError, quoted
from pgvector_restore.model import (
    BackupFile,
    BackupSet,
    Catalog,
    IncompleteSet,
    ObjectInfo,
)
from pgvector_restore.storage._folder import Folder, is_moment, name_of
from pgvector_restore.storage.described import ManifestOf, judge_described, unfinished
from pgvector_restore.storage.layout import FileName, FileState, Layout, is_task_id

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


def build_catalog(
    objects: Iterable[ObjectInfo],
    layout: Layout,
    *,
    task_id: str | None = None,
    global_only: bool = False,
    manifest_of: ManifestOf = lambda _: None,
) -> Catalog:
    """The catalog of the listed objects; their order does not matter, each key counts once.

    Args:
        objects: A listing, relative to the store's root.
        layout: Naming rules.
        task_id: Only this task's location.
        global_only: Only global locations.
        manifest_of: Asked about sets whose tables are not just those of the layout.
    """
    folders: list[Folder] = []
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
        for timestamp in folder.timestamps:
            if timestamp in folder.manifests:
                judge_described(folder, timestamp, layout, manifest_of, sets, incomplete)
            elif timestamp in folder.markers:
                incomplete.append(unfinished(folder, timestamp))
            else:
                _judge(folder, timestamp, layout, sets, incomplete)
        if folder.half_log is not None:
            reason = f"unfinished: {name_of(folder.half_log)}"
            incomplete.append(IncompleteSet(folder.location, "", (folder.half_log,), reason))
    # Sorting is stable, reversed too: at equal times the order of the folders remains.
    sets.sort(key=lambda one: one.timestamp, reverse=True)
    incomplete.sort(key=lambda one: one.timestamp, reverse=True)
    folders.sort(key=lambda folder: folder.newest, reverse=True)
    folders.sort(key=lambda folder: folder.location.kind != "global")
    return Catalog(tuple(f.location for f in folders), tuple(sets), tuple(incomplete))


def _collect(objects: Iterable[ObjectInfo], layout: Layout) -> Iterator[Folder]:
    """Sort objects into their folders; give back those that hold files of sets."""
    folders: dict[str, Folder | None] = {}
    for info in objects:
        parent, slash, name = info.key.rpartition("/")
        if slash and not parent:
            continue  # an absolute key is not in the root
        if parent in folders:
            folder = folders[parent]
        else:
            location = layout.parse_folder(parent)
            folder = folders[parent] = Folder(location) if location else None
        if folder is not None:
            folder.add(name, info, layout)
    return (folder for folder in folders.values() if folder and folder.timestamps)


def _judge(
    folder: Folder,
    timestamp: str,
    layout: Layout,
    sets: list[BackupSet],
    incomplete: list[IncompleteSet],
) -> None:
    """Put one timestamp's files where they belong: a set, a leftover, or both."""
    orphaned = [
        (parsed, info)
        for parsed, info in folder.explained.get(timestamp, ())
        if parsed.format == "binary"
    ]
    if orphaned:
        objects = tuple(sorted((info for _, info in orphaned), key=lambda info: info.key))
        names = ", ".join(name_of(info) for info in objects)
        reason = f"{layout.manifest_name(timestamp)} missing, without which {names} cannot be read"
        incomplete.append(IncompleteSet(folder.location, timestamp, objects, reason))
        if timestamp not in folder.final and timestamp not in folder.beside:
            return
    final = folder.final.get(timestamp) or [None] * len(layout.tables)
    beside = folder.beside.get(timestamp)
    files = tuple(file for file in final if file is not None)
    complete = len(files) == len(layout.tables) and is_moment(timestamp)
    if complete and not beside:
        sets.append(BackupSet(folder.location, timestamp, files))
        return
    leftover = _Leftover(files, sorted(beside or (), key=lambda pair: pair[1].key))
    if complete and not leftover.doubles:
        sets.append(BackupSet(folder.location, timestamp, files))
        reason = f"{leftover.faults()}, beside a complete set of that time"
        objects = tuple(info for _, info in leftover.beside)
    else:
        missing = [
            layout.file_name(table, timestamp)
            for table, file in zip(layout.tables, final, strict=True)
            if file is None
        ]
        reason = leftover.reason(missing)
        objects = leftover.objects
    if not is_moment(timestamp):
        reason = f"{timestamp} is no date and time"
    incomplete.append(IncompleteSet(folder.location, timestamp, objects, reason))


@frozen
class _Leftover:
    """The files of one timestamp where they are not just one for each table."""

    #: The first finished file of each table.
    files: tuple[BackupFile, ...]
    #: All others, by key.
    beside: list[tuple[FileName, ObjectInfo]]

    @property
    def doubles(self) -> list[tuple[FileName, ObjectInfo]]:
        """Second finished files of a table."""
        return [(parsed, info) for parsed, info in self.beside if parsed.state == "final"]

    @property
    def objects(self) -> tuple[ObjectInfo, ...]:
        """Everything there is: finished files table by table, then the rest."""
        return tuple(info for file in self.files for info in self._of(file)) + tuple(
            info for parsed, info in self.beside if parsed.state != "final"
        )

    def _of(self, file: BackupFile) -> list[ObjectInfo]:
        """All finished files of a table, by key: which one was listed first does not matter."""
        second = [info for parsed, info in self.doubles if parsed.table == file.table]
        return sorted([file.info, *second], key=lambda info: info.key)

    def reason(self, missing: Sequence[str]) -> str:
        """Why it is no set."""
        parts = [", ".join(missing) + " missing"] if missing else []
        for file in self.files:
            names = [name_of(info) for info in self._of(file)]
            if len(names) > 1:
                parts.append(f"{file.table} has {len(names)} files, {', '.join(names)}: keep one")
        unfinished = self._names("partial")
        parts += [f"unfinished: {', '.join(unfinished)}"] if unfinished else []
        unreadable = self._names("unreadable")
        parts += [f"cannot be read, unpack it first: {', '.join(unreadable)}"] if unreadable else []
        return "; ".join(parts)

    def faults(self) -> str:
        """What is the matter with files beside a complete set."""
        unfinished, unreadable = self._names("partial"), self._names("unreadable")
        parts = [f"{', '.join(unfinished)} is unfinished"] if unfinished else []
        parts += [f"{', '.join(unreadable)} cannot be read"] if unreadable else []
        return " and ".join(parts)

    def _names(self, state: FileState) -> list[str]:
        codecs = state == "unreadable"
        return [
            name_of(info) + (f" ({parsed.codec})" if codecs else "")
            for parsed, info in self.beside
            if parsed.state == state
        ]
