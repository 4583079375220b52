"""A web server over a folder: index pages, ranges, ETags, and faults that a test asks for."""

from __future__ import annotations

import base64
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class WebServer(ThreadingHTTPServer):
    """Serves ``root`` on a free port of 127.0.0.1."""

    daemon_threads = True

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root = root
        #: ``user:password`` that is asked for; ``None``: anybody may read.
        self.login: str | None = None
        #: Whether a range is answered by that range.
        self.ranges = True
        #: Headers of answers with a body, beside or in place of the usual ones; ``None``: left out.
        self.headers: dict[str, str | None] = {}
        #: The same for answers to a range that has an end.
        self.part_headers: dict[str, str | None] = {}
        #: Status of those answers; 200: all of the file.
        self.part_status: int | None = None
        #: Status of requests for a head alone.
        self.head_status: int | None = None
        #: After so many bytes of each body the connection ends; ``None``: at its end.
        self.cut_after: int | None = None
        #: So many requests are refused for the moment.
        self.busy = 0
        self.busy_headers: dict[str, str] = {}
        #: Seconds before each body.
        self.wait_s = 0.0
        #: Method, path and range of every request.
        self.requests: list[tuple[str, str, str | None]] = []
        #: Who asked, with the port: one for each connection.
        self.clients: set[Any] = set()
        #: Status and target of what a path leads to.
        self.redirects: dict[str, tuple[int, str]] = {}
        #: What is sent for a path, byte for byte.
        self.answers: dict[str, bytes] = {}
        #: Values of ``Authorization`` that came.
        self.logins: list[str | None] = []

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: clients that go away are what is tried."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def web_server(root: Path) -> Iterator[WebServer]:
    with WebServer(root) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def serving_file(root: Path, data: bytes) -> Iterator[WebServer]:
    """A web server of a folder with a file ``data/x.csv``."""
    (root / "data").mkdir()
    (root / "data" / "x.csv").write_bytes(data)
    with web_server(root) as running:
        yield running


class _Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: WebServer

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass

    def translate_path(self, path: str) -> str:
        self.directory = str(self.server.root)
        return super().translate_path(path)

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        server = self.server
        wanted = self.headers.get("Range")
        server.requests.append((self.command, self.path, wanted))
        server.clients.add(self.client_address)
        server.logins.append(self.headers.get("Authorization"))
        path_alone = self.path.partition("?")[0]
        if path_alone in server.answers:
            self.close_connection = True
            self.wfile.write(server.answers[path_alone])
            return
        if path_alone in server.redirects:
            status, target = server.redirects[path_alone]
            self.send_response(status)
            self._send_headers({"Location": target, "Content-Length": "0"})
            return
        if self.command == "HEAD" and server.head_status:
            self.send_error(server.head_status)
            return
        if server.busy:
            server.busy -= 1
            self.send_response(HTTPStatus.SERVICE_UNAVAILABLE)
            self._send_headers({"Content-Length": "0", **server.busy_headers})
            return
        if self.server.login is not None:
            token = base64.b64encode(self.server.login.encode()).decode()
            if self.headers.get("Authorization") != f"Basic {token}":
                self.send_error(HTTPStatus.UNAUTHORIZED)
                return
        path = Path(self.translate_path(self.path))
        if not path.is_file() or self.path.endswith("/"):
            head = super().send_head()  # an index page, a redirect to it, or an error
            if head:
                with head:
                    self.wfile.write(head.read() if self.command == "GET" else b"")
            return
        self._send_file(path, wanted)

    def _send_file(self, path: Path, wanted: str | None) -> None:
        server = self.server
        data, found = path.read_bytes(), path.stat()
        etag = f'"{found.st_mtime_ns:x}-{found.st_size:x}"'
        usual: dict[str, str | None] = {
            "ETag": etag,
            "Last-Modified": self.date_time_string(found.st_mtime),
            **server.headers,
        }
        start, end, status = 0, len(data), int(HTTPStatus.OK)
        is_part = bool(wanted and not wanted.endswith("-"))
        as_told = self.headers.get("If-Range") in {None, usual["ETag"], usual["Last-Modified"]}
        if is_part and server.part_status not in {None, HTTPStatus.OK}:
            self.send_error(server.part_status or 0)
            return
        ranges = server.ranges and not (is_part and server.part_status == HTTPStatus.OK)
        if wanted and ranges and as_told and self.command == "GET":
            match = re.fullmatch(r"bytes=(\d+)-(\d*)", wanted)
            assert match
            start = int(match[1])
            end = min(end, int(match[2]) + 1 if match[2] else end)
            status = HTTPStatus.PARTIAL_CONTENT
            if start >= len(data):
                self.send_error(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
                return
            usual["Content-Range"] = f"bytes {start}-{end - 1}/{len(data)}"
        self.send_response(status)
        parts = server.part_headers if is_part else {}
        self._send_headers({"Content-Length": str(end - start), **usual, **parts})
        if self.command == "GET":
            self._send(data[start:end])

    def _send_headers(self, headers: dict[str, str | None]) -> None:
        for name, value in headers.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()

    def _send(self, body: bytes) -> None:
        time.sleep(self.server.wait_s)
        cut = self.server.cut_after
        if cut is not None and cut < len(body):
            self.close_connection = True
            body = body[:cut]
        self.wfile.write(body)
