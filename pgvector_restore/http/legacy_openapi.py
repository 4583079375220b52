"""What OpenAPI says of the existing endpoints: bodies, answers, errors, each with an example."""

from __future__ import annotations

from typing import Any

__all__ = ["BACKUP", "LIST", "RESTORE"]

_Schema = dict[str, Any]

_STAMP = "2026-07-22T10:30:45.123456"


def _object(optional: tuple[str, ...] = (), /, **properties: _Schema) -> _Schema:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required}


def _each(schema: _Schema) -> _Schema:
    """An object with one member for each table."""
    return {"type": "object", "additionalProperties": schema}


def _or_null(schema: _Schema) -> _Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _list_of(schema: _Schema) -> _Schema:
    return {"type": "array", "items": schema}


_TEXT: _Schema = {"type": "string"}
_FLAG: _Schema = {"type": "boolean"}
_COUNT: _Schema = {"type": "integer", "minimum": 0}
_SECONDS: _Schema = {"type": "number", "minimum": 0}
_TIME: _Schema = {**_TEXT, "description": "ISO, local time, no zone", "examples": [_STAMP]}
_SIZE: _Schema = {**_TEXT, "description": "1024-based", "examples": ["764.0 KB"]}
_DATE: _Schema = {**_TEXT, "examples": ["2025-07-21 21:57:58"]}
_PATH: _Schema = {
    **_TEXT,
    "description": "a location, as the list shows it",
    "examples": ["./data_pipeline/training_data/vector_bak"],
}
_NAME: _Schema = {**_TEXT, "pattern": "^[0-9]{8}_[0-9]{6}$", "examples": ["20250721_215758"]}
_TASK: _Schema = {**_TEXT, "pattern": "^[A-Za-z0-9_]*$", "examples": ["task_20250721_213627"]}

_EMPTIED = _each(
    _object(success=_FLAG, rows_before=_COUNT, rows_after={"const": 0}, duration=_SECONDS)
)


def _answer(**data: _Schema) -> _Schema:
    return _object(
        code={"type": "integer"},
        success=_FLAG,
        message=_TEXT,
        data=_object(response=_TEXT, **data, timestamp=_TIME),
    )


def _json(description: str, schema: _Schema, example: Any | None = None) -> _Schema:  # noqa: ANN401 - any JSON
    content: _Schema = {"schema": schema}
    if example is not None:
        content["example"] = example
    return {"description": description, "content": {"application/json": content}}


def _error(status: int, message: str, response: str, kind: str, **details: object) -> _Schema:
    schema = _object(
        code={"const": status},
        success={"const": False},
        message=_TEXT,
        data={
            **_object(response=_TEXT, error_type=_TEXT, timestamp=_TIME),
            "additionalProperties": True,
        },
    )
    data = {"response": response, "error_type": kind, **details, "timestamp": _STAMP}
    example = {"code": status, "success": False, "message": message, "data": data}
    return _json(response, schema, example)


_INVALID = _error(
    400,
    "请求参数错误",
    "缺少必需参数: backup_path, timestamp",
    "MISSING_REQUIRED_PARAMS",
    missing_params=["backup_path", "timestamp"],
)
_BAD_TASK = _error(
    400, "请求参数错误", "无效的task_id格式，只能包含字母、数字和下划线", "INVALID_PARAMS"
)
_REFUSED = _error(403, "禁止访问", "不允许使用请求中的数据库连接", "CONNECTION_NOT_ALLOWED")
_NOT_FOUND = _error(404, "资源未找到", "备份目录不存在", "RESOURCE_NOT_FOUND")
_RUNNING = _error(
    409,
    "操作冲突",
    "已有任务正在使用该数据库，请稍后重试",
    "JOB_RUNNING",
    job_id="0123456789abcdef0123456789abcdef",
)
_FAILED = _error(
    500,
    "系统内部错误",
    "数据库连接失败，请检查连接配置",
    "DATABASE_ERROR",
    can_retry=True,
)

_CONNECTION = _or_null(
    {
        "anyOf": [
            _TEXT,
            {
                "type": "object",
                "properties": {
                    "host": _TEXT,
                    "port": {"anyOf": [{"type": "integer"}, _TEXT]},
                    "dbname": _TEXT,
                    "user": _TEXT,
                    "password": {**_TEXT, "format": "password"},
                },
                "additionalProperties": False,
            },
        ],
        "description": "refused unless the operator allows it or it is that of a target",
    }
)


def _body(schema: _Schema, example: _Schema, *, required: bool) -> _Schema:
    content = {"application/json": {"schema": schema, "example": example}}
    return {"requestBody": {"required": required, "content": content}}


_SET = _object(
    timestamp=_NAME,
    collection_file=_TEXT,
    embedding_file=_TEXT,
    collection_size=_SIZE,
    embedding_size=_SIZE,
    backup_date=_DATE,
    has_log=_FLAG,
    log_file=_or_null(_TEXT),
)

#: Arguments of the route of ``restore/list``.
LIST: dict[str, Any] = {
    "response_model": None,
    "responses": {
        200: _json(
            "the locations and their sets",
            _answer(
                backup_locations=_list_of(
                    _object(
                        ("task_id",),
                        type={"enum": ["global", "task"]},
                        task_id=_TEXT,
                        relative_path=_PATH,
                        backups=_list_of(_SET),
                    )
                ),
                summary=_object(
                    total_locations=_COUNT,
                    total_backup_sets=_COUNT,
                    global_backups=_COUNT,
                    task_backups=_COUNT,
                    scan_time=_TIME,
                ),
            ),
        ),
        400: _BAD_TASK,
        500: _FAILED,
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
                "schema": _TASK,
            },
        ]
    },
}

#: Arguments of the route of ``restore``.
RESTORE: dict[str, Any] = {
    "response_model": None,
    "responses": {
        200: _json(
            "restored, all tables",
            _answer(
                restore_performed=_FLAG,
                truncate_performed=_FLAG,
                backup_info=_object(backup_path=_PATH, timestamp=_NAME, backup_date=_DATE),
                truncate_results=_EMPTIED,
                restore_results=_each(
                    _object(
                        success=_FLAG,
                        source_file=_TEXT,
                        rows_restored=_COUNT,
                        file_size=_SIZE,
                        duration=_SECONDS,
                    )
                ),
                errors=_list_of(_TEXT),
                duration=_SECONDS,
            ),
        ),
        400: _INVALID,
        403: _REFUSED,
        404: _NOT_FOUND,
        409: _RUNNING,
        500: _FAILED,
    },
    "openapi_extra": _body(
        _object(
            ("tables", "pg_conn", "db_connection", "truncate_before_restore"),
            backup_path={**_PATH, "minLength": 1},
            timestamp=_NAME,
            tables=_or_null({**_list_of(_TEXT), "minItems": 1}),
            pg_conn=_CONNECTION,
            db_connection=_CONNECTION,
            truncate_before_restore=_or_null(_FLAG),
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
        200: _json(
            "backed up",
            _answer(
                backup_performed=_FLAG,
                truncate_performed=_FLAG,
                backup_directory=_or_null(_PATH),
                tables_backed_up=_each(
                    _object(
                        success=_FLAG,
                        row_count=_COUNT,
                        file_size=_SIZE,
                        backup_file=_TEXT,
                        duration=_SECONDS,
                    )
                ),
                truncate_results=_EMPTIED,
                errors=_list_of(_TEXT),
                duration=_SECONDS,
            ),
        ),
        400: _BAD_TASK,
        403: _REFUSED,
        409: _RUNNING,
        500: _FAILED,
    },
    "openapi_extra": _body(
        _object(
            (
                *("task_id", "pg_conn", "db_connection"),
                *("truncate_vector_tables", "backup_vector_tables"),
            ),
            task_id=_or_null(_TASK),
            pg_conn=_CONNECTION,
            db_connection=_CONNECTION,
            truncate_vector_tables=_or_null(_FLAG),
            backup_vector_tables=_or_null(_FLAG),
        ),
        {"task_id": "task_20250721_213627", "truncate_vector_tables": False},
        required=False,
    ),
}
