"""What a backup did, in numbers."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from attrs import asdict, frozen

from pgvector_restore.model import BackupSet
from pgvector_restore.report import format_size

__all__ = ["BackupReport", "BackupTable"]


@frozen
class BackupTable:
    """What was written of one table."""

    #: Table name.
    table: str
    #: Rows.
    rows: int
    #: Stored bytes of its files.
    size_bytes: int
    #: Names of its files, without folder, in the order of parts.
    files: tuple[str, ...]
    #: Sum of the hashes of its rows, 32 hexadecimal digits; ``None``: not taken.
    digest: str | None
    #: Seconds from its first row to its last file.
    seconds: float
    #: Rows removed from it after the backup; 0 unless that was asked for.
    rows_removed: int = 0
    #: Seconds to remove them; it is done when the transaction has ended.
    remove_seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return asdict(self) | {"files": list(self.files), "size": format_size(self.size_bytes)}


@frozen
class BackupReport:
    """What a backup did. It exists only once the set is published: a failed backup raises."""

    #: The set, as the catalog shows it.
    backup: BackupSet
    #: ``user@host:port/dbname``.
    source: str
    #: Schema of the tables.
    schema: str
    #: ``csv`` or ``binary``.
    format: str
    #: Name of the codec; ``None``: files are not compressed.
    codec: str | None
    #: Tables, parents first.
    tables: tuple[BackupTable, ...]
    #: What is worth knowing, one line each.
    warnings: tuple[str, ...]
    #: Seconds from start to end.
    seconds: float
    #: When it was done, local time with zone.
    finished_at: datetime
    #: One snapshot covered all rows: none lay on another server.
    one_snapshot: bool = True

    def table(self, name: str) -> BackupTable:
        """The report of one table; ``KeyError`` if it is not in the backup."""
        for table in self.tables:
            if table.table == name:
                return table
        raise KeyError(name)

    @property
    def label(self) -> str:
        """Label of the set."""
        return self.backup.label

    @property
    def rows(self) -> int:
        """Rows of all tables."""
        return sum(t.rows for t in self.tables)

    @property
    def rows_removed(self) -> int:
        """Rows removed after the backup."""
        return sum(t.rows_removed for t in self.tables)

    @property
    def size_bytes(self) -> int:
        """Stored bytes of all files."""
        return sum(t.size_bytes for t in self.tables)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form, one entry per table under ``tables``."""
        return {
            **self.backup.to_dict(),
            "source": self.source,
            "schema": self.schema,
            "one_snapshot": self.one_snapshot,
            "format": self.format,
            "codec": self.codec,
            "tables": {t.table: t.to_dict() for t in self.tables},
            "rows": self.rows,
            "rows_removed": self.rows_removed,
            "size_bytes": self.size_bytes,
            "warnings": list(self.warnings),
            "seconds": self.seconds,
            "finished_at": self.finished_at.isoformat(),
        }

    def __str__(self) -> str:
        packed = f", {self.codec}" if self.codec else ""
        lines = [
            (
                f"backed up {self.source}, schema {self.schema}, to {self.label} "
                f"({self.format}{packed}) in {self.seconds:.2f} s"
            )
        ]
        for t in self.tables:
            files = t.files[0] if len(t.files) == 1 else f"{len(t.files)} files"
            removed = f", {t.rows_removed} rows removed from it" if t.rows_removed else ""
            size = format_size(t.size_bytes)
            lines.append(f"  {t.table}: {t.rows} rows in {files}, {size}{removed}")
        if not self.one_snapshot:
            lines.append("  NOT one snapshot: rows on other servers may be of other moments")
        lines += [f"  warning: {warning}" for warning in self.warnings]
        return "\n".join(lines)
