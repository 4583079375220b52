"""Stores with sets for pruning and copying, in folders and in memory."""

from __future__ import annotations

import gzip
import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from pgvector_restore.manifest import Manifest, ManifestColumn, ManifestFile, ManifestTable
from pgvector_restore.model import FileFormat
from tests.storage.conftest import s3_bucket, s3_files, s3_server

__all__ = ["s3_bucket", "s3_files", "s3_server"]

#: A fixed moment, seconds since the epoch, long after every file of these tests was made.
NOW = 1_900_000_000.0
DAY = 86_400.0

Write = Callable[..., list[str]]


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """Where a set is copied to; nothing is there yet."""
    return tmp_path / "there"


def files(root: Path) -> dict[str, bytes]:
    """Every file below a folder, by its path there."""
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


def described(stamp: str, files: Sequence[str], contents: Sequence[bytes]) -> Manifest:
    columns = (ManifestColumn("id", "uuid"),)
    tables: dict[str, list[ManifestFile]] = {}
    for name, data in zip(files, contents, strict=True):
        file = ManifestFile(name, len(data), hashlib.sha256(data).hexdigest(), 1)
        tables.setdefault(name.partition(f"_{stamp}")[0], []).append(file)
    binary, packed = ".pgcopy" in files[0], Path(files[0]).suffix
    codec = {".gz": "gzip", ".zst": "zstd"}.get(packed)
    form: FileFormat = "binary" if binary else "csv"
    return Manifest(
        stamp, form, codec, "2026-01-01T00:00:00+00:00", "0.1.0", 180004, "0.8.5",
        tuple(
            ManifestTable(table, "public", len(found), None, columns, tuple(found))
            for table, found in tables.items()
        ),
    )  # fmt: skip


def content_of(name: str) -> bytes:
    """What is in a file of that name: one row, with the name in it."""
    key = "11111111-1111-4111-8111-111111111111"
    if name.startswith("langchain_pg_collection"):
        text = f"uuid,name,cmetadata\r\n{key},{name * 100},\r\n"
    else:
        text = f"id,collection_id,embedding,document,cmetadata\r\n1,{key},[1],{name * 100},\r\n"
    return gzip.compress(text.encode(), mtime=0) if name.endswith(".gz") else text.encode()


@pytest.fixture
def write(root: Path) -> Write:
    """Files of a set, which can be read to their end; gives their keys."""

    def make(
        stamp: str,
        folder: str = "vector_bak",
        *,
        ends: Sequence[str] = (".csv",),
        manifest: bool = False,
        marker: bool = False,
        age_s: float = 0,
    ) -> list[str]:
        tables = ("langchain_pg_collection", "langchain_pg_embedding")
        names = [f"{table}_{stamp}{end}" for table in tables for end in ends]
        contents = [content_of(name) for name in names]
        place = root / folder
        place.mkdir(parents=True, exist_ok=True)
        for name, data in zip(names, contents, strict=True):
            (place / name).write_bytes(data)
        if manifest:
            name = f"manifest_{stamp}.json"
            (place / name).write_bytes(described(stamp, names, contents).to_json())
            names.append(name)
        if marker:
            (place / f"manifest_{stamp}.tmp").write_text("{}")
            names.append(f"manifest_{stamp}.tmp")
        for name in names:
            os.utime(place / name, (NOW - age_s, NOW - age_s))
        return [f"{folder}/{name}" for name in names]

    return make
