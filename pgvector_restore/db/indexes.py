"""Indexes around a load: set aside before it, built anew after it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from attrs import frozen
from psycopg import sql
from psycopg.rows import tuple_row

from pgvector_restore.db.errors import server_hint
from pgvector_restore.db.statements import tablespace, written
from pgvector_restore.db.watch import Watcher
from pgvector_restore.errors import TargetChangedError, TargetMismatchError
from pgvector_restore.report import format_size
from pgvector_restore.target import TargetIndex, TargetTable

__all__ = [
    "BuildSettings",
    "SavedIndex",
    "build",
    "droppable",
    "memory_for",
    "rebuild",
    "set_aside",
]

_Cursor = psycopg.Cursor[Any]

#: What sorting indexes get at the most, bytes: beyond that they gain little.
_SORT_MEMORY = 256 << 20
#: pgvector's default for HNSW's ``m``, and what an element takes beside its vector: its own
#: struct, two lists of neighbours with 16 bytes an entry, allocation (hnswutils.c).
_DEFAULT_M = 16
_ELEMENT_BYTES, _NEIGHBOUR_BYTES = 320, 48
#: Classes of SQLSTATE that mean: too little memory, disk or shared memory.
_SHORTAGE = "53"


@frozen
class BuildSettings:
    """What building an index may take."""

    #: Cap of ``maintenance_work_mem``, bytes.
    memory_bytes: int
    #: ``max_parallel_maintenance_workers``; 0: none.
    workers: int


@frozen
class SavedIndex:
    """An index, and what its definition does not say."""

    #: The index.
    index: TargetIndex
    #: Tablespace, empty for the database's own.
    tablespace: str
    #: Comment, if there is one.
    comment: str | None
    #: ``CLUSTER`` would use it.
    clustered: bool
    #: Column numbers and statistics targets of expressions.
    statistics: tuple[tuple[int, int], ...]


def droppable(table: TargetTable) -> tuple[TargetIndex, ...]:
    """Indexes that a load may drop.

    Unique ones stay: with them the server names the record of a duplicate. A partitioned table's
    belong to its partitions as well.
    """
    if table.partitioned or not table.may_build_indexes:
        return ()
    return tuple(index for index in table.indexes if index.valid and not index.enforcing)


def set_aside(
    cur: _Cursor, table: TargetTable, indexes: Sequence[TargetIndex]
) -> tuple[SavedIndex, ...]:
    """Drop indexes, and remember all about them."""
    saved = tuple(_save(cur, table, index) for index in indexes)
    for index in indexes:
        cur.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(table.schema, index.name)))
    return saved


def _save(cur: _Cursor, table: TargetTable, index: TargetIndex) -> SavedIndex:
    cur.execute(
        """
        SELECT coalesce(s.spcname, ''), obj_description(c.oid, 'pg_class'), i.indisclustered,
               array(SELECT a.attnum::int FROM pg_attribute a
                     WHERE a.attrelid = c.oid AND coalesce(a.attstattarget, -1) >= 0
                     ORDER BY a.attnum),
               array(SELECT a.attstattarget::int FROM pg_attribute a
                     WHERE a.attrelid = c.oid AND coalesce(a.attstattarget, -1) >= 0
                     ORDER BY a.attnum)
        FROM pg_class c
        JOIN pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_index i ON i.indexrelid = c.oid
        LEFT JOIN pg_tablespace s ON s.oid = c.reltablespace
        WHERE n.nspname = %s AND c.relname = %s
        """,
        [table.schema, index.name],
    )
    row = cur.fetchone()
    if row is None:
        raise TargetChangedError(
            f"index {table.schema}.{index.name} has gone since the plan was made", hint="plan again"
        )
    place, comment, clustered, columns, targets = row
    statistics = tuple(zip(columns, targets, strict=True))
    return SavedIndex(index, place, comment, clustered, statistics)


def rebuild(
    cur: _Cursor,
    table: TargetTable,
    saved: Sequence[SavedIndex],
    settings: BuildSettings,
    watcher: Watcher,
) -> list[str]:
    """Build indexes as they were; returns warnings.

    Args:
        cur: In a transaction, with an empty search path.
        table: Their table; its ``rows`` are those to be indexed.
        saved: From :func:`set_aside`.
        settings: What the builds may take.
        watcher: Runs them.

    Raises:
        TargetMismatchError: The rows do not fit an index.
    """
    warnings: list[str] = []
    for one in saved:
        index = one.index
        try:
            with tablespace(cur, one.tablespace):
                warnings += build(cur, table, written(index.definition), index, settings, watcher)
        except (psycopg.DataError, psycopg.errors.ProgramLimitExceeded) as exc:
            raise TargetMismatchError(
                f"index {index.name} cannot hold the rows: {exc.diag.message_primary}",
                hint=server_hint(exc),
                sqlstate=exc.sqlstate,
            ) from exc
        _restore_extras(cur, table, one)
        _check_definition(cur, table, index)
    return warnings


def _restore_extras(cur: _Cursor, table: TargetTable, saved: SavedIndex) -> None:
    name = sql.Identifier(table.schema, saved.index.name)
    if saved.comment is not None:
        cur.execute(sql.SQL("COMMENT ON INDEX {} IS {}").format(name, sql.Literal(saved.comment)))
    if saved.clustered:
        cur.execute(
            sql.SQL("ALTER TABLE {} CLUSTER ON {}").format(
                sql.Identifier(table.schema, table.name), sql.Identifier(saved.index.name)
            )
        )
    for column, target in saved.statistics:
        cur.execute(
            sql.SQL("ALTER INDEX {} ALTER COLUMN {} SET STATISTICS {}").format(
                name, sql.Literal(column), sql.Literal(target)
            )
        )


def _check_definition(cur: _Cursor, table: TargetTable, index: TargetIndex) -> None:
    cur.execute(
        """
        SELECT pg_get_indexdef(c.oid) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = %s AND c.relname = %s
        """,
        [table.schema, index.name],
    )
    row = cur.fetchone()
    if row is None or row[0] != index.definition:
        raise TargetChangedError(
            f"index {table.schema}.{index.name} was not built as it had been",
            hint="its definition depends on something that is not there any more",
        )


def build(
    cur: _Cursor,
    table: TargetTable,
    statement: sql.SQL | sql.Composed,
    index: TargetIndex,
    settings: BuildSettings,
    watcher: Watcher,
) -> list[str]:
    """Run one ``CREATE INDEX``; returns warnings.

    If memory or shared memory is short it is tried again without workers, then with no more
    memory than the server gives by itself.
    """
    own = _own_memory(cur)
    wanted = max(own, memory_for(table, index, settings.memory_bytes))
    tries = [(wanted, settings.workers), (wanted, 0), (own, 0)]
    tries = list(dict.fromkeys(tries))
    warnings: list[str] = []
    with _notices(cur.connection, index.name, warnings):
        while True:
            memory, workers = tries.pop(0)
            try:
                with cur.connection.transaction():
                    _configure(cur, memory, workers)
                    watcher.execute(cur, statement, f"CREATE INDEX {index.name}")
            except psycopg.OperationalError as exc:
                if not (exc.sqlstate or "").startswith(_SHORTAGE) or not tries:
                    raise
                warnings.append(
                    f"index {index.name}: {exc.diag.message_primary}; built again with "
                    f"{format_size(tries[0][0])} and no parallel workers"
                )
            else:
                return list(dict.fromkeys(warnings))


def _own_memory(cur: _Cursor) -> int:
    """What the server gives by itself, whatever an index before this one was given."""
    plain = psycopg.Cursor(cur.connection, row_factory=tuple_row)
    plain.execute(
        "SELECT reset_val::bigint * 1024 FROM pg_settings WHERE name = 'maintenance_work_mem'"
    )
    row = plain.fetchone()
    return int(row[0]) if row else 0


def memory_for(table: TargetTable, index: TargetIndex, cap_bytes: int) -> int:
    """Bytes a build asks for, over what the server gives by itself: up to what it needs."""
    return min(cap_bytes, _needed(table, index))


def _needed(table: TargetTable, index: TargetIndex) -> int:
    """Bytes that hold an HNSW graph; IVFFlat's samples and sorts are taken to fit any cap."""
    if index.method not in ("hnsw", "ivfflat"):
        return _SORT_MEMORY
    dimensions = [c.dimensions for c in table.columns if c.kind == "vector"]
    if index.method == "ivfflat" or None in dimensions or not dimensions:
        return 1 << 62
    found = re.search(r"\bm='?(\d+)", index.definition)
    m = int(found[1]) if found else _DEFAULT_M
    element = 4 * max(d or 0 for d in dimensions) + _NEIGHBOUR_BYTES * m + _ELEMENT_BYTES
    return (table.rows or 0) * element * 5 // 4


def _configure(cur: _Cursor, memory: int, workers: int) -> None:
    settings = {
        "maintenance_work_mem": f"{memory >> 10}kB",
        "max_parallel_maintenance_workers": str(workers),
        # Vectors are stored beside the table, whose own few pages would earn no worker.
        "min_parallel_table_scan_size": "0",
    }
    for name, value in settings.items():
        cur.execute(sql.SQL("SET LOCAL {} = {}").format(sql.Identifier(name), sql.Literal(value)))


@contextmanager
def _notices(conn: psycopg.Connection[Any], name: str, into: list[str]) -> Iterator[None]:
    def note(diagnostic: psycopg.errors.Diagnostic) -> None:
        if diagnostic.severity_nonlocalized in ("NOTICE", "WARNING"):
            detail = f": {diagnostic.message_detail}" if diagnostic.message_detail else ""
            into.append(f"index {name}: {diagnostic.message_primary}{detail}")

    conn.add_notice_handler(note)
    try:
        yield
    finally:
        conn.remove_notice_handler(note)
