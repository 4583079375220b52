"""What was copied, in numbers."""

from __future__ import annotations

from typing import Any

from attrs import frozen

__all__ = ["CopiedFile", "CopyReport"]


@frozen
class CopiedFile:
    """One file of a copy."""

    #: Name.
    name: str
    #: Stored bytes.
    size_bytes: int
    #: SHA-256 of them, 64 hexadecimal digits; source and copy have the same.
    sha256: str
    #: It was there already, from an attempt before.
    was_there: bool

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            "name": self.name,
            "size_bytes": self.size_bytes,
            "sha256": self.sha256,
            "was_there": self.was_there,
        }


@frozen
class CopyReport:
    """A copy that is complete and verified."""

    #: Label, the same in both stores.
    label: str
    #: Stores, as people may see them.
    source: str
    destination: str
    #: Files, in the order of copying.
    files: tuple[CopiedFile, ...]
    #: The whole set was there already.
    was_there: bool
    #: What is worth a look, one line each.
    warnings: tuple[str, ...]
    #: How long it took.
    seconds: float

    @property
    def size_bytes(self) -> int:
        """Stored bytes of all files."""
        return sum(file.size_bytes for file in self.files)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            "label": self.label,
            "source": self.source,
            "destination": self.destination,
            "files": [file.to_dict() for file in self.files],
            "size_bytes": self.size_bytes,
            "was_there": self.was_there,
            "warnings": list(self.warnings),
            "seconds": self.seconds,
        }
