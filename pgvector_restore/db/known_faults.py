"""Known faults of pgvector's index code, by version."""

from __future__ import annotations

import re

from attrs import frozen

from pgvector_restore.target import TargetTable

__all__ = ["builds_in_parallel", "vector_warnings"]

_Version = tuple[int, ...]


@frozen
class _Fault:
    """A known fault of pgvector's index code."""

    methods: tuple[str, ...]
    since: _Version
    before: _Version
    text: str
    #: Only of builds with parallel workers.
    parallel: bool = False
    #: Only of unlogged tables.
    unlogged: bool = False

    def concerns(self, version: _Version, table: TargetTable) -> bool:
        """Whether the table has an index that this version may spoil."""
        methods = {index.method for index in table.indexes} & set(self.methods)
        known = self.since <= version < self.before
        return known and bool(methods) and (table.unlogged or not self.unlogged)


#: From pgvector's changelog.
_FAULTS = (
    _Fault(
        ("hnsw",),
        (0, 6, 0),
        (0, 8, 2),
        "parallel HNSW builds may overflow a buffer, so indexes are built without workers",
        parallel=True,
    ),
    _Fault(
        ("hnsw", "ivfflat"),
        (0,),
        (0, 7, 2),
        "indexes on unlogged tables are broken after a crash of the server",
        unlogged=True,
    ),
    _Fault(("hnsw",), (0,), (0, 8, 3), "vacuuming an HNSW index may corrupt it"),
    _Fault(("ivfflat",), (0,), (0, 8, 7), "IVFFlat builds may overflow a buffer"),
)


def vector_warnings(version: str | None, table: TargetTable) -> list[str]:
    """What is known to be wrong with the installed pgvector and the table's indexes."""
    return [
        f"pgvector {version}: {fault.text}; update to {'.'.join(map(str, fault.before))} or later"
        for fault in _concerning(version, table)
    ]


def builds_in_parallel(version: str | None, table: TargetTable) -> bool:
    """Whether the installed pgvector can be trusted to build the table's indexes with workers."""
    return not any(fault.parallel for fault in _concerning(version, table))


def _concerning(version: str | None, table: TargetTable) -> list[_Fault]:
    if version is None or not re.fullmatch(r"\d+(\.\d+)*", version):
        return []
    number = tuple(int(part) for part in version.split("."))
    return [fault for fault in _FAULTS if fault.concerns(number, table)]
