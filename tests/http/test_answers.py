"""Answers to what goes wrong: one for every error, fixed words, in two languages and two forms."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request

import pgvector_restore
from pgvector_restore import errors
from pgvector_restore.http import ServiceSettings, create_app
from pgvector_restore.http.answers import (
    ANSWERS,
    INTERNAL,
    answer_for,
    details_for,
    error_response,
)
from pgvector_restore.http.context import language_of, route_path
from pgvector_restore.http.job_values import (
    IdempotencyError,
    JobConflictError,
    JobNotFoundError,
    ShuttingDownError,
)
from pgvector_restore.http.service import ConnectionNotAllowedError

CANARY = "canary-of-a-row"


@pytest.fixture
def app(tmp_path: Path) -> Any:
    return create_app(ServiceSettings.load(store=str(tmp_path), auth=False, language="zh"))


def asked(app: Any, path: str, language: str = "", root: str = "") -> Request:
    headers = [(b"accept-language", language.encode())] if language else []
    scope = {"type": "http", "path": path, "root_path": root, "headers": headers, "app": app}
    return Request({**scope, "state": {"request_id": "r1"}})


def content(response: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(response.body)
    return found


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_has_an_answer_of_its_own(name: str) -> None:
    exc = getattr(pgvector_restore, name)(CANARY, hint=CANARY)
    answer = answer_for(exc)
    assert CANARY not in repr(answer)
    assert answer is ANSWERS[answer.code]
    if name != "PgvectorRestoreError":
        assert answer is not INTERNAL
        others = [answer_for(getattr(errors, n)("x")) for n in errors.__all__ if n != name]
        assert answer not in others


@pytest.mark.parametrize(
    ("exc", "status", "code"),
    [
        (JobConflictError("j1"), 409, "JOB_RUNNING"),
        (JobNotFoundError(CANARY), 404, "JOB_NOT_FOUND"),
        (IdempotencyError(CANARY), 409, "IDEMPOTENCY_MISMATCH"),
        (ConnectionNotAllowedError(CANARY), 403, "CONNECTION_NOT_ALLOWED"),
        (ShuttingDownError(CANARY), 503, "SHUTTING_DOWN"),
        (ValueError(CANARY), 500, "INTERNAL"),
        (errors.BackupNotFoundError(CANARY), 404, "BACKUP_NOT_FOUND"),
        (errors.TargetBusyError(CANARY), 409, "TARGET_BUSY"),
    ],
)
def test_codes(exc: Exception, status: int, code: str) -> None:
    answer = answer_for(exc)
    assert (answer.status, answer.code) == (status, code)


def test_an_error_nobody_knows_has_its_base_s_answer() -> None:
    class NewError(errors.TargetBusyError):
        pass

    assert answer_for(NewError(CANARY)).code == "TARGET_BUSY"


def test_every_answer_has_both_languages() -> None:
    for code, answer in ANSWERS.items():
        assert answer.code == code
        assert set(answer.text) == {"zh", "en"}
        assert answer.text["en"].isascii()
        assert not answer.text["zh"].isascii()
        assert 400 <= answer.status < 600


def test_the_form_of_an_error(app: Any) -> None:
    conflict = JobConflictError("j1")
    response = error_response(
        asked(app, "/api/v1/restores", "en"), answer_for(conflict), details_for(conflict)
    )
    assert response.status_code == 409
    assert content(response) == {
        "error": {
            "code": "JOB_RUNNING",
            "message": "another job works on this target",
            "details": {"job_id": "j1"},
        },
        "request_id": "r1",
    }
    response = error_response(asked(app, "/nope"), ANSWERS["NOT_FOUND"])
    assert content(response)["error"] == {"code": "NOT_FOUND", "message": "资源不存在"}


@pytest.mark.parametrize(
    ("code", "status", "message", "kind"),
    [
        ("INVALID_OPTION", 400, "请求参数错误", "INVALID_PARAMS"),
        ("INVALID_REQUEST", 400, "请求参数错误", "INVALID_PARAMS"),
        ("BACKUP_NOT_FOUND", 404, "资源未找到", "RESOURCE_NOT_FOUND"),
        ("BAD_CELL", 500, "系统内部错误", "DATABASE_ERROR"),
        ("TARGET_UNREACHABLE", 500, "系统内部错误", "DATABASE_ERROR"),
        ("JOB_RUNNING", 409, "操作冲突", "JOB_RUNNING"),
        ("UNAUTHORIZED", 401, "未授权", "UNAUTHORIZED"),
    ],
)
def test_the_form_existing_callers_know(
    app: Any, code: str, status: int, message: str, kind: str
) -> None:
    for path, root in (("/api/v0/x", ""), ("/mounted/api/v0/x", "/mounted")):
        response = error_response(asked(app, path, root=root), ANSWERS[code])
        body = content(response)
        assert response.status_code == body["code"] == status
        assert (body["success"], body["message"]) == (False, message)
        data = body["data"]
        assert (data["response"], data["error_type"]) == (ANSWERS[code].text["zh"], kind)
        assert data["timestamp"]
        assert ("can_retry" in data) is (status == 500)


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "zh"),
        ("en", "en"),
        ("en-GB,en;q=0.9", "en"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("zh;q=0.1, en;q=0.2", "en"),
        ("de, en;q=0", "zh"),
        ("*", "zh"),
        ("en;q=x", "zh"),
        (",;=" * 1000, "zh"),
    ],
)
def test_languages(app: Any, header: str, language: str) -> None:
    assert language_of(asked(app, "/", header)) == language


@pytest.mark.parametrize(
    ("path", "root", "shown"),
    [
        ("/a/b", "", "/a/b"),
        ("/m/a", "/m", "/a"),
        ("/m", "/m", ""),
        ("/more/a", "/m", "/more/a"),
        ("/a", "/m", "/a"),
    ],
)
def test_paths_below_a_mount(path: str, root: str, shown: str) -> None:
    assert route_path({"path": path, "root_path": root}) == shown
