"""A store in memory that reads short, or whose files change under the reader's hands."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, BinaryIO, cast

from pgvector_restore import BackupNotFoundError, BackupStore, ObjectInfo
from tests.faults.packs import Pack
from tests.sets import collection_bytes, embedding_bytes

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class HeldStore(BackupStore):
    """Objects by key, each with a version.

    Args:
        objects: What is stored.
        read_bytes: No read gives more than that; ``None``: as much as is asked for.
    """

    is_shared = False

    def __init__(self, objects: Mapping[str, bytes], read_bytes: int | None = None) -> None:
        self.objects = {key: (data, 1) for key, data in objects.items()}
        self.read_bytes = read_bytes
        #: Called with a key and the number of bytes read of it, before each read.
        self.before_read: Callable[[str, int], None] = lambda _key, _done: None

    @property
    def url(self) -> str:
        return "held://"

    def put(self, key: str, data: bytes) -> None:
        """Another object instead of the one there."""
        self.objects[key] = (data, self.objects[key][1] + 1)

    def list(self, prefix: str = "", *, max_depth: int | None = None) -> Iterator[ObjectInfo]:
        for key, (data, version) in sorted(self.objects.items()):
            if key.startswith(prefix) and (max_depth is None or key.count("/") < max_depth):
                yield ObjectInfo(key, len(data), str(version))

    def open(self, key: str, start: int = 0, end: int | None = None) -> BinaryIO:
        if key not in self.objects:
            raise BackupNotFoundError(f"no such file: {key}")
        return cast("BinaryIO", _Stream(self, key, start, end))


class _Stream(io.RawIOBase):
    """Reads what the object holds at that moment, as a file that is overwritten in place."""

    def __init__(self, store: HeldStore, key: str, start: int, end: int | None) -> None:
        self._store, self._key, self._at, self._end = store, key, start, end

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        most = min(len(view), self._store.read_bytes or len(view))
        self._store.before_read(self._key, self._at)
        data = self._store.objects[self._key][0][self._at : self._end][:most]
        view[: len(data)] = data
        self._at += len(data)
        return len(data)


def held(pack: Pack, text: bytes | None = None, read_bytes: int | None = None) -> HeldStore:
    """A set in memory; the text of the embeddings is the small one unless given."""
    embedding = embedding_bytes() if text is None else text
    objects = {
        f"vector_bak/{pack.collection_file}": pack.pack(collection_bytes()),
        f"vector_bak/{pack.embedding_file}": pack.pack(embedding),
    }
    return HeldStore(objects, read_bytes)
