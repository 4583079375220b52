"""Connections of the service: how many there are, and how long one may keep everybody waiting.

A client holds a connection without a token: by sending half a request, by sending a body slowly, or
by asking and not reading. Each of these has a time limit. Where there are as many connections as
there may be, the one that has kept the service waiting longest makes room for the one that comes,
so that an honest client is answered while a thousand others sit there.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from typing import Any, ClassVar

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from pgvector_restore.http.settings import ServiceSettings

__all__ = ["doorway_for", "is_loopback_address", "raise_file_limit"]

_log = logging.getLogger(__name__)

#: Seconds the head of a request may take, and a connection may be kept without one.
_HEAD_S = 15.0
#: Seconds in which a client must take something of what is sent to it.
_WRITE_S = 30.0
#: Seconds between two looks at a connection.
_LOOK_S = 5.0
#: Open files besides those of connections: of jobs, stores, databases; and, as many connections may
#: be accepted at once before any of them is looked at, twice as many files as connections.
_OTHER_FILES = 200

_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 5\r\n"
    b"Connection: close\r\n\r\n"
)


class Doorway(H11Protocol):
    """uvicorn's connection, which ends when its client keeps it waiting for too long."""

    #: Connections there may be, and from one address.
    most: ClassVar[int]
    most_of_one: ClassVar[int]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as there
        super().connection_made(transport)
        now = self.loop.time()
        #: Since when it waits for a request.
        self.asked_at = now
        #: Bytes that the system has not taken yet at the last look, and when some were taken.
        self.unsent = 0
        self.moved_at = now
        self.has_ended = False
        _end_with_the_peer(transport)
        if self._has_room():
            self.loop.call_later(min(_LOOK_S, _HEAD_S, _WRITE_S), self._look)
        else:
            _log.warning("too many connections, all of them at work: one more is answered 503")
            transport.write(_FULL)
            transport.close()
            self.loop.call_later(_LOOK_S, self.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self.has_ended = True
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        self.asked_at = self.loop.time()
        super().on_response_complete()

    def resume_writing(self) -> None:
        self.moved_at = self.loop.time()
        super().resume_writing()

    def abort(self) -> None:
        """End it without waiting for anything."""
        if not self.has_ended:
            self.has_ended = True
            self.transport.abort()

    def waiting_since(self) -> float | None:
        """Since when the client has kept it waiting; ``None``: it is at work."""
        if self.transport.get_write_buffer_size():
            return self.moved_at
        if self._is_idle() or self.conn.their_state is h11.SEND_BODY:
            return self.asked_at
        return None

    def _is_idle(self) -> bool:
        asked: Any = self.cycle  # None before the first request
        return asked is None or bool(asked.response_complete)

    def _has_room(self) -> bool:
        """Whether it may stay; the one that has waited longest goes for it, if there is one."""
        others = [
            one
            for one in self.connections
            if isinstance(one, Doorway) and one is not self and not one.has_ended
        ]
        if len(others) < self.most:
            host = self.client[0] if self.client else ""
            if is_loopback_address(host):  # a proxy of this machine speaks for everybody
                return True
            others = [one for one in others if one.client and one.client[0] == host]
            if len(others) < self.most_of_one:
                return True
        waiting = [(since, one) for one in others if (since := one.waiting_since()) is not None]
        if not waiting:
            return False
        min(waiting, key=lambda pair: pair[0])[1].abort()
        return True

    def _look(self) -> None:
        """End it if nothing was taken of what was sent, or no request has come, for too long."""
        if self.has_ended:
            return
        now, unsent = self.loop.time(), self.transport.get_write_buffer_size()
        if not unsent or unsent < self.unsent:
            self.moved_at = now
        self.unsent = unsent
        if now - self.moved_at >= _WRITE_S:
            _log.info("a client that does not read is let go")
            self.abort()
            return
        if self._is_idle() and now - self.asked_at >= _HEAD_S and not self.transport.is_closing():
            self.transport.close()
        self.loop.call_later(min(_LOOK_S, _HEAD_S, _WRITE_S), self._look)


def doorway_for(settings: ServiceSettings) -> type[Doorway]:
    """The class of connections of a service."""

    class Own(Doorway):
        most = _as_files_allow(settings.max_connections)
        most_of_one = settings.connections_per_address

    return Own


def is_loopback_address(host: str) -> bool:
    """Whether a peer's address is one of this machine's loopback, IPv4 within IPv6 included."""
    return host.startswith(("127.", "::ffff:127.")) or host in ("::1", "")


def _end_with_the_peer(transport: asyncio.Transport) -> None:
    """Let the system end a connection whose peer takes nothing of what it has been given."""
    sock = transport.get_extra_info("socket")
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    if sock is not None and option is not None and sock.family != getattr(socket, "AF_UNIX", None):
        sock.setsockopt(socket.IPPROTO_TCP, option, int(_WRITE_S * 1000))


def raise_file_limit(settings: ServiceSettings) -> None:
    """Let this process have as many files open as its connections may need, if it may."""
    if sys.platform == "win32":
        return
    import resource  # noqa: PLC0415 - not there on Windows

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * settings.max_connections + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))


def _as_files_allow(wanted: int) -> int:
    if sys.platform == "win32":
        return wanted
    import resource  # noqa: PLC0415 - not there on Windows

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    return max(1, min(wanted, (soft - _OTHER_FILES) // 2))
