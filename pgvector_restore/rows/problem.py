"""What a single cell can be wrong with, before anybody knows where it stands."""

from __future__ import annotations


class CellProblem(Exception):  # noqa: N818 - becomes a BadCellError where the place is known
    """A cell cannot be restored and cannot be repaired.

    Args:
        message: What is wrong, one line.
        hint: Advice, if any.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class NotFinite(CellProblem):
    """A vector with NaN or an infinity, which pgvector refuses."""
