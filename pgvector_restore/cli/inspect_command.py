"""The command ``inspect``: what is in a set, read whole, without a database."""

from __future__ import annotations

import click

from pgvector_restore.cli.console import print_lines
from pgvector_restore.cli.options import (
    EXIT_CODES,
    json_option,
    progress_option,
    store_argument,
    task_option,
    verbose,
)
from pgvector_restore.cli.sets import find_set
from pgvector_restore.cli.text import print_document, telling
from pgvector_restore.cli.watch import watching
from pgvector_restore.errors import BadDataError
from pgvector_restore.inspecting import inspect_set
from pgvector_restore.inspection import InspectReport, findings
from pgvector_restore.report import format_size
from pgvector_restore.storage import open_store

__all__ = ["inspect_command"]


@click.command("inspect", epilog=EXIT_CODES)
@store_argument
@click.argument("label", default="latest")
@task_option
@click.option(
    "--limit",
    metavar="N",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    help="Name so many bad cells, orphans and repeated keys of each file; all are counted.",
)
@progress_option
@json_option
@verbose
def inspect_command(
    store: str, label: str, task: str | None, *, limit: int, no_progress: bool, as_json: bool
) -> None:
    """Read LABEL whole and show what is in it. Needs no database.

    Exit code 4: something in it cannot be restored.
    """
    opened = open_store(store)
    _, backup = find_set(opened, label, task)
    with watching(hidden=as_json or no_progress) as watch:
        report = inspect_set(opened, backup, limit=limit, progress=watch, cancel=watch.cancel)
    with telling("all of it was read" if report.ok else "the set has faults"):
        if as_json:
            print_document({"ok": report.ok, "store": opened.url, **report.to_dict()})
        else:
            _print_report(report)
    if not report.ok:
        click.get_current_context().exit(BadDataError.exit_code)


def _print_report(report: InspectReport) -> None:
    backup = report.backup
    print_lines(f"{backup.label} in {backup.location.relative_path}", "")
    if report.manifest_error is not None:
        print_lines(str(report.manifest_error["message"]), "")
    for file in report.files:
        records = f"{file.records:,} record{'s'[: file.records != 1]}"
        print_lines(f"{file.file}  ({records}, {format_size(file.size_bytes)})")
        print_lines(*[f"  {line}" for line in findings(file)], "")
    verdict = "can be restored, as far as it can be told without a database"
    print_lines(verdict if report.ok else "HAS FAULTS: not all of it can be restored")
