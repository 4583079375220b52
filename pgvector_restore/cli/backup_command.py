"""The command ``backup``: a new set of a database's tables."""

from __future__ import annotations

from typing import Any, get_args

import click

from pgvector_restore.backup_options import BackupOptions, Compress
from pgvector_restore.backuper import Backuper
from pgvector_restore.cli.database import find_database
from pgvector_restore.cli.options import (
    EXIT_CODES,
    dsn_option,
    json_option,
    store_argument,
    verbose,
)
from pgvector_restore.cli.output import print_backup
from pgvector_restore.cli.text import print_document, telling
from pgvector_restore.cli.watch import watching
from pgvector_restore.storage import open_store

__all__ = ["backup_command"]


@click.command("backup", epilog=EXIT_CODES)
@store_argument
@click.option(
    "--task", metavar="ID", help="Into the folder of this task.  [default: of the whole system]"
)
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["csv", "binary"]),
    default="csv",
    show_default=True,
    help="csv is read by everything; binary restores without any parsing, large tables in parts.",
)
@click.option(
    "--compress",
    type=click.Choice(get_args(Compress)),
    default="none",
    show_default=True,
    help="How files are compressed.",
)
@click.option("--tables", metavar="T,…", help="These tables.  [default: LangChain's two]")
@click.option("--schema", metavar="S", help="Schema of the tables.")
@click.option(
    "--jobs",
    metavar="N",
    default="auto",
    show_default=True,
    help="Connections that read at the same time.",
)
@click.option(
    "--no-digest",
    is_flag=True,
    help="No digest of the rows; a csv backup is about a quarter faster without it.",
)
@click.option(
    "--truncate-after",
    is_flag=True,
    help="Empty the embedding table once the backup is published and has been read back. Nobody"
    " can write to it meanwhile.",
)
@click.option(
    "--allow-attached-code",
    is_flag=True,
    help="Run code that reading the tables runs, of roles nobody vouches for.",
)
@click.option(
    "--allow-non-atomic",
    is_flag=True,
    help="Read tables with rows on other servers, which one snapshot does not cover.",
)
@click.option(
    "--lock-timeout",
    metavar="SECONDS",
    type=click.FloatRange(min=0, min_open=True, max=2_000_000),
    default=30,
    show_default=True,
    help="How long to wait for somebody else's lock on a table.",
)
@click.option(
    "--statement-timeout",
    metavar="SECONDS",
    type=click.FloatRange(min=0, min_open=True, max=2_000_000),
    help="How long one statement may take.  [default: as long as it takes]",
)
@click.option("--no-progress", is_flag=True, help="No progress bar.")
@dsn_option
@json_option
@verbose
def backup_command(
    store: str,
    *,
    dsn: str | None,
    as_json: bool,
    no_progress: bool,
    **given: Any,  # noqa: ANN401 - the options above
) -> None:
    """Back up tables into STORE: a set only when all of it is there."""
    options = BackupOptions(
        task_id=given["task"],
        format=given["file_format"],
        compress=given["compress"],
        tables=given["tables"],
        schema=given["schema"],
        jobs=given["jobs"],
        digest=not given["no_digest"],
        truncate_after=given["truncate_after"],
        allow_attached_code=given["allow_attached_code"],
        allow_non_atomic=given["allow_non_atomic"],
        lock_timeout_s=given["lock_timeout"],
        statement_timeout_s=given["statement_timeout"],
    )
    opened = open_store(store)
    database = find_database(dsn, "append")
    with (
        Backuper(opened, database.target) as backuper,
        watching(hidden=as_json or no_progress, what="backup") as watch,
    ):
        report = backuper.backup(options, progress=watch, cancel=watch.cancel)
    with telling(f"backup {report.label} is done"):
        if as_json:
            print_document({"ok": True, "store": opened.url, **report.to_dict()})
        else:
            print_backup(opened.url, report)
