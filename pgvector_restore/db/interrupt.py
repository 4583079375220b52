"""Ending what a connection waits for: because it was called off, or has waited for long enough."""

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
from pgvector_restore.errors import CancelledError, ConnectError, OutcomeUnknownError

__all__ = ["Interrupter", "Limit", "ask_to_cancel", "cut", "interruptible", "limited"]

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
        while self._cancel(for_good=time.monotonic() > deadline) and not self._over.wait(_POLL_S):
            pass

    def _cancel(self, *, for_good: bool) -> bool:
        """Ask once; says whether to ask again."""
        with self._lock:
            if not self._armed or self._conn.closed:
                return False
            if for_good and self._conn.pgconn.transaction_status == TransactionStatus.ACTIVE:
                cut(self._conn)
                return False
            ask_to_cancel(self._conn, _REQUEST_S)
            return True


def ask_to_cancel(conn: psycopg.Connection[Any], timeout_s: float) -> None:
    """Ask the server to cancel what runs on the connection; takes no longer than that.

    The request goes over a connection of its own, which may be accepted and never answered. An
    older libpq waits for it without end: there a thread does.
    """
    if psycopg.capabilities.has_cancel_safe():
        with suppress(psycopg.Error):
            conn.cancel_safe(timeout=timeout_s)
        return
    thread = threading.Thread(target=_cancel, args=(conn,), name="pgvector_restore request")
    thread.daemon = True
    thread.start()
    thread.join(timeout_s)


def _cancel(conn: psycopg.Connection[Any]) -> None:
    with suppress(psycopg.Error):
        conn.cancel()


class Limit:
    """Cuts a connection after a time, unless it is over before; made by :func:`limited`."""

    def __init__(self, conn: psycopg.Connection[Any], seconds: float) -> None:
        self._conn = conn
        self._lock = threading.Lock()
        self._armed = True
        #: The time has passed, and the connection was cut.
        self.passed = False
        self._timer = threading.Timer(seconds, self._pass)
        self._timer.daemon = True
        self._timer.start()

    def _pass(self) -> None:
        with self._lock:
            if self._armed:
                self.passed = True
                cut(self._conn)

    def over(self) -> None:
        """What was waited for is there."""
        with self._lock:
            self._armed = False
        self._timer.cancel()


@contextmanager
def limited(conn: psycopg.Connection[Any], seconds: float, what: str) -> Iterator[Limit]:
    """The server answers within so many seconds, or the connection is cut.

    No timeout of libpq or of the server counts where a pooler has accepted a connection, and has
    none to the server to go on with.

    Args:
        conn: The connection.
        seconds: From now until the block ends, or the limit is over.
        what: What is waited for, in the words of the error.

    Raises:
        ConnectError: It has not answered.
    """
    limit = Limit(conn, seconds)
    try:
        yield limit
    except psycopg.OperationalError as exc:
        if not limit.passed:
            raise
        raise ConnectError(
            f"{what} was not answered within {seconds:g} s",
            hint="does a pooler have no connection to the server left?",
        ) from exc
    finally:
        limit.over()


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
