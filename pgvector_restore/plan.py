"""Plans: what a restore will do, to what, with which risks; see ``planning.py``."""

from __future__ import annotations

from typing import Any, Literal

from attrs import asdict, field, frozen

from pgvector_restore.column_types import Recast, parse_type
from pgvector_restore.errors import RowCountError, shown
from pgvector_restore.findings import Finding
from pgvector_restore.forecast import Forecast
from pgvector_restore.manifest import ManifestTable
from pgvector_restore.model import BackupFile, BackupSet
from pgvector_restore.options import RestoreOptions
from pgvector_restore.report import format_size
from pgvector_restore.rows.csv import Header
from pgvector_restore.rows.digest import ContentDigest
from pgvector_restore.schema import NewTables
from pgvector_restore.target import TargetColumn, TargetFacts, TargetIndex, TargetTable

__all__ = ["RestorePlan", "TablePlan"]


@frozen
class TablePlan:
    """What happens to one table."""

    #: Where its rows come from.
    source: BackupFile
    #: Where they go.
    target: TargetTable
    #: Column names and row ends of the file.
    header: Header
    #: For each column of the file the target column, or ``None`` where it is not loaded.
    columns: tuple[TargetColumn | None, ...]
    #: The table does not exist yet.
    create: bool
    #: Rows the backup log counts; ``None`` where no log speaks of this file.
    logged_rows: int | None
    #: How the rows travel.
    wire: Literal["binary", "text"] = "binary"
    #: Why they go as text, ``None`` where they do not.
    wire_reason: str | None = None
    #: Indexes that are dropped before the load and built again after it.
    rebuilt: tuple[TargetIndex, ...] = ()
    #: What the manifest says of table and files; ``None``: there is none, or it is not asked.
    described: ManifestTable | None = None
    #: Of a file in binary, for each of its columns what its fields go through.
    recasts: tuple[Recast, ...] = ()

    @property
    def name(self) -> str:
        """Table name."""
        return self.target.name

    @property
    def loaded(self) -> tuple[TargetColumn, ...]:
        """Target columns in the order of the file."""
        return tuple(c for c in self.columns if c is not None)

    @property
    def as_is(self) -> bool:
        """The file holds what COPY takes: nothing of it is decoded."""
        return self.source.format == "binary"

    @property
    def counted_rows(self) -> int | None:
        """Rows that log or manifest count; ``None`` where neither speaks of the file."""
        if self.logged_rows is None and self.described is not None:
            return self.described.rows
        return self.logged_rows

    @property
    def claimed_digest(self) -> ContentDigest | None:
        """What the manifest says of the rows' content, if it is said of columns like these.

        A file that has the SHA-256 of the manifest holds rows of that digest.
        """
        described = self.described
        if described is None or described.digest is None:
            return None
        there = {column.name: column.type_name for column in self.loaded}
        said = {column.name: column.type_name for column in described.columns}
        if len(self.loaded) != len(self.columns) or there.keys() != said.keys():
            return None
        alike = all(parse_type(there[n]) == parse_type(said[n]) is not None for n in there)
        return ContentDigest(described.rows, int(described.digest, 16)) if alike else None

    def check_count(self, rows: int) -> None:
        """Raise when log or manifest count other rows than the file has."""
        if self.logged_rows is not None and self.logged_rows != rows:
            raise RowCountError(
                f"file has {rows} records, the backup log counts {self.logged_rows}",
                hint="the file was cut or edited after the backup; take another set",
                file=self.source.name,
            )
        if self.described is not None and self.described.rows != rows:
            raise RowCountError(
                f"file has {rows} records, the manifest counts {self.described.rows}",
                hint="file or manifest was changed after the backup; take another set",
                file=self.source.name,
            )


@frozen
class RestorePlan:
    """What a restore will do. Printing it is the preview."""

    #: The set to restore.
    backup: BackupSet
    #: Options it was made with.
    options: RestoreOptions
    #: The target.
    facts: TargetFacts
    #: Tables in the order of loading, parents first.
    tables: tuple[TablePlan, ...]
    #: Tables that are missing are created like these.
    generation: NewTables | None
    #: Warnings, then notes. Errors are raised: with one there is no plan.
    findings: tuple[Finding, ...]
    #: How rows come in: ``in_place`` or ``swap``.
    strategy: Literal["in_place", "swap"]
    #: Why this strategy.
    strategy_reason: str
    #: Connections that load at the same time; one with ``in_place``.
    jobs: int
    #: Parallel workers of an index build besides the connection itself.
    index_workers: int
    #: Locks, index builds, disk, and roughly how long.
    forecast: Forecast = field(factory=Forecast)
    #: URL of the store, without secrets.
    store_url: str = ""
    #: :attr:`BackupStore.address` of the store: one text for one place, however it is spelled.
    store_address: str = ""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is worth a look before going on, one line each."""
        return tuple(f.message for f in self.findings if f.level == "warning")

    @property
    def notes(self) -> tuple[str, ...]:
        """What is worth knowing and not said elsewhere in the printed plan, one line each."""
        return tuple(
            f.message for f in self.findings if f.level == "note" and f.code not in _SAID_ELSEWHERE
        )

    def told(self, code: str, table: str) -> bool:
        """Whether the findings have one of that code about that table."""
        return any(f.code == code and f.table == table for f in self.findings)

    @property
    def server(self) -> str:
        """Server and extension with their versions, one line."""
        extension = "without pgvector"
        if self.facts.vector_schema is not None:
            extension = f"pgvector {self.facts.vector_version} in {self.facts.vector_schema}"
        return f"PostgreSQL {_version(self.facts.server_version)}, {extension}"

    @property
    def creates_extension(self) -> bool:
        """The extension ``vector`` will be created."""
        created = self.generation
        return created is not None and created.needs_extension and self.facts.vector_schema is None

    @property
    def rows_removed(self) -> int:
        """Rows that are there now and will be gone."""
        if self.options.mode != "replace":
            return 0
        return sum(t.target.rows or 0 for t in self.tables)

    @property
    def atomic(self) -> bool:
        """After an error all tables are as they were: no row lies on another server."""
        return not any(table.target.elsewhere for table in self.tables)

    @property
    def unity(self) -> str:
        """What holds of the tables together, a few words."""
        if self.atomic:
            return "all tables or none"
        names = ", ".join(table.name for table in self.tables if table.target.elsewhere)
        return f"NOT all or none: rows of {names} lie on other servers"

    @property
    def size_bytes(self) -> int:
        """Stored bytes to read."""
        return sum(t.source.size_bytes for t in self.tables)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            **self.backup.to_dict(),
            "store": self.store_url,
            "target": self.facts.label,
            "database": asdict(self.facts.identity) if self.facts.identity is not None else None,
            "server_version": self.facts.server_version,
            "vector_version": self.facts.vector_version,
            "schema": self.facts.schema,
            "mode": self.options.mode,
            "strategy": self.strategy,
            "strategy_reason": self.strategy_reason,
            "atomic": self.atomic,
            "jobs": self.jobs,
            "index_workers": self.index_workers,
            "options": asdict(self.options),
            "creates_extension": self.creates_extension,
            "rows_removed": self.rows_removed,
            "size_bytes": self.size_bytes,
            "tables": [_table_dict(t, self.options.mode) for t in self.tables],
            "role": self.facts.role,
            "generation": self.generation.title if self.generation is not None else None,
            "warnings": list(self.warnings),
            "findings": [finding.to_dict() for finding in self.findings],
            "forecast": self.forecast.to_dict(),
        }

    def __str__(self) -> str:
        lines = [
            f"restore {self.backup.label} into {self.facts.label}, schema {self.facts.schema}",
            f"  mode {self.options.mode}, {self.unity}",
            f"  strategy {self.strategy}: {self.strategy_reason}",
            f"  server {self.server}",
        ]
        if self.jobs > 1:
            lines.append(f"  {self.jobs} connections load at the same time")
        if self.options.on_bad_row == "quarantine":
            most = self.options.max_bad_rows
            lines.append(
                f"  bad records are set aside in {self.options.reject_dir}, at most {most}"
            )
        if self.creates_extension:
            lines.append(f"  create extension vector {self.facts.vector_version or ''}".rstrip())
        lines += [f"  {_sentence(t, self.options.mode)}" for t in self.tables]
        lines += [f"  build {build}" for build in self.forecast.builds]
        lines += [f"  lock {lock}" for lock in self.forecast.locks]
        lines.append(f"  disk {self.forecast.disk}")
        lines += [f"  note: {note}" for note in self.notes]
        lines += [f"  warning: {warning}" for warning in self.warnings]
        return "\n".join(map(shown, lines))


#: Codes of notes whose matter has lines of its own in the printed plan.
_SAID_ELSEWHERE = ("rows", "generation")


def _version(number: int) -> str:
    return f"{number // 10_000}.{number % 10_000}"


def _sentence(table: TablePlan, mode: str) -> str:
    more = f", as text ({table.wire_reason})" if table.wire_reason else ""
    return _what(table, mode) + more


def _what(table: TablePlan, mode: str) -> str:
    rows = "" if table.counted_rows is None else f"{table.counted_rows} rows, "
    what = f"{table.source.name} ({rows}{format_size(table.source.size_bytes)})"
    there = table.target.rows or 0
    if table.create:
        return f"{table.name}: create, load {what}"
    if mode == "replace":
        return f"{table.name}: remove {there} rows, load {what}"
    return f"{table.name}: keep {there} rows, add {what}"


def _table_dict(table: TablePlan, mode: str) -> dict[str, Any]:
    return {
        "table": table.name,
        "source_file": table.source.name,
        "size_bytes": table.source.size_bytes,
        "codec": table.source.codec,
        "format": table.source.format,
        "parts": len(table.source.parts),
        "logged_rows": table.logged_rows,
        "manifest_rows": None if table.described is None else table.described.rows,
        "create": table.create,
        "rows_before": table.target.rows,
        "rows_removed": (table.target.rows or 0) if mode == "replace" else 0,
        "wire": table.wire,
        "wire_reason": table.wire_reason,
        "indexes_rebuilt": [index.name for index in table.rebuilt],
        "owner": table.target.owner,
        "attached_code": [asdict(code) for code in table.target.attached_code],
        "columns": [
            {"name": c.name, "type": c.type_name, "not_null": c.not_null} for c in table.loaded
        ],
    }
