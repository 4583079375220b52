"""Bodies of requests: JSON that can be passed on without a second thought."""

from __future__ import annotations

import json
import math
from typing import Any

__all__ = ["check_json", "is_json"]

#: Deeper than any request there is, and far from where recursion ends.
_DEPTH = 32
#: Larger integers fit into nothing that a request could mean.
_LARGEST = 1 << 63


def is_json(content_type: str) -> bool:
    """Whether a ``Content-Type`` says JSON in UTF-8."""
    kind, _, parameters = content_type.partition(";")
    named = [p.strip().lower() for p in parameters.split(";") if p.strip()]
    return kind.strip().lower() == "application/json" and all(
        p in ("charset=utf-8", 'charset="utf-8"') for p in named
    )


def check_json(body: bytes) -> None:
    """Refuse what is no JSON, and JSON that means something else to the next who reads it.

    Such are repeated keys, numbers without end, half of a surrogate pair, NUL in a text.

    Raises:
        ValueError: It is not acceptable; the text is of no interest to anybody.
    """
    try:
        content = json.loads(
            body.decode("utf-8"), object_pairs_hook=_object, parse_constant=_constant
        )
    except RecursionError:
        raise ValueError from None
    _check(content)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    return found


def _constant(name: str) -> None:
    raise ValueError(name)


def _check(content: object) -> None:
    level: list[object] = [content]
    for _ in range(_DEPTH):
        below: list[object] = []
        for value in level:
            if isinstance(value, dict):
                below += value.keys()
                below += value.values()
            elif isinstance(value, list):
                below += value
            else:
                _check_one(value)
        if not below:
            return
        level = below
    raise ValueError


def _check_one(value: object) -> None:
    if isinstance(value, str):
        value.encode("utf-8")  # UnicodeEncodeError is a ValueError
        bad = "\0" in value
    elif isinstance(value, float):
        bad = not math.isfinite(value)
    else:
        bad = isinstance(value, int) and abs(value) >= _LARGEST
    if bad:
        raise ValueError
