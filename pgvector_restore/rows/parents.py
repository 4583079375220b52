"""Records that refer to a row which is neither in the backup nor in the database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from attrs import field, frozen

from pgvector_restore.errors import BadCellError
from pgvector_restore.rows.fields import Field
from pgvector_restore.rows.keys import KeyOf, key_of_cell, key_of_payload, orphans
from pgvector_restore.rows.printing import printed, prints
from pgvector_restore.rows.records import Fields
from pgvector_restore.rows.rejects import Problem
from pgvector_restore.target import ParentKeys, TargetColumn

__all__ = ["ParentCheck", "orphan_words", "parent_checks", "payload_checks"]


@frozen
class ParentCheck:
    """What a column that refers to other rows may hold."""

    #: The column's name.
    column: str
    #: Its place in a record.
    place: int
    #: Keys of the rows that are there.
    keys: frozenset[bytes]
    #: What makes such a key of a cell.
    key_of: KeyOf
    #: Type of the cells where they are payloads.
    wire: str | None = None
    #: NULL is the empty string there.
    empty: bool = False
    #: Cells that were met and are keys.
    spellings: set[bytes] = field(factory=set)

    def check(self, fields: Fields, file: str) -> None:
        """Raise at the first record that refers to a row which is not there.

        Raises:
            BadCellError: There is one, in this file.
        """
        for index, problem in self.problems(fields.columns[self.place]):
            raise BadCellError(
                problem.message,
                hint=problem.hint,
                file=file,
                record=fields.first_record + index,
                column=self.column,
            )

    def problems(self, cells: Sequence[Field]) -> Iterator[tuple[int, Problem]]:
        """Index of each cell that refers to a row which is not there, and how to say so."""
        if self.empty and None in cells:
            cells = [cell or b"" for cell in cells]
        for index in orphans(cells, self.keys, self.key_of, self.spellings):
            cell = cells[index] if self.wire is None else printed(self.wire, cells[index])
            yield index, Problem(*orphan_words(cell), self.column)


def parent_checks(
    parents: Mapping[str, ParentKeys], columns: Sequence[TargetColumn | None]
) -> list[ParentCheck]:
    """The checks of a file in CSV.

    Args:
        parents: Keys that are there, by the column that refers to them.
        columns: For each column of the file that of the table; ``None``: it is not loaded.
    """
    checks = []
    for place, column in enumerate(columns):
        given = parents.get(column.name) if column is not None else None
        if column is None or given is None:
            continue
        keys = _keys(given)
        if keys is not None:
            empty = column.not_null and column.kind == "text"
            made = ParentCheck(column.name, place, keys, key_of_cell(given.form), empty=empty)
            made.spellings.update(text.encode() for text in given.texts)
            checks.append(made)
    return checks


def payload_checks(
    parents: Mapping[str, ParentKeys],
    columns: Sequence[TargetColumn | None],
    wires: Sequence[str | None],
) -> list[ParentCheck]:
    """The checks of a file in binary.

    Args:
        parents: Keys that are there, by the column that refers to them.
        columns: For each column of the file that of the table; ``None``: it is not loaded.
        wires: For each column of the file how its payloads are written; ``None``: unknown.
    """
    checks = []
    for place, (column, wire) in enumerate(zip(columns, wires, strict=True)):
        given = parents.get(column.name) if column is not None else None
        if column is None or given is None or not prints(wire):
            continue
        keys, key_of = _keys(given), key_of_payload(given.form, wire)
        if keys is not None and key_of is not None:
            checks.append(ParentCheck(column.name, place, keys, key_of, wire))
    return checks


def _keys(parents: ParentKeys) -> frozenset[bytes] | None:
    """The keys in one form; ``None``: one of them cannot be read here, so the server judges."""
    key_of = key_of_cell(parents.form)
    keys = frozenset(map(key_of, (text.encode() for text in parents.texts)))
    return None if None in keys else frozenset(key for key in keys if key is not None)


def orphan_words(cell: Field) -> tuple[str, str]:
    """Message and hint for a row that refers to none that is there."""
    key = (cell or b"").decode()
    return (
        f"row refers to {key[:80]!r}, which is neither in the backup nor in the database",
        "the two tables of the backup were not written in one transaction; take another set",
    )
