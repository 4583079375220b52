"""Write the example backups beside this file; with ``--check`` only compare them with the disk.

The folder is a store root as a LangChain application's backup job leaves it::

    vector_bak/                             two complete sets; the newest of all is 20260112_030000
                                            and there is an unfinished file of 20260111_030000
    task_20260105_091500/vector_bak/        one complete set: two collections, 20 + 12 rows
    manual_20260110_101010/vector_bak/      one complete set, and one without its embeddings

Every set holds the rows of ``langchain_pg_collection`` and ``langchain_pg_embedding``: DDL,
documentation, questions with SQL and rejected SQL of the webshop in ``webshop.py``. A vector has
16 dimensions and comes from the words of its document, so documents about the same tables are
near each other. The output depends on nothing but the two Python files: not on the clock, the
platform or the release of a library.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import math
import re
import sys
import uuid
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import webshop

HERE = Path(__file__).resolve().parent
DIMENSIONS = 16
KIB = 1024
NAMESPACE = uuid.UUID("6f0d3c52-6a0f-5d0e-9d5e-0b7a3f2c1e48")

COLLECTION = "langchain_pg_collection"
EMBEDDING = "langchain_pg_embedding"
COLLECTION_COLUMNS = ("uuid", "name", "cmetadata")
EMBEDDING_COLUMNS = ("id", "collection_id", "embedding", "document", "cmetadata")

#: A metadata value prints as ``str()`` prints it, as ``csv`` does with a ``dict``.
Metadata = dict[str, object]

#: Collection name, its metadata (``None``: NULL), the end of its rows' ids.
COLLECTIONS: tuple[tuple[str, Metadata | None, str], ...] = (
    ("sql", None, "sql"),
    ("ddl", {"owner": "data team", "active": True, "reviewed": None}, "ddl"),
    (
        "documentation",
        {"说明": "表的文档 📚", "languages": ["en", "zh"], "note": "it's a draft"},
        "doc",
    ),
    ("error_sql", None, "sql"),
)

#: What some rows carry besides their id, in turn.
EXTRAS: tuple[Metadata, ...] = (
    {"createdat": None},
    {"createdat": None, "verified": True, "score": 0.75},
    {"createdat": "2026-01-02 08:30:00", "tags": ["shop", ["nested", 2, None]]},
    {},
    {"author": "O'Brien", "comment": """she said "it's fine", then left"""},
    {"createdat": None, "标签": ["网店", "示例 🛒"], "path": "C:\\shop\\schema"},
)

#: The one document that is NULL, by collection and position.
WITHOUT_TEXT = ("documentation", 6)


class Entry(NamedTuple):
    """One row of the embedding table."""

    collection: str
    id: str
    document: str | None
    embedding: str
    metadata: Metadata


class Backup(NamedTuple):
    """One backup set and where it goes."""

    folder: str
    timestamp: str
    #: How many rows of each collection it holds; a collection not named is not in it.
    rows: dict[str, int]


BACKUPS = (
    Backup("vector_bak", "20260103_030000", {"sql": 15, "ddl": 20, "documentation": 9}),
    Backup("task_20260105_091500/vector_bak", "20260105_091733", {"ddl": 20, "documentation": 12}),
    Backup(
        "manual_20260110_101010/vector_bak",
        "20260110_101010",
        {"sql": 20, "ddl": 20, "documentation": 12, "error_sql": 5},
    ),
    Backup(
        "vector_bak",
        "20260112_030000",
        {"sql": 24, "ddl": 20, "documentation": 12, "error_sql": 8},
    ),
)


def words(text: str) -> Counter[str]:
    """Count the words of a text: English ones without a plural's s, Chinese ones as pairs."""
    english = [word.removesuffix("s") for word in re.findall(r"[a-z]{2,}", text.lower())]
    chinese = [
        run[at : at + 2]
        for run in re.findall(r"[\u4e00-\u9fff]{2,}", text)
        for at in range(len(run) - 1)
    ]
    return Counter(english + chinese)


def vector(text: str, spread: Counter[str], texts: int) -> str:
    """Return the unit vector of a text in pgvector's text form.

    Each word pulls in a direction of its own, taken from its hash; the fewer texts share the word,
    the harder. A word of one text only says nothing about its neighbours and is left out. The sum
    is made of integers, so it is the same everywhere.

    Args:
        text: The document.
        spread: In how many texts each word occurs.
        texts: How many texts there are.
    """
    total = [0] * DIMENSIONS
    for word in words(text):
        if spread[word] > 1:
            weight = texts // spread[word]
            direction = hashlib.sha256(word.encode()).digest()
            for axis in range(DIMENSIONS):
                total[axis] += weight * (2 * direction[axis] - 255)
    length = math.sqrt(sum(part * part for part in total))
    return "[" + ",".join(shortest(part / length) for part in total) + "]"


def shortest(value: float) -> str:
    """Return the shortest decimal that reads back as the same float32, as PostgreSQL writes it."""
    return repr(float(str(np.float32(value)))).removesuffix(".0")


def entries() -> list[Entry]:
    """Return every row of the newest set, collection by collection."""
    texts = {
        "sql": webshop.sql(),
        "ddl": webshop.ddl(),
        "documentation": webshop.documentation(),
        "error_sql": webshop.error_sql(),
    }
    spread = Counter(word for group in texts.values() for text in group for word in words(text))
    count = sum(len(group) for group in texts.values())
    made = []
    for name, _, suffix in COLLECTIONS:
        for position, text in enumerate(texts[name]):
            key = f"{uuid.uuid5(NAMESPACE, f'{name}/{position}')}-{suffix}"
            document = None if (name, position) == WITHOUT_TEXT else text
            metadata: Metadata = {"id": key, **EXTRAS[position % len(EXTRAS)]}
            made.append(Entry(name, key, document, vector(text, spread, count), metadata))
    return made


def table(columns: tuple[str, ...], rows: list[tuple[object, ...]]) -> bytes:
    """Return rows as ``csv.writer`` writes them by default, in UTF-8."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue().encode()


def collection_id(name: str) -> str:
    """Return the key of a collection."""
    return str(uuid.uuid5(NAMESPACE, name))


def backup_files(backup: Backup, rows: list[Entry]) -> dict[str, bytes]:
    """Return the files of one set and its log, by path below the root."""
    taken: Counter[str] = Counter()
    picked: list[tuple[object, ...]] = []
    for row in rows:
        taken[row.collection] += 1
        if taken[row.collection] <= backup.rows.get(row.collection, 0):
            key = collection_id(row.collection)
            picked.append((row.id, key, row.embedding, row.document, row.metadata))
    collections: list[tuple[object, ...]] = [
        (collection_id(name), name, metadata)
        for name, metadata, _ in COLLECTIONS
        if name in backup.rows
    ]
    parts = (
        (COLLECTION, len(collections), table(COLLECTION_COLUMNS, collections)),
        (EMBEDDING, len(picked), table(EMBEDDING_COLUMNS, picked)),
    )
    files = {f"{backup.folder}/{name}_{backup.timestamp}.csv": data for name, _, data in parts}
    files[f"{backup.folder}/vector_backup_log.txt"] = log(backup, parts)
    return files


def log(backup: Backup, parts: tuple[tuple[str, int, bytes], ...]) -> bytes:
    """Return the log that the backup job leaves after a set."""
    day, time = backup.timestamp.split("_")
    task = backup.folder.split("/", 1)[0]
    lines = [
        "=== Vector Table Backup Log ===",
        f"Backup Time: {day[:4]}-{day[4:6]}-{day[6:]} {time[:2]}:{time[2:4]}:{time[4:]}",
        f"Task ID: {task}",
        "Duration: 0.00s",
        "",
        "Tables Backup Status:",
    ]
    for name, count, data in parts:
        size = f"{len(data):.1f} B" if len(data) < KIB else f"{len(data) / KIB:.1f} KB"
        lines.append(f"✓ {name}: {count} rows -> {name}_{backup.timestamp}.csv ({size})")
    return ("\n".join(lines) + "\n").encode()


def all_files() -> dict[str, bytes]:
    """Return everything this script writes, by path below the root."""
    rows = entries()
    files: dict[str, bytes] = {}
    for backup in BACKUPS:  # oldest first: a folder keeps the log of its newest set
        files.update(backup_files(backup, rows))
    newest = BACKUPS[-1]
    whole = files[f"{newest.folder}/{EMBEDDING}_{newest.timestamp}.csv"]
    # The job died in the middle of a row; only the name tells.
    files[f"vector_bak/{EMBEDDING}_20260111_030000.csv.tmp"] = whole[: len(whole) // 3]
    manual = BACKUPS[2]
    lone = files[f"{manual.folder}/{COLLECTION}_{manual.timestamp}.csv"]
    files[f"{manual.folder}/{COLLECTION}_20260110_100255.csv"] = lone
    return files


def differences(files: dict[str, bytes]) -> list[str]:
    """Return the paths that are missing on disk, differ, or should not be there."""
    there = {
        path.relative_to(HERE).as_posix(): path.read_bytes()
        for path in HERE.glob("**/vector_bak/*")
        if path.is_file()
    }
    return sorted(name for name in files.keys() | there if files.get(name) != there.get(name))


def main() -> int:
    """Write or check the sets; return the exit code."""
    parser = argparse.ArgumentParser(description="Write the example backups.")
    parser.add_argument("--check", action="store_true", help="exit 1 if the disk differs")
    check: bool = parser.parse_args().check
    files = all_files()
    changed = differences(files)
    for name in changed:
        print(f"differs: {name}" if check else f"written: {name}")
    if check:
        return 1 if changed else 0
    for name in changed:
        path = HERE / name
        if name in files:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(files[name])
        else:
            path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
