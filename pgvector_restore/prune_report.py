"""What was pruned and why, as values."""

from __future__ import annotations

from typing import Any, Literal

from attrs import frozen

from pgvector_restore.keeping import Decision, KeepRules
from pgvector_restore.model import BackupSet, IncompleteSet, ObjectInfo

__all__ = ["Check", "Leftover", "PruneReport"]

#: Which of the sets that stay are read whole before anything goes: the newest valid one of each
#: location, all of them, or none.
Check = Literal["quick", "full", "none"]


@frozen
class Leftover:
    """What was left unfinished, and what becomes of it."""

    #: As the catalog shows it.
    found: IncompleteSet
    #: Objects that go, or would go.
    objects: tuple[ObjectInfo, ...]
    #: It stays.
    keep: bool
    #: Why.
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            "label": self.found.label,
            "objects": [info.key for info in self.objects],
            "size_bytes": sum(info.size_bytes for info in self.objects),
            "keep": self.keep,
            "reason": self.reason,
        }


@frozen
class PruneReport:
    """What was removed, or would be, and why."""

    #: The store, as people may see it.
    store: str
    #: The rules.
    rules: KeepRules
    #: Nothing was removed; this is what would be.
    dry_run: bool
    #: Complete sets, newest first.
    decisions: tuple[Decision, ...]
    #: What is unfinished.
    leftovers: tuple[Leftover, ...]
    #: What could not be removed, or not all of it; its reason says more.
    failed: tuple[BackupSet | IncompleteSet, ...] = ()
    #: How sets that stay were looked at: ``quick``, ``full`` or ``none``.
    check: Check = "quick"
    #: Sets whose rows were removed from the database after them went like any other.
    remove_emptied: bool = False

    @property
    def invalid(self) -> tuple[Decision, ...]:
        """Sets that are not valid: they count for no rule, and stay to be looked at."""
        return tuple(one for one in self.decisions if one.problem is not None)

    @property
    def ok(self) -> bool:
        """All that should go went, and no set was found that is not valid."""
        return not self.failed and not self.invalid

    @property
    def removed(self) -> tuple[Decision, ...]:
        """Sets that went, or would go."""
        return tuple(one for one in self.decisions if not one.keep)

    @property
    def bytes_removed(self) -> int:
        """Stored bytes that went, or would go."""
        swept = (info for one in self.leftovers if not one.keep for info in one.objects)
        return sum(one.backup.size_bytes for one in self.removed) + sum(
            info.size_bytes for info in swept
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            "store": self.store,
            "ok": self.ok,
            "check": self.check,
            "remove_emptied": self.remove_emptied,
            "rules": self.rules.to_dict(),
            "dry_run": self.dry_run,
            "bytes_removed": self.bytes_removed,
            "sets": [one.to_dict() for one in self.decisions],
            "leftovers": [one.to_dict() for one in self.leftovers],
            "failed": [one.label for one in self.failed],
            "invalid": [one.backup.label for one in self.invalid],
        }
