"""Requests that mean no good: nothing fails, nothing outside is read, nothing is changed."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from attrs import frozen
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks

from pgvector_restore.db.embedded import EmbeddedServer
from tests.conftest import G2_TABLES, connect, database
from tests.http.running import READ_TOKEN, TOKEN, Running, running
from tests.sets import STAMP, restore, write_set

LABEL = f"vector_bak/{STAMP}"
WRONG = GenerationMode("negative")
CANARY = "canary-5f1d-not-for-anybody"
CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]


@frozen
class Kept:
    """A store and a database with something in them, and how they must stay."""

    root: Path
    dsn: str

    def files(self) -> dict[str, bytes]:
        found = (path for path in self.root.rglob("*") if path.is_file())
        return {str(path.relative_to(self.root)): path.read_bytes() for path in found}

    def rows(self) -> list[Any]:
        with connect(self.dsn) as connection:
            relations = connection.execute(
                "SELECT oid, relname, relfilenode FROM pg_class WHERE relnamespace > 16384 OR"
                " relnamespace = 'public'::regnamespace ORDER BY relname"
            ).fetchall()
            rows = connection.execute("TABLE langchain_pg_embedding ORDER BY id").fetchall()
            return [*relations, *rows]


@pytest.fixture(scope="module")
def kept(
    start_server: Callable[[int], EmbeddedServer], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Kept]:
    root = tmp_path_factory.mktemp("hostile") / "store"
    write_set(root)
    (root.parent / "canary.csv").write_text(CANARY)
    (root / "vector_bak" / "canary.txt").symlink_to(root.parent / "canary.csv")
    with database(start_server(18)) as dsn:
        with connect(dsn) as connection:
            connection.execute(G2_TABLES)
        restore(root, dsn)
        yield Kept(root, dsn)


@pytest.fixture(scope="module")
def service(kept: Kept) -> Iterator[Running]:
    with running(kept.root, kept.dsn) as made:
        made.done("verifications", label=LABEL)
        yield made


@pytest.fixture
def unchanged(kept: Kept) -> Iterator[None]:
    """Files and rows are afterwards what they were before."""
    files, rows = kept.files(), kept.rows()
    yield
    assert kept.files() == files
    assert kept.rows() == rows


pytestmark = pytest.mark.usefixtures("unchanged")


# --- requests made from the description --------------------------------------------------------


def operations(service: Running) -> dict[str, Any]:
    config = schemathesis.config.SchemathesisConfig(max_time=None, seed=1)
    document = service.client.get("/openapi.json").json()
    # Else tokens are among what is made up, and replaced by the one that is sent.
    del document["security"], document["components"]["securitySchemes"]
    schema = schemathesis.openapi.from_dict(document, config=config)
    found: list[Any] = [result.ok() for result in schema.get_all_operations()]  # type: ignore[union-attr]
    return {one.label: one for one in found}


def fire(cases: st.SearchStrategy[Any], amount: int, check: Callable[[Any], None]) -> None:
    """Send so many cases, the same ones in every run."""

    @seed(20260102)
    @settings(
        max_examples=amount,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[phase for phase in settings().phases if phase.name in ("generate", "shrink")],
    )
    @given(cases)
    def run(case: Any) -> None:
        check(case)

    run()


amounts = pytest.mark.parametrize(
    "amount",
    [
        pytest.param(6, id="few", marks=[pytest.mark.faults, pytest.mark.faults_sample]),
        # Of the two tests together 10,560 requests.
        pytest.param(320, id="all", marks=pytest.mark.faults),
    ],
)


@amounts
@pytest.mark.timeout(3600)
def test_every_route_answers_as_described(service: Running, amount: int) -> None:
    """By a caller who may only read: whatever is sent, no job begins."""
    base = str(service.client.base_url).rstrip("/")
    (job,) = service.client.get("/api/v1/jobs").json()["jobs"]
    reading = {"Authorization": f"Bearer {READ_TOKEN}"}
    count = 0

    def check(case: Any) -> None:
        nonlocal count
        count += 1
        answer = case.call(base_url=base, headers=reading, timeout=120)
        assert CANARY.encode() not in answer.content
        documented = CHECKS if case.path.startswith("/api/v1/") else CHECKS[:1]
        case.validate_response(answer, checks=documented)

    for label, operation in operations(service).items():
        known = {"job_id": job["id"]} if "{job_id}" in label else None
        for mode in (GenerationMode("positive"), WRONG):
            if mode is WRONG and not _can_be_wrong(operation):
                continue
            given_values = None if mode is WRONG else known
            cases = operation.as_strategy(generation_mode=mode, path_parameters=given_values)
            fire(cases, amount, check)
    assert count > amount * 20
    assert [one["id"] for one in service.client.get("/api/v1/jobs").json()["jobs"]] == [job["id"]]


def _can_be_wrong(operation: Any) -> bool:
    return bool(operation.body or operation.query or operation.path_parameters or operation.headers)


@amounts
@pytest.mark.timeout(3600)
def test_who_may_write_gets_nowhere_with_wrong_requests(service: Running, amount: int) -> None:
    base = str(service.client.base_url).rstrip("/")
    writing = {"Authorization": f"Bearer {TOKEN}"}
    before = service.client.get("/api/v1/jobs").json()

    def check(case: Any) -> None:
        answer = case.call(base_url=base, headers=writing, timeout=120)
        case.validate_response(answer, checks=CHECKS)
        assert 400 <= answer.status_code < 500, (case.query, case.headers, case.body, answer.text)

    for label, operation in operations(service).items():
        if label.startswith("POST /api/v1/") and "{job_id}" not in label:
            fire(operation.as_strategy(generation_mode=WRONG), amount, check)
    assert service.client.get("/api/v1/jobs").json() == before


# --- paths -------------------------------------------------------------------------------------

OUTSIDE = [
    "../canary.csv",
    "..%2fcanary.csv",
    "..%252fcanary.csv",
    "vector_bak/../../canary.csv",
    "vector_bak/canary.txt",
    "/etc/passwd",
    "//etc/passwd",
    "file:///etc/passwd",
    "http://127.0.0.1:1/x",
    "s3://bucket/key",
    "simplecache::http://127.0.0.1:1/x",
    "\\\\host\\share",
    "C:/Windows/win.ini",
    "~/x",
    "~root/x",
    "%2e%2e/canary.csv",
    "..;/canary.csv",
    ".. ./canary.csv",
    "..\u2215canary.csv",
    "\uff0e\uff0e/canary.csv",
    "vector_bak/20260102_030405/../20260102_030406",
    "vector_bak\u202e/20260102_030405",
    "a\nb",
    "",
    "latest/latest/latest",
    "' OR 1=1 --",
    "$(id)",
    "{{7*7}}",
    "<script>alert(1)</script>",
]


@pytest.mark.parametrize("text", OUTSIDE)
def test_no_label_leads_outside(service: Running, text: str) -> None:
    asked = service.client
    answers = [
        asked.post(f"/api/v1/{path}", json={"label": text, **more})
        for path, more in (("plan", {}), ("restores", {"mode": "replace"}), ("verifications", {}))
    ]
    answers.append(asked.post("/api/v1/prunes", json={"rules": {"last": 1, "labels": [text]}}))
    answers.append(asked.post("/api/v1/backups", json={"task_id": text}))
    answers.append(asked.get("/api/v1/sets/" + "".join(f"%{b:02x}" for b in text.encode())))
    *others, prune, backup, one = answers
    for answer in (*others, backup, one):
        assert 400 <= answer.status_code < 500, answer.text
    if prune.status_code == 202:  # labels are looked up when it runs
        assert service.ended(prune.json())["state"] == "failed"
    for query in ({"location": text}, {"task_id": text}, {"cursor": text}):
        answer = asked.get("/api/v1/catalog", params=query)
        assert answer.status_code in (200, 422)
        if answer.status_code == 200:
            assert answer.json()["sets"] == []
        answers.append(answer)
    for answer in answers:
        assert CANARY not in answer.text
        assert "root:" not in answer.text


# --- bodies ------------------------------------------------------------------------------------

GOOD = json.dumps({"label": LABEL, "mode": "replace"})

BODIES: list[tuple[str, bytes]] = [
    ("empty", b""),
    ("cut", GOOD[:-1].encode()),
    ("more", GOOD.encode() + b"{}"),
    ("text", b'"restore"'),
    ("list", b"[]"),
    ("null", b"null"),
    ("number", b"7"),
    ("nan", b'{"label": NaN}'),
    ("infinite", b'{"label": "latest", "lock_timeout_s": 1e999}'),
    ("endless number", b'{"label": "latest", "jobs": ' + b"9" * 5000 + b"}"),
    ("deep", b"[" * 30_000),
    ("deep and closed", b'{"label":' + b"[" * 20_000 + b"]" * 20_000 + b"}"),
    ("deep objects", b'{"a":' * 8000 + b"1" + b"}" * 8000),
    ("twice", b'{"label": "latest", "label": "../x"}'),
    ("half a pair", b'{"label": "\\ud800"}'),
    ("nul", b'{"label": "latest\\u0000"}'),
    ("byte order mark", b"\xef\xbb\xbf" + GOOD.encode()),
    ("utf-16", GOOD.encode("utf-16")),
    ("utf-32", GOOD.encode("utf-32")),
    ("latin-1", '{"label": "größe"}'.encode("latin-1")),
    ("comments", b"/* */" + GOOD.encode()),
    ("quotes", b"{'label': 'latest'}"),
    ("prototype", b'{"__proto__": {"mode": "replace"}, "label": "latest"}'),
    ("class", b'{"label": "latest", "__class__": "x"}'),
    ("too large", b'{"label": "' + b"x" * 70_000 + b'"}'),
    ("many keys", json.dumps({f"k{n}": n for n in range(5000)}).encode()),
]


@pytest.mark.parametrize(("name", "body"), BODIES, ids=[name for name, _ in BODIES])
def test_no_body_confuses(service: Running, name: str, body: bytes) -> None:
    kind = {"Content-Type": "application/json"}
    for path in ("plan", "restores", "backups", "verifications", "prunes"):
        answer = service.client.post(f"/api/v1/{path}", content=body, headers=kind)
        assert answer.status_code in (400, 413, 415, 422), (name, path, answer.text)
        assert set(answer.json()) == {"error", "request_id"}


@pytest.mark.parametrize(
    "kind",
    [
        None,
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json; charset=utf-16",
        "application/jsonx",
        "text/json",
        "application/json, text/plain",
    ],
)
def test_only_json_is_taken(service: Running, kind: str | None) -> None:
    headers = {} if kind is None else {"Content-Type": kind}
    for path in ("plan", "restores", "backups", "verifications", "prunes"):
        answer = service.client.post(f"/api/v1/{path}", content=GOOD, headers=headers)
        assert answer.status_code == 415


# --- heads, hosts, and connections -------------------------------------------------------------


def sent(service: Running, raw: bytes) -> bytes:
    """What comes back for bytes as they are."""
    url = httpx.URL(service.client.base_url)
    with socket.create_connection((url.host, url.port or 0), timeout=120) as connection:
        parts = []
        # A server that has heard enough closes the connection whatever else is sent.
        with suppress(OSError):
            connection.sendall(raw)
            connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(65536):
                parts.append(part)
    return b"".join(parts)


def head(*lines: bytes, token: bool = True, host: bytes | None = b"Host: localhost") -> bytes:
    first, *others = lines
    own = [b"Authorization: Bearer " + TOKEN.encode()] if token else []
    named = [host] if host is not None else []
    return b"\r\n".join([first, *named, *own, b"Connection: close", *others, b"", b""])


_LENGTH = b"Content-Length: %d" % len(GOOD)
_JSON = b"Content-Type: application/json"
_RESTORE = b"POST /api/v1/restores HTTP/1.1"

RAW: list[tuple[str, bytes]] = [
    ("other host", head(b"GET /api/v1/catalog HTTP/1.1", host=b"Host: evil.example")),
    ("no host", head(b"GET /api/v1/catalog HTTP/1.1", host=None)),
    ("two hosts", head(b"GET /api/v1/catalog HTTP/1.1", b"Host: evil.example")),
    ("host of a user", head(b"GET /api/v1/catalog HTTP/1.1", host=b"Host: localhost@evil.example")),
    ("absolute", head(b"GET http://evil.example/api/v1/catalog HTTP/1.1", host=b"Host: evil")),
    ("no token", head(b"GET /api/v1/catalog HTTP/1.1", token=False)),
    ("token in a query", head(b"GET /api/v1/catalog?token=" + TOKEN.encode() + b" HTTP/1.1", token=False)),  # noqa: E501
    ("two tokens", head(b"GET /api/v1/catalog HTTP/1.1", b"Authorization: Bearer x")),
    ("basic", head(b"GET /api/v1/catalog HTTP/1.1", b"Authorization: Basic eDp5", token=False)),
    ("foreign page", head(_RESTORE, b"Origin: https://evil.example", _JSON, _LENGTH) + GOOD.encode()),  # noqa: E501
    ("null origin", head(_RESTORE, b"Origin: null", _JSON, _LENGTH) + GOOD.encode()),
    ("cross site", head(_RESTORE, b"Sec-Fetch-Site: cross-site", _JSON, _LENGTH) + GOOD.encode()),
    ("up", head(b"GET /api/v1/sets/../../../../etc/passwd HTTP/1.1")),
    ("up, packed", head(b"GET /api/v1/sets/%2e%2e%2f%2e%2e%2fcanary.csv HTTP/1.1")),
    ("nul", head(b"GET /api/v1/sets/vector_bak%00 HTTP/1.1")),
    ("bytes", head(b"GET /api/v1/sets/%ff%fe HTTP/1.1")),
    ("raw bytes", head(b"GET /api/v1/sets/\xff\xfe HTTP/1.1")),
    ("slashes", head(b"GET //api/v1//catalog HTTP/1.1")),
    ("long path", head(b"GET /api/v1/sets/" + b"a" * 60_000 + b" HTTP/1.1")),
    ("long header", head(b"GET /api/v1/nothing HTTP/1.1", b"X-Long: " + b"a" * 200_000)),
    ("many headers", head(b"GET /api/v1/nothing HTTP/1.1", *[b"X-%d: 1" % n for n in range(2000)])),
    ("method", head(b"BREW /api/v1/catalog HTTP/1.1")),
    ("override", head(b"GET /api/v1/restores HTTP/1.1", b"X-HTTP-Method-Override: POST")),
    ("trace", head(b"TRACE /api/v1/catalog HTTP/1.1")),
    ("bad event", head(b"GET /api/v1/jobs/" + b"0" * 32 + b"/events HTTP/1.1", b"Last-Event-ID: -1")),  # noqa: E501
    ("packed body", head(_RESTORE, b"Content-Encoding: gzip", _JSON, _LENGTH) + GOOD.encode()),
    ("two lengths", head(_RESTORE, _JSON, _LENGTH, b"Content-Length: 3") + GOOD.encode()),
    ("length and chunks", head(_RESTORE, _JSON, b"Content-Length: 3", b"Transfer-Encoding: chunked") + b"0\r\n\r\n"),  # noqa: E501
    ("chunks without end", head(_RESTORE, _JSON, b"Transfer-Encoding: chunked") + b'5\r\n{"lab'),
    ("bad chunks", head(_RESTORE, _JSON, b"Transfer-Encoding: chunked") + b"zz\r\n{}\r\n0\r\n\r\n"),
    ("negative length", head(_RESTORE, _JSON, b"Content-Length: -5")),
    ("great length", head(_RESTORE, _JSON, b"Content-Length: 99999999999999999999")),
    ("folded", head(_RESTORE, b"X-A: b\r\n c", _JSON, b"Content-Length: 2") + b"[]"),
    ("two requests", head(_RESTORE, _JSON, b"Content-Length: 2") + b"[]" + head(_RESTORE)),
    ("no http", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 9),
    ("websocket", head(b"GET /api/v1/catalog HTTP/1.1", b"Upgrade: websocket", b"Origin: https://evil.example", b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", b"Sec-WebSocket-Version: 13")),  # noqa: E501
    ("mapped key", head(_RESTORE, b"Idempotency-Key: \xff\xfe", _JSON, _LENGTH) + GOOD.encode()),
]  # fmt: skip


@pytest.mark.parametrize(("name", "raw"), RAW, ids=[name for name, _ in RAW])
def test_no_head_confuses(service: Running, name: str, raw: bytes) -> None:
    before = service.client.get("/api/v1/jobs").json()
    answer = sent(service, raw)
    if answer:  # a connection may be closed without a word
        assert answer.startswith(b"HTTP/1.1 4"), (name, answer[:200])
    assert CANARY.encode() not in answer
    assert b"root:" not in answer
    assert b"Traceback" not in answer
    assert service.client.get("/api/v1/jobs").json() == before


def test_uploads_that_end_early_cost_nothing(service: Running) -> None:
    url = httpx.URL(service.client.base_url)
    raw = head(_RESTORE, _JSON, b"Content-Length: 60000")
    for size in range(40):
        with socket.create_connection((url.host, url.port or 0), timeout=120) as connection:
            connection.sendall(raw + GOOD.encode()[:size])
    assert service.client.get("/api/v1/catalog").status_code == 200
