"""Writing to remote file systems: an object is there in the end, or nothing is."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO, cast

from pgvector_restore.errors import BackupExistsError, BackupNotFoundError, StoreError, quoted
from pgvector_restore.storage._blocks import BlockSink, Uploads
from pgvector_restore.storage._guard import WritingStream, translated
from pgvector_restore.storage._sftp import SftpSink, rename
from pgvector_restore.storage._streams import sink_of

__all__ = ["delete", "renamed", "uploaded"]

_log = logging.getLogger(__name__)


@contextmanager
def uploaded(
    fs: Any,  # noqa: ANN401 - fsspec has no types
    uploads: Uploads,
    path: str,
    what: str,
    *,
    replace: bool,
) -> Iterator[BinaryIO]:
    """An object that the storage shows when all of it has come.

    Where ``replace`` is not asked for the storage itself refuses to replace, in the request that
    publishes: what came meanwhile is not lost.

    Args:
        fs: The file system.
        uploads: Shared by all that is uploaded over it.
        path: The object, as the file system names it.
        what: How errors name it.
        replace: Take the place of what is there.
    """
    with translated(what, "write"):
        if not replace and _is_there(fs, path):
            raise _exists(what)
        sink = sink_of(fs, uploads, path, replace=replace)
    publishing = False
    try:
        with WritingStream(sink, what) as stream:
            yield cast("BinaryIO", stream)
        publishing = True
        with translated(what, "write"):
            _finish(fs, sink, path, what, replace=replace)
    except BaseException as exc:
        _discard(sink, what)
        if publishing and not replace and not isinstance(exc, Exception):
            _withdraw(fs, sink, path, what)
        if not replace and exc.__cause__ is sink.error and isinstance(sink.error, FileExistsError):
            raise _exists(what) from sink.error  # Google refuses the first block already
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
                hint="wait for its writer; if that has died, prune sweeps it a day later",
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


def _finish(fs: Any, sink: BlockSink, path: str, what: str, *, replace: bool) -> None:  # noqa: ANN401
    try:
        sink.publish()
    except Exception as exc:
        # Storages name a refusal in several ways, and an answer may be lost: what matters is what
        # is there.
        try:
            is_there = _is_there(fs, path)
            if is_there and sink.was_published():
                return
        except Exception:  # noqa: BLE001 - it does not answer, as the first error says
            raise exc from None
        if is_there and not replace:
            raise _exists(what) from exc
        raise


def _discard(sink: BlockSink, what: str) -> None:
    """Forget what was uploaded. Where that fails the storage keeps parts that nobody sees."""
    try:
        sink.discard()
    except Exception as exc:  # noqa: BLE001 - the first error is the one to tell
        _log.warning("parts of %s were left in the storage: %s", quoted(what), type(exc).__name__)


def _withdraw(fs: Any, sink: BlockSink, path: str, what: str) -> None:  # noqa: ANN401
    """Remove what was shown when its writer was interrupted already."""
    try:
        if sink.was_published():
            fs.rm_file(path)
    except FileNotFoundError:
        pass  # as it should be
    except Exception as exc:  # noqa: BLE001 - the interruption is what to tell
        _log.warning(
            "%s may be there, its writer was interrupted: %s", quoted(what), type(exc).__name__
        )


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
