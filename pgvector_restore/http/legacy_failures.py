"""Failures of the existing endpoints: which status, which type, which text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import frozen

from pgvector_restore.errors import (
    BackupInUseError,
    BackupNotFoundError,
    BadDataError,
    CancelledError,
    ConnectError,
    ContentMismatchError,
    ExecutorError,
    IncompleteBackupError,
    OptionError,
    OutcomeUnknownError,
    PgvectorRestoreError,
    RowRejectedError,
    StoreChangedError,
    StoreError,
    TargetBusyError,
    TargetChangedError,
    TargetError,
    TargetMismatchError,
)
from pgvector_restore.http import legacy_texts as texts
from pgvector_restore.http.connections import ConnectionNotAllowedError
from pgvector_restore.http.job_values import JobConflictError, ShuttingDownError
from pgvector_restore.http.legacy_texts import Say

__all__ = ["INVALID_PARAMS", "LegacyError", "failure_of"]

INVALID_PARAMS = "INVALID_PARAMS"
_NOT_FOUND = "RESOURCE_NOT_FOUND"
#: The one type that existing callers know for 500; ``response`` tells what it was.
_DATABASE = "DATABASE_ERROR"


class LegacyError(Exception):
    """An answer that is an error.

    Args:
        status: HTTP status.
        error_type: ``error_type`` of the answer.
        say: Text of ``response``.
        values: What is filled into the text.
        details: Members between ``error_type`` and ``timestamp``.
    """

    def __init__(
        self,
        status: int,
        error_type: str,
        say: Say,
        *,
        values: Mapping[str, object] | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(error_type)
        self.status = status
        self.error_type = error_type
        self.say = say
        self.values = dict(values or {})
        self.details = dict(details or {})


@frozen
class _Row:
    """What an error of the library is to existing callers."""

    kind: type[PgvectorRestoreError]
    status: int
    error_type: str
    say: Say
    #: ``None`` where answers of the status do not tell.
    can_retry: bool | None = None


#: The first row that fits. Nothing of an error's own text is passed on: it may hold pieces of rows
#: and words of the server.
_ROWS: tuple[_Row, ...] = (
    _Row(OptionError, 400, INVALID_PARAMS, texts.BAD_OPTION),
    _Row(BackupNotFoundError, 404, _NOT_FOUND, texts.NO_SET),
    _Row(IncompleteBackupError, 404, _NOT_FOUND, texts.INCOMPLETE),
    _Row(StoreChangedError, 500, _DATABASE, texts.STORE_CHANGED, can_retry=True),
    _Row(BackupInUseError, 500, _DATABASE, texts.STORE_FAILED, can_retry=True),
    _Row(StoreError, 500, _DATABASE, texts.STORE_FAILED, can_retry=True),
    _Row(RowRejectedError, 500, _DATABASE, texts.ROW_REFUSED, can_retry=False),
    _Row(BadDataError, 500, _DATABASE, texts.BAD_DATA, can_retry=False),
    _Row(ContentMismatchError, 500, _DATABASE, texts.BAD_DATA, can_retry=False),
    _Row(OutcomeUnknownError, 500, _DATABASE, texts.UNKNOWN, can_retry=False),
    _Row(ConnectError, 500, _DATABASE, texts.NO_CONNECTION, can_retry=True),
    _Row(TargetBusyError, 500, _DATABASE, texts.BUSY, can_retry=True),
    _Row(TargetChangedError, 500, _DATABASE, texts.CHANGED, can_retry=True),
    _Row(TargetMismatchError, 500, _DATABASE, texts.MISMATCH, can_retry=False),
    _Row(TargetError, 500, _DATABASE, texts.REFUSED, can_retry=False),
    _Row(CancelledError, 500, _DATABASE, texts.CALLED_OFF, can_retry=True),
    _Row(ExecutorError, 500, _DATABASE, texts.FAILED, can_retry=True),
    _Row(PgvectorRestoreError, 500, _DATABASE, texts.FAILED, can_retry=False),
)


def failure_of(exc: BaseException) -> LegacyError:
    """The answer to an error of the library; anything else is an error inside the service."""
    if isinstance(exc, JobConflictError):
        return LegacyError(409, "JOB_RUNNING", texts.RUNNING, details={"job_id": exc.job_id})
    if isinstance(exc, ConnectionNotAllowedError):
        return LegacyError(403, "CONNECTION_NOT_ALLOWED", texts.NOT_ALLOWED)
    if isinstance(exc, ShuttingDownError):
        return LegacyError(500, _DATABASE, texts.CLOSING, details={"can_retry": True})
    for row in _ROWS:
        if isinstance(exc, row.kind):
            details = {} if row.can_retry is None else {"can_retry": row.can_retry}
            return LegacyError(row.status, row.error_type, row.say, details=details)
    return LegacyError(500, _DATABASE, texts.INTERNAL, details={"can_retry": False})
