"""Sets that are in use: who reads one holds it, and nobody removes what is held."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from io import FileIO

from pgvector_restore.errors import BackupInUseError, quoted
from pgvector_restore.model import BackupSet

try:
    import fcntl
except ImportError:  # Windows, which removes no file that is open
    fcntl = None  # type: ignore[assignment]

__all__ = ["hold_files", "hold_here"]

#: A set by the store's URL, the set's folder and time.
_Name = tuple[str, str, str]
# Of this process: how many read a set, and sets that one thread has for itself.
_readers: Counter[_Name] = Counter()
_alone: set[_Name] = set()
_lock = threading.Lock()


def _in_use(backup: BackupSet) -> BackupInUseError:
    return BackupInUseError(
        f"backup set {quoted(backup.label)} is being read or removed",
        hint="try again when that has ended",
    )


@contextmanager
def hold_here(url: str, backup: BackupSet, *, alone: bool) -> Iterator[None]:
    """Hold a set against the threads of this process until the block ends.

    Args:
        url: Where the store is.
        backup: The set.
        alone: Only if nobody else holds it, and nobody else gets it meanwhile.

    Raises:
        BackupInUseError: Somebody has it.
    """
    name = (url, backup.location.key, backup.timestamp)
    with _lock:
        if name in _alone or (alone and name in _readers):
            raise _in_use(backup)
        if alone:
            _alone.add(name)
        else:
            _readers[name] += 1
    try:
        yield
    finally:
        with _lock:
            _alone.discard(name)
            if not alone:
                _readers[name] -= 1
                if not _readers[name]:
                    del _readers[name]


@contextmanager
def hold_files(files: Iterable[FileIO], backup: BackupSet, *, alone: bool) -> Iterator[None]:
    """Hold a set against other processes of this machine, by a lock on each of its open files.

    Raises:
        BackupInUseError: Somebody has it.
    """
    with ExitStack() as stack:
        for file in files:
            stack.enter_context(file)
            if fcntl is not None:
                kind = fcntl.LOCK_EX if alone else fcntl.LOCK_SH
                try:
                    fcntl.flock(file.fileno(), kind | fcntl.LOCK_NB)
                except BlockingIOError as exc:
                    raise _in_use(backup) from exc
                except OSError:
                    pass  # a network drive without locks
        yield
