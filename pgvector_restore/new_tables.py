"""What missing tables are created like: a known shape, or what a manifest says. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from pgvector_restore.column_types import parse_type
from pgvector_restore.columns import SourceFacts
from pgvector_restore.errors import (
    BadHeaderError,
    BadManifestError,
    OptionError,
    TargetMismatchError,
    listed,
    quoted,
    shown,
)
from pgvector_restore.findings import Findings
from pgvector_restore.manifest import ManifestTable
from pgvector_restore.options import RestoreOptions, check_identifier
from pgvector_restore.schema import (
    GENERATIONS,
    DescribedTable,
    NewTables,
    TableSchema,
    generation_for,
)
from pgvector_restore.target import TargetFacts

__all__ = ["new_tables"]

#: A unique index over plain columns, as the server writes it.
_UNIQUE = re.compile(r"CREATE UNIQUE INDEX .+ USING btree \(([^()]+)\)(?: NULLS NOT DISTINCT)?")


def new_tables(
    missing: Sequence[SourceFacts],
    options: RestoreOptions,
    facts: TargetFacts,
    findings: Findings,
) -> NewTables:
    """The tables to create for these files.

    LangChain's tables are created as it creates them, if that has all columns of the files; others
    as the manifest says.

    Raises:
        TargetMismatchError: Tables are not to be created, or cannot be.
        BadHeaderError: Nobody knows what a table looks like.
        BadManifestError: The manifest contradicts itself.
    """
    if not options.create_tables:
        names = ", ".join(source.file.table for source in missing)
        raise TargetMismatchError(
            f"schema {quoted(facts.schema)} has no table {names}",
            hint="allow tables to be created, or name the schema they are in",
        )
    headers = {s.file.table: s.header.names for s in missing if _is_known(s.file.table)}
    generation = generation_for(headers) if headers else None
    tables: list[TableSchema | DescribedTable] = []
    titles: dict[str, list[str]] = {}
    for place, source in enumerate(missing, 1):
        later = [other.file.table for other in missing[place:]]
        table = generation.table(source.file.table) if generation is not None else None
        title = generation.title if generation is not None and table is not None else _MANIFEST
        new = table or _described(source, facts, later, findings)
        tables.append(new)
        titles.setdefault(title, []).append(new.name)
        for lost in _indexes_lost(new, source.described):
            findings.note("indexes", f"{new.name} had index {lost}", table=new.name)
    created = NewTables(" and ".join(titles), tuple(tables))
    if created.needs_extension and facts.vector_version is None:
        raise TargetMismatchError(
            f"{facts.label} has no extension vector to create",
            hint="install pgvector on the server: https://github.com/pgvector/pgvector",
        )
    for title, made in titles.items():
        does = "says" if title == _MANIFEST else "does"
        findings.note("generation", f"{', '.join(made)} will be created as {title} {does}")
    return created


_MANIFEST = "the manifest"


def _is_known(table: str) -> bool:
    return any(generation.table(table) is not None for generation in GENERATIONS)


def _described(
    source: SourceFacts, facts: TargetFacts, later: Sequence[str], findings: Findings
) -> DescribedTable:
    said = source.described
    if said is None:
        raise BadHeaderError(
            f"no known shape of {source.file.table} has the columns {listed(source.header.names)}",
            hint="create the table with these columns first, then restore into it",
            file=source.file.name,
            record=0,
        )
    _check_names(said)
    for column in said.columns:
        found = parse_type(column.type_name)
        if found is None or not found.is_known:
            raise TargetMismatchError(
                f"column {quoted(column.name)} of {said.name} has type {shown(column.type_name)}, "
                "with which no table is created",
                hint="create the table first, then restore into it",
            )
    kept = []
    for key in said.foreign_keys:
        if key.parent not in facts.asked:
            lost = "is not in the backup"
        elif key.parent in later:  # parents come first, unless they refer to each other
            lost = "refers to it as well"
        else:
            kept.append(key)
            continue
        findings.note(
            "references",
            f"{said.name} referred to {key.parent}, which {lost}: the foreign key is not created",
            table=said.name,
        )
    return DescribedTable(said, tuple(kept))


def _plain(name: str) -> str:
    """A name without the quotes that the server has put it in."""
    return name[1:-1].replace('""', '"') if name[:1] == '"' else name


def _check_names(said: ManifestTable) -> None:
    names = [column.name for column in said.columns]
    try:
        for name in names:
            check_identifier(name, "column")
    except OptionError as exc:
        raise BadManifestError(f"manifest: {exc.message}", hint=exc.hint) from exc
    keyed = [*said.primary_key, *(name for one in said.unique for name in one)]
    keyed += [key.column for key in said.foreign_keys]
    for name in keyed:
        if name not in names:
            raise BadManifestError(
                f"manifest: a key of {said.name} has column {quoted(name)}, the table has not"
            )


def _indexes_lost(made: TableSchema | DescribedTable, said: ManifestTable | None) -> Iterator[str]:
    """Indexes that the table had and will not have, each with its name and definition."""
    if said is None:
        return
    keys: set[tuple[str | None, ...]]
    if isinstance(made, TableSchema):
        keys = {(made.primary_key,), (made.unique,)}
        known = {made.gin_index[0]} if made.gin_index is not None else set()
    else:
        keys, known = {made.described.primary_key, *made.described.unique}, set()
    for index in said.indexes:
        unique = _UNIQUE.fullmatch(index.definition)
        columns = tuple(map(_plain, unique[1].split(", "))) if unique else None
        if columns not in keys and index.name not in known:
            yield f"{index.name}: {index.definition}"
