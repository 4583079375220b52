"""What swaps have kept, and what putting it back has come to: values."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from attrs import asdict, frozen

__all__ = ["PreviousTable", "PreviousTables", "RevertReport", "RevertedTable"]


@frozen
class PreviousTable:
    """One table that is kept."""

    #: Its name, which is that of the table it was kept of.
    table: str
    #: Rows; ``None`` where counting them would run somebody's code, or the role may not.
    rows: int | None
    #: Bytes with TOAST and indexes.
    size_bytes: int
    #: When it was exchanged by a revert: it holds what was there until then. ``None``: it holds
    #: what was there before the restore.
    reverted_at: datetime | None = None


@frozen
class PreviousTables:
    """What one restore has kept."""

    #: The restore, as ``RestoreReport.restore_id``.
    restore_id: str
    #: Label of the set that it restored.
    label: str
    #: Schema of the tables that were kept.
    schema: str
    #: Schema that they are kept in.
    kept_in: str
    #: When they were kept, by the server's clock.
    kept_at: datetime
    #: Those that are still there.
    tables: tuple[PreviousTable, ...]
    #: A later restore that has kept its own since: these can only be dropped.
    superseded_by: str | None = None
    #: The last restore that has replaced the tables since and kept nothing.
    replaced_by: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return asdict(self) | {
            "kept_at": self.kept_at.isoformat(),
            "tables": [
                asdict(one) | {"reverted_at": one.reverted_at and one.reverted_at.isoformat()}
                for one in self.tables
            ],
        }

    def __str__(self) -> str:
        names = ", ".join(one.table for one in self.tables) or "nothing any more"
        return f"restore {self.restore_id} of {self.label} kept in {self.kept_in}: {names}"


@frozen
class RevertedTable:
    """One table after a revert."""

    #: Its name.
    table: str
    #: Rows that are there now; ``None`` where counting them would run somebody's code.
    rows: int | None
    #: When what is there now was taken out by an earlier revert; ``None``: it is what was there
    #: before the restore.
    reverted_at: datetime | None = None


@frozen
class RevertReport:
    """What a revert did. Iterating gives ``schema.table`` of each table that was put back."""

    #: The restore that had kept the tables.
    restore_id: str
    #: Label of the set that it restored.
    label: str
    #: When it had kept them.
    kept_at: datetime
    #: Schema of the tables.
    schema: str
    #: Schema that holds what was there until now.
    kept_in: str
    #: What is there now.
    tables: tuple[RevertedTable, ...]
    #: How the tables now differ from those that were there: indexes, comments, settings.
    notes: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[str]:
        return (f"{self.schema}.{one.table}" for one in self.tables)

    def __len__(self) -> int:
        return len(self.tables)

    def describe(self, table: RevertedTable) -> str:
        """What is there now, in words."""
        rows = "rows not counted" if table.rows is None else f"{table.rows} rows"
        if table.reverted_at is None:
            since = f"as before restore {self.restore_id} of {self.label}"
        else:
            moment = f"{table.reverted_at:%Y-%m-%d %H:%M:%S%z}"
            since = f"as before restore {self.restore_id} was reverted at {moment}"
        return f"{self.schema}.{table.table}, {rows}, {since}"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form: ``tables`` has their names, ``now`` what is in them."""
        return {
            "restore_id": self.restore_id,
            "label": self.label,
            "kept_at": self.kept_at.isoformat(),
            "schema": self.schema,
            "kept_in": self.kept_in,
            "tables": list(self),
            "now": {
                one.table: {
                    "rows": one.rows,
                    "reverted_at": one.reverted_at and one.reverted_at.isoformat(),
                    "text": self.describe(one),
                }
                for one in self.tables
            },
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        lines = [f"put back: {self.describe(one)}" for one in self.tables]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])
