"""The gate: every route, every request, whatever it looks like."""

from __future__ import annotations

import json
import logging
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.routing import Route

from pgvector_restore.http import logs
from pgvector_restore.http.guard import PUBLIC, READING
from pgvector_restore.http.payloads import check_json, is_json
from tests.http.running import READ_TOKEN, TOKEN, Running, running, wait_for
from tests.sets import write_set

WRITE = {"Authorization": f"Bearer {TOKEN}"}
READ = {"Authorization": f"Bearer {READ_TOKEN}"}
PLAN = "/api/v1/plan"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service without a database; its client has no token."""
    root = write_set(tmp_path_factory.mktemp("guard") / "store")
    made = running(
        root,
        None,
        body_limit_bytes=4096,
        body_timeout_s=0.5,
        allowed_hosts=["backups.example", "*.inner.example"],
        allowed_origins=["https://ui.example"],
    )
    with made as found:
        del found.client.headers["Authorization"]
        yield found


def code(answer: httpx.Response) -> str:
    return str(answer.json()["error"]["code"])


# --- tokens ------------------------------------------------------------------------------------


def routes(app: FastAPI) -> Iterator[tuple[str, str]]:
    """Every method and path there is, whoever added it."""
    for one in iter_route_contexts(app.routes):
        route = one.original_route
        assert isinstance(route, Route), f"{route} is no plain route: extend this test"
        for method in one.methods or ():
            path = re.sub(r"{[^}]*}", "x", one.path or "")
            yield method, path


def test_every_route_needs_a_token_and_its_scope(service: Running) -> None:
    walked = set(routes(service.app))
    assert {path for _, path in walked} >= {
        *("/healthz", "/readyz", "/metrics", "/openapi.json", PLAN, "/api/v1/catalog"),
        *("/api/v1/restores", "/api/v1/jobs/x/cancel"),
        "/api/v0/data_pipeline/vector/restore",
    }
    for method, path in sorted(walked):
        reads = method in ("GET", "HEAD")
        public = reads and path in PUBLIC
        bare = service.client.request(method, path)
        assert (bare.status_code == 401) is not public, f"{method} {path}"
        reader = service.client.request(method, path, headers=READ)
        allowed = reads or (method, path) in READING
        assert (reader.status_code == 403) is not allowed, f"{method} {path}"
        assert reader.status_code != 401
        if not allowed:
            body = reader.json()
            legacy = body.get("data", {}).get("error_type")
            assert (legacy or body["error"]["code"]) == "FORBIDDEN"


def test_what_is_no_route_tells_nothing_without_a_token(service: Running) -> None:
    for path in ("/", "/nope", "/api/v0/nope", "/healthz/", "//healthz", "/HEALTHZ", "/healthz%00"):
        assert service.client.get(path).status_code == 401, path
        assert service.client.get(path, headers=WRITE).status_code == 404, path
    assert service.client.post("/healthz").status_code == 401
    answer = service.client.post("/healthz", headers=WRITE)
    assert (answer.status_code, code(answer)) == (405, "METHOD_NOT_ALLOWED")
    assert answer.headers["Allow"] == "GET"
    assert service.client.get("/docs", headers=WRITE).status_code == 404


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer  x",
        f"Basic {TOKEN}",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        TOKEN,
    ],
)
def test_what_is_no_token(service: Running, header: str) -> None:
    answer = service.client.get("/api/v1/jobs", headers={"Authorization": header})
    assert (answer.status_code, code(answer)) == (401, "UNAUTHORIZED")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_two_tokens_are_none(service: Running) -> None:
    twice = [("Authorization", f"Bearer {TOKEN}")] * 2
    assert service.client.get("/api/v1/jobs", headers=twice).status_code == 401
    assert service.client.get(f"/api/v1/jobs?access_token={TOKEN}").status_code == 401


# --- hosts and origins -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "127.0.0.1:1", "[::1]", "[::1]:8084", "BACKUPS.example:443"),
        *("a.inner.example", "b.a.inner.example"),
    ],
)
def test_hosts_that_are_served(service: Running, host: str) -> None:
    assert service.client.get("/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "inner.example"),
        *("localhost@evil.example", "backups.example:x", "::1", "", "backups.example."),
    ],
)
def test_hosts_that_are_not(service: Running, host: str) -> None:
    answer = service.client.get("/healthz", headers={**WRITE, "Host": host})
    assert (answer.status_code, code(answer)) == (421, "HOST_NOT_ALLOWED")


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({"Origin": "https://ui.example"}, True),
        ({"Origin": "https://ui.example", "Sec-Fetch-Site": "cross-site"}, True),
        ({"Origin": "http://ui.example"}, False),
        ({"Origin": "https://ui.example.evil.example"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": ""}, False),
        ({"Sec-Fetch-Site": "none"}, True),
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Sec-Fetch-Site": "anything"}, False),
        ({"Origin": "https://evil.example", "Sec-Fetch-Site": "same-origin"}, False),
    ],
)
def test_origins(service: Running, headers: dict[str, str], *, allowed: bool) -> None:
    for path in ("/healthz", "/api/v1/jobs"):
        answer = service.client.get(path, headers={**WRITE, **headers})
        if allowed:
            assert answer.status_code == 200
            assert answer.headers.get("Access-Control-Allow-Origin") == headers.get("Origin")
        else:
            assert (answer.status_code, code(answer)) == (403, "ORIGIN_NOT_ALLOWED")
            assert "Access-Control-Allow-Origin" not in answer.headers


def test_a_page_that_may_ask_is_told_so(service: Running) -> None:
    asks = {"Access-Control-Request-Method": "POST", "Origin": "https://ui.example"}
    answer = service.client.options(PLAN, headers=asks)
    assert (answer.status_code, answer.content) == (204, b"")
    assert "Authorization" in answer.headers["Access-Control-Allow-Headers"]
    assert "Access-Control-Allow-Credentials" not in answer.headers
    other = service.client.options(PLAN, headers={**asks, "Origin": "https://evil.example"})
    assert other.status_code == 403
    assert service.client.options(PLAN).status_code == 401


# --- bodies ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "content"),
    [
        ({}, b"{}"),
        ({"Content-Type": "text/plain"}, b"{}"),
        ({"Content-Type": "application/x-www-form-urlencoded"}, b"label=latest"),
        ({"Content-Type": "multipart/form-data; boundary=x"}, b"--x--"),
        ({"Content-Type": "application/json; charset=utf-16"}, '{"a": 1}'.encode("utf-16")),
        ({"Content-Type": "application/json, text/plain"}, b"{}"),
        ({"Content-Type": "application/json", "Content-Encoding": "gzip"}, b"\x1f\x8b"),
    ],
)
def test_bodies_are_json(service: Running, headers: dict[str, str], content: bytes) -> None:
    answer = service.client.post(PLAN, content=content, headers={**WRITE, **headers})
    assert (answer.status_code, code(answer)) == (415, "NOT_JSON")


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"nul", b"{}{}", b'{"label": "\xff"}', b"\xef\xbb\xbf{}", b"\x00"),
        *(b'{"label": "a", "label": "b"}', b'{"label": NaN}', b'{"label": Infinity}'),
        *(b'{"label": 1e999}', b'{"label": "\\ud800"}', b'{"label": "a\\u0000"}'),
        *(
            b'{"\\u0000": 1}',
            b"[" * 2000,
            b"[" * 33 + b"]" * 33,
            b'{"a":' * 600 + b"1" + b"}" * 600,
        ),
        *(b'{"label": ' + b"9" * 4000 + b"}", b'{"label": 9223372036854775808}'),
    ],
)
def test_bad_json(service: Running, body: bytes) -> None:
    headers = {**WRITE, "Content-Type": "application/json"}
    if not body:
        assert service.client.post(PLAN, content=body, headers=headers).status_code == 422
        return
    answer = service.client.post(PLAN, content=body, headers=headers)
    assert (answer.status_code, code(answer)) == (400, "BAD_JSON")


def test_a_body_with_get_is_looked_at_too(service: Running) -> None:
    answer = service.client.request("GET", "/api/v1/jobs", headers=WRITE, content=b"x")
    assert answer.status_code == 415


def test_the_limit(service: Running) -> None:
    headers = {**WRITE, "Content-Type": "application/json"}
    fits = json.dumps({"label": "x"}).encode().ljust(4096)
    assert service.client.post(PLAN, content=fits, headers=headers).status_code != 413
    for content in (fits + b" ", iter([fits, b" "])):  # with a length, and in chunks without
        answer = service.client.post(PLAN, content=content, headers=headers)
        assert (answer.status_code, code(answer)) == (413, "BODY_TOO_LARGE")


def raw(service: Running, *parts: bytes, read: bool = True) -> bytes:
    """What a socket is answered; closed without reading, it is a client that goes away."""
    host, port = service.client.base_url.host, service.client.base_url.port or 0
    with socket.create_connection((host, port), timeout=120) as sock:
        for part in parts:
            sock.sendall(part)
        if not read:
            return b""
        found = b""
        while block := sock.recv(65536):
            found += block
        return found


HEAD = (
    f"POST {PLAN} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
    "Content-Type: application/json\r\n"
).encode()


def test_a_length_alone_is_enough_to_refuse(service: Running) -> None:
    answer = raw(service, HEAD, b"Content-Length: 999999999999999999999\r\n\r\n{")
    assert answer.startswith((b"HTTP/1.1 413", b"HTTP/1.1 400"))
    answer = raw(service, HEAD, b"Content-Length: 5000\r\n\r\n{")
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"connection: close" in answer.lower()


def test_a_body_that_never_ends(service: Running) -> None:
    chunk = b"400\r\n" + b"[" * 1024 + b"\r\n"
    answer = raw(service, HEAD, b"Transfer-Encoding: chunked\r\n\r\n", *[chunk] * 5)
    assert answer.startswith(b"HTTP/1.1 413")


def test_a_body_that_does_not_come(service: Running) -> None:
    answer = raw(service, HEAD, b"Content-Length: 10\r\n\r\n{")
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"TOO_SLOW" in answer


def test_clients_that_go_away_are_no_errors(
    service: Running, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        for rest in (b"", b"Content-Length: 10\r\n\r\n{", b"Transfer-Encoding: chunked\r\n\r\n"):
            raw(service, HEAD, rest, read=False)
        assert service.client.get("/healthz").status_code == 200
    assert not [one for one in caplog.records if one.levelno >= logging.ERROR]


def test_requests_that_are_none(service: Running) -> None:
    for request in (b"\r\n\r\n", b"GET\r\n\r\n", b"\x16\x03\x01\x00", b"GET / HTTP/1.1\r\n\r\n"):
        found = raw(service, request + b"\r\n\r\n")
        assert not found.startswith(b"HTTP/1.1 5")
    smuggled = b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    assert not raw(service, HEAD, b"Connection: close\r\n", smuggled).startswith(b"HTTP/1.1 2")


def test_there_are_no_websockets(service: Running) -> None:
    upgrade = (
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade, close\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    assert b"101 Switching" not in raw(service, upgrade)


def test_the_description_asks_for_the_token(service: Running) -> None:
    document: dict[str, Any] = service.client.get("/openapi.json", headers=READ).json()
    assert document["security"] == [{"bearer": []}]
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    open_to_all = {
        path
        for path, methods in document["paths"].items()
        for operation in methods.values()
        if operation.get("security") == []
    }
    assert open_to_all == PUBLIC


# --- ids ---------------------------------------------------------------------------------------


def test_request_ids(service: Running) -> None:
    def answered(*given: str) -> str:
        headers = [*WRITE.items(), *(("X-Request-ID", one) for one in given)]
        answer = service.client.get("/nope", headers=headers)
        assert answer.json()["request_id"] == answer.headers["X-Request-ID"]
        return str(answer.headers["X-Request-ID"])

    assert answered("nightly-7_a.b") == "nightly-7_a.b"
    made = {answered(), answered(""), answered("a b"), answered("x" * 65), answered("a", "a")}
    assert len(made) == 5
    assert all(re.fullmatch(r"[0-9a-f]{16}", one) for one in made)


@pytest.mark.parametrize(
    ("kind", "good"),
    [
        ("application/json", True),
        ("Application/JSON;charset=UTF-8", True),
        ('application/json; charset="utf-8"', True),
        ("application/json; charset=latin-1", False),
        ("application/json-patch+json", False),
        ("text/json", False),
        ("", False),
    ],
)
def test_content_types(kind: str, *, good: bool) -> None:
    assert is_json(kind) is good


def test_json_that_is_passed_on() -> None:
    for text in ('{"a": [1, 2.5, null, true, "\\ud83d\\ude00"]}', "[" * 31 + "]" * 31, '"ü"', "-1"):
        check_json(text.encode())


# --- what the log shows ------------------------------------------------------------------------


def test_log_lines_say_what_happened(service: Running, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        headers = {**WRITE, "X-Request-ID": "seen-in-the-log"}
        service.client.get(f"/api/v1/jobs?before={TOKEN}", headers=headers)
        wait_for(lambda: [one for one in caplog.records if hasattr(one, "method")])  # it comes last
    formatter = logs.JsonFormatter()
    ours = [one for one in caplog.records if one.name.startswith("pgvector_restore")]
    lines = [json.loads(formatter.format(one)) for one in ours]
    (line,) = [one for one in lines if one.get("path") == "/api/v1/jobs"]
    assert (line["method"], line["status"], line["level"]) == ("GET", 422, "info")
    assert line["request_id"] == "seen-in-the-log"
    assert TOKEN not in json.dumps(lines)


def test_errors_of_handlers_show_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    canary = "canary-row-of-somebody"
    with running(write_set(tmp_path / "store"), None) as made, caplog.at_level(logging.INFO):

        def fails() -> None:
            raise ValueError(canary) from RuntimeError(f"CONTEXT: COPY line 1: {canary}")

        made.app.add_api_route("/fails", fails)
        answer = made.client.get("/fails")
    assert (answer.status_code, code(answer)) == (500, "INTERNAL")
    shown = answer.text + caplog.text
    shown += "".join(logs.JsonFormatter().format(one) for one in caplog.records)
    assert canary not in shown
    assert "test_guard.py" in shown  # where it was, all the same
    assert "ValueError" in shown
