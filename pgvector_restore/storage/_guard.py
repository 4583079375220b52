"""What all stores share: which keys are let through, errors in our terms, walking folders."""

from __future__ import annotations

import errno
import io
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from operator import itemgetter
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar

from pgvector_restore.errors import (
    BackupNotFoundError,
    OptionError,
    PgvectorRestoreError,
    StoreError,
    quoted,
)
from pgvector_restore.model import ObjectInfo
from pgvector_restore.storage._hints import ARCHIVED, code_of, hint_for

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

__all__ = [
    "GuardedStream",
    "Sink",
    "Source",
    "WritingStream",
    "check_key",
    "check_range",
    "check_writable_key",
    "is_key",
    "is_refusal",
    "translated",
    "walk",
]

T = TypeVar("T")

# Any slash at an end, any two in a row, and any "." or ".." between slashes leave an empty match.
_BAD_PART = re.compile(r"(?:^|/)(?:\.{0,2})(?=/|\Z)|[\\\0]")


def is_key(key: str) -> bool:
    """Whether a text can be a key: relative, no empty, ``.`` or ``..`` part, no backslash, NUL."""
    return _BAD_PART.search(key) is None


def check_key(key: str) -> None:
    """Refuse what can be no key; nothing is stored under it, so it is not found.

    Raises:
        BackupNotFoundError: Always the same for all that is no key.
    """
    if not is_key(key):
        raise BackupNotFoundError(
            f"{quoted(key)} is no key of a store",
            hint='a key is a relative path with "/" between its parts and without ".."',
        )


def check_writable_key(key: str) -> None:
    """Refuse what can be no key, before anything is written.

    Raises:
        OptionError: Always the same for all that is no key.
    """
    if not is_key(key) or not key.isprintable():
        raise OptionError(
            f"{quoted(key)} is no key of a store",
            hint='a key is a relative path with "/" between its parts and without ".."',
        )


def check_range(start: int, end: int | None) -> None:
    """Refuse a range that runs backwards or starts before the file."""
    if start < 0 or (end is not None and end < start):
        raise OptionError(f"no range of bytes runs from {start} to {end}")


@contextmanager
def translated(what: str, verb: Literal["read", "write"] = "read") -> Iterator[None]:
    """Turn whatever a storage raises into a ``StoreError`` that names ``what``, cause chained.

    The storage's own text stays in the cause: it may hold addresses with tokens.

    Args:
        what: What is read, written or removed.
        verb: ``write`` where it is not only read.
    """
    try:
        yield
    except PgvectorRestoreError:
        raise
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as exc:
        if verb == "write":
            raise BackupNotFoundError(
                f"{quoted(what)} cannot be written: there is no such bucket or folder to hold it"
            ) from exc
        raise BackupNotFoundError(f"no such file: {quoted(what)}") from exc
    except Exception as exc:
        hint = hint_for(exc)
        if code_of(exc) == ARCHIVED:
            raise StoreError(f"cannot {verb} {quoted(what)}: it is archived", hint=hint) from exc
        if is_refusal(exc):
            raise StoreError(f"no permission to {verb} {quoted(what)}", hint=hint) from exc
        why = (isinstance(exc, OSError) and exc.errno and exc.strerror) or type(exc).__name__
        full = isinstance(exc, OSError) and exc.errno in _NO_ROOM
        raise StoreError(
            f"cannot {verb} {quoted(what)}: {why}",
            hint="make room there; nothing was published" if full else hint,
        ) from exc


def is_refusal(exc: BaseException | None) -> bool:
    """Whether a storage says that it does not know the caller, or that he may not do this."""
    # Azure's errors carry the status of the answer.
    return isinstance(exc, PermissionError) or getattr(exc, "status_code", None) in {401, 403}


#: The disk is full, the quota is, or the file is as large as it may be.
_NO_ROOM = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG)


class Source(Protocol):
    """The part of a binary file that is needed here."""

    def readinto(self, buffer: WriteableBuffer, /) -> int | None:
        """Fill the buffer as far as one read goes; 0 at the end."""

    def close(self) -> None:
        """Let go of the file."""


class GuardedStream(io.RawIOBase):
    """An open file, at most ``limit`` bytes of it, whose errors are ``StoreError``.

    Args:
        source: The open file, at its first byte wanted.
        limit: Bytes after which it ends; ``None``: where the file does.
        what: How errors name it.
        version: Which object it is, where the storage tells.
    """

    def __init__(
        self, source: Source, limit: int | None, what: str, version: str | None = None
    ) -> None:
        super().__init__()
        self.version = version
        self._source = source
        self._left = limit
        self._what = what

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """One read of the file."""
        view = memoryview(buffer).cast("B")
        if self._left is not None:
            view = view[: self._left]
        if not view:
            return 0
        with translated(self._what):
            count = self._source.readinto(view) or 0
        if self._left is not None:
            self._left -= count
        return count

    def close(self) -> None:
        """Close the file; harmless when it is."""
        if not self.closed:
            super().close()
            with translated(self._what):
                self._source.close()


class Sink(Protocol):
    """The part of a file open for writing that is needed here."""

    def write(self, data: ReadableBuffer, /) -> int | None:
        """Write some of it; how many bytes, or ``None`` for all."""

    def close(self) -> None:
        """Finish the file."""


class WritingStream(io.RawIOBase):
    """A file being written, whose errors are ``StoreError``; ``write`` takes all it is given.

    Args:
        sink: The open file.
        what: How errors name it.
    """

    def __init__(self, sink: Sink, what: str) -> None:
        super().__init__()
        self._sink = sink
        self._what = what

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: ReadableBuffer, /) -> int:
        """Write all of it."""
        if self.closed:
            raise ValueError("write to a closed file")
        view = memoryview(data).cast("B")
        size = len(view)
        with translated(self._what, "write"):
            while view:
                count = self._sink.write(view)
                view = view[len(view) if count is None else count :]
        return size

    def close(self) -> None:
        """Close the file; harmless when it is."""
        if not self.closed:
            super().close()
            with translated(self._what, "write"):
                self._sink.close()


def walk(
    scan: Callable[[str], Iterable[tuple[str, T]]],
    describe: Callable[[str, T], ObjectInfo | None],
    prefix: str,
    max_depth: int | None,
    enters: Callable[[str], bool] = lambda _: True,
) -> Iterator[ObjectInfo]:
    """List folder by folder, in key order, only folders that can hold wanted keys.

    Memory follows the largest folder on the way, not the tree.

    Args:
        scan: Entries of a folder (``""`` or ``a/b/``): name, ending in ``/`` for a folder, and
            whatever ``describe`` needs; in any order.
        describe: The object of a key, or ``None`` for what is no file.
        prefix: What keys start with.
        max_depth: Parts of the longest key wanted.
        enters: Whether a folder (``a/b/``) is looked into.
    """
    start = prefix[: prefix.rfind("/") + 1]
    if start and not is_key(start[:-1]):
        return
    folders = [_entries(scan, start, max_depth)]
    while folders:
        for key, raw in folders[-1]:
            if not key.startswith(prefix):
                continue
            if key.endswith("/"):
                if not enters(key):
                    continue
                folders.append(_entries(scan, key, max_depth))
                break
            info = describe(key, raw)
            if info is not None:
                yield info
        else:
            folders.pop()


def _entries(
    scan: Callable[[str], Iterable[tuple[str, T]]], folder: str, max_depth: int | None
) -> Iterator[tuple[str, T]]:
    if max_depth is not None and folder.count("/") >= max_depth:
        return iter(())
    # A folder sorts as its name with the slash: "a-b" < "a.csv" < "a/b", as whole keys do.
    found = sorted(scan(folder), key=itemgetter(0))
    return ((folder + name, raw) for name, raw in found if is_key(name.removesuffix("/")))
