"""Reckoning what a restore will take. Pure.

Rates are those of the project's own benchmarks on two cores, rounded down: they tell a moment from
minutes and minutes from hours, not more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from attrs import evolve

from pgvector_restore.db.indexes import memory_for
from pgvector_restore.forecast import Forecast, IndexBuild, TableLock
from pgvector_restore.options import RestoreOptions
from pgvector_restore.plan import TablePlan

__all__ = ["forecast"]

#: Bytes of CSV a second, with primary key and GIN index in place. Measured: 130 to 230 million.
_LOAD_BYTES_PER_S = 100_000_000
#: Seconds a row and dimension of an HNSW build whose graph fits into memory, without workers.
#: Measured: 30,000 rows of 1536 dimensions in 71 s; half of that with two workers.
_HNSW_S = 71 / 30_000 / 1536
#: Bytes of CSV a number of a vector. Measured: 12.4 at 1024 dimensions, 12.7 at 1536.
_BYTES_PER_NUMBER = 12.4
#: Text of vectors against their binary form. Measured: 2.4 at 384 dimensions, 2.9 at 1536.
_TEXT_TO_BINARY = 3
_VECTOR_METHODS = ("hnsw", "ivfflat")


def forecast(
    options: RestoreOptions,
    tables: Sequence[TablePlan],
    strategy: Literal["in_place", "swap"],
    workers: int,
    free_bytes: int | None,
) -> Forecast:
    """What these tables will take.

    Args:
        options: Mode and memory.
        tables: What is loaded.
        strategy: How.
        workers: Parallel workers of an index build.
        free_bytes: Free where the server puts tables, if known.
    """
    builds = tuple(_builds(options, tables, strategy, workers))
    size = sum(map(_text_bytes, tables))
    seconds = _seconds(options, tables, builds)
    # An HNSW or IVFFlat index holds the vectors once more; in the file they are text, which is
    # three times as long as their binary form.
    vectors = sum(
        _text_bytes(table)
        for table in tables
        for index in table.target.indexes
        if index.method in _VECTOR_METHODS
    )
    return Forecast(
        tuple(_locks(options, tables, strategy, seconds)),
        builds,
        seconds,
        disk_bytes=size + vectors,
        present_bytes=sum(table.target.total_bytes or 0 for table in tables),
        free_bytes=free_bytes,
    )


def _text_bytes(table: TablePlan) -> int:
    """Bytes of the rows as text, which are no fewer than the table takes."""
    return table.source.size_bytes * (_TEXT_TO_BINARY if table.as_is else 1)


def _builds(
    options: RestoreOptions, tables: Sequence[TablePlan], strategy: str, workers: int
) -> Iterator[IndexBuild]:
    for table in tables:
        indexes = table.target.indexes if strategy == "swap" else table.rebuilt
        filled = evolve(table.target, rows=_rows(options, table))
        for index in indexes:
            memory = memory_for(filled, index, options.maintenance_memory)
            yield IndexBuild(table.name, index.name, index.method, memory, workers)


def _rows(options: RestoreOptions, table: TablePlan) -> int:
    """Rows there will be, roughly: by the log, else by the file's size."""
    kept = (table.target.rows or 0) if options.mode == "append" else 0
    if table.counted_rows is not None:
        return kept + table.counted_rows
    dimensions = _dimensions(table)
    if dimensions is None:
        return kept
    return kept + int(table.source.size_bytes / (dimensions * _BYTES_PER_NUMBER))


def _dimensions(table: TablePlan) -> int | None:
    found = [c.dimensions for c in table.loaded if c.kind == "vector" and c.dimensions]
    return max(found, default=None)


def _seconds(
    options: RestoreOptions, tables: Sequence[TablePlan], builds: Sequence[IndexBuild]
) -> float | None:
    seconds = sum(table.source.size_bytes for table in tables) / _LOAD_BYTES_PER_S
    by_name = {table.name: table for table in tables}
    for build in builds:
        if build.method not in _VECTOR_METHODS:
            continue  # counted in
        dimensions = _dimensions(by_name[build.table])
        if build.method != "hnsw" or dimensions is None:
            return None
        hands = 2 if build.workers else 1
        seconds += _rows(options, by_name[build.table]) * dimensions * _HNSW_S / hands
    return seconds


def _locks(
    options: RestoreOptions,
    tables: Sequence[TablePlan],
    strategy: str,
    seconds: float | None,
) -> Iterator[TableLock]:
    there = [table for table in tables if not table.create]
    names = tuple(f"{table.target.schema}.{table.name}" for table in there)
    if not there:
        return
    if strategy == "swap":
        yield TableLock(
            "ACCESS EXCLUSIVE", names, "exchange", 0.0, "others read the old rows until then"
        )
        return
    alone = tuple(
        name
        for name, table in zip(names, there, strict=True)
        if options.mode == "replace" or table.rebuilt
    )
    shared = tuple(name for name in names if name not in alone)
    if alone:
        yield TableLock(
            "ACCESS EXCLUSIVE", alone, "restore", seconds, "others can neither read nor write"
        )
    if shared:
        yield TableLock(
            "ROW EXCLUSIVE", shared, "restore", seconds, "others read and write as usual"
        )
