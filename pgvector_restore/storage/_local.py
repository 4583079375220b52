"""Backups in a folder of this machine or of a mounted network drive."""

# Strings, not Path objects: a listing makes hundreds of thousands of them.
# ruff: noqa: PTH100, PTH102, PTH103, PTH108, PTH112, PTH114, PTH116, PTH118

from __future__ import annotations

import io
import logging
import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import BinaryIO, cast

from pgvector_restore.errors import (
    BackupExistsError,
    BackupInUseError,
    BackupNotFoundError,
    StoreError,
    quoted,
)
from pgvector_restore.model import BackupSet, ObjectInfo
from pgvector_restore.storage._durable import put_in_place, sync_folder
from pgvector_restore.storage._guard import (
    GuardedStream,
    WritingStream,
    check_key,
    check_range,
    check_writable_key,
    translated,
    walk,
)
from pgvector_restore.storage._partial import partial_file
from pgvector_restore.storage._paths import Place
from pgvector_restore.storage.holding import hold_files, hold_here
from pgvector_restore.storage.layout import DEFAULT_LAYOUT, Layout
from pgvector_restore.storage.writing import WritableStore

__all__ = ["LocalStore"]

_log = logging.getLogger(__name__)

# A pipe opened for reading waits for a writer unless told not to; it is refused right after.
_FLAGS = os.O_RDONLY
for _flag in ("O_BINARY", "O_CLOEXEC", "O_NOFOLLOW", "O_NOINHERIT", "O_NONBLOCK"):
    _FLAGS |= getattr(os, _flag, 0)


class LocalStore(WritableStore):
    """A folder.

    Links never lead anywhere else: a link to a file inside of the folder counts as that file,
    any other link is left out with a warning. What is no regular file is left out as well.

    Args:
        place: The folder; a relative path counts from the current folder of this moment.
        layout: Naming rules.
    """

    is_local = True

    def __init__(self, place: Place, layout: Layout = DEFAULT_LAYOUT) -> None:
        self.layout = layout
        self._url = place.display
        self._root = os.path.abspath(place.path)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._url!r})"

    @property
    def url(self) -> str:
        """The folder as it was named, with slashes on every system."""
        return self._url

    @property
    def address(self) -> str:
        """The folder itself, whatever path or link leads to it; see :attr:`BackupStore.address`."""
        with suppress(OSError):  # it is made when something is written
            found = os.stat(self._root)
            if found.st_ino:  # some network drives have none
                return f"folder {found.st_ino} of {found.st_dev}"
        return os.path.realpath(self._root)

    def list(self, prefix: str = "", *, max_depth: int | None = None) -> Iterator[ObjectInfo]:
        """Walk the folder; see :meth:`BackupStore.list`."""
        return self._walk(prefix, max_depth, lambda _: True)

    def candidates(self, prefix: str = "", *, max_depth: int | None = None) -> Iterator[ObjectInfo]:
        """Walk the folders that can hold backups; see :meth:`BackupStore.candidates`."""
        return self._walk(prefix, max_depth, self.layout.may_use)

    def _walk(
        self, prefix: str, max_depth: int | None, wanted: Callable[[str], bool]
    ) -> Iterator[ObjectInfo]:
        root = self._real_root()
        start = prefix[: prefix.rfind("/") + 1]
        return walk(
            lambda folder: self._scan(root, folder, start),
            lambda key, entry: self._describe(root, key, entry, wanted),
            prefix,
            max_depth,
            wanted,
        )

    def open(self, key: str, start: int = 0, end: int | None = None) -> BinaryIO:
        """Open a file; see :meth:`BackupStore.open`."""
        check_range(start, end)
        source = self._file(key)
        source.seek(start)
        limit = None if end is None else end - start
        guarded = GuardedStream(source, limit, f"{self._url}/{key}")
        return cast("BinaryIO", io.BufferedReader(guarded))

    @contextmanager
    def create(self, key: str, *, replace: bool = False) -> Iterator[BinaryIO]:
        """Write beside it, then rename, both brought to the disk; see :meth:`WritableStore.create`.

        A file that is being written carries the layout's ``partial_suffix``, and a lock while its
        writer lives.
        """
        check_writable_key(key)
        what = f"{self._url}/{key}"
        path = self._place_for(key)
        if not replace and os.path.lexists(path):
            raise BackupExistsError(f"{quoted(what)} is there already")
        partial = path + self.layout.partial_suffix
        with ExitStack() as stack:
            with translated(what, "write"):
                try:
                    descriptor = stack.enter_context(partial_file(partial, replace=replace))
                except BlockingIOError as exc:
                    raise BackupInUseError(
                        f"{quoted(what)} is being written by somebody else",
                        hint="try again when that has ended",
                    ) from exc
                except FileExistsError as exc:
                    raise BackupExistsError(
                        f"{quoted(what)} is being written, or was left unfinished",
                        hint="wait for its writer; if that has died, prune sweeps it a day later",
                    ) from exc
            with WritingStream(io.FileIO(descriptor, "w"), what) as stream:
                yield cast("BinaryIO", stream)
                with translated(what, "write"):
                    os.fsync(descriptor)
            with translated(what, "write"):
                put_in_place(partial, path, replace=replace)

    def delete(self, key: str) -> None:
        """Remove a file; see :meth:`WritableStore.delete`."""
        check_key(key)
        with translated(f"{self._url}/{key}", "write"):
            root = self._real_root()
            *folders, name = key.split("/")
            parent = os.path.join(root, *folders)
            if os.path.realpath(parent, strict=True) != os.path.normpath(parent):
                raise BackupNotFoundError(f"{quoted(key)} leads out of {quoted(self._url)}")
            path = os.path.join(parent, name)  # a link itself, not what it leads to
            if os.path.isdir(path) and not os.path.islink(path):
                raise BackupNotFoundError(f"{quoted(key)} is not a regular file")
            os.unlink(path)
            sync_folder(parent)

    @contextmanager
    def hold(self, backup: BackupSet, *, alone: bool = False) -> Iterator[None]:
        """Against other processes of this machine as well; see :meth:`BackupStore.hold`."""
        infos = [info for file in backup.files for info in file.objects]
        files = (self._file(info.key) for info in infos)
        here = hold_here(os.path.realpath(self._root), backup, alone=alone)
        with here, hold_files(files, backup, alone=alone):
            yield

    def _file(self, key: str) -> io.FileIO:
        """A file as the system opens it."""
        check_key(key)
        with translated(f"{self._url}/{key}"):
            path = _inside(self._real_root(), key)
            if path is None:
                raise BackupNotFoundError(f"{quoted(key)} leads out of {quoted(self._url)}")
            descriptor = os.open(path, _FLAGS)
            try:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise BackupNotFoundError(  # noqa: TRY301 - on its way it closes the file
                        f"{quoted(key)} is not a regular file"
                    )
                return io.FileIO(descriptor)
            except BaseException:
                os.close(descriptor)
                raise

    def _place_for(self, key: str) -> str:
        """Path of a new file, its folders made; none of them may be a link."""
        with translated(f"{self._url}/{key}", "write"):
            os.makedirs(self._root, exist_ok=True)
            folder = self._real_root()
            *folders, name = key.split("/")
            for part in folders:
                parent, folder = folder, os.path.join(folder, part)
                with suppress(FileExistsError):
                    os.mkdir(folder)
                    sync_folder(parent)
                if os.path.realpath(folder, strict=True) != os.path.normpath(folder):
                    raise StoreError(f"{quoted(key)} leads out of {quoted(self._url)}")
            return os.path.join(folder, name)

    def _real_root(self) -> str:
        try:
            root = os.path.realpath(self._root, strict=True)
            is_folder = stat.S_ISDIR(os.stat(root).st_mode)
        except (FileNotFoundError, NotADirectoryError) as exc:
            raise BackupNotFoundError(
                f"no such folder: {quoted(self._url)}",
                hint=f"give the folder that holds {self.layout.global_folders[0]}",
            ) from exc
        except OSError as exc:
            raise StoreError(f"cannot read folder {quoted(self._url)}: {exc.strerror}") from exc
        if not is_folder:
            raise StoreError(
                f"{quoted(self._url)} is a file, not a folder",
                hint="give the folder that holds the backup files",
            )
        return root

    def _scan(self, root: str, folder: str, start: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
        path = os.path.join(root, folder) if folder else root
        try:
            # Folders met on the way are known to be no links; the one it starts from is not.
            if folder == start and os.path.realpath(path, strict=True) != os.path.normpath(path):
                _skipped(folder)
                return
            with os.scandir(path) as entries:
                for entry in entries:
                    is_folder = entry.is_dir(follow_symlinks=False) and not _is_junction(entry)
                    yield (f"{entry.name}/" if is_folder else entry.name), entry
        except (FileNotFoundError, NotADirectoryError, UnicodeEncodeError):
            return  # gone since its parent was read, or never there
        except OSError as exc:
            name = quoted(f"{self._url}/{folder}" if folder else self._url)
            raise StoreError(
                f"cannot read folder {name}: {exc.strerror}",
                hint="all folders of the store must be readable, or backups would be missed",
            ) from exc

    def _describe(
        self, root: str, key: str, entry: os.DirEntry[str], wanted: Callable[[str], bool]
    ) -> ObjectInfo | None:
        link = None
        try:
            if entry.is_symlink() or _is_junction(entry):
                linked = _linked(root, key)
                if linked is None:
                    _skipped(key)
                    return None
                link, found = linked
            else:
                found = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            return None  # deleted since the folder was read
        except OSError as exc:
            if not wanted(key):  # asked only now: most can be read
                return None
            name = quoted(f"{self._url}/{key}")
            raise StoreError(f"cannot read {name}: {exc.strerror}") from exc
        if not stat.S_ISREG(found.st_mode):
            return None
        return ObjectInfo(key, found.st_size, None, found.st_mtime, link)


def _is_junction(entry: os.DirEntry[str]) -> bool:
    """Whether it is Windows' other kind of link to a folder, which passes for a folder."""
    if sys.platform == "win32":
        found = entry.stat(follow_symlinks=False)
        return found.st_reparse_tag == stat.IO_REPARSE_TAG_MOUNT_POINT
    return False


def _inside(root: str, key: str) -> str | None:
    """Where a key really lies: folders as they are, the file itself may be a link inside."""
    *folders, name = key.split("/")
    parent = os.path.join(root, *folders)
    if os.path.realpath(parent, strict=True) != os.path.normpath(parent):
        return None
    path = os.path.realpath(os.path.join(parent, name), strict=True)
    return path if path.startswith(os.path.join(root, "")) else None


def _linked(root: str, key: str) -> tuple[str, os.stat_result] | None:
    """Key and facts of the regular file inside of the root a link leads to, or ``None``."""
    try:
        path = _inside(root, key)
        found = os.stat(path, follow_symlinks=False) if path else None
    except OSError:  # dangling, or a circle
        return None
    if path is None or found is None or not stat.S_ISREG(found.st_mode):
        return None
    return os.path.relpath(path, root).replace(os.sep, "/"), found


def _skipped(key: str) -> None:
    _log.warning("link not followed: %s", quoted(key))
