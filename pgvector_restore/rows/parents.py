"""Records that refer to a row which is neither in the backup nor in the database."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from attrs import frozen

from pgvector_restore.errors import BadCellError
from pgvector_restore.rows.fields import Field
from pgvector_restore.rows.keys import orphans
from pgvector_restore.rows.records import Fields
from pgvector_restore.rows.rejects import Problem

__all__ = ["ParentCheck", "orphan_words", "parent_checks"]


@frozen
class ParentCheck:
    """What a column that refers to other rows may hold."""

    #: The column's name.
    column: str
    #: Its place in a record.
    place: int
    #: Keys of the rows that are there; spellings of them that were met are added.
    keys: set[str]

    def check(self, fields: Fields, file: str) -> None:
        """Raise at the first record that refers to a row which is not there.

        Raises:
            BadCellError: There is one, in this file.
        """
        for index, problem in self.problems(fields):
            raise BadCellError(
                problem.message,
                hint=problem.hint,
                file=file,
                record=fields.first_record + index,
                column=self.column,
            )

    def problems(self, fields: Fields) -> Iterator[tuple[int, Problem]]:
        """Index of each record that refers to a row which is not there, and how to say so."""
        cells = fields.columns[self.place]
        for index in orphans(cells, self.keys):
            yield index, Problem(*orphan_words(cells[index]), self.column)


def parent_checks(
    parents: Mapping[str, frozenset[str]], names: Sequence[str], loaded: Collection[str]
) -> list[ParentCheck]:
    """The checks of a file.

    Args:
        parents: Keys that are there, by the column that refers to them.
        names: Columns of the file.
        loaded: Those that are loaded.
    """
    return [
        ParentCheck(name, names.index(name), set(keys))
        for name, keys in parents.items()
        if name in loaded
    ]


def orphan_words(cell: Field) -> tuple[str, str]:
    """Message and hint for a row that refers to none that is there."""
    key = (cell or b"").decode()
    return (
        f"row refers to {key[:80]!r}, which is neither in the backup nor in the database",
        "the two tables of the backup were not written in one transaction; take another set",
    )
