"""The command, the process and its end, mounts, figures, and secrets in all of it."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import a2wsgi
import flask
import httpx
import pytest
import uvicorn
from attrs import frozen
from click.testing import CliRunner
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families
from psycopg.conninfo import make_conninfo
from starlette.applications import Starlette
from starlette.routing import Mount
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.test import Client

import pgvector_restore
from pgvector_restore import MissingExtraError
from pgvector_restore.cli import run
from pgvector_restore.cli.app import app as command
from pgvector_restore.db.embedded import EmbeddedServer
from pgvector_restore.http import ServiceSettings, create_app, doorway, logs, server
from tests.conftest import G2_TABLES, connect, database
from tests.http.running import TOKEN, running, serving, wait_for
from tests.sets import STAMP, write_set

LABEL = f"vector_bak/{STAMP}"
TABLE = "langchain_pg_embedding"


@pytest.fixture
def target(start_server: Callable[[int], EmbeddedServer]) -> Iterator[str]:
    """A database with LangChain's empty tables."""
    with database(start_server(18)) as dsn:
        with connect(dsn) as connection:
            connection.execute(G2_TABLES)
        yield dsn


# --- the process -------------------------------------------------------------------------------


@frozen
class Process:
    popen: subprocess.Popen[str]
    client: httpx.Client
    #: What it wrote before it listened.
    said: list[str]
    log: Path

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Exit code, and all that was logged."""
        self.popen.send_signal(number)
        code = self.popen.wait(240)
        return code, self.log.read_text("utf-8")


@contextmanager
def process(folder: Path, *args: str, **environment: str) -> Iterator[Process]:
    """``pgvector-restore serve`` on a free port."""
    log = folder / "stderr.log"
    with log.open("w", encoding="utf-8") as stderr:
        popen = subprocess.Popen(
            [sys.executable, "-m", "pgvector_restore", "serve", *args, "--port", "0"],
            stderr=stderr,
            cwd=folder,
            text=True,
            env=os.environ | {"PYTHONUTF8": "1"} | environment,
        )
        try:

            def listening() -> re.Match[str] | None:
                assert popen.poll() is None, log.read_text("utf-8")
                return re.search(r"listening on (\S+)\n", log.read_text("utf-8"))

            url = wait_for(listening)[1]
            said = log.read_text("utf-8").partition("listening")[0].splitlines()
            with httpx.Client(base_url=url, timeout=240) as client:
                yield Process(popen, client, said, log)
        finally:
            popen.kill()
            popen.wait()


def test_a_random_token_is_shown_once(tmp_path: Path, target: str) -> None:
    write_set(tmp_path / "store")
    with process(tmp_path, "store", "--state-dir", "state", PGVECTOR_RESTORE_DSN=target) as made:
        (line,) = made.said
        token = line.removeprefix("token of this run: ")
        assert len(token) == 43
        assert made.client.get("/readyz").json() == {"status": "ok"}
        assert made.client.get("/api/v1/catalog").status_code == 401
        made.client.headers["Authorization"] = f"Bearer {token}"
        assert made.client.get("/api/v1/catalog").json()["total"] == 1
        listed = made.client.get("/api/v0/data_pipeline/vector/restore/list").json()
        (location,) = listed["data"]["backup_locations"]
        assert location["relative_path"] == "./store/vector_bak"
        code, log = made.end(signal.SIGHUP if hasattr(signal, "SIGHUP") else signal.SIGINT)
    assert code == 0
    assert log.count(token) == 1
    for text in log.splitlines()[len(made.said) + 1 :]:
        assert json.loads(text)["level"] in ("info", "warning")


def test_a_token_file_and_a_config(tmp_path: Path, target: str) -> None:
    write_set(tmp_path / "store")
    (tmp_path / "token").write_text(f"{TOKEN}\n", "ascii")
    (tmp_path / "c.toml").write_text('log_format = "text"\nlanguage = "en"\n', "ascii")
    options = ("--token-file", "token", "--config", "c.toml", "--state-dir", "state")
    with process(tmp_path, "store", *options, PGVECTOR_RESTORE_DSN=target) as made:
        assert made.said == []
        answer = made.client.get("/api/v1/jobs")
        assert answer.json()["error"]["message"] == "a valid token is needed"
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        assert made.client.get("/api/v1/jobs", headers=bearer).status_code == 200
        code, log = made.end()
    assert code == 0
    assert TOKEN not in log
    assert " info request logger=pgvector_restore.http.exchange request_id=" in log


def test_a_store_of_the_settings_only(tmp_path: Path) -> None:
    write_set(tmp_path / "store")
    config = tmp_path / "service.toml"
    config.write_text('store = "store"\ntoken = "of-the-file"\n[targets]\na = "host=/a"\nb = ""\n')
    (tmp_path / "token").write_text(TOKEN)
    args = ("--config", str(config), "--state-dir", "state", "--token-file", "token")
    with process(tmp_path, *args) as made:
        assert made.said == [
            "warning: there are several targets and no default: requests must name one"
        ]
        headers = {"Authorization": f"Bearer {TOKEN}"}
        assert made.client.get("/api/v1/catalog", headers=headers).json()["total"] == 1


def test_two_services_of_one_store_and_short_tokens(tmp_path: Path) -> None:
    """The second one has no folder for its jobs; short tokens are told of."""
    place = {"PGVECTOR_RESTORE_EMBEDDED_DIR": str(tmp_path / "data")}
    options = {"PGVECTOR_RESTORE_TOKEN": "short", "PGVECTOR_RESTORE_DSN": "host=/nowhere"}
    (tmp_path / "other").mkdir()
    store = str(tmp_path / "store")
    warning = "warning: token is short enough to be guessed"
    with process(tmp_path, store, **place, **options) as first:
        absent = f"warning: {store} is not there yet: the first backup makes it"
        assert first.said == [absent, warning]
        with process(tmp_path / "other", store, **place, **options) as second:
            assert second.said[1].startswith("warning: jobs are kept in memory: ")
            assert second.said[::2] == [absent, warning]
            headers = {"Authorization": "Bearer short"}
            for client in (first.client, second.client):
                assert client.get("/api/v1/jobs", headers=headers).json()["jobs"] == []


def test_sigterm_calls_jobs_off_and_answers_those_who_wait(tmp_path: Path, target: str) -> None:
    write_set(tmp_path / "store")
    settings = {"PGVECTOR_RESTORE_DSN": target, "PGVECTOR_RESTORE_TOKEN": TOKEN}
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    with process(tmp_path, "store", "--state-dir", "state", **settings) as made:
        made.client.headers.update(bearer)
        with connect(target) as holder, holder.transaction():
            holder.execute(f"LOCK TABLE {TABLE} IN ACCESS EXCLUSIVE MODE")
            job = made.client.post("/api/v1/restores", json={"label": LABEL}).json()
            wait_for(lambda: waits(target))
            path = f"/api/v1/jobs/{job['id']}/events"
            with made.client.stream("GET", path) as events:
                lines = events.iter_lines()
                assert next(lines) == "retry: 2000"
                code, log = made.end()
                assert "event: end" in list(lines)
    assert code == 0
    ended = [json.loads(line) for line in log.splitlines() if '"job ends"' in line]
    assert [(one["job_id"], one["state"]) for one in ended] == [(job["id"], "cancelled")]
    with process(tmp_path, "store", "--state-dir", "state", **settings) as made:
        found = made.client.get(f"/api/v1/jobs/{job['id']}", headers=bearer).json()
        assert found["state"] == "cancelled"


def waits(dsn: str) -> bool:
    with connect(dsn) as connection:
        query = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        return bool(connection.execute(query).rowcount)


def test_clients_that_do_not_ask_are_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doorway, "_HEAD_S", 0.1)
    settings = ServiceSettings.load(store=str(tmp_path), token=TOKEN, port=0)
    app = create_app(settings)
    whole = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with server.listen(settings) as sock:
        uvi = uvicorn.Server(server.configuration(app, settings))
        thread = threading.Thread(target=uvi.run, kwargs={"sockets": [sock]})
        thread.start()
        try:
            for sent in (b"", b"GET / HTTP/1.1\r\nHo", whole, whole + b"GET / HT"):
                with socket.create_connection(sock.getsockname(), timeout=120) as client:
                    client.sendall(sent)
                    found = b""
                    while block := client.recv(4096):
                        found += block
                    assert found.startswith(b"HTTP/1.1 200") is sent.startswith(whole)
        finally:
            uvi.should_exit = True
            thread.join()


# --- what is refused at the start --------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--host", "10.1.1.1"], "listening on 10.1.1.1 needs a token of your own"),
        (["--token-file", "nowhere"], "token_file cannot be read"),
        (["--config", "nowhere.toml"], "the settings cannot be read"),
        (["--dsn", " "], "--dsn is empty"),
        (["--dsn", "host=x password=canary port=canary"], "connection string cannot be parsed"),
    ],
)
def test_refused(
    args: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    given = ["serve", str(tmp_path), "--dsn", "host=/nowhere", "--state-dir", "state", *args]
    assert run(given) == 2
    told = capsys.readouterr().err
    assert message in told
    assert "canary" not in told


def test_a_folder_of_jobs_that_another_one_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PGVECTOR_RESTORE_TOKEN", TOKEN)
    state = tmp_path / "state"
    with running(tmp_path, None, state_dir=state):
        options = ["--dsn", "host=/nowhere", "--state-dir", str(state), "--port", "0"]
        assert run(["serve", str(tmp_path), *options]) == 2
    told = capsys.readouterr().err
    assert str(state) in told
    assert "listening" not in told


def test_a_port_that_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PGVECTOR_RESTORE_TOKEN", TOKEN)
    app = create_app(ServiceSettings.load(store=str(tmp_path)))
    with serving(app) as url:
        port = url.rpartition(":")[2]
        options = ["--dsn", "host=/nowhere", "--state-dir", str(tmp_path / "state")]
        assert run(["serve", str(tmp_path), "--port", port, *options]) == 2
    assert f"cannot listen on 127.0.0.1:{port}" in capsys.readouterr().err


def test_without_the_extra() -> None:
    script = (
        "import sys\n"
        "sys.modules['uvicorn'] = sys.modules['fastapi'] = sys.modules['pydantic'] = None\n"
        "from pgvector_restore.cli import run\n"
        "sys.exit(run(['serve', '.']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "error: the service needs pydantic, which is not installed" in done.stderr
    assert 'hint: pip install "pgvector_restore[http]"' in done.stderr


def test_a_missing_extra_is_a_typed_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from pgvector_restore import http  # noqa: PLC0415 - the package itself is what is tested

    for name in [one for one in sys.modules if one.startswith("pgvector_restore.http.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "fastapi", None)
    monkeypatch.setitem(sys.modules, "pydantic", None)
    for name in http.__all__:
        with pytest.raises(MissingExtraError) as caught:
            getattr(http, name)
        assert caught.value.hint == 'pip install "pgvector_restore[http]"'
    with pytest.raises(AttributeError):
        _ = http.anything


def test_help_names_every_option() -> None:
    text = CliRunner().invoke(command, ["serve", "--help"]).output
    for option in ("--host", "--port", "--config", "--token-file", "--state-dir", "--dsn"):
        assert option in text


# --- mounts ------------------------------------------------------------------------------------


def mounted(root: Path) -> FastAPI:
    return create_app(ServiceSettings.load(store=str(write_set(root / "store")), token=TOKEN))


def check_mounted(get: Callable[[str, dict[str, str]], tuple[int, dict[str, Any]]]) -> None:
    """It answers below its prefix, guarded, though nobody has started it."""
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    assert get("/backups/healthz", {}) == (200, {"status": "ok"})
    status, body = get("/backups/api/v1/catalog", {})
    assert (status, body["error"]["code"]) == (401, "UNAUTHORIZED")
    status, body = get("/backups/api/v1/catalog", bearer)
    assert (status, body["total"]) == (200, 1)
    status, body = get("/backups/api/v1/jobs", bearer)
    assert (status, body["jobs"]) == (200, [])
    status, body = get("/backups/api/v0/data_pipeline/vector/restore/list?task_id=-", bearer)
    assert (status, body["data"]["error_type"]) == (400, "INVALID_PARAMS")


@pytest.mark.parametrize("kind", ["fastapi", "starlette"])
def test_mounted_in_asgi(kind: str, tmp_path: Path) -> None:
    inner = mounted(tmp_path)
    if kind == "fastapi":
        outer: Any = FastAPI()
        outer.mount("/backups", inner)
    else:
        outer = Starlette(routes=[Mount("/backups", inner)])
    with serving(outer) as url, httpx.Client(base_url=url) as client:

        def get(path: str, headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
            answer = client.get(path, headers=headers)
            return answer.status_code, answer.json()

        check_mounted(get)
    inner.state.service.close()


def test_mounted_in_flask(tmp_path: Path) -> None:
    inner = mounted(tmp_path)
    outer = flask.Flask(__name__)
    made: Any = inner  # types of ASGI differ from package to package
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    wsgi: Any = a2wsgi.ASGIMiddleware(made, loop=loop)
    client = Client(DispatcherMiddleware(outer.wsgi_app, {"/backups": wsgi}))

    def get(path: str, headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
        answer = client.get(path, headers=headers)
        found: dict[str, Any] = json.loads(answer.get_data())
        return answer.status_code, found

    check_mounted(get)
    inner.state.service.close()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


# --- health and figures ------------------------------------------------------------------------


def test_not_ready(tmp_path: Path) -> None:
    with running(write_set(tmp_path / "store"), "host=/nowhere dbname=canary") as made:
        answer = made.client.get("/readyz", headers={"Authorization": ""})
        assert (answer.status_code, answer.json()) == (503, {"status": "unavailable"})
        assert made.client.get("/healthz", headers={"Authorization": ""}).status_code == 200


def figures(text: str) -> dict[tuple[str, ...], float]:
    return {
        (one.name.removeprefix("pgvector_restore_"), *one.labels.values()): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


def test_figures(tmp_path: Path, target: str) -> None:
    root = write_set(tmp_path / "store")
    with running(root, target) as made:
        first = figures(made.client.get("/metrics").text)
        assert first["jobs_total", "restore", "done"] == 0
        assert first["store_up",] == first["sets",] == first["locations",] == 1
        result = made.done("restores", label=LABEL)
        made.done("backups")
        answer = made.client.get("/metrics")
        assert answer.headers["Content-Type"].startswith("text/plain; version=")
        found = figures(answer.text)
        assert found["jobs_total", "restore", "done"] == 1
        assert found["jobs_total", "backup", "done"] == 1
        assert found["rows_total", "restore"] == result["rows_loaded"] > 0
        assert found["bytes_total", "restore"] == result["size_bytes"] > 0
        assert found["running_jobs", "restore"] == 0
        assert found["phase_seconds_total", "restore", "load"] > 0
        assert found["sets",] == 2
        ages = [value for name, value in found.items() if name[0] == "newest_set_age_seconds"]
        assert len(ages) == 1
        assert -1 <= ages[0] < 3600  # of the backup that was just made
        assert first["newest_set_age_seconds", "vector_bak"] > 86400
        assert not [name for name in found if "created" in name[0]]


def test_figures_of_many_locations_and_of_none(tmp_path: Path) -> None:
    root = write_set(tmp_path / "store")
    for number in range(230):
        write_set(root / f"task_{number:03}")
    with running(root, None) as made:
        found = figures(made.client.get("/metrics").text)
        ages = [name[1] for name in found if name[0] == "newest_set_age_seconds"]
        assert (len(ages), found["locations",]) == (200, 231)
        assert "vector_bak" in ages
    with running(tmp_path / "gone", None) as made:
        answer = made.client.get("/metrics")
        assert answer.status_code == 200
        assert ("sets",) not in figures(answer.text) or figures(answer.text)["sets",] == 0


# --- secrets -----------------------------------------------------------------------------------

CANARIES = {
    "token": "canary-token-0123456789",
    "read_token": "canary-read-0123456789",
    "password": "canary-password",
    "other": "canary-other-password",
}


def finished(client: httpx.Client, job: str) -> Any:
    return client.get(job).json()["finished_at"]


def test_secrets_are_nowhere(tmp_path: Path, target: str, caplog: pytest.LogCaptureFixture) -> None:
    """Tokens and passwords in the settings; all that can be seen from outside and in the log."""
    root = write_set(tmp_path / "store")
    seen: list[str] = []
    caplog.set_level(logging.DEBUG)
    settings = ServiceSettings.load(
        store=str(root),
        dsn=make_conninfo(target, password=CANARIES["password"]),
        targets={"lost": f"host=127.0.0.1 port=1 password={CANARIES['other']} dbname=x"},
        token=CANARIES["token"],
        read_token=CANARIES["read_token"],
        state_dir=tmp_path / "state",
    )
    app = create_app(settings)
    seen += [repr(settings), str(settings), repr(app.state.service), repr(vars(app.state))]
    bearer = {"Authorization": f"Bearer {CANARIES['token']}"}
    with serving(app) as url, httpx.Client(base_url=url, headers=bearer, timeout=240) as client:
        texts: list[httpx.Response] = [
            client.get(path)
            for path in ("/healthz", "/readyz", "/metrics", "/openapi.json", "/api/v1/jobs", "/x")
        ]
        texts += [client.get("/metrics", headers={"Authorization": "Bearer wrong"})]
        for name in ("default", "lost", "none"):
            body = {"label": LABEL, "target": name}
            texts += [client.post("/api/v1/plan", json=body)]
            texts += [client.post("/api/v1/restores", json=body)]
            if texts[-1].status_code == 202:
                job = f"/api/v1/jobs/{texts[-1].json()['id']}"
                wait_for(partial(finished, client, job))
                texts += [client.get(job), client.get(f"{job}/events")]
        old = {"backup_path": str(root / "vector_bak"), "timestamp": STAMP, "pg_conn": target}
        texts += [client.post("/api/v0/data_pipeline/vector/restore", json=old)]
        for answer in texts:
            seen += [answer.text, repr(answer.headers)]
        states = {one["state"] for one in client.get("/api/v1/jobs").json()["jobs"]}
        assert states == {"done", "failed"}
    ours = [one for one in caplog.records if one.name.partition(".")[0] != "httpcore"]
    seen += [logging.Formatter().format(one) for one in ours if one.name != "httpx"]
    seen += [
        form().format(one) for one in ours for form in (logs.JsonFormatter, logs.TextFormatter)
    ]
    seen += [path.read_bytes().decode("latin-1") for path in (tmp_path / "state").iterdir()]
    everything = "\n".join(seen)
    assert len(everything) > 10_000
    for canary in CANARIES.values():
        assert canary not in everything


def test_a_secret_in_a_line_is_hidden_all_the_same(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("canary-file-0123456789\n")
    settings = ServiceSettings.load(
        store="a",
        dsn="host=x password=canary-password",
        token=CANARIES["token"],
        read_token_file=str(file),
        storage_options={"secret": "canary-secret", "client_kwargs": {"key": ["canary-key"]}},
    ).replaced(store="sftp://me:canary-store@host/x")
    assert "canary" not in repr(settings)
    root = logging.getLogger()
    before = root.handlers[:]
    try:
        handler = logs.configure(settings)
        assert root.handlers == [handler]
    finally:
        root.handlers[:] = before
    words = f"a {CANARIES['token']} b canary-password c canary-secret d canary-store"
    words += " e canary-file-0123456789 f canary-key"
    line = handler.format(logging.makeLogRecord({"msg": words, "name": "pgvector_restore.x"}))
    assert json.loads(line)["message"] == "a *** b *** c *** d *** e *** f ***"


def test_a_value_of_a_text_line_is_no_other_field() -> None:
    record = logging.makeLogRecord({"msg": "request", "name": "pgvector_restore.http"})
    record.path = "/a status=200"
    line = logs.TextFormatter().format(record)
    assert 'path="/a status=200"' in line
    assert " status=" not in line.replace('"/a status=200"', "")


def test_texts_of_others_are_left_out() -> None:
    """What a driver fills into its lines may be a row, or a piece of a password."""
    formatter = logs.JsonFormatter()
    record = {"name": "psycopg.pool", "msg": "error connecting: %s", "args": ("canary",)}
    assert json.loads(formatter.format(logging.makeLogRecord(record)))["message"] == (
        "error connecting: %s"
    )
    record = {"name": "s3fs", "msg": "canary"}
    assert "canary" not in formatter.format(logging.makeLogRecord(record))
    info = (ValueError, ValueError("canary"), None)
    shown = formatter.format(logging.makeLogRecord({"name": "asyncio", "exc_info": info}))
    assert "canary" not in shown
    assert json.loads(shown)["error"] == "ValueError"


def test_the_package_shows_nothing_of_the_service() -> None:
    assert "http" not in pgvector_restore.__all__
    script = "import sys; from pgvector_restore import *; sys.exit('fastapi' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
