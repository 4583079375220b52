"""pgvector's types in COPY's binary format: ``vector``, ``halfvec``, ``sparsevec``.

Layouts are those of ``vector_recv``, ``halfvec_recv`` and ``sparsevec_recv`` in pgvector. A batch
of vectors is parsed at once as JSON, by simdjson where it is installed, else by orjson.
"""

from __future__ import annotations

import re
import struct
import threading
from array import array
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from pgvector_restore.rows.floats import OutOfRange, parse_numbers, round_once
from pgvector_restore.rows.problem import CellProblem

__all__ = [
    "halfvec_fields",
    "halfvec_payload",
    "sparsevec_payload",
    "vector_fields",
    "vector_payload",
]

#: ``VECTOR_MAX_DIM`` and ``SPARSEVEC_MAX_NNZ``.
_MAX_DIMENSIONS = 16_000
#: ``SPARSEVEC_MAX_DIM``.
_MAX_SPARSE_DIMENSIONS = 1_000_000_000
#: White space of pgvector's parser.
_SPACE = b" \t\n\r\v\f"

#: An integer ``-0``, whose sign JSON parsers drop.
_MINUS_ZERO = re.compile(rb"-0[\],\s]").search

#: Parses cells that are JSON arrays of numbers: all numbers, and how many each cell has.
Parser = Callable[[Sequence[bytes]], "tuple[NDArray[np.float64], list[int]] | None"]


def parse_with_orjson(cells: Sequence[bytes]) -> tuple[NDArray[np.float64], list[int]] | None:
    """All numbers and the lengths; ``None`` where a cell is not an array of numbers.

    Cell by cell: its Python numbers are gone before the next one's take their place, which the
    processor has at hand then.
    """
    numbers = array("d")
    lengths = []
    try:
        for cell in cells:
            row = orjson.loads(cell)
            lengths.append(len(row))
            numbers.fromlist(row)
            # Python's words for other JSON values would have turned into numbers.
            if b"t" in cell or b"f" in cell:
                return None
    except (orjson.JSONDecodeError, TypeError, ValueError, OverflowError):
        return None
    return np.frombuffer(numbers, np.float64), lengths


_own = threading.local()


def parse_with_simdjson(cells: Sequence[bytes]) -> tuple[NDArray[np.float64], list[int]] | None:
    """The same, about three times as fast."""
    import simdjson  # noqa: PLC0415 - an extra

    parser = getattr(_own, "parser", None)
    if parser is None:
        parser = _own.parser = simdjson.Parser()
    try:
        rows: Any = parser.parse(b"[" + b",".join(cells) + b"]")
        lengths = [len(row) for row in rows]
        numbers = np.frombuffer(rows.as_buffer(of_type="d"), np.float64)
    except (ValueError, TypeError, RuntimeError, UnicodeDecodeError):
        return None
    return numbers, lengths


@lru_cache(maxsize=1)
def best_parser() -> Parser:
    """Simdjson's where it is installed."""
    try:
        import simdjson  # noqa: F401, PLC0415 - an extra
    except ImportError:
        return parse_with_orjson
    return parse_with_simdjson


def vector_fields(
    cells: Sequence[bytes], dimensions: int | None, parser: Parser | None = None
) -> list[Any] | None:
    """``vector`` cells as complete fields, ``None`` unless all are in pgvector's plain form."""
    return _fields(cells, dimensions, parser or best_parser(), _as_float4)


def halfvec_fields(
    cells: Sequence[bytes], dimensions: int | None, parser: Parser | None = None
) -> list[Any] | None:
    """``halfvec`` cells as complete fields, ``None`` unless all are in pgvector's plain form."""
    return _fields(cells, dimensions, parser or best_parser(), _as_float2)


def vector_payload(cell: bytes) -> bytes:
    """One ``vector`` cell in any spelling that the server takes."""
    return _payload(cell, _as_float4, "vector")


def halfvec_payload(cell: bytes) -> bytes:
    """One ``halfvec`` cell in any spelling that the server takes."""
    return _payload(cell, _as_float2, "halfvec")


def _as_float4(floats: NDArray[np.float32]) -> NDArray[Any]:
    return floats.astype(">f4")


def _as_float2(floats: NDArray[np.float32]) -> NDArray[Any]:
    with np.errstate(over="ignore", under="ignore"):
        halves = floats.astype(">f2")
    if not np.isfinite(halves).all():
        raise OutOfRange
    return halves


def _fields(
    cells: Sequence[bytes],
    dimensions: int | None,
    parser: Parser,
    encode: Callable[[NDArray[np.float32]], NDArray[Any]],
) -> list[Any] | None:
    for cell in cells:
        if cell[:1] != b"[" or cell[-1:] != b"]" or cell.rfind(b"[") != 0:
            return None
    parsed = parser(cells)
    if parsed is None:
        return None
    numbers, lengths = parsed
    size = dimensions or (lengths[0] if lengths else 0)
    if (
        len(lengths) != len(cells)
        or not 0 < size <= _MAX_DIMENSIONS
        or lengths.count(size) != len(lengths)
    ):
        return None

    def text_of(index: int) -> bytes:
        row, place = divmod(index, size)
        return cells[row][1:-1].split(b",")[place].strip(_SPACE)

    try:
        encoded = encode(
            round_once(numbers, text_of, lost_signs=lambda: any(map(_MINUS_ZERO, cells)))
        )
    except ValueError:
        return None
    return _rows(encoded.reshape(len(cells), size))


def _rows(encoded: NDArray[Any]) -> list[Any]:
    """Each row with its length and header before it."""
    rows, size = encoded.shape
    width = size * encoded.itemsize
    out = np.empty((rows, 8 + width), np.uint8)
    out[:, :8] = np.frombuffer(struct.pack(">ihh", 4 + width, size, 0), np.uint8)
    out[:, 8:] = encoded.view(np.uint8)
    data = memoryview(out.reshape(-1).data)
    return [data[at : at + 8 + width] for at in range(0, len(data), 8 + width)]


def _payload(
    cell: bytes, encode: Callable[[NDArray[np.float32]], NDArray[Any]], type_name: str
) -> bytes:
    text = cell.strip(_SPACE)
    if text[:1] != b"[" or text[-1:] != b"]":
        raise CellProblem("cell is not a vector of the form [1,2,3]")
    texts = [part.strip(_SPACE) for part in text[1:-1].split(b",")]
    if texts == [b""]:
        raise CellProblem("vector has no dimensions")
    if len(texts) > _MAX_DIMENSIONS:
        raise CellProblem(f"vector has {len(texts)} dimensions, at most 16,000 are possible")
    try:
        encoded = encode(parse_numbers(texts))
    except OutOfRange:
        raise CellProblem(f"vector holds a number that is out of range for {type_name}") from None
    except ValueError:
        raise CellProblem("cell is not a vector of the form [1,2,3]") from None
    return struct.pack(">hh", len(texts), 0) + encoded.tobytes()


_SPARSE = re.compile(rb"\{([^{}]*)\}[ \t\n\r\v\f]*/[ \t\n\r\v\f]*(\d{1,10})")
_ELEMENT = re.compile(rb"(\d{1,10})[ \t\n\r\v\f]*:(.+)", re.DOTALL)


def sparsevec_payload(cell: bytes, dimensions: int | None = None) -> bytes:
    """One ``sparsevec`` cell, ``{1:0.5,3:2}/5``: 1-based in text, 0-based and sorted in binary."""
    found = _SPARSE.fullmatch(cell.strip(_SPACE))
    if found is None:
        raise _no_sparse()
    size = int(found[2])
    if not 0 < size <= _MAX_SPARSE_DIMENSIONS:
        raise CellProblem(f"sparsevec cannot have {size} dimensions")
    if dimensions is not None and size != dimensions:
        raise CellProblem(
            f"vector has {size} dimensions, the column takes {dimensions}",
            hint="the backup was made with another embedding model or column type",
        )
    inside = found[1].strip(_SPACE)
    parts = [_ELEMENT.fullmatch(p.strip(_SPACE)) for p in inside.split(b",")] if inside else []
    elements = [(int(p[1]), p[2].strip(_SPACE)) for p in parts if p is not None]
    if len(elements) != len(parts):
        raise _no_sparse()
    return _sparse(size, elements)


def _sparse(size: int, elements: list[tuple[int, bytes]]) -> bytes:
    if len({index for index, _ in elements}) != len(elements):
        raise CellProblem("sparsevec has an index twice")
    if any(not 0 < index <= size for index, _ in elements):
        raise CellProblem(f"sparsevec has an index outside of 1 to {size}")
    elements.sort()
    try:
        values = parse_numbers([text for _, text in elements])
    except OutOfRange:
        raise CellProblem("vector holds a number that is out of range for sparsevec") from None
    except ValueError:
        raise _no_sparse() from None
    kept = values != 0
    if any(re.search(rb"[1-9]", t.lower().partition(b"e")[0]) for t in _texts(elements, ~kept)):
        raise CellProblem("vector holds a number that is out of range for sparsevec")
    indices = np.array([index - 1 for index, _ in elements], ">i4")[kept]
    if len(indices) > _MAX_DIMENSIONS:
        raise CellProblem(f"sparsevec has {len(indices)} elements, at most 16,000 are possible")
    head = struct.pack(">iii", size, len(indices), 0)
    return bytes(head + indices.tobytes() + values[kept].astype(">f4").tobytes())


def _texts(elements: list[tuple[int, bytes]], chosen: NDArray[np.bool_]) -> list[bytes]:
    return [text for (_, text), is_chosen in zip(elements, chosen, strict=True) if is_chosen]


def _no_sparse() -> CellProblem:
    return CellProblem("cell is not a sparsevec of the form {1:0.5,3:2}/5")
