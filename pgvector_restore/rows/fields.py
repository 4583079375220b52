"""Fields of CSV records: one strict pass, with the place of whatever is malformed."""

from __future__ import annotations

import re
from collections.abc import Iterator

__all__ = ["Field", "Malformed", "check_text", "split_fields"]

_QUOTE, _COMMA, _CR, _LF = b'",\r\n'

#: A field: its bytes, or ``None`` for an unquoted empty one.
Field = bytes | None


class Malformed(Exception):  # noqa: N818 - becomes a BadRecordError where the place is known
    """A malformed record. ``index`` counts fields from the start of the data."""

    def __init__(self, index: int, message: str, *, in_field: bool = True) -> None:
        super().__init__(message)
        self.index = index
        self.message = message
        self.in_field = in_field


#: Doubled quotes, each with what follows it, up to a quote or the end; so many at a time because
#: ``re`` remembers each.
_DOUBLED = re.compile(rb'(?:""[^"]*){0,1000}')


def split_fields(  # noqa: C901, PLR0912 - one loop, every byte of every file goes through it
    data: bytes, width: int, *, crlf: bool
) -> list[Field]:
    """All fields of whole records in reading order, ``width`` a record.

    Raises:
        Malformed: With the index of the offending field.
    """
    fields: list[Field] = []
    add, find, closing = fields.append, data.find, _DOUBLED.match
    pos, end, newline, left = 0, len(data), -1, width
    while pos < end:
        if data[pos] == _QUOTE:
            close = find(b'"', pos + 1)
            if close >= 0 and data[close + 1] != _QUOTE:
                value: Field = data[pos + 1 : close]
            else:
                # It matches no doubled quote as well, so there always is a match.
                close = closing(data, close).end() if close >= 0 else end  # type: ignore[union-attr]
                if close >= end or data[close + 1] == _QUOTE:
                    close = _closing_quote(data, close, len(fields))
                value = data[pos + 1 : close].replace(b'""', b'"')
            add(value)
            pos = close + 1
            after = data[pos]
            if after == _COMMA:
                pos += 1
                last = False
            elif after == _LF and not crlf:
                pos += 1
                last = True
            elif after == _CR and crlf and data[pos + 1] == _LF:
                pos += 2
                last = True
            else:
                raise _after_quote(data, pos, len(fields) - 1, crlf=crlf)
        else:
            if newline < pos:
                newline = find(b"\n", pos)
            stop = find(b",", pos, newline)
            last = stop < 0
            if last:
                stop = newline - 1 if crlf else newline
                if crlf and data[stop] != _CR:
                    raise _mixed_ends(len(fields), crlf=crlf)
            value = data[pos:stop]
            if b'"' in value or b"\r" in value:
                raise _stray(value, len(fields), last=last, crlf=crlf)
            add(value or None)
            pos = newline + 1 if last else stop + 1
        left -= 1
        if last != (left == 0):
            raise _wrong_width(fields, width, left)
        if last:
            left = width
    return fields


def _closing_quote(data: bytes, close: int, index: int) -> int:
    """Index of the quote that closes a field of very many doubled ones, from one of them."""
    while close < len(data):
        close = _DOUBLED.match(data, close).end()  # type: ignore[union-attr]
        if close < len(data) and data[close + 1] != _QUOTE:
            return close
    raise Malformed(index, "quoted field has no closing quote")


def _after_quote(data: bytes, pos: int, index: int, *, crlf: bool) -> Malformed:
    if data[pos : pos + 2] == b"\r\n" or data[pos] == _LF:
        return _mixed_ends(index, crlf=crlf)
    return Malformed(
        index, "closing quote is followed by something other than a comma or a row end"
    )


def _mixed_ends(index: int, *, crlf: bool) -> Malformed:
    this, others = ("LF", "CRLF") if crlf else ("CRLF", "LF")
    return Malformed(index, f"record ends with {this}, the header ends with {others}")


def _stray(value: bytes, index: int, *, last: bool, crlf: bool) -> Malformed:
    if b'"' in value:
        return Malformed(index, "quote inside of an unquoted field")
    if last and not crlf and value.find(b"\r") == len(value) - 1:
        return _mixed_ends(index, crlf=crlf)
    return Malformed(index, "carriage return inside of an unquoted field")


def _wrong_width(fields: list[Field], width: int, left: int) -> Malformed:
    if left == 0:
        message = f"record has more than {width} fields, the header has {width}"
    elif width - left == 1 and fields[-1] is None:
        message = "empty line in place of a record"
    else:
        have = width - left
        message = f"record has {have} field{'s'[: have != 1]}, the header has {width}"
    return Malformed(len(fields) - 1, message, in_field=False)


def _undecodable(field: bytes) -> str | None:
    """Why a field cannot be text, or ``None``."""
    if b"\0" in field:
        return "NUL byte in a field"
    try:
        field.decode()
    except UnicodeDecodeError as exc:
        return f"byte 0x{field[exc.start]:02x} is not UTF-8"
    return None


def check_text(data: bytes, fields: list[Field], width: int) -> None:
    """Raise ``Malformed`` at the first field that is not NUL-free UTF-8."""
    zeros = b"\0" in data
    if not zeros and (data.isascii() or all(map(_is_text, _columns(fields, width)))):
        return
    for index, field in enumerate(fields):
        if field is None:
            continue
        reason = _undecodable(field)
        if reason is not None:
            raise Malformed(index, reason)


def _columns(fields: list[Field], width: int) -> Iterator[bytes]:
    """Each column's text as one: few columns are not ASCII, and most bytes are vectors, which are.

    A line feed, which no character contains, keeps the end of one cell from completing another.
    """
    for position in range(width):
        yield b"\n".join(filter(None, fields[position::width]))


def _is_text(joined: bytes) -> bool:
    if joined.isascii():
        return True
    try:
        joined.decode()
    except UnicodeDecodeError:
        return False
    return True
