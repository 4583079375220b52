"""The storage contract: what a store must do so that backups can be found and read."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from typing import BinaryIO

from pgvector_restore.errors import (
    BackupNotFoundError,
    BadCompressionError,
    BadManifestError,
    IncompleteBackupError,
    OptionError,
    StoreChangedError,
    StoreError,
)
from pgvector_restore.manifest import Manifest
from pgvector_restore.manifest_parsing import parse_manifest
from pgvector_restore.model import (
    DEFAULT_LIMITS,
    BackupFile,
    BackupSet,
    Catalog,
    Location,
    ObjectInfo,
    UnpackLimits,
)
from pgvector_restore.names import check_place
from pgvector_restore.storage._folder import name_of
from pgvector_restore.storage._guard import translated
from pgvector_restore.storage.described import check_described
from pgvector_restore.storage.discover import build_catalog, check_task_id
from pgvector_restore.storage.holding import hold_here
from pgvector_restore.storage.layout import DEFAULT_LAYOUT, Layout
from pgvector_restore.storage.log import BackupLog, emptied_tables, parse_log
from pgvector_restore.storage.unpack import check_plain, unpack

__all__ = ["BLOCK_BYTES", "BackupStore"]

_log = logging.getLogger(__name__)

#: Bytes per read of a file. Larger blocks save calls; smaller ones stay in the processor's cache
#: while they are decoded: with 512 KiB that took 6% less time than with 1 MiB. What is read of a
#: remote object at a time is for its file system to say.
BLOCK_BYTES = 512 << 10

#: A log describes a handful of tables; whatever is longer is not one.
_MAX_LOG_BYTES = 1 << 20
#: A manifest takes some 300 bytes for each file: 100,000 parts fit.
_MAX_MANIFEST_BYTES = 32 << 20


class BackupStore(ABC):
    """Where backups lie: objects addressed by ``/``-separated keys.

    A subclass brings two verbs, :meth:`list` and :meth:`open`; what is a backup set is decided
    here, by the same pure rules for every storage.

    * Keys are relative to the store's root, ``/``-separated on every platform, without ``.`` or
      ``..`` parts, never empty.
    * One store may be used from several threads at once; it holds no open files between calls.
    * A store raises :class:`~pgvector_restore.errors.StoreError` or a subclass, with the
      storage's own exception as its cause, and nothing else.
    """

    #: Naming rules of locations and files.
    layout: Layout = DEFAULT_LAYOUT
    #: Other processes see the same objects through a pickled copy of the store.
    is_shared: bool = True
    #: Objects are files of this machine: what was read once costs next to nothing to read again.
    is_local: bool = False

    @property
    @abstractmethod
    def url(self) -> str:
        """The store as people may see it: no password, no query, no token."""

    @property
    def address(self) -> str:
        """One text for one place, however it was spelled: a set is not copied onto itself."""
        return self.url.rstrip("/")

    @abstractmethod
    def list(self, prefix: str = "", *, max_depth: int | None = None) -> Iterator[ObjectInfo]:
        """Every object whose key starts with ``prefix``, once each, in ascending key order.

        Nothing is cached: each call sees the storage as it is. Keys are ordered by code point.
        Nothing there means nothing yielded; a root that does not exist raises
        :class:`~pgvector_restore.errors.BackupNotFoundError`.

        Args:
            prefix: A string prefix of keys, not necessarily a whole folder.
            max_depth: Keys with more parts than this are left out.
        """

    @abstractmethod
    def open(self, key: str, start: int = 0, end: int | None = None) -> BinaryIO:
        """A readable of the stored bytes ``[start, end)``, as they are: nothing is decoded.

        The caller closes it. Raises :class:`~pgvector_restore.errors.BackupNotFoundError` for a
        key that is not there.
        """

    def candidates(self, prefix: str = "", *, max_depth: int | None = None) -> Iterator[ObjectInfo]:
        """What :meth:`list` gives, where it can be part of a backup; other objects may be left out.

        Catalogs are made from it. A store that looks at one folder after the other should override
        it, and enter only folders that :meth:`Layout.may_use` lets through: one that nobody may
        read is an error only where backups could be missed.
        """
        return self.list(prefix, max_depth=max_depth)

    @contextmanager
    def reading(self, key: str = "") -> Iterator[None]:
        """What a storage raises in the block, in the terms of this contract.

        A ``FileNotFoundError`` becomes :class:`~pgvector_restore.errors.BackupNotFoundError`, any
        other exception :class:`~pgvector_restore.errors.StoreError`, with itself as the cause.

        Args:
            key: Of the object that is read; ``""``: it is the root that is looked at.
        """
        try:
            with translated(f"{self.url}/{key}" if key else self.url):
                yield
        except BackupNotFoundError as exc:
            if not key:
                exc.hint = exc.hint or f"give the place that holds {self.layout.global_folders[0]}"
            raise

    def catalog(self, *, task_id: str | None = None, global_only: bool = False) -> Catalog:
        """What backups the store holds, from one listing.

        Args:
            task_id: Only this task's location; wins over ``global_only``.
            global_only: Only global locations.
        """
        if task_id is not None:
            check_task_id(task_id)
        prefix = f"{task_id}/" if task_id is not None else ""
        objects = self.candidates(prefix, max_depth=self.layout.max_depth)
        return build_catalog(
            objects,
            self.layout,
            task_id=task_id,
            global_only=global_only and task_id is None,
            manifest_of=self._manifest_of,
        )

    def catalog_of(self, location: Location) -> Catalog:
        """What one location holds, from a listing of its folder alone."""
        folder = f"{location.key}/" if location.key else ""
        objects = self.candidates(folder, max_depth=folder.count("/") + 1)
        return build_catalog(objects, self.layout, manifest_of=self._manifest_of)

    def find(self, label: str) -> tuple[BackupSet, Catalog]:
        """The set of a label, and what was listed to find it.

        That is the location the label names, and no other folder: of ``latest`` alone all of the
        store. So it is for what is not found, where the error says what is there instead.

        Raises:
            OptionError: A text that can be no label, or the label of two sets.
            BackupNotFoundError: No such set.
            IncompleteBackupError: The set is there in part.
        """
        check_place(label, "label")
        name, _, stamp = label.removeprefix("./").rpartition("/")
        whole = stamp == "latest" and not name
        locations = () if whole else self.layout.locations_named(name)
        missing: StoreError | None = None
        if locations:
            folders = [f"{one.key}/" if one.key else "" for one in locations]
            objects = (
                info
                for folder in folders
                for info in self.candidates(folder, max_depth=folder.count("/") + 1)
            )
            catalog = build_catalog(objects, self.layout, manifest_of=self._manifest_of)
            try:
                return catalog.get(label), catalog
            except (BackupNotFoundError, IncompleteBackupError) as exc:
                missing = exc
        try:
            catalog = self.catalog()
        except StoreError:
            if missing is None:
                raise
            raise missing from None
        return catalog.get(label), catalog

    def blocks(  # noqa: PLR0913 - what is read, and who is told
        self,
        file: BackupFile,
        start: int = 0,
        end: int | None = None,
        *,
        block_bytes: int = BLOCK_BYTES,
        limits: UnpackLimits = DEFAULT_LIMITS,
        on_read: Callable[[int], None] | None = None,
        on_stored: Callable[[bytes], None] | None = None,
    ) -> Generator[bytes, None, None]:
        """The file's text in order, unpacked by the file's codec.

        Of a plain file ``start`` and ``end`` are a range of its bytes, to its end where there is
        no ``end``. A compressed file is read from its beginning to its end.

        Args:
            file: From the catalog.
            start: First byte.
            end: Byte after the last one.
            block_bytes: No block is longer.
            limits: How much may come out of a compressed file.
            on_read: Called with the length of each stored block before it is given out.
            on_stored: Called with each stored block itself: sums are taken of what is stored.

        Raises:
            StoreChangedError: Fewer bytes than were listed; without an ``end``, also more.
            BadCompressionError: A compressed file that is cut, damaged or of another kind.
            BadHeaderError: A file named as plain text that is compressed.
            MissingExtraError: The codec's package is not installed.
            OptionError: A range of a compressed file.
        """
        if file.parts:
            raise OptionError(f"{file.name} is in parts: read its pieces one by one")
        stored = self.stored(
            file, start, end, block_bytes=block_bytes, on_read=on_read, on_stored=on_stored
        )
        with closing(stored):
            if file.codec is None:
                yield from stored if start else check_plain(stored, file)
                return
            if start or end is not None:
                raise OptionError(f"{file.name} is compressed: it cannot be read in parts")
            try:
                yield from check_plain(unpack(stored, file, block_bytes, limits), file)
            except BadCompressionError:
                self.check_unchanged(file)  # a file that was replaced is no damaged one
                raise

    def stored(
        self,
        file: BackupFile,
        start: int = 0,
        end: int | None = None,
        *,
        block_bytes: int = BLOCK_BYTES,
        on_read: Callable[[int], None] | None = None,
        on_stored: Callable[[bytes], None] | None = None,
    ) -> Generator[bytes, None, None]:
        """The file as it is stored; as many bytes as were listed, or an error.

        Arguments are those of :meth:`blocks`.
        """
        seen = start
        expected = file.size_bytes if end is None else end
        with self.open(file.key, start, end) as stream:
            while block := stream.read(block_bytes):
                seen += len(block)
                if seen > expected:
                    break
                if on_read is not None:
                    on_read(len(block))
                if on_stored is not None:
                    on_stored(block)
                yield block
        if seen != expected:
            got = "more" if seen > expected else str(seen)
            raise StoreChangedError(
                f"{file.name} was listed with {file.size_bytes} bytes, {got} came",
                hint="the file changed while it was read: wait until it is written, then retry",
            )

    def check_unchanged(self, file: BackupFile) -> None:
        """Raise unless the object is still the one that was listed: size, version, time.

        Of a file in parts, each of them.
        """
        if file.parts:
            for piece in file.pieces:
                self.check_unchanged(piece)
            return
        for info in self.list(file.key, max_depth=file.key.count("/") + 1):
            if info.key == file.key:
                if info != file.info:
                    raise StoreChangedError(
                        f"{file.name} is not the file that was listed: it was replaced meanwhile",
                        hint="restore again: the new file is listed anew",
                    )
                return
            break
        raise BackupNotFoundError(f"{file.name} was listed and is gone now")

    def read_log(self, location: Location) -> BackupLog | None:
        """The location's backup log, or ``None`` where there is none or it cannot be understood."""
        if location.log is None:
            return None
        with self.open(location.log.key, 0, _MAX_LOG_BYTES) as stream:
            return parse_log(stream.read(_MAX_LOG_BYTES))

    def emptied(self, backup: BackupSet) -> tuple[str, ...]:
        """Tables of a set whose rows were, or may have been, removed from the database after it.

        Manifest and backup log tell. The set may be the only copy of those rows.

        Raises:
            StoreError: One of them cannot be read.
        """
        try:
            manifest = self.read_manifest(backup)
        except BadManifestError:
            manifest = None
        return emptied_tables(backup, manifest, self.read_log(backup.location))

    def hold(self, backup: BackupSet, *, alone: bool = False) -> AbstractContextManager[None]:
        """Keep a set from being removed until the block ends.

        Here that goes for this process; a store may do more. Who reads a set of a store without
        such means notices before COMMIT at the latest that a file has gone, and nothing changes.

        Args:
            backup: The set.
            alone: Only if nobody holds it; nobody gets it meanwhile. To remove it.

        Raises:
            BackupInUseError: Somebody has it.
        """
        return hold_here(self.url, backup, alone=alone)

    def read_manifest(self, backup: BackupSet) -> Manifest | None:
        """The set's manifest, compared with the listing; ``None`` for a set without one.

        Raises:
            BadManifestError: It cannot be read, or names other files or sizes than were listed.
            StoreError: It has gone, or its storage does not answer.
        """
        if backup.manifest is None:
            return None
        manifest = self._parsed(backup.manifest)
        check_described(manifest, backup, name_of(backup.manifest))
        return manifest

    def _manifest_of(self, info: ObjectInfo) -> Manifest | None:
        try:
            return self._parsed(info)
        except (BadManifestError, BackupNotFoundError) as exc:
            _log.warning("%s", exc)
            return None

    def _parsed(self, info: ObjectInfo) -> Manifest:
        name = name_of(info)
        if info.size_bytes > _MAX_MANIFEST_BYTES:
            raise BadManifestError(
                f"manifest is too large: {info.size_bytes:,} bytes, at most"
                f" {_MAX_MANIFEST_BYTES:,} are read",
                file=name,
            )
        with self.open(info.key, 0, _MAX_MANIFEST_BYTES) as stream:
            return parse_manifest(stream.read(_MAX_MANIFEST_BYTES), name)
