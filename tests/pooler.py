"""A pooler before a server's Unix socket: a client has a connection for one transaction."""

from __future__ import annotations

import secrets
import selectors
import socket
import struct
import threading
from contextlib import suppress
from queue import Empty, Queue
from types import TracebackType

from psycopg.conninfo import conninfo_to_dict, make_conninfo

__all__ = ["Pooler"]

_SSL, _GSS, _CANCEL, _PROTOCOL = 80877103, 80877104, 80877102, 196608
_READY = b"Z\x00\x00\x00\x05I"


class _Server:
    """A connection to the server, logged in."""

    def __init__(self, path: str, user: str, database: str) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        text = f"user\0{user}\0database\0{database}\0\0".encode()
        self.socket.sendall(struct.pack("!ii", 8 + len(text), _PROTOCOL) + text)
        #: What the server has said of itself.
        self.settings = b""
        self.key = b""
        while True:
            kind, body = self._message()
            if kind == b"S":
                self.settings += kind + struct.pack("!i", 4 + len(body)) + body
            elif kind == b"K":
                self.key = body
            elif kind == b"Z":
                return
            else:
                assert kind == b"R", body

    def _message(self) -> tuple[bytes, bytes]:
        head = exactly(self.socket, 5)
        return head[:1], exactly(self.socket, struct.unpack("!i", head[1:])[0] - 4)

    def cancel(self) -> None:
        """What runs on it is to end."""
        with socket.socket(socket.AF_UNIX) as one:
            one.connect(self.path)
            one.sendall(struct.pack("!ii", 8 + len(self.key), _CANCEL) + self.key)
            one.recv(1)


def exactly(one: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = one.recv(count - len(data))
        if not more:
            raise ConnectionError
        data += more
    return data


class _Frames:
    """Cuts what passes into messages."""

    def __init__(self) -> None:
        self._left = b""

    def cut(self, data: bytes) -> list[bytes]:
        """The beginnings of the messages that are complete, type and length and one byte more."""
        found, data = [], self._left + data
        while len(data) >= 5 and len(data) > struct.unpack("!i", data[1:5])[0]:
            end = 1 + struct.unpack("!i", data[1:5])[0]
            found.append(data[: min(end, 6)])
            data = data[end:]
        self._left = data
        return found


class Pooler:
    """Lends connections to TCP clients, a transaction at a time; a context manager.

    Who has waited longest is served first, and gets the connection that has been free for longest:
    where there are several, hardly anybody has the same one twice.

    Args:
        dsn: The server, by the folder of its socket.
        size: How many connections there are.
    """

    def __init__(self, dsn: str, size: int) -> None:
        given = conninfo_to_dict(dsn)
        self._login = (
            f"{given['host']}/.s.PGSQL.{given['port']}",
            str(given["user"]),
            str(given["dbname"]),
        )
        self._size = size
        self._free: Queue[_Server] = Queue()
        for _ in range(size):
            server = _Server(*self._login)
            self._settings = server.settings
            self._free.put(server)
        self._lent: dict[bytes, _Server | None] = {}
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.dsn = make_conninfo(dsn, host="127.0.0.1", port=self._listening.getsockname()[1])

    def __enter__(self) -> Pooler:  # noqa: PYI034 - typing.Self came with 3.11
        threading.Thread(target=self._accept, name="pooler", daemon=True).start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for _ in range(self._size):  # those that are lent come back when their clients have gone
            with suppress(Empty):
                self._free.get(timeout=60).socket.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=[client], daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        key = b""
        with client, suppress(OSError):
            while True:
                size, code = struct.unpack("!ii", exactly(client, 8))
                rest = exactly(client, size - 8)
                if code == _CANCEL:
                    server = self._lent.get(rest)
                    if server is not None:
                        server.cancel()
                    return
                if code not in (_SSL, _GSS):
                    break
                client.sendall(b"N")
            key = secrets.token_bytes(8)
            self._lent[key] = None
            authenticated = b"R" + struct.pack("!ii", 8, 0)
            told = b"K" + struct.pack("!i", 12) + key
            client.sendall(authenticated + self._settings + told + _READY)
            while client.recv(1, socket.MSG_PEEK) not in (b"", b"X"):
                self._transaction(client, key)

    def _transaction(self, client: socket.socket, key: bytes) -> None:
        """Lend a connection until a transaction ends; one with a transaction in it is not kept."""
        server = self._lent[key] = self._free.get()
        try:
            if not self._pass_on(client, server.socket):
                server.socket.close()
                server = _Server(*self._login)
        except OSError:
            server.socket.close()
            server = _Server(*self._login)
            raise
        finally:
            self._lent[key] = None
            self._free.put(server)

    @staticmethod
    def _pass_on(client: socket.socket, server: socket.socket) -> bool:
        """Says whether the transaction has ended, rather than the client."""
        asked, frames, answers = 0, _Frames(), _Frames()
        with selectors.DefaultSelector() as selector:
            selector.register(client, selectors.EVENT_READ, (server, frames))
            selector.register(server, selectors.EVENT_READ, (client, answers))
            while True:
                for found, _ in selector.select():
                    source = found.fileobj
                    assert isinstance(source, socket.socket)
                    goal, cutter = found.data
                    data = source.recv(1 << 16)
                    if not data:
                        if source is server:
                            raise ConnectionError
                        return False
                    goal.sendall(data)
                    for message in cutter.cut(data):
                        if source is client:
                            if message[:1] == b"X":
                                return False
                            asked += message[:1] in b"QS"
                        elif message[:1] == b"Z":
                            asked -= 1
                            if message == _READY and asked <= 0:
                                return True
