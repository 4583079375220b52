"""A service that restores on request: asyncio in front, threads behind, a pool of its own.

    python examples/service.py STORE [DSN]

Without DSN the environment names the database (``PGVECTOR_RESTORE_DSN``). The program answers a few
requests, as a web framework's handlers would, and prints status and body of each.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

from psycopg_pool import ConnectionPool

from pgvector_restore import (
    BackupNotFoundError,
    BackupStore,
    BadDataError,
    CancelledError,
    ConnectError,
    IncompleteBackupError,
    LoggingProgress,
    OptionError,
    OutcomeUnknownError,
    PgvectorRestoreError,
    ProgressEvent,
    Restorer,
    RestoreReport,
    StoreError,
    TargetBusyError,
    open_store,
)

log = logging.getLogger("service")

#: What callers are told: the first row that fits. Errors' own texts may hold pieces of rows and
#: words of the server, so they go to the log only.
ANSWERS: tuple[tuple[type[PgvectorRestoreError], int, str], ...] = (
    (OptionError, 400, "the request is wrong"),
    (BackupNotFoundError, 404, "no such backup"),
    (IncompleteBackupError, 409, "the backup is incomplete"),
    (TargetBusyError, 409, "the tables are in use, try again later"),
    (BadDataError, 422, "the backup holds something that cannot be restored"),
    (StoreError, 502, "the storage failed"),
    (ConnectError, 503, "the database cannot be reached"),
    (OutcomeUnknownError, 500, "the restore may or may not have happened"),
    (PgvectorRestoreError, 500, "the restore failed, nothing has changed"),
)


class Response(NamedTuple):
    """What goes back to a caller."""

    #: HTTP status.
    status: int
    #: JSON-ready body.
    body: dict[str, Any]


class RestoreService:
    """Lists and restores the backups of one store into one database.

    Callers choose a label and a mode, never a path and never a connection.

    Args:
        store: Where the backups lie.
        pool: Connections to the database; whoever made it closes it.
    """

    def __init__(self, store: BackupStore, pool: ConnectionPool) -> None:
        self._store = store
        self._restorer = Restorer(store, pool)

    async def backups(self) -> Response:
        """All sets that can be restored, newest first."""
        return await self._answer(self._backups)

    async def restore(self, label: str, mode: str = "replace") -> Response:
        """Restore a set. A caller that goes away calls it off."""
        gone = threading.Event()
        try:
            return await self._answer(self._restore, label, mode, gone)
        except asyncio.CancelledError:
            gone.set()  # the thread goes on; the next progress event ends it
            raise

    def _backups(self) -> dict[str, Any]:
        return {"backups": [backup.label for backup in self._store.catalog().sets]}

    def _restore(self, label: str, mode: str, gone: threading.Event) -> dict[str, Any]:
        show = LoggingProgress(log)

        def progress(event: ProgressEvent) -> None:
            if gone.is_set() and event.phase != "done":
                raise CancelledError("the caller has gone")
            show(event)

        report: RestoreReport = self._restorer.restore(label, mode=mode, progress=progress)
        return report.to_dict()

    async def _answer(self, work: Callable[..., dict[str, Any]], *args: object) -> Response:
        try:
            return Response(200, await asyncio.to_thread(work, *args))
        except PgvectorRestoreError as exc:
            log.warning("%s: %s (%s)", type(exc).__name__, exc, exc.hint)
            status, text = next((s, t) for kind, s, t in ANSWERS if isinstance(exc, kind))
            return Response(status, {"error": type(exc).__name__, "message": text})


async def demonstrate(service: RestoreService) -> list[Response]:
    """A few requests, two of them at the same time."""
    return [
        await service.backups(),
        *await asyncio.gather(
            service.restore("latest"),
            service.restore("vector_bak/19990101_000000"),
        ),
        await service.restore("latest", mode="upsert"),
    ]


def main() -> None:
    """Run the demonstration."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    store = open_store(sys.argv[1])
    dsn = sys.argv[2] if len(sys.argv) > 2 else os.environ["PGVECTOR_RESTORE_DSN"]  # noqa: PLR2004 - STORE, DSN
    # A pool of one's own is used as it is, so its connections bring their time limits along.
    limits = {"connect_timeout": 10, "tcp_user_timeout": 60_000}
    with ConnectionPool(dsn, kwargs=limits, min_size=0, max_size=4, open=True) as pool:
        for status, body in asyncio.run(demonstrate(RestoreService(store, pool))):
            print(status, json.dumps(body))


if __name__ == "__main__":
    main()
