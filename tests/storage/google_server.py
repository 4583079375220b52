"""Google Cloud Storage on a free port: gcp-storage-emulator, and what it leaves out.

The emulator keeps objects and speaks the JSON API, but ignores conditions. Added here, as the
service documents it (https://cloud.google.com/storage/docs/request-preconditions and
https://cloud.google.com/storage/docs/json_api/v1/objects):

* ``ifGenerationMatch`` of an upload: answered with 412 where it does not hold, both when an upload
  in parts begins and when its last part comes.
* ``generation`` of a download: 404 where that one is not there any more.
* ``x-goog-generation`` on what is downloaded.
* 416 for a range that begins after the end.
* A part of an upload that is sent again: what is there of it already is passed over.
* 499 for an upload that is given up: it is forgotten.
* Connections that stay open, several at a time.
* 401 for any login: nobody has one here.
"""

from __future__ import annotations

import io
import json
import logging
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from typing import cast
from urllib.parse import parse_qs, unquote, urlsplit

from gcp_storage_emulator.exceptions import NotFound
from gcp_storage_emulator.server import Router
from gcp_storage_emulator.storage import Storage

_UPLOAD = re.compile(r"/upload/storage/v1/b/([^/]+)/o")
_DOWNLOAD = re.compile(r"/download/storage/v1/b/([^/]+)/o/(.+)")


class _Handler(BaseHTTPRequestHandler):
    """One request at a time goes through the emulator; answers are sent side by side."""

    protocol_version = "HTTP/1.1"
    server: GoogleServer

    @property
    def storage(self) -> Storage:
        return self.server.storage

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def do_PUT(self) -> None:
        self._answer("PUT")

    def do_DELETE(self) -> None:
        self._answer("DELETE")

    def end_headers(self) -> None:
        if self._generation is not None:
            self.send_header("x-goog-generation", self._generation)
        super().end_headers()

    def _answer(self, method: str) -> None:
        self._generation: str | None = None
        # The body first: what is refused has to be read as well before the next request.
        size = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(size)
        if len(body) < size:  # the connection went: the emulator would keep the part that came
            self.close_connection = True
            return
        self.path = self.path.replace(";", "%3B")  # no end of a name, as the emulator takes it
        connection: BufferedIOBase = self.wfile
        self.wfile, kept = io.BytesIO(), self.rfile
        try:
            with self.server.working:
                self.rfile = io.BytesIO(self._new_part(body))
                if not self._refused(method, body):
                    Router(self).handle(method)
            connection.write(self.wfile.getbuffer())
        finally:
            self.rfile, self.wfile = kept, connection

    def _refused(self, method: str, body: bytes) -> bool:
        address = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(address.query).items()}
        if self.headers.get("Authorization"):
            return self._refuse(401, "Unauthorized")
        upload, download = _UPLOAD.fullmatch(address.path), _DOWNLOAD.fullmatch(address.path)
        if upload and method == "DELETE":
            self.storage.delete_resumable_file_obj(query["upload_id"])
            return self._refuse(499, "Client Closed Request")
        if upload and "ifGenerationMatch" in query and self._decides(query):
            there = self._object(upload[1], self._name(query, body))
            now = there["generation"] if there else "0"
            return now != query["ifGenerationMatch"] and self._refuse(412, "Precondition Failed")
        if not download:
            return False
        there = self._object(download[1], unquote(download[2]))
        if there is None or query.get("generation") not in (None, there["generation"]):
            return self._refuse(404, "Not Found")
        self._generation = there["generation"]
        wanted = re.match(r"bytes=(\d+)-", self.headers.get("Range") or "")
        past = wanted is not None and int(wanted[1]) >= int(there["size"])
        return past and self._refuse(416, "Requested range not satisfiable")

    def _new_part(self, body: bytes) -> bytes:
        """What of a part of an upload is not there yet."""
        part = re.fullmatch(r"bytes (\d+)-(\d+)/(.+)", self.headers.get("Content-Range") or "")
        upload = parse_qs(urlsplit(self.path).query).get("upload_id")
        if part is None or upload is None:
            return body
        there = self.storage.get_resumable_byte_count(upload[0]) - int(part[1])
        rest = body[max(there, 0) :]
        if len(rest) < len(body):
            start = int(part[2]) + 1 - len(rest)
            self.headers.replace_header("Content-Range", f"bytes {start}-{part[2]}/{part[3]}")
            self.headers.replace_header("Content-Length", str(len(rest)))
        return rest

    def _decides(self, query: dict[str, str]) -> bool:
        """Whether a request begins an upload or ends it: its parts in between are only kept."""
        return "upload_id" not in query or not self.headers["Content-Range"].endswith("/*")

    def _name(self, query: dict[str, str], body: bytes) -> str:
        if "upload_id" in query:
            return str(self.storage.get_resumable_file_obj(query["upload_id"])["name"])
        if "name" in query:
            return query["name"]
        # Name and content in one request: the first part, after its own head, is JSON.
        start = body.index(b"{")
        return str(json.JSONDecoder().raw_decode(body[start : start + 9999].decode())[0]["name"])

    def _object(self, bucket: str, name: str) -> dict[str, str] | None:
        try:
            return cast("dict[str, str]", self.storage.get_file_obj(bucket, name))
        except NotFound:
            return None

    def _refuse(self, status: int, reason: str) -> bool:
        answer = json.dumps({"error": {"code": status, "message": reason}}).encode()
        self.send_response(status, reason)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)
        return True


class GoogleServer(ThreadingHTTPServer):
    """Serves on a free port of 127.0.0.1, from memory."""

    daemon_threads = True

    def __init__(self) -> None:
        logging.disable()
        super().__init__(("127.0.0.1", 0), _Handler)
        self.storage = Storage(use_memory_fs=True)
        self.working = threading.Lock()
