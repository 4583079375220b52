"""Rows without a database: the reader against ``csv``, cells against ``repr``, and corruption."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pgvector_restore.errors import BadDataError
from pgvector_restore.rows.csv import CsvReader
from pgvector_restore.rows.json_text import json_cell, jsonb_cell
from pgvector_restore.rows.problem import CellProblem
from pgvector_restore.rows.repair import CellRules
from pgvector_restore.target import TargetColumn
from tests.sets import embedding_bytes, written
from tests.strategies import block_sizes, csv_tables, documents, json_values

_GOOD = embedding_bytes()
_COLUMNS = (
    TargetColumn("id", "varchar", "text", not_null=True),
    TargetColumn("collection_id", "uuid", "other"),
    TargetColumn("embedding", "vector", "vector"),
    TargetColumn("document", "varchar", "text"),
    TargetColumn("cmetadata", "jsonb", "jsonb"),
)


def blocks(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


def decoded(reader: CsvReader) -> list[list[str]]:
    rows: list[list[str]] = []
    for fields in reader:
        assert fields.first_record == len(rows) + 1
        rows += [
            [(cell or b"").decode() for cell in row] for row in zip(*fields.columns, strict=True)
        ]
    return rows


@given(csv_tables(), block_sizes, st.booleans())
def test_reader_gives_back_what_csv_wrote(
    table: tuple[list[str], list[list[str]], str],
    size: int,
    final_end: bool,  # noqa: FBT001
) -> None:
    header, rows, end = table
    data = written(header, rows, end)
    if not final_end:
        data = data.removesuffix(end.encode())
    reader = CsvReader(blocks(data, size), "f.csv")
    assert list(reader.header.names) == header
    assert decoded(reader) == rows
    assert reader.records == len(rows)
    assert reader.final_newline_missing is not final_end


@given(json_values)
def test_repr_of_a_json_value_becomes_that_value(value: Any) -> None:
    text, kind = jsonb_cell(repr(value).encode())
    assert is_json(text)
    assert json.loads(text) == value
    assert kind in {None, "python_repr"}


@given(json_values)
def test_json_passes_untouched(value: Any) -> None:
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False, indent=1)):
        assert jsonb_cell(text.encode()) == (text.encode(), None)


@given(documents)
def test_no_repair_without_a_json_meaning(text: str) -> None:
    try:
        repaired, _ = json_cell(text.encode())
    except CellProblem:
        return
    assert is_json(repaired)


def is_json(text: bytes) -> bool:
    """Without NaN and the infinities, which Python would read."""

    def refuse(name: str) -> None:
        raise ValueError(name)

    try:
        json.loads(text, parse_constant=refuse)
    except ValueError:
        return False
    return True


def test_what_python_reads_beyond_json_is_not_json() -> None:
    assert is_json(b'{"a": [1, null]}')
    assert not any(map(is_json, (b"[NaN]", b"-Infinity", b"{'a': 1}", b"")))


@given(
    st.lists(
        st.tuples(st.integers(0, len(_GOOD)), st.integers(0, 3), st.binary(max_size=3)),
        min_size=1,
        max_size=3,
    ),
    block_sizes,
)
def test_corruption_is_an_error_of_ours_or_none(
    changes: list[tuple[int, int, bytes]], size: int
) -> None:
    data = _GOOD
    for at, removed, added in changes:
        data = data[:at] + added + data[at + removed :]
    rules = CellRules(_COLUMNS, "f.csv")
    try:
        reader = CsvReader(blocks(data, size), "f.csv", max_record_bytes=400)
        if len(reader.header.names) != len(_COLUMNS):
            return
        for fields in reader:
            lines = rules.encode(fields).split(b"\n")
            assert len(lines) == len(fields) + 1
    except BadDataError as found:
        error = found
    else:
        return
    assert error.file == "f.csv"
    assert error.message in str(error)
