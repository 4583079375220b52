"""A proxy between client and server that loses a connection at a chosen moment."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict, make_conninfo

#: A simple query message: type, length, text.
COMMIT = b"Q\x00\x00\x00\x0bCOMMIT\x00"


class Proxy:
    """Passes bytes on between Unix sockets.

    Args:
        folder: Where its socket is to be.
        target: The server's socket.
    """

    def __init__(self, folder: Path, target: Path) -> None:
        self._target = target
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(folder / target.name))
        self._listening.listen()
        #: Called with what a client sends, before it is passed on; a connection is closed when it
        #: answers ``before``, or ``after`` the server has answered that.
        self.judge: Callable[[bytes], str | None] = lambda _data: None
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(str(self._target))
                self.connections += 1
                muted = threading.Event()
                for work in (self._up, self._down):
                    threading.Thread(target=work, args=(client, server, muted), daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket, muted: threading.Event) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                verdict = self.judge(data)
                if verdict == "before":
                    break
                if verdict == "after":
                    muted.set()
                server.sendall(data)
                if verdict == "silent":
                    muted.set()
        for end in (client, server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _down(self, client: socket.socket, server: socket.socket, muted: threading.Event) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                if muted.is_set():
                    break
                client.sendall(data)
        for end in (client, server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextmanager
def proxied(dsn: str, folder: Path) -> Iterator[tuple[Proxy, str]]:
    """A proxy before the server of a connection string, and the connection string through it."""
    given = conninfo_to_dict(dsn)
    target = Path(str(given["host"])) / f".s.PGSQL.{given['port']}"
    proxy = Proxy(folder, target)
    try:
        yield proxy, make_conninfo(dsn, host=str(folder))
    finally:
        proxy.close()
