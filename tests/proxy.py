"""A TCP proxy before a server's Unix socket, which can lose connections or let them go silent.

It can also be short of connections to the server, as a pooler is: it lets everybody log in, and
answers nothing more until there is one.
"""

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
from typing import Literal

from psycopg.conninfo import conninfo_to_dict, make_conninfo

#: A simple query message: type, length, text.
COMMIT = b"Q\x00\x00\x00\x0bCOMMIT\x00"

_BYTES = 1 << 16
_POLL_S = 0.01
#: ``SO_ATTACH_FILTER`` of Linux, which the socket module does not name.
_ATTACH_FILTER = 26
#: A packet filter of one instruction that keeps nothing (``BPF_RET | BPF_K``, 0 bytes).
_KEEP_NOTHING = struct.pack("HBBI", 0x06, 0, 0, 0)

#: Messages of a client that has logged in and wants something: those that need the server.
_WANTING = b"QPBDECFS"
#: What the server sends when a transaction is over.
_READY = b"Z\x00\x00\x00\x05I"

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
        #: Connections to the server that clients share; ``None``: each has one of its own.
        self.slots: int | None = None
        #: How long a client has one: until it goes, or for a transaction.
        self.pooling: Literal["session", "transaction"] = "session"
        #: Further clients are accepted, and hear nothing at all.
        self.mute = False
        #: How many clients have waited for a connection to the server.
        self.waited = 0
        self._holding: set[socket.socket] = set()
        #: Clients that wait, and what they have sent.
        self._waiting: dict[socket.socket, bytes] = {}
        self._unanswered: list[socket.socket] = []
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
            own = (*self._unanswered, self._listening)
            for one in (*self._pairs, *self._pairs.values(), *own):
                one.close()
            self._selector.close()

    def _do(self, action: Callable[[], None]) -> None:
        done = threading.Event()
        self._commands.put((action, done))
        assert done.wait(60)

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
        if self.mute:
            self._unanswered.append(client)
            return
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
                if source is not client or self._has_slot(client, data):
                    goal.sendall(data)
                if source is not client and self.pooling == "transaction" and data.endswith(_READY):
                    self._free(client)
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

    def _has_slot(self, client: socket.socket, data: bytes) -> bool:
        """Whether the client may go on; if not, what it sends is kept."""
        if client in self._waiting:
            self._waiting[client] += data
            return False
        if self.slots is None or client in self._holding or data[0] not in _WANTING:
            return True
        if len(self._holding) < self.slots:
            self._holding.add(client)
            return True
        self.waited += 1
        self._waiting[client] = data
        return False

    def _free(self, client: socket.socket) -> None:
        """The client's connection to the server is for the one who has waited for the longest."""
        self._holding.discard(client)
        while self._waiting and len(self._holding) < (self.slots or 0):
            following = next(iter(self._waiting))
            data = self._waiting.pop(following)
            self._holding.add(following)
            with suppress(OSError):
                self._pairs[following].sendall(data)

    def _forget(self, client: socket.socket) -> None:
        self._waiting.pop(client, None)
        self._free(client)
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
