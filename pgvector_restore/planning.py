"""Planning: facts in, plan or refusal out. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal

from pgvector_restore.columns import SourceFacts, match_columns
from pgvector_restore.db.indexes import droppable
from pgvector_restore.db.known_faults import builds_in_parallel, vector_warnings
from pgvector_restore.errors import BadHeaderError, OptionError, TargetMismatchError, quoted
from pgvector_restore.estimate import forecast
from pgvector_restore.findings import Findings
from pgvector_restore.grants import check_privileges
from pgvector_restore.model import BackupFile, BackupSet, Catalog
from pgvector_restore.options import RestoreOptions, check_identifier
from pgvector_restore.plan import RestorePlan, TablePlan
from pgvector_restore.preflight import (
    check_code,
    check_counts,
    check_disk,
    check_names,
    check_neighbours,
    check_replaceable,
    check_rows,
    check_server,
)
from pgvector_restore.schema import Generation, generation_for
from pgvector_restore.strategy import choose_jobs, choose_strategy
from pgvector_restore.target import TargetColumn, TargetFacts, TargetIndex, TargetTable

__all__ = ["SourceFacts", "make_plan", "select_files"]


def select_files(backup: BackupSet, options: RestoreOptions) -> tuple[BackupFile, ...]:
    """The set's files that the options ask for, parents first.

    Raises:
        OptionError: An unknown table, or a choice that would orphan rows.
    """
    known = [check_identifier(file.table, "table") for file in backup.files]
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
    catalog: Catalog | None = None,
    free_bytes: int | None = None,
) -> RestorePlan:
    """Check that the files fit the target and say what will happen.

    Args:
        backup: The chosen set.
        options: What is asked for.
        sources: Its files.
        facts: The target.
        catalog: What else lies there, if known.
        free_bytes: Free where the server puts tables, if known.

    Raises:
        BadHeaderError: A column that the target lacks.
        BadCellError: Vectors of another dimension than the column's.
        TargetMismatchError: The target cannot take the rows.
        OptionError: A strategy that does not go with the mode.
    """
    findings = Findings()
    check_server(facts, findings)
    check_names(facts, sources, findings)
    check_neighbours(backup, catalog, findings)
    check_counts(sources, options, findings)
    targets, generation = _targets(options, sources, facts, findings)
    created = [target for target in targets.values() if target.oid is None]
    check_privileges(facts, options, sources, created, findings)
    tables = []
    for source in sources:
        if (target := targets.get(source.file.table)) is not None:
            check_rows(source, target, options, findings)
            with findings.gathering("columns", target.name):
                tables.append(_table(source, target, options, findings))
    size = sum(source.file.size_bytes for source in sources)
    strategy: Literal["in_place", "swap"] = "in_place"
    reason = ""
    with findings.gathering("strategy"):
        strategy, reason = choose_strategy(options, facts, tables, size, findings)
    check_code(facts, options, tables, strategy, findings)
    if strategy == "in_place" and options.mode == "replace":
        for table in tables:
            with findings.gathering("references", table.name):
                check_replaceable(table.target)
    findings.check()
    workers = _workers(options, facts, tables, size, findings)
    loading = _connections(options, tables, findings) if strategy == "swap" else 1
    expected = forecast(options, tables, strategy, workers, free_bytes)
    check_disk(expected, findings)
    return RestorePlan(
        backup,
        options,
        facts,
        tuple(tables),
        generation,
        findings.sorted(),
        strategy,
        reason,
        jobs=loading,
        index_workers=workers,
        forecast=expected,
    )


def _connections(options: RestoreOptions, tables: Sequence[TablePlan], findings: Findings) -> int:
    """Connections that load at the same time; a compressed file is read by one, from its start."""
    plain = [t.source.size_bytes for t in tables if t.source.codec is None]
    compressed = [t.source for t in tables if t.source.codec is not None]
    if choose_jobs(options, sum(file.size_bytes for file in compressed)) > 1 and compressed:
        names = ", ".join(file.name for file in compressed)
        findings.warn(
            "compression",
            f"loaded over one connection, as compressed files cannot be read in parts: {names}",
        )
    return choose_jobs(options, sum(plain)) if plain else 1


def _targets(
    options: RestoreOptions,
    sources: Sequence[SourceFacts],
    facts: TargetFacts,
    findings: Findings,
) -> tuple[dict[str, TargetTable], Generation | None]:
    """The tables as they are or will be created, by name, and what those are created like."""
    missing = {s.file.table: s.header.names for s in sources if facts.table(s.file.table) is None}
    targets = {table.name: table for table in facts.tables}
    generation = None
    with findings.gathering("tables"):
        generation = _generation(missing, options, facts) if missing else None
        for source in sources:
            if source.file.table in missing:
                target = _created(generation, source, facts)
                _check_parents(target, facts, missing)
                targets[target.name] = target
    if generation is not None:
        findings.note(
            "generation", f"{', '.join(missing)} will be created as {generation.title} does"
        )
    return targets, generation


def _workers(
    options: RestoreOptions,
    facts: TargetFacts,
    tables: Sequence[TablePlan],
    size_bytes: int,
    findings: Findings,
) -> int:
    """Workers of index builds, of which faulty versions of pgvector get none."""
    jobs = choose_jobs(options, size_bytes)
    workers = jobs if jobs > 1 else 0
    for table in tables:
        for text in vector_warnings(facts.vector_version, table.target):
            findings.warn("pgvector-version", text, table=table.name)
        if not builds_in_parallel(facts.vector_version, table.target):
            workers = 0
    return workers


def _table(
    source: SourceFacts, target: TargetTable, options: RestoreOptions, findings: Findings
) -> TablePlan:
    columns = match_columns(source, target, findings)
    wire, reason = _wire(target, columns, options)
    return TablePlan(
        source.file,
        target,
        source.header,
        columns,
        create=target.oid is None,
        logged_rows=source.logged_rows,
        wire=wire,
        wire_reason=reason,
        rebuilt=_rebuilt(source, target, options, findings),
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
    source: SourceFacts, target: TargetTable, options: RestoreOptions, findings: Findings
) -> tuple[TargetIndex, ...]:
    """Indexes that are cheaper to build anew than to feed row by row."""
    if options.mode == "append" and not _outweighs(source, target):
        return ()
    secondary = [index for index in target.indexes if index.valid and not index.enforcing]
    rebuilt = droppable(target)
    if secondary and not rebuilt and not target.partitioned:
        names = ", ".join(index.name for index in secondary)
        findings.warn(
            "indexes",
            f"the role does not own {target.name}: {names} cannot be rebuilt, "
            "every row goes through them",
            hint="restore as the owner: building is faster",
            table=target.name,
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
