"""What a restore did, in numbers."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from attrs import asdict, frozen

from pgvector_restore.model import BackupSet, RepairCount

__all__ = ["RestoreReport", "TableReport", "format_size"]

_KILO = 1024


def format_size(size_bytes: float) -> str:
    """A size as backup logs write it: 1024-based, one decimal, ``0 B`` for nothing.

    >>> format_size(209), format_size(782328)
    ('209.0 B', '764.0 KB')
    """
    if size_bytes == 0:
        return "0 B"
    units = ("B", "KB", "MB", "GB", "TB")
    for unit in units[:-1]:
        if size_bytes < _KILO:
            return f"{size_bytes:.1f} {unit}"
        size_bytes /= _KILO
    return f"{size_bytes:.1f} {units[-1]}"


@frozen
class TableReport:
    """What happened to one table."""

    #: Table name.
    table: str
    #: File its rows came from.
    source_file: str
    #: Stored bytes of that file.
    size_bytes: int
    #: The table was created.
    created: bool
    #: How the rows travelled: ``binary`` or ``text``.
    wire: str
    #: Rows before the restore.
    rows_before: int
    #: Rows removed: all of ``rows_before`` in mode ``replace``, else 0.
    rows_removed: int
    #: Records decoded from the file.
    rows_read: int
    #: Rows that COPY reported as loaded; equals ``rows_read`` less ``rows_rejected``.
    rows_loaded: int
    #: Rows after the restore, counted before COMMIT.
    rows_after: int
    #: Cells repaired, by column and kind.
    repairs: tuple[RepairCount, ...]
    #: Seconds to remove the old rows; the tables of a restore are emptied in one statement.
    remove_seconds: float
    #: Seconds to read, send and write the rows.
    seconds: float
    #: Seconds to build indexes and to gather statistics.
    index_seconds: float
    #: Sum of the hashes of the loaded rows, 32 hexadecimal digits, the same for file and table;
    #: ``None`` where content was not compared.
    digest: str | None = None
    #: Records set aside because they cannot be restored.
    rows_rejected: int = 0
    #: File they are in, with the reasons beside it; ``None`` where there are none.
    reject_file: str | None = None

    @property
    def cells_repaired(self) -> int:
        """Cells repaired, of all kinds."""
        return sum(r.cells for r in self.repairs)

    @property
    def bytes_per_second(self) -> float:
        """File bytes loaded per second."""
        return self.size_bytes / self.seconds if self.seconds else 0.0

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return asdict(self) | {
            "size": format_size(self.size_bytes),
            "cells_repaired": self.cells_repaired,
            "bytes_per_second": round(self.bytes_per_second),
        }


@frozen
class RestoreReport:
    """What a restore did. It exists only after COMMIT: a failed restore raises instead."""

    #: The set that was restored.
    backup: BackupSet
    #: ``user@host:port/dbname``.
    target: str
    #: Schema of the tables.
    schema: str
    #: ``append`` or ``replace``.
    mode: str
    #: ``in_place`` or ``swap``.
    strategy: str
    #: Tables in the order of loading.
    tables: tuple[TableReport, ...]
    #: The extension ``vector`` was created.
    extension_created: bool
    #: What is worth knowing, one line each.
    warnings: tuple[str, ...]
    #: Seconds from start to COMMIT.
    seconds: float
    #: When it was committed, local time with zone.
    finished_at: datetime
    #: What was compared before COMMIT: ``counts``, or ``content``, which includes them.
    verified: str = "counts"
    #: Folder of the records set aside, a store of its own; ``None`` where there are none.
    reject_folder: str | None = None
    #: One COMMIT covered all rows: none lies on another server.
    atomic: bool = True
    #: Tells this restore from all others: 16 hexadecimal digits. Kept tables are known by it.
    restore_id: str = ""
    #: ``schema.table`` of each table that ``keep_previous`` has kept, where it is now.
    kept: tuple[str, ...] = ()

    def table(self, name: str) -> TableReport:
        """The report of one table; ``KeyError`` if it was not part of the restore."""
        for table in self.tables:
            if table.table == name:
                return table
        raise KeyError(name)

    @property
    def rows_loaded(self) -> int:
        """Rows loaded into all tables."""
        return sum(t.rows_loaded for t in self.tables)

    @property
    def rows_rejected(self) -> int:
        """Records of all tables that were set aside and not restored."""
        return sum(t.rows_rejected for t in self.tables)

    @property
    def size_bytes(self) -> int:
        """Stored bytes read."""
        return sum(t.size_bytes for t in self.tables)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form, one entry per table under ``tables``."""
        return {
            "restore_id": self.restore_id,
            **self.backup.to_dict(),
            "target": self.target,
            "schema": self.schema,
            "mode": self.mode,
            "strategy": self.strategy,
            "verified": self.verified,
            "atomic": self.atomic,
            "tables": {t.table: t.to_dict() for t in self.tables},
            "extension_created": self.extension_created,
            "rows_loaded": self.rows_loaded,
            "rows_rejected": self.rows_rejected,
            "reject_folder": self.reject_folder,
            "size_bytes": self.size_bytes,
            "kept": list(self.kept),
            "warnings": list(self.warnings),
            "seconds": self.seconds,
            "finished_at": self.finished_at.isoformat(),
        }

    def __str__(self) -> str:
        lines = [
            (
                f"restored {self.backup.label} into {self.target}, schema {self.schema}, "
                f"in {self.seconds:.2f} s"
            )
        ]
        for t in self.tables:
            repaired = f", {t.cells_repaired} cells repaired" if t.repairs else ""
            removed = f", {t.rows_removed} removed" if t.rows_removed else ""
            aside = f", {t.rows_rejected} NOT RESTORED" if t.rows_rejected else ""
            lines.append(f"  {t.table}: {t.rows_loaded} rows loaded{aside}{removed}{repaired}")
        if not self.atomic:
            lines.append("  NOT all or none: rows on other servers were committed there")
        if self.verified == "content":
            lines.append("  content compared: the tables hold what the files hold")
        if self.kept:
            lines.append(f"  kept for a revert: {', '.join(self.kept)}")
        lines += [f"  warning: {warning}" for warning in self.warnings]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """A table for notebooks."""
        from html import escape  # noqa: PLC0415 - only notebooks ask

        names = ("table", "rows", "not restored", "removed", "repaired cells", "size", "seconds")
        head = "".join(f"<th>{name}</th>" for name in names)
        rows = "".join(
            f"<tr><td>{escape(t.table)}</td><td>{t.rows_loaded}</td><td>{t.rows_rejected}</td>"
            f"<td>{t.rows_removed}</td>"
            f"<td>{t.cells_repaired}</td><td>{format_size(t.size_bytes)}</td>"
            f"<td>{t.seconds:.2f}</td></tr>"
            for t in self.tables
        )
        notes = "".join(f"<p>{escape(w)}</p>" for w in self.warnings)
        title = escape(f"{self.backup.label} → {self.target}")
        return f"<p><b>{title}</b></p><table><tr>{head}</tr>{rows}</table>{notes}"
