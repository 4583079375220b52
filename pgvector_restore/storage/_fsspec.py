"""Backups anywhere fsspec reaches: the one module that imports it."""

from __future__ import annotations

import io
import os
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from operator import attrgetter
from typing import Any, BinaryIO, cast

import fsspec
from fsspec.asyn import AsyncFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from pgvector_restore.errors import (
    BackupNotFoundError,
    MissingExtraError,
    OptionError,
    StoreError,
    quoted,
)
from pgvector_restore.model import ObjectInfo
from pgvector_restore.storage import _writing
from pgvector_restore.storage._blocks import Uploads
from pgvector_restore.storage._facts import object_info
from pgvector_restore.storage._guard import (
    GuardedStream,
    check_key,
    check_range,
    check_writable_key,
    is_key,
    is_refusal,
    translated,
    walk,
)
from pgvector_restore.storage._hints import hint_for, no_such_store
from pgvector_restore.storage._paths import Place, protocols
from pgvector_restore.storage._protocols import Stream, install_line, protocol_row
from pgvector_restore.storage._sftp import has_ended, sftp_file_system
from pgvector_restore.storage._streams import source_of
from pgvector_restore.storage.layout import DEFAULT_LAYOUT, Layout
from pgvector_restore.storage.writing import WritableStore, refuse_writing

__all__ = ["FsspecStore"]


class FsspecStore(WritableStore):
    """A folder of any file system that fsspec knows.

    It can be pickled, with what it needs to open again: URL and storage options, secrets included.

    Args:
        place: The URL.
        layout: Naming rules.
        storage_options: Keywords of the file system: keys, endpoint, timeouts.

    Raises:
        OptionError: Unknown protocol, or options that the file system does not take.
        MissingExtraError: The protocol's package is not installed.
        StoreError: The storage did not answer.
    """

    def __init__(
        self,
        place: Place,
        layout: Layout = DEFAULT_LAYOUT,
        storage_options: Mapping[str, object] | None = None,
    ) -> None:
        self.layout = layout
        self._place = place
        self._options = dict(storage_options or {})
        _check_protocols(place)
        found = protocols(place.path)
        self._row = protocol_row(found[0] if len(found) == 1 else "")
        self._connection: Any = None
        self._inherited: Any = None
        self._pid: int | None = None
        self._connecting = threading.Lock()
        self._root = ""
        try:
            self._fs  # noqa: B018 - what is wrong with the address is said here
        except BackupNotFoundError as exc:  # an archive that a chain leads through, a file of keys
            raise no_such_store(place.display, exc) from exc
        self.is_shared = "memory:" not in place.path
        # Caches are looked into in two steps: one that is emptied in between breaks a listing.
        self._listing = threading.Lock()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self._place, self.layout, self._options)

    @property
    def _fs(self) -> Any:  # noqa: ANN401 - fsspec has no types
        """The file system, connected anew when its connection has ended, and after a fork."""
        with self._connecting:
            if self._pid != os.getpid() or has_ended(self._connection):
                with translated(self._place.display):
                    given = {**self._row.defaults, **self._options}
                    found, root = _connect(self._place.path, given, self._row.streams)
                # What was inherited stays: taken down, it would wait for a loop that is not here.
                self._inherited, self._connection = self._connection, found
                self._root, self._pid = str(root).rstrip("/"), os.getpid()
                self._uploads = Uploads(self._row.streams)
                if hasattr(found, "disconnect"):
                    weakref.finalize(self, found.disconnect).atexit = False
            return self._connection

    @property
    def url(self) -> str:
        """The URL without user, password, query and fragment."""
        return self._place.display

    def list(self, prefix: str = "", *, max_depth: int | None = None) -> Iterator[ObjectInfo]:
        """List afresh, as the storage does or by folders; see :meth:`BackupStore.list`."""
        return self._listed(prefix, max_depth, None)

    def candidates(self, prefix: str = "", *, max_depth: int | None = None) -> Iterator[ObjectInfo]:
        """The same, of folders only those that can hold backups.

        Where a storage lists whole trees that is asked for first: it is quicker. Rights may end at
        a folder that is none of ours, or not allow it at all; then folders are walked.
        """
        return self._listed(prefix, max_depth, self.layout.may_use)

    def _listed(
        self, prefix: str, max_depth: int | None, wanted: Callable[[str], bool] | None
    ) -> Iterator[ObjectInfo]:
        with translated(self.url), self._listing:
            self._fs.invalidate_cache()
        enters = wanted or (lambda _: True)
        walked = walk(self._scan, object_info, prefix, max_depth, enters)
        if not _lists_trees(self._fs) or max_depth == prefix.count("/") + 1:
            objects = walked  # of one folder, what lies below would be listed for nothing
        else:
            objects = self._find(prefix, max_depth)
            if wanted is not None:
                objects = _or_else(objects, walked)
        empty = True
        for info in objects:
            empty = False
            yield info
        if empty:
            self._check_root()

    def open(self, key: str, start: int = 0, end: int | None = None) -> BinaryIO:
        """Open an object; see :meth:`BackupStore.open`."""
        check_key(key)
        check_range(start, end)
        what = f"{self.url}/{key}"
        with translated(what):
            source, version = source_of(self._fs, self._row.streams, self._path(key), start, end)
        limit = None if end is None else end - start
        return cast("BinaryIO", io.BufferedReader(GuardedStream(source, limit, what, version)))

    def size_of(self, key: str) -> int:
        """Bytes of an object; see :class:`Sized`."""
        check_key(key)
        with translated(f"{self.url}/{key}"):
            found = self._fs.info(self._path(key))
            if found.get("type") == "directory":
                raise IsADirectoryError(key)
            return int(found["size"])

    @property
    def read_only_reason(self) -> str | None:
        """See :attr:`WritableStore.read_only_reason`."""
        if self._row.writes is None:
            return f"nothing is known of writing whole files to {self._row.name}"
        return None

    @contextmanager
    def create(self, key: str, *, replace: bool = False) -> Iterator[BinaryIO]:
        """Upload, or write beside it and rename; see :meth:`WritableStore.create`."""
        if self._row.writes is None:
            refuse_writing(self)
        check_writable_key(key)
        what, path = f"{self.url}/{key}", self._path(key)
        if self._row.writes == "upload":
            writing = _writing.uploaded(self._fs, self._uploads, path, what, replace=replace)
        else:
            partial = path + self.layout.partial_suffix
            writing = _writing.renamed(self._fs, path, partial, what, replace=replace)
        with writing as stream:
            yield stream

    def delete(self, key: str) -> None:
        """Remove an object; see :meth:`WritableStore.delete`."""
        if self._row.writes is None:
            refuse_writing(self)
        check_key(key)
        _writing.delete(self._fs, self._path(key), f"{self.url}/{key}")

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}" if key else self._root or "/"

    def _key(self, name: str) -> str | None:
        """The key of an object as the file system names it; ``None`` outside of the root."""
        if not self._root:
            return name.removeprefix("/")
        inside = name.startswith(f"{self._root}/")
        return name[len(self._root) + 1 :] if inside else None

    def _find(self, prefix: str, max_depth: int | None) -> Iterator[ObjectInfo]:
        folder = prefix.rpartition("/")[0]
        if folder and not is_key(folder):
            return
        try:
            with translated(f"{self.url}/{folder}"), self._listing:
                # Without maxdepth: object storages list a whole tree in a few requests, and fall
                # back to one per folder if a depth is asked for.
                found: Any = self._fs.find(self._path(folder), detail=True)
        except BackupNotFoundError:
            return
        if not isinstance(found, dict):
            return  # adlfs names a file that goes by the name of the folder, without details
        objects = []
        while found:
            name, raw = found.popitem()
            key = self._key(name)
            if key is None or not is_key(key) or not key.startswith(prefix):
                continue
            if max_depth is not None and key.count("/") >= max_depth:
                continue
            if (info := object_info(key, raw)) is not None:
                objects.append(info)
        yield from sorted(objects, key=attrgetter("key"))

    def _scan(self, folder: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        path = self._path(folder.rstrip("/"))
        try:
            with translated(f"{self.url}/{folder}" if folder else self.url), self._listing:
                entries = self._fs.ls(path, detail=True)
        except BackupNotFoundError:
            return  # gone since its parent was read, or never there; the root is looked at later
        for raw in entries:
            full = str(raw["name"]).rstrip("/")
            if full != path.rstrip("/"):
                name = full.rpartition("/")[2]
                yield (f"{name}/" if raw.get("type") == "directory" else name), raw

    def _check_root(self) -> None:
        """Tell an empty store from one that is not there."""
        if not self._root and isinstance(self._fs, MemoryFileSystem):
            return  # it has no root to be missing
        try:
            with translated(self.url):
                kind = self._fs.info(self._path("")).get("type")
        except BackupNotFoundError as exc:
            raise BackupNotFoundError(
                f"no such folder: {quoted(self.url)}",
                hint=f"give the folder that holds {self.layout.global_folders[0]}",
            ) from exc
        if kind == "file":
            raise StoreError(
                f"{quoted(self.url)} is a file, not a folder",
                hint="give the folder that holds the backup files",
            )


def _connect(url: str, options: Mapping[str, object], kind: Stream | None) -> tuple[Any, str]:
    # An instance of its own: fsspec's shared ones have caches that others empty and fill.
    own = {"skip_instance_cache": True, **options}
    try:
        if kind == "gs":
            from pgvector_restore.storage import _google  # noqa: PLC0415 - the extra is there

            return _google.google_file_system(url, own)
        if kind == "az":
            from pgvector_restore.storage import _azure  # noqa: PLC0415 - the extra is there

            return _azure.azure_file_system(url, own)
        if kind == "sftp":
            return sftp_file_system(url, own)
        return cast("tuple[Any, str]", fsspec.url_to_fs(url, **own))
    except (TypeError, ValueError) as exc:
        raise OptionError(
            f"the file system refuses its options or its address: {type(exc).__name__}",
            hint=hint_for(exc) or "storage_options are keywords of fsspec's class for the protocol",
        ) from exc


def _check_protocols(place: Place) -> None:
    for protocol in protocols(place.path):
        module = protocol_row(protocol).module
        try:
            with warnings.catch_warnings():  # Google's packages tell of the end of Python versions
                warnings.simplefilter("ignore", FutureWarning)
                found = fsspec.get_filesystem_class(protocol)
            if module is not None and found.__module__.partition(".")[0] != module:
                raise ImportError(name=module)  # noqa: TRY301 - one of two that speak it
        except ImportError as exc:
            raise MissingExtraError(
                f"{quoted(place.display)} needs a package that is not installed",
                hint=install_line(protocol) or str(exc),
            ) from exc
        except ValueError as exc:
            raise OptionError(
                f"unknown protocol {quoted(protocol)} in {quoted(place.display)}",
                hint="fsspec.available_protocols() names those that are known",
            ) from exc


def _or_else(
    objects: Iterator[ObjectInfo], otherwise: Iterator[ObjectInfo]
) -> Iterator[ObjectInfo]:
    """The objects of a listing, or of another one where it is refused."""
    try:
        first = next(objects, None)
    except StoreError as exc:
        if not is_refusal(exc.__cause__):
            raise
        yield from otherwise
        return
    if first is not None:
        yield first
    yield from objects


def _lists_trees(fs: Any) -> bool:  # noqa: ANN401 - fsspec has no types
    """Whether the file system has a listing of its own for whole trees.

    fsspec's default walks folder by folder and passes over those it may not read: backups would
    be missed in silence.
    """
    cls = type(fs)
    if issubclass(cls, AsyncFileSystem):
        return cls._find is not AsyncFileSystem._find  # noqa: SLF001 - what find() calls
    return cls.find is not fsspec.AbstractFileSystem.find
