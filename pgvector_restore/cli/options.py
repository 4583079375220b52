"""What the commands take: arguments, options, help texts."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar

import click

from pgvector_restore.settings import DSN_VARIABLE

__all__ = [
    "EXIT_CODES",
    "dsn_option",
    "json_option",
    "progress_option",
    "restore_options",
    "store_argument",
    "task_option",
    "verbose",
]

_Command = TypeVar("_Command", bound=Callable[..., Any])

EXIT_CODES = """\b
Exit codes:
  0    done
  1    unexpected error
  2    wrong call
  3    storage: not found, incomplete, changed, unreadable
  4    bad data: a file that cannot be restored
  5    database: unreachable, unfit, busy
  6    declined or cancelled: nothing has changed
  7    restored, without the bad records that were set aside
  8    the database does not hold what the backup holds
  9    a worker process was lost: nothing has changed
  129  ended by SIGHUP: the terminal was closed
  130  interrupted by Ctrl-C
  143  ended by SIGTERM
"""


def _verbosity(_: click.Context, __: click.Parameter, count: int) -> None:
    if count:
        logging.getLogger("pgvector_restore").setLevel(
            logging.INFO if count == 1 else logging.DEBUG
        )


verbose = click.option(
    "-v",
    "--verbose",
    count=True,
    expose_value=False,
    callback=_verbosity,
    help="Log on stderr; twice for more, with tracebacks of unexpected errors.",
)
json_option = click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="One JSON document on stdout, everything else on stderr.",
)
progress_option = click.option("--no-progress", is_flag=True, help="No progress bar.")
store_argument = click.argument("store")
task_option = click.option("--task", metavar="ID", help="Only the backups of this task.")


dsn_option = click.option(
    "--dsn",
    metavar="DSN",
    help=f"Database: URL or conninfo.  [default: {DSN_VARIABLE}, then PGHOST, PGDATABASE …,"
    " then an embedded server]  Other users of this machine can see it: keep passwords in"
    " PGPASSWORD or ~/.pgpass.",
)

#: Which set, which tables, and what becomes of the rows there.
_WHAT = (
    store_argument,
    click.argument("label", default="latest"),
    task_option,
    click.option(
        "--mode",
        type=click.Choice(["append", "replace"]),
        help="Keep the rows already there, or remove them in the same transaction."
        "  [default: append; replace on the embedded server when nothing names a database]",
    ),
    click.option("--tables", metavar="T,…", help="Only these tables of the set."),
)
#: How rows come in.
_HOW = (
    click.option(
        "--strategy",
        type=click.Choice(["auto", "in-place", "swap"]),
        default="auto",
        show_default=True,
        help="How rows come in: in-place is one transaction on one connection; swap (replace"
        " only) loads new tables beside the old ones, which are served meanwhile.",
    ),
    click.option(
        "--jobs",
        metavar="N",
        default="auto",
        show_default=True,
        help="Connections that load at the same time with swap, and workers of an index build.",
    ),
    click.option(
        "--wire",
        type=click.Choice(["auto", "binary", "text"]),
        default="auto",
        show_default=True,
        help="How rows travel; text leaves every cell's spelling to the server.",
    ),
    click.option(
        "--maintenance-memory",
        metavar="SIZE",
        default="1GB",
        show_default=True,
        help="At most so much maintenance_work_mem while indexes are built.",
    ),
    click.option(
        "--keep-previous",
        is_flag=True,
        help="With swap: keep the old tables in <schema>_previous; revert puts them back.",
    ),
)
#: What is compared, refused and allowed.
_CHECKS = (
    click.option(
        "--verify",
        type=click.Choice(["counts", "content"]),
        default="counts",
        show_default=True,
        help="What is compared before COMMIT; content reads every row back.",
    ),
    click.option("--schema", metavar="S", help="Schema of the tables."),
    click.option("--no-create-tables", is_flag=True, help="Refuse to create what is missing."),
    click.option(
        "--allow-attached-code",
        is_flag=True,
        help="Run triggers, checks and the like of tables that belong to roles nobody vouches for.",
    ),
    click.option(
        "--allow-non-atomic",
        is_flag=True,
        help="Restore tables with rows on other servers, which are committed there one by one.",
    ),
    click.option(
        "--ignore-log", is_flag=True, help="Do not compare row counts with the backup log."
    ),
    click.option(
        "--ignore-manifest",
        is_flag=True,
        help="Do not use the set's manifest; sets in binary cannot do without.",
    ),
    click.option(
        "--lock-timeout",
        metavar="SECONDS",
        type=click.FloatRange(min=0, min_open=True, max=2_000_000),
        default=30,
        show_default=True,
        help="How long to wait for somebody else's lock on a table.",
    ),
    click.option(
        "--statement-timeout",
        metavar="SECONDS",
        type=click.FloatRange(min=0, min_open=True, max=2_000_000),
        help="How long one statement may take.  [default: as long as it takes]",
    ),
    click.option(
        "--ledger",
        is_flag=True,
        help="Note the restore in the table pgvector_restore_ledger, in its own transaction.",
    ),
)
#: How much a file may hold.
_LIMITS = (
    click.option(
        "--max-record-bytes",
        metavar="N",
        type=click.IntRange(min=1),
        default=64 << 20,
        show_default=True,
        help="Refuse a record that is longer.",
    ),
    click.option(
        "--max-unpack-ratio",
        metavar="N",
        type=click.IntRange(min=1),
        default=200,
        show_default=True,
        help="Refuse a compressed file that unpacks to more than N times its size.",
    ),
    click.option(
        "--max-unpacked-bytes",
        metavar="N",
        type=click.IntRange(min=1),
        default=1 << 40,
        show_default=True,
        help="Refuse a compressed file that unpacks to more bytes.",
    ),
)
#: Records that cannot be restored.
_BAD_ROWS = (
    click.option(
        "--on-bad-row",
        type=click.Choice(["error", "quarantine"]),
        default="error",
        show_default=True,
        help="A record that cannot be restored: end with nothing changed, or set it aside and"
        " load the others. Exit code 7 then.",
    ),
    click.option(
        "--max-bad-rows",
        metavar="N",
        type=click.IntRange(min=0),
        default=1000,
        show_default=True,
        help="With quarantine: more bad records than this end the restore.",
    ),
    click.option(
        "--reject-dir",
        metavar="DIR",
        default=".",
        show_default=True,
        help="With quarantine: where the folder with the bad records is made.",
    ),
)
#: What most commands take.
_COMMON = (
    dsn_option,
    json_option,
    verbose,
)


def restore_options(command: _Command) -> _Command:
    """What ``plan`` and ``restore`` have in common, in the order of the help text."""
    groups = (_WHAT, _HOW, _CHECKS, _LIMITS, _BAD_ROWS, _COMMON)
    for decorator in reversed([option for group in groups for option in group]):
        command = decorator(command)
    return command
