"""Where lines and tables for people go: the terminal, a pipe or a file."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext, suppress

from rich import box
from rich.console import Console
from rich.table import Table

from pgvector_restore.cli.text import safe

__all__ = ["PlainConsole", "calm_table", "counted", "print_lines"]

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
        """Leave it to the entry point; rich would end the process."""
        raise BrokenPipeError


def print_lines(*lines: str, err: bool = False) -> None:
    """Lines as they are, however long."""
    stream = sys.stderr if err else sys.stdout
    # Nobody reads stderr? No reason to stop. Nobody reads stdout: the entry point decides.
    with suppress(BrokenPipeError) if err else nullcontext():
        for line in lines:
            stream.write(safe(line) + "\n")


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
