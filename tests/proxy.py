"""A TCP proxy before a server's Unix socket, which can lose connections or let them go silent."""

from __future__ import annotations

import ctypes
import selectors
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from types import TracebackType

from psycopg.conninfo import conninfo_to_dict, make_conninfo

#: A simple query message: type, length, text.
COMMIT = b"Q\x00\x00\x00\x0bCOMMIT\x00"

_BYTES = 1 << 16
_POLL_S = 0.01
#: ``SO_ATTACH_FILTER`` of Linux, which the socket module does not name.
_ATTACH_FILTER = 26
#: A packet filter of one instruction that keeps nothing (``BPF_RET | BPF_K``, 0 bytes).
_KEEP_NOTHING = struct.pack("HBBI", 0x06, 0, 0, 0)

#: ``before``, ``after``, or ``None``: pass it on.
Judge = Callable[[bytes], str | None]

#: What a client behind a proxy is told, so that silence is noticed within about three seconds.
TIMEOUTS = {
    "connect_timeout": 5,
    "tcp_user_timeout": 1500,  # milliseconds
    "keepalives_idle": 1,
    "keepalives_interval": 1,
    "keepalives_count": 2,
}


class Proxy:
    """Passes bytes between TCP clients on 127.0.0.1 and a server; a context manager.

    Args:
        dsn: The server, by the folder of its socket.
    """

    def __init__(self, dsn: str) -> None:
        given = conninfo_to_dict(dsn)
        self._target = f"{given['host']}/.s.PGSQL.{given['port']}"
        #: Called with what a client sends, before it is passed on. The connection is broken when
        #: it answers ``before``, or ``after`` the server has answered, which nobody hears.
        self.judge: Judge = lambda _data: None
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.dsn = make_conninfo(
            dsn, host="127.0.0.1", port=self._listening.getsockname()[1], **TIMEOUTS
        )
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listening, selectors.EVENT_READ)
        #: Socket of a client → socket to the server.
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._silent: set[socket.socket] = set()
        #: Clients that no answer reaches any more.
        self._unheard: set[socket.socket] = set()
        self._commands: SimpleQueue[tuple[Callable[[], None], threading.Event]] = SimpleQueue()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)

    def __enter__(self) -> Proxy:  # noqa: PYI034 - typing.Self came with 3.11
        self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def reset(self) -> None:
        """Break all connections: clients get a reset, the server an end of file."""
        self._do(self._reset)

    def stall(self) -> None:
        """From now on nothing passes on the present connections, and nobody acknowledges anything.

        The kernel drops what clients send before TCP sees it, as a cut cable would.
        """
        self._do(self._stall)

    def close(self) -> None:
        """End everything; the server sees that its clients have gone."""
        if not self._closing:
            self._closing = True
            self._thread.join()
            for one in (*self._pairs, *self._pairs.values(), self._listening):
                one.close()
            self._selector.close()

    def _do(self, action: Callable[[], None]) -> None:
        done = threading.Event()
        self._commands.put((action, done))
        assert done.wait(10)

    def _run(self) -> None:
        while not self._closing:
            while not self._commands.empty():
                action, done = self._commands.get()
                action()
                done.set()
            for key, _ in self._selector.select(_POLL_S):
                one = key.fileobj
                if one is self._listening:
                    self._accept()
                elif isinstance(one, socket.socket) and one.fileno() >= 0:
                    self._pass_on(one, key.data)

    def _accept(self) -> None:
        client, _ = self._listening.accept()
        server = socket.socket(socket.AF_UNIX)
        try:
            server.connect(self._target)
        except OSError:
            for one in (client, server):
                one.close()
            return
        self._pairs[client] = server
        self._selector.register(client, selectors.EVENT_READ, server)
        self._selector.register(server, selectors.EVENT_READ, client)

    def _pass_on(self, source: socket.socket, goal: socket.socket) -> None:
        client = source if source in self._pairs else goal
        try:
            data = source.recv(_BYTES)
            if data and self._may_pass(data, source, client):
                goal.sendall(data)
                return
        except OSError:
            pass
        self._forget(client)

    def _may_pass(self, data: bytes, source: socket.socket, client: socket.socket) -> bool:
        if source is not client:
            return client not in self._unheard
        verdict = self.judge(data)
        if verdict == "after":
            self._unheard.add(client)
        return verdict != "before"

    def _forget(self, client: socket.socket) -> None:
        server = self._pairs.pop(client)
        for one in (client, server):
            if client not in self._silent:
                self._selector.unregister(one)
            one.close()
        self._silent.discard(client)
        self._unheard.discard(client)

    def _reset(self) -> None:
        for client in list(self._pairs):
            with suppress(OSError):  # no lingering: closing sends RST
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._forget(client)

    def _stall(self) -> None:
        for client, server in self._pairs.items():
            program = ctypes.create_string_buffer(_KEEP_NOTHING, len(_KEEP_NOTHING))
            # struct sock_fprog: how many instructions, and where they are.
            fprog = struct.pack("HP", 1, ctypes.addressof(program))
            client.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, fprog)
            self._selector.unregister(client)
            self._selector.unregister(server)
            self._silent.add(client)
