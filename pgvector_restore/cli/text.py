"""Text for terminals and pipes: nothing a listing or a file holds may drive the terminal."""

from __future__ import annotations

import json
import re
import sys

__all__ = ["document", "masked", "print_document", "printable", "safe"]

# A password in a URL ends at the last @ before a space: forgotten percent-encoding is common.
_IN_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://[^\s/:@]*):\S*@")
_IN_PAIR = re.compile(r"(password\s*=\s*)('(?:[^'\\]|\\.)*'?|[^\s&]+)", re.IGNORECASE)


def printable(text: str) -> str:
    r"""The text with everything escaped that is no visible character or space.

    That is control characters, terminal sequences, line ends, marks that turn the direction of
    writing, and what cannot be encoded.

    >>> printable("a\x1b[2Jb\u202e")
    'a\\x1b[2Jb\\u202e'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def masked(text: str) -> str:
    """The text without the passwords of connection strings in it.

    >>> masked("no backup set postgresql://me:secret@host/db")
    'no backup set postgresql://me:***@host/db'
    """
    return _IN_PAIR.sub(r"\1***", _IN_URL.sub(r"\1:***@", text))


def safe(text: str) -> str:
    """What may go to a terminal, whoever wrote it."""
    return printable(masked(text))


def document(content: dict[str, object]) -> str:
    """A JSON document in ASCII: for every console, and nothing in it can drive one."""
    return json.dumps(_masked(content), indent=2, default=str).replace("\x7f", "\\u007f")


def print_document(content: dict[str, object]) -> None:
    """The one document of ``--json`` on stdout."""
    sys.stdout.write(document(content) + "\n")
    sys.stdout.flush()


def _masked(content: object) -> object:
    if isinstance(content, str):
        return masked(content)
    if isinstance(content, dict):
        return {name: _masked(value) for name, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_masked(value) for value in content]
    return content
