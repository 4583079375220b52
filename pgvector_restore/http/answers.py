"""What is answered when something goes wrong: fixed texts and codes.

Nothing a server, a file or a caller said is part of an answer; the log has what may be said.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from attrs import frozen
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse

from pgvector_restore.http.context import (
    LEGACY_PREFIX,
    Language,
    language_of,
    request_id_of,
    route_path,
)

__all__ = ["ANSWERS", "INTERNAL", "Answer", "answer_for", "details_for", "error_response"]


@frozen
class Answer:
    """A status with its code and its text in each language."""

    #: HTTP status; of the legacy interface see :func:`error_response`.
    status: int
    #: What programs go by.
    code: str
    #: What people read: ``zh`` and ``en``.
    text: dict[str, str]
    #: The same request may succeed later without anybody doing anything about it.
    can_retry: bool = False


def _answer(status: int, code: str, en: str, zh: str, *, can_retry: bool = False) -> Answer:
    return Answer(status, code, {"zh": zh, "en": en}, can_retry)


INTERNAL = _answer(500, "INTERNAL", "internal error; the log says more", "系统内部错误，详见日志")

#: Answers of errors, by the name of the class: an error without a row has that of its base.
_ERRORS: dict[str, Answer] = {
    "PgvectorRestoreError": INTERNAL,
    "OptionError": _answer(400, "INVALID_OPTION", "an option has a bad value", "选项的值无效"),
    "MissingExtraError": _answer(
        501, "NOT_INSTALLED", "the service lacks a package for this", "服务缺少所需的组件"
    ),
    "StoreError": _answer(
        502, "STORE_ERROR", "the storage did not answer", "备份存储无法访问", can_retry=True
    ),
    "BackupExistsError": _answer(
        409, "BACKUP_EXISTS", "a backup of that name is there already", "同名备份已存在"
    ),
    "BackupInUseError": _answer(
        409, "BACKUP_IN_USE", "somebody reads or removes the backup", "备份正在使用", can_retry=True
    ),
    "BackupNotFoundError": _answer(404, "BACKUP_NOT_FOUND", "no such backup", "备份不存在"),
    "IncompleteBackupError": _answer(
        409, "BACKUP_INCOMPLETE", "the backup is not complete", "备份不完整"
    ),
    "PruneError": _answer(
        502,
        "PRUNE_INCOMPLETE",
        "some of the backups could not be removed",
        "部分备份无法删除",
        can_retry=True,
    ),
    "StoreChangedError": _answer(
        409, "BACKUP_CHANGED", "a file of the backup has changed", "备份文件已被更改"
    ),
    "BadDataError": _answer(
        422, "BAD_DATA", "the backup holds data that cannot be restored", "备份数据无法恢复"
    ),
    "BadHeaderError": _answer(
        422, "BAD_HEADER", "the header of a backup file does not fit", "备份文件表头无效"
    ),
    "BadRecordError": _answer(
        422, "BAD_RECORD", "a record of a backup file is broken", "备份文件中的记录已损坏"
    ),
    "BadCellError": _answer(
        422, "BAD_CELL", "a value in a backup file cannot be restored", "备份文件中的值无法恢复"
    ),
    "BadCompressionError": _answer(
        422, "BAD_COMPRESSION", "a compressed backup file is damaged", "备份压缩文件已损坏"
    ),
    "BadManifestError": _answer(
        422, "BAD_MANIFEST", "the backup is not what its manifest says", "备份与其清单不符"
    ),
    "RowRejectedError": _answer(
        422, "ROW_REJECTED", "the database refused a row of the backup", "数据库拒绝了备份中的行"
    ),
    "RowCountError": _answer(422, "ROW_COUNT", "row counts do not agree", "行数不一致"),
    "TooManyBadRowsError": _answer(
        422, "TOO_MANY_BAD_ROWS", "too many rows of the backup are bad", "备份中的坏行过多"
    ),
    "TargetError": _answer(502, "TARGET_ERROR", "the database reported an error", "数据库错误"),
    "ConnectError": _answer(
        503,
        "TARGET_UNREACHABLE",
        "the database cannot be reached",
        "数据库连接失败",
        can_retry=True,
    ),
    "TargetMismatchError": _answer(
        409, "TARGET_MISMATCH", "the database cannot take this backup", "数据库与备份不匹配"
    ),
    "TargetBusyError": _answer(
        409, "TARGET_BUSY", "somebody else uses the tables", "目标表正在使用", can_retry=True
    ),
    "TargetChangedError": _answer(
        409, "TARGET_CHANGED", "the tables have changed meanwhile", "目标表已更改", can_retry=True
    ),
    "OutcomeUnknownError": _answer(
        500,
        "OUTCOME_UNKNOWN",
        "the connection was lost during COMMIT; whether it took effect is not known",
        "提交时连接中断，结果未知",
    ),
    "CancelledError": _answer(
        409, "CANCELLED", "called off; nothing has changed", "操作已取消，数据未更改"
    ),
    "ContentMismatchError": _answer(
        409, "CONTENT_MISMATCH", "the database does not hold the backup", "数据库内容与备份不一致"
    ),
    "ExecutorError": _answer(
        500,
        "WORKER_LOST",
        "a process that loads rows was lost; nothing has changed",
        "数据加载进程异常终止，数据未更改",
        can_retry=True,
    ),
    "JobConflictError": _answer(
        409,
        "JOB_RUNNING",
        "another job works on this target",
        "目标上已有任务在运行",
        can_retry=True,
    ),
    "JobNotFoundError": _answer(404, "JOB_NOT_FOUND", "no such job", "任务不存在"),
    "IdempotencyError": _answer(
        409,
        "IDEMPOTENCY_MISMATCH",
        "this Idempotency-Key belongs to another request",
        "该 Idempotency-Key 已用于其他请求",
    ),
    "ShuttingDownError": _answer(
        503, "SHUTTING_DOWN", "the service is ending", "服务正在关闭", can_retry=True
    ),
    "ConnectionNotAllowedError": _answer(
        403,
        "CONNECTION_NOT_ALLOWED",
        "the service takes no connection from callers",
        "服务不接受调用方提供的连接",
    ),
}

#: Answers to requests that are refused as they come.
_REQUESTS: tuple[Answer, ...] = (
    _answer(400, "BAD_JSON", "the body is no JSON", "请求体不是有效的 JSON"),
    _answer(422, "INVALID_REQUEST", "the request has bad parameters", "请求参数无效"),
    _answer(401, "UNAUTHORIZED", "a valid token is needed", "需要有效的访问令牌"),
    _answer(403, "FORBIDDEN", "the token may not do this", "令牌无此权限"),
    _answer(403, "ORIGIN_NOT_ALLOWED", "pages of this origin may not call", "不允许的来源"),
    _answer(404, "NOT_FOUND", "there is nothing here", "资源不存在"),
    _answer(405, "METHOD_NOT_ALLOWED", "not by this method", "不支持的请求方法"),
    _answer(408, "TOO_SLOW", "the body did not come in time", "请求体接收超时", can_retry=True),
    _answer(413, "BODY_TOO_LARGE", "the body is too large", "请求体过大"),
    _answer(415, "NOT_JSON", "bodies are application/json", "请求体须为 application/json"),
    _answer(421, "HOST_NOT_ALLOWED", "this host is not served here", "不允许的主机名"),
)

#: Every answer by its code.
ANSWERS: dict[str, Answer] = {one.code: one for one in (INTERNAL, *_ERRORS.values(), *_REQUESTS)}

#: The legacy interface's words for a status: message in each language, and type.
_LEGACY: dict[int, tuple[dict[str, str], str | None]] = {
    400: ({"zh": "请求参数错误", "en": "bad request parameters"}, "INVALID_PARAMS"),
    401: ({"zh": "未授权", "en": "not authorised"}, None),
    403: ({"zh": "禁止访问", "en": "forbidden"}, None),
    404: ({"zh": "资源未找到", "en": "not found"}, "RESOURCE_NOT_FOUND"),
    409: ({"zh": "操作冲突", "en": "conflict"}, None),
    500: ({"zh": "系统内部错误", "en": "internal error"}, "DATABASE_ERROR"),
}


def answer_for(exc: BaseException) -> Answer:
    """The answer of what was raised; of anything unknown that of an internal error."""
    for cls in type(exc).__mro__:
        if cls.__name__ in _ERRORS:
            return _ERRORS[cls.__name__]
    return INTERNAL


def details_for(exc: BaseException) -> dict[str, Any]:
    """What an answer says besides its fixed text: of a conflict, the job in the way."""
    job = getattr(exc, "job_id", None)
    return {"job_id": job} if isinstance(job, str) else {}


def error_response(
    request: HTTPConnection,
    answer: Answer,
    details: Mapping[str, Any] | None = None,
    *,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """The answer in the form of the interface that was asked.

    Under ``/api/v0`` a status is one of those that existing callers know, details are part of
    ``data``, and ``error_type`` is theirs for 400, 404 and 500.
    """
    language = language_of(request)
    if route_path(request.scope).startswith(LEGACY_PREFIX):
        status, body = _legacy(answer, details or {}, language)
    else:
        error: dict[str, Any] = {"code": answer.code, "message": answer.text[language]}
        if details:
            error["details"] = dict(details)
        status, body = answer.status, {"error": error, "request_id": request_id_of(request)}
    return JSONResponse(body, status, dict(headers or {}))


def _legacy(
    answer: Answer, details: Mapping[str, Any], language: Language
) -> tuple[int, dict[str, Any]]:
    status = answer.status
    if answer.code == "INVALID_REQUEST":
        status = 400
    elif status in (408, 422) or status > 500:  # noqa: PLR2004 - HTTP's own numbers
        status = 500
    known = _LEGACY.get(status)
    message = known[0][language] if known else answer.text[language]
    data: dict[str, Any] = {
        "response": answer.text[language],
        "error_type": (known and known[1]) or answer.code,
        "timestamp": datetime.now().isoformat(),  # noqa: DTZ005 - callers know local time
        **details,
    }
    if status == 500:  # noqa: PLR2004
        data.setdefault("can_retry", answer.can_retry)
    return status, {"code": status, "success": False, "message": message, "data": data}
