"""The command ``copy``: a set from one store to another."""

from __future__ import annotations

import click

from pgvector_restore.cli.console import print_lines
from pgvector_restore.cli.options import (
    EXIT_CODES,
    json_option,
    store_argument,
    task_option,
    verbose,
)
from pgvector_restore.cli.sets import find_set
from pgvector_restore.cli.text import print_document, telling
from pgvector_restore.cli.watch import watching
from pgvector_restore.copying import copy_set
from pgvector_restore.report import format_size
from pgvector_restore.storage import open_store

__all__ = ["copy_command"]


@click.command("copy", epilog=EXIT_CODES)
@store_argument
@click.argument("label")
@click.argument("destination")
@task_option
@click.option("--no-progress", is_flag=True, help="No progress bar.")
@json_option
@verbose
def copy_command(
    store: str,
    label: str,
    destination: str,
    task: str | None,
    *,
    no_progress: bool,
    as_json: bool,
) -> None:
    """Copy LABEL of STORE to the same place of the store DESTINATION, and verify the copy.

    Until it is complete the copy is marked as unfinished; broken off, it goes on when the command
    is given again.
    """
    opened = open_store(store)
    _, backup = find_set(opened, label, task)
    with watching(hidden=as_json or no_progress, what="copy") as watch:
        report = copy_set(
            opened, backup, open_store(destination), progress=watch, cancel=watch.cancel
        )
    with telling("the copy is done"):
        if as_json:
            print_document({"ok": True, **report.to_dict()})
            return
        for file in report.files:
            was = "was there" if file.was_there else "copied"
            print_lines(f"{was:<9} {file.name}  {format_size(file.size_bytes)}  {file.sha256}")
        print_lines(*[f"warning: {warning}" for warning in report.warnings])
        print_lines(f"{report.label} is in {report.destination}, {format_size(report.size_bytes)}")
