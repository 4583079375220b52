"""Requests that are not what the interface describes: which field, and what is wrong with it.

Values are not repeated, and names only where they can be no more than names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["invalid_fields"]

#: A request with more wrong fields is wrong enough.
_MAX_FIELDS = 20
#: What pydantic adds to the place of a value that may be of several kinds.
_KIND = re.compile(r"none|int|str|float|bool|constrained-.+|(?:literal|function-.+)\[.*", re.DOTALL)
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def invalid_fields(errors: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Where something is wrong and what, without any value.

    >>> invalid_fields([{"loc": ("body", "mode"), "type": "literal_error", "input": "secret"}])
    [{'field': 'body.mode', 'problem': 'literal_error'}]
    """
    found: dict[str, str] = {}
    for one in errors:
        # Of a value that may be of several kinds, what is wrong with the first of them.
        found.setdefault(_place(one["loc"]), str(one["type"]))
    return [{"field": field, "problem": kind} for field, kind in list(found.items())[:_MAX_FIELDS]]


def _place(loc: Sequence[object]) -> str:
    parts = [str(part) for part in loc]
    kinds = [number for number, part in enumerate(parts) if _KIND.fullmatch(part)]
    parts = parts[: kinds[0]] if kinds else parts
    return ".".join(part if _NAME.fullmatch(part) else "?" for part in parts)
