"""The command ``prune``: remove backups that no rule keeps."""

from __future__ import annotations

import sys
from collections import Counter

import click

from pgvector_restore.cli.console import is_agreed, print_lines
from pgvector_restore.cli.options import (
    EXIT_CODES,
    json_option,
    store_argument,
    task_option,
    verbose,
)
from pgvector_restore.cli.text import print_document, telling
from pgvector_restore.cli.watch import watching
from pgvector_restore.errors import BadDataError, CancelledError, PruneError
from pgvector_restore.keeping import KeepRules
from pgvector_restore.model import BackupSet, IncompleteSet
from pgvector_restore.prune_report import Check, PruneReport
from pgvector_restore.pruning import prune
from pgvector_restore.report import format_size
from pgvector_restore.storage import open_store

__all__ = ["prune_command"]

_number = click.IntRange(min=1)


@click.command("prune", epilog=EXIT_CODES)
@store_argument
@click.option("--keep-last", metavar="N", type=_number, help="Keep the N newest sets.")
@click.option("--keep-daily", metavar="N", type=_number, help="Keep one set of each of N days.")
@click.option("--keep-weekly", metavar="N", type=_number, help="Keep one of each of N weeks.")
@click.option("--keep-monthly", metavar="N", type=_number, help="Keep one of each of N months.")
@click.option(
    "--keep-within",
    metavar="DAYS",
    type=_number,
    help="Keep all sets of so many days before the newest one.",
)
@click.option("--keep", "labels", metavar="LABEL", multiple=True, help="Keep this set; repeatable.")
@click.option(
    "--all-together", is_flag=True, help="Rules go for all locations together, not for each."
)
@task_option
@click.option("--global-only", is_flag=True, help="Only the backups of the whole system.")
@click.option(
    "--leftover-age",
    metavar="HOURS",
    type=click.FloatRange(min=0),
    default=24,
    show_default=True,
    help="Sweep what is unfinished and was not changed for so long.",
)
@click.option(
    "--check",
    type=click.Choice(["quick", "full", "none"]),
    default="quick",
    show_default=True,
    help="Read what stays before anything goes: the newest set of each location, all sets, none.",
)
@click.option(
    "--remove-emptied",
    is_flag=True,
    help="Sets whose rows were removed from the database afterwards go like any other: they may be"
    " the only copy.",
)
@click.option("--dry-run", is_flag=True, help="Show what would go and why; remove nothing.")
@click.option("--yes", is_flag=True, help="Do not ask before sets are removed.")
@json_option
@verbose
def prune_command(  # noqa: PLR0913 - one per option of the command line
    store: str,
    *,
    keep_last: int | None,
    keep_daily: int | None,
    keep_weekly: int | None,
    keep_monthly: int | None,
    keep_within: int | None,
    labels: tuple[str, ...],
    task: str | None,
    leftover_age: float,
    check: Check,
    remove_emptied: bool,
    all_together: bool,
    global_only: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Remove the sets of STORE that no rule keeps, and what was left unfinished.

    The newest valid set of each location always stays. Without a rule all sets stay. On a
    terminal it shows what would go and asks; elsewhere it does not.

    Exit code 4: a set is not valid. It counts for no rule and stays; what was to go has gone.
    """
    if task is not None and global_only:
        raise click.UsageError("--task and --global-only exclude each other")
    rules = KeepRules(
        keep_last, keep_daily, keep_weekly, keep_monthly, keep_within, labels, not all_together
    )
    opened = open_store(store)

    def run(*, dry: bool) -> PruneReport:
        with watching(hidden=True, what="prune") as watch:
            return prune(
                opened,
                rules,
                task_id=task,
                global_only=global_only,
                dry_run=dry,
                check=check,
                remove_emptied=remove_emptied,
                leftover_age_s=leftover_age * 3600,
                cancel=watch.cancel,
            )

    if not dry_run and not yes and sys.stdin.isatty() and sys.stderr.isatty():
        _ask(run(dry=True))
    try:
        report = run(dry=dry_run)
    except PruneError as exc:
        if not as_json and isinstance(exc.report, PruneReport):
            with telling("part of it is removed"):
                print_lines(*_lines(exc.report))
        raise
    with telling(None if dry_run else "the prune is done"):
        if as_json:
            print_document(report.to_dict())
        else:
            print_lines(*_lines(report))
    if not report.ok:
        click.get_current_context().exit(BadDataError.exit_code)


def _ask(report: PruneReport) -> None:
    if not report.removed:
        return
    print_lines(*_lines(report), err=True)
    if not is_agreed("Remove them? [y/N] "):
        raise CancelledError("declined: nothing has changed")


def _lines(report: PruneReport) -> list[str]:
    lines = []
    goes = "would go" if report.dry_run else "removed"

    def deed(one: BackupSet | IncompleteSet, *, keep: bool) -> str:
        return "failed" if one in report.failed else "keep" if keep else goes

    labels = Counter(one.backup.label for one in report.decisions)
    for one in report.decisions:
        what = deed(one.backup, keep=one.keep)
        label = one.backup.label
        if labels[label] > 1:  # a task's sets in two folders
            label = f"{one.backup.location.key}/{one.backup.timestamp}"
        size = format_size(one.backup.size_bytes)
        lines.append(f"{what:<9} {label}  {size}  {', '.join(one.reasons)}")
    for left in report.leftovers:
        what = deed(left.found, keep=left.keep)
        lines.append(f"{what:<9} {left.found.label}  unfinished  {left.reason}")
    swept = sum(not one.keep for one in report.leftovers)
    total = f"{len(report.removed)} of {len(report.decisions)} sets, {swept} unfinished"
    lines.append(f"{goes}: {total}, {format_size(report.bytes_removed)}")
    if report.invalid:
        lines.append(
            f"not valid, look at them: {', '.join(o.backup.label for o in report.invalid)}"
        )
    return lines
