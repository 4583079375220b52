"""What the columns of a file hold, batch by batch: NULLs, repairs, bad cells, vectors. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from attrs import define, field

from pgvector_restore.inspection import BadCell, ColumnInspection
from pgvector_restore.model import RepairCount
from pgvector_restore.rows.binary import encoder_for
from pgvector_restore.rows.csv import Fields
from pgvector_restore.rows.encoder import Encoder
from pgvector_restore.rows.fields import Field
from pgvector_restore.rows.pgcopy import NULL_FIELD
from pgvector_restore.rows.problem import CellProblem, NotFinite
from pgvector_restore.rows.rejects import Reject
from pgvector_restore.rows.repair import (
    NULL_IN_NOT_NULL,
    in_bulk,
    payload_of,
    repaired_cell,
    shown_cell,
)
from pgvector_restore.target import TargetColumn

__all__ = ["Survey"]

#: A vector's dimensions stand in the first two bytes of its payload, its floats after four.
_VECTOR_HEAD = 4
#: Bytes of the length before a payload.
_LENGTH = 4


@define
class _Seen:
    """What one column has shown so far."""

    column: TargetColumn
    encoder: Encoder | None
    nulls: int = 0
    bad_cells: int = 0
    zero_vectors: int = 0
    not_finite: int = 0
    dimensions: Counter[int] = field(factory=Counter)
    repairs: dict[str, RepairCount] = field(factory=dict)

    @property
    def needs_nothing(self) -> bool:
        """Every cell can be restored."""
        return self.column.kind == "text" or (self.column.kind == "other" and self.encoder is None)


class Survey:
    """Counts what the cells of one file are.

    Args:
        columns: One per column of the file.
        limit: So many bad cells are kept with their place; all are counted.
    """

    def __init__(self, columns: Sequence[TargetColumn], limit: int) -> None:
        self._seen = [_Seen(column, encoder_for(column)) for column in columns]
        self._limit = limit
        #: Records so far.
        self.records = 0
        #: Records with a bad cell, and malformed ones.
        self.bad_records = 0
        #: Bad cells; a malformed record counts as one.
        self.bad_cells = 0
        #: The first of them.
        self.first_bad: list[BadCell] = []

    def reject(self, reject: Reject) -> None:
        """Take a malformed record."""
        self.records += 1
        self._bad(
            [BadCell(reject.record, p.column, p.message, p.hint) for p in reject.problems],
        )

    def add(self, fields: Fields) -> None:
        """Take a batch."""
        self.records += len(fields)
        bad: list[BadCell] = []
        for seen, cells in zip(self._seen, fields.columns, strict=True):
            bad += self._look(seen, cells, fields.first_record)
        if bad:
            bad.sort(key=lambda cell: cell.record)
            self._bad(bad)

    def add_payloads(self, fields: Fields) -> None:
        """Take a batch of a file in binary, whose cells are payloads."""
        self.records += len(fields)
        bad: list[BadCell] = []
        for seen, cells in zip(self._seen, fields.columns, strict=True):
            nulls = cells.count(None)
            seen.nulls += nulls
            if seen.column.wire in _LOOKED_AT or (nulls and seen.column.not_null):
                bad += _look_at_payloads(seen, cells, fields.first_record)
        if bad:
            bad.sort(key=lambda cell: cell.record)
            self._bad(bad)

    @property
    def columns(self) -> tuple[ColumnInspection, ...]:
        """What was found, column by column."""
        return tuple(
            ColumnInspection(
                seen.column.name,
                seen.column.type_name or None,
                seen.nulls,
                seen.bad_cells,
                tuple(sorted(seen.dimensions.items(), key=lambda item: (-item[1], item[0]))),
                seen.zero_vectors,
                seen.not_finite,
            )
            for seen in self._seen
        )

    @property
    def repairs(self) -> tuple[RepairCount, ...]:
        """Cells that would be repaired, in records that can be restored or not."""
        return tuple(repair for seen in self._seen for repair in seen.repairs.values())

    def _bad(self, cells: Sequence[BadCell]) -> None:
        self.bad_cells += len(cells)
        self.bad_records += len({cell.record for cell in cells})
        self.first_bad += cells[: self._limit - len(self.first_bad)]

    def _look(self, seen: _Seen, cells: list[Field], first: int) -> list[BadCell]:
        nulls = cells.count(None)
        if seen.column.not_null and seen.column.kind == "text":
            nulls = 0  # they become empty strings
        seen.nulls += nulls
        forbidden = nulls and seen.column.not_null
        if seen.needs_nothing or (nulls == len(cells) and not forbidden):
            return []
        if seen.encoder is not None and seen.column.kind in ("vector", "other") and not forbidden:
            done = in_bulk(seen.encoder, cells)
            if done is not None:
                if seen.column.wire == "vector":
                    for whole in done:
                        if whole is not NULL_FIELD:
                            _count_vector(seen, whole[_LENGTH:])
                return []
        return [
            bad
            for record, cell in enumerate(cells, first)
            if (bad := _look_at(seen, cell, record)) is not None
        ]


def _look_at(seen: _Seen, cell: Field, record: int) -> BadCell | None:
    column = seen.column
    try:
        value, kind = repaired_cell(column, cell)
        payload = payload_of(seen.encoder, value)
    except CellProblem as problem:
        seen.bad_cells += 1
        seen.not_finite += isinstance(problem, NotFinite)
        return BadCell(record, column.name, problem.message, problem.hint)
    if kind is not None and cell is not None and value is not None:
        known = seen.repairs.get(kind)
        before, after = (shown_cell(cell), shown_cell(value)) if known is None else ("", "")
        seen.repairs[kind] = (
            RepairCount(column.name, kind, 1, record, before, after)
            if known is None
            else RepairCount(
                column.name, kind, known.cells + 1, known.record, known.before, known.after
            )
        )
    if payload is not None and column.wire == "vector":
        _count_vector(seen, payload)
    return None


#: Bytes of payloads that all have the same; and types that say how many follow.
_SIZES = {
    "bool": 1,
    "int2": 2,
    "date": 4,
    "float4": 4,
    "int4": 4,
    "float8": 8,
    "int8": 8,
    "timestamp": 8,
    "timestamptz": 8,
    "uuid": 16,
}
_LOOKED_AT = (*_SIZES, "vector", "halfvec")


def _look_at_payloads(seen: _Seen, cells: Sequence[Field], first: int) -> list[BadCell]:
    bad = []
    for record, cell in enumerate(cells, first):
        reason = _fault(seen, cell)
        if reason is not None:
            seen.bad_cells += 1
            bad.append(BadCell(record, seen.column.name, reason, None))
    return bad


def _fault(seen: _Seen, payload: Field) -> str | None:
    """What is wrong with a payload, as far as its form tells."""
    column = seen.column
    if payload is None:
        return NULL_IN_NOT_NULL if column.not_null else None
    if column.wire in ("vector", "halfvec"):
        return _vector_fault(seen, payload)
    size = _SIZES.get(column.wire or "")
    if size is not None and len(payload) != size:
        return f"value has {len(payload)} bytes, type {column.wire} has {size}"
    return None


def _vector_fault(seen: _Seen, payload: bytes) -> str | None:
    single = seen.column.wire == "vector"
    dimensions = int.from_bytes(payload[:2], "big")
    if not dimensions or len(payload) != _VECTOR_HEAD + dimensions * (4 if single else 2):
        return f"vector of {dimensions} dimensions has {len(payload)} bytes"
    numbers = np.frombuffer(payload, ">f4" if single else ">f2", offset=_VECTOR_HEAD)
    if single:
        _count_vector(seen, payload)
    if not np.isfinite(numbers).all():
        seen.not_finite += 1
        return "vector holds NaN or an infinity"
    return None


def _count_vector(seen: _Seen, payload: bytes) -> None:
    seen.dimensions[int.from_bytes(payload[:2], "big")] += 1
    # Big-endian zeros are zeros in any order; -0 is found by its value.
    seen.zero_vectors += not np.frombuffer(payload, ">f4", offset=_VECTOR_HEAD).any()
