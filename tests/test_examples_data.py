"""The example backups: what their generator writes, in the shape of a real backup job."""

from __future__ import annotations

import ast
import csv
import json
import re
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1] / "examples" / "training_data"
COMPLETE = sorted(
    path
    for path in ROOT.glob("**/langchain_pg_embedding_*.csv")
    if path.with_name(path.name.replace("embedding", "collection")).exists()
)
TABLES = sorted(ROOT.glob("**/*.csv"))

every_table = pytest.mark.parametrize("path", TABLES, ids=lambda path: path.name)
every_set = pytest.mark.parametrize("path", COMPLETE, ids=lambda path: path.name)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def as_float32(text: str) -> list[float]:
    values = json.loads(text)
    return list(struct.unpack(f"{len(values)}f", struct.pack(f"{len(values)}f", *values)))


def test_generator_agrees_with_the_disk() -> None:
    done = subprocess.run(
        [sys.executable, "-B", str(ROOT / "generate.py"), "--check"],
        check=False,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_there_is() -> None:
    found = {path.relative_to(ROOT).as_posix() for path in COMPLETE}
    assert found == {
        "manual_20260110_101010/vector_bak/langchain_pg_embedding_20260110_101010.csv",
        "task_20260105_091500/vector_bak/langchain_pg_embedding_20260105_091733.csv",
        "vector_bak/langchain_pg_embedding_20260103_030000.csv",
        "vector_bak/langchain_pg_embedding_20260112_030000.csv",
    }
    assert len(TABLES) == 2 * len(COMPLETE) + 1  # one collection file has lost its embeddings
    assert [path.name for path in ROOT.glob("**/*.tmp")] == [
        "langchain_pg_embedding_20260111_030000.csv.tmp"
    ]


@every_table
def test_rows_end_in_crlf(path: Path) -> None:
    data = path.read_bytes()
    assert not data.startswith(b"\xef\xbb\xbf")
    assert data.endswith(b"\r\n")
    assert data.count(b"\r\n") == data.count(b"\r") == len(rows(path)) + 1


@every_table
def test_metadata_is_a_repr_and_not_json(path: Path) -> None:
    cells = [row["cmetadata"] for row in rows(path)]
    if "embedding" in path.name:
        assert all(cells)
    for cell in filter(None, cells):
        value: Any = ast.literal_eval(cell)
        assert isinstance(value, dict)
        assert repr(value) == cell
        with pytest.raises(json.JSONDecodeError):
            json.loads(cell)


@every_set
def test_rows_point_to_collections_of_the_set(path: Path) -> None:
    collections = rows(path.with_name(path.name.replace("embedding", "collection")))
    embeddings = rows(path)
    assert {row["uuid"] for row in collections} == {row["collection_id"] for row in embeddings}
    assert len({row["id"] for row in embeddings}) == len(embeddings)
    assert all(re.fullmatch(r"[0-9a-f-]{36}-(ddl|sql|doc)", row["id"]) for row in embeddings)


@every_set
def test_vectors_are_unit_vectors(path: Path) -> None:
    for row in rows(path):
        vector = as_float32(row["embedding"])
        assert len(vector) == 16
        assert sum(value * value for value in vector) == pytest.approx(1, abs=1e-6)


def test_newest_set_has_the_awkward_cells() -> None:
    newest = rows(ROOT / "vector_bak" / "langchain_pg_embedding_20260112_030000.csv")
    documents = [row["document"] for row in newest]
    assert len(newest) == 64
    assert documents.count("") == 1
    for sign in ("\n", '"', "'", ",", "“", "🚚"):
        assert any(sign in document for document in documents), sign
    metadata = "".join(row["cmetadata"] for row in newest)
    for sign in ("None", "True", "['nested', 2, None]", '"O\'Brien"', "\\'", "标签", "🛒"):
        assert sign in metadata, sign


@pytest.mark.parametrize("path", sorted(ROOT.glob("**/*.txt")), ids=lambda path: path.parts[-3])
def test_log_counts_the_rows_of_the_newest_set(path: Path) -> None:
    lines = re.findall(
        r"^✓ (\w+): (\d+) rows -> (\S+) \((\S+ K?B)\)$", path.read_text("utf-8"), re.MULTILINE
    )
    assert [table for table, *_ in lines] == ["langchain_pg_collection", "langchain_pg_embedding"]
    newest = [found.name for found in COMPLETE if found.parent == path.parent][-1]
    assert lines[1][2] == newest
    for _, count, name, size in lines:
        file = path.with_name(name)
        assert int(count) == len(rows(file))
        length = file.stat().st_size
        assert size == (f"{length:.1f} B" if length < 1024 else f"{length / 1024:.1f} KB")
