"""The database of a command: named by the call, the environment, or the embedded server."""

from __future__ import annotations

import click
from attrs import field, frozen

from pgvector_restore.cli import documents, output
from pgvector_restore.cli.console import print_lines
from pgvector_restore.cli.options import EXIT_CODES, json_option, verbose
from pgvector_restore.cli.text import print_document, telling
from pgvector_restore.db import embedded
from pgvector_restore.db.conninfo import TargetLike
from pgvector_restore.db.embedded import EmbeddedServer
from pgvector_restore.errors import MissingExtraError, OptionError
from pgvector_restore.settings import DSN_VARIABLE, environment_target, resolve_target

__all__ = ["Database", "embedded_group", "find_database"]


@frozen
class Database:
    """The database of a command."""

    #: Conninfo or mapping; kept out of the repr, it may hold a password.
    target: TargetLike = field(repr=False)
    #: The embedded server, if it is used for want of anything else.
    server: EmbeddedServer | None = None


def find_database(dsn: str | None, mode: str | None) -> Database:
    """The database that the call or the environment names, else the embedded server."""
    if dsn is not None and not dsn.strip():
        raise OptionError("--dsn is empty", hint="leave it out to use the environment's database")
    configured = environment_target()
    server = _start_server(mode) if dsn is None and configured is None else None
    default = server.conninfo if server is not None else None
    return Database(resolve_target(dsn, configured, default).target, server)


def _start_server(mode: str | None) -> EmbeddedServer:
    was_up = embedded.status() is not None
    try:
        server = embedded.start()
    except MissingExtraError as exc:
        raise MissingExtraError(
            "no database is named, and the embedded server is not installed",
            hint=f"name one with --dsn or {DSN_VARIABLE}, or {exc.hint}",
        ) from exc
    print_lines(
        f"embedded PostgreSQL {server.version} {'is up' if was_up else 'started'}, data in "
        f"{server.data_dir}; end it with: pgvector-restore embedded stop",
        err=True,
    )
    if mode is None:
        print_lines("mode is replace there unless --mode is given", err=True)
    return server


@click.group("embedded", epilog=EXIT_CODES)
def embedded_group() -> None:
    """The embedded PostgreSQL server: a server of one's own, for those who have none."""


@embedded_group.command("start")
@json_option
@verbose
def embedded_start(*, as_json: bool) -> None:
    """Start the server, or find it running; it stays up."""
    server = embedded.start()
    with telling("the server is up"):
        _show_server(server, as_json=as_json)


@embedded_group.command("status")
@json_option
@verbose
def embedded_status(*, as_json: bool) -> None:
    """Say whether the server runs, where it is, and how to connect."""
    server = embedded.status()
    with telling():
        _show_server(server, as_json=as_json)


@embedded_group.command("stop")
@json_option
@verbose
def embedded_stop(*, as_json: bool) -> None:
    """End the server and all its sessions; its data stays."""
    stopped = embedded.stop()
    place = str(embedded.default_data_dir())
    with telling("the server is down"):
        if as_json:
            print_document({"ok": True, "stopped": stopped, "running": False, "data_dir": place})
        else:
            what = "stopped" if stopped else "no embedded server was running"
            print_lines(f"{what}; its data is kept in {place}" if stopped else what)


def _show_server(server: EmbeddedServer | None, *, as_json: bool) -> None:
    if as_json:
        print_document({"ok": True, **documents.server_document(server)})
    else:
        output.print_server(server)
