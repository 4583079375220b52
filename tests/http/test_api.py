"""The interface with jobs, over a real socket, on a real store and server."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from pgvector_restore import open_store
from pgvector_restore.db.embedded import EmbeddedServer
from pgvector_restore.http import events
from pgvector_restore.http.app import create_app
from pgvector_restore.http.places import Places
from pgvector_restore.http.routing import Shared
from pgvector_restore.http.settings import ServiceSettings
from pgvector_restore.schema import COLLECTION, EMBEDDING
from tests.conftest import G2_TABLES, connect, database
from tests.http.running import READ_TOKEN, TOKEN, Running, running, serving, wait_for
from tests.sets import COLLECTION_FILE, EMBEDDING_FILE, STAMP, write_set

LABEL = f"vector_bak/{STAMP}"


@pytest.fixture
def target(start_server: Callable[[int], EmbeddedServer]) -> Iterator[str]:
    """A database with LangChain's empty tables; one version of the server is enough here."""
    with database(start_server(18)) as dsn:
        with connect(dsn) as connection:
            connection.execute(G2_TABLES)
        yield dsn


@pytest.fixture
def service(tmp_path: Path, target: str) -> Iterator[Running]:
    with running(write_set(tmp_path / "store"), target) as made:
        yield made


def rows(dsn: str, table: str = EMBEDDING) -> int:
    with connect(dsn) as connection:
        (found,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone() or (0,)
    return int(found)


@contextmanager
def locked(dsn: str, table: str = EMBEDDING) -> Iterator[None]:
    """Somebody who needs the table as it is: a restore waits."""
    with connect(dsn) as connection, connection.transaction():
        connection.execute(f"LOCK TABLE {table} IN SHARE MODE")
        yield


def waiting(dsn: str) -> bool:
    with connect(dsn) as connection:
        query = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        return bool(connection.execute(query).rowcount)


def problem(answer: Any, status: int, code: str) -> dict[str, Any]:
    """The details of an error."""
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert body["error"]["code"] == code
    assert body["request_id"] == answer.headers["X-Request-ID"]
    assert set(body) == {"error", "request_id"}
    return dict(body["error"].get("details", {}))


def other_set(root: Path, stamp: str, folder: str = "vector_bak") -> str:
    """Another set of the store; its label."""
    there = root / folder if folder == "vector_bak" else root / folder / "vector_bak"
    there.mkdir(parents=True, exist_ok=True)
    for name in (COLLECTION_FILE, EMBEDDING_FILE):
        shutil.copy(root / "vector_bak" / name, there / name.replace(STAMP, stamp))
    return f"{folder}/{stamp}"


# --- catalog -----------------------------------------------------------------------------------


def walk(service: Running, path: str, key: str, **query: Any) -> list[str]:
    """Labels of all pages."""
    labels: list[str] = []
    cursor = None
    while True:
        asked = query if cursor is None else {**query, "cursor": cursor}
        page = service.client.get(path, params=asked).json()
        assert len(page[key]) <= query["limit"]
        labels += [one["label"] for one in page[key]]
        cursor = page["next_cursor"]
        if cursor is None:
            assert page["total"] == len(labels)
            return labels


def test_catalog_in_pages(tmp_path: Path) -> None:
    root = write_set(tmp_path / "store")
    for number in range(9):
        other_set(root, f"2026010{number + 1}_120000")
        other_set(root, "20260105_120000", f"task_2026010{number + 1}_000000")
    (root / "vector_bak" / EMBEDDING_FILE.replace(STAMP, "20260109_120000")).unlink()
    (root / "vector_bak" / EMBEDDING_FILE.replace(STAMP, "20260108_120000")).unlink()
    catalog = open_store(root).catalog()
    every = [one.label for one in catalog.sets]
    with running(root, None) as service:
        for limit in (1, 3, 7, 1000):
            assert walk(service, "/api/v1/catalog", "sets", limit=limit) == every
        of_tasks = walk(service, "/api/v1/catalog", "sets", limit=4, global_only="true")
        assert of_tasks == [label for label in every if label.startswith("vector_bak")]
        named = {"task_id": "task_20260103_000000"}
        assert walk(service, "/api/v1/catalog", "sets", limit=4, **named) == [
            "task_20260103_000000/20260105_120000"
        ]
        for location in ("vector_bak", "./vector_bak"):
            found = walk(service, "/api/v1/catalog", "sets", limit=4, location=location)
            assert found == of_tasks
        assert walk(service, "/api/v1/catalog", "sets", limit=4, location="elsewhere") == []
        broken = [one.label for one in catalog.incomplete]
        assert walk(service, "/api/v1/catalog/incomplete", "incomplete", limit=1) == broken
        one = service.client.get("/api/v1/catalog/incomplete").json()["incomplete"][0]
        assert one["label"] == "vector_bak/20260109_120000"
        assert "missing" in one["reason"]
        assert one["files"] == [COLLECTION_FILE.replace(STAMP, "20260109_120000")]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "query.limit"),
        ("limit=1001", "query.limit"),
        ("limit=1_0", "query.limit"),
        ("limit=%2B5", "query.limit"),
        ("limit=" + "9" * 5000, "query.limit"),
        ("global_only=yes", "query.global_only"),
        ("task_id=..", "query.task_id"),
        ("cursor=secret-value", "query.cursor"),
        ("cursor=W10", "query.cursor"),
        ("limits=3", "query.limits"),
    ],
)
def test_bad_queries_name_the_field(tmp_path: Path, query: str, field: str) -> None:
    with running(write_set(tmp_path), None) as service:
        answer = service.client.get(f"/api/v1/catalog?{query}")
        details = problem(answer, 422, "INVALID_REQUEST")
    assert [one["field"] for one in details["fields"]] == [field]
    assert "secret" not in answer.text


def test_one_set(service: Running) -> None:
    one = service.client.get(f"/api/v1/sets/{LABEL}").json()
    assert one == service.client.get("/api/v1/sets/latest").json()
    assert one["label"] == LABEL
    assert [file["name"] for file in one["files"]] == [COLLECTION_FILE, EMBEDDING_FILE]
    problem(service.client.get("/api/v1/sets/vector_bak/20260102_030406"), 404, "BACKUP_NOT_FOUND")
    problem(service.client.get("/api/v1/sets/%2e%2e/%2e%2e/etc"), 400, "INVALID_OPTION")


# --- plans and restores ------------------------------------------------------------------------


def test_a_plan_touches_nothing(service: Running, target: str) -> None:
    answer = service.client.post("/api/v1/plan", json={"label": LABEL, "mode": "replace"})
    assert answer.status_code == 200
    plan = answer.json()
    assert (plan["label"], plan["mode"], plan["strategy"]) == (LABEL, "replace", "in_place")
    assert [table["table"] for table in plan["tables"]] == [COLLECTION, EMBEDDING]
    assert rows(target) == 0
    assert service.client.get("/api/v1/jobs").json()["jobs"] == []


def test_plans_at_the_same_time_are_few(service: Running) -> None:
    shared = service.app.state.v1 = Shared(plans=Places(1))
    body = {"label": LABEL}
    assert shared.plans.enter()
    problem(service.client.post("/api/v1/plan", json=body), 429, "TOO_MANY_PLANS")
    shared.plans.leave()
    for _ in range(2):
        assert service.client.post("/api/v1/plan", json=body).status_code == 200
    problem(
        service.client.post("/api/v1/plan", json={"label": "no/label"}), 404, "BACKUP_NOT_FOUND"
    )
    assert shared.plans.taken == 0


def test_who_may_only_read_may_plan_and_not_restore(service: Running) -> None:
    reading = {"Authorization": f"Bearer {READ_TOKEN}"}
    body = {"label": LABEL}
    assert service.client.post("/api/v1/plan", json=body, headers=reading).status_code == 200
    refused = service.client.post("/api/v1/restores", json=body, headers=reading)
    problem(refused, 403, "FORBIDDEN")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"target": "postgresql://someone@elsewhere/db"}, "body.target"),
        ({"target": "host=elsewhere"}, "body.target"),
        ({"dsn": "host=elsewhere"}, "body.dsn"),
        ({"reject_dir": "rejects"}, "body.reject_dir"),
        ({"allow_attached_code": True}, "body.allow_attached_code"),
        ({"ledger": False}, "body.ledger"),
        ({"mode": "REPLACE"}, "body.mode"),
        ({"create_tables": "yes"}, "body.create_tables"),
        ({"create_tables": 1}, "body.create_tables"),
        ({"jobs": 65}, "body.jobs"),
        ({"lock_timeout_s": "30"}, "body.lock_timeout_s"),
        ({"tables": EMBEDDING}, "body.tables"),
        ({"tables": []}, "body.tables"),
        ({"label": 5}, "body.label"),
        ({"label": "x" * 301}, "body.label"),
        ({"schema_": "public"}, "body.schema_"),
        ({"a name\nwith lines": 1}, "body.?"),
    ],
)
def test_what_no_caller_may_say(
    service: Running, target: str, change: dict[str, Any], field: str
) -> None:
    for path in ("plan", "restores"):
        answer = service.client.post(f"/api/v1/{path}", json={"label": LABEL, **change})
        details = problem(answer, 422, "INVALID_REQUEST")
        assert [one["field"] for one in details["fields"]] == [field]
        assert "elsewhere" not in answer.text
    assert rows(target) == 0


def test_a_restore_and_its_events(service: Running, target: str) -> None:
    job = service.job("restores", label="latest", verify="content")
    assert (job["kind"], job["label"], job["target"]) == ("restore", LABEL, "default")
    with service.events(job) as stream:
        told = list(stream)
    assert [event.name for event in told] == ["progress"] * (len(told) - 1) + ["end"]
    versions = [event.id for event in told]
    assert versions == sorted(set(versions))
    assert all(event.id == event.job["version"] for event in told)
    last = told[-1].job
    assert last == service.ended(job)
    assert (last["state"], last["error"]) == ("done", None)
    assert last["result"]["rows_loaded"] == 6
    assert (last["rows_done"], last["bytes_done"]) == (6, last["bytes_total"])
    assert rows(target) == 4
    # Who comes back is told what is new, and who has seen the end that there is nothing more.
    with service.events(job, after=last["version"] - 1) as stream:
        assert [event.id for event in stream] == [last["version"]]
    again = {"Last-Event-ID": str(last["version"])}
    assert service.client.get(f"/api/v1/jobs/{job['id']}/events", headers=again).status_code == 204


def test_a_restore_that_fails_changes_nothing(service: Running, target: str) -> None:
    service.done("restores", label=LABEL)
    job = service.ended(service.job("restores", label=LABEL))
    assert job["state"] == "failed"
    assert job["error"] == {"type": "RowRejectedError", "exit_code": 4, "code": "ROW_REJECTED"}
    assert job["result"] is None
    assert rows(target) == 4


def test_what_cannot_start_is_refused_at_once(service: Running) -> None:
    asked = service.client.post
    for path in ("restores", "verifications", "plan"):
        missing = asked(f"/api/v1/{path}", json={"label": "vector_bak/20200101_000000"})
        problem(missing, 404, "BACKUP_NOT_FOUND")
        outside = asked(f"/api/v1/{path}", json={"label": "../../etc/passwd"})
        problem(outside, 400, "INVALID_OPTION")
        unknown = asked(f"/api/v1/{path}", json={"label": LABEL, "target": "nobody"})
        problem(unknown, 400, "INVALID_OPTION")
    assert service.client.get("/api/v1/jobs").json()["jobs"] == []


def test_one_at_a_time_and_called_off(service: Running, target: str) -> None:
    with locked(target):
        job = service.job("restores", label=LABEL, mode="replace", lock_timeout_s=600)
        wait_for(lambda: waiting(target))
        for path, body in (
            ("restores", {"label": LABEL}),
            ("verifications", {"label": LABEL}),
            ("backups", {}),
        ):
            refused = service.client.post(f"/api/v1/{path}", json=body)
            assert problem(refused, 409, "JOB_RUNNING") == {"job_id": job["id"]}
        called = service.client.post(f"/api/v1/jobs/{job['id']}/cancel")
        assert called.status_code == 202
        with service.events(job) as stream:
            *_, last = stream
        assert (last.name, last.job["state"]) == ("end", "cancelled")
    assert rows(target) == 0
    late = service.client.post(f"/api/v1/jobs/{job['id']}/cancel")
    assert (late.status_code, late.json()) == (200, last.job)
    service.done("restores", label=LABEL)


def test_the_same_key_is_the_same_job(service: Running, target: str) -> None:
    key = {"Idempotency-Key": "nightly"}

    def asked(**body: Any) -> Any:
        return service.client.post("/api/v1/restores", json={"label": LABEL, **body}, headers=key)

    first = asked()
    service.ended(first.json())
    again = asked()
    assert again.status_code == 202
    assert again.json()["id"] == first.json()["id"]
    assert again.headers["Location"] == first.headers["Location"]
    assert rows(target) == 4
    problem(asked(mode="replace"), 409, "IDEMPOTENCY_MISMATCH")
    bad = {"Idempotency-Key": "a b"}
    answer = service.client.post("/api/v1/restores", json={"label": LABEL}, headers=bad)
    problem(answer, 422, "INVALID_REQUEST")


# --- streams -----------------------------------------------------------------------------------


def test_streams_are_kept_open_counted_and_bounded(
    service: Running, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "_KEEP_ALIVE_S", 0.1)
    shared = service.app.state.v1 = Shared(streams=Places(1))
    with locked(target):
        job = service.job("restores", label=LABEL, mode="replace", lock_timeout_s=600)
        path = f"/api/v1/jobs/{job['id']}/events"
        with service.client.stream("GET", path) as stream:
            lines = stream.iter_lines()
            assert next(lines) == "retry: 2000"
            assert any(line == ": ping" for line in lines)
            refused = service.client.get(path)
            problem(refused, 429, "TOO_MANY_STREAMS")
            assert refused.headers["Retry-After"] == "5"
        # The client has gone; its place is free, and the job goes on.
        wait_for(lambda: shared.streams.taken == 0)
        with service.client.stream("GET", path) as stream:
            assert next(stream.iter_lines()) == "retry: 2000"
        assert service.client.get(f"/api/v1/jobs/{job['id']}").json()["state"] == "running"
    assert service.ended(job)["state"] == "done"
    wait_for(lambda: shared.streams.taken == 0)


# --- backups, comparisons, prunes, history -----------------------------------------------------


def test_a_backup_is_in_the_catalog(service: Running) -> None:
    service.done("restores", label=LABEL)
    job = service.ended(service.job("backups", task_id="task_1", compress="gzip", format="binary"))
    assert job["state"] == "done"
    assert job["label"] == job["result"]["label"]
    one = service.client.get(f"/api/v1/sets/{job['label']}").json()
    assert (one["task_id"], one["manifest"]) == ("task_1", True)
    assert {file["codec"] for file in one["files"]} == {"gzip"}
    assert service.done("verifications", label=job["label"])["equal"] is True


def test_a_comparison_names_rows_that_differ(service: Running, target: str) -> None:
    service.done("restores", label=LABEL)
    assert service.done("verifications", label=LABEL)["equal"] is True
    with connect(target) as connection:
        connection.execute("UPDATE langchain_pg_embedding SET document = 'x' WHERE id = 'b-sql'")
    report = service.done("verifications", label=LABEL, tables=[EMBEDDING])
    assert report["equal"] is False
    (difference,) = report["tables"][EMBEDDING]["differences"]
    assert (difference["kind"], difference["key"]) == ("different", ["b-sql"])
    assert difference["columns"] == ["document"]


def test_a_prune_removes_nothing_unless_told_to(service: Running, tmp_path: Path) -> None:
    root = tmp_path / "store"
    old = other_set(root, "20250101_000000")
    report = service.done("prunes", rules={"last": 1})
    assert report["dry_run"] is True
    assert [one["label"] for one in report["sets"] if not one["keep"]] == [old]
    assert len(open_store(root).catalog().sets) == 2
    report = service.done("prunes", rules={"last": 1}, dry_run=False)
    assert report["dry_run"] is False
    assert [one.label for one in open_store(root).catalog().sets] == [LABEL]
    refused = service.client.post("/api/v1/prunes", json={"rules": {"last": 0}})
    problem(refused, 422, "INVALID_REQUEST")


def test_the_history_in_pages(service: Running) -> None:
    made = []
    for number in range(8):
        made.append(service.job("prunes", rules={"last": 1 + number})["id"])
        service.ended({"id": made[-1]})
    ids = [job["id"] for job in service.client.get("/api/v1/jobs").json()["jobs"]]
    assert ids == made[::-1]
    found: list[str] = []
    before: dict[str, str] = {}
    while True:
        page = service.client.get("/api/v1/jobs", params={"limit": 3, **before}).json()
        found += [job["id"] for job in page["jobs"]]
        if page["next_before"] is None:
            break
        before = {"before": page["next_before"]}
    assert found == ids
    none = service.client.get("/api/v1/jobs", params={"kind": "restore"}).json()
    assert none == {"jobs": [], "next_before": None}
    nobody = "0" * 32
    problem(service.client.get(f"/api/v1/jobs?before={nobody}"), 404, "JOB_NOT_FOUND")
    for path in (f"/api/v1/jobs/{nobody}", f"/api/v1/jobs/{nobody}/events"):
        problem(service.client.get(path), 404, "JOB_NOT_FOUND")
    problem(service.client.post(f"/api/v1/jobs/{nobody}/cancel"), 404, "JOB_NOT_FOUND")


# --- in another application --------------------------------------------------------------------


def test_mounted_in_another_application(tmp_path: Path, target: str) -> None:
    settings = ServiceSettings(
        store=str(write_set(tmp_path)), dsn=SecretStr(target), token=SecretStr(TOKEN)
    )
    inner, outer = create_app(settings), FastAPI()
    outer.mount("/vectors", inner)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    try:
        with serving(outer) as url, httpx.Client(base_url=url, headers=headers) as client:
            made = client.post("/vectors/api/v1/restores", json={"label": LABEL})
            job = made.json()
            assert made.headers["Location"] == f"/vectors/api/v1/jobs/{job['id']}"
            stream = client.get(made.headers["Location"] + "/events", timeout=240).text
            assert "event: end" in stream
            assert client.get(made.headers["Location"]).json()["state"] == "done"
            refused = client.get("/vectors/api/v1/catalog?limit=0")
            problem(refused, 422, "INVALID_REQUEST")
    finally:
        inner.state.service.close()
    assert rows(target) == 4
