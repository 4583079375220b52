"""Files of a folder while they are written: under another name, each by one writer alone."""

# Strings, not Path objects: so are the paths of the module around.
# ruff: noqa: PTH108, PTH116

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

if sys.platform != "win32":  # where a file that is open can be neither removed nor renamed
    import fcntl

__all__ = ["partial_file"]

_FLAGS = os.O_WRONLY
for _flag in ("O_BINARY", "O_CLOEXEC", "O_NOFOLLOW", "O_NOINHERIT"):
    _FLAGS |= getattr(os, _flag, 0)
_NEW = _FLAGS | os.O_CREAT | os.O_EXCL


@contextmanager
def partial_file(partial: str, *, replace: bool) -> Iterator[int]:
    """A new file that nobody else writes until the block ends; gone after an error.

    Args:
        partial: Its path.
        replace: Take the place of one that a dead writer has left.

    Returns:
        A descriptor, which the caller closes.

    Raises:
        FileExistsError: There is one, and ``replace`` was not asked for.
        BlockingIOError: Somebody writes it.
    """
    descriptor = _begin(partial, replace=replace)
    # The lock goes with the last descriptor: the file is to have its name before that.
    lock = os.dup(descriptor) if sys.platform != "win32" else None
    try:
        yield descriptor
    except BaseException:
        with suppress(OSError):
            os.unlink(partial)
        raise
    finally:
        if lock is not None:
            os.close(lock)


def _begin(partial: str, *, replace: bool) -> int:
    try:
        return _locked(os.open(partial, _NEW, 0o666), partial)
    except FileExistsError:
        if not replace:
            raise
    if sys.platform == "win32":
        return os.open(partial, _FLAGS | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        left = _locked(os.open(partial, _FLAGS | os.O_NONBLOCK), partial)
        try:
            # Removed, not emptied: a writer that was killed may have given it its name already.
            os.unlink(partial)
        finally:
            os.close(left)
        return _locked(os.open(partial, _NEW, 0o666), partial)
    except (FileExistsError, FileNotFoundError) as exc:
        raise BlockingIOError(partial) from exc  # finished, or taken over, a moment ago


def _locked(descriptor: int, path: str) -> int:
    """The descriptor, once this is the only writer of what lies under the path."""
    try:
        if sys.platform != "win32":
            with _unless_there_are_no_locks():
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _check_same(descriptor, path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check_same(descriptor: int, path: str) -> None:
    """Whoever had the lock before may have renamed the file, or removed it."""
    if not os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False)):
        raise BlockingIOError(path)


@contextmanager
def _unless_there_are_no_locks() -> Iterator[None]:
    try:
        yield
    except BlockingIOError:
        raise
    except OSError:
        pass  # a network drive
