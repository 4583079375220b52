"""What becomes of rows already there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pgvector_restore import BadCellError, BadRecordError, RowRejectedError
from tests.restore.content import count, snapshot
from tests.sets import (
    COLLECTION_FILE,
    EMBEDDING_CELLS,
    EMBEDDING_FILE,
    SQL_ID,
    collection_bytes,
    embedding_bytes,
    quote,
    restore,
    write_set,
)

_MANY = 10_000


def test_replace_twice_is_replace_once(g2_dsn: str, tmp_path: Path) -> None:
    root = write_set(tmp_path)
    first = restore(root, g2_dsn, mode="replace")
    content = snapshot(g2_dsn)
    second = restore(root, g2_dsn, mode="replace")
    assert snapshot(g2_dsn) == content
    assert [(t.rows_before, t.rows_removed, t.rows_after) for t in first.tables] == [
        (0, 0, 2),
        (0, 0, 4),
    ]
    assert [(t.rows_before, t.rows_removed, t.rows_after) for t in second.tables] == [
        (2, 2, 2),
        (4, 4, 4),
    ]


def test_append_twice_is_refused(g2_dsn: str, tmp_path: Path) -> None:
    root = write_set(tmp_path)
    restore(root, g2_dsn)
    content = snapshot(g2_dsn)
    with pytest.raises(RowRejectedError, match="duplicate key") as caught:
        restore(root, g2_dsn)
    error = caught.value
    assert (error.file, error.record, error.sqlstate) == (COLLECTION_FILE, 1, "23505")
    assert error.constraint == "langchain_pg_collection_pkey"
    assert error.hint == "a row with this key is in the table already, or twice in the file"
    assert snapshot(g2_dsn) == content


def test_append_adds_to_what_is_there(g2_dsn: str, tmp_path: Path) -> None:
    restore(write_set(tmp_path), g2_dsn)
    more = embedding_bytes(records=[("e-sql", SQL_ID, "", "fifth", "")])
    root = write_set(tmp_path, embedding=more)
    report = restore(root, g2_dsn, mode="append", tables="langchain_pg_embedding")
    (table,) = report.tables
    assert (table.rows_before, table.rows_removed, table.rows_loaded) == (4, 0, 1)
    assert table.rows_after == count(g2_dsn, "langchain_pg_embedding") == 5


@pytest.mark.parametrize("mode", ["replace", "append"])
@pytest.mark.parametrize(
    ("bad", "error", "column"),
    [
        (("last", SQL_ID, quote("[1,2"), "", ""), BadCellError, "embedding"),
        (("last", SQL_ID, "", "", quote("{'a': nan}")), BadCellError, "cmetadata"),
        (("last", SQL_ID, quote("[1,,2]"), "", ""), BadCellError, "embedding"),
        (("n-0", SQL_ID, "", "", ""), RowRejectedError, None),
        (("last", SQL_ID, "", ""), BadRecordError, None),
    ],
    ids=["vector", "repr", "server", "duplicate", "width"],
)
def test_bad_last_record_of_many_changes_nothing(
    g2_dsn: str,
    tmp_path: Path,
    mode: str,
    bad: tuple[str, ...],
    error: type[BadCellError],
    column: str | None,
) -> None:
    restore(write_set(tmp_path), g2_dsn)
    content = snapshot(g2_dsn)
    records = [(f"n-{n}", SQL_ID, quote("[1,2,3]"), f"row {n}", "") for n in range(_MANY - 1)]
    options: dict[str, Any] = {} if mode == "replace" else {"tables": "langchain_pg_embedding"}
    root = write_set(
        tmp_path,
        collection=collection_bytes(),
        embedding=embedding_bytes(records=[*records, bad]),
    )
    with pytest.raises(error) as caught:
        restore(root, g2_dsn, mode=mode, **options)
    found = caught.value
    assert (found.file, found.record, found.column) == (EMBEDDING_FILE, _MANY, column)
    assert snapshot(g2_dsn) == content


def test_old_rows_of_a_large_table_are_replaced(g2_dsn: str, tmp_path: Path) -> None:
    records = [(f"n-{n}", SQL_ID, quote("[1,2,3]"), f"row {n}", "") for n in range(_MANY)]
    root = write_set(tmp_path, embedding=embedding_bytes(records=records))
    assert restore(root, g2_dsn).rows_loaded == _MANY + 2
    report = restore(write_set(tmp_path), g2_dsn, mode="replace")
    table = report.table("langchain_pg_embedding")
    assert (table.rows_removed, table.rows_after) == (_MANY, len(EMBEDDING_CELLS))
