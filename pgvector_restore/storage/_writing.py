"""Writing to remote file systems: an object is there in the end, or nothing is."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO, cast

from pgvector_restore.errors import BackupExistsError, BackupNotFoundError, StoreError, quoted
from pgvector_restore.storage._guard import WritingStream, translated
from pgvector_restore.storage._sftp import SftpSink, rename

__all__ = ["delete", "renamed", "uploaded"]

_log = logging.getLogger(__name__)

#: Bytes of one part of an upload. S3 takes 10,000 parts: they grow with the object, so that they
#: reach for its 5 TB. A part is held in memory about twice.
_PART_BYTES = 8 << 20
_PARTS_OF_ONE_SIZE = 5000


class _Upload:
    """A buffered file of fsspec, whose parts grow with it; closing it publishes nothing."""

    def __init__(self, file: Any, *, grows: bool) -> None:  # noqa: ANN401 - fsspec has no types
        self._file = file
        self._grows = grows

    def write(self, data: Any, /) -> int:  # noqa: ANN401 - any buffer
        if self._grows:
            self._file.blocksize = max(_PART_BYTES, self._file.tell() // _PARTS_OF_ONE_SIZE)
        return int(self._file.write(data))

    def close(self) -> None:
        """Nothing: it is finished or discarded elsewhere."""


@contextmanager
def uploaded(fs: Any, path: str, what: str, *, replace: bool) -> Iterator[BinaryIO]:  # noqa: ANN401
    """An object that the storage shows when all of it has come.

    Where ``replace`` is not asked for the storage itself refuses to replace, in the request that
    publishes: what came meanwhile is not lost.

    Args:
        fs: The file system.
        path: The object, as the file system names it.
        what: How errors name it.
        replace: Take the place of what is there.
    """
    with translated(what, "write"):
        if not replace and _is_there(fs, path):
            raise _exists(what)
        file = _opened(fs, path, replace=replace)
    try:
        grows = not getattr(fs, "fixed_upload_size", False)
        with WritingStream(_Upload(file, grows=grows), what) as stream:
            yield cast("BinaryIO", stream)
        with translated(what, "write"):
            _finish(fs, file, path, what, replace=replace)
    except BaseException:
        _discard(file, what)
        raise


@contextmanager
def renamed(
    fs: Any,  # noqa: ANN401 - fsspec has no types
    path: str,
    partial: str,
    what: str,
    *,
    replace: bool,
) -> Iterator[BinaryIO]:
    """A file written under another name, which it gives up in the end.

    Args:
        fs: The file system.
        path: The file.
        partial: The other name.
        what: How errors name it.
        replace: Take the place of what is there.
    """
    with translated(what, "write"):
        if not replace and _is_there(fs, path):
            raise _exists(what)
        if not replace and _is_there(fs, partial):
            raise BackupExistsError(
                f"{quoted(what)} is being written, or was left unfinished",
                hint="remove what ends in .tmp if nothing is running",
            )
        fs.makedirs(path.rpartition("/")[0] or "/", exist_ok=True)
        file = fs.open(partial, mode="wb")
        if hasattr(fs, "_pool"):
            file = SftpSink(fs, file)
    try:
        with WritingStream(file, what) as stream:
            yield cast("BinaryIO", stream)
            _flush(file)
        with translated(what, "write"):
            _put_in_place(fs, partial, path, what, replace=replace)
    except BaseException:
        with suppress(Exception):
            fs.rm_file(partial)
        raise


def _opened(fs: Any, path: str, *, replace: bool) -> Any:  # noqa: ANN401 - fsspec has no types
    if hasattr(fs, "sink"):  # one of ours
        return fs.sink(path, replace=replace, block_bytes=_PART_BYTES)
    return fs.open(path, mode="wb" if replace else "xb", block_size=_PART_BYTES)


def _finish(fs: Any, file: Any, path: str, what: str, *, replace: bool) -> None:  # noqa: ANN401
    try:
        if not file.tell() and not replace and not hasattr(fs, "sink"):
            file.closed = True  # s3fs would replace what is there by an empty object
            fs.pipe_file(path, b"", mode="create")
        else:
            file.close()
    except Exception as exc:
        # Storages name a refusal in several ways; what matters is what is there.
        if not replace and _is_there(fs, path):
            raise _exists(what) from exc
        raise


def _discard(file: Any, what: str) -> None:  # noqa: ANN401 - fsspec has no types
    """Forget what was uploaded. Where that fails the storage keeps parts that nobody sees."""
    try:
        if hasattr(file, "discard"):
            file.discard()
    except Exception as exc:  # noqa: BLE001 - the first error is the one to tell
        _log.warning("parts of %s were left in the storage: %s", quoted(what), type(exc).__name__)
    file.closed = True  # or it would be published when it is collected as garbage


def _flush(file: Any) -> None:  # noqa: ANN401 - fsspec has no types
    """Bring a file to the disk, as far as its server can be asked to."""
    if hasattr(file, "fsync"):
        try:
            file.fsync()
        except Exception as exc:  # noqa: BLE001 - an extension of the protocol that many lack
            _log.debug("the server does not bring files to its disk: %s", type(exc).__name__)


def _put_in_place(
    fs: Any,  # noqa: ANN401 - fsspec has no types
    partial: str,
    path: str,
    what: str,
    *,
    replace: bool,
) -> None:
    if not replace and hasattr(fs, "_pool"):
        try:
            rename(fs, partial, path)
        except Exception as exc:
            if _is_there(fs, path):
                raise _exists(what) from exc
            raise
        return
    if not replace and _is_there(fs, path):
        raise _exists(what)
    fs.mv(partial, path)


def _is_there(fs: Any, path: str) -> bool:  # noqa: ANN401 - fsspec has no types
    """Whether there is an object; unlike fsspec's ``exists`` it takes no failure for a no."""
    try:
        found = fs.info(path)
    except FileNotFoundError:
        return False
    return bool(found.get("type") != "directory")


def _exists(what: str) -> StoreError:
    return BackupExistsError(f"{quoted(what)} is there already")


def delete(fs: Any, path: str, what: str) -> None:  # noqa: ANN401 - fsspec has no types
    """Remove an object that is there.

    Raises:
        BackupNotFoundError: It is not.
        StoreError: No permission, or the storage does not answer.
    """
    with translated(what, "write"):
        if not _is_there(fs, path):  # object storages do not mind
            raise BackupNotFoundError(f"no such file: {quoted(what)}")
        fs.rm_file(path)
