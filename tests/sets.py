"""Small backup sets for tests: bytes as a backup job leaves them, and changes to them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from pgvector_restore import Restorer, RestoreReport, open_store
from pgvector_restore.schema import COLLECTION, EMBEDDING

STAMP = "20260102_030405"
COLLECTION_FILE = f"{COLLECTION}_{STAMP}.csv"
EMBEDDING_FILE = f"{EMBEDDING}_{STAMP}.csv"

SQL_ID = "11111111-1111-4111-8111-111111111111"
DOC_ID = "22222222-2222-4222-8222-222222222222"
#: In no collection file.
STRANGER_ID = "99999999-9999-4999-8999-999999999999"

COLLECTION_HEADER = ("uuid", "name", "cmetadata")
EMBEDDING_HEADER = ("id", "collection_id", "embedding", "document", "cmetadata")

#: Cells as they stand in the file, quotes included.
COLLECTION_CELLS: tuple[tuple[str, ...], ...] = (
    (SQL_ID, "sql", ""),
    (DOC_ID, "documentation", """"{'owner': 'data team', 'reviewed': None}\""""),
)
EMBEDDING_CELLS: tuple[tuple[str, ...], ...] = (
    ("a-ddl", SQL_ID, '"[1,2,3]"', '"create table ""x"" (\n  a int\n)"', "\"{'a': None}\""),
    ("b-sql", SQL_ID, '"[0.5,-2,3e-05]"', "second row", '"{""id"": ""b-sql""}"'),
    ("c-doc", DOC_ID, '"[0.1,0.2,0.3]"', "größe 📚", ""),
    ("d-sql", DOC_ID, "", "", "\"{'n': [1, 2.5, True]}\""),
)

_DEFAULTS = {
    COLLECTION: (COLLECTION_HEADER, COLLECTION_CELLS),
    EMBEDDING: (EMBEDDING_HEADER, EMBEDDING_CELLS),
}


def raw_file(
    header: Iterable[str],
    records: Iterable[Iterable[str]],
    end: str = "\r\n",
    encoding: str = "utf-8",
) -> bytes:
    """A file of cells that are already quoted as wanted."""
    return "".join(",".join(cells) + end for cells in (header, *records)).encode(encoding)


def collection_bytes(**changes: Any) -> bytes:
    """The small collection file, with other ``header``, ``records``, ``end`` or ``encoding``."""
    return raw_file(**{"header": COLLECTION_HEADER, "records": COLLECTION_CELLS} | changes)


def embedding_bytes(**changes: Any) -> bytes:
    """The small embedding file, with other ``header``, ``records``, ``end`` or ``encoding``."""
    return raw_file(**{"header": EMBEDDING_HEADER, "records": EMBEDDING_CELLS} | changes)


def with_cell(record: int, column: str, cell: str, table: str = EMBEDDING) -> bytes:
    """A small file with another cell, as it stands in the file; record 1 follows the header."""
    header, records = _DEFAULTS[table]
    changed = [list(cells) for cells in records]
    changed[record - 1][header.index(column)] = cell
    return raw_file(header, changed)


def quote(text: str) -> str:
    """A cell in quotes."""
    return '"' + text.replace('"', '""') + '"'


def written(header: Sequence[str], rows: Iterable[Sequence[Any]], end: str = "\r\n") -> bytes:
    """A file as ``csv.writer`` writes Python values."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator=end)
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue().encode()


def write_set(
    root: Path,
    *,
    collection: bytes | None = None,
    embedding: bytes | None = None,
    log: Mapping[str, int] | None = None,
) -> Path:
    """Write a set, over the one that may be there; returns the store's root.

    Args:
        root: The store's root.
        collection: Bytes of the collection file, the small one unless given.
        embedding: Bytes of the embedding file, the small one unless given.
        log: Rows that a backup log counts, by file name; no log unless given.
    """
    folder = root / "vector_bak"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / COLLECTION_FILE).write_bytes(collection_bytes() if collection is None else collection)
    (folder / EMBEDDING_FILE).write_bytes(embedding_bytes() if embedding is None else embedding)
    log_file = folder / "vector_backup_log.txt"
    log_file.unlink(missing_ok=True)
    if log is not None:
        lines = [f"✓ {name[:-20]}: {rows} rows -> {name} (1.0 KB)\n" for name, rows in log.items()]
        log_file.write_text("".join(lines), encoding="utf-8")
    return root


def restore(
    root: Path, target: Any, *, executor: Executor | None = None, **options: Any
) -> RestoreReport:
    """Restore the newest set of a store, with a restorer of its own."""
    with Restorer(open_store(root), target, executor=executor) as restorer:
        return restorer.restore("latest", **options)
