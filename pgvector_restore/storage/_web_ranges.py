"""Ranges of one version of a file on a web server, several at once."""

from __future__ import annotations

import http.client
import socket
import threading
import urllib.request
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from email.message import Message
from urllib.parse import urlsplit, urlunsplit

from pgvector_restore.storage._web_http import seconds_of, version_in
from pgvector_restore.storage._wide import AT_ONCE

__all__ = ["Ranges", "can_spread"]


class Ranges:
    """Connections to a server, each for one range at a time and kept for the next.

    What comes is of the version that is named, or an error.

    Args:
        answer: Of the file: where it came from, and the version it is of.
        headers: Sent along.
        size: Bytes of the file.
        timeout_s: Seconds without a byte.
        refused: Called when the server does not want to be asked in this way.
        closed: Called once, when nothing more will be asked for.
    """

    def __init__(
        self,
        answer: http.client.HTTPResponse,
        headers: Mapping[str, str],
        size: int,
        timeout_s: float,
        *,
        refused: Callable[[], None],
        closed: Callable[[], None],
    ) -> None:
        parts = urlsplit(answer.url)
        self._scheme, self._host, self._port = parts.scheme, parts.hostname or "", parts.port
        self._target = urlunsplit(("", "", parts.path or "/", parts.query, ""))
        self._headers = {**headers, "If-Range": _condition(answer.headers) or ""}
        self._version: Message = answer.headers
        self._size = size
        self._timeout_s = timeout_s
        self._refused = refused
        self._when_closed = closed
        self._idle: list[http.client.HTTPConnection] = []
        self._sockets: set[socket.socket] = set()
        self._closed = False
        self._changing = threading.Lock()
        self._buffers: list[bytearray] = []
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="pgvector_restore read")

    def ask(self, start: int, end: int) -> Future[memoryview]:
        """Ask for a range, of which all comes."""
        return self._pool.submit(self._fetch, start, end)

    def give_back(self, data: memoryview) -> None:
        """Say that a range has been used: the next one takes its memory."""
        if isinstance(data.obj, bytearray):
            with self._changing:
                self._buffers.append(data.obj)

    def close(self) -> None:
        """Let go of all that is on its way; nobody waits for it. Harmless when it is."""
        with self._changing:
            if self._closed:
                return
            self._closed = True
            idle, self._idle = self._idle, []
            for one in self._sockets:
                with suppress(OSError):
                    # Not the one of TLS, which would not let go while another thread reads.
                    socket.socket.shutdown(one, socket.SHUT_RDWR)
        for connection in idle:
            connection.close()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._when_closed()

    def _fetch(self, start: int, end: int) -> memoryview:
        with self._changing:
            kept = self._idle.pop() if self._idle else None
        if kept is not None:
            with suppress(ConnectionResetError, BrokenPipeError):  # closed by the server meanwhile
                return self._asked(kept, start, end)
        return self._asked(self._connection(), start, end)

    def _asked(self, connection: http.client.HTTPConnection, start: int, end: int) -> memoryview:
        known = None
        try:
            if connection.sock is None:
                connection.connect()
            known = connection.sock
            with self._changing:
                self._check_open()
                self._sockets.add(known)
            given = {**self._headers, "Range": f"bytes={start}-{end - 1}"}
            connection.request("GET", self._target, headers=given)
            data = self._body_of(connection.getresponse(), start, end)
            with self._changing:
                self._check_open()
                self._idle.append(connection)
        except BaseException:
            connection.close()
            raise
        finally:
            with self._changing:
                self._sockets.discard(known)
        return data

    def _body_of(self, answer: http.client.HTTPResponse, start: int, end: int) -> memoryview:
        with answer:
            if answer.status != http.client.PARTIAL_CONTENT:
                is_same = answer.status != http.client.OK or self._is_same(answer.headers)
                if is_same:
                    self._refused()
                raise ConnectionError(f"HTTP status {answer.status} for a range")
            if not self._is_same(answer.headers):
                raise ConnectionError("another file by now")
            wanted = f"bytes {start}-{end - 1}/{self._size}"
            if answer.headers.get("Content-Range", "").strip().lower() != wanted:
                self._refused()
                raise ConnectionError("another range than was asked for")
            data, filled = self._room(end - start), 0
            while count := answer.readinto(data[filled:]):
                filled += count
            # Its end is looked for as well, or the connection is of no more use after chunks.
            if filled != end - start or answer.read(1):
                raise ConnectionError(f"not the {end - start} bytes that were asked for")
        return data

    def _room(self, size: int) -> memoryview:
        with self._changing:
            buffer = self._buffers.pop() if self._buffers else bytearray()
        if len(buffer) < size:
            buffer = bytearray(size)
        return memoryview(buffer)[:size]

    def _is_same(self, headers: Message) -> bool:
        """Whether an answer is of the version that is read, as far as it tells."""
        pairs = (
            (version_in(self._version), version_in(headers)),
            (self._version.get("Last-Modified"), headers.get("Last-Modified")),
        )
        return all(now is None or first == now for first, now in pairs)

    def _connection(self) -> http.client.HTTPConnection:
        kind = (
            http.client.HTTPSConnection if self._scheme == "https" else http.client.HTTPConnection
        )
        return kind(self._host, self._port, timeout=self._timeout_s)

    def _check_open(self) -> None:
        if self._closed:
            raise ConnectionAbortedError("nobody reads on")


def can_spread(answer: http.client.HTTPResponse) -> bool:
    """Whether other requests can be bound to the version of an answer, and go the same way."""
    headers = answer.headers
    if headers.get("Accept-Ranges", "").strip().lower() == "none" or _condition(headers) is None:
        return False
    parts = urlsplit(answer.url)
    proxied = parts.scheme in urllib.request.getproxies()
    return not proxied or bool(urllib.request.proxy_bypass(parts.netloc))


def _condition(headers: Message) -> str | None:
    """What a request can be bound to: a strong ETag, or a time that had passed."""
    etag, changed = headers.get("ETag"), headers.get("Last-Modified")
    if etag and not etag.startswith("W/"):
        return etag
    first, now = seconds_of(changed), seconds_of(headers.get("Date"))
    return changed if first is not None and now is not None and first < now else None
