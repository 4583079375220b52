"""Whether the role may do what a restore does. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from attrs import frozen

from pgvector_restore.columns import SourceFacts
from pgvector_restore.errors import TargetMismatchError, quoted
from pgvector_restore.findings import Findings
from pgvector_restore.options import Mode, RestoreOptions
from pgvector_restore.target import TargetFacts, TargetTable

__all__ = ["check_privileges"]

#: What is needed of a table that is there. Locks come with these.
_NEEDED: dict[Mode, tuple[str, ...]] = {
    "append": ("INSERT", "SELECT"),
    "replace": ("INSERT", "SELECT", "TRUNCATE"),
}


@frozen
class _Lack:
    """Privileges that the role does not have."""

    #: Their names.
    privileges: tuple[str, ...]
    #: On what, as a message shows it.
    shown: str
    #: The same as GRANT takes it.
    sql: str
    #: Table it is about.
    table: str | None = None


def check_privileges(
    facts: TargetFacts,
    options: RestoreOptions,
    sources: Sequence[SourceFacts],
    created: Sequence[TargetTable],
    findings: Findings,
) -> None:
    """Name every privilege that the role lacks, and on what.

    Args:
        facts: What it may do.
        options: What is asked of it.
        sources: The files, for columns that are filled by the server.
        created: Tables that are missing, as they will be created.
        findings: Where to say so.
    """
    if created and facts.vector_schema is None and not facts.may_create_extension:
        findings.error(
            "privilege",
            TargetMismatchError(
                f"role {quoted(facts.role)} may not create the extension vector",
                hint="let a superuser run CREATE EXTENSION vector in this database first",
            ),
        )
    lacks = [
        *_of_schema(facts, created),
        *(lack for source in sources for lack in _of_table(facts, options.mode, source)),
        *(lack for table in created for lack in _of_parents(facts, table)),
    ]
    for lack in lacks:
        named = ", ".join(lack.privileges)
        findings.error(
            "privilege",
            TargetMismatchError(
                f"role {quoted(facts.role)} lacks {named} on {lack.shown}",
                hint=f"GRANT {named} ON {lack.sql} TO {_sql(facts.role)}",
            ),
            lack.table,
        )


def _of_schema(facts: TargetFacts, created: Sequence[TargetTable]) -> Iterator[_Lack]:
    shown, name = f"schema {quoted(facts.schema)}", f"SCHEMA {_sql(facts.schema)}"
    if not facts.may_use_schema:
        yield _Lack(("USAGE",), shown, name)
    if created and not facts.may_create_tables:
        yield _Lack(("CREATE",), shown, name)


def _of_table(facts: TargetFacts, mode: Mode, source: SourceFacts) -> Iterator[_Lack]:
    table = facts.table(source.file.table)
    if table is None:
        return
    missing = tuple(privilege for privilege in _NEEDED[mode] if privilege in table.lacking)
    if missing:
        yield _on(table, missing)
    for column, sequence in table.closed_sequences:
        if column not in source.header.names:
            yield _Lack(("USAGE",), f"sequence {sequence}", f"SEQUENCE {sequence}", table.name)


def _of_parents(facts: TargetFacts, created: TargetTable) -> Iterator[_Lack]:
    for key in created.foreign_keys:
        parent = facts.table(key.parent)
        if parent is not None and "REFERENCES" in parent.lacking:
            yield _on(parent, ("REFERENCES",))


def _on(table: TargetTable, privileges: tuple[str, ...]) -> _Lack:
    shown = f"table {table.schema}.{table.name}"
    return _Lack(privileges, shown, f"{_sql(table.schema)}.{_sql(table.name)}", table.name)


def _sql(name: str) -> str:
    """A name as SQL has it, for advice."""
    if re.fullmatch(r"[a-z_][a-z0-9_]*", name):
        return name
    return quoted(name.replace('"', '""'))
