"""Backups in a ZIP archive, read where they are."""

from __future__ import annotations

import io
import logging
import os
import stat
import zipfile
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import IO, TYPE_CHECKING, Any, BinaryIO, cast

from pgvector_restore.errors import BackupNotFoundError, StoreError, quoted
from pgvector_restore.model import ObjectInfo
from pgvector_restore.storage._archive import StoredArchive
from pgvector_restore.storage._guard import (
    GuardedStream,
    check_key,
    check_range,
    is_key,
    translated,
)
from pgvector_restore.storage.layout import DEFAULT_LAYOUT, Layout
from pgvector_restore.storage.writing import ReadOnlyStore

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["ZipStore"]

_log = logging.getLogger(__name__)

#: The bit of an entry that has a password, and the methods that Python knows.
_ENCRYPTED = 0x1
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA}


class ZipStore(ReadOnlyStore):
    """A folder of an archive. The archive is opened for each call, so a new one is noticed.

    Args:
        archive: Path of the archive, or where in a store it lies.
        display: How people may see it, with the folder inside.
        folder: Folder inside, ``""`` or ``a/b``.
        layout: Naming rules.
    """

    def __init__(
        self,
        archive: str | StoredArchive,
        display: str,
        folder: str = "",
        layout: Layout = DEFAULT_LAYOUT,
    ) -> None:
        self.layout = layout
        if isinstance(archive, str):
            archive = os.path.abspath(archive)  # noqa: PTH100 - as LocalStore does
        else:
            self.is_shared = archive.store.is_shared
        self._archive = archive
        self._display = display
        self._folder = f"{folder.strip('/')}/" if folder.strip("/") else ""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    @property
    def url(self) -> str:
        """The archive as it was named."""
        return self._display

    @property
    def read_only_reason(self) -> str:
        """See :attr:`WritableStore.read_only_reason`."""
        return "nothing in an archive can be replaced or removed"

    def list(self, prefix: str = "", *, max_depth: int | None = None) -> Iterator[ObjectInfo]:
        """From the archive's directory; see :meth:`BackupStore.list`."""
        with self._opened() as archive:
            entries = archive.infolist()
        inside = [entry for entry in entries if entry.filename.startswith(self._folder)]
        if self._folder and not inside:
            raise BackupNotFoundError(
                f"no such folder: {quoted(self.url)}",
                hint=f"give the folder that holds {self.layout.global_folders[0]}",
            )
        found: dict[str, ObjectInfo] = {}
        for entry in inside:
            key = entry.filename[len(self._folder) :]
            if not key.startswith(prefix) or entry.is_dir():
                continue
            if not is_key(key):
                _log.warning("left out, as it is no relative path: %s", quoted(key))
            elif stat.S_ISLNK(entry.external_attr >> 16):
                _log.warning("link not followed: %s", quoted(key))
            elif max_depth is None or key.count("/") < max_depth:
                found[key] = _describe(key, entry)  # of two by one name the later one counts
        yield from (found[key] for key in sorted(found))

    def open(self, key: str, start: int = 0, end: int | None = None) -> BinaryIO:
        """Unpack an entry, from its beginning; see :meth:`BackupStore.open`."""
        check_key(key)
        check_range(start, end)
        what = f"{self.url}/{key}"
        archive = self._opened()
        try:
            with translated(what):
                try:
                    entry = archive.getinfo(self._folder + key)
                except KeyError as exc:
                    raise FileNotFoundError(key) from exc
                if stat.S_ISLNK(entry.external_attr >> 16):
                    raise FileNotFoundError(key)  # noqa: TRY301 - on its way it closes the archive
                _check_readable(entry, what)
                source = _Entry(archive, archive.open(entry))
                source.skip(start)
        except BaseException:
            archive.close()
            raise
        limit = None if end is None else end - start
        return cast("BinaryIO", io.BufferedReader(GuardedStream(source, limit, what)))

    def _opened(self) -> _Archive:
        with translated(self.url):
            try:
                if isinstance(self._archive, str):
                    file: IO[bytes] = open(self._archive, "rb")  # noqa: PTH123, SIM115 - it is kept
                else:
                    file = self._archive.open()
            except (FileNotFoundError, BackupNotFoundError) as exc:
                raise BackupNotFoundError(
                    f"no such archive: {quoted(self.url)}",
                    hint="give the path of a ZIP file: zip:///data/backups.zip",
                ) from exc
            try:
                return _Archive(file)
            except BaseException as exc:
                with file:
                    if not isinstance(exc, zipfile.BadZipFile):
                        raise
                    if not isinstance(self._archive, str):
                        self._archive.check_size(file)
                raise StoreError(
                    f"{quoted(self.url)} is no ZIP archive, or not all of one (BadZipFile)"
                ) from exc


class _Archive(zipfile.ZipFile):
    """An archive that closes its file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        super().__init__(file)

    def close(self) -> None:
        """Close both; harmless when they are."""
        super().close()
        self._file.close()


class _Entry:
    """An entry that closes its archive."""

    def __init__(self, archive: zipfile.ZipFile, entry: IO[bytes]) -> None:
        self._archive = archive
        self._entry: Any = entry  # it has readinto, which the type does not say

    def skip(self, count: int) -> None:
        """Read on to the first byte wanted; going there any other way leaves out the checksum."""
        while count and (data := self._entry.read(min(count, 1 << 20))):
            count -= len(data)

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """One read; at the end of the entry its checksum is compared."""
        return int(self._entry.readinto(buffer))

    def close(self) -> None:
        """Close both."""
        self._entry.close()
        self._archive.close()


def _check_readable(entry: zipfile.ZipInfo, what: str) -> None:
    """Refuse an entry that zipfile would refuse in words of its own."""
    if entry.flag_bits & _ENCRYPTED:
        raise StoreError(
            f"{quoted(what)} is encrypted", hint="pack the archive again, without a password"
        )
    if entry.compress_type not in _METHODS:
        raise StoreError(
            f"{quoted(what)} is packed by a method that is not known: {entry.compress_type}",
            hint="pack the archive again with the method deflate",
        )


def _describe(key: str, entry: zipfile.ZipInfo) -> ObjectInfo:
    try:
        # Archives tell local time, of no known place: good to notice a change by.
        mtime = datetime(*entry.date_time, tzinfo=timezone.utc).timestamp()
    except ValueError:
        mtime = None
    return ObjectInfo(key, entry.file_size, f"crc32-{entry.CRC:08x}", mtime)
