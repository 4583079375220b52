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
        _end(self._listening)  # wakes whoever accepts

    def _accept(self) -> None:
        with suppress(OSError), self._listening:
            while True:
                client, _ = self._listening.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server:
            server.connect(str(self._target))
            muted = threading.Event()
            back = threading.Thread(target=self._down, args=(client, server, muted), daemon=True)
            back.start()
            self._up(client, server, muted)
            back.join()

    def _up(self, client: socket.socket, server: socket.socket, muted: threading.Event) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                verdict = self.judge(data)
                if verdict == "before":
                    break
                if verdict == "after":
                    muted.set()
                server.sendall(data)
        _end(client, server)

    def _down(self, client: socket.socket, server: socket.socket, muted: threading.Event) -> None:
        with suppress(OSError):
            while (data := server.recv(65536)) and not muted.is_set():
                client.sendall(data)
        _end(client, server)


def _end(*sockets: socket.socket) -> None:
    for one in sockets:
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


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
