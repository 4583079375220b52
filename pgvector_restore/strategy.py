"""Choosing how rows come in: in place or by swap, over how many connections. Pure."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Literal

from pgvector_restore.errors import OptionError, TargetMismatchError, quoted
from pgvector_restore.findings import Findings
from pgvector_restore.options import RestoreOptions
from pgvector_restore.plan import TablePlan
from pgvector_restore.report import format_size
from pgvector_restore.target import TargetFacts

__all__ = ["choose_jobs", "choose_strategy"]

#: Files smaller than this together load within about a second: new tables and further processes
#: would cost more than they bring.
LARGE_BYTES = 64 << 20

#: With more connections the server's own cores are what a restore waits for.
_MAX_AUTO_JOBS = 4

_VECTOR_METHODS = ("hnsw", "ivfflat")


def choose_jobs(options: RestoreOptions, size_bytes: int, cores_taken: int = 0) -> int:
    """Connections and index workers: as asked, else by size and cores.

    Args:
        options: What is asked for.
        size_bytes: Bytes to be loaded.
        cores_taken: Cores that are busy with something else.
    """
    if options.jobs != "auto":
        return options.jobs
    if size_bytes < LARGE_BYTES:
        return 1
    return min(_MAX_AUTO_JOBS, max((os.cpu_count() or 1) - cores_taken, 1))


def choose_strategy(
    options: RestoreOptions,
    facts: TargetFacts,
    tables: Sequence[TablePlan],
    size_bytes: int,
    findings: Findings,
) -> tuple[Literal["in_place", "swap"], str]:
    """The strategy and why.

    Raises:
        OptionError: ``swap`` or ``keep_previous`` with a mode that does not replace.
        TargetMismatchError: ``swap`` was asked for and something stands in its way.
    """
    demanded = options.strategy == "swap" or options.keep_previous
    if options.mode == "append":
        if demanded:
            raise OptionError(
                "appending swaps no tables", hint="mode append goes with strategy in_place"
            )
        return "in_place", "rows are added in one transaction"
    if options.strategy == "in_place":
        if options.keep_previous:
            raise OptionError(
                "in_place keeps no previous tables", hint="use strategy swap, or leave it open"
            )
        return "in_place", "as asked; readers wait until it has ended"
    obstacles = list(_obstacles(facts, tables))
    triggers = {
        f"trigger {name} of {t.name} would not fire": t.name
        for t in tables
        for name in t.target.insert_triggers
    }
    if demanded:
        if obstacles:
            raise TargetMismatchError(
                f"tables cannot be swapped: {'; '.join(obstacles)}",
                hint="use strategy in_place",
            )
        for text, name in triggers.items():
            findings.warn("triggers", text, hint="with strategy in_place triggers fire", table=name)
        return "swap", "as asked; readers see the old rows until the tables are exchanged"
    against = [*obstacles, *triggers]
    if against:
        return "in_place", f"{against[0]}; readers wait until it has ended"
    return _by_weight(tables, size_bytes)


def _by_weight(
    tables: Sequence[TablePlan], size_bytes: int
) -> tuple[Literal["in_place", "swap"], str]:
    served = "readers see the old rows until the tables are exchanged"
    if size_bytes >= LARGE_BYTES:
        return "swap", f"{format_size(size_bytes)} take a while; {served}"
    for table in tables:
        for index in table.target.indexes:
            if index.method in _VECTOR_METHODS:
                return "swap", f"building {index.name} takes a while; {served}"
    return "in_place", f"{format_size(size_bytes)} are loaded in one short transaction"


def _obstacles(facts: TargetFacts, tables: Sequence[TablePlan]) -> Iterator[str]:
    for table in tables:
        for phrase in table.target.swap_blockers:
            yield f"{table.target.schema}.{table.name}: {phrase}"
        for provider in table.target.label_providers:
            if provider in facts.unloaded_providers:
                yield (
                    f"{table.target.schema}.{table.name}: security label provider "
                    f"{quoted(provider)} is not loaded"
                )
        for publication in facts.publications if table.create else ():
            yield f"{facts.schema}.{table.name}: {publication}"
    if facts.vector_schema is None and any(table.create for table in tables):
        yield "the extension vector has to be created first, in the same transaction"
    if not facts.keeps_claims:
        yield "a pooler lends connections for a transaction each, and gives no second one"
    if not facts.may_create_schemas:
        yield "the role may not create schemas in the database"
    if not facts.may_create_tables:
        yield f"the role may not create tables in schema {facts.schema}"
