"""Text for terminals and pipes: nothing a listing or a file holds may drive the terminal.

Terminals vanish, pipes are closed, disks fill up. What a command has done is done all the same, so
that decides the exit code; see :func:`telling`.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import TextIO

from pgvector_restore.cli.watch import raising_signals
from pgvector_restore.errors import PgvectorRestoreError

__all__ = [
    "UntoldError",
    "document",
    "drop",
    "masked",
    "print_document",
    "printable",
    "safe",
    "tell",
    "telling",
]

#: What writing to a stream raises: that of a closed file is a ``ValueError``.
_BROKEN = (OSError, ValueError)

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


class UntoldError(Exception):
    """What a command is there to tell could not be told."""


def tell(*lines: str) -> None:
    """Lines on stderr, without secrets and control characters; that nobody reads stops nothing."""
    try:
        for line in lines:
            sys.stderr.write(safe(line) + "\n")
        sys.stderr.flush()
    except _BROKEN:
        drop(sys.stderr)


@contextmanager
def telling(done: str | None = None) -> Iterator[None]:
    """What is printed in the block, to its last byte.

    Args:
        done: What stays true whether it can be told or not, such as ``the restore is done``: then a
            warning on stderr says what could not be told, and the command goes on to its exit code.
            ``None``: telling is all there is to do.

    Raises:
        UntoldError: It could not be told, and was all there was to do.
        KeyboardInterrupt: A signal came, and telling was all there was to do.
    """
    try:
        with raising_signals() if done is not None else nullcontext():
            yield
            sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as exc:
        if done is None and isinstance(exc, KeyboardInterrupt):
            raise
        is_broken = isinstance(exc, OSError) or sys.stdout.closed
        if is_broken:
            drop(sys.stdout)
        if done is not None:
            tell(f"warning: {done}, but not all of it could be told: {_reason(exc)}")
        elif not is_broken:
            raise
        elif not isinstance(exc, BrokenPipeError):  # after which whoever reads has read enough
            raise UntoldError(f"cannot write to stdout: {_reason(exc)}") from exc


def _reason(exc: BaseException) -> str:
    if isinstance(exc, KeyboardInterrupt):
        return "interrupted"
    if isinstance(exc, PgvectorRestoreError):  # what is shown beside it could not be read
        return exc.message
    return (isinstance(exc, OSError) and exc.strerror) or type(exc).__name__


def drop(stream: TextIO) -> None:
    """Let what is still in a stream that takes nothing any more, and what comes, go nowhere.

    Else it would be tried once more at exit, and decide the exit code.
    """
    with suppress(*_BROKEN):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, stream.fileno())
        finally:
            os.close(nowhere)
    with suppress(*_BROKEN):
        stream.flush()


def _masked(content: object) -> object:
    if isinstance(content, str):
        return masked(content)
    if isinstance(content, dict):
        return {name: _masked(value) for name, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_masked(value) for value in content]
    return content
