"""Small disks: tmpfs that tests fill up."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

__all__ = ["unmount"]


def unmount(folder: Path) -> None:
    """Unmount a disk. A process that has not yet closed its files there keeps it for a moment."""
    for _ in range(100):
        if not subprocess.run(["umount", folder], capture_output=True, check=False).returncode:
            return
        time.sleep(0.1)
    # Out of the way at once, gone when the last of them lets go.
    subprocess.run(["umount", "-l", folder], check=True)
