"""Bodies of answers, for the description of the interface and for the tests that check them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "CatalogPage",
    "ErrorBody",
    "IncompleteBody",
    "IncompletePage",
    "JobBody",
    "JobPage",
    "OneSetBody",
    "PlanBody",
    "SetBody",
    "SetFileBody",
]


class SetFileBody(BaseModel):
    """A table's file of a set."""

    model_config = ConfigDict(title="SetFile")

    table: str = Field(description="Table the file is for.")
    name: str = Field(description="Name without its folder.")
    format: Literal["csv", "binary"]
    codec: str | None = Field(description="How it is compressed; null: it is not.")
    parts: int = Field(ge=0, description="Parts it is stored in; 0: it is one file.")
    size_bytes: int = Field(ge=0, description="Stored bytes.")


class SetBody(BaseModel):
    """A complete backup set."""

    model_config = ConfigDict(title="Set")

    label: str = Field(description="What a restore calls it.")
    location: str = Field(description="Its folder below the store's root.")
    kind: Literal["global", "task"]
    task_id: str | None = Field(description="Task it belongs to; null: the whole system.")
    timestamp: str = Field(description="`YYYYMMDD_HHMMSS`.")
    backup_date: str = Field(description="The same, as a date; local time of its maker.")
    size_bytes: int = Field(ge=0, description="Stored bytes of all files.")
    manifest: bool = Field(description="It has a manifest.")
    files: list[SetFileBody]


class OneSetBody(SetBody):
    """A complete backup set, and what manifest and log tell of it."""

    model_config = ConfigDict(title="OneSet")

    emptied: list[str] = Field(
        description="Tables whose rows were, or may have been, removed from the database"
        " afterwards: the set may be the only copy of them."
    )


class CatalogPage(BaseModel):
    """Complete sets, newest first."""

    sets: list[SetBody]
    total: int = Field(ge=0, description="Sets that the filters let through, on all pages.")
    next_cursor: str | None = Field(description="Cursor of the next page; null: this is the last.")


class IncompleteBody(BaseModel):
    """Something that looks like a backup and cannot be restored."""

    model_config = ConfigDict(title="Incomplete")

    label: str = Field(description="Label it would have.")
    location: str = Field(description="Its folder below the store's root.")
    timestamp: str = Field(description="Empty for a backup log that was being rewritten.")
    reason: str = Field(description="Why it is no set.")
    files: list[str] = Field(description="What is there.")


class IncompletePage(BaseModel):
    """What looks like a backup and is none, newest first."""

    incomplete: list[IncompleteBody]
    total: int = Field(ge=0, description="Entries that the filters let through, on all pages.")
    next_cursor: str | None = Field(description="Cursor of the next page; null: this is the last.")


class PlanTableBody(BaseModel):
    """What would happen to one table."""

    model_config = ConfigDict(title="PlanTable", extra="allow")

    table: str
    source_file: str
    size_bytes: int
    create: bool = Field(description="The table would be created.")
    rows_before: int | None
    rows_removed: int
    wire: Literal["binary", "text"]


class PlanBody(BaseModel):
    """What a restore would do, and what could go wrong."""

    model_config = ConfigDict(title="Plan", extra="allow")

    label: str
    target: str = Field(description="`user@host:port/dbname`.")
    schema_: str = Field(alias="schema")
    mode: Literal["append", "replace"]
    strategy: Literal["in_place", "swap"]
    strategy_reason: str
    jobs: int
    options: dict[str, Any]
    rows_removed: int
    size_bytes: int
    tables: list[PlanTableBody]
    warnings: list[str]
    findings: list[dict[str, Any]]
    forecast: dict[str, Any]


class JobErrorBody(BaseModel):
    """Why a job failed."""

    model_config = ConfigDict(title="JobError")

    type: str = Field(description="Name of the error's class.")
    exit_code: int = Field(description="What the command line exits with.")
    code: str = Field(description="The code of answers.")


class JobBody(BaseModel):
    """A job, as it is at this moment."""

    model_config = ConfigDict(title="Job")

    id: str
    kind: Literal["restore", "backup", "verify", "prune"]
    target: str = Field(description="Name of the target; empty for a prune.")
    label: str | None
    state: Literal["queued", "running", "done", "failed", "cancelled", "interrupted"]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    phase: str | None
    table: str | None
    bytes_done: int
    bytes_total: int
    rows_done: int
    rows_total: int | None
    result: dict[str, Any] | None = Field(description="The report, once the job is done.")
    error: JobErrorBody | None
    outcome: Literal["committed", "nothing_changed", "unknown"] | None = Field(
        description="What became of a restore whose end nobody saw."
    )
    request_id: str | None
    version: int = Field(ge=1, description="Grows with each change.")


class JobPage(BaseModel):
    """Jobs, newest first."""

    jobs: list[JobBody]
    next_before: str | None = Field(
        description="`before` of the next page; null: there are no older ones."
    )


class ErrorDetailBody(BaseModel):
    """What is wrong, for programs and for people."""

    model_config = ConfigDict(title="ErrorDetail")

    code: str = Field(pattern="^[A-Z][A-Z0-9_]*$")
    message: str = Field(description="A fixed text; nothing of the request or of a server.")
    details: dict[str, Any] | None = None


class ErrorBody(BaseModel):
    """Every answer that is no success."""

    model_config = ConfigDict(title="Error")

    error: ErrorDetailBody
    request_id: str = Field(description="Finds the request in the log.")
