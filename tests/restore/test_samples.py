"""Real backup sets come back exactly."""

from __future__ import annotations

import ast
import csv
import io
import json
import struct
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attrs import frozen

from pgvector_restore import Restorer, open_store
from tests.conftest import connect

_ROWS = {
    "vector_bak/20250722_173950": (4, 62),
    "vector_bak/20250722_010318": (4, 62),
    "task_20250721_213627/20250721_215758": (4, 58),
    "task_20250721_202929/20250721_203539": (4, 0),
}


@frozen
class Stored:
    """One row as the database holds it."""

    collection_id: str
    vector: bytes
    document: str | None
    cmetadata: Any


def nearest_float32(text: str) -> bytes:
    """The float32 nearest to a decimal number, ties to even; decided by exact arithmetic."""
    exact = Decimal(text)
    near = np.float32(text)
    candidates = [np.nextafter(near, np.float32(s)) for s in (-np.inf, np.inf)] + [near]
    # A tie would need a second rule; shortest decimals of float32 are never ties.
    distances = sorted((abs(Decimal(float(c)) - exact), i) for i, c in enumerate(candidates))
    assert distances[0][0] < distances[1][0]
    return struct.pack(">f", candidates[distances[0][1]])


def cells(path: Path) -> list[dict[str, str]]:
    csv.field_size_limit(1 << 30)
    return list(csv.DictReader(io.StringIO(path.read_bytes().decode(), newline="")))


def meaning(cell: str) -> Any:
    return ast.literal_eval(cell) if cell else None


def stored_rows(dsn: str) -> dict[str, Stored]:
    with connect(dsn) as conn:
        rows = conn.execute(
            "SELECT id, collection_id::text, vector_send(embedding), document, "
            "jsonb_typeof(cmetadata), cmetadata::text FROM langchain_pg_embedding"
        ).fetchall()
    return {
        key: Stored(parent, vector, document, json.loads(text) if kind else None)
        for key, parent, vector, document, kind, text in rows
    }


@pytest.mark.parametrize("label", _ROWS)
def test_set_comes_back_exactly(dsn: str, samples: Path, label: str) -> None:
    store = open_store(samples)
    backup = store.catalog().get(label)
    with Restorer(store, dsn) as restorer:
        report = restorer.restore(backup, mode="replace")
    assert tuple(t.rows_loaded for t in report.tables) == _ROWS[label]
    assert report.extension_created
    assert all(t.created for t in report.tables)

    expected = cells(samples / backup.files[1].key)
    found = stored_rows(dsn)
    assert set(found) == {row["id"] for row in expected}
    for row in expected:
        stored = found[row["id"]]
        numbers = row["embedding"].strip("[]").split(",")
        head = struct.pack(">hh", len(numbers), 0)
        assert stored.vector == head + b"".join(map(nearest_float32, numbers))
        assert stored.collection_id == row["collection_id"]
        assert (stored.document or "") == row["document"]
        assert stored.cmetadata == meaning(row["cmetadata"])


def test_collections_come_back(dsn: str, samples: Path) -> None:
    store = open_store(samples)
    with Restorer(store, dsn) as restorer:
        restorer.restore(mode="replace")
    expected = cells(samples / store.catalog().latest().files[0].key)
    with connect(dsn) as conn:
        rows = conn.execute(
            "SELECT uuid::text, name, cmetadata FROM langchain_pg_collection"
        ).fetchall()
    assert sorted(rows) == sorted((r["uuid"], r["name"], meaning(r["cmetadata"])) for r in expected)


def test_newlines_of_documents_survive(dsn: str, samples: Path) -> None:
    store = open_store(samples)
    with Restorer(store, dsn) as restorer:
        restorer.restore(mode="replace")
    expected = cells(samples / store.catalog().latest().files[1].key)
    broken = {row["id"]: row["document"] for row in expected if "\n" in row["document"]}
    assert len(broken) == 15
    found = stored_rows(dsn)
    assert {key: found[key].document for key in broken} == broken


def test_one_set_over_another(dsn: str, samples: Path) -> None:
    with Restorer(open_store(samples), dsn) as restorer:
        for label, (collections, embeddings) in _ROWS.items():
            plan = restorer.plan(label, mode="replace")
            report = restorer.run(plan)
            assert report.table("langchain_pg_collection").rows_after == collections
            assert report.table("langchain_pg_embedding").rows_after == embeddings
            assert plan.rows_removed == sum(t.rows_removed for t in report.tables)
    assert stored_rows(dsn) == {}
    assert any("will be empty" in warning for warning in report.warnings)
