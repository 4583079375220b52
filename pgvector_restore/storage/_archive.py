"""Archives that lie in a store: read at any byte, as one object, without being fetched whole."""

from __future__ import annotations

import io
from typing import IO, TYPE_CHECKING, BinaryIO, Protocol, cast, runtime_checkable

from pgvector_restore.errors import BackupNotFoundError, StoreChangedError, quoted
from pgvector_restore.storage._reading import check_same, version_of
from pgvector_restore.storage.base import BackupStore

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["Sized", "StoredArchive", "size_of"]

#: Bytes of the end that are fetched at once: the directory of some 500 entries.
_TAIL_BYTES = 1 << 16


@runtime_checkable
class Sized(Protocol):
    """A store that tells the size of one object without listing the folder around it."""

    def size_of(self, key: str) -> int:
        """Bytes of an object.

        Raises:
            BackupNotFoundError: It is not there.
            StoreError: The storage does not answer.
        """


class StoredArchive:
    """Where an archive lies.

    Args:
        store: The store around it.
        key: Its key there.
    """

    def __init__(self, store: BackupStore, key: str) -> None:
        self.store = store
        self._key = key

    def open(self) -> IO[bytes]:
        """The archive as a file; a replacement is noticed from now on."""
        return io.BufferedReader(_StoredFile(self.store, self._key, self._size()))

    def check_size(self, file: IO[bytes]) -> None:
        """Tell an archive that was replaced while its directory was read from a damaged one."""
        if self._size() != file.seek(0, io.SEEK_END):
            raise _changed(self._key)

    def _size(self) -> int:
        return size_of(self.store, self._key)


def size_of(store: BackupStore, key: str) -> int:
    """Bytes of an object, from a listing where the store has no other way to tell."""
    if isinstance(store, Sized):
        return store.size_of(key)
    for info in store.list(key, max_depth=key.count("/") + 1):
        if info.key == key:
            return info.size_bytes
        break
    raise BackupNotFoundError(f"no such file: {quoted(key)}")


class _StoredFile(io.RawIOBase):
    """An object that is read at any byte: a stream from there, kept while reading goes on.

    Args:
        store: The store.
        key: Of the object.
        size: Its bytes.
    """

    def __init__(self, store: BackupStore, key: str, size: int) -> None:
        super().__init__()
        self._store = store
        self._key = key
        self._size = size
        self._at = 0
        self._version: str | None = None
        self._stream: BinaryIO | None = None
        self._stream_at = 0
        self._tail_at = max(0, size - _TAIL_BYTES)
        self._tail = b""
        if size:
            self._go_to(self._tail_at)
            self._tail = cast("BinaryIO", self._stream).read(size - self._tail_at)
            self._release()

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """The byte that is read next."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Go to a byte; nothing is asked for yet."""
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if origin + offset < 0:
            raise OSError("no byte before the first")  # as files do
        self._at = origin + offset
        return self._at

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Bytes of the end that is known already, or of a stream."""
        view = memoryview(buffer).cast("B")
        if self._at >= self._tail_at:
            start = self._at - self._tail_at
            data = self._tail[start : start + len(view)]
            view[: len(data)] = data
            count = len(data)
        else:
            if self._stream is None or self._stream_at != self._at:
                self._go_to(self._at)
            count = cast("io.BufferedReader", self._stream).readinto1(
                view[: self._tail_at - self._at]
            )
            self._stream_at += count
            if not count and len(view):
                raise _changed(self._key)  # it ends before the size it was said to have
        self._at += count
        return count

    def close(self) -> None:
        """Let go of the stream; harmless when it is."""
        if not self.closed:
            super().close()
            self._release()

    def _go_to(self, start: int) -> None:
        self._release()
        self._stream, self._stream_at = self._store.open(self._key, start), start
        version = version_of(self._stream)
        check_same(self._version, version, quoted(self._key))
        self._version = self._version or version

    def _release(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()


def _changed(key: str) -> StoreChangedError:
    return StoreChangedError(
        f"{quoted(key)} was replaced while it was read",
        hint="the archive changed while it was read: wait until it is written, then retry",
    )
