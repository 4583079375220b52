from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgvector_restore.storage.log import BackupLog, EmptiedFile, parse_log

_LOG = """=== Vector Table Backup Log ===
Backup Time: 2025-07-22 17:39:50
Task ID: vector_bak
Duration: 0.00s

Tables Backup Status:
✓ langchain_pg_collection: 4 rows -> langchain_pg_collection_20250722_173950.csv (209.0 B)
✓ langchain_pg_embedding: 12,345,678 rows -> langchain_pg_embedding_20250722_173950.csv (8.9 GB)
✗ other_table: FAILED - relation "x": no such table - at all

Truncate Status:
✓ langchain_pg_embedding: TRUNCATED (62 rows removed)
✗ langchain_pg_embedding: FAILED - not emptied
"""
_PARSED = BackupLog(
    rows={
        "langchain_pg_collection_20250722_173950.csv": 4,
        "langchain_pg_embedding_20250722_173950.csv": 12345678,
    },
    failed={"other_table": 'relation "x": no such table - at all'},
    emptied={
        "langchain_pg_embedding_20250722_173950.csv": EmptiedFile(
            table="langchain_pg_embedding",
            file="langchain_pg_embedding_20250722_173950.csv",
            rows=62,
        )
    },
    backup_time=datetime(2025, 7, 22, 17, 39, 50),  # noqa: DTZ001 - logs carry no zone
)


@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_log(bom: bytes, end: str) -> None:
    assert parse_log(bom + _LOG.replace("\n", end).encode()) == _PARSED


def test_counts_are_of_the_named_file_only() -> None:
    log = parse_log(_LOG.encode())
    assert log is not None
    assert log.rows_of("langchain_pg_collection_20250722_173950.csv") == 4
    assert log.rows_of("langchain_pg_collection_20250722_173950.csv.gz") == 4
    assert log.rows_of("langchain_pg_collection_20250722_173950.csv.zst") == 4
    assert log.rows_of("langchain_pg_collection_20250722_173950.csv.old") is None
    assert log.rows_of("langchain_pg_collection_20250722_010318.csv") is None


@pytest.mark.parametrize(
    ("line", "rows"),
    [
        ("✓ t: 1 row -> f.csv", {"f.csv": 1}),
        ("  ✔ t: 0 rows -> f (1).csv (0 B)  ", {"f (1).csv": 0}),
        ("✓ t: 1 rows -> f (1)\n✓ u: 2 rows -> g", {"f": 1, "g": 2}),
    ],
)
def test_lines(line: str, rows: dict[str, int]) -> None:
    log = parse_log(line.encode())
    assert log is not None
    assert log.rows == rows


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe\x00",
        b"Backup Time: 2025-07-22 17:39:50\n",
        "✓ t: many rows -> f.csv (1 B)".encode(),
        "✓ t: -4 rows -> f.csv (1 B)".encode(),
        "✓ t: ٤ rows -> f.csv (1 B)".encode(),
        b"t: 4 rows -> f.csv (1 B)",
    ],
)
def test_what_tells_of_no_table_is_no_log(data: bytes) -> None:
    assert parse_log(data) is None


def test_time_that_is_none() -> None:
    log = parse_log("Backup Time: 2025-13-45 aa\n✗ t: FAILED".encode())
    assert log == BackupLog(failed={"t": ""})


@given(st.lists(st.sampled_from([*_LOG.splitlines(), "✓", "✗ : FAILED", "\x00", " (" * 50])))
def test_any_lines_parse(lines: list[str]) -> None:
    log = parse_log("\n".join(lines).encode())
    assert log is None or set(log.rows) <= set(_PARSED.rows)


@given(st.binary(max_size=200))
def test_any_bytes_parse(data: bytes) -> None:
    log = parse_log(data)
    assert log is None or log.rows or log.failed
