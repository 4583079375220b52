"""Backup sets with a manifest, made of a database's tables by COPY; and changes to them."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from psycopg import sql

from pgvector_restore.db.inspect import inspect_target
from pgvector_restore.db.session import configure_session
from pgvector_restore.db.verify import TableReader, snapshot
from pgvector_restore.manifest import (
    Manifest,
    ManifestColumn,
    ManifestFile,
    ManifestIndex,
    ManifestKey,
    ManifestTable,
)
from pgvector_restore.rows.digest import digest_of, form_of, row_hash
from pgvector_restore.rows.pgcopy import BINARY_HEADER, BINARY_TRAILER
from pgvector_restore.schema import COLLECTION, EMBEDDING
from pgvector_restore.target import TargetTable
from tests.conftest import connect

STAMP = "20261125_003000"
MANIFEST = f"manifest_{STAMP}.json"


def folder_of(root: Path) -> Path:
    """Where the set lies."""
    return root / "vector_bak"


def write_described(  # noqa: PLR0913 - a set has many sides
    root: Path,
    dsn: str,
    tables: Sequence[str] = (COLLECTION, EMBEDDING),
    *,
    form: Literal["csv", "binary"] = "binary",
    codec: Literal["gzip"] | None = None,
    part_rows: int | None = None,
    schema: str = "public",
) -> Path:
    """Back tables up, parents first; returns the store's root.

    Args:
        root: The store's root.
        dsn: The database.
        tables: Their names.
        form: The format.
        codec: How files are compressed.
        part_rows: Rows of each part of a table in binary; ``None``: one file.
        schema: Their schema.
    """
    folder = folder_of(root)
    folder.mkdir(parents=True, exist_ok=True)
    with connect(dsn) as conn, snapshot(conn) as cur:
        configure_session(cur, 10)
        facts = inspect_target(cur, schema, list(tables))
        described = [
            _table(conn, target, folder, form, codec, part_rows) for target in facts.tables
        ]
        version = conn.info.server_version
    manifest = Manifest(
        STAMP, form, codec, "2026-11-25T00:30:00+00:00", "0.1.0", version, "0.8.0", tuple(described)
    )
    (folder / MANIFEST).write_bytes(manifest.to_json())
    return root


def _table(
    conn: Any,
    target: TargetTable,
    folder: Path,
    form: str,
    codec: str | None,
    part_rows: int | None,
) -> ManifestTable:
    ordered = form_of(target.columns)
    reader = TableReader(conn, target.schema, target.name, ordered.columns)
    hashes = [row_hash(ordered, row) for row in reader.rows()]
    columns = ordered.columns if form == "binary" else target.columns
    names = sql.SQL(", ").join(sql.Identifier(column.name) for column in columns)
    name = sql.Identifier(target.schema, target.name)
    end = ".gz" if codec else ""
    pack: Callable[[bytes], bytes] = gzip.compress if codec else bytes
    files = []
    if form == "csv":
        query = sql.SQL("COPY {} ({}) TO STDOUT (FORMAT csv, HEADER)").format(name, names)
        with conn.cursor().copy(query) as copy:
            data = b"".join(bytes(block) for block in copy)
        files.append(_file(folder, f"{target.name}_{STAMP}.csv{end}", pack(data), len(hashes)))
    else:
        query = sql.SQL("COPY {} ({}) TO STDOUT (FORMAT binary)").format(name, names)
        with conn.cursor().copy(query) as copy:
            blocks = [bytes(block) for block in copy]
        blocks[0] = blocks[0].removeprefix(BINARY_HEADER)
        rows = [block for block in blocks if block not in (b"", BINARY_TRAILER)]
        size = part_rows or max(len(rows), 1)
        starts = range(0, max(len(rows), 1), size)
        for number, start in enumerate(starts, 1):
            part = f".part{number:05}" if len(starts) > 1 else ""
            some = rows[start : start + size]
            data = BINARY_HEADER + b"".join(some) + BINARY_TRAILER
            stored = f"{target.name}_{STAMP}{part}.pgcopy{end}"
            files.append(_file(folder, stored, pack(data), len(some)))
    return ManifestTable(
        target.name,
        target.schema,
        len(hashes),
        digest_of(hashes).hex if hashes else "0" * 32,
        tuple(ManifestColumn(c.name, c.type_name, c.not_null, c.dimensions) for c in columns),
        tuple(files),
        reader.key,
        _unique(conn, target),
        tuple(ManifestKey(k.column, k.parent, k.parent_column) for k in target.foreign_keys),
        tuple(ManifestIndex(i.name, i.definition) for i in target.indexes),
    )


def _unique(conn: Any, target: TargetTable) -> tuple[tuple[str, ...], ...]:
    found = conn.execute(
        """
        SELECT array_agg(a.attname::text ORDER BY k.place) FROM pg_constraint c
        CROSS JOIN unnest(c.conkey) WITH ORDINALITY AS k (number, place)
        JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.number
        WHERE c.conrelid = %s AND c.contype = 'u' GROUP BY c.oid ORDER BY c.oid
        """,
        [target.oid],
    )
    return tuple(tuple(row[0]) for row in found.fetchall())


def _file(folder: Path, name: str, data: bytes, rows: int) -> ManifestFile:
    (folder / name).write_bytes(data)
    return ManifestFile(name, len(data), hashlib.sha256(data).hexdigest(), rows)


def change_manifest(root: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Write the manifest anew, after a change to its document."""
    path = folder_of(root) / MANIFEST
    document = json.loads(path.read_bytes())
    change(document)
    path.write_text(json.dumps(document))


def change_file(root: Path, name: str, data: bytes, *, honest: bool) -> None:
    """Write a file anew; if ``honest``, the manifest has its new size and sum."""
    (folder_of(root) / name).write_bytes(data)

    def describe(document: dict[str, Any]) -> None:
        for table in document["tables"]:
            for file in table["files"]:
                if file["name"] == name:
                    file["size_bytes"] = len(data)
                    if honest:
                        file["sha256"] = hashlib.sha256(data).hexdigest()

    change_manifest(root, describe)
