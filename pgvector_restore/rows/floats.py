"""Decimal text to float32, rounded once, as ``strtof`` does in the server.

A parser of doubles is fast, but a double that is rounded to float32 has been rounded twice. The
second rounding can only go wrong where the double lies exactly half-way between two float32
numbers (IEEE 754: bit 28 of its significand set, the 28 below it clear), or where float32 is
subnormal, which moves the half-way points. Those numbers, and integers ``-0``, whose sign JSON
parsers drop, are looked at again in exact arithmetic.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

__all__ = ["OutOfRange", "nearest_float32", "round_once"]

Doubles = NDArray[np.float64]
Floats = NDArray[np.float32]

_LOW_BITS = np.uint64((1 << 29) - 1)
_HALF_WAY = np.uint64(1 << 28)
_SMALLEST_NORMAL = 2.0**-126
#: Half of the smallest subnormal: what is below it rounds to zero.
_ROUNDS_TO_ZERO = 2.0**-151
_TOO_LARGE = Fraction(2**128)

#: What ``strtof`` takes and this project lets through: no hexadecimal, no infinity, no NaN.
_NUMBER = re.compile(rb"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")


class OutOfRange(ValueError):  # noqa: N818 - becomes a CellProblem where the type is known
    """A number is too large for float32."""


def nearest_float32(text: bytes) -> float:
    """The float32 nearest to a decimal number, ties to even.

    Raises:
        ValueError: Not a decimal number.
        OutOfRange: Too large for float32.
    """
    if not _NUMBER.fullmatch(text):
        raise ValueError("not a number")
    double = float(text)
    if abs(double) < _ROUNDS_TO_ZERO:
        return math.copysign(0.0, double)
    if abs(double) >= float(_TOO_LARGE):
        raise OutOfRange
    return _nearest(Fraction(Decimal(text.decode())), double)


def _nearest(exact: Fraction, double: float) -> float:
    with np.errstate(over="ignore"):
        guess = np.float32(double)
    largest = np.float32(np.finfo(np.float32).max)
    guess = np.clip(guess, -largest, largest)
    with np.errstate(over="ignore", under="ignore"):
        around = [
            np.nextafter(guess, np.float32(-np.inf)),
            guess,
            np.nextafter(guess, np.float32(np.inf)),
        ]
    best = min(around, key=lambda f: (abs(_value(f) - exact), int(f.view(np.uint32)) & 1))
    if np.isinf(best):
        raise OutOfRange
    return float(best) or math.copysign(0.0, double)


def _value(number: np.float32) -> Fraction:
    """Exact value; what lies beyond the largest float32 counts as the next power of two."""
    if np.isinf(number):
        return _TOO_LARGE if number > 0 else -_TOO_LARGE
    return Fraction(float(number))


def round_once(
    doubles: Doubles, text_of: Callable[[int], bytes], *, lost_signs: Callable[[], bool]
) -> Floats:
    """Doubles that were parsed from decimal text, as the float32 nearest to that text.

    Args:
        doubles: One dimension; each the double nearest to its text.
        text_of: The text of the number at an index.
        lost_signs: Whether a zero among them may have been written ``-0``; asked if there is one.

    Raises:
        OutOfRange: A number is too large for float32.
    """
    with np.errstate(over="ignore", under="ignore"):
        floats = doubles.astype(np.float32)
    doubtful = (doubles.view(np.uint64) & _LOW_BITS) == _HALF_WAY
    small = np.abs(doubles) < _SMALLEST_NORMAL
    if small.any():
        zeros = doubles == 0
        doubtful |= small & ~zeros
        if zeros.any() and lost_signs():
            doubtful |= zeros
    if not np.isfinite(floats).all():
        doubtful |= ~np.isfinite(floats)
    if doubtful.any():
        for index in np.flatnonzero(doubtful).tolist():
            floats[index] = nearest_float32(text_of(index))
    return floats


def parse_numbers(texts: Sequence[bytes]) -> Floats:
    """The float32 nearest to each text.

    Raises:
        ValueError: One of them is no decimal number.
        OutOfRange: One is too large for float32.
    """
    for text in texts:
        if not _NUMBER.fullmatch(text):
            raise ValueError("not a number")
    doubles = np.array([float(text) for text in texts], dtype=np.float64)
    return round_once(doubles, texts.__getitem__, lost_signs=lambda: False)
