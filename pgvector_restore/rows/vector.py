"""Vector cells in text form: pgvector's own, and what numpy prints for an array."""

from __future__ import annotations

import re

from pgvector_restore.rows.problem import CellProblem, NotFinite

__all__ = ["NUMPY_VECTOR", "dimensions_of", "vector_cell"]

#: Repair kind, as reports name it.
NUMPY_VECTOR = "numpy_vector"

#: White space of pgvector's parser (``vector_isspace`` in its vector.c).
_SPACE = b" \t\n\r\v\f"
_ALLOWED = b"0123456789+-.eE,[]" + _SPACE


def vector_cell(cell: bytes, dimensions: int | None = None) -> tuple[bytes, str | None]:
    """A ``vector`` or ``halfvec`` cell as the server takes it, and the kind of repair.

    Args:
        cell: Text form: ``[1,2,3]``, or numpy's ``[1. 2. 3.]`` over any number of lines.
        dimensions: What the column or an index on it demands; ``None``: any.

    Raises:
        CellProblem: Elided, not finite, empty, of the wrong dimension, or no vector at all.
    """
    text = cell.strip(_SPACE)
    commas = text.count(b",")
    if not commas and b"..." in text:
        raise CellProblem(
            'vector was printed by numpy with "..." in place of most of its numbers',
            hint="the numbers are not in the file: take another backup set",
        )
    strange = text.translate(None, _ALLOWED)
    if strange or not (text[:1] == b"[" and text[-1:] == b"]"):
        raise _no_vector(strange)
    kind = None
    if not commas:
        numbers = text[1:-1].split()
        if not numbers:
            raise CellProblem("vector has no dimensions")
        if len(numbers) > 1:
            text = b"[" + b",".join(numbers) + b"]"
            commas, kind = len(numbers) - 1, NUMPY_VECTOR
    if dimensions is not None and commas + 1 != dimensions:
        raise CellProblem(
            f"vector has {commas + 1} dimensions, the column takes {dimensions}",
            hint="the backup was made with another embedding model or column type",
        )
    return (text if kind else cell), kind


def dimensions_of(cell: bytes) -> int | None:
    """Dimensions of a vector of any of the three types, ``None`` for what is none.

    >>> dimensions_of(b"[1,2,3]"), dimensions_of(b"{1:0.5}/7"), dimensions_of(b"x")
    (3, 7, None)
    """
    sparse = _SPARSE.search(cell)
    if sparse is not None:
        return int(sparse[1])
    try:
        text, _ = vector_cell(cell)
    except CellProblem:
        return None
    return text.count(b",") + 1


#: The end of a ``sparsevec`` cell: its dimensions.
_SPARSE = re.compile(rb"\}\s*/\s*(\d{1,10})\s*\Z")


def _no_vector(strange: bytes) -> CellProblem:
    lower = strange.lower()
    if b"nan" in lower or b"inf" in lower:
        return NotFinite("vector holds a number that is not finite (NaN or infinity)")
    return CellProblem("cell is not a vector of the form [1,2,3]")
