"""Sets that have a manifest, or are being written with one."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pgvector_restore.errors import BadManifestError, quoted, shown
from pgvector_restore.errors import listed as cut_list
from pgvector_restore.manifest import Manifest
from pgvector_restore.model import BackupFile, BackupSet, IncompleteSet, ObjectInfo
from pgvector_restore.storage._folder import Folder, is_moment, name_of
from pgvector_restore.storage.layout import FileName, Layout

__all__ = ["ManifestOf", "check_described", "described_files", "judge_described", "unfinished"]

#: Reads a manifest; ``None`` for one that cannot be read.
ManifestOf = Callable[[ObjectInfo], Manifest | None]

#: What to do about a manifest and files that do not belong together.
_HINT = "files or manifest were changed after the backup; take another set"


def unfinished(folder: Folder, timestamp: str) -> IncompleteSet:
    """A set that is being written, or whose writer has died."""
    markers = sorted(folder.markers[timestamp], key=lambda info: info.key)
    objects = folder.everything(timestamp)
    reason = f"unfinished: {', '.join(map(name_of, markers))}"
    return IncompleteSet(folder.location, timestamp, (*objects, *markers), reason)


def judge_described(
    folder: Folder,
    timestamp: str,
    layout: Layout,
    manifest_of: ManifestOf,
    sets: list[BackupSet],
    incomplete: list[IncompleteSet],
) -> None:
    """Put the files of a timestamp that has a manifest where they belong.

    The manifest is read only where names do not tell: it would take a request for each set.
    """
    info = folder.manifests[timestamp]
    objects = folder.everything(timestamp)
    files = _usual_files(folder, timestamp, layout)
    reason = ""
    if files is None:
        manifest = manifest_of(info)
        if manifest is None:
            reason = f"{name_of(info)} cannot be read"
        else:
            files, missing = described_files(manifest, objects, layout)
            reason = f"{', '.join(missing)} missing, named by {name_of(info)}" if missing else ""
    if not is_moment(timestamp):
        reason = f"{timestamp} is no date and time"
    if reason or not files:
        found = (*objects, info)
        incomplete.append(IncompleteSet(folder.location, timestamp, found, reason))
        return
    sets.append(BackupSet(folder.location, timestamp, files, info))
    used = {piece.key for file in files for piece in file.objects}
    beside = [one for one in objects if one.key not in used]
    beside += folder.markers.get(timestamp, ())
    if beside:
        names = ", ".join(map(name_of, beside))
        reason = (
            f"{names} {'is' if len(beside) == 1 else 'are'} not part of the complete set beside"
        )
        incomplete.append(IncompleteSet(folder.location, timestamp, tuple(beside), reason))


def _usual_files(folder: Folder, timestamp: str, layout: Layout) -> tuple[BackupFile, ...] | None:
    """The files where there is just one for each of the layout's tables; else ``None``."""
    final = folder.final.get(timestamp)
    if timestamp in folder.beside:
        return None
    if timestamp not in folder.explained:
        files = tuple(file for file in final or () if file is not None)
        return files if len(files) == len(layout.tables) else None
    if final is not None:
        return None
    by_table: dict[str, list[tuple[FileName, ObjectInfo]]] = {}
    for parsed, info in folder.explained[timestamp]:
        by_table.setdefault(parsed.table, []).append((parsed, info))
    if by_table.keys() != set(layout.tables):
        return None
    found = [_joined(by_table[table]) for table in layout.tables]
    whole = tuple(file for file in found if file is not None)
    return whole if len(whole) == len(found) else None


def _joined(pieces: list[tuple[FileName, ObjectInfo]]) -> BackupFile | None:
    """One file, or parts numbered from 1 without a gap and alike otherwise; else ``None``."""
    pieces = sorted(pieces, key=lambda piece: piece[0].part or 0)
    first, info = pieces[0]
    numbers = [parsed.part for parsed, _ in pieces]
    kinds = {(parsed.table, parsed.state, parsed.codec, parsed.format) for parsed, _ in pieces}
    if len(kinds) > 1 or first.state != "final":
        return None
    if numbers == [None]:
        return BackupFile(first.table, info, first.codec, first.format)
    if numbers != list(range(1, len(pieces) + 1)):
        return None
    parts = tuple(info for _, info in pieces)
    times = [part.mtime for part in parts if part.mtime is not None]
    whole = ObjectInfo(
        info.key.replace(f".part{1:05}.", ".", 1),
        sum(part.size_bytes for part in parts),
        None,
        max(times, default=None),
    )
    return BackupFile(first.table, whole, first.codec, first.format, parts)


def described_files(
    manifest: Manifest, objects: Iterable[ObjectInfo], layout: Layout
) -> tuple[tuple[BackupFile, ...], list[str]]:
    """The files a manifest names, in its order of tables, and the names that are not there.

    A name that is no file of its table counts as not there.
    """
    there = {name_of(info): info for info in objects}
    files: list[BackupFile] = []
    missing: list[str] = []
    for table in manifest.tables:
        pieces = []
        for named in table.files:
            parsed = layout.parse_file_name(named.name, any_table=True)
            info = there.get(named.name)
            if info is None or parsed is None or parsed.table != table.name:
                missing.append(named.name)
            else:
                pieces.append((parsed, info))
        joined = _joined(pieces) if pieces else None
        if joined is not None:
            files.append(joined)
        elif pieces and not missing:
            missing.append(f"a part of {table.name}")
    return tuple(files), missing


def check_described(manifest: Manifest, backup: BackupSet, name: str) -> None:
    """Compare a manifest with the listing of the set it lies beside.

    Args:
        manifest: What it says.
        backup: The set.
        name: The manifest's, for errors.

    Raises:
        BadManifestError: It is of another backup, or names other files or sizes than were listed.
    """
    if manifest.timestamp != backup.timestamp:
        raise BadManifestError(
            f"manifest is of the backup {manifest.timestamp}", file=name, hint=_HINT
        )
    listed = {name_of(info): (file, info) for file in backup.files for info in file.objects}
    for table in manifest.tables:
        for said in table.files:
            found = listed.pop(said.name, None)
            if found is None:
                raise BadManifestError(
                    f"manifest names {shown(said.name)}, which is not there",
                    hint="a part of the backup was deleted or not copied; take another set",
                    file=name,
                )
            file, info = found
            for wrong, what in (
                (file.table != table.name, f"for the table {quoted(table.name)}"),
                (file.format != manifest.format, f"as {manifest.format}"),
                (file.codec != manifest.codec, f"as {shown(manifest.codec or 'not compressed')}"),
            ):
                if wrong:
                    raise BadManifestError(
                        f"manifest names {said.name} {what}", hint=_HINT, file=name
                    )
            if info.size_bytes != said.size_bytes:
                raise BadManifestError(
                    f"{said.name} has {info.size_bytes} bytes, the manifest says {said.size_bytes}",
                    hint=_HINT,
                    file=name,
                )
    if listed:
        raise BadManifestError(f"manifest does not name {cut_list(listed)}", hint=_HINT, file=name)
