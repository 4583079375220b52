"""A store of another package: the files of a tar archive, ``tar:///data/backups.tar``.

It reads; what is asked for of a file is held in memory. The package names it in its
``pyproject.toml``::

    [project.entry-points."pgvector_restore.stores"]
    tar = "example_store:TarStore"
"""

import io
import tarfile
from collections.abc import Iterator
from typing import BinaryIO

from pgvector_restore import BackupStore, Layout, ObjectInfo


class TarStore(BackupStore):
    url = ""

    def __init__(self, url: str, layout: Layout, **_: object) -> None:
        self.url, self.layout = url, layout
        self._path = url.removeprefix("tar://")

    def list(self, prefix: str = "", *, max_depth: int | None = None) -> Iterator[ObjectInfo]:
        with self.reading(), tarfile.open(self._path) as archive:
            files = {file.name: file for file in archive if file.isfile()}
        for key, file in sorted(files.items()):
            if key.startswith(prefix) and (max_depth is None or key.count("/") < max_depth):
                yield ObjectInfo(key, file.size, str(file.offset), file.mtime)

    def open(self, key: str, start: int = 0, end: int | None = None) -> BinaryIO:
        with self.reading(key), tarfile.open(self._path) as archive:
            file = archive.extractfile(key) if key in archive.getnames() else None
            if file is None:
                raise FileNotFoundError(key)
            file.seek(start)
            return io.BytesIO(file.read(-1 if end is None else end - start))
