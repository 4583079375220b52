"""A service that runs in this process, on a socket of its own, and a client of it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from attrs import frozen
from fastapi import FastAPI
from pydantic import SecretStr

from pgvector_restore.http.app import create_app
from pgvector_restore.http.settings import ServiceSettings

TOKEN = "a-token-that-may-write"
READ_TOKEN = "a-token-that-may-read"


def wait_for(check: Callable[[], Any], timeout_s: float = 60.0) -> Any:
    """What a check returns, once it is something."""
    end = time.monotonic() + timeout_s
    while not (found := check()):
        assert time.monotonic() < end, "waited for too long"
        time.sleep(0.02)
    return found


@frozen
class Event:
    name: str
    id: int
    job: dict[str, Any]


@frozen
class Running:
    """A service, and a client with the token that may write."""

    app: FastAPI
    client: httpx.Client

    def job(self, kind: str, **body: Any) -> dict[str, Any]:
        """A job that has been accepted."""
        answer = self.client.post(f"/api/v1/{kind}", json=body)
        assert answer.status_code == 202, answer.text
        job: dict[str, Any] = answer.json()
        assert answer.headers["Location"] == f"/api/v1/jobs/{job['id']}"
        return job

    def ended(self, job: dict[str, Any]) -> dict[str, Any]:
        """The job once it has ended."""
        ended = {"done", "failed", "cancelled", "interrupted"}

        def look() -> dict[str, Any] | None:
            found: dict[str, Any] = self.client.get(f"/api/v1/jobs/{job['id']}").json()
            return found if found["state"] in ended else None

        found: dict[str, Any] = wait_for(look)
        return found

    def done(self, kind: str, **body: Any) -> dict[str, Any]:
        """What a job has brought about."""
        job = self.ended(self.job(kind, **body))
        assert job["state"] == "done", job
        result: dict[str, Any] = job["result"]
        return result

    @contextmanager
    def events(self, job: dict[str, Any], after: int | None = None) -> Iterator[Iterator[Event]]:
        """The events of a job, as they come."""
        headers = {} if after is None else {"Last-Event-ID": str(after)}
        path = f"/api/v1/jobs/{job['id']}/events"
        with self.client.stream("GET", path, headers=headers, timeout=120) as answer:
            assert answer.status_code == 200
            assert answer.headers["Content-Type"].startswith("text/event-stream")
            yield _parsed(answer.iter_lines())


def _parsed(lines: Iterator[str]) -> Iterator[Event]:
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "data" in fields:
            yield Event(fields["event"], int(fields["id"]), json.loads(fields["data"]))
            fields = {}


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """The address of an application while it is served."""
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=0,
        log_config=None,
        ws="none",
        timeout_keep_alive=60,  # longer than clients keep a connection
        timeout_graceful_shutdown=5,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="uvicorn")
    thread.start()
    try:
        wait_for(lambda: server.started or not thread.is_alive())
        host, port = server.servers[0].sockets[0].getsockname()
        yield f"http://{host}:{port}"
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def running(root: Path, dsn: str | None, **settings: Any) -> Iterator[Running]:
    """A service of a store and a database."""
    values = {
        "store": str(root),
        "dsn": None if dsn is None else SecretStr(dsn),
        "token": SecretStr(TOKEN),
        "read_token": SecretStr(READ_TOKEN),
        "language": "en",
        **settings,
    }
    app = create_app(ServiceSettings(**values))
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with serving(app) as url, httpx.Client(base_url=url, headers=headers, timeout=240) as client:
        yield Running(app, client)
