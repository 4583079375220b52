r"""JSON cells: well-formed ones untouched, the Python repr of a JSON value turned back into JSON.

A reader that decodes json columns and a writer that prints the resulting object leave
``{'id': 'x', 'createdat': None}`` in the file. Nothing of it is evaluated here: string and keyword
tokens are translated one by one, and a JSON parser judges the result. What is not the
repr of a JSON value (``nan``, ``Decimal('1')``, ``datetime(…)``, tuples, non-string keys, cut
text) therefore has no way through.
"""

from __future__ import annotations

import json
import re
from typing import NoReturn

import orjson

from pgvector_restore.rows.problem import CellProblem

__all__ = ["json_cell", "jsonb_cell", "repr_to_json"]

#: Repair kind, as reports name it.
PYTHON_REPR = "python_repr"

#: What differs between a repr and JSON: strings in either quote, and three keywords. All else is
#: left as it is, for the JSON parser to judge.
_TOKEN = re.compile(
    r"""'([^'\\]*(?:\\.[^'\\]*)*)' | "([^"\\]*(?:\\.[^"\\]*)*)" | \b(True|False|None)\b""",
    re.VERBOSE | re.DOTALL,
)
_KEYWORDS = {"True": "true", "False": "false", "None": "null"}
#: The escapes repr() writes; any other is not its work.
_ESCAPE = re.compile(
    r"""\\(?:([\\'"nrt])|x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8})|(.?))""", re.DOTALL
)
_SIMPLE = {"\\": "\\", "'": "'", '"': '"', "n": "\n", "r": "\r", "t": "\t"}
_NUL_ESCAPE = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


def json_cell(cell: bytes) -> tuple[bytes, str | None]:
    """A ``json`` cell as the server takes it, and the kind of repair if there was one.

    Raises:
        CellProblem: Neither JSON nor the repr of a JSON value.
    """
    # A dict whose first key is in single quotes is the common case, and never JSON.
    if cell[:2] != b"{'" and _is_json(cell):
        return cell, None
    return repr_to_json(cell), PYTHON_REPR


def jsonb_cell(cell: bytes) -> tuple[bytes, str | None]:
    r"""Like :func:`json_cell`; jsonb has no place for ``\u0000``."""
    text, kind = json_cell(cell)
    if b"\\u0000" in text and _NUL_ESCAPE.search(text):
        raise CellProblem(
            "JSON string holds \\u0000, which jsonb cannot store",
            hint="remove the NUL from the source, or make the column json",
        )
    return text, kind


def _is_json(cell: bytes) -> bool:
    try:
        orjson.loads(cell)
    except orjson.JSONDecodeError:
        # Stricter than the server in corners (lone surrogates, nesting, numbers): ask again.
        try:  # numbers as they are: int() takes no more than 4,300 digits
            json.loads(cell, parse_constant=_no_constant, parse_int=str, parse_float=str)
        except ValueError:
            return False
        except RecursionError:
            return True  # balanced that deep; the server is the judge
    return True


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def repr_to_json(cell: bytes) -> bytes:
    """JSON text with the meaning of a Python repr; numbers keep their digits.

    Raises:
        CellProblem: Not the repr of a JSON value.
    """
    try:
        text = _TOKEN.sub(_translate, cell.decode()).encode()
        orjson.loads(text)
    # orjson refuses lone surrogates with a TypeError, chr() the largest numbers with the last
    except (ValueError, TypeError, OverflowError):
        raise CellProblem(
            "cell is neither JSON nor the Python repr of a JSON value", hint=_why_not(cell)
        ) from None
    return text


def _translate(token: re.Match[str]) -> str:
    single, double, keyword = token.groups()
    if keyword is not None:
        return _KEYWORDS[keyword]
    body = single if single is not None else double
    if "\\" in body:
        body = _ESCAPE.sub(_unescape, body)
    return orjson.dumps(body).decode()


def _unescape(escape: re.Match[str]) -> str:
    simple, x, u, wide, other = escape.groups()
    if simple is not None:
        return _SIMPLE[simple]
    if other is not None:
        raise ValueError(other)
    return chr(int(x or u or wide, 16))


def _why_not(cell: bytes) -> str | None:
    for sign, reason in _REASONS:
        if sign.search(cell):
            return reason
    return None


_REASONS = (
    (re.compile(rb"\b(?:Decimal|datetime|date|UUID)\("), "it holds a Python object, not JSON"),
    (re.compile(rb"\b(?:nan|inf|NaN|Infinity)\b"), "JSON has no NaN and no infinity"),
    (re.compile(rb"\A\s*[\[{].*[^\]}\s]\s*\Z", re.DOTALL), "the cell looks cut off at its end"),
)
