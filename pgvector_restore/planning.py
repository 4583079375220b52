"""Planning: facts in, plan or refusal out. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal

from pgvector_restore.columns import SourceFacts, match_columns, match_types
from pgvector_restore.db.indexes import droppable
from pgvector_restore.db.known_faults import builds_in_parallel, vector_warnings
from pgvector_restore.errors import OptionError, TargetMismatchError, listed, quoted
from pgvector_restore.estimate import forecast
from pgvector_restore.findings import Findings
from pgvector_restore.grants import check_privileges
from pgvector_restore.manifest import Manifest
from pgvector_restore.model import BackupFile, BackupSet, Catalog
from pgvector_restore.new_tables import new_tables
from pgvector_restore.options import RestoreOptions, check_identifier
from pgvector_restore.plan import RestorePlan, TablePlan
from pgvector_restore.preflight import (
    check_atomic,
    check_children,
    check_code,
    check_counts,
    check_disk,
    check_formats,
    check_ledger,
    check_names,
    check_neighbours,
    check_replaceable,
    check_replication,
    check_rows,
    check_server,
)
from pgvector_restore.schema import NewTables, parents_of
from pgvector_restore.strategy import choose_jobs, choose_strategy
from pgvector_restore.target import TargetColumn, TargetFacts, TargetIndex, TargetTable

__all__ = ["SourceFacts", "make_plan", "select_files"]


def select_files(
    backup: BackupSet, options: RestoreOptions, manifest: Manifest | None = None
) -> tuple[BackupFile, ...]:
    """The set's files that the options ask for, parents first.

    Which table is another one's parent the manifest says, or the known shapes of the tables.

    Raises:
        OptionError: An unknown table, or a choice that would orphan rows.
    """
    known = [check_identifier(file.table, "table") for file in backup.files]
    wanted = options.tables or tuple(known)
    for name in wanted:
        if name not in known:
            raise OptionError(
                f"backup set {backup.label} has no table {quoted(name)}",
                hint=f"it has {listed(known)}",
            )
    chosen = tuple(file for file in backup.files if file.table in wanted)
    if options.mode == "replace":
        left = [name for name in known if name not in {file.table for file in chosen}]
        for file in chosen:
            children = [name for name in left if file.table in _parents(name, manifest)]
            if children:
                raise OptionError(
                    f"replacing only {file.table} would orphan the rows of {', '.join(children)}",
                    hint=f"mode append removes no rows; with {', '.join(children)} named in tables"
                    " all rows of it would be removed as well",
                )
    return chosen


def _parents(table: str, manifest: Manifest | None) -> set[str]:
    """Tables that rows of this one refer to."""
    said = manifest.table(table) if manifest is not None else None
    if said is not None:
        return {key.parent for key in said.foreign_keys} | parents_of(table)
    return parents_of(table)


def make_plan(  # noqa: PLR0913 - all that a plan is made of
    backup: BackupSet,
    options: RestoreOptions,
    sources: Sequence[SourceFacts],
    facts: TargetFacts,
    catalog: Catalog | None = None,
    free_bytes: int | None = None,
    *,
    fetched: bool = False,
) -> RestorePlan:
    """Check that the files fit the target and say what will happen.

    Args:
        backup: The chosen set.
        options: What is asked for.
        sources: Its files.
        facts: The target.
        catalog: What else lies there, if known.
        free_bytes: Free where the server puts tables, if known.
        fetched: Files come over a network, through the process that restores.

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
    check_formats(sources, options, findings)
    check_children(sources, options, facts, findings)
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
    check_atomic(options, tables, findings)
    if strategy == "in_place":
        check_replication(facts, options, tables, findings)
    if options.ledger:
        check_ledger(facts, findings)
    if strategy == "in_place" and options.mode == "replace":
        for table in tables:
            with findings.gathering("references", table.name):
                check_replaceable(table.target)
    findings.check()
    workers = _workers(options, facts, tables, size, findings)
    loading = _connections(options, tables, findings, fetched=fetched) if strategy == "swap" else 1
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


def _connections(
    options: RestoreOptions, tables: Sequence[TablePlan], findings: Findings, *, fetched: bool
) -> int:
    """Connections that load at the same time; a compressed file is read by one, from its start."""
    plain = [t.source.size_bytes for t in tables if t.source.parts or _in_ranges(t.source)]
    # A table in binary is one file only if it is small.
    compressed = [t.source for t in tables if t.source.codec and t.source.format == "csv"]
    if choose_jobs(options, sum(file.size_bytes for file in compressed)) > 1 and compressed:
        names = ", ".join(file.name for file in compressed)
        findings.warn(
            "compression",
            f"loaded over one connection, as compressed files cannot be read in parts: {names}",
        )
    # A core is busy with fetching what is to be cut (measured on two cores: with two connections
    # 1.5 times the seconds of a restore from a disk, with one 1.2 times).
    taken = 1 if fetched and any(_in_ranges(table.source) for table in tables) else 0
    return choose_jobs(options, sum(plain), taken) if plain else 1


def _in_ranges(file: BackupFile) -> bool:
    """Ranges of the file can be loaded at the same time."""
    return file.codec is None and file.format == "csv"


def _targets(
    options: RestoreOptions,
    sources: Sequence[SourceFacts],
    facts: TargetFacts,
    findings: Findings,
) -> tuple[dict[str, TargetTable], NewTables | None]:
    """The tables as they are or will be created, by name, and what those are created like."""
    missing = [source for source in sources if facts.table(source.file.table) is None]
    targets = {table.name: table for table in facts.tables}
    created = None
    with findings.gathering("tables"):
        created = new_tables(missing, options, facts, findings) if missing else None
        for table in created.tables if created is not None else ():
            target = table.as_target(facts.schema)
            _check_parents(target, facts, [source.file.table for source in missing])
            targets[target.name] = target
    return targets, created


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
    recasts = match_types(source, columns, findings, target.name)
    wire: Literal["binary", "text"] = "binary"
    reason = None
    if source.file.format == "csv":
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
        described=source.described,
        recasts=recasts,
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
        why = f"may not create in schema {target.schema}" if target.owned else "does not own it"
        findings.warn(
            "indexes",
            f"the role {why}: {names} of {target.name} cannot be rebuilt, every row goes through"
            " them",
            hint=f"GRANT CREATE ON SCHEMA {target.schema} TO the role: building is faster"
            if target.owned
            else "restore as the owner: building is faster",
            table=target.name,
        )
    return rebuilt


def _outweighs(source: SourceFacts, target: TargetTable) -> bool:
    """More rows come than are there; without a log, by size: text is twice the table's at least."""
    if not target.rows:
        return True
    if source.counted_rows is not None:
        return source.counted_rows > target.rows
    return source.file.size_bytes > 2 * (target.size_bytes or 0)


def _check_parents(target: TargetTable, facts: TargetFacts, created: Collection[str]) -> None:
    for key in target.foreign_keys:
        if facts.table(key.parent) is None and key.parent not in created:
            raise TargetMismatchError(
                f"{target.name} refers to {facts.schema}.{key.parent}, which does not exist",
                hint=f"restore {key.parent} with it if the set has it, or create it first",
            )
