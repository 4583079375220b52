"""Spellings of plain values: usual ones, which must be read, and odd ones, which may be refused."""

from __future__ import annotations

import json
import uuid
from datetime import datetime, timedelta, timezone
from decimal import Decimal, localcontext

import numpy as np
from hypothesis import strategies as st

__all__ = ["ODD", "SENDS", "USUAL", "float4_traps", "near", "values"]

#: Function that gives a type's payload on the server.
SENDS = {
    "bool": "boolsend",
    "bytea": "byteasend",
    "date": "date_send",
    "float4": "float4send",
    "float8": "float8send",
    "int2": "int2send",
    "int4": "int4send",
    "int8": "int8send",
    "json": "json_send",
    "jsonb": "jsonb_send",
    "text": "textsend",
    "timestamp": "timestamp_send",
    "timestamptz": "timestamptz_send",
    "uuid": "uuid_send",
}

_UUID = "90998d6c-0b5c-4f3e-9d0a-2f6f0a4c1b11"
_BARE = _UUID.replace("-", "")
_FLOATS = [
    *("0", "-0", "0.0", "-0.0", "1", "+1", "1.", ".5", "1e-05", "1E5", "1e+5", "-2.5e-3", "  7 "),
    *("nan", "NaN", "inf", "-inf", "Infinity", "-Infinity", "+inf", "+Infinity", "\t1.5\n"),
    *("0.1", "3.4028235e38", "1.1754944e-38", "1e-45", "123456789012345678901234567890", "0e400"),
    *("16777217", "0.30000001192092896", "1.40129846432e-45", str(Decimal("1.10")), "0e-400"),
]
_DAYS = [
    *("2025-07-22", "2000-02-29", "1900-02-28", "0001-01-01", "9999-12-31", "1970-01-01"),
    *("0044-03-15 BC", "4713-11-24 BC", "0001-12-31 BC", "0005-02-29 BC", "12025-01-01"),
    *("infinity", "-infinity", " 2025-07-22 ", "1582-10-10", "0099-05-06", "294276-12-31"),
]
_TIMES = [
    *("2025-07-22 01:03:18", "2025-07-22T01:03:18", "2025-07-22 01:03", "2025-07-22 01:03:18.5"),
    *("2025-07-22 01:03:18.123456", "1999-12-31 23:59:59.999999", "0001-01-01 00:00:00"),
    *("2025-07-22 24:00:00", "2025-07-22 23:59:60", "2025-07-22 23:59:59.9999999"),
    *("2025-07-22 01:03:18.0000005", "2025-07-22 01:03:18.0000015", "2025-07-22 01:03:18.1234565"),
    *("2025-07-22 00:00:00.99999949999", "2025-07-22 01:03:18.12345678901234567890"),
    *("0044-03-15 01:02:03 BC", "0044-03-15 01:02:03.5 BC", "4713-11-24 00:00:00 BC"),
    *("294276-12-31 23:59:59.999999", "12025-01-01 00:00:00", "\n2025-07-22 01:03:18\t"),
]
_OFFSETS = ["Z", "+00", "+08", "+08:00", "-0330", "-03:30", "+05:53:28", "+15:59:59", "-15"]
_MOMENTS = [
    *(f"2025-07-22 01:03:18{zone}" for zone in _OFFSETS),
    *(f"2025-07-22 01:03:18.123456{zone}" for zone in _OFFSETS),
    *(f"2025-07-22T01:03{zone}" for zone in _OFFSETS),
    *("0044-03-15 01:02:03+00 BC", "0044-03-15 01:02:03.25-05:53:28 BC", "infinity", "-infinity"),
    *("294276-12-31 23:59:59.999999+00", "4713-11-24 00:00:00+00 BC", "12025-01-01 00:00:00+08"),
    "2025-07-22 24:00:00+08",
]
#: In range because of their offset.
_EDGES = ["294277-01-01 00:00:00+01", "4713-11-23 23:00:00-01 BC"]
_DOCUMENTS = ['{"a": 1}', "[]", '"x"', "null", "1.50", '{"b": [true, {"c": "\u00e9"}]}', " {} "]

#: What ``COPY TO``, ``str()`` of Python's values and people write.
USUAL: dict[str, list[str]] = {
    "bool": [
        *("t", "f", "true", "false", "True", "False", "TRUE", "FALSE", "1", "0", "yes", "no"),
        *("on", "off", "y", "n", " true ", "tru", "of", "YES", "Off", "\ttRuE\n", "fa", "ye"),
    ],
    "bytea": [
        *("\\x", "\\x00", "\\xdeadBEEF", "\\x00 ff", "\\x00\n\tff ", "plain", "", "a\\\\b"),
        *("\\000\\377", "\\101bc", "tab\there", "caf\u00e9", "b'abc'", "\\x " + "ab" * 40),
    ],
    "date": [*_DAYS, "5874897-12-31", "294277-01-01"],
    "float4": [*_FLOATS, "3.4028235677973366e38", "7.006492321624086e-46"],
    "float8": [*_FLOATS, "1.7976931348623157e308", "5e-324", "2.2250738585072011e-308", "1e300"],
    "int2": ["0", "-0", "+7", "32767", "-32768", " 12 ", "007", "-00000000000000000000001"],
    "int4": ["0", "2147483647", "-2147483648", "+5", "\t5\n", "00000000000000000000000009"],
    "int8": ["0", "9223372036854775807", "-9223372036854775808", "+5", " -5 ", "0010"],
    "json": _DOCUMENTS,
    "jsonb": [_DOCUMENTS[0], *_DOCUMENTS[1:5]],
    "text": ["", " ", "a", "\u00e9\U0001f4da", "line\nline\r\n", "\\N", "tab\t", '"', "x" * 5000],
    "timestamp": _DAYS + _TIMES + _MOMENTS,
    "timestamptz": _MOMENTS + _EDGES,
    "uuid": [
        *(_UUID, _UUID.upper(), _BARE, f"{{{_UUID}}}", f"{{{_BARE.upper()}}}"),
        *("-".join(_BARE[at : at + 4] for at in range(0, 32, 4)), f"{_BARE[:16]}-{_BARE[16:]}"),
        str(uuid.UUID(int=0)),
    ],
}

_ODD_NUMBERS = [
    *("", " ", "+", "-", "--1", "+-1", "1 2", "1,5", "1_000", "0x10", "0o7", "0b1", "1e", "e5"),
    *("1.5", "1.0", "1e400", "-1e400", "1e-400", "1e39", "1e-46", "3.5e38", "1.8e308", "2e-324"),
    *("32768", "-32769", "2147483648", "-2147483649", "9223372036854775808", "9" * 30),
    *("-9223372036854775809", "nano", "-nan", "+nan", "nan(1)", "in", "infi", "infinit", "- 1"),
    *("1f", "1d", "0x1p3", "\u0661", "\u00a01", "true", "[1]", "null", "1.2.3", ".", "-.", "1e5.5"),
    *("1e99999999999999999999", "1e-99999999999999999999", "0e99999999999999999999", "1\x0b"),
    *("9" * 400, "0." + "0" * 400 + "1", "0." + "0" * 30 + "1e30", "1" + "0" * 60 + "e-60"),
]
_ODD_DAYS = [
    *("", "2025-02-29", "1900-02-29", "2025-13-01", "2025-00-10", "2025-01-00", "2025-04-31"),
    *("0000-01-01", "0000-01-01 BC", "4714-12-31 BC", "4713-11-23 BC", "5874898-01-01", "2025"),
    *("9999999-01-01", "25-07-22", "2025-7-2", "20250722", "2025/07/22", "22.07.2025", "now"),
    *("today", "epoch", "July 22, 2025", "2025-07-22 AD", "2025-07-22BC", "2025-07-22 bc"),
    *("2025-07-22 BC BC", "-2025-07-22", "+infinity", "inf", "INFINITY", "Infinity", "02025-01-01"),
    *("2025-W30-2", "2025-203", "J2451545", "2025-07-22  BC", "0002025-01-01", "2025-07-22x"),
    "\u0662\u0660\u0662\u0665-07-22",
]
_ODD_TIMES = [
    *("2025-07-22 25:00:00", "2025-07-22 24:00:01", "2025-07-22 24:00:00.000001"),
    *("2025-07-22 01:60:00", "2025-07-22 01:03:61", "2025-07-22 23:59:60.5", "2025-07-22T"),
    *("2025-07-22t01:03:18", "2025-07-22  01:03:18", "2025-07-22 1:03:18", "2025-07-22 010318"),
    *("2025-07-22 01:03:18.", "2025-07-22 01:03:18,5", "2025-07-22 01:03:18 PM", "01:03:18"),
    *("2025-07-22 23:59:60.0000004", "2025-07-22 01:03:18." + "1" * 30, "2025-07-22 01"),
    *("294277-01-01 00:00:00", "4713-11-23 23:59:59 BC", "2025-02-30 00:00:00"),
    *("2025-07-22 01:03:18." + "9" * 150, "294276-12-31 23:59:60"),
]
_ODD_OFFSETS = [
    *(
        "z",
        " Z",
        "+16",
        "-16:00",
        "+08:60",
        "+0860",
        "+8",
        "+080",
        "+08:0",
        "+08:00:60",
        "+0800:30",
    ),
    *(
        "+080030",
        " +08",
        "+08+08",
        "Z+08",
        "+",
        "UTC",
        " UTC",
        "EST",
        " Europe/Berlin",
        "+15:59:59",
    ),
    *("+08:", "+-08", "-00:00", "+00:00:00", "-99", "+08:00 +08"),
]
_ODD_MOMENTS = [
    *(f"2025-07-22 01:03:18{zone}" for zone in _ODD_OFFSETS),
    *("294277-01-01 00:00:00+00", "4713-11-24 00:00:00+01 BC", "294276-12-31 23:00:00-02"),
    *("2025-07-22Z", "2025-07-22+08", "2025-07-22 +08", "2025-07-22 01:03:18 BC+00"),
]

#: Near misses, and spellings that the server may take or not.
ODD: dict[str, list[str]] = {
    "bool": ["", " ", "o", "tr ue", "2", "-1", "00", "10", "truee", "yess", "onn", "t.", "None"],
    "bytea": [
        *(
            "\\",
            "\\x0",
            "\\xg0",
            "\\x0 0",
            "\\X00",
            "\\400",
            "\\38",
            "\\08x",
            "\\a",
            "a\\",
            "\\\\\\",
        ),
        *(
            "\\x00\x0b",
            "\\x\u00e9",
            "\\x\\x00",
            " \\x00",
            "\\1",
            "\\12",
            "\\777",
            "x\\x00",
            "\\\\x00",
        ),
    ],
    "date": [*_ODD_DAYS, "2025-07-22 00:00:00", "2025-07-22 01:03:18+08", "2025-07-22T00:00"],
    "float4": _ODD_NUMBERS,
    "float8": _ODD_NUMBERS,
    "int2": _ODD_NUMBERS,
    "int4": _ODD_NUMBERS,
    "int8": _ODD_NUMBERS,
    "json": [],
    "jsonb": [],
    "text": [],
    "timestamp": _ODD_DAYS + _ODD_TIMES + _ODD_MOMENTS + _EDGES,
    "timestamptz": [*_ODD_MOMENTS, *_ODD_DAYS, *_ODD_TIMES, "2025-07-22 01:03:18", "2025-07-22"]
    + [f"{time}+08" for time in _ODD_TIMES],
    "uuid": [
        *("", _UUID[:-1], _UUID + "0", f" {_UUID}", f"{_UUID} ", f"{{{_UUID}", f"{_UUID}}}", "{}"),
        *(_BARE + "-", "-" + _BARE, _UUID.replace("-", "--"), "{" + _BARE + "-}", f"({_UUID})"),
        *("g" + _BARE[1:], "9-0998d6c" + _BARE[8:], f"urn:uuid:{_UUID}", _UUID[:35] + "\u00e9"),
        *(
            "90998d6c-0b5c-4f3e-9d0a-2f6f0a4c1 b1",
            "90998d6c-0b5c-4f3e-9d0a2-f6f0a4c1b11",
            "0x" + _BARE,
        ),
    ],
}


def _integers(bits: int) -> st.SearchStrategy[str]:
    top = 1 << (bits - 1)
    return st.integers(-top - 2, top + 1).map(str) | st.integers(-99, 99).map(str)


_offsets = st.integers(-15 * 3600, 15 * 3600) | st.integers(-15, 15).map(lambda hours: hours * 3600)
_zones = _offsets.map(lambda seconds: timezone(timedelta(seconds=seconds)))
_moments = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=_zones)  # noqa: DTZ001
_doubles = st.floats().map(repr) | st.floats(width=32).map(repr)
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.just("k"), inner),
    max_leaves=4,
)


_VALUES: dict[str, st.SearchStrategy[str]] = {
    "bool": st.booleans().map(str),
    "bytea": st.binary(max_size=20).map(lambda raw: f"\\x{raw.hex()}"),
    "date": st.dates().map(str),
    "float4": _doubles,
    "float8": _doubles | st.decimals(allow_nan=False, allow_infinity=False).map(str),
    "int2": _integers(16),
    "int4": _integers(32),
    "int8": _integers(64),
    "json": _json.map(json.dumps),
    "jsonb": _json.map(json.dumps),
    "text": st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=9),
    "timestamp": st.datetimes().map(str),
    "timestamptz": _moments.map(str),
    "uuid": st.uuids().map(str),
}


def values(wire: str) -> st.SearchStrategy[str]:
    """Spellings as Python's ``str()`` gives them; integers may be just out of range."""
    return _VALUES[wire]


@st.composite
def near(draw: st.DrawFn, wire: str) -> str:
    """Usual spellings with up to two characters put in, taken out or replaced."""
    text = draw(st.sampled_from(USUAL[wire] + ODD[wire]) | values(wire))
    if wire in {"json", "jsonb"}:  # these arrive checked
        return text
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(text)))
        drop = draw(st.integers(0, 1))
        text = text[:at] + draw(st.sampled_from(["", *_EDITS])) + text[at + drop :]
    return text


_EDITS = [*"0123456789+-.:eEnNxX_ \t\v\\{}TZ", "\x1c", "\u00a0", "\u0661", " BC", "inf"]


@st.composite
def float4_traps(draw: st.DrawFn) -> tuple[str, int, int]:
    """Decimal text at the midpoint of two neighbouring float32, or a hair beside it.

    With the bits of the lower one, and the side: -1, 0 or 1.
    """
    bits, side = draw(st.integers(0, 0x7F7FFFFE)), draw(st.integers(-1, 1))
    pair = np.array([bits, bits + 1], dtype=np.uint32).view(np.float32).astype(np.float64)
    with localcontext() as context:
        context.prec = 400  # a midpoint has 150 digits at most
        middle = Decimal(float(pair.sum()) / 2)
        return str(middle + side * middle.scaleb(-200)), bits, side
