"""Which names a caller may give for a place in a store. By text alone, on every system."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from pgvector_restore.errors import OptionError, quoted

__all__ = ["check_file_names", "check_place", "refusal"]

#: What no label, location or id may hold, and how a message says so. Rules of Unix and of Windows
#: count on both: a label may travel.
_REFUSED: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("has control characters", re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")),
    ("has characters that are half of a pair", re.compile(r"[\ud800-\udfff]")),
    (
        "has marks that turn the direction of writing",
        re.compile(r"[\u200e\u200f\u202a-\u202e\u2066-\u2069]"),
    ),
    ("has a backslash", re.compile(r"\\")),
    ("has a tilde", re.compile("~")),
    ("has a percent sign", re.compile("%")),
    ("is a URL", re.compile(r"::|://")),
    # One letter and a colon name a drive wherever a path begins with them.
    ("names a drive", re.compile(r"\A[A-Za-z]:")),
    ("starts at a root", re.compile(r"\A/")),
    # Windows drops dots and spaces at the end of a part, so that ".. ." is "..".
    ("leads upwards", re.compile(r"(?:\A|/)[. ]*\.[. ]*\.[. ]*(?:/|\Z)")),
)


def refusal(text: str) -> str | None:
    r"""Why a text can be no place within a store, or ``None`` if it can.

    >>> refusal("vector_bak/20250722_010318")
    >>> refusal("vector_bak/../..")
    'leads upwards'
    >>> refusal("\\\\host\\share")
    'has a backslash'
    """
    return next((phrase for phrase, rule in _REFUSED if rule.search(text)), None)


def check_place(text: str, what: str) -> None:
    """Refuse what can be no place within a store.

    Raises:
        OptionError: It says what of the name is refused.
    """
    phrase = refusal(text)
    if phrase is not None:
        raise OptionError(
            f"{what} {quoted(text[:80])} {phrase}",
            hint='a place is named by folders below the store\'s root, with "/" between them',
        )


#: What no name of a file may hold or end in, on Windows or elsewhere.
_NO_FILE = re.compile(r'[\x00-\x1f\x7f-\x9f/\\:*?"<>|\u2028\u2029\ud800-\udfff]|\A[ .]|[ .]\Z')


def check_file_names(tables: Iterable[str]) -> None:
    """Refuse tables after which no file can be named on every system.

    Raises:
        OptionError: Characters that some system has other uses for, or two names that are one
            where case, or how an accent is composed, does not count.
    """
    seen: dict[str, str] = {}
    for name in tables:
        if _NO_FILE.search(name) or not name.isprintable():
            raise OptionError(
                f"table {quoted(name)} cannot be a file's name",
                hint='names with / \\ : * ? " < > | or characters that do not show, or with a space'
                " or dot at either end, do not work on every system",
            )
        alike = unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
        if alike in seen:
            raise OptionError(
                f"tables {quoted(seen[alike])} and {quoted(name)} would have one file on some"
                " systems",
                hint="back them up at two locations",
            )
        seen[alike] = name
