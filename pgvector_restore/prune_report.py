"""What was pruned and why, as values."""

from __future__ import annotations

from typing import Any

from attrs import frozen

from pgvector_restore.keeping import Decision, KeepRules
from pgvector_restore.model import BackupSet, IncompleteSet, ObjectInfo

__all__ = ["Leftover", "PruneReport"]


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
            "rules": self.rules.to_dict(),
            "dry_run": self.dry_run,
            "bytes_removed": self.bytes_removed,
            "sets": [one.to_dict() for one in self.decisions],
            "leftovers": [one.to_dict() for one in self.leftovers],
            "failed": [one.label for one in self.failed],
        }
