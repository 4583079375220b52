"""Errors: one base, typed leaves, fixed exit codes.

::

    PgvectorRestoreError                          exit  the caller can also catch
    ├── OptionError                                 2   ValueError
    │   └── MissingExtraError                       2   ImportError
    ├── StoreError                                  3   OSError
    │   ├── BackupExistsError                       3   FileExistsError
    │   ├── BackupInUseError                        3
    │   ├── BackupNotFoundError                     3   FileNotFoundError
    │   ├── IncompleteBackupError                   3
    │   ├── PruneError                              3
    │   └── StoreChangedError                       3
    ├── BadDataError                                4   ValueError
    │   ├── BadHeaderError                          4
    │   ├── BadRecordError                          4
    │   ├── BadCellError                            4
    │   ├── BadCompressionError                     4
    │   ├── BadManifestError                        4
    │   ├── RowRejectedError                        4
    │   ├── RowCountError                           4
    │   └── TooManyBadRowsError                     4
    ├── TargetError                                 5
    │   ├── ConnectError                            5   ConnectionError
    │   ├── TargetMismatchError                     5
    │   ├── TargetBusyError                         5
    │   ├── TargetChangedError                      5
    │   └── OutcomeUnknownError                     5
    ├── CancelledError                              6
    ├── ContentMismatchError                        8
    └── ExecutorError                               9   RuntimeError

One exit code belongs to no error: 7, the restore is committed and records were set aside.

A message is one line that names the object and the value; advice is in ``hint``.
Nothing is decided by the text of a message.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from pgvector_restore.base_error import PgvectorRestoreError

__all__ = [
    "BackupExistsError",
    "BackupInUseError",
    "BackupNotFoundError",
    "BadCellError",
    "BadCompressionError",
    "BadDataError",
    "BadHeaderError",
    "BadManifestError",
    "BadRecordError",
    "CancelledError",
    "ConnectError",
    "ContentMismatchError",
    "ExecutorError",
    "IncompleteBackupError",
    "MissingExtraError",
    "OptionError",
    "OutcomeUnknownError",
    "PgvectorRestoreError",
    "PruneError",
    "RowCountError",
    "RowRejectedError",
    "StoreChangedError",
    "StoreError",
    "TargetBusyError",
    "TargetChangedError",
    "TargetError",
    "TargetMismatchError",
    "TooManyBadRowsError",
]

#: Exit code of a restore that is committed and has set bad records aside.
ROWS_REJECTED_EXIT_CODE = 7


class OptionError(PgvectorRestoreError, ValueError):
    """The call itself is wrong: an option, a label, a name, a connection string."""

    exit_code = 2


class MissingExtraError(OptionError, ImportError):
    """A feature needs packages that are not installed; the hint is the pip line."""


class StoreError(PgvectorRestoreError, OSError):
    """The storage did not answer as it should."""

    exit_code = 3

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        PgvectorRestoreError.__init__(self, message, hint=hint)


class BackupExistsError(StoreError, FileExistsError):
    """An object of that key is there already."""


class BackupInUseError(StoreError):
    """Somebody reads the set, removes it, or writes it."""


class BackupNotFoundError(StoreError, FileNotFoundError):
    """No such backup set, location or file."""


class IncompleteBackupError(StoreError):
    """The named set is there in part only; the message says what is missing."""


class _Report(Protocol):
    def to_dict(self) -> dict[str, Any]: ...


class PruneError(StoreError):
    """Some of what was to go could not be removed; ``report`` is a :class:`PruneReport`."""

    report: _Report | None = None

    def to_dict(self) -> dict[str, object]:
        """JSON-ready form."""
        return super().to_dict() | ({"report": self.report.to_dict()} if self.report else {})


class StoreChangedError(StoreError):
    """A file is not what the listing said: replaced, grown or cut since."""


class BadDataError(PgvectorRestoreError, ValueError):
    """A backup file holds something that cannot be restored.

    Args:
        message: What is wrong, without the place.
        hint: Advice, if any.
        file: Name of the file.
        record: Record number, 1 for the first after the header; 0 for the header.
        column: Column name.
    """

    exit_code = 4

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        file: str | None = None,
        record: int | None = None,
        column: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.file = file
        self.record = record
        self.column = column

    def __str__(self) -> str:
        place = [self.file] if self.file else []
        if self.record is not None:
            place.append("header" if self.record == 0 else f"record {self.record}")
        if self.column is not None:
            place.append(f"column {quoted(self.column)}")
        said = f"{self.message} ({', '.join(place)})" if place else self.message
        return said + self._others()


class BadHeaderError(BadDataError):
    """The header is missing, broken, or does not fit the target table."""


class BadRecordError(BadDataError):
    """A record cannot be told apart: quoting, field count, row ends, encoding, size."""


class BadCellError(BadDataError):
    """A single cell cannot be restored and cannot be repaired."""


class BadCompressionError(BadDataError):
    """A compressed file is cut, damaged, not what its name says, or too large inside."""


class BadManifestError(BadDataError):
    """A manifest cannot be read, or says something else of a file than what is there."""


class RowRejectedError(BadDataError):
    """The server refused a row: duplicate key, missing parent, NOT NULL, CHECK.

    ``sqlstate`` is the server's code, ``constraint`` the violated constraint or ``None``.
    """

    def __init__(  # noqa: PLR0913 - the places of bad data plus what the server names
        self,
        message: str,
        *,
        hint: str | None = None,
        file: str | None = None,
        record: int | None = None,
        column: str | None = None,
        sqlstate: str | None = None,
        constraint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint, file=file, record=record, column=column)
        self.sqlstate = sqlstate
        self.constraint = constraint


class RowCountError(BadDataError):
    """Two counts that must agree do not: file, COPY, table, log."""


class TooManyBadRowsError(BadDataError):
    """More records would have to be set aside than ``max_bad_rows`` allows; names the last one."""


class TargetError(PgvectorRestoreError):
    """The database side. ``sqlstate`` is the server's code, or ``None`` where there is none."""

    exit_code = 5

    def __init__(
        self, message: str, *, hint: str | None = None, sqlstate: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.sqlstate = sqlstate


class ConnectError(TargetError, ConnectionError):
    """No connection could be made, or it was lost before COMMIT was sent."""


class TargetMismatchError(TargetError):
    """The target cannot take this backup: columns, keys, references, version, privileges."""


class TargetBusyError(TargetError):
    """Another restore, or somebody else's lock, holds the target."""


class TargetChangedError(TargetError):
    """The target is no longer what the plan was made for."""


class OutcomeUnknownError(TargetError):
    """The connection was lost during COMMIT: the restore happened or it did not."""


class CancelledError(PgvectorRestoreError):
    """The restore was called off before COMMIT; nothing has changed."""

    exit_code = 6


class ContentMismatchError(PgvectorRestoreError):
    """The database does not hold what the backup holds.

    Args:
        message: How they differ.
        hint: Advice, if any.
        differences: The rows that were named, as in ``VerifyReport.to_dict()``.
    """

    exit_code = 8

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        differences: Sequence[Mapping[str, object]] = (),
    ) -> None:
        super().__init__(message, hint=hint)
        self.differences = [dict(one) for one in differences]


class ExecutorError(PgvectorRestoreError, RuntimeError):
    """Where parts of files are loaded failed, before COMMIT; nothing has changed.

    A worker process was killed, has no or another version of this package, or does not answer; or
    the scheduler of the workers is gone.
    """

    exit_code = 9


def shown(text: str) -> str:
    r"""A text with everything escaped that is no visible character or space.

    >>> shown("a\x1b[2J")
    'a\\x1b[2J'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def quoted(name: str) -> str:
    r"""A name as messages show it: in double quotes, unprintable characters escaped.

    >>> quoted("a\nb")
    '"a\\nb"'
    """
    return f'"{shown(name)}"'
