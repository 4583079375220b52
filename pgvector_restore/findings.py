"""What planning found: errors, warnings and notes as values."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from attrs import asdict, define, field, frozen

from pgvector_restore.errors import BadDataError, PgvectorRestoreError, TargetError

__all__ = ["Finding", "Findings", "Level"]

#: ``error``: the restore would fail, there is no plan. ``warning``: look before going on.
#: ``note``: worth knowing.
Level = Literal["error", "warning", "note"]


@frozen
class Finding:
    """One thing that a plan has found."""

    #: How much it weighs.
    level: Level
    #: What it is about, for programs: ``privilege``, ``attached-code``, ``dimensions`` …
    code: str
    #: One lower-case line without full stop that names object and value.
    message: str
    #: One sentence of advice, or ``None`` where there is none to give.
    hint: str | None = None
    #: Table it is about, ``None`` for all of them.
    table: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return asdict(self)


#: Codes of errors, the one that settles most first: what comes later may only follow from it.
_WORST_FIRST = (
    "read-only",
    "attached-code",
    "extension",
    "schema",
    "privilege",
    "tables",
    "columns",
    "dimensions",
    "atomic",
)


@define
class Findings:
    """Collects findings; errors as well, so that all of them are known before one is raised."""

    _found: list[Finding] = field(factory=list)
    _errors: list[tuple[str, str | None, PgvectorRestoreError]] = field(factory=list)

    def warn(
        self, code: str, message: str, *, hint: str | None = None, table: str | None = None
    ) -> None:
        """Something to look at before going on."""
        self._found.append(Finding("warning", code, message, hint, table))

    def note(
        self, code: str, message: str, *, hint: str | None = None, table: str | None = None
    ) -> None:
        """Something worth knowing."""
        self._found.append(Finding("note", code, message, hint, table))

    def error(self, code: str, error: PgvectorRestoreError, table: str | None = None) -> None:
        """Something that makes the restore impossible."""
        self._errors.append((code, table, error))

    @contextmanager
    def gathering(self, code: str, table: str | None = None) -> Iterator[None]:
        """What the block raises about data or target is kept for :meth:`check`."""
        try:
            yield
        except (BadDataError, TargetError) as exc:
            self.error(code, exc, table)

    def check(self) -> None:
        """Raise the worst error, if there is one; its ``findings`` are all of them."""
        if not self._errors:
            return
        ranked = sorted(self._errors, key=lambda entry: _rank(entry[0]))
        worst = ranked[0][2]
        found = tuple(
            Finding("error", code, str(exc), exc.hint, table) for code, table, exc in ranked
        )
        unlike = {finding.message: finding for finding in reversed(found)}
        worst.findings = tuple(reversed(unlike.values())) if len(unlike) > 1 else ()
        raise worst

    def sorted(self) -> tuple[Finding, ...]:
        """Warnings, then notes, each message once."""
        unlike = {finding.message: finding for finding in reversed(self._found)}
        kept = list(reversed(unlike.values()))
        return tuple(sorted(kept, key=lambda finding: finding.level == "note"))


def _rank(code: str) -> int:
    return _WORST_FIRST.index(code) if code in _WORST_FIRST else len(_WORST_FIRST)
