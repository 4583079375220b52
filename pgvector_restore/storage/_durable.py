"""Names in a folder that are there after a crash as well."""

# Strings, not Path objects, as in all of the local storage.
# ruff: noqa: PTH104, PTH105, PTH108, PTH119, PTH120

from __future__ import annotations

import os
import sys
from contextlib import suppress

from pgvector_restore.errors import BackupExistsError, quoted

__all__ = ["put_in_place", "sync_folder"]


def put_in_place(partial: str, path: str, *, replace: bool) -> None:
    """Give a finished file its name; a crash leaves the old name or the new one."""
    if replace:
        os.replace(partial, path)
    elif sys.platform == "win32":
        os.rename(partial, path)  # refuses a name that is taken
    else:
        try:
            os.link(partial, path)  # refuses it as well, which rename does not
        except FileExistsError as exc:
            raise BackupExistsError(f"{quoted(os.path.basename(path))} is there already") from exc
        except OSError:  # a file system without hard links
            os.rename(partial, path)
        else:
            os.unlink(partial)
    sync_folder(os.path.dirname(path))


def sync_folder(path: str) -> None:
    """Bring a folder's names to the disk, where the system can."""
    if sys.platform == "win32":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network drives cannot
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
