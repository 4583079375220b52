"""Records that cannot be restored: why, and as they stand in the file. Pure.

A record is set aside only where its end is beyond doubt. That is so when each of its fields is
well-formed: quotes only around whole fields, row ends of one kind. A stray or a lost quote moves
the ends of all that follows, and an unquoted carriage return may be one: these stay errors.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from attrs import frozen

from pgvector_restore.rows.fields import Field, Malformed, check_text, split_fields

__all__ = ["Problem", "Reject", "SetAside", "count_fields", "record_spans", "whole_record"]


@frozen
class Problem:
    """One reason why a record cannot be restored."""

    #: What is wrong, one line.
    message: str
    #: Advice, or ``None``.
    hint: str | None
    #: Column, or ``None`` where it is about the whole record.
    column: str | None


@frozen
class Reject:
    """A record that is set aside."""

    #: Number, counted from 1 after the header (of the part that was read).
    record: int
    #: Offset of its first byte in the (decompressed) file.
    offset: int
    #: Its bytes as they stand there, with the row end; the file's last record is given one.
    data: bytes
    #: What is wrong with it, at least one reason.
    problems: tuple[Problem, ...]


class SetAside(Malformed):
    """A malformed record whose end is beyond doubt."""


def record_spans(data: bytes) -> Iterator[tuple[int, int]]:
    """Start and end of each record of whole ones: at newlines with an even number of quotes before.

    Needs memory for the places of quotes and newlines, not for all bytes.
    """
    octets = np.frombuffer(data, np.uint8)
    newlines = np.flatnonzero(octets == ord("\n"))
    quotes = np.flatnonzero(octets == ord('"'))
    ends = newlines[np.searchsorted(quotes, newlines) % 2 == 0] + 1
    start = 0
    for end in ends.tolist():
        yield start, end
        start = end


def count_fields(data: bytes) -> int:
    """Commas outside of quotes, plus one."""
    return 1 + sum(part.count(b",") for part in data.split(b'"')[::2])


def whole_record(data: bytes, width: int, *, crlf: bool) -> list[Field]:
    """The fields of one record.

    Raises:
        SetAside: It has another number of fields, or one that is no text.
        Malformed: It is malformed in a way that leaves its end in doubt.
    """
    try:
        fields = split_fields(data, width, crlf=crlf)
    except Malformed as problem:
        if problem.in_field:
            raise
        _check_ending(data, width, crlf=crlf)
        raise SetAside(problem.index, problem.message, in_field=False) from None
    try:
        check_text(data, fields, width)
    except Malformed as problem:
        raise SetAside(problem.index, problem.message) from None
    return fields


def _check_ending(data: bytes, width: int, *, crlf: bool) -> None:
    """Raise ``Malformed`` unless the record is well-formed with the number of fields it has."""
    try:
        split_fields(data, count_fields(data), crlf=crlf)
    except Malformed as problem:
        inside = problem.in_field and problem.index < width
        raise Malformed(min(problem.index, width - 1), problem.message, in_field=inside) from None
