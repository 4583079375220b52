"""Pieces of which OpenAPI's schemas of the existing endpoints are made."""

from __future__ import annotations

from typing import Any

__all__ = [
    "COUNT",
    "DATE",
    "EMPTIED",
    "FLAG",
    "NOW",
    "PATH",
    "SECONDS",
    "SIZE",
    "STAMP",
    "TASK",
    "TEXT",
    "TIME",
    "Schema",
    "each_table",
    "failed",
    "json_answer",
    "list_of",
    "object_of",
    "or_null",
    "succeeded",
]

#: A JSON schema.
Schema = dict[str, Any]

#: The moment of all examples.
NOW = "2026-07-22T10:30:45.123456"


def object_of(optional: tuple[str, ...] = (), /, **properties: Schema) -> Schema:
    """An object with these members; all but the optional ones are always there."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required}


def each_table(schema: Schema) -> Schema:
    """An object with one member for each table."""
    return {"type": "object", "additionalProperties": schema}


def or_null(schema: Schema) -> Schema:
    """The same, or null."""
    return {"anyOf": [schema, {"type": "null"}]}


def list_of(schema: Schema) -> Schema:
    """An array of any length."""
    return {"type": "array", "items": schema}


#: Types of members, each by what it means.
TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}
COUNT: Schema = {"type": "integer", "minimum": 0}
SECONDS: Schema = {"type": "number", "minimum": 0}
TIME: Schema = {**TEXT, "description": "ISO, local time, no zone", "examples": [NOW]}
SIZE: Schema = {**TEXT, "description": "1024-based", "examples": ["764.0 KB"]}
DATE: Schema = {**TEXT, "examples": ["2025-07-21 21:57:58"]}
PATH: Schema = {
    **TEXT,
    "description": "a location, as the list shows it",
    "examples": ["./data_pipeline/training_data/vector_bak"],
}
STAMP: Schema = {**TEXT, "pattern": "^[0-9]{8}_[0-9]{6}$", "examples": ["20250721_215758"]}
TASK: Schema = {**TEXT, "pattern": "^[A-Za-z0-9_]*$", "examples": ["task_20250721_213627"]}

EMPTIED = each_table(
    object_of(success=FLAG, rows_before=COUNT, rows_after={"const": 0}, duration=SECONDS)
)


def succeeded(**data: Schema) -> Schema:
    """The schema of a good answer."""
    return object_of(
        code={"type": "integer"},
        success=FLAG,
        message=TEXT,
        data=object_of(response=TEXT, **data, timestamp=TIME),
    )


def json_answer(description: str, schema: Schema, example: Schema) -> Schema:
    """An answer."""
    content = {"schema": schema, "example": example}
    return {"description": description, "content": {"application/json": content}}


def failed(status: int, message: str, response: str, kind: str, **details: object) -> Schema:
    """An answer that is an error."""
    schema = object_of(
        code={"const": status},
        success={"const": False},
        message=TEXT,
        data={
            **object_of(response=TEXT, error_type=TEXT, timestamp=TIME),
            "additionalProperties": True,
        },
    )
    data = {"response": response, "error_type": kind, **details, "timestamp": NOW}
    example = {"code": status, "success": False, "message": message, "data": data}
    return json_answer(response, schema, example)
