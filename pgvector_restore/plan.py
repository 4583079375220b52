"""Plans: what a restore will do, to what, with which risks. Pure: facts in, plan out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from attrs import asdict, frozen

from pgvector_restore.errors import (
    BadHeaderError,
    OptionError,
    TargetMismatchError,
    quoted,
)
from pgvector_restore.model import BackupFile, BackupSet
from pgvector_restore.options import RestoreOptions
from pgvector_restore.report import format_size
from pgvector_restore.schema import Generation, generation_for
from pgvector_restore.target import TargetColumn, TargetFacts, TargetTable

__all__ = ["RestorePlan", "SourceFacts", "TablePlan", "make_plan", "select_files"]


@frozen
class SourceFacts:
    """What is known of one file before it is read."""

    #: The file.
    file: BackupFile
    #: Column names of its header.
    header: tuple[str, ...]
    #: Rows the backup log counts for it; ``None`` where no log speaks of this file.
    logged_rows: int | None = None


@frozen
class TablePlan:
    """What happens to one table."""

    #: Where its rows come from.
    source: BackupFile
    #: Where they go.
    target: TargetTable
    #: Column names of the file.
    header: tuple[str, ...]
    #: For each column of the file the target column, or ``None`` where it is not loaded.
    columns: tuple[TargetColumn | None, ...]
    #: The table does not exist yet.
    create: bool
    #: Rows the backup log counts; ``None`` where no log speaks of this file.
    logged_rows: int | None

    @property
    def name(self) -> str:
        """Table name."""
        return self.target.name

    @property
    def loaded(self) -> tuple[TargetColumn, ...]:
        """Target columns in the order of the file."""
        return tuple(c for c in self.columns if c is not None)


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
    generation: Generation | None
    #: What is worth a look before going on, one line each.
    warnings: tuple[str, ...]
    #: How rows come in.
    strategy: str = "in_place"

    @property
    def creates_extension(self) -> bool:
        """The extension ``vector`` will be created."""
        return self.generation is not None and self.facts.vector_schema is None

    @property
    def rows_removed(self) -> int:
        """Rows that are there now and will be gone."""
        if self.options.mode != "replace":
            return 0
        return sum(t.target.rows or 0 for t in self.tables)

    @property
    def size_bytes(self) -> int:
        """Stored bytes to read."""
        return sum(t.source.size_bytes for t in self.tables)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            "label": self.backup.label,
            "backup_path": self.backup.location.relative_path,
            "timestamp": self.backup.timestamp,
            "backup_date": self.backup.backup_date.isoformat(sep=" "),
            "target": self.facts.label,
            "server_version": self.facts.server_version,
            "vector_version": self.facts.vector_version,
            "schema": self.facts.schema,
            "mode": self.options.mode,
            "strategy": self.strategy,
            "options": asdict(self.options),
            "creates_extension": self.creates_extension,
            "rows_removed": self.rows_removed,
            "size_bytes": self.size_bytes,
            "tables": [_table_dict(t, self.options.mode) for t in self.tables],
            "warnings": list(self.warnings),
        }

    def __str__(self) -> str:
        lines = [
            f"restore {self.backup.label} into {self.facts.label}, schema {self.facts.schema}",
            (
                f"  mode {self.options.mode}, strategy {self.strategy}: "
                "one transaction, all tables or none"
            ),
        ]
        if self.creates_extension:
            lines.append(f"  create extension vector {self.facts.vector_version or ''}".rstrip())
        lines += [f"  {_sentence(t, self.options.mode)}" for t in self.tables]
        lines += [f"  warning: {warning}" for warning in self.warnings]
        return "\n".join(lines)


def select_files(backup: BackupSet, options: RestoreOptions) -> tuple[BackupFile, ...]:
    """The set's files that the options ask for, parents first.

    Raises:
        OptionError: An unknown table, or a choice that would orphan rows.
    """
    known = [file.table for file in backup.files]
    wanted = options.tables or tuple(known)
    for name in wanted:
        if name not in known:
            raise OptionError(
                f"backup set {backup.label} has no table {quoted(name)}",
                hint=f"it has {', '.join(known)}",
            )
    chosen = tuple(file for file in backup.files if file.table in wanted)
    if options.mode == "replace" and chosen[0].table == known[0] and len(chosen) < len(known):
        raise OptionError(
            f"replacing only {known[0]} would orphan the rows of {', '.join(known[1:])}",
            hint="replace both tables, or append the collections",
        )
    return chosen


def make_plan(
    backup: BackupSet,
    options: RestoreOptions,
    sources: Sequence[SourceFacts],
    facts: TargetFacts,
) -> RestorePlan:
    """Check that the files fit the target and say what will happen.

    Raises:
        BadHeaderError: A column that the target lacks.
        TargetMismatchError: The target cannot take the rows.
    """
    if facts.read_only:
        raise TargetMismatchError(
            f"{facts.label} is read-only", hint="is it a standby? connect to the primary server"
        )
    missing = {s.file.table: s.header for s in sources if facts.table(s.file.table) is None}
    generation = _generation(missing, options, facts) if missing else None
    tables = []
    warnings: list[str] = []
    for source in sources:
        target = facts.table(source.file.table)
        if target is None:
            target = _created(generation, source, facts)
            _check_parents(target, facts, missing)
        columns = _match(source, target, warnings)
        tables.append(
            TablePlan(
                source.file,
                target,
                source.header,
                columns,
                create=target.oid is None,
                logged_rows=source.logged_rows,
            )
        )
        if options.mode == "replace":
            _check_replace(tables[-1], warnings)
    return RestorePlan(backup, options, facts, tuple(tables), generation, tuple(warnings))


def _generation(
    missing: dict[str, tuple[str, ...]], options: RestoreOptions, facts: TargetFacts
) -> Generation | None:
    names = ", ".join(missing)
    if not options.create_tables:
        raise TargetMismatchError(
            f"schema {quoted(facts.schema)} has no table {names}",
            hint="allow tables to be created, or name the schema they are in",
        )
    if facts.vector_version is None:
        raise TargetMismatchError(
            f"{facts.label} has no extension vector to create",
            hint="install pgvector on the server: https://github.com/pgvector/pgvector",
        )
    return generation_for(missing)


def _created(generation: Generation | None, source: SourceFacts, facts: TargetFacts) -> TargetTable:
    table = generation.table(source.file.table) if generation is not None else None
    if table is None:
        raise BadHeaderError(
            f"no known shape of {source.file.table} has the columns {', '.join(source.header)}",
            hint="create the table with these columns first, then restore into it",
            file=source.file.name,
            record=0,
        )
    return table.as_target(facts.schema)


def _check_parents(target: TargetTable, facts: TargetFacts, created: Collection[str]) -> None:
    for key in target.foreign_keys:
        if facts.table(key.parent) is None and key.parent not in created:
            raise TargetMismatchError(
                f"{target.name} refers to {facts.schema}.{key.parent}, which does not exist",
                hint="restore both tables",
            )


def _match(
    source: SourceFacts, target: TargetTable, warnings: list[str]
) -> tuple[TargetColumn | None, ...]:
    columns: list[TargetColumn | None] = []
    for name in source.header:
        column = target.column(name)
        if column is None:
            lacking = [quoted(n) for n in source.header if target.column(n) is None]
            raise BadHeaderError(
                f"table {target.schema}.{target.name} has no column {', '.join(lacking)}",
                hint=f"it has {', '.join(c.name for c in target.columns)}",
                file=source.file.name,
                record=0,
                column=name,
            )
        if column.generated:
            warnings.append(
                f"{target.name}.{name} is generated by the server: the file's values are not loaded"
            )
        columns.append(None if column.generated else column)
    for column in target.columns:
        fills_itself = column.has_default or column.generated or not column.not_null
        if column.name not in source.header and not fills_itself:
            raise TargetMismatchError(
                f"column {quoted(column.name)} of {target.schema}.{target.name} is NOT NULL "
                f"without a default, and {source.file.name} has no such column",
                hint="give the column a default, or allow NULL",
            )
    return tuple(columns)


def _check_replace(table: TablePlan, warnings: list[str]) -> None:
    target = table.target
    if target.referenced_by:
        raise TargetMismatchError(
            f"{target.schema}.{target.name} cannot be emptied: "
            f"{', '.join(target.referenced_by)} refers to it by foreign key",
            hint="drop that foreign key for the restore, or use mode append",
        )
    if target.inherited_by:
        raise TargetMismatchError(
            f"{target.schema}.{target.name} cannot be emptied alone: "
            f"{', '.join(target.inherited_by)} inherits from it",
            hint="detach the inheriting table, or use mode append",
        )
    if table.logged_rows == 0 and target.rows:
        warnings.append(
            f"{table.source.name} has no rows: {target.name} with its {target.rows} rows "
            "will be empty"
        )


def _sentence(table: TablePlan, mode: str) -> str:
    rows = "" if table.logged_rows is None else f"{table.logged_rows} rows, "
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
        "logged_rows": table.logged_rows,
        "create": table.create,
        "rows_before": table.target.rows,
        "rows_removed": (table.target.rows or 0) if mode == "replace" else 0,
        "columns": [
            {"name": c.name, "type": c.type_name, "not_null": c.not_null} for c in table.loaded
        ],
    }
