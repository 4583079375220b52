"""Cell rules: NULL or empty, repairs, refusals; by column, over whole batches."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from attrs import define, evolve

from pgvector_restore.errors import BadCellError
from pgvector_restore.model import RepairCount
from pgvector_restore.rows.binary import encoder_for
from pgvector_restore.rows.csv import Fields
from pgvector_restore.rows.encoder import Encoder
from pgvector_restore.rows.fields import Field
from pgvector_restore.rows.json_text import json_cell, jsonb_cell
from pgvector_restore.rows.pgcopy import NULL_FIELD, encode_binary, encode_text
from pgvector_restore.rows.problem import CellProblem
from pgvector_restore.rows.rejects import Problem
from pgvector_restore.rows.vector import vector_cell
from pgvector_restore.target import ColumnKind, TargetColumn

__all__ = [
    "CellRules",
    "OddCell",
    "in_bulk",
    "payload_of",
    "repaired_cell",
    "shown_cell",
]

#: Characters of a cell that a report shows.
_SAMPLE_CHARS = 120


@define
class _Tally:
    cells: int
    record: int
    before: bytes
    after: bytes


#: A rule takes a cell and the column's dimensions; it returns the cell and the repair, if any.
_Rule = Callable[[bytes, int | None], tuple[bytes, str | None]]


def _bytea_cell(cell: bytes) -> tuple[bytes, str | None]:
    """Psycopg 2 hands out bytea as a memoryview, whose str() says nothing of the content."""
    if re.match(rb"<memory at 0x[0-9A-Fa-f]+>\Z", cell):
        raise CellProblem(
            "cell is the address of a Python memoryview, not the bytes",
            hint="the bytes are not in the file: take another backup set",
        )
    return cell, None


#: Reads a cell that a column's encoder refuses for the problem given. Raises ``CellProblem``.
OddCell = Callable[[TargetColumn, bytes, CellProblem], bytes]


_RULES: dict[ColumnKind, _Rule | None] = {
    "text": None,
    "other": None,
    "json": lambda cell, _: json_cell(cell),
    "jsonb": lambda cell, _: jsonb_cell(cell),
    "vector": vector_cell,
    "bytea": lambda cell, _: _bytea_cell(cell),
}


class CellRules:
    """Applies each column's rule to batches of one file, encodes them and counts the repairs.

    * An unquoted empty field is NULL, unless the column is a NOT NULL text column: then ``''``.
      The writer of these files leaves no other way to tell.
    * Cells of json, jsonb, vector and bytea columns are checked and, where possible, repaired.

    Args:
        columns: Target column for each column of the file; ``None``: the cells are not loaded.
        file: Name for messages.
        binary: Encode for COPY's binary format. To be joined into rows, every loaded column must
            have an encoder.
        odd: Gives the payload of a cell that the encoder does not read, or raises what it has to
            say of it; ``None``: such a cell is refused.
    """

    def __init__(
        self,
        columns: Sequence[TargetColumn | None],
        file: str,
        *,
        binary: bool = False,
        odd: OddCell | None = None,
    ) -> None:
        self._columns = tuple(columns)
        self._encoders = tuple(encoder_for(c) if c and binary else None for c in self._columns)
        self._binary = binary
        self._odd = odd
        self._file = file
        self._tallies: dict[tuple[str, str], _Tally] = {}

    def encode(self, fields: Fields) -> bytes:
        """The batch's rows as COPY takes them.

        Raises:
            BadCellError: With the first record of the batch that holds a bad cell. No repair of
                the batch is counted then.
        """
        return self.join(self.columns(fields))

    def join(self, columns: Sequence[Sequence[Any]]) -> bytes:
        """Rows of :meth:`columns` as COPY takes them."""
        return encode_binary(columns) if self._binary else encode_text(columns)

    def columns(self, fields: Fields) -> list[list[Any]]:
        """The batch by loaded column: complete fields, or clean cells where there is no encoder.

        Raises:
            BadCellError: With the first record of the batch that holds a bad cell.
        """
        columns: list[list[Any]] = []
        worst: BadCellError | None = None
        before = {key: evolve(tally) for key, tally in self._tallies.items()}
        first = fields.first_record
        for column, encoder, cells in zip(
            self._columns, self._encoders, fields.columns, strict=True
        ):
            if column is None:
                continue
            try:
                if encoder is None:
                    columns.append(self._clean(column, cells, first))
                else:
                    columns.append(self._encoded(column, encoder, cells, first))
            except BadCellError as exc:
                if worst is None or (exc.record or 0) < (worst.record or 0):
                    worst = exc
        if worst is not None:
            self._tallies = before
            raise worst
        return columns

    def judge(self, fields: Fields) -> dict[int, list[Problem]]:
        """What is wrong with the batch's rows, by index; each cell is looked at by itself."""
        found: dict[int, list[Problem]] = {}
        for column, encoder, cells in zip(
            self._columns, self._encoders, fields.columns, strict=True
        ):
            if column is None:
                continue
            for index, cell in enumerate(cells):
                problem = _problem(column, encoder, cell)
                if problem is not None:
                    reason = Problem(problem.message, problem.hint, column.name)
                    found.setdefault(index, []).append(reason)
        return found

    def repairs(self) -> tuple[RepairCount, ...]:
        """What has been repaired so far."""
        return tuple(
            RepairCount(column, kind, t.cells, t.record, shown_cell(t.before), shown_cell(t.after))
            for (column, kind), t in self._tallies.items()
        )

    def _encoded(
        self, column: TargetColumn, encoder: Encoder, cells: list[Field], first: int
    ) -> list[bytes]:
        """Complete binary fields."""
        if column.kind == "vector":  # what is plain needs neither checks nor repairs of its text
            cells = self._with_nulls(column, cells, first)
            done = in_bulk(encoder, cells)
            if done is not None:
                return done
        clean = self._clean(column, cells, first)
        done = in_bulk(encoder, clean)
        if done is not None:
            return done
        encoded = []
        for record, cell in enumerate(clean, first):
            if cell is None:
                encoded.append(NULL_FIELD)
                continue
            try:
                payload = self._payload(column, encoder, cell)
            except CellProblem as problem:
                raise self._bad(column, record, problem) from None
            encoded.append(len(payload).to_bytes(4, "big") + payload)
        return encoded

    def _payload(self, column: TargetColumn, encoder: Encoder, cell: bytes) -> bytes:
        try:
            return encoder.one(cell)
        except CellProblem as problem:
            if self._odd is None:
                raise
            return self._odd(column, cell, problem)

    def _with_nulls(self, column: TargetColumn, cells: list[Field], first: int) -> list[Field]:
        """The cells, empty ones decided: NULL, or the empty string."""
        if not column.not_null or None not in cells:
            return cells
        if column.kind != "text":
            raise self._bad(column, first + cells.index(None), CellProblem(NULL_IN_NOT_NULL))
        return [b"" if cell is None else cell for cell in cells]

    def _clean(self, column: TargetColumn, cells: list[Field], first: int) -> list[Field]:
        cells = self._with_nulls(column, cells, first)
        rule = _RULES[column.kind]
        if rule is None:
            return cells
        dimensions = column.dimensions
        clean: list[Field] = []
        for index, cell in enumerate(cells):
            if cell is None:
                clean.append(None)
                continue
            try:
                value, kind = rule(cell, dimensions)
            except CellProblem as problem:
                raise self._bad(column, first + index, problem) from None
            clean.append(value)
            if kind is not None:
                self._count(column.name, kind, first + index, cell, value)
        return clean

    def _count(self, column: str, kind: str, record: int, before: bytes, after: bytes) -> None:
        tally = self._tallies.get((column, kind))
        if tally is None:
            self._tallies[column, kind] = _Tally(1, record, before, after)
        else:
            tally.cells += 1

    def _bad(self, column: TargetColumn, record: int, problem: CellProblem) -> BadCellError:
        return BadCellError(
            problem.message,
            hint=problem.hint,
            file=self._file,
            record=record,
            column=column.name,
        )


def _problem(column: TargetColumn, encoder: Encoder | None, cell: Field) -> CellProblem | None:
    try:
        payload_of(encoder, repaired_cell(column, cell)[0])
    except CellProblem as problem:
        return problem
    return None


def repaired_cell(column: TargetColumn, cell: Field) -> tuple[Field, str | None]:
    """A cell as the server takes it, and the kind of repair if there was one.

    Raises:
        CellProblem: It cannot be restored.
    """
    if cell is None:
        if not column.not_null:
            return None, None
        if column.kind != "text":
            raise CellProblem(NULL_IN_NOT_NULL)
        return b"", None
    rule = _RULES[column.kind]
    return (cell, None) if rule is None else rule(cell, column.dimensions)


def payload_of(encoder: Encoder | None, cell: Field) -> bytes | None:
    """The cell in binary form; ``None`` for NULL, and where there is no encoder.

    Raises:
        CellProblem: The type does not take it.
    """
    return None if encoder is None or cell is None else encoder.one(cell)


def in_bulk(encoder: Encoder, cells: list[Field]) -> list[bytes] | None:
    """All fields at once, or ``None`` where each cell has to be judged by itself."""
    if encoder.many is None:
        return None
    present = [cell for cell in cells if cell is not None]
    encoded = encoder.many(present) if present else []
    if encoded is None or len(present) == len(cells):
        return encoded
    following = iter(encoded)
    return [NULL_FIELD if cell is None else next(following) for cell in cells]


NULL_IN_NOT_NULL = "cell is empty (NULL), the column is NOT NULL"


def shown_cell(cell: bytes) -> str:
    """A cell as reports show it: shortened, without what is no text."""
    text = cell[: 4 * _SAMPLE_CHARS].decode(errors="ignore")
    return text if len(text) <= _SAMPLE_CHARS else text[: _SAMPLE_CHARS - 1] + "…"
