"""The commands. A wrong call, and what fails, is raised; :mod:`pgvector_restore.cli` tells it."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any

import click

from pgvector_restore._version import __version__
from pgvector_restore.cli import documents, listing, output
from pgvector_restore.cli.backup_command import backup_command
from pgvector_restore.cli.console import is_agreed
from pgvector_restore.cli.copy_command import copy_command
from pgvector_restore.cli.counts import read_counts
from pgvector_restore.cli.database import Database, embedded_group, find_database
from pgvector_restore.cli.inspect_command import inspect_command
from pgvector_restore.cli.options import (
    EXIT_CODES,
    json_option,
    progress_option,
    restore_options,
    store_argument,
    task_option,
    verbose,
)
from pgvector_restore.cli.previous_command import previous_command, revert_command
from pgvector_restore.cli.prune_command import prune_command
from pgvector_restore.cli.serve_command import serve_command
from pgvector_restore.cli.sets import find_set
from pgvector_restore.cli.text import print_document, telling
from pgvector_restore.cli.verify_command import verify_command
from pgvector_restore.cli.watch import watching
from pgvector_restore.errors import ROWS_REJECTED_EXIT_CODE, CancelledError
from pgvector_restore.options import Mode, RestoreOptions
from pgvector_restore.plan import RestorePlan
from pgvector_restore.planning import select_files
from pgvector_restore.restorer import Restorer
from pgvector_restore.storage import open_store

__all__ = ["app"]


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EXIT_CODES,
    no_args_is_help=True,
)
@click.version_option(__version__, prog_name="pgvector-restore")
@verbose
def app() -> None:
    """Bring backups of pgvector tables back into PostgreSQL: exactly, all tables or none.

    STORE is where the backups lie: a folder, or any URL that fsspec knows (s3://…, sftp://…).
    LABEL names a backup set: <location>/<timestamp>, <location>/latest, or latest (the default).
    """


@app.command("list", epilog=EXIT_CODES)
@store_argument
@task_option
@click.option("--global-only", is_flag=True, help="Only the backups of the whole system.")
@click.option("--all", "show_all", is_flag=True, help="Show all locations and sets.")
@json_option
@verbose
def list_command(
    store: str, task: str | None, *, global_only: bool, show_all: bool, as_json: bool
) -> None:
    """Show the backup sets of STORE, newest first."""
    if task is not None and global_only:
        raise click.UsageError("--task and --global-only exclude each other")
    opened = open_store(store)
    catalog = opened.catalog(task_id=task, global_only=global_only)
    shown = catalog.sets if as_json else listing.shown_sets(catalog, show_all=show_all)
    counts = read_counts(opened, catalog, shown)
    with telling():
        if as_json:
            print_document({"ok": True, **documents.catalog_document(opened.url, catalog, counts)})
        else:
            listing.print_catalog(opened.url, catalog, counts, show_all=show_all)


@app.command("plan", epilog=EXIT_CODES)
@restore_options
def plan_command(
    store: str,
    label: str,
    task: str | None,
    dsn: str | None,
    *,
    as_json: bool,
    **given: Any,  # noqa: ANN401 - the options of restore_options
) -> None:
    """Show what restoring LABEL would do. Touches nothing."""
    opened = open_store(store)
    _, backup = find_set(opened, label, task)
    select_files(backup, _options(given))  # no server is started for a call that cannot succeed
    database = find_database(dsn, given["mode"])
    with Restorer(opened, database.target) as restorer:
        plan = restorer.plan(backup, _options(given, database))
    with telling():
        if as_json:
            print_document({"ok": True, **plan.to_dict()})
        else:
            output.print_plan(plan)


@app.command("restore", epilog=EXIT_CODES)
@restore_options
@click.option("--yes", is_flag=True, help="Do not ask before rows are removed.")
@progress_option
def restore_command(  # noqa: PLR0913 - one per option of the command line
    store: str,
    label: str,
    task: str | None,
    dsn: str | None,
    *,
    as_json: bool,
    yes: bool,
    no_progress: bool,
    **given: Any,  # noqa: ANN401 - the options of restore_options
) -> None:
    """Restore LABEL: all tables or none.

    On a terminal it asks before rows are removed; elsewhere it does not.
    """
    opened = open_store(store)
    catalog, backup = find_set(opened, label, task)
    select_files(backup, _options(given))
    database = find_database(dsn, given["mode"])
    with Restorer(opened, database.target) as restorer:
        plan = restorer.plan(backup, _options(given, database))
        if plan.rows_removed and not yes:
            _ask(plan)
        with watching(hidden=as_json or no_progress) as watch:
            report = restorer.run(plan, progress=watch, cancel=watch.cancel)
            with telling("the restore is done"):
                result = documents.look_at(restorer, report, database.target, database.server)
                if as_json:
                    print_document({"ok": True, "store": opened.url, **result.to_dict()})
                else:
                    output.print_result(opened, catalog, result)
    if report.rows_rejected:
        click.get_current_context().exit(ROWS_REJECTED_EXIT_CODE)


app.add_command(backup_command)
app.add_command(copy_command)
app.add_command(embedded_group)
app.add_command(inspect_command)
app.add_command(previous_command)
app.add_command(prune_command)
app.add_command(revert_command)
app.add_command(serve_command)
app.add_command(verify_command)


def _options(given: dict[str, Any], database: Database | None = None) -> RestoreOptions:
    """The options of a restore; the mode depends on the database unless it is given."""
    on_server = database is not None and database.server is not None
    default: Mode = "replace" if on_server else "append"
    return RestoreOptions(
        mode=given["mode"] or default,
        strategy=given["strategy"],
        tables=given["tables"],
        schema=given["schema"],
        create_tables=not given["no_create_tables"],
        check_log=not given["ignore_log"],
        check_manifest=not given["ignore_manifest"],
        lock_timeout_s=given["lock_timeout"],
        statement_timeout_s=given["statement_timeout"],
        ledger=given["ledger"],
        wire=given["wire"],
        jobs=given["jobs"],
        maintenance_memory=given["maintenance_memory"],
        keep_previous=given["keep_previous"],
        verify=given["verify"],
        allow_attached_code=given["allow_attached_code"],
        allow_non_atomic=given["allow_non_atomic"],
        max_record_bytes=given["max_record_bytes"],
        max_unpack_ratio=given["max_unpack_ratio"],
        max_unpacked_bytes=given["max_unpacked_bytes"],
        on_bad_row=given["on_bad_row"],
        max_bad_rows=given["max_bad_rows"],
        reject_dir=given["reject_dir"],
    )


def _ask(plan: RestorePlan) -> None:
    """Ask before rows are removed, if there is somebody to ask."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return
    with suppress(OSError):  # nor can it be agreed to then
        output.print_plan(plan, err=True)
    rows = "1 row" if plan.rows_removed == 1 else f"{plan.rows_removed:,} rows"
    if not is_agreed(f"Remove {rows} and restore? [y/N] "):
        raise CancelledError("declined: nothing has changed")
