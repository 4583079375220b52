"""The commands ``revert`` and ``previous``: what swaps have kept, put back, listed or dropped."""

from __future__ import annotations

import click

from pgvector_restore.cli.console import PlainConsole, calm_table, counted, print_lines
from pgvector_restore.cli.database import find_database
from pgvector_restore.cli.options import EXIT_CODES, dsn_option, json_option, verbose
from pgvector_restore.cli.text import print_document, safe, telling
from pgvector_restore.cli.watch import watching
from pgvector_restore.previous import PreviousTable, PreviousTables
from pgvector_restore.report import format_size
from pgvector_restore.restorer import drop_previous, previous_tables, revert_tables

__all__ = ["previous_command", "revert_command"]

#: Instead of restores: all that are listed.
_ALL = "all"


@click.command("revert", epilog=EXIT_CODES)
@click.argument("tables", nargs=-1)
@click.option("--schema", metavar="S", help="Schema of the tables.")
@dsn_option
@json_option
@verbose
def revert_command(
    tables: tuple[str, ...], schema: str | None, dsn: str | None, *, as_json: bool
) -> None:
    """Put the TABLES back that a swap with --keep-previous has kept; without any, all of them.

    The present ones are kept in their place: a second revert puts those back again. Tables that
    foreign keys tie go together.
    """
    database = find_database(dsn, "replace")
    with watching(hidden=True, what="revert") as watch:
        report = revert_tables(database.target, tables or None, schema, cancel=watch.cancel)
    with telling("the tables are put back"):
        if as_json:
            print_document({"ok": True, **report.to_dict()})
        else:
            print_lines(*str(report).split("\n"))


@click.command("previous", epilog=EXIT_CODES)
@click.option("--schema", metavar="S", help="Only what was kept of tables in this schema.")
@click.option(
    "--drop",
    "dropped",
    metavar="RESTORE",
    multiple=True,
    help="Drop what this restore has kept; repeatable. all: what the list shows.",
)
@dsn_option
@json_option
@verbose
def previous_command(
    schema: str | None, dropped: tuple[str, ...], dsn: str | None, *, as_json: bool
) -> None:
    """List the tables that swaps with --keep-previous have kept, or drop them."""
    database = find_database(dsn, "replace")
    verb = "dropped" if dropped else "previous"
    if _ALL in dropped or not dropped:
        found = previous_tables(database.target, schema)
        dropped = tuple(one.restore_id for one in found) if dropped else ()
    if dropped:
        with watching(hidden=True, what="drop") as watch:
            found = drop_previous(database.target, dropped, cancel=watch.cancel)
    with telling("what was kept is dropped" if dropped else None):
        if as_json:
            print_document({"ok": True, verb: [one.to_dict() for one in found]})
        elif verb == "dropped":
            print_lines(*(f"dropped what {one}" for one in found))
            if not found:
                print_lines("nothing is kept")
        else:
            _print(found)


def _print(found: tuple[PreviousTables, ...]) -> None:
    if not found:
        print_lines("nothing is kept")
        return
    console = PlainConsole(err=False)
    table = calm_table("restore", "of", "kept", "table", ">rows", ">size", "where", "what")
    for kept in found:
        for one in kept.tables:
            table.add_row(
                kept.restore_id,
                safe(kept.label),
                f"{kept.kept_at.astimezone():%Y-%m-%d %H:%M}",
                safe(f"{kept.schema}.{one.table}"),
                "" if one.rows is None else f"{one.rows:,}",
                format_size(one.size_bytes),
                safe(kept.kept_in),
                _state(kept, one),
            )
        if not kept.tables:
            table.add_row(kept.restore_id, safe(kept.label), "", "", "", "", safe(kept.kept_in), "")
    console.print(table)
    print_lines(
        f"{counted(len(found), 'restore')}; pgvector-restore revert puts back what the last swap "
        "of a schema has kept, previous --drop RESTORE drops it"
    )


def _state(kept: PreviousTables, one: PreviousTable) -> str:
    if kept.superseded_by is not None:
        return f"only to be dropped: restore {kept.superseded_by} has kept its own"
    if one.reverted_at is not None:
        return f"what was there until the revert of {one.reverted_at.astimezone():%Y-%m-%d %H:%M}"
    return "what was there before the restore"
