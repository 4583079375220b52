"""Files of COPY in binary, cut into rows: whatever the blocks, the same rows or the same error."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgvector_restore.errors import BadDataError, BadRecordError
from pgvector_restore.rows.copied import cells_of, copied_rows, fields_of
from pgvector_restore.rows.fields import Field
from pgvector_restore.rows.pgcopy import (
    BINARY_HEADER,
    BINARY_TRAILER,
    NULL_FIELD,
    encode_binary,
)
from pgvector_restore.rows.printing import printed

_MOST = 1 << 20
#: Cells of three columns; bytes that look like lengths, end marks and headers among them.
_CELLS = st.one_of(
    st.none(),
    st.binary(max_size=12),
    st.sampled_from([b"", BINARY_TRAILER, NULL_FIELD, BINARY_HEADER, b"\0\3", bytes(70)]),
)
_ROWS = st.lists(st.tuples(_CELLS, _CELLS, _CELLS), max_size=8)


def complete(cell: Field) -> bytes:
    return NULL_FIELD if cell is None else len(cell).to_bytes(4, "big") + cell


def stored(rows: list[tuple[Field, Field, Field]]) -> bytes:
    columns = [[complete(row[place]) for row in rows] for place in range(3)]
    return BINARY_HEADER + (encode_binary(columns) if rows else b"") + BINARY_TRAILER


def cut(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


@given(_ROWS, st.integers(1, 40))
def test_the_rows_come_out(rows: list[tuple[Field, Field, Field]], size: int) -> None:
    data = stored(rows)
    found = list(copied_rows(cut(data, size), "f", 3, _MOST))
    assert b"".join(one.data for one in found) == data[19:-2]
    assert [row for one in found for row in one] == [
        b"\0\3" + b"".join(map(complete, row)) for row in rows
    ]
    assert [tuple(f) for one in found for f in fields_of(one)] == [
        tuple(map(complete, row)) for row in rows
    ]
    for place in range(3):
        cells = [cell for one in found for cell in cells_of(one, [place])[0]]
        assert cells == [row[place] for row in rows]
    numbers = [one.first_record + index for one in found for index in range(len(one))]
    assert numbers == list(range(1, len(rows) + 1))


@given(_ROWS, st.integers(1, 40), st.data())
def test_a_file_that_is_cut_is_refused(
    rows: list[tuple[Field, Field, Field]], size: int, data: st.DataObject
) -> None:
    whole = stored(rows)
    end = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(BadDataError) as caught:
        list(copied_rows(cut(whole[:end], size), "f", 3, _MOST))
    assert caught.value.file == "f"


@given(_ROWS, st.integers(1, 40), st.binary(min_size=1, max_size=30))
def test_what_follows_the_end_is_refused(
    rows: list[tuple[Field, Field, Field]], size: int, more: bytes
) -> None:
    with pytest.raises(BadRecordError, match="goes on after its end mark"):
        list(copied_rows(cut(stored(rows) + more, size), "f", 3, _MOST))


def test_the_limit_is_kept_before_memory_fills() -> None:
    read = 0

    def blocks() -> Iterator[bytes]:
        nonlocal read
        yield BINARY_HEADER + b"\0\1" + (1 << 30).to_bytes(4, "big")
        while True:
            read += 1
            yield bytes(1000)

    with pytest.raises(BadRecordError, match="record is longer than 5000 bytes") as caught:
        list(copied_rows(blocks(), "f", 1, 5000))
    assert caught.value.record == 1
    assert read <= 1


@pytest.mark.parametrize(
    ("wire", "payload", "text"),
    [
        ("uuid", bytes(range(16)), "00010203-0405-0607-0809-0a0b0c0d0e0f"),
        ("int2", b"\xff\xfe", "-2"),
        ("int4", b"\0\0\1\0", "256"),
        ("int8", b"\x80" + bytes(7), str(-(1 << 63))),
        ("bool", b"\1", "true"),
        ("bytea", b"\0\xff", "\\x00ff"),
        ("text", "größe".encode(), "größe"),
        ("uuid", b"\1\2", "0102"),
        ("float4", b"\0\0\0\0", "00000000"),
    ],
)
def test_payloads_as_text(wire: str, payload: bytes, text: str) -> None:
    assert printed(wire, payload) == text.encode()
    assert printed(wire, None) is None
