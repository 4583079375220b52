"""The existing endpoints as existing callers use them: plain requests and what comes back.

Nothing but the wire is looked at here, and the tables themselves.
"""

from __future__ import annotations

import csv
import io
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from psycopg.conninfo import conninfo_to_dict

from pgvector_restore.http.app import create_app
from pgvector_restore.http.server import listen
from pgvector_restore.http.service import Service
from pgvector_restore.http.settings import ServiceSettings
from pgvector_restore.schema import COLLECTION, EMBEDDING
from tests.backup.kit import content
from tests.conftest import connect
from tests.sets import STAMP, collection_bytes, embedding_bytes, with_cell, write_set

PREFIX = "/api/v0/data_pipeline/vector"
LIST, RESTORE, BACKUP = f"{PREFIX}/restore/list", f"{PREFIX}/restore", f"{PREFIX}/backup"
TRAINING = "./data_pipeline/training_data"
TASK = "task_20250721_213627"
TOKEN = "canary-token-of-the-tests"
WAIT_S = 240

NOW = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}"
DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}"


class Text(str):
    """A pattern that a text fits."""

    __slots__ = ()


def differences(found: Any, wanted: Any, where: str = "") -> list[str]:
    """Where JSON is not of a shape: same keys in the same order, same types, same texts."""
    if isinstance(wanted, dict):
        if not isinstance(found, dict) or list(found) != list(wanted):
            return [f"{where}: {found}"]
        return [d for key in wanted for d in differences(found[key], wanted[key], f"{where}.{key}")]
    if isinstance(wanted, list):
        if not isinstance(found, list) or len(found) != len(wanted):
            return [f"{where}: {found}"]
        pairs = enumerate(zip(found, wanted, strict=True))
        return [d for place, (f, w) in pairs for d in differences(f, w, f"{where}[{place}]")]
    if isinstance(wanted, Text):
        fits = isinstance(found, str) and re.fullmatch(wanted, found) is not None
    elif wanted is float:
        number = type(found) is float or (type(found) is int and found == 0)
        fits = number and 0 <= found < WAIT_S and found == round(found, 3)
    else:
        fits = type(found) is type(wanted) and found == wanted
    return [] if fits else [f"{where}: {found!r} for {wanted!r}"]


def succeeded(response: str, **data: Any) -> dict[str, Any]:
    return {
        "code": 200,
        "success": True,
        "message": "操作成功",
        "data": {"response": response, **data, "timestamp": Text(NOW)},
    }


MESSAGES = {
    400: "请求参数错误",
    403: "禁止访问",
    404: "资源未找到",
    409: "操作冲突",
    500: "系统内部错误",
}


def failed(status: int, error_type: str, response: str | Text, **details: Any) -> dict[str, Any]:
    return {
        "code": status,
        "success": False,
        "message": MESSAGES[status],
        "data": {
            "response": response,
            "error_type": error_type,
            **details,
            "timestamp": Text(NOW),
        },
    }


def unlike(answer: httpx.Response, wanted: dict[str, Any]) -> list[str]:
    """Where an answer is not the one wanted."""
    head = {"content-type": "application/json", "status": wanted["code"]}
    found = {"content-type": answer.headers["content-type"], "status": answer.status_code}
    return differences(found, head) + differences(answer.json(), wanted)


@contextmanager
def serving(**given: Any) -> Iterator[tuple[httpx.Client, Service]]:
    """A service on a port of its own, and a client of it."""
    settings = ServiceSettings.load(store=TRAINING, token=TOKEN, port=0, **given)
    app = create_app(settings)
    with listen(settings) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, log_level="critical"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        headers = {"Authorization": f"Bearer {TOKEN}"}
        try:
            with httpx.Client(base_url=url, headers=headers, timeout=WAIT_S) as client:
                yield client, app.state.service
        finally:
            server.should_exit = True
            thread.join(WAIT_S)


@pytest.fixture
def training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The store, named relative to the working folder; a global set and a task's set."""
    monkeypatch.chdir(tmp_path)
    root = write_set(tmp_path / TRAINING, log={f"{EMBEDDING}_{STAMP}.csv": 4})
    shutil.copytree(root / "vector_bak", root / TASK / "vector_bak")
    (root / TASK / "vector_bak" / "vector_backup_log.txt").unlink()
    return root


@pytest.fixture
def client(training: Path, g2_dsn: str) -> Iterator[httpx.Client]:
    del training
    with serving(dsn=g2_dsn) as (made, _):
        yield made


@pytest.fixture
def lister(training: Path) -> Iterator[httpx.Client]:
    """A client of a service that needs no database."""
    del training
    with serving(dsn="host=127.0.0.1 port=1") as (made, _):
        yield made


def rows(dsn: str) -> tuple[list[Any], list[Any]]:
    return content(dsn, COLLECTION), content(dsn, EMBEDDING)


def listed(**changes: Any) -> dict[str, Any]:
    """The small set, as the list shows it."""
    return {
        "timestamp": STAMP,
        "collection_file": f"{COLLECTION}_{STAMP}.csv",
        "embedding_file": f"{EMBEDDING}_{STAMP}.csv",
        "collection_size": f"{len(collection_bytes())}.0 B",
        "embedding_size": f"{len(embedding_bytes())}.0 B",
        "backup_date": "2026-01-02 03:04:05",
        "has_log": True,
        "log_file": "vector_backup_log.txt",
    } | changes


GLOBAL_ENTRY = {
    "type": "global",
    "relative_path": f"{TRAINING}/vector_bak",
    "backups": [listed()],
}
TASK_ENTRY = {
    "type": "task",
    "task_id": TASK,
    "relative_path": f"{TRAINING}/{TASK}/vector_bak",
    "backups": [listed(has_log=False, log_file=None)],
}


def a_list(*entries: dict[str, Any]) -> dict[str, Any]:
    kinds = [entry["type"] for entry in entries for _ in entry["backups"]]
    response = f"成功扫描到 {len(entries)} 个备份位置，共 {len(kinds)} 个备份集"
    return succeeded(
        response if entries else "未找到任何可用的备份文件",
        backup_locations=list(entries),
        summary={
            "total_locations": len(entries),
            "total_backup_sets": len(kinds),
            "global_backups": kinds.count("global"),
            "task_backups": kinds.count("task"),
            "scan_time": Text(NOW),
        },
    )


# --- list --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "entries"),
    [
        ("", [GLOBAL_ENTRY, TASK_ENTRY]),
        ("?global_only=false", [GLOBAL_ENTRY, TASK_ENTRY]),
        ("?global_only=&task_id=", [GLOBAL_ENTRY, TASK_ENTRY]),
        ("?global_only=true", [GLOBAL_ENTRY]),
        ("?global_only=True", [GLOBAL_ENTRY]),
        (f"?task_id={TASK}", [TASK_ENTRY]),
        (f"?task_id={TASK}&global_only=true", [TASK_ENTRY]),
        ("?task_id=task_20250721_999999", []),
        ("?task_id=vector_bak", []),
    ],
)
def test_list(lister: httpx.Client, query: str, entries: list[dict[str, Any]]) -> None:
    assert not unlike(lister.get(LIST + query), a_list(*entries))


def test_list_of_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / TRAINING).mkdir(parents=True)
    with serving(dsn="host=127.0.0.1 port=1") as (client, _):
        assert not unlike(client.get(LIST), a_list())


def test_newest_first_and_what_is_no_set(training: Path) -> None:
    folder = training / "vector_bak"
    for stamp in ("20250101_000000", "20270101_000000"):
        for table in (COLLECTION, EMBEDDING):
            (folder / f"{table}_{stamp}.csv").write_bytes(b"")
    (folder / f"{COLLECTION}_20250102_000000.csv").write_bytes(b"")
    (folder / f"{EMBEDDING}_20250102_000000.csv.tmp").write_bytes(b"")
    (training / "task_1" / "vector_bak").mkdir(parents=True)
    (training / "task_1" / "vector_bak" / f"{EMBEDDING}_20250102_000000.csv").write_bytes(b"")
    with serving(dsn="host=127.0.0.1 port=1") as (client, _):
        found = client.get(LIST).json()["data"]
    first = found["backup_locations"][0]
    stamps = [one["timestamp"] for one in first["backups"]]
    assert stamps == ["20270101_000000", STAMP, "20250101_000000"]
    assert not differences(first["backups"][0]["collection_size"], "0 B")
    assert found["summary"]["total_locations"] == 2


def test_a_long_list(training: Path) -> None:
    folder = training / "vector_bak"
    for number in range(600):
        stamp = f"20250101_00{number // 60:02d}{number % 60:02d}"
        for table in (COLLECTION, EMBEDDING):
            (folder / f"{table}_{stamp}.csv").write_bytes(b"")
    with serving(dsn="host=127.0.0.1 port=1") as (client, _):
        answer = client.get(LIST)
    assert int(answer.headers["content-length"]) == len(answer.content) > 100_000
    first = answer.json()["data"]["backup_locations"][0]
    empty = dict.fromkeys(("collection_size", "embedding_size"), "0 B")
    stamps = [f"20250101_00{n // 60:02d}{n % 60:02d}" for n in reversed(range(600))]
    wanted = [
        listed(
            timestamp=stamp,
            collection_file=f"{COLLECTION}_{stamp}.csv",
            embedding_file=f"{EMBEDDING}_{stamp}.csv",
            backup_date=f"2025-01-01 00:{stamp[11:13]}:{stamp[13:15]}",
            **empty,
        )
        for stamp in stamps
    ]
    assert not differences(first["backups"], [listed(), *wanted])


def test_list_with_a_bad_task(lister: httpx.Client) -> None:
    wanted = failed(400, "INVALID_PARAMS", "无效的task_id格式，只能包含字母、数字和下划线")
    for task_id in ("../x", "task 1", "task-1", "täsk", "a/b", "a\\b", "\0", "a\n", ".", "*", "é"):
        assert not unlike(
            lister.get(LIST, params={"task_id": task_id, "global_only": "true"}), wanted
        )


def test_list_with_a_bad_flag(lister: httpx.Client) -> None:
    wanted = failed(400, "INVALID_PARAMS", "参数 global_only 必须是 true 或 false")
    for flag in ("1", "yes", "truefalse", "null", "真"):
        assert not unlike(lister.get(LIST, params={"global_only": flag}), wanted)


def test_list_of_a_store_that_is_gone(lister: httpx.Client, training: Path) -> None:
    shutil.rmtree(training)
    answer = lister.get(LIST)
    assert (answer.status_code, answer.json()["data"]["backup_locations"]) == (200, [])
    assert lister.get("/readyz").status_code == 503


# --- restore -----------------------------------------------------------------------------------


def emptied(rows_before: int) -> dict[str, Any]:
    return {"success": True, "rows_before": rows_before, "rows_after": 0, "duration": float}


def loaded(table: str, rows_restored: int, size: int) -> dict[str, Any]:
    return {
        "success": True,
        "source_file": f"{table}_{STAMP}.csv",
        "rows_restored": rows_restored,
        "file_size": f"{size}.0 B",
        "duration": float,
    }


COLLECTION_LOADED = loaded(COLLECTION, 2, len(collection_bytes()))
EMBEDDING_LOADED = loaded(EMBEDDING, 4, len(embedding_bytes()))


def a_restore(
    path: str, truncated: dict[str, Any] | None = None, **results: dict[str, Any]
) -> dict[str, Any]:
    default = {COLLECTION: COLLECTION_LOADED, EMBEDDING: EMBEDDING_LOADED}
    return succeeded(
        "Vector表恢复完成",
        restore_performed=True,
        truncate_performed=truncated is not None,
        backup_info={
            "backup_path": path,
            "timestamp": STAMP,
            "backup_date": "2026-01-02 03:04:05",
        },
        truncate_results=truncated or {},
        restore_results=results or default,
        errors=[],
        duration=float,
    )


def test_restore_appends_then_replaces(client: httpx.Client, g2_dsn: str) -> None:
    path = f"{TRAINING}/{TASK}/vector_bak"
    body: dict[str, Any] = {"backup_path": path, "timestamp": STAMP}
    assert not unlike(client.post(RESTORE, json=body), a_restore(path))
    before = rows(g2_dsn)
    assert [len(table) for table in before] == [2, 4]
    with connect(g2_dsn) as connection:
        connection.execute(f"INSERT INTO {EMBEDDING} (id) VALUES ('mine')")
    body["truncate_before_restore"] = True
    wanted = a_restore(path, {COLLECTION: emptied(2), EMBEDDING: emptied(5)})
    assert not unlike(client.post(RESTORE, json=body), wanted)
    assert rows(g2_dsn) == before


def test_restore_of_one_table(client: httpx.Client, g2_dsn: str) -> None:
    path = f"{TRAINING}/vector_bak"
    body: dict[str, Any] = {"backup_path": path, "timestamp": STAMP}
    body["tables"] = [COLLECTION, COLLECTION]
    wanted = a_restore(path, **{COLLECTION: COLLECTION_LOADED})
    assert not unlike(client.post(RESTORE, json=body), wanted)
    assert [len(table) for table in rows(g2_dsn)] == [2, 0]
    body |= {"tables": [EMBEDDING], "truncate_before_restore": True}
    wanted = a_restore(path, {EMBEDDING: emptied(0)}, **{EMBEDDING: EMBEDDING_LOADED})
    assert not unlike(client.post(RESTORE, json=body), wanted)
    assert [len(table) for table in rows(g2_dsn)] == [2, 4]


def test_what_the_list_gives_comes_back(client: httpx.Client) -> None:
    location = client.get(f"{LIST}?global_only=true").json()["data"]["backup_locations"][0]
    path = location["relative_path"]
    windows = path.replace("/", "\\")
    for spelling in (path, f"{path}/", path[2:], windows, f"{windows}\\", windows[2:]):
        body = {
            "backup_path": spelling,
            "timestamp": location["backups"][0]["timestamp"],
            "truncate_before_restore": True,
        }
        answer = client.post(RESTORE, json=body)
        assert answer.status_code == 200, spelling
        assert answer.json()["data"]["backup_info"]["backup_path"] == path


def test_what_is_optional_may_be_null_or_unknown(client: httpx.Client) -> None:
    path = f"{TRAINING}/vector_bak"
    optional = ("tables", "pg_conn", "db_connection", "truncate_before_restore")
    body = {"backup_path": path, "timestamp": STAMP, "comment": "x"} | dict.fromkeys(optional)
    assert not unlike(client.post(RESTORE, json=body), a_restore(path))


@pytest.mark.parametrize(
    ("body", "missing"),
    [
        ({}, ["backup_path", "timestamp"]),
        ({"backup_path": None, "timestamp": ""}, ["backup_path", "timestamp"]),
        ({"backup_path": "./x"}, ["timestamp"]),
        ({"timestamp": STAMP, "tables": 1}, ["backup_path"]),
    ],
)
def test_missing_parameters(lister: httpx.Client, body: Any, missing: list[str]) -> None:
    wanted = failed(
        400,
        "MISSING_REQUIRED_PARAMS",
        f"缺少必需参数: {', '.join(missing)}",
        missing_params=missing,
    )
    assert not unlike(lister.post(RESTORE, json=body), wanted)


def test_no_body_has_no_parameters(lister: httpx.Client) -> None:
    answer = lister.post(RESTORE)
    assert answer.status_code == 400
    assert answer.json()["data"]["missing_params"] == ["backup_path", "timestamp"]


BAD_STAMPS = [
    *("latest", "2026", "20260102-030405", "20260102_0304050", "20260102_030405\n"),
    *(f"{STAMP}.csv", "٢٠٢٦٠١٠٢_٠٣٠٤٠٥", f"../vector_bak/{STAMP}", f"{STAMP}/..", "*", " "),
]
BAD_VALUES: dict[str, list[Any]] = {
    "timestamp": [1, True, [], {}, 1.5, [STAMP], *BAD_STAMPS],
    "backup_path": [1, True, ["x"], {"a": 1}, 0],
    "tables": [
        *(EMBEDDING, [], {}, 1, [1], [None], [[EMBEDDING]], True, ["pg_class"], [""]),
        *([f"public.{EMBEDDING}"], ["x; DROP"], ["é" * 99], [EMBEDDING, "other"]),
    ],
    "truncate_before_restore": ["true", 1, 0, [], {}, ""],
    "pg_conn": [1, True, [], ["x"], {"sslmode": "x"}, {"host": "h", "x": 1}],
    "db_connection": [1.5, {"host": 1}, {"port": 99999999999}, {"port": True}],
}


def test_bad_values_are_refused(lister: httpx.Client) -> None:
    good: dict[str, Any] = {"backup_path": f"{TRAINING}/vector_bak", "timestamp": STAMP}
    wanted = failed(400, "INVALID_PARAMS", Text(r"[^\x00-\x1f]+"))
    for name, values in BAD_VALUES.items():
        for value in values:
            assert not unlike(lister.post(RESTORE, json=good | {name: value}), wanted)
    two = good | {"pg_conn": "host=a", "db_connection": "host=b"}
    assert not unlike(lister.post(RESTORE, json=two), wanted)


BAD_PATHS = [
    *("/", "..", ".", "~", "./", "vector_bak", "./vector_bak", f"{TRAINING}", f"{TRAINING}/{TASK}"),
    *(f"{TRAINING}/../training_data/vector_bak", f"{TRAINING}/vector_bak/../vector_bak"),
    *(f"{TRAINING}//vector_bak", "/etc", "/etc/passwd", "C:\\Windows", "\\\\host\\share"),
    *("file:///etc", "s3://bucket/x", "http://127.0.0.1:1/", f"{TRAINING}/vector_bak%2f"),
    *(f"{TRAINING}/VECTOR_BAK", f"{TRAINING}/vector_bak ", "\u202e", "../" * 1000, "x" * 10_000),
    *(f"{TRAINING}/task_1/vector_bak", f"{TRAINING}/linked/vector_bak", "../outside/vector_bak"),
]


def test_paths_that_are_no_location(lister: httpx.Client, training: Path) -> None:
    outside = write_set(training.parents[2] / "outside")
    (training / "linked").symlink_to(outside, target_is_directory=True)
    wanted = failed(404, "RESOURCE_NOT_FOUND", "备份目录不存在")
    for path in BAD_PATHS:
        body = {"backup_path": path, "timestamp": STAMP, "truncate_before_restore": True}
        assert not unlike(lister.post(RESTORE, json=body), wanted)


def test_sets_that_are_not_there(lister: httpx.Client, training: Path) -> None:
    (training / "vector_bak" / f"{EMBEDDING}_20250101_000000.csv").write_bytes(b"")
    for stamp, response in (
        ("20200101_000000", "备份文件不存在"),
        ("99999999_999999", "备份文件不存在"),
        ("20250101_000000", "备份文件不完整，无法恢复"),
    ):
        body = {"backup_path": f"{TRAINING}/vector_bak", "timestamp": stamp}
        assert not unlike(
            lister.post(RESTORE, json=body), failed(404, "RESOURCE_NOT_FOUND", response)
        )


def test_a_strangers_connection_is_refused(lister: httpx.Client, training: Path) -> None:
    wanted = failed(403, "CONNECTION_NOT_ALLOWED", "不允许使用请求中的数据库连接")
    good: dict[str, Any] = {"backup_path": f"{TRAINING}/vector_bak", "timestamp": STAMP}
    strangers: list[Any] = [
        *("host=/tmp dbname=postgres", "postgresql://u:p@127.0.0.1/x", "x", "service=x", "\n"),
        *({"host": "h", "user": "u", "password": "p"}, {"port": 5432}, {"dbname": "x'"}),
    ]
    for stranger in strangers:
        for name in ("pg_conn", "db_connection"):
            assert not unlike(lister.post(RESTORE, json=good | {name: stranger}), wanted)
            assert not unlike(lister.post(BACKUP, json={name: stranger}), wanted)
    assert len(list(training.rglob("*.csv"))) == 4


def test_a_targets_connection_is_allowed(training: Path, g2_dsn: str) -> None:
    del training
    known = conninfo_to_dict(g2_dsn)
    given = {name: known[name] for name in ("host", "port", "dbname", "user")}
    spellings: list[Any] = [g2_dsn, "spare", given, given | {"port": int(str(known["port"]))}]
    path = f"{TRAINING}/vector_bak"
    body = {"backup_path": path, "timestamp": STAMP, "truncate_before_restore": True}
    with serving(dsn="host=127.0.0.1 port=1", targets={"spare": g2_dsn}) as (client, _):
        for number, spelling in enumerate(spellings):
            before = (2, 4) if number else (0, 0)
            wanted = a_restore(
                path, dict(zip((COLLECTION, EMBEDDING), map(emptied, before), strict=True))
            )
            for name in ("pg_conn", "db_connection"):
                assert not unlike(client.post(RESTORE, json=body | {name: spelling}), wanted)
                wanted = a_restore(path, {COLLECTION: emptied(2), EMBEDDING: emptied(4)})
        both = {"pg_conn": "spare", "db_connection": "spare"}
        assert client.post(BACKUP, json=both).status_code == 200


def test_connections_the_operator_allows(training: Path) -> None:
    del training
    body: dict[str, Any] = {"backup_path": f"{TRAINING}/vector_bak", "timestamp": STAMP}
    given = {"host": "127.0.0.1", "port": 1, "dbname": "d", "user": "u", "password": "canary"}
    unreachable = failed(500, "DATABASE_ERROR", "数据库连接失败，请检查连接配置", can_retry=True)
    refused = failed(403, "CONNECTION_NOT_ALLOWED", "不允许使用请求中的数据库连接")
    allowed = {"allow_connections": True, "connection_hosts": ["127.0.0.1"]}
    with serving(dsn="host=127.0.0.1 port=1", **allowed) as (client, _):
        assert not unlike(client.post(RESTORE, json=body | {"pg_conn": given}), unreachable)
        for other in (given | {"host": "127.0.0.2"}, "postgresql://127.0.0.1/d?sslrootcert=/x"):
            answer = client.post(RESTORE, json=body | {"pg_conn": other})
            assert not unlike(answer, refused)
            assert "canary" not in answer.text


def test_a_failed_restore_changes_nothing(
    client: httpx.Client, training: Path, g2_dsn: str
) -> None:
    path = f"{TRAINING}/vector_bak"
    body = {"backup_path": path, "timestamp": STAMP, "truncate_before_restore": True}
    assert not unlike(
        client.post(RESTORE, json=body),
        a_restore(path, {COLLECTION: emptied(0), EMBEDDING: emptied(0)}),
    )
    before = rows(g2_dsn)
    write_set(training, embedding=with_cell(4, "embedding", '"[0.1 0.2 ... 0.3]"'))
    wanted = failed(
        500,
        "DATABASE_ERROR",
        "备份文件中有无法恢复的数据，数据库未做任何更改",
        can_retry=False,
    )
    assert not unlike(client.post(RESTORE, json=body), wanted)
    assert rows(g2_dsn) == before
    write_set(training)
    body["truncate_before_restore"] = False
    wanted["data"]["response"] = (
        "数据库拒绝了备份中的某一行（可能已存在，可使用 truncate_before_restore），"
        "数据库未做任何更改"
    )
    assert not unlike(client.post(RESTORE, json=body), wanted)
    assert rows(g2_dsn) == before


def test_what_came_a_moment_ago(client: httpx.Client, training: Path) -> None:
    client.get(LIST)  # the list is kept for a moment
    shutil.copytree(training / "vector_bak", training / "task_new" / "vector_bak")
    body = {"backup_path": f"{TRAINING}/task_new/vector_bak", "timestamp": STAMP}
    assert client.post(RESTORE, json=body).status_code == 200


def test_a_connection_is_refused_before_a_word_about_paths(client: httpx.Client) -> None:
    body = {"backup_path": "./nowhere", "timestamp": STAMP, "pg_conn": "host=elsewhere"}
    answer = client.post(RESTORE, json=body)
    assert (answer.status_code, answer.json()["data"]["error_type"]) == (
        403,
        "CONNECTION_NOT_ALLOWED",
    )


def test_replacing_parents_only_is_refused(client: httpx.Client, g2_dsn: str) -> None:
    path = f"{TRAINING}/vector_bak"
    body: dict[str, Any] = {"backup_path": path, "timestamp": STAMP}
    assert client.post(RESTORE, json=body).status_code == 200
    before = rows(g2_dsn)
    body |= {"tables": [COLLECTION], "truncate_before_restore": True}
    wanted = failed(
        400, "INVALID_PARAMS", "清空 langchain_pg_collection 时必须同时恢复 langchain_pg_embedding"
    )
    assert not unlike(client.post(RESTORE, json=body), wanted)
    assert rows(g2_dsn) == before


def test_no_database(lister: httpx.Client) -> None:
    wanted = failed(500, "DATABASE_ERROR", "数据库连接失败，请检查连接配置", can_retry=True)
    body = {"backup_path": f"{TRAINING}/vector_bak", "timestamp": STAMP}
    assert not unlike(lister.post(RESTORE, json=body), wanted)
    assert not unlike(lister.post(BACKUP, json={}), wanted)


# --- jobs --------------------------------------------------------------------------------------


@contextmanager
def locked(dsn: str) -> Iterator[None]:
    """Nobody can write to the tables; a restore has been planned when it finds that out."""
    with connect(dsn) as connection, connection.transaction():
        connection.execute(f"LOCK TABLE {COLLECTION}, {EMBEDDING} IN SHARE MODE")
        yield


def until(ready: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        if found := ready():
            return found
        time.sleep(0.02)
    raise TimeoutError


def test_one_job_for_a_database(training: Path, g2_dsn: str) -> None:
    del training
    body = {"backup_path": f"{TRAINING}/vector_bak", "timestamp": STAMP}
    first: list[httpx.Response] = []
    with serving(dsn=g2_dsn) as (client, service):
        with locked(g2_dsn):
            asking = threading.Thread(target=lambda: first.append(client.post(RESTORE, json=body)))
            asking.start()
            job = until(lambda: service.jobs.list(state="running"))[0]
            wanted = failed(
                409, "JOB_RUNNING", "已有任务正在使用该数据库，请稍后重试", job_id=job.id
            )
            assert not unlike(client.post(RESTORE, json=body), wanted)
            assert not unlike(client.post(BACKUP, json={}), wanted)
        asking.join(WAIT_S)
    assert first[0].status_code == 200
    assert [len(table) for table in rows(g2_dsn)] == [2, 4]


def test_a_client_that_goes_away_ends_nothing(training: Path, g2_dsn: str) -> None:
    del training
    body = {"backup_path": f"{TRAINING}/vector_bak", "timestamp": STAMP}
    with serving(dsn=g2_dsn) as (client, service):
        with locked(g2_dsn), pytest.raises(httpx.ReadTimeout):
            client.post(RESTORE, json=body, timeout=1)
        job = service.jobs.wait(service.jobs.list()[0].id, WAIT_S)
        assert job.state == "done"
        assert client.get(LIST).status_code == 200
    assert [len(table) for table in rows(g2_dsn)] == [2, 4]


def test_tables_in_use(training: Path, g2_dsn: str) -> None:
    del training
    body = {"backup_path": f"{TRAINING}/vector_bak", "timestamp": STAMP}
    wanted = failed(
        500,
        "DATABASE_ERROR",
        "目标表正被占用，数据未做任何更改，请稍后重试",
        can_retry=True,
    )
    with serving(dsn=g2_dsn, lock_timeout_s=0.2) as (client, _), locked(g2_dsn):
        assert not unlike(client.post(RESTORE, json=body), wanted)


def test_a_job_that_is_called_off(training: Path, g2_dsn: str) -> None:
    del training
    body = {"backup_path": f"{TRAINING}/vector_bak", "timestamp": STAMP}
    answers: list[httpx.Response] = []
    with serving(dsn=g2_dsn) as (client, service), locked(g2_dsn):
        asking = threading.Thread(target=lambda: answers.append(client.post(RESTORE, json=body)))
        asking.start()
        service.jobs.cancel(until(lambda: service.jobs.list(state="running"))[0].id)
        asking.join(WAIT_S)
    wanted = failed(500, "DATABASE_ERROR", "操作已被取消，数据未做任何更改", can_retry=True)
    assert not unlike(answers[0], wanted)


# --- backup ------------------------------------------------------------------------------------


def saved(table: str, row_count: int, folder: Path) -> dict[str, Any]:
    newest = max(folder.glob(f"{table}_*.csv"))
    return {
        "success": True,
        "row_count": row_count,
        "file_size": f"{newest.stat().st_size}.0 B",
        "backup_file": newest.name,
        "duration": float,
    }


def a_backup(
    directory: str, folder: Path, counts: tuple[int, int] = (2, 4), *, truncated: bool = False
) -> dict[str, Any]:
    return succeeded(
        "Vector表备份完成，embedding表已清空" if truncated else "Vector表备份完成",
        backup_performed=True,
        truncate_performed=truncated,
        backup_directory=directory,
        tables_backed_up={
            COLLECTION: saved(COLLECTION, counts[0], folder),
            EMBEDDING: saved(EMBEDDING, counts[1], folder),
        },
        truncate_results={EMBEDDING: emptied(counts[1])} if truncated else {},
        errors=[],
        duration=float,
    )


@pytest.fixture
def filled(client: httpx.Client) -> httpx.Client:
    body = {"backup_path": f"{TRAINING}/vector_bak", "timestamp": STAMP}
    assert client.post(RESTORE, json=body).status_code == 200
    return client


def test_backup(filled: httpx.Client, training: Path, g2_dsn: str) -> None:
    before = rows(g2_dsn)
    answer = filled.post(BACKUP)
    assert not unlike(answer, a_backup(f"{TRAINING}/vector_bak", training / "vector_bak"))
    answer = filled.post(BACKUP, json={"task_id": "manual_20260101_000000"})
    folder = training / "manual_20260101_000000" / "vector_bak"
    directory = f"{TRAINING}/manual_20260101_000000/vector_bak"
    assert not unlike(answer, a_backup(directory, folder))
    assert rows(g2_dsn) == before
    found = filled.get(f"{LIST}?task_id=manual_20260101_000000").json()["data"]
    (location,) = found["backup_locations"]
    assert location["relative_path"] == directory
    body = {
        "backup_path": directory,
        "timestamp": location["backups"][0]["timestamp"],
        "truncate_before_restore": True,
    }
    assert filled.post(RESTORE, json=body).status_code == 200
    assert rows(g2_dsn) == before


@pytest.mark.parametrize(
    "body",
    [
        {"task_id": TASK, "truncate_vector_tables": True},
        # A table is never emptied without a backup.
        {"task_id": TASK, "truncate_vector_tables": True, "backup_vector_tables": False},
    ],
)
def test_backup_and_empty(
    filled: httpx.Client, training: Path, g2_dsn: str, body: dict[str, Any]
) -> None:
    before = rows(g2_dsn)
    folder = training / TASK / "vector_bak"
    answer = filled.post(BACKUP, json=body)
    assert not unlike(answer, a_backup(f"{TRAINING}/{TASK}/vector_bak", folder, truncated=True))
    assert rows(g2_dsn) == (before[0], [])
    log = (folder / "vector_backup_log.txt").read_text("utf-8")
    assert "TRUNCATED (4 rows removed)" in log


def test_a_request_for_nothing(lister: httpx.Client, training: Path) -> None:
    wanted = succeeded(
        "未请求任何操作",
        backup_performed=False,
        truncate_performed=False,
        backup_directory=None,
        tables_backed_up={},
        truncate_results={},
        errors=[],
        duration=float,
    )
    assert not unlike(lister.post(BACKUP, json={"backup_vector_tables": False}), wanted)
    assert len(list(training.rglob("*.csv"))) == 4


BAD_FOR_BACKUP: dict[str, list[Any]] = {
    # No folder of a task is named like the last one.
    "task_id": ["../x", "task-1", 1, True, [], {}, "a/b", "é", "x" * 300, "other"],
    "truncate_vector_tables": ["true", 1, 0, [], ""],
    "backup_vector_tables": ["false", 1, {}, ""],
}


def test_bad_values_of_a_backup(lister: httpx.Client, training: Path) -> None:
    wanted = failed(400, "INVALID_PARAMS", Text(r"[^\x00-\x1f]+"))
    for name, values in BAD_FOR_BACKUP.items():
        for value in values:
            body = {"truncate_vector_tables": True} | {name: value}
            assert not unlike(lister.post(BACKUP, json=body), wanted)
    assert {path.name for path in training.iterdir()} == {"vector_bak", TASK}


def test_a_backup_that_fails_empties_nothing(filled: httpx.Client, g2_dsn: str) -> None:
    before = rows(g2_dsn)
    with connect(g2_dsn) as connection:
        connection.execute(f"CREATE TABLE other (id varchar REFERENCES {EMBEDDING} (id))")
    wanted = failed(
        500, "DATABASE_ERROR", "目标数据库不适合此操作，数据未做任何更改", can_retry=False
    )
    assert not unlike(filled.post(BACKUP, json={"truncate_vector_tables": True}), wanted)
    assert rows(g2_dsn) == before


# --- languages ---------------------------------------------------------------------------------


def test_english_by_request_or_setting(training: Path) -> None:
    del training
    english = {"Accept-Language": "en-GB,en;q=0.9,zh;q=0.1"}
    with serving(dsn="host=127.0.0.1 port=1") as (client, _):
        found = client.get(LIST, headers=english).json()
        assert found["message"] == "success"
        assert found["data"]["response"] == "found 2 backup sets at 2 locations"
        found = client.post(RESTORE, json={}, headers=english).json()
        assert found["message"] == "bad request"
        assert found["data"]["response"] == "missing parameters: backup_path, timestamp"
        assert client.get(LIST).json()["message"] == "操作成功"
    with serving(dsn="host=127.0.0.1 port=1", language="en") as (client, _):
        assert client.get(LIST).json()["message"] == "success"
        chinese = {"Accept-Language": "zh-CN"}
        assert client.get(LIST, headers=chinese).json()["message"] == "操作成功"


# --- hostile requests --------------------------------------------------------------------------

RAW_BODIES = [
    *(b"[]", b"null", b"1", b'"x"', b"{", b"{}{}", b"\xff", b"\x00", b'{"a":NaN}', b"[" * 5000),
    *(b'{"backup_path":"\\u0000","timestamp":"\\ud800"}', b'{"backup_path":"a","backup_path":"b"}'),
    *(b'{"timestamp":' + b"9" * 5000 + b"}", b'{"tables":' + b"[" * 900 + b"]" * 900 + b"}"),
    *(b'{"backup_path":1e999}', b"\xef\xbb\xbf{}", b'{"task_id":"' + b"-" * 60_000 + b'"}'),
]


@pytest.mark.parametrize("endpoint", [RESTORE, BACKUP])
def test_bodies_that_are_no_requests(lister: httpx.Client, training: Path, endpoint: str) -> None:
    before = sorted(training.rglob("*"))
    for body in RAW_BODIES:
        answer = lister.post(endpoint, content=body, headers={"Content-Type": "application/json"})
        found = answer.json()
        assert (answer.status_code, found["code"], found["success"]) == (400, 400, False), body
        assert found["message"] == "请求参数错误"
    assert sorted(training.rglob("*")) == before


VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1 << 62, 1e308, "", " ", "\n", "a" * 5000, "\u202e", "𝕏", "'; --"),
    *([], {}, [[]], [{}], {"a": {"b": []}}, ["a"] * 500, "../../etc/passwd", "%s", "latest"),
]


def test_any_value_anywhere(client: httpx.Client, training: Path, g2_dsn: str) -> None:
    with connect(g2_dsn) as connection:
        connection.execute(f"INSERT INTO {EMBEDDING} (id) VALUES ('mine')")
    before, files = rows(g2_dsn), sorted(training.rglob("*"))
    good = {"backup_path": f"{TRAINING}/vector_bak", "timestamp": "20200101_000000"}
    for value in VALUES:
        for name in (*good, "tables", "pg_conn", "db_connection", "truncate_before_restore"):
            answer = client.post(
                RESTORE, json=good | {"truncate_before_restore": True, name: value}
            )
            assert answer.status_code in (400, 403, 404), (name, value)
            assert answer.json()["code"] == answer.status_code
        for name in ("global_only", "task_id"):
            if isinstance(value, str):
                assert client.get(LIST, params={name: value}).status_code in (200, 400), value
    assert rows(g2_dsn) == before
    assert sorted(training.rglob("*")) == files


# --- the command, and the real sets ------------------------------------------------------------


@contextmanager
def command(folder: Path, dsn: str) -> Iterator[httpx.Client]:
    """The service as a process of its own, and a client of it."""
    words = ["serve", TRAINING, "--port", "0", "--dsn", dsn, "--state-dir", str(folder / "state")]
    said = folder / "said.txt"
    with said.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-X", "dev", "-W", "error", "-m", "pgvector_restore", *words],
            cwd=folder,
            env={**os.environ, "PGVECTOR_RESTORE_TOKEN": TOKEN},
            stdin=subprocess.DEVNULL,
            stdout=errors,
            stderr=errors,
        )

    def address() -> str | None:
        assert process.poll() is None, said.read_text("utf-8")
        found = re.search(r"listening on (http://\S+)\s", said.read_text("utf-8"))
        return found[1] if found else None

    try:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        with httpx.Client(base_url=until(address), headers=headers, timeout=WAIT_S) as client:
            yield client
        process.terminate()
        process.wait(WAIT_S)
    finally:
        process.kill()
        process.wait()
    told = said.read_text("utf-8")
    assert "Traceback" not in told
    assert TOKEN not in told


@pytest.fixture
def real(samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(samples, tmp_path / TRAINING)
    return tmp_path / TRAINING


def records(file: Path) -> int:
    text = io.StringIO(file.read_text("utf-8"), newline="")
    return sum(1 for _ in csv.reader(text)) - 1


def in_set(folder: Path, stamp: str) -> dict[str, Any]:
    """A real set, as the list shows it."""
    files = [folder / f"{table}_{stamp}.csv" for table in (COLLECTION, EMBEDDING)]
    sizes = [file.stat().st_size for file in files]
    shown = [f"{n / 1024:.1f} KB" if n >= 1024 else f"{n}.0 B" for n in sizes]
    return {
        "timestamp": stamp,
        "collection_file": files[0].name,
        "embedding_file": files[1].name,
        "collection_size": shown[0],
        "embedding_size": shown[1],
        "backup_date": Text(DATE),
        "has_log": True,
        "log_file": "vector_backup_log.txt",
    }


def test_real_sets(real: Path, g2_dsn: str, tmp_path: Path) -> None:
    held = {COLLECTION: 0, EMBEDDING: 0}
    with command(tmp_path, g2_dsn) as client:
        found = client.get(LIST).json()["data"]
        assert found["summary"]["total_backup_sets"] == len(list(real.rglob(f"{EMBEDDING}_*.csv")))
        for location in found["backup_locations"]:
            path = location["relative_path"]
            for one in location["backups"]:
                stamp = one["timestamp"]
                assert not differences(one, in_set(tmp_path / path, stamp))
                counts = {
                    table: records(tmp_path / path / f"{table}_{stamp}.csv") for table in held
                }
                body = {"backup_path": path, "timestamp": stamp, "truncate_before_restore": True}
                answer = client.post(RESTORE, json=body)
                wanted = succeeded(
                    "Vector表恢复完成",
                    restore_performed=True,
                    truncate_performed=True,
                    backup_info={
                        "backup_path": path,
                        "timestamp": stamp,
                        "backup_date": one["backup_date"],
                    },
                    truncate_results={table: emptied(rows) for table, rows in held.items()},
                    restore_results={
                        table: {
                            "success": True,
                            "source_file": f"{table}_{stamp}.csv",
                            "rows_restored": counts[table],
                            "file_size": one[f"{table.rpartition('_')[2]}_size"],
                            "duration": float,
                        }
                        for table in held
                    },
                    errors=[],
                    duration=float,
                )
                assert not unlike(answer, wanted)
                held = counts
        assert {table: len(content(g2_dsn, table)) for table in held} == held
