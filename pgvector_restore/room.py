"""Room on this machine's disks, for a server that runs here."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

__all__ = ["free_bytes"]


def free_bytes(data_folder: str | None) -> int | None:
    """Bytes free where a server keeps its data, or ``None`` if this is not to be seen from here.

    A server in a container may be reached under a local address and have its folder elsewhere:
    only a folder that is there, and is a server's, counts.
    """
    if data_folder is None:
        return None
    folder = Path(data_folder)
    with suppress(OSError):
        if (folder / "PG_VERSION").is_file() or any(folder.glob("PG_*")):
            return shutil.disk_usage(folder).free
    return None
