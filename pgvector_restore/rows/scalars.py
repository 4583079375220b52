r"""Plain types in COPY's binary format: the bytes the server itself would make of a cell.

Each encoder does what the type's input function followed by ``typsend`` does, or refuses. Usual
spellings are those of ``COPY TO`` and of Python's ``str()``; unusual ones that the server takes
(``0x10`` as an integer, ``July 22`` as a date) are refused rather than guessed at.
"""

from __future__ import annotations

import math
import re
import struct
from binascii import unhexlify
from collections.abc import Sequence
from decimal import Decimal

import numpy as np
import orjson
from numpy.typing import NDArray

from pgvector_restore.rows.encoder import (
    SPACE,
    Encoder,
    complete,
    fixed_fields,
    not_a,
    out_of_range,
)
from pgvector_restore.rows.times import DATE, TIMESTAMP, TIMESTAMPTZ

__all__ = ["SCALARS"]

# text, varchar, bpchar, json, jsonb ------------------------------------------------------------

_text_length = struct.Struct(">i").pack
_jsonb_head = struct.Struct(">iB").pack
#: Version of jsonb's wire format (``jsonb_send``).
_JSONB_VERSION = 1


def _as_is(cell: bytes) -> bytes:
    return cell


def _many_texts(cells: Sequence[bytes]) -> list[bytes]:
    # Measured with 600 bytes a cell: 0.3 µs, most of it the copy; map() of either kind is slower.
    return [_text_length(len(cell)) + cell for cell in cells]


def _jsonb(cell: bytes) -> bytes:
    return b"\x01" + cell


def _many_jsonb(cells: Sequence[bytes]) -> list[bytes]:
    return [_jsonb_head(len(cell) + 1, _JSONB_VERSION) + cell for cell in cells]


# bool ------------------------------------------------------------------------------------------

#: Beginnings of words count, down to the length given (``parse_bool_with_len`` in bool.c).
_BOOL_WORDS = (("true", 1), ("false", 1), ("yes", 1), ("no", 1), ("on", 2), ("off", 2))
_BOOLS = {b"1": b"\x01", b"0": b"\x00"} | {
    word[:length].encode(): b"\x01" if word in {"true", "yes", "on"} else b"\x00"
    for word, shortest in _BOOL_WORDS
    for length in range(shortest, len(word) + 1)
}
_BOOL_FIELDS = {
    spelling: complete(payload)
    for word, payload in _BOOLS.items()
    for spelling in (word, word.upper(), word.title())
}


def _bool(cell: bytes) -> bytes:
    try:
        return _BOOLS[cell.strip(SPACE).lower()]
    except KeyError:
        raise not_a("a boolean", cell, "true or false") from None


def _many_bools(cells: Sequence[bytes]) -> list[bytes] | None:
    try:
        return [_BOOL_FIELDS[cell] for cell in cells]
    except KeyError:
        return None


# int2, int4, int8 ------------------------------------------------------------------------------

_INTEGER = re.compile(rb"([+-]?)0*(\d+)")
#: Digits of the largest int8.
_INT8_DIGITS = 19


def _integer(wire: str, code: str) -> Encoder:
    """Decimal only: from version 16 the server also takes ``0x10``, ``0o7``, ``0b1``, ``1_000``."""
    packer = struct.Struct(f">{code}")
    limits = np.iinfo(f"i{packer.size}")
    lowest, highest = int(limits.min), int(limits.max)

    def one(cell: bytes) -> bytes:
        match = _INTEGER.fullmatch(cell.strip(SPACE))
        if match is None:
            raise not_a("an integer", cell, "42")
        sign, digits = match.groups()
        if len(digits) > _INT8_DIGITS or not lowest <= int(sign + digits) <= highest:
            raise out_of_range(wire, cell)
        return packer.pack(int(sign + digits))

    def many(cells: Sequence[bytes]) -> list[bytes] | None:
        joined = b",".join(cells)
        if joined.translate(None, b"0123456789-,"):
            return None
        try:
            values = np.array(orjson.loads(b"[" + joined + b"]"))
        except orjson.JSONDecodeError:  # a leading zero, an empty cell
            return None
        # Whatever int64 has no room for has made this an array of another kind.
        if values.dtype.kind != "i" or len(values) != len(cells):
            return None
        if values.min() < lowest or values.max() > highest:
            return None
        return fixed_fields(values.astype(limits.dtype))

    return Encoder(one, many)


# float4, float8 --------------------------------------------------------------------------------

_FLOAT = re.compile(rb"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
#: ``float8in`` takes these in any case. A sign before NaN is left to the server: what becomes of
#: it depends on the platform.
_NOT_FINITE = {b"nan": math.nan, b"-inf": -math.inf, b"-infinity": -math.inf} | dict.fromkeys(
    (b"inf", b"+inf", b"infinity", b"+infinity"), math.inf
)
#: Bits of a float32's significand, and the exponent of its least subnormal.
_FLOAT4_BITS, _FLOAT4_LEAST = 24, -149
#: Doubles of which every neighbour is a plain float32: normal, and not near overflow.
_FLOAT4_NORMAL = (2.0**-126, 2.0**127)
#: The bits of a double that a float32 has no room for, and the pattern halfway between two.
_FLOAT4_LOST, _FLOAT4_HALF = 0x1FFFFFFF, 0x10000000


def _double(wire: str, cell: bytes) -> float:
    """The nearest double; like the server's, an error when that is infinite or loses all digits."""
    text = cell.strip(SPACE)
    known = _NOT_FINITE.get(text.lower())
    if known is not None:
        return known
    if _FLOAT.fullmatch(text) is None:
        raise not_a("a number", cell, "0.5 or 1e-05")
    value = float(text)
    if math.isinf(value) or (value == 0 and not _is_zero(text)):
        raise out_of_range(wire, cell)
    return value


def _is_zero(text: bytes) -> bool:
    return not text.lower().partition(b"e")[0].strip(b"+-0.")


def _float8(cell: bytes) -> bytes:
    return struct.pack(">d", _double("float8", cell))


def _float4(cell: bytes) -> bytes:
    """Rounds once, from the decimal text, as ``strtof`` does."""
    double = _double("float4", cell)
    if double == 0 or not math.isfinite(double):
        return struct.pack(">f", double)
    size = abs(double)
    step = 2.0 ** max(math.frexp(size)[1] - _FLOAT4_BITS, _FLOAT4_LEAST)
    steps, rest = divmod(size / step, 1)  # exact: step is a power of two
    if rest == 0.5:  # noqa: PLR2004 - halfway: whether it truly is, only the text tells
        exact, half = Decimal(cell.strip(SPACE).decode()).copy_abs(), Decimal(size)
        up = exact > half or (exact == half and steps % 2 == 1)
    else:
        up = rest > 0.5  # noqa: PLR2004
    single = (steps + up) * step
    if single == 0 or single >= 2.0**128:
        raise out_of_range("float4", cell)
    return struct.pack(">f", math.copysign(single, double))


def _doubles(cells: Sequence[bytes]) -> NDArray[np.float64] | None:
    """All cells as doubles, or ``None`` if one is not a plain, finite number in range."""
    if b"".join(cells).translate(None, b"0123456789+-.eE"):
        return None
    try:
        values = np.array(list(map(float, cells)), dtype=np.float64)
    except ValueError:
        return None
    zeros = np.flatnonzero(values == 0).tolist()
    if not np.isfinite(values).all() or not all(_is_zero(cells[index]) for index in zeros):
        return None
    return values


def _many_float8(cells: Sequence[bytes]) -> list[bytes] | None:
    values = _doubles(cells)
    return None if values is None else fixed_fields(values)


def _many_float4(cells: Sequence[bytes]) -> list[bytes] | None:
    values = _doubles(cells)
    if values is None:
        return None
    sizes, (least, most) = np.abs(values), _FLOAT4_NORMAL
    plain = ((sizes >= least) & (sizes < most)) | (sizes == 0)
    halfway = values.view(np.int64) & _FLOAT4_LOST == _FLOAT4_HALF
    if halfway.any() or not plain.all():
        return None
    return fixed_fields(values.astype(np.float32))


# uuid ------------------------------------------------------------------------------------------

#: ``string_to_uuid`` in uuid.c: a dash after any fourth digit but the last.
_UUID = re.compile(rb"(?:[0-9A-Fa-f]{4}-?){7}[0-9A-Fa-f]{4}")
_UUID_CHARS = 36
_UUID_DASHES = (8, 13, 18, 23, _UUID_CHARS)


def _uuid(cell: bytes) -> bytes:
    text = cell[1:-1] if cell[:1] == b"{" and cell[-1:] == b"}" else cell
    if _UUID.fullmatch(text) is None:
        raise not_a("a uuid", cell, "90998d6c-0b5c-4f3e-9d0a-2f6f0a4c1b11")
    return unhexlify(text.replace(b"-", b""))


def _many_uuids(cells: Sequence[bytes]) -> list[bytes] | None:
    # A dash more at the end, and every dash of the column stands at five places of 37.
    joined, count = b"-".join([*cells, b""]), len(cells)
    if len(joined) != (_UUID_CHARS + 1) * count or joined.count(b"-") != 5 * count:
        return None
    if any(joined[at :: _UUID_CHARS + 1].count(b"-") != count for at in _UUID_DASHES):
        return None
    try:
        raw = unhexlify(joined.translate(None, b"-"))
    except ValueError:
        return None
    return fixed_fields(np.frombuffer(raw, dtype="V16"))


# bytea -----------------------------------------------------------------------------------------

_HEX = re.compile(rb"(?:[ \n\t\r]*[0-9A-Fa-f]{2})*[ \n\t\r]*")
_ESCAPED = re.compile(rb"(?:[^\\]+|\\\\|\\[0-3][0-7]{2})*")
_ESCAPE = re.compile(rb"\\(\\|[0-7]{3})")


def _bytea(cell: bytes) -> bytes:
    r"""``\x`` and pairs of hex digits; else text in which a backslash begins an escape."""
    if cell.startswith(b"\\x"):
        if _HEX.fullmatch(cell, 2) is None:
            raise not_a("bytea: a digit is missing or none", cell, r"\x00ff")
        return unhexlify(cell[2:].translate(None, b" \n\t\r"))
    if b"\\" not in cell:
        return cell
    if _ESCAPED.fullmatch(cell) is None:
        raise not_a("bytea: a backslash begins no escape", cell, r"\x00ff")
    return _ESCAPE.sub(_unescape, cell)


def _unescape(escape: re.Match[bytes]) -> bytes:
    return b"\\" if escape[1] == b"\\" else bytes([int(escape[1], 8)])


def _many_byteas(cells: Sequence[bytes]) -> list[bytes] | None:
    if not all(cell.startswith(b"\\x") for cell in cells):
        return None
    try:
        return _many_texts([unhexlify(cell[2:]) for cell in cells])
    except ValueError:
        return None


#: Encoder by type name; varchar and bpchar are encoded as text.
SCALARS: dict[str, Encoder] = {
    "bool": Encoder(_bool, _many_bools),
    "bytea": Encoder(_bytea, _many_byteas),
    "date": DATE,
    "float4": Encoder(_float4, _many_float4),
    "float8": Encoder(_float8, _many_float8),
    "int2": _integer("int2", "h"),
    "int4": _integer("int4", "i"),
    "int8": _integer("int8", "q"),
    "json": Encoder(_as_is, _many_texts),
    "jsonb": Encoder(_jsonb, _many_jsonb),
    "text": Encoder(_as_is, _many_texts),
    "timestamp": TIMESTAMP,
    "timestamptz": TIMESTAMPTZ,
    "uuid": Encoder(_uuid, _many_uuids),
}
