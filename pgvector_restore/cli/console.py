"""Where lines and tables for people go: the terminal, a pipe or a file."""

from __future__ import annotations

import os
import sys

from rich import box
from rich.console import Console
from rich.table import Table

from pgvector_restore.cli.text import safe, tell

__all__ = ["PlainConsole", "calm_table", "counted", "is_agreed", "print_lines"]

#: Columns of a pipe or file: there nothing needs to be folded.
_PIPE_WIDTH = 500


class PlainConsole(Console):
    """Without markup and without opinions about numbers: what is printed is somebody's text."""

    def __init__(self, *, err: bool) -> None:
        stream = sys.stderr if err else sys.stdout
        known = stream.isatty() or "COLUMNS" in os.environ
        super().__init__(
            file=stream,
            width=None if known else _PIPE_WIDTH,
            markup=False,
            emoji=False,
            highlight=False,
        )

    def on_broken_pipe(self) -> None:
        """Leave it to who tells; rich would end the process."""
        raise BrokenPipeError


def print_lines(*lines: str, err: bool = False) -> None:
    """Lines as they are, however long."""
    if err:
        tell(*lines)
        return
    for line in lines:
        sys.stdout.write(safe(line) + "\n")


def is_agreed(question: str) -> bool:
    """Ask on the terminal; whoever cannot be asked has not agreed."""
    try:
        sys.stderr.write(question)
        sys.stderr.flush()
        answer = sys.stdin.readline()
    except OSError:  # the terminal has gone
        return False
    if not answer.endswith("\n"):
        tell("")
    return answer.strip().lower() in ("y", "yes")


def calm_table(*headings: str) -> Table:
    """A calm table; a heading that starts with ``>`` has its column aligned to the right."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 0, 0, 1), header_style="bold")
    for heading in headings:
        right = heading.startswith(">")
        table.add_column(
            heading.removeprefix(">"), justify="right" if right else "left", overflow="fold"
        )
    return table


def counted(number: int, what: str) -> str:
    """``1 row``, ``1,234 rows``."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
