"""A backup set from one store to another: byte for byte, verified, resumable."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Generator, Mapping
from contextlib import closing
from typing import Any

from pgvector_restore.cancel import CancelToken
from pgvector_restore.copy_place import CopyPlace
from pgvector_restore.copy_report import CopiedFile, CopyReport
from pgvector_restore.errors import (
    BackupExistsError,
    BackupInUseError,
    BadManifestError,
    CancelledError,
    OptionError,
    StoreChangedError,
    StoreError,
    quoted,
)
from pgvector_restore.manifest import Manifest
from pgvector_restore.model import BackupFile, BackupSet, ObjectInfo
from pgvector_restore.progress import Progress, ProgressEvent, no_progress
from pgvector_restore.storage import BackupStore, WritableStore
from pgvector_restore.storage.log import add_emptied, emptied_tables, parse_log

__all__ = ["copy_set"]

#: Bytes read at a time; object stores like them large.
_BLOCK_BYTES = 4 << 20
#: How often the place is looked at anew because somebody else was faster, before that is an error.
_LOOKS = 3


def copy_set(
    source: BackupStore,
    backup: str | BackupSet,
    destination: BackupStore,
    *,
    progress: Progress = no_progress,
    cancel: CancelToken | None = None,
) -> CopyReport:
    """Copy a set to the same place of another store.

    While it is copied it is marked as unfinished; a copy that was broken off goes on when it is
    started again, with the files that are not there yet. Each file is read back from where it was
    written, and SHA-256 of source and copy compared, with the manifest's as well where there is
    one. The manifest comes last. Of a set without one the backup log is copied too, where the
    destination has none; where it has one, that rows of the set went is added to it.

    Args:
        source: Where the set lies.
        backup: A label or a set of the source's catalog.
        destination: Where it shall lie too.
        progress: Called after each block with bytes read; each file counts twice, as it is read
            back.
        cancel: Calls it off. What was copied stays, marked as unfinished.

    Raises:
        OptionError: The destination cannot be written, or is the source.
        BackupExistsError: Another set of that label is there.
        BackupInUseError: Somebody else is copying it there, and one of the two has to wait. On
            object storages both succeed.
        BadManifestError: A file is not the one the manifest was written for.
        StoreChangedError: A file changed meanwhile, or the copy is not what was written.
        CancelledError: Called off.
        StoreError: A storage does not answer, or has no room.
    """
    started = time.perf_counter()
    if not isinstance(destination, WritableStore) or destination.read_only_reason is not None:
        why = getattr(destination, "read_only_reason", None) or "it is read-only"
        raise OptionError(f"{destination.url} cannot be written: {why}")
    if source is destination or source.address == destination.address:
        raise OptionError(f"{source.url} is source and destination")
    found = backup if isinstance(backup, BackupSet) else source.find(backup)[0]
    with source.hold(found):
        manifest = source.read_manifest(found)
        job = _Copy(source, destination, found, manifest, _Meter(found, progress, cancel))
        files = job.run()
        warnings = job.copy_log() if manifest is None else ()
    job.meter.tell("done")
    return CopyReport(
        found.label,
        source.url,
        destination.url,
        files,
        all(file.was_there for file in files),
        warnings,
        time.perf_counter() - started,
    )


class _Meter:
    """Counts bytes, and looks whether it is called off."""

    def __init__(self, backup: BackupSet, progress: Progress, cancel: CancelToken | None) -> None:
        described = backup.manifest.size_bytes if backup.manifest is not None else 0
        self._total = 2 * (backup.size_bytes + described)
        self._progress = progress
        self._cancel = cancel
        self.done = 0

    def add(self, size: int) -> None:
        if self._cancel is not None and self._cancel.cancelled:
            raise CancelledError("cancelled: what was copied stays, marked as unfinished")
        self.done += size
        self.tell("load")

    def tell(self, phase: Any) -> None:  # noqa: ANN401 - one of progress.py's words
        self._progress(ProgressEvent(phase, None, self.done, self._total, 0))


class _Copy:
    """One copy of one set."""

    def __init__(
        self,
        source: BackupStore,
        destination: WritableStore,
        backup: BackupSet,
        manifest: Manifest | None,
        meter: _Meter,
    ) -> None:
        self._source = source
        self._destination = destination
        self._backup = backup
        self.meter = meter
        self._expected = {
            file.name: file.sha256
            for table in (manifest.tables if manifest is not None else ())
            for file in table.files
        }
        #: Tables whose rows went, as the manifest tells, which is copied.
        self._marked = emptied_tables(backup, manifest, None)
        self._place = CopyPlace(destination, backup, manifest)
        #: What was read back, by key: the object it was, and its SHA-256.
        self._seen: dict[str, tuple[ObjectInfo, str]] = {}

    def run(self) -> tuple[CopiedFile, ...]:
        """Copy what is not there yet, then take the mark away."""
        pieces = [piece for file in self._backup.files for piece in file.pieces]
        for _ in range(_LOOKS):
            there = self._place.listed()
            if self._place.has_set(there):
                if self._backup.manifest is not None:  # the smallest first
                    self._compare(BackupFile("", self._backup.manifest), there)
                files = tuple(self._compare(piece, there) for piece in pieces)
                self._carry_mark()
                return files
            again = self._place.mark(there)
            if again is not None:
                break
        else:
            raise self._place.in_use()
        # What an attempt before has left half written is in the way otherwise.
        files = tuple(self._one(piece, there.get(piece.key), again=again) for piece in pieces)
        self._check_still_there()
        manifest = self._backup.manifest
        if manifest is not None:
            self._one(BackupFile("", manifest), there.get(manifest.key), again=again)
        self._source.check_unchanged(pieces[0])
        self._carry_mark()
        self._place.unmark()
        return files

    def _carry_mark(self) -> None:
        """Say of the copy, before it is a set, that its rows went where only the log tells so.

        Raises:
            StoreError: A log cannot be read or written.
        """
        location = self._backup.location
        log = self._source.read_log(location)
        found = [log.emptied_of(file.name) for file in self._backup.files] if log else []
        files = [one for one in found if one is not None and one.table not in self._marked]
        if not files or location.log is None:
            return
        folder = f"{location.key}/" if location.key else ""
        key = folder + self._destination.layout.log_name
        text = b""
        if self._place.look(key) is not None:
            with self._destination.open(key) as stream:
                text = stream.read()
        elif not self._expected:  # the log of a set without a manifest is copied as it is
            self._write_log(location.log)
            return
        known = parse_log(text)
        missing = [one for one in files if known is None or known.emptied_of(one.file) is None]
        if missing:
            with self._destination.create(key, replace=True) as stream:
                stream.write(add_emptied(text, missing))

    def _write_log(self, info: ObjectInfo) -> None:
        # A copy that was killed while it wrote the log has left half of it.
        half = info.key + self._destination.layout.partial_suffix
        self._write(BackupFile("", info), replace=self._place.look(half) is not None)

    def _compare(self, piece: BackupFile, there: Mapping[str, ObjectInfo]) -> CopiedFile:
        info = there[piece.key]
        ours = self._digest(self._source, piece.info)
        if info.size_bytes != piece.size_bytes or ours != self._digest(self._destination, info):
            raise self._place.exists(f"{piece.name} differs")
        return CopiedFile(piece.name, piece.size_bytes, ours, was_there=True)

    def _one(self, piece: BackupFile, info: ObjectInfo | None, *, again: bool) -> CopiedFile:
        if again and info is None:  # another copy may have come further meanwhile
            info = self._place.look(piece.key)
        found = self._was_there(piece, info)
        if found is not None:
            return found
        try:
            return self._write(piece, replace=again or info is not None)
        except (BackupExistsError, BackupInUseError) as exc:
            found = self._was_there(piece, self._place.look(piece.key))
            if found is None:
                raise self._place.in_use() from exc
            return found

    def _was_there(self, piece: BackupFile, info: ObjectInfo | None) -> CopiedFile | None:
        """The file, if its copy is there and the same."""
        if info is None or info.size_bytes != piece.size_bytes:
            return None
        ours = self._digest(self._source, piece.info)
        self._check(piece, ours)
        if self._digest(self._destination, info) != ours:
            return None
        self._seen[piece.key] = info, ours
        return CopiedFile(piece.name, piece.size_bytes, ours, was_there=True)

    def _check_still_there(self) -> None:
        """Read again what somebody has replaced since: it is to be the same."""
        there = self._place.listed()
        for key, (info, sha256) in self._seen.items():
            now = there.get(key)
            if now == info:
                continue
            if now is None or self._digest(self._destination, now) != sha256:
                raise StoreChangedError(
                    f"{quoted(key)} was changed by somebody else while the set was copied",
                    hint="copy again; the copy stays unfinished until then",
                )

    def _write(self, piece: BackupFile, *, replace: bool = False) -> CopiedFile:
        sha = hashlib.sha256()
        with (
            closing(self._blocks(self._source, piece.info)) as blocks,
            self._destination.create(piece.key, replace=replace) as stream,
        ):
            for block in blocks:
                sha.update(block)
                stream.write(block)
            self._check(piece, sha.hexdigest())
            self._source.check_unchanged(piece)
        info = self._place.look(piece.key)
        copied = self._digest(self._destination, piece.info)
        if copied != sha.hexdigest():
            raise StoreChangedError(
                f"copy of {piece.name} is not what was written",
                hint="the destination does not keep what it is given; the copy stays unfinished",
            )
        if info is not None:
            self._seen[piece.key] = info, copied
        return CopiedFile(piece.name, piece.size_bytes, copied, was_there=False)

    def _check(self, piece: BackupFile, sha256: str) -> None:
        expected = self._expected.get(piece.name)
        if expected is not None and expected != sha256:
            raise BadManifestError(
                "file is not the one the manifest was written for: SHA-256 differs",
                hint="it was changed after the backup; take another set",
                file=piece.name,
            )

    def _digest(self, store: BackupStore, info: ObjectInfo) -> str:
        sha = hashlib.sha256()
        with closing(self._blocks(store, info)) as blocks:
            for block in blocks:
                sha.update(block)
        return sha.hexdigest()

    def _blocks(self, store: BackupStore, info: ObjectInfo) -> Generator[bytes, None, None]:
        """An object as it is stored, as long as it was listed."""
        seen = 0
        with store.open(info.key) as stream:
            while block := stream.read(_BLOCK_BYTES):
                seen += len(block)
                self.meter.add(len(block))
                yield block
        if seen != info.size_bytes:
            raise StoreChangedError(
                f"{quoted(info.key)} was listed with {info.size_bytes} bytes, {seen} came",
                hint="the file changed while it was read: try again",
            )

    def copy_log(self) -> tuple[str, ...]:
        """The log, if it speaks of the set and the destination has none."""
        log = self._source.read_log(self._backup.location)
        info = self._backup.location.log
        speaks = log is not None and any(
            log.rows_of(f.name) is not None for f in self._backup.files
        )
        if info is None or not speaks:
            return ()
        try:
            if self._place.look(info.key) is None:
                self._write_log(info)
        except (StoreError, CancelledError) as exc:  # the set is there, whatever becomes of its log
            why = "called off" if isinstance(exc, CancelledError) else str(exc)
            return (f"the backup log was not copied: {why}",)
        return ()
