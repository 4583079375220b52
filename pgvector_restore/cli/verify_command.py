"""The command ``verify``: does the database hold exactly this backup?"""

from __future__ import annotations

import click

from pgvector_restore.cli.console import print_lines
from pgvector_restore.cli.database import find_database
from pgvector_restore.cli.options import (
    EXIT_CODES,
    dsn_option,
    json_option,
    progress_option,
    store_argument,
    task_option,
    verbose,
)
from pgvector_restore.cli.sets import find_set
from pgvector_restore.cli.text import print_document, telling
from pgvector_restore.cli.watch import watching
from pgvector_restore.errors import ContentMismatchError
from pgvector_restore.restorer import Restorer
from pgvector_restore.storage import open_store

__all__ = ["verify_command"]


@click.command("verify", epilog=EXIT_CODES)
@store_argument
@click.argument("label", default="latest")
@task_option
@click.option("--tables", metavar="T,…", help="Only these tables of the set.")
@click.option("--schema", metavar="S", help="Schema of the tables.")
@click.option(
    "--limit",
    metavar="N",
    type=click.IntRange(0, 1000),
    default=10,
    show_default=True,
    help="Name so many rows of each table that differ.",
)
@click.option("--ignore-manifest", is_flag=True, help="Compare with the files alone.")
@progress_option
@dsn_option
@json_option
@verbose
@click.pass_context
def verify_command(  # noqa: PLR0913 - one per option of the command line
    ctx: click.Context,
    /,
    store: str,
    label: str,
    task: str | None,
    *,
    tables: str | None,
    schema: str | None,
    limit: int,
    ignore_manifest: bool,
    no_progress: bool,
    dsn: str | None,
    as_json: bool,
) -> None:
    """Say whether the database holds exactly LABEL; name rows that differ. Touches nothing."""
    opened = open_store(store)
    _, backup = find_set(opened, label, task)
    database = find_database(dsn, "append")
    with (
        Restorer(opened, database.target) as restorer,
        watching(hidden=as_json or no_progress) as watch,
    ):
        report = restorer.verify(
            backup,
            tables=tables,
            schema=schema,
            limit=limit,
            check_manifest=not ignore_manifest,
            progress=watch,
            cancel=watch.cancel,
        )
    with telling(f"the database holds {'exactly' if report.equal else 'not'} this backup"):
        if as_json:
            print_document({"ok": report.equal, "store": opened.url, **report.to_dict()})
        else:
            print_lines(*report.lines)
    if not report.equal:
        ctx.exit(ContentMismatchError.exit_code)
