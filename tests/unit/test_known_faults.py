"""What plans say of faulty pgvector versions."""

from __future__ import annotations

import pytest

from pgvector_restore.db.known_faults import builds_in_parallel, vector_warnings
from pgvector_restore.target import TargetIndex, TargetTable


def table(method: str, *, unlogged: bool = False) -> TargetTable:
    index = TargetIndex("ix", f"CREATE INDEX ix ON t USING {method} (v)", method, enforcing=False)
    return TargetTable("public", "t", (), indexes=(index,), unlogged=unlogged)


@pytest.mark.parametrize(
    ("version", "method", "faults"),
    [
        ("0.5.1", "hnsw", ["corrupt"]),
        ("0.6.0", "hnsw", ["overflow", "corrupt"]),
        ("0.8.1", "hnsw", ["overflow", "corrupt"]),
        ("0.8.2", "hnsw", ["corrupt"]),
        ("0.8.3", "hnsw", []),
        ("0.10", "hnsw", []),
        ("0.8.6", "ivfflat", ["overflow"]),
        ("0.8.7", "ivfflat", []),
        ("0.5.1", "gin", []),
        ("built from source", "hnsw", []),
        (None, "hnsw", []),
    ],
)
def test_known_faults_are_named(version: str | None, method: str, faults: list[str]) -> None:
    found = vector_warnings(version, table(method))
    assert len(found) == len(faults)
    for text, word in zip(found, faults, strict=True):
        assert text.startswith(f"pgvector {version}: ")
        assert word in text
        assert "; update to 0.8." in text


def test_unlogged_tables_have_a_fault_of_their_own() -> None:
    (text,) = vector_warnings("0.7.1", table("ivfflat", unlogged=True))[:1]
    assert "unlogged tables" in text
    assert text.endswith("update to 0.7.2 or later")
    assert len(vector_warnings("0.7.2", table("ivfflat", unlogged=True))) == 1
    assert not vector_warnings("0.7.1", table("btree", unlogged=True))


@pytest.mark.parametrize(
    ("version", "method", "safe"),
    [
        ("0.5.1", "hnsw", True),
        ("0.6.0", "hnsw", False),
        ("0.8.1", "hnsw", False),
        ("0.8.1", "ivfflat", True),
        ("0.8.2", "hnsw", True),
    ],
)
def test_no_workers_where_they_overflow_a_buffer(version: str, method: str, safe: object) -> None:
    assert builds_in_parallel(version, table(method)) is safe
