"""Folders for temporary files; those of processes that were killed are removed by the next one."""

from __future__ import annotations

import logging
import os
import shutil
import stat
import sys
import time
from contextlib import suppress
from tempfile import TemporaryDirectory, gettempdir

if sys.platform != "win32":
    import fcntl

__all__ = ["ScratchFolder"]

_log = logging.getLogger(__name__)

_PREFIX = "pgvector_restore-parts-"
#: Seconds that a folder is left alone: it is made first and locked then.
_YOUNG_S = 60


class ScratchFolder:
    """A folder of this process alone, locked while it lives.

    Args:
        parent: Where; ``None``: the system's place for temporary files.

    Raises:
        OSError: It cannot be made.
    """

    def __init__(self, parent: str | None = None) -> None:
        parent = parent or gettempdir()
        with suppress(OSError):
            _sweep(parent)
        self._folder = TemporaryDirectory(prefix=_PREFIX, dir=parent, ignore_cleanup_errors=True)
        #: Path of the folder.
        self.path = self._folder.name
        self._lock: int | None = None
        with suppress(OSError):  # without a lock nobody else takes it for one of the dead
            self._lock = _locked(self.path)

    def remove(self) -> None:
        """Remove it with all that is in it; harmless when it has gone."""
        self._folder.cleanup()
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)


def _sweep(parent: str) -> None:
    """Remove folders of this user whose process is no more."""
    with os.scandir(parent) as entries:
        names = [entry.path for entry in entries if entry.name.startswith(_PREFIX)]
    for path in names:
        try:
            lock = _locked(path)
        except OSError:  # it is in use, somebody else's, or on a network drive without locks
            continue
        if lock is None:
            return
        try:
            if time.time() - os.fstat(lock).st_mtime > _YOUNG_S:
                _log.info("%s was left by a process that was killed: it is removed", path)
                shutil.rmtree(path, ignore_errors=True)
        finally:
            os.close(lock)


def _locked(path: str) -> int | None:
    """A descriptor that holds the lock of a folder; ``None`` where folders have none.

    Raises:
        OSError: It is not to be had.
    """
    if sys.platform == "win32":
        return None
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
            raise PermissionError(path)  # noqa: TRY301 - on its way it closes the folder
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
