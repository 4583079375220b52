"""A TCP proxy before a server on 127.0.0.1 that cuts connections or lets them go silent."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from types import TracebackType


class TcpProxy:
    """A context manager; clients connect to ``port``.

    Args:
        target: Port of the server.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        #: After so many bytes of the server a connection is cut; ``None``: never.
        self.cut_after: int | None = None
        #: So many connections are cut; ``None``: each.
        self.cuts_left: int | None = None
        #: After so many bytes of the server over one connection all go silent; ``None``: never.
        self.stall_after: int | None = None
        #: Bytes of the server are held back while this is not set.
        self.flowing = threading.Event()
        self.flowing.set()
        #: Connections there have been.
        self.connections = 0
        self._open: list[socket.socket] = []

    def __enter__(self) -> TcpProxy:  # noqa: PYI034 - typing.Self came with 3.11
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._listening.close()
        self.flowing.set()
        self.reset()

    def reset(self) -> None:
        """Cut all connections there are."""
        while self._open:
            _close(self._open.pop())

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                self.connections += 1
                self._open += [client, server]
                for source, goal, is_answer in ((client, server, False), (server, client, True)):
                    threading.Thread(
                        target=self._pass_on, args=(source, goal, is_answer), daemon=True
                    ).start()

    def _pass_on(self, source: socket.socket, goal: socket.socket, is_answer: bool) -> None:  # noqa: FBT001
        passed = 0
        with suppress(OSError):
            while data := source.recv(1 << 16):
                passed += len(data)
                if is_answer:
                    if self.stall_after is not None and passed > self.stall_after:
                        self.flowing.clear()
                    self.flowing.wait()
                    if self._cuts(passed):
                        break
                goal.sendall(data)
        _close(source)
        _close(goal)

    def _cuts(self, passed: int) -> bool:
        if self.cut_after is None or passed <= self.cut_after or self.cuts_left == 0:
            return False
        if self.cuts_left is not None:
            self.cuts_left -= 1
        return True


def _close(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
