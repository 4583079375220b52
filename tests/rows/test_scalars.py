"""Plain types in binary, without a server: known payloads, refusals, one road against the other."""

from __future__ import annotations

import json
import math
import struct
import uuid
from datetime import date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgvector_restore.rows.encoder import complete
from pgvector_restore.rows.problem import CellProblem
from pgvector_restore.rows.scalars import SCALARS
from tests.rows.spellings import SENDS, USUAL, float4_traps, near, values

_BULK = [wire for wire, encoder in SCALARS.items() if encoder.many is not None]


def one_by_one(wire: str, cells: list[bytes]) -> list[bytes] | None:
    try:
        return [complete(SCALARS[wire].one(cell)) for cell in cells]
    except CellProblem:
        return None


def in_bulk(wire: str, cells: list[bytes]) -> list[bytes] | None:
    many = SCALARS[wire].many
    assert many is not None
    return many(cells)


def test_every_plain_type_has_an_encoder() -> None:
    assert set(SCALARS) == set(SENDS)


@pytest.mark.parametrize(
    ("wire", "cell", "payload"),
    [
        ("bool", "True", b"\x01"),
        ("bool", "off", b"\x00"),
        ("bytea", r"\x00FF", b"\x00\xff"),
        ("bytea", r"a\\b\377", b"a\\b\xff"),
        ("date", "2000-01-01", bytes(4)),
        ("date", "1999-12-31", b"\xff\xff\xff\xff"),
        ("date", "infinity", b"\x7f\xff\xff\xff"),
        ("date", "-infinity", b"\x80\x00\x00\x00"),
        ("float4", "-1e-05", struct.pack(">f", -1e-5)),
        ("float4", "nan", b"\x7f\xc0\x00\x00"),
        ("float8", "-0", b"\x80" + bytes(7)),
        ("float8", "inf", struct.pack(">d", math.inf)),
        ("int2", "-1", b"\xff\xff"),
        ("int4", "+258", b"\x00\x00\x01\x02"),
        ("int8", "9223372036854775807", b"\x7f" + b"\xff" * 7),
        ("json", '{"a": 1}', b'{"a": 1}'),
        ("jsonb", '{"a": 1}', b'\x01{"a": 1}'),
        ("text", "é", b"\xc3\xa9"),
        ("timestamp", "2000-01-01 00:00:00.000001", bytes(7) + b"\x01"),
        ("timestamp", "2000-01-01 00:00:00+08", bytes(8)),
        ("timestamptz", "2000-01-01 08:00:00+08:00", bytes(8)),
        ("timestamptz", "infinity", b"\x7f" + b"\xff" * 7),
        ("uuid", "{00000000-0000-0000-0000-0000000000FF}", bytes(15) + b"\xff"),
    ],
)
def test_known_payloads(wire: str, cell: str, payload: bytes) -> None:
    assert SCALARS[wire].one(cell.encode()) == payload
    assert in_bulk(wire, [cell.encode()] * 2) in (None, [complete(payload)] * 2)


@pytest.mark.parametrize(
    ("wire", "cell", "message", "hint"),
    [
        ("bool", "maybe", '"maybe" is not a boolean', "write it as true or false, or send"),
        ("bytea", r"\x0", r'"\x0" is not bytea: a digit is missing or none', r"\x00ff"),
        ("bytea", "\\8", r'"\8" is not bytea: a backslash begins no escape', r"\x00ff"),
        ("date", "July 22", '"July 22" is not a date', "write it as 2025-07-22, or"),
        ("date", "2025-02-29", '"2025-02-29" is out of range for type date', None),
        ("float4", "1e39", '"1e39" is out of range for type float4', None),
        ("float4", "1e-46", '"1e-46" is out of range for type float4', None),
        ("float8", "1e309", '"1e309" is out of range for type float8', None),
        ("float8", "0x1p3", '"0x1p3" is not a number', "write it as 0.5 or 1e-05, or"),
        ("int2", "32768", '"32768" is out of range for type int2', None),
        ("int4", "0x10", '"0x10" is not an integer', 'or send the rows as text (wire="text")'),
        ("int8", "1_000", '"1_000" is not an integer', "write it as 42, or"),
        ("timestamp", "now", '"now" is not a timestamp', "write it as 2025-07-22 01:03:18.5, or"),
        (
            "timestamptz",
            "2025-07-22 01:03:18",
            '"2025-07-22 01:03:18" is not a timestamp with an offset from UTC',
            "without one the session's zone decides what it means; write it as",
        ),
        ("uuid", "a\nb", r'"a\nb" is not a uuid', "write it as 90998d6c-"),
    ],
)
def test_refusals_name_the_cell(wire: str, cell: str, message: str, hint: str | None) -> None:
    with pytest.raises(CellProblem) as caught:
        SCALARS[wire].one(cell.encode())
    assert caught.value.message == message
    assert (hint or "") in (caught.value.hint or "")
    assert in_bulk(wire, [cell.encode()]) is None


def test_a_long_cell_is_cut_in_the_message() -> None:
    with pytest.raises(CellProblem) as caught:
        SCALARS["int8"].one(b"x" * 1_000_000)
    assert len(caught.value.message) < 100


@pytest.mark.parametrize("wire", USUAL)
def test_usual_spellings_are_read(wire: str) -> None:
    for text in USUAL[wire]:
        assert SCALARS[wire].one(text.encode()) is not None, text


@pytest.mark.parametrize("wire", _BULK)
def test_no_cells_are_no_fields(wire: str) -> None:
    assert in_bulk(wire, []) in (None, [])


@pytest.mark.parametrize("wire", _BULK)
@given(data=st.data())
def test_both_roads_give_the_same(wire: str, data: st.DataObject) -> None:
    # Alone first: among others an odd cell is hardly ever the only reason to say no.
    texts = data.draw(st.lists(near(wire), min_size=1, max_size=6))
    for texts_here in ([texts[0]], texts):
        cells = [text.encode() for text in texts_here]
        found = in_bulk(wire, cells)
        assert found is None or found == one_by_one(wire, cells)


@pytest.mark.parametrize("wire", _BULK)
@given(data=st.data())
def test_what_python_writes_takes_the_bulk_road(wire: str, data: st.DataObject) -> None:
    texts = data.draw(st.lists(values(wire), min_size=1, max_size=8))
    cells = [text.encode() for text in texts]
    if not (wire.startswith("float") or wire == "timestamptz"):
        assert in_bulk(wire, cells) == one_by_one(wire, cells)
    else:  # not finite, out of range, halfway; offsets with seconds do not fit the width
        assert in_bulk(wire, cells) in (None, one_by_one(wire, cells))


@given(st.dates())
def test_days_are_counted_as_python_does(day: date) -> None:
    expected = (day - date(2000, 1, 1)).days
    assert struct.unpack(">i", SCALARS["date"].one(str(day).encode())) == (expected,)


@given(st.datetimes(), st.integers(-15 * 60, 15 * 60), st.sampled_from([" ", "T"]))
def test_moments_are_counted_as_python_does(local: datetime, minutes: int, between: str) -> None:
    zone = timezone(timedelta(minutes=minutes))
    naive = (local - datetime(2000, 1, 1)) // timedelta(microseconds=1)  # noqa: DTZ001
    text = local.replace(tzinfo=zone).isoformat(between).encode()
    assert struct.unpack(">q", SCALARS["timestamp"].one(text)) == (naive,)
    moment = naive - minutes * 60_000_000
    assert struct.unpack(">q", SCALARS["timestamptz"].one(text)) == (moment,)
    assert in_bulk("timestamptz", [text]) == [struct.pack(">iq", 8, moment)]


@given(float4_traps())
def test_float4_is_rounded_once(trap: tuple[str, int, int]) -> None:
    text, below, side = trap
    bits = below + (side > 0 or (side == 0 and below % 2 == 1))
    if bits == 0:  # rounds to zero: the server calls that out of range
        assert one_by_one("float4", [text.encode()]) is None
        return
    for sign, high in ((b"", 0), (b"-", 0x80000000)):
        cell = sign + text.encode()
        assert SCALARS["float4"].one(cell) == struct.pack(">I", high | bits)
        assert in_bulk("float4", [cell]) in (None, [struct.pack(">iI", 4, high | bits)])


@pytest.mark.parametrize(
    ("nudge", "in_range"), [("", False), (".0001", False), ("-", True), ("+", False)]
)
def test_float4_overflows_where_rounding_reaches_infinity(*, nudge: str, in_range: bool) -> None:
    edge = 2**128 - 2**103
    text = {"-": f"{edge - 1}.999", "+": str(edge + 1)}.get(nudge, f"{edge}{nudge}")
    largest = [struct.pack(">iI", 4, 0x7F7FFFFF)]
    assert one_by_one("float4", [text.encode()]) == (largest if in_range else None)
    assert in_bulk("float4", [text.encode()]) is None


@given(st.integers(0, 2**128 - 1))
def test_uuids_keep_their_bytes(number: int) -> None:
    value = uuid.UUID(int=number)
    for text in (str(value), value.hex, f"{{{str(value).upper()}}}"):
        assert SCALARS["uuid"].one(text.encode()) == value.bytes
    assert in_bulk("uuid", [str(value).encode()] * 3) == [complete(value.bytes)] * 3


@given(st.binary())
def test_bytea_keeps_its_bytes(raw: bytes) -> None:
    octal = "".join(chr(b) if 32 <= b < 127 and b != 92 else f"\\{b:03o}" for b in raw)
    assert SCALARS["bytea"].one(octal.encode()) == raw
    assert SCALARS["bytea"].one(octal.replace("\\134", "\\\\").encode()) == raw
    assert SCALARS["bytea"].one(f"\\x{raw.hex()}".encode()) == raw
    assert in_bulk("bytea", [f"\\x{raw.hex()}".encode()]) == [complete(raw)]


def test_documents_carry_their_length() -> None:
    texts = ["", "x" * 70_000, json.dumps({"k": "é"})]
    cells = [text.encode() for text in texts]
    assert in_bulk("text", cells) == [struct.pack(">i", len(cell)) + cell for cell in cells]
    heads = [struct.pack(">i", len(cell) + 1) + b"\x01" for cell in cells]
    expected = [head + cell for head, cell in zip(heads, cells, strict=True)]
    assert in_bulk("jsonb", cells) == expected
