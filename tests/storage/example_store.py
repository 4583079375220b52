"""A store of another package: files in a SQLite database, ``sqlite:///backups.db``.

The package names it in its ``pyproject.toml``::

    [project.entry-points."pgvector_restore.stores"]
    sqlite = "example_store:open_sqlite"
"""

from __future__ import annotations

import io
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from pgvector_restore import BackupNotFoundError, BackupStore, Layout, ObjectInfo, StoreError


class SqliteStore(BackupStore):
    def __init__(self, path: str, layout: Layout) -> None:
        self.path, self.layout = path, layout

    @property
    def url(self) -> str:
        return f"sqlite://{self.path}"

    def list(self, prefix: str = "", *, max_depth: int | None = None) -> Iterator[ObjectInfo]:
        for key, size, version in self._query("SELECT key, length(data), version FROM objects"):
            if key.startswith(prefix) and (max_depth is None or key.count("/") < max_depth):
                yield ObjectInfo(key, size, str(version))

    def open(self, key: str, start: int = 0, end: int | None = None) -> BinaryIO:
        for (data,) in self._query("SELECT data FROM objects WHERE key = ?", key):
            return io.BytesIO(data[start:end])
        raise BackupNotFoundError(f"no such file: {self.url}/{key}")

    def _query(self, sql: str, *values: str) -> Sequence[Any]:
        if not Path(self.path).exists():
            raise BackupNotFoundError(f"no such database: {self.url}", hint="look for the file")
        try:
            connection = sqlite3.connect(self.path)
            rows = connection.execute(sql, values).fetchall()
            connection.close()
        except sqlite3.Error as exc:
            raise StoreError(f"cannot read {self.url}: {type(exc).__name__}") from exc
        return sorted(rows)


def open_sqlite(
    url: str, *, layout: Layout, storage_options: Mapping[str, object] | None
) -> BackupStore:
    assert not storage_options, "it needs none"
    return SqliteStore(url.removeprefix("sqlite://"), layout)
