"""Vectors in binary form, against what the server makes of the same text."""

from __future__ import annotations

import random
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgvector_restore.rows import pgvector
from pgvector_restore.rows.problem import CellProblem
from tests.conftest import connect

_PARSERS = [pgvector.parse_with_simdjson, pgvector.parse_with_orjson]


def decimal_of(number: Fraction) -> str:
    """All digits of a number whose denominator is a power of two."""
    places = number.denominator.bit_length() - 1
    digits = str(abs(number.numerator) * 5**places).rjust(places + 1, "0")
    sign = "-" if number < 0 else ""
    return f"{sign}{digits[:-places]}.{digits[-places:]}" if places else f"{sign}{digits}"


def around_half_way(bits: int) -> list[str]:
    """The number half-way between a float32 and the next, and its closest neighbours in text."""
    low = np.uint32(bits).view(np.float32)
    high = np.uint32(bits + 1).view(np.float32)
    middle = (Fraction(float(low)) + Fraction(float(high))) / 2
    text = decimal_of(middle)
    longer = text if "." in text else text + ".0"
    below = decimal_of(middle - Fraction(1, 2**200))
    return [text, "-" + text, longer + "0" * 30 + "1", below, f"{Decimal(float(low)):e}"]


def constructed() -> list[str]:
    chance = random.Random(7)  # noqa: S311 - the same numbers each time
    bits = [0, 1, 2, 0x7FFFFE, 0x7FFFFF, 0x800000, 0x3F800000, 0x3F7FFFFF, 0x7F7FFFFE]
    bits += [chance.randrange(0x7F7FFFFF) for _ in range(300)]
    bits += [chance.randrange(0x800000) for _ in range(100)]  # subnormal
    texts = [text for one in bits for text in around_half_way(one)]
    texts += ["0", "-0", "-0.0", "0e5", "-0e-5", "1e-60", "-1e-60", "1e-46", "7.1e-46", "1e38"]
    texts += ["123456789012345678901234567890", "-18446744073709551616", "9007199254740993"]
    texts += ["3.4028235e38", "3.4028234663852886e38", "16777217", "16777219", "0.1", "65519"]
    return texts


def payloads(dsn: str, type_name: str, texts: list[str]) -> list[bytes]:
    with connect(dsn) as conn:
        conn.execute("CREATE EXTENSION IF NOT EXISTS vector")
        rows = conn.execute(
            f"SELECT {type_name}_send(t::{type_name}) FROM unnest(%s::text[]) t", [texts]
        ).fetchall()
    return [row[0] for row in rows]


@pytest.mark.parametrize("parser", _PARSERS)
def test_vector_is_the_servers_bit_for_bit(dsn: str, parser: pgvector.Parser) -> None:
    texts = [f"[{text}]" for text in constructed()]
    for text, payload in zip(texts, payloads(dsn, "vector", texts), strict=True):
        assert pgvector.vector_payload(text.encode()) == payload, text
    # simdjson leaves integers beyond 64 bits to the slow road.
    plain = [text for text in texts if not text[1:-1].lstrip("-").isdecimal() or len(text) < 20]
    fields = pgvector.vector_fields([text.encode() for text in plain], 1, parser)
    assert fields is not None
    for text, field, payload in zip(plain, fields, payloads(dsn, "vector", plain), strict=True):
        assert bytes(field) == len(payload).to_bytes(4, "big") + payload, text


@pytest.mark.parametrize("parser", _PARSERS)
def test_halfvec_is_the_servers_bit_for_bit(dsn: str, parser: pgvector.Parser) -> None:
    texts = [f"[{t}]" for t in constructed() if abs(float(t)) < 65519]
    texts += [f"[{decimal_of(Fraction(n, 2**26))}]" for n in range(-40, 40)]
    texts += [f"[{2048 + n / 2}]" for n in range(20)] + ["[65504]", "[65519.99]"]
    cells = [text.encode() for text in texts]
    fields = pgvector.halfvec_fields(cells, None, parser)
    assert fields is not None
    for text, field, payload in zip(texts, fields, payloads(dsn, "halfvec", texts), strict=True):
        assert bytes(field)[4:] == payload, text
        assert pgvector.halfvec_payload(text.encode()) == payload, text


def test_unusual_spellings_and_sparse_vectors(dsn: str) -> None:
    odd = ["[ 1 , 2\t,\n3 ]", " [1,2]", "[+1,.5,5.,1E5]", "[01,1e+05]"]
    for text, payload in zip(odd, payloads(dsn, "vector", odd), strict=True):
        assert pgvector.vector_payload(text.encode()) == payload
    sparse = ["{1:1.5,3:2}/5", "{3:2,1:0.1}/5", "{}/3", "{2:0,1:-1e-40}/2", " { 1 : 2 } / 4 "]
    for text, payload in zip(sparse, payloads(dsn, "sparsevec", sparse), strict=True):
        assert pgvector.sparsevec_payload(text.encode()) == payload


def _raises(dsn: str, text: str, type_name: str) -> bool:
    try:
        payloads(dsn, type_name, [text])
    except Exception:  # noqa: BLE001 - whatever the server says
        return True
    return False


@pytest.mark.parametrize(
    ("text", "type_name", "encode"),
    [
        ("[]", "vector", pgvector.vector_payload),
        ("[1e39]", "vector", pgvector.vector_payload),
        ("[3.4028236e38]", "vector", pgvector.vector_payload),
        ("[1,,2]", "vector", pgvector.vector_payload),
        ("[1,2", "vector", pgvector.vector_payload),
        ("[true]", "vector", pgvector.vector_payload),
        ("[65520]", "halfvec", pgvector.halfvec_payload),
        ("{1:1,1:2}/3", "sparsevec", pgvector.sparsevec_payload),
        ("{1:-1e-60}/3", "sparsevec", pgvector.sparsevec_payload),
        ("{0:1}/3", "sparsevec", pgvector.sparsevec_payload),
        ("{4:1}/3", "sparsevec", pgvector.sparsevec_payload),
    ],
)
def test_what_the_server_refuses_is_refused(
    dsn: str, text: str, type_name: str, encode: Callable[[bytes], bytes]
) -> None:
    with pytest.raises(CellProblem):
        encode(text.encode())
    assert _raises(dsn, text, type_name)


@pytest.mark.parametrize("parser", _PARSERS)
@pytest.mark.parametrize(
    "cells",
    [
        [b"[true]"],
        [b"[null]"],
        [b'["1"]'],
        [b"[1],[2]"],
        [b"[[1]]"],
        [b"[1", b"2]"],
        [b"[1]", b"[1,2]"],
        [b"[]"],
        [b"[{}]"],
        [b"[1e400]"],
        [b"[nan]"],
    ],
)
def test_what_is_not_plain_is_left_to_the_slow_road(
    parser: pgvector.Parser, cells: list[bytes]
) -> None:
    assert pgvector.vector_fields(cells, None, parser) is None


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
def test_both_parsers_give_back_floats(numbers: list[float]) -> None:
    cell = ("[" + ",".join(map(repr, numbers)) + "]").encode()
    expected = np.array(numbers, ">f4").tobytes()
    for parser in _PARSERS:
        fields = pgvector.vector_fields([cell], None, parser)
        assert fields is not None
        assert bytes(fields[0])[8:] == expected
    assert pgvector.vector_payload(cell)[4:] == expected
