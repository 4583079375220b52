"""What all errors have in common: message, hint, exit code, JSON and the way to another process."""

from __future__ import annotations

from typing import Any, ClassVar

__all__ = ["PgvectorRestoreError"]


class PgvectorRestoreError(Exception):
    """Base of every error this package raises on purpose.

    Args:
        message: One line, lower case, no full stop; names the object and the value.
        hint: One sentence of advice, or ``None`` where there is none to give.
    """

    # It is imported from there, and tracebacks say so.
    __module__ = "pgvector_restore.errors"

    #: Exit code of the command line when this error ends it.
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        #: All that is wrong, this error first, where planning found more than one thing.
        self.findings: tuple[Any, ...] = ()

    def __str__(self) -> str:
        return self.message + self._others()

    def _others(self) -> str:
        return "".join(f"; also: {finding.message}" for finding in self.findings[1:])

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments do not survive the default protocol; workers send errors home.
        return (_rebuild, (type(self), self.args, self.__dict__))

    def to_dict(self) -> dict[str, object]:
        """JSON-ready form: ``type``, ``message``, ``hint`` and what else the error knows."""
        known = {k: v for k, v in vars(self).items() if not k.startswith("_") and v is not None}
        known["findings"] = [finding.to_dict() for finding in self.findings]
        if not self.findings:
            del known["findings"]
        return {"type": type(self).__name__, "exit_code": self.exit_code, **known}


def _rebuild(
    cls: type[PgvectorRestoreError], args: tuple[object, ...], state: dict[str, object]
) -> PgvectorRestoreError:
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(state)
    return error
