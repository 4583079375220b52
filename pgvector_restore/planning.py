"""Planning: facts in, plan or refusal out. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal

from attrs import frozen

from pgvector_restore.db.indexes import builds_in_parallel, droppable, vector_warnings
from pgvector_restore.errors import BadHeaderError, OptionError, TargetMismatchError, quoted
from pgvector_restore.model import BackupFile, BackupSet
from pgvector_restore.options import RestoreOptions
from pgvector_restore.plan import RestorePlan, TablePlan
from pgvector_restore.rows.csv import Header
from pgvector_restore.schema import Generation, generation_for
from pgvector_restore.strategy import choose_jobs, choose_strategy
from pgvector_restore.target import TargetColumn, TargetFacts, TargetIndex, TargetTable

__all__ = ["SourceFacts", "make_plan", "select_files"]


@frozen
class SourceFacts:
    """What is known of one file before it is read."""

    #: The file.
    file: BackupFile
    #: Column names and row ends.
    header: Header
    #: Rows the backup log counts for it; ``None`` where no log speaks of this file.
    logged_rows: int | None = None


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
    missing = {s.file.table: s.header.names for s in sources if facts.table(s.file.table) is None}
    generation = _generation(missing, options, facts) if missing else None
    warnings: list[str] = []
    tables = []
    for source in sources:
        target = facts.table(source.file.table)
        if target is None:
            target = _created(generation, source, facts)
            _check_parents(target, facts, missing)
        tables.append(_table(source, target, options, warnings))
    size = sum(source.file.size_bytes for source in sources)
    strategy, reason = choose_strategy(options, facts, tables, size, warnings)
    if strategy == "in_place" and options.mode == "replace":
        for table in tables:
            _check_replace(table)
    jobs = choose_jobs(options, size)
    loading = _connections(options, tables, warnings) if strategy == "swap" else 1
    workers = jobs if jobs > 1 else 0
    for table in tables:
        warnings += vector_warnings(facts.vector_version, table.target)
        if not builds_in_parallel(facts.vector_version, table.target):
            workers = 0
    return RestorePlan(
        backup,
        options,
        facts,
        tuple(tables),
        generation,
        tuple(dict.fromkeys(warnings)),
        strategy,
        reason,
        jobs=loading,
        index_workers=workers,
    )


def _connections(options: RestoreOptions, tables: Sequence[TablePlan], warnings: list[str]) -> int:
    """Connections that load at the same time; a compressed file is read by one, from its start."""
    plain = [t.source.size_bytes for t in tables if t.source.codec is None]
    compressed = [t.source for t in tables if t.source.codec is not None]
    if choose_jobs(options, sum(file.size_bytes for file in compressed)) > 1 and compressed:
        names = ", ".join(file.name for file in compressed)
        warnings.append(
            f"loaded over one connection, as compressed files cannot be read in parts: {names}"
        )
    return choose_jobs(options, sum(plain)) if plain else 1


def _table(
    source: SourceFacts, target: TargetTable, options: RestoreOptions, warnings: list[str]
) -> TablePlan:
    columns = _match(source, target, warnings)
    wire, reason = _wire(target, columns, options)
    if options.mode == "replace" and source.logged_rows == 0 and target.rows:
        warnings.append(
            f"{source.file.name} has no rows: {target.name} with its {target.rows} rows "
            "will be empty"
        )
    return TablePlan(
        source.file,
        target,
        source.header,
        columns,
        create=target.oid is None,
        logged_rows=source.logged_rows,
        wire=wire,
        wire_reason=reason,
        rebuilt=_rebuilt(source, target, options, warnings),
    )


def _wire(
    target: TargetTable, columns: Sequence[TargetColumn | None], options: RestoreOptions
) -> tuple[Literal["binary", "text"], str | None]:
    without = next((c for c in columns if c is not None and c.wire is None), None)
    if options.wire == "text":
        return "text", "as asked"
    if without is None:
        return "binary", None
    reason = f"column {quoted(without.name)} has type {without.type_name}"
    if options.wire == "binary":
        raise TargetMismatchError(
            f"{target.schema}.{target.name} cannot be loaded in binary: {reason}",
            hint="leave wire at auto: the table goes as text then",
        )
    return "text", f"{reason}, for which there is no binary encoder"


def _rebuilt(
    source: SourceFacts, target: TargetTable, options: RestoreOptions, warnings: list[str]
) -> tuple[TargetIndex, ...]:
    """Indexes that are cheaper to build anew than to feed row by row."""
    if options.mode == "append" and not _outweighs(source, target):
        return ()
    secondary = [index for index in target.indexes if index.valid and not index.enforcing]
    rebuilt = droppable(target)
    if secondary and not rebuilt and not target.partitioned:
        names = ", ".join(index.name for index in secondary)
        warnings.append(
            f"the role does not own {target.name}: {names} cannot be rebuilt, "
            "every row goes through them"
        )
    return rebuilt


def _outweighs(source: SourceFacts, target: TargetTable) -> bool:
    """More rows come than are there; without a log, by size: text is twice the table's at least."""
    if not target.rows:
        return True
    if source.logged_rows is not None:
        return source.logged_rows > target.rows
    return source.file.size_bytes > 2 * (target.size_bytes or 0)


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
            f"no known shape of {source.file.table} has the columns "
            f"{', '.join(source.header.names)}",
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
    for name in source.header.names:
        column = target.column(name)
        if column is None:
            lacking = [quoted(n) for n in source.header.names if target.column(n) is None]
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
        if column.name not in source.header.names and not fills_itself:
            raise TargetMismatchError(
                f"column {quoted(column.name)} of {target.schema}.{target.name} is NOT NULL "
                f"without a default, and {source.file.name} has no such column",
                hint="give the column a default, or allow NULL",
            )
    return tuple(columns)


def _check_replace(table: TablePlan) -> None:
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
