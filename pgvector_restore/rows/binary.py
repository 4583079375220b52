"""Which encoder a column has."""

from __future__ import annotations

from functools import partial

from pgvector_restore.rows.encoder import Encoder
from pgvector_restore.rows.pgvector import (
    halfvec_fields,
    halfvec_payload,
    sparsevec_payload,
    vector_fields,
    vector_payload,
)
from pgvector_restore.rows.scalars import SCALARS
from pgvector_restore.target import TargetColumn

__all__ = ["encoder_for"]


def encoder_for(column: TargetColumn) -> Encoder | None:
    """The encoder of the column's type, or ``None`` where there is none."""
    dimensions = column.dimensions
    if column.wire == "vector":
        return Encoder(vector_payload, partial(vector_fields, dimensions=dimensions))
    if column.wire == "halfvec":
        return Encoder(halfvec_payload, partial(halfvec_fields, dimensions=dimensions))
    if column.wire == "sparsevec":
        return Encoder(partial(sparsevec_payload, dimensions=dimensions))
    return SCALARS[column.wire] if column.wire is not None else None
