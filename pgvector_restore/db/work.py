"""What both strategies are given, and what they give back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import psycopg
from attrs import field, frozen

from pgvector_restore.db.copy import Feed
from pgvector_restore.db.indexes import BuildSettings
from pgvector_restore.db.ledger import LedgerEntry, write_entry
from pgvector_restore.db.marks import Origin
from pgvector_restore.db.pool import Connection
from pgvector_restore.db.session import configure_session
from pgvector_restore.db.watch import Watcher
from pgvector_restore.options import RestoreOptions
from pgvector_restore.progress import Phase
from pgvector_restore.schema import NewTables
from pgvector_restore.target import TargetFacts, TargetIndex, TargetTable

__all__ = ["LoadResult", "TableLoad", "Work"]


@frozen
class TableLoad:
    """One table to load."""

    #: The table as it was planned.
    target: TargetTable
    #: Its rows.
    feed: Feed
    #: Indexes to drop before the load and to build after it.
    rebuilt: tuple[TargetIndex, ...] = ()


@frozen
class LoadResult:
    """What became of one table."""

    #: Rows before.
    rows_before: int
    #: Rows removed.
    rows_removed: int
    #: Rows that COPY reported.
    rows_loaded: int
    #: Rows counted after the load.
    rows_after: int
    #: Seconds to remove the old rows.
    remove_seconds: float
    #: Seconds to load the new ones.
    seconds: float
    #: Seconds to build indexes.
    index_seconds: float = 0.0
    #: What is worth knowing, one line each.
    warnings: tuple[str, ...] = ()


@frozen
class Work:
    """A restore as the database side sees it."""

    #: The target the plan was made for.
    facts: TargetFacts
    #: Tables in the order of loading, parents first.
    loads: Sequence[TableLoad]
    #: Mode and limits.
    options: RestoreOptions
    #: What missing tables are created like.
    generation: NewTables | None
    #: Memory and workers of index builds.
    build: BuildSettings
    #: Runs long commands and tells how far they are.
    watcher: Watcher = field(repr=False)
    #: Called at the beginning of a phase.
    tell: Callable[[Phase], None] = field(repr=False)
    #: Last checks before the result becomes visible; what it raises undoes everything.
    check: Callable[[], None] = field(repr=False)
    #: Called right before COMMIT, and before tidying up: from here on nothing is called off.
    settled: Callable[[], None] = field(repr=False)
    #: Another connection, to ask what became of a COMMIT.
    reconnect: Callable[[], AbstractContextManager[Connection]] = field(repr=False)
    #: This restore, as kept tables remember it.
    origin: Origin
    #: What a ledger is to keep; ``None``: there is none.
    ledger: LedgerEntry | None = None

    @property
    def names(self) -> list[str]:
        """Table names."""
        return [load.target.name for load in self.loads]

    def configure(self, cur: psycopg.Cursor[Any]) -> None:
        """Settings of a transaction."""
        options = self.options
        configure_session(cur, options.lock_timeout_s, options.statement_timeout_s)

    def write_ledger(self, cur: psycopg.Cursor[Any], results: Sequence[LoadResult]) -> None:
        """The ledger's row, where one is kept."""
        if self.ledger is not None:
            rows = [
                (load.target.name, load.feed.file, result.rows_loaded)
                for load, result in zip(self.loads, results, strict=True)
            ]
            write_entry(cur, self.facts.schema, self.ledger, rows)
