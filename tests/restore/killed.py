"""A program that restores and kills itself on the way; started by a test.

    python -m tests.restore.killed DSN ROOT JOBS WHERE

WHERE is the number of the statement at whose beginning it ends, or the phase at whose first event.
It exits with 0 if it came through.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import psycopg

from pgvector_restore import ProgressEvent, Restorer, open_store, pieces


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Dying(psycopg.Cursor[Any]):
    """Counts the statements of this process."""

    left = 0

    def execute(self, *args: Any, **kwargs: Any) -> Any:
        Dying.left -= 1
        if Dying.left == 0:
            die()
        return super().execute(*args, **kwargs)


def main(dsn: str, root: str, jobs: int, where: str) -> None:
    def listen(event: ProgressEvent) -> None:
        if event.phase == where:
            die()

    pieces.PART_BYTES = 20_000
    if where.isdecimal():
        Dying.left = int(where)
        psycopg.Cursor = Dying  # type: ignore[misc]
    with Restorer(open_store(root), dsn) as restorer:
        restorer.restore(mode="replace", strategy="swap", jobs=jobs, progress=listen)
    # What was left over says how many statements there are.
    print(Dying.left)  # noqa: T201 - the test reads it


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])
