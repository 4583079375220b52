"""Clients that hold connections without a token: a thousand of them, and an honest one."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from pgvector_restore.http import ServiceSettings, create_app, doorway, server
from tests.http.running import TOKEN, wait_for

#: They take long, with processes, poolers and silences that are waited for.
pytestmark = pytest.mark.faults

if sys.platform == "win32":
    pytest.skip("needs thousands of files", allow_module_level=True)

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
HEAD = f"Host: localhost\r\nAuthorization: Bearer {TOKEN}\r\n".encode()
LARGE = b"GET /openapi.json HTTP/1.1\r\n" + HEAD + b"\r\n"
SLOW = (
    b"POST /api/v1/plan HTTP/1.1\r\n"
    + HEAD
    + (b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
)


class Served:
    """A service as ``serve`` runs it."""

    def __init__(self, uvi: uvicorn.Server, address: Any) -> None:
        self.uvi = uvi
        self.address = address

    def connect(self, sent: bytes, receive_bytes: int | None = None) -> socket.socket:
        client = socket.socket()
        if receive_bytes is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        client.settimeout(60)
        client.connect(self.address)
        client.sendall(sent)
        return client

    def honest(self) -> bytes:
        """The first line of the answer to a client that asks and reads."""
        with self.connect(HEALTH) as client:
            return client.recv(4096).partition(b"\r\n")[0]

    @property
    def connections(self) -> int:
        return len(self.uvi.server_state.connections)


def has_ended(client: socket.socket) -> bool:
    """Whether the other side has ended the connection without an answer."""
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


@contextmanager
def served(root: Path, **values: Any) -> Iterator[Served]:
    settings = ServiceSettings.load(store=str(root), token=TOKEN, port=0, **values)
    doorway.raise_file_limit(settings)
    app = create_app(settings)
    with server.listen(settings) as sock:
        uvi = uvicorn.Server(server.configuration(app, settings))
        thread = threading.Thread(target=uvi.run, kwargs={"sockets": [sock]})
        thread.start()
        try:
            yield Served(uvi, sock.getsockname())
        finally:
            uvi.should_exit = uvi.force_exit = True
            thread.join()


@pytest.fixture
def _many_files() -> None:
    import resource  # noqa: PLC0415 - not there on Windows

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 4096:
        pytest.skip("too few files may be open here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4096), hard))


@pytest.mark.usefixtures("_many_files")
def test_a_thousand_that_hold_on_and_an_honest_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doorway, "_HEAD_S", 3600.0)  # no time limit makes room here
    half = b"GET / HTTP/1.1\r\nHo"
    kinds = [*[b"", half] * 9, SLOW, HEALTH * 3]
    with served(tmp_path, body_timeout_s=3600) as service, ExitStack() as held:
        clients = [
            held.enter_context(service.connect(kinds[number % len(kinds)]))
            for number in range(1000)
        ]
        wait_for(lambda: service.connections >= 990)
        for _ in range(5):
            assert service.honest() == b"HTTP/1.1 200 OK"
        assert service.connections >= 900
        ended = 0
        for client in clients:
            client.settimeout(0)
            try:
                while block := client.recv(4096):
                    assert block
                ended += 1
            except BlockingIOError:
                pass
            except ConnectionResetError:
                ended += 1
        assert ended < 100


def test_only_who_keeps_it_waiting_makes_room(tmp_path: Path) -> None:
    with served(tmp_path, max_connections=2) as service:
        waiting = [service.connect(SLOW), service.connect(b"GET / HTTP/1.1\r\nHo")]
        wait_for(lambda: service.connections == 2)
        assert service.honest() == b"HTTP/1.1 200 OK"
        with waiting[0] as first, waiting[1] as second:
            assert has_ended(first)  # it was there first
            second.sendall(b"st: localhost\r\n\r\n")
            assert second.recv(4096).startswith(b"HTTP/1.1 401")


def test_one_address_has_its_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doorway, "is_loopback_address", lambda _: False)
    with served(tmp_path, connections_per_address=3) as service, ExitStack() as held:
        clients = [held.enter_context(service.connect(b"GET")) for _ in range(3)]
        wait_for(lambda: service.connections == 3)
        assert service.honest() == b"HTTP/1.1 200 OK"
        assert has_ended(clients[0])
        clients[2].sendall(b" /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert clients[2].recv(4096).startswith(b"HTTP/1.1 200")


def test_clients_that_never_read_are_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doorway, "_WRITE_S", 1.0)
    with (
        served(tmp_path) as service,
        service.connect(LARGE * 200, receive_bytes=4096),
        service.connect(b"GET") as quiet,
    ):
        wait_for(lambda: service.connections == 2)
        wait_for(lambda: service.connections == 1)
        quiet.sendall(b" /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert quiet.recv(4096).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("host", "found"),
    [
        *(("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("::ffff:127.0.0.1", True)),
        *(("10.0.0.1", False), ("::ffff:10.0.0.1", False), ("fe80::1", False)),
    ],
)
def test_loopback(host: str, found: bool) -> None:  # noqa: FBT001 - a parameter
    assert doorway.is_loopback_address(host) is found
