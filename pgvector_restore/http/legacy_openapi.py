"""What OpenAPI says of the existing endpoints: bodies, answers, errors, each with an example."""

from __future__ import annotations

from typing import Any

from pgvector_restore.http.answers import ANSWERS
from pgvector_restore.http.legacy_examples import BACKED_UP, LISTED, RESTORED
from pgvector_restore.http.legacy_schemas import (
    COUNT,
    DATE,
    EMPTIED,
    FLAG,
    PATH,
    SECONDS,
    SIZE,
    STAMP,
    TASK,
    TEXT,
    TIME,
    Schema,
    each_table,
    failed,
    json_answer,
    list_of,
    object_of,
    or_null,
    succeeded,
)

__all__ = ["BACKUP", "LIST", "RESTORE"]


_INVALID = failed(
    400,
    "请求参数错误",
    "缺少必需参数: backup_path, timestamp",
    "MISSING_REQUIRED_PARAMS",
    missing_params=["backup_path", "timestamp"],
)
_BAD_TASK = failed(
    400, "请求参数错误", "无效的task_id格式，只能包含字母、数字和下划线", "INVALID_PARAMS"
)
_REFUSED = failed(403, "禁止访问", "不允许使用请求中的数据库连接", "CONNECTION_NOT_ALLOWED")
_NOT_FOUND = failed(404, "资源未找到", "备份目录不存在", "RESOURCE_NOT_FOUND")
_RUNNING = failed(
    409,
    "操作冲突",
    "已有任务正在使用该数据库，请稍后重试",
    "JOB_RUNNING",
    job_id="0123456789abcdef0123456789abcdef",
)
_FAILED = failed(
    500,
    "系统内部错误",
    "数据库连接失败，请检查连接配置",
    "DATABASE_ERROR",
    can_retry=True,
)

_NO_LOCATIONS = failed(404, "资源未找到", "备份文件不存在", "RESOURCE_NOT_FOUND")


def _refusals(*codes: str) -> dict[int | str, Schema]:
    """Answers of the gate, which come before the endpoint's own."""
    found: dict[int | str, Schema] = {}
    for code in codes:
        answer = ANSWERS[code]
        message = "未授权" if answer.status == 401 else answer.text["zh"]  # noqa: PLR2004
        found[answer.status] = failed(answer.status, message, answer.text["zh"], code)
    return found


_GATE = _refusals("UNAUTHORIZED", "HOST_NOT_ALLOWED")
_BODY_GATE = _GATE | _refusals("BODY_TOO_LARGE", "NOT_JSON")
_FORBIDDEN = failed(403, "禁止访问", ANSWERS["FORBIDDEN"].text["zh"], "FORBIDDEN")

_TABLE: Schema = {**TEXT, "pattern": "^[A-Za-z_][A-Za-z0-9_]{0,62}$"}
_DIGITS: Schema = {**TEXT, "pattern": "^[1-9][0-9]{0,3}$", "examples": ["5432"]}

_WORD: Schema = {**TEXT, "pattern": r"^[^\x00]*$"}

_CONNECTION = or_null(
    {
        "anyOf": [
            _WORD,
            {
                "type": "object",
                "properties": {
                    "host": _WORD,
                    "port": {
                        "anyOf": [{"type": "integer", "minimum": 1, "maximum": 65535}, _DIGITS]
                    },
                    "dbname": _WORD,
                    "user": _WORD,
                    "password": {**_WORD, "format": "password"},
                },
                "additionalProperties": False,
            },
        ],
        "description": "refused unless the operator allows it or it is that of a target",
    }
)

#: Who gives two connections must give the same.
_ONE_CONNECTION: Schema = {
    "anyOf": [
        {"properties": {"pg_conn": {"type": "null"}}},
        {"properties": {"db_connection": {"type": "null"}}},
    ]
}


def _body(schema: Schema, example: Schema, *, required: bool) -> Schema:
    content = {"application/json": {"schema": schema | _ONE_CONNECTION, "example": example}}
    return {"requestBody": {"required": required, "content": content}}


_SET = object_of(
    timestamp=STAMP,
    collection_file=TEXT,
    embedding_file=TEXT,
    collection_size=SIZE,
    embedding_size=SIZE,
    backup_date=DATE,
    has_log=FLAG,
    log_file=or_null(TEXT),
)

#: Arguments of the route of ``restore/list``.
LIST: dict[str, Any] = {
    "response_model": None,
    "responses": {
        200: json_answer(
            "the locations and their sets",
            succeeded(
                backup_locations=list_of(
                    object_of(
                        ("task_id",),
                        type={"enum": ["global", "task"]},
                        task_id=TEXT,
                        relative_path=PATH,
                        backups=list_of(_SET),
                    )
                ),
                summary=object_of(
                    total_locations=COUNT,
                    total_backup_sets=COUNT,
                    global_backups=COUNT,
                    task_backups=COUNT,
                    scan_time=TIME,
                ),
            ),
            LISTED,
        ),
        400: _BAD_TASK,
        403: _FORBIDDEN,
        404: _NO_LOCATIONS,
        500: _FAILED,
        **_GATE,
    },
    "openapi_extra": {
        "parameters": [
            {
                "name": "global_only",
                "in": "query",
                "required": False,
                "description": "true: global locations only",
                "schema": {
                    "type": "string",
                    "pattern": "^([Tt][Rr][Uu][Ee]|[Ff][Aa][Ll][Ss][Ee])?$",
                },
                "example": "true",
            },
            {
                "name": "task_id",
                "in": "query",
                "required": False,
                "description": "this task's locations only; wins over global_only",
                "schema": TASK,
            },
        ]
    },
}

#: Arguments of the route of ``restore``.
RESTORE: dict[str, Any] = {
    "response_model": None,
    "responses": {
        200: json_answer(
            "restored, all tables",
            succeeded(
                restore_performed=FLAG,
                truncate_performed=FLAG,
                backup_info=object_of(backup_path=PATH, timestamp=STAMP, backup_date=DATE),
                truncate_results=EMPTIED,
                restore_results=each_table(
                    object_of(
                        success=FLAG,
                        source_file=TEXT,
                        rows_restored=COUNT,
                        file_size=SIZE,
                        duration=SECONDS,
                    )
                ),
                errors=list_of(TEXT),
                duration=SECONDS,
            ),
            RESTORED,
        ),
        400: _INVALID,
        403: _REFUSED,
        404: _NOT_FOUND,
        409: _RUNNING,
        500: _FAILED,
        **_BODY_GATE,
    },
    "openapi_extra": _body(
        object_of(
            ("tables", "pg_conn", "db_connection", "truncate_before_restore"),
            backup_path={**PATH, "pattern": r"^[^\x00]+$"},
            timestamp=STAMP,
            tables=or_null({**list_of(_TABLE), "minItems": 1}),
            pg_conn=_CONNECTION,
            db_connection=_CONNECTION,
            truncate_before_restore=or_null(FLAG),
        ),
        {
            "backup_path": "./data_pipeline/training_data/task_20250721_213627/vector_bak",
            "timestamp": "20250721_215758",
            "truncate_before_restore": True,
        },
        required=True,
    ),
}

#: Arguments of the route of ``backup``.
BACKUP: dict[str, Any] = {
    "response_model": None,
    "responses": {
        200: json_answer(
            "backed up",
            succeeded(
                backup_performed=FLAG,
                truncate_performed=FLAG,
                backup_directory=or_null(PATH),
                tables_backed_up=each_table(
                    object_of(
                        success=FLAG,
                        row_count=COUNT,
                        file_size=SIZE,
                        backup_file=TEXT,
                        duration=SECONDS,
                    )
                ),
                truncate_results=EMPTIED,
                errors=list_of(TEXT),
                duration=SECONDS,
            ),
            BACKED_UP,
        ),
        400: _BAD_TASK,
        403: _REFUSED,
        409: _RUNNING,
        500: _FAILED,
        **_BODY_GATE,
    },
    "openapi_extra": _body(
        object_of(
            (
                *("task_id", "pg_conn", "db_connection"),
                *("truncate_vector_tables", "backup_vector_tables"),
            ),
            task_id=or_null(TASK),
            pg_conn=_CONNECTION,
            db_connection=_CONNECTION,
            truncate_vector_tables=or_null(FLAG),
            backup_vector_tables=or_null(FLAG),
        ),
        {"task_id": "task_20250721_213627", "truncate_vector_tables": False},
        required=False,
    ),
}
