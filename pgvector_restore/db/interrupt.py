"""Ending a restore that was called off, whatever its connection is waiting for."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

from pgvector_restore.cancel import CancelToken
from pgvector_restore.errors import CancelledError, OutcomeUnknownError

__all__ = ["Interrupter", "cut", "interruptible"]

#: Seconds between two looks at the token, and between two requests to cancel: one that comes
#: between two statements is lost.
_POLL_S = 0.1
#: Seconds a request to cancel may take to be delivered.
_REQUEST_S = 0.4
#: After so many seconds the server is taken to be out of reach, and the connection is cut.
_PATIENCE_S = 0.8


class Interrupter:
    """Cancels what runs on a connection, once a token says so.

    Args:
        conn: The connection. Another thread may wait on it.
        token: When.
    """

    def __init__(self, conn: psycopg.Connection[Any], token: CancelToken) -> None:
        self._conn = conn
        self._token = token
        self._lock = threading.Lock()
        self._armed = True
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pgvector_restore cancel")
        self._thread.daemon = True
        self._thread.start()

    def disarm(self) -> None:
        """From now on it cancels nothing: COMMIT is next, or the tidying up after an error."""
        with self._lock:
            self._armed = False

    def close(self) -> None:
        """Disarm it, and wait for its thread."""
        self.disarm()
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._token.cancelled:
            if self._over.wait(_POLL_S):
                return
        deadline = time.monotonic() + _PATIENCE_S
        while self._cancel(cutting=time.monotonic() > deadline) and not self._over.wait(_POLL_S):
            pass

    def _cancel(self, *, cutting: bool) -> bool:
        """Ask once; says whether to ask again."""
        with self._lock:
            if not self._armed or self._conn.closed:
                return False
            if cutting and self._conn.pgconn.transaction_status == TransactionStatus.ACTIVE:
                cut(self._conn)
                return False
            with suppress(psycopg.Error):
                self._conn.cancel_safe(timeout=_REQUEST_S)
            return True


def cut(conn: psycopg.Connection[Any]) -> None:
    """End the connection under the thread that waits on it; its backend rolls back."""
    with suppress(OSError, psycopg.Error):
        ours = socket.socket(fileno=conn.pgconn.socket)
        try:
            ours.shutdown(socket.SHUT_RDWR)
        finally:
            ours.detach()  # the file descriptor is libpq's


@contextmanager
def interruptible(conn: psycopg.Connection[Any], token: CancelToken) -> Iterator[Interrupter]:
    """Whatever runs on the connection inside of the block ends soon after the token says so.

    Raises:
        CancelledError: In place of the error that the block ended in because of that.
    """
    token.check()
    interrupter = Interrupter(conn, token)
    try:
        yield interrupter
    except OutcomeUnknownError:
        raise  # COMMIT was on its way: that it was called off says nothing
    except Exception as exc:
        if not token.cancelled or isinstance(exc, CancelledError):
            raise
        raise CancelledError("cancelled: nothing has changed") from exc
    finally:
        interrupter.close()
