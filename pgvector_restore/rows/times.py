"""Dates and timestamps in COPY's binary format: ISO spellings only, whatever the session's style.

The wire counts days, or microseconds, from 2000-01-01 (UTC for timestamptz); the calendar is the
Gregorian one throughout, as in the server's ``date2j``. The same arithmetic serves a single cell
(numbers are ``int``) and all cells of one layout (numbers are arrays).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from pgvector_restore.rows.encoder import SPACE, Encoder, fixed_fields, not_a, out_of_range
from pgvector_restore.rows.problem import CellProblem

__all__ = ["DATE", "TIMESTAMP", "TIMESTAMPTZ"]

_Ints = NDArray[np.int64]
_Number = int | _Ints

_DAY = r"(?P<year>\d{4,7})-(?P<month>\d\d)-(?P<day>\d\d)"
_CLOCK = r"(?P<hour>\d\d):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:\.(?P<fraction>\d{1,20}))?)?"
#: ``+08``, ``+0530``, ``+05:30`` and, before 1900, ``+05:53:28``.
_OFFSET = (
    r"(?P<sign>[+-])(?P<zhour>\d\d)"
    r"(?:(?P<colon>:)?(?P<zminute>\d\d)(?(colon)(?::(?P<zsecond>\d\d))?))?"
)
_ERA = r"(?P<bc> BC)?"

#: Parts with their least and largest number. The server takes ``24:00:00`` and second 60 for the
#: start of what follows; an offset ends where ``MAX_TZDISP_HOUR`` in timestamp.h says so.
_LIMITS = {
    "year": (1, 9_999_999),
    "month": (1, 12),
    "day": (1, 31),
    "hour": (0, 24),
    "minute": (0, 59),
    "second": (0, 60),
    "zhour": (0, 15),
    "zminute": (0, 59),
    "zsecond": (0, 59),
}
_MICRO = 1_000_000
_DAY_MICRO = 86_400 * _MICRO
#: Digits of a fraction that need no rounding, and of a year that is in every type's range.
_MICRO_DIGITS, _PLAIN_YEAR_DIGITS = 6, 4

#: Bytes given to a cell when many are read: the longest usual one,
#: ``2025-07-22 01:03:18.123456+08:00``.
_WIDTH = 32
#: Layouts in one batch beyond which cells are read one by one: each costs a pass.
_MAX_LAYOUTS = 24
_TO_LAYOUT = bytes.maketrans(b"123456789", b"000000000")


@frozen
class _Kind:
    """What tells the three types apart."""

    #: Type name.
    wire: str
    #: What messages call a value.
    noun: str
    #: A usual spelling.
    example: str
    #: All spellings read here, except infinity.
    pattern: re.Pattern[bytes]
    #: Payload.
    code: struct.Struct
    #: Least value, and the end of the range, which is not in it.
    limits: tuple[int, int]


_DATE = _Kind(
    wire="date",
    noun="a date",
    example="2025-07-22",
    pattern=re.compile((_DAY + _ERA).encode()),
    code=struct.Struct(">i"),
    # 4713-11-24 BC to 5874897-12-31: IS_VALID_DATE in timestamp.h
    limits=(-2_451_545, 2_147_483_494 - 2_451_545),
)
_TIMESTAMP = _Kind(
    wire="timestamp",
    noun="a timestamp",
    example="2025-07-22 01:03:18.5",
    pattern=re.compile(f"{_DAY}(?:[ T]{_CLOCK}(?P<zone>Z|{_OFFSET})?)?{_ERA}".encode()),
    code=struct.Struct(">q"),
    # 4713-11-24 BC to the end of 294276: IS_VALID_TIMESTAMP in timestamp.h
    limits=(-211_813_488_000_000_000, 9_223_371_331_200_000_000),
)
_TIMESTAMPTZ = _Kind(
    wire="timestamptz",
    noun="a timestamp with an offset from UTC",
    example="2025-07-22 01:03:18.5+00",
    pattern=_TIMESTAMP.pattern,
    code=_TIMESTAMP.code,
    limits=_TIMESTAMP.limits,
)


def _encode(kind: _Kind, cell: bytes) -> bytes:
    text = cell.strip(SPACE)
    if text.lower() in {b"infinity", b"-infinity"}:
        end = 1 << (8 * kind.code.size - 1)
        return kind.code.pack(-end if text[:1] == b"-" else end - 1)
    match = kind.pattern.fullmatch(text)
    if match is None:
        raise not_a(kind.noun, cell, kind.example)
    if kind is _TIMESTAMPTZ and match["zone"] is None:
        raise _no_offset(cell)
    value = _value(kind, match, lambda start, stop: int(text[start:stop]))
    low, end = kind.limits
    if value is None or not low <= value < end:
        raise out_of_range(kind.wire, cell)
    return kind.code.pack(value)


def _no_offset(cell: bytes) -> CellProblem:
    problem = not_a(_TIMESTAMPTZ.noun, cell, _TIMESTAMPTZ.example)
    hint = f"without one the session's zone decides what it means; {problem.hint}"
    return CellProblem(problem.message, hint=hint)


def _encode_many(kind: _Kind, cells: Sequence[bytes]) -> list[bytes] | None:
    """Layout by layout: cells in which the same bytes are digits.

    Trailing spaces, which the server skips, bring all cells to one width.
    """
    joined = b"".join([cell.ljust(_WIDTH) for cell in cells])
    if len(joined) != _WIDTH * len(cells):
        return None
    grid = np.frombuffer(joined, dtype=np.uint8).reshape(-1, _WIDTH)
    layouts = np.frombuffer(joined.translate(_TO_LAYOUT), dtype=f"S{_WIDTH}")
    values = np.empty(len(cells), dtype=f"i{kind.code.size}")
    left = np.arange(len(cells))
    for _ in range(_MAX_LAYOUTS):
        if not len(left):
            return fixed_fields(values)
        layout = layouts[left[0]]
        alike = layouts[left] == layout
        found = _layout_values(kind, bytes(layout), grid[left[alike]])
        if found is None:
            return None
        values[left[alike]] = found
        left = left[~alike]
    return None


def _layout_values(kind: _Kind, layout: bytes, grid: NDArray[np.uint8]) -> _Number | None:
    match = kind.pattern.fullmatch(layout.rstrip(b" "))
    if match is None or not _is_plain(match) or (kind is _TIMESTAMPTZ and match["zone"] is None):
        return None
    columns = grid.T

    def number(start: int, stop: int) -> _Ints:
        total = np.zeros(len(grid), dtype=np.int64)
        for column in columns[start:stop]:
            total = total * 10 + (column - ord("0"))
        return total

    return _value(kind, match, number)


def _is_plain(match: re.Match[bytes]) -> bool:
    """No era, no year beyond some type's range, nothing to be rounded."""
    fraction = match.groupdict().get("fraction") or b""
    year = len(match["year"]) == _PLAIN_YEAR_DIGITS and match["bc"] is None
    return year and len(fraction) <= _MICRO_DIGITS


def _value(
    kind: _Kind, match: re.Match[bytes], number: Callable[[int, int], _Number]
) -> _Number | None:
    """Days or microseconds from 2000-01-01; ``None`` if there is no such day, time or offset.

    Args:
        kind: The type.
        match: Says where the parts are.
        number: The number that stands between two places.
    """
    parts: dict[str, _Number] = dict.fromkeys(_LIMITS, 0)
    for name, text in match.groupdict().items():
        if text is None or name not in _LIMITS:
            continue
        least, most = _LIMITS[name]
        parts[name] = number(*match.span(name))
        low, high = _extent(parts[name])
        if low < least or high > most:
            return None
    year = parts["year"] if match["bc"] is None else 1 - parts["year"]
    month, day = parts["month"], parts["day"]
    if _extent(_days_of_month(year, month) - day)[0] < 0:
        return None
    days = _days(year, month, day)
    if kind is _DATE:
        return days
    clock = _seconds(parts["hour"], parts["minute"], parts["second"]) * _MICRO
    clock = clock + _fraction(match, number)
    if _extent(clock)[1] > _DAY_MICRO:
        return None
    local = days * _DAY_MICRO + clock
    if kind is _TIMESTAMP:  # the server reads the offset, and drops it
        return local
    offset = _seconds(parts["zhour"], parts["zminute"], parts["zsecond"]) * _MICRO
    return local + offset if match["sign"] == b"-" else local - offset


def _fraction(match: re.Match[bytes], number: Callable[[int, int], _Number]) -> _Number:
    """Microseconds."""
    digits = match["fraction"]
    if digits is None:
        return 0
    if len(digits) <= _MICRO_DIGITS:
        scale: int = 10 ** (_MICRO_DIGITS - len(digits))
        return number(*match.span("fraction")) * scale
    # The server rounds a double, half to even (ParseFractionalSecond in datetime.c).
    return round(float(b"0." + digits) * _MICRO)


def _seconds(hour: _Number, minute: _Number, second: _Number) -> _Number:
    return (hour * 60 + minute) * 60 + second


def _days(year: _Number, month: _Number, day: _Number) -> _Number:
    """Days from 2000-01-01. Year 0 is 1 BC; the year is taken to begin in March."""
    year = year - (14 - month) // 12  # one less in January and February
    in_year = (153 * ((month + 9) % 12) + 2) // 5 + day
    return 365 * year + _leap_days(year) + in_year - 730_426


def _leap_days(year: _Number) -> _Number:
    return year // 4 - year // 100 + year // 400


def _days_of_month(year: _Number, month: _Number) -> _Number:
    return _days(year + month // 12, month % 12 + 1, 1) - _days(year, month, 1)


def _extent(value: _Number) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    return int(value.min()), int(value.max())


def _encoder(kind: _Kind) -> Encoder:
    return Encoder(lambda cell: _encode(kind, cell), lambda cells: _encode_many(kind, cells))


DATE = _encoder(_DATE)
TIMESTAMP = _encoder(_TIMESTAMP)
TIMESTAMPTZ = _encoder(_TIMESTAMPTZ)
