"""The command ``serve``: the store and the database as an HTTP service."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pgvector_restore.cli.console import print_lines
from pgvector_restore.cli.database import find_database
from pgvector_restore.cli.options import EXIT_CODES, dsn_option, verbose
from pgvector_restore.db.embedded import default_data_dir
from pgvector_restore.errors import BackupNotFoundError, OptionError, StoreError
from pgvector_restore.storage import BackupStore, open_store

if TYPE_CHECKING:
    from pgvector_restore.http import ServiceSettings

__all__ = ["serve_command"]


@click.command("serve", epilog=EXIT_CODES)
@click.argument("store", required=False)
@click.option("--host", metavar="HOST", help="Address to listen on.  [default: 127.0.0.1]")
@click.option(
    "--port",
    metavar="N",
    type=click.IntRange(0, 65535),
    help="Port to listen on; 0: a free one.  [default: 8084]",
)
@click.option(
    "--config",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Settings in TOML; options and PGVECTOR_RESTORE_… in the environment go first.",
)
@click.option(
    "--token-file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="File with the token callers need.  [default: PGVECTOR_RESTORE_TOKEN, then a random one"
    " that is shown once]",
)
@click.option(
    "--language",
    type=click.Choice(["zh", "en"]),
    help="Language of texts where the caller asks for none.  [default: zh]",
)
@click.option("--schema", metavar="S", help="Schema of the tables.")
@click.option(
    "--state-dir",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Where jobs are kept.  [default: a folder of this store beside embedded servers' data]",
)
@click.option("--log-format", type=click.Choice(["json", "text"]), help="[default: json]")
@dsn_option
@verbose
def serve_command(
    store: str | None,
    *,
    dsn: str | None,
    **given: Any,  # noqa: ANN401 - the options above
) -> None:
    """Answer HTTP requests for STORE and its database until Ctrl-C, SIGTERM or SIGHUP.

    STORE may be left out where the settings have it. Callers need a token. Other settings than
    those below are in the file: see docs/operating.md.
    """
    from pgvector_restore.http import ServiceSettings, create_app  # noqa: PLC0415 - an extra

    if dsn is not None and not dsn.strip():
        raise OptionError("--dsn is empty", hint="leave it out to use the environment's database")
    config = given.pop("config")
    options = {"store": store, "dsn": dsn, "schema_name": given.pop("schema"), **given}
    settings = ServiceSettings.load(config, **options)
    from pgvector_restore.http import logs, server, tokens  # noqa: PLC0415 - an extra

    server.check_exposure(settings)
    opened = open_store(settings.store, storage_options=settings.storage_options)
    _warn(settings, opened)
    settings = _with_database(settings)
    own_place = settings.state_dir is None
    settings = _with_state(settings)
    made = None
    if settings.auth and not tokens.has_token(settings):
        made = tokens.new_token()
        settings = settings.replaced(token=made)
    app = create_app(settings)
    try:
        app.state.service.start()  # what it finds wrong ends the command, not just the server
    except OptionError as exc:
        if not own_place:
            raise
        # Two services of one store, each of its own accord: the second one has no folder.
        print_lines(f"warning: jobs are kept in memory: {exc}", err=True)
        settings = settings.replaced(state_dir=None)
        app = create_app(settings)
        app.state.service.start()
    for name in tokens.Tokens(settings).weak:
        print_lines(f"warning: {name} is short enough to be guessed", err=True)
    try:
        sock = server.listen(settings)
    except OptionError:
        app.state.service.close()
        raise
    if made is not None:
        print_lines(f"token of this run: {made}", err=True)
    print_lines(f"listening on {_url(settings, sock.getsockname()[1])}", err=True)
    logs.configure(settings)
    server.serve(app, settings, sock)


def _warn(settings: ServiceSettings, store: BackupStore) -> None:
    """Say what works, and is perhaps not what was meant."""
    try:
        next(iter(store.list("", max_depth=1)), None)
    except BackupNotFoundError:
        print_lines(
            f"warning: {settings.store} is not there yet: the first backup makes it", err=True
        )
    except StoreError as exc:
        print_lines(f"warning: {exc}", err=True)
    names = settings.named_targets()
    if len(names) > 1 and "default" not in names:
        print_lines(
            "warning: there are several targets and no default: requests must name one", err=True
        )


def _with_database(settings: ServiceSettings) -> ServiceSettings:
    """The settings, with the environment's database or the embedded server if they name none."""
    if settings.named_targets():
        return settings
    found = find_database(None, "append").target
    # Not named by a variable of ours: by libpq's own, which it reads itself.
    text = found if isinstance(found, str) else "application_name=pgvector_restore"
    return settings.replaced(dsn=text)


def _with_state(settings: ServiceSettings) -> ServiceSettings:
    """The settings, with a folder for jobs that another store's service does not have."""
    if settings.state_dir is not None:
        return settings
    place = settings.store if "://" in settings.store else str(Path(settings.store).absolute())
    name = hashlib.sha256(place.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    folder = default_data_dir().parent / "jobs" / name
    return settings.replaced(state_dir=folder)


def _url(settings: ServiceSettings, port: int) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{port}"
