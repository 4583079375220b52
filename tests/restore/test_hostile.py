"""Broken or hostile files: a typed error with its place, and nothing changes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pgvector_restore import BadCellError, BadDataError, RowRejectedError, pieces
from tests.faults.packs import GZIP
from tests.restore.conftest import OldRows
from tests.restore.content import query, snapshot
from tests.restore.hostile import Hostile
from tests.restore.hostile_cells import every_case
from tests.sets import restore, write_set

#: The ways rows can take to the server.
ROADS: dict[str, dict[str, Any]] = {
    "text": {"wire": "text", "strategy": "in_place"},
    "binary": {"strategy": "in_place"},
    "swap": {"strategy": "swap", "jobs": 1},
    "parallel": {"strategy": "swap", "jobs": 2},
}


@pytest.mark.sampled("case", each=2)
@pytest.mark.parametrize("road", list(ROADS))
@every_case
def test_refused_with_its_place_and_nothing_changes(
    old_rows: OldRows, tmp_path: Path, case: Hostile, road: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "PART_BYTES", 64)  # a few records
    root = write_set(tmp_path, collection=case.collection, embedding=case.embedding, log=case.log)
    options = {"mode": "replace", **ROADS[road], **case.options}
    with old_rows.database(case.ddl) as (dsn, content):
        with ThreadPoolExecutor(2) as executor, pytest.raises(BadDataError) as caught:
            restore(root, dsn, executor=executor, **options)
        error = caught.value
        assert (error.file, error.record) == (case.file, case.record)
        if road == "text" or case.error is not RowRejectedError:
            assert type(error) is case.error
            assert case.says in error.message
            assert case.hint in (error.hint or "")
            assert error.column == case.column
        else:  # what the server would refuse row by row is found here, or when an index is built
            assert isinstance(error, (BadCellError, RowRejectedError))
            assert case.column in (None, error.column)
        assert snapshot(dsn) == content
        assert not query(dsn, "SELECT FROM pg_namespace WHERE nspname LIKE 'pgvr%'")


@pytest.mark.sampled("case")
@every_case
def test_refused_from_a_compressed_set_too(
    old_rows: OldRows, tmp_path: Path, case: Hostile
) -> None:
    write_set(tmp_path, collection=case.collection, embedding=case.embedding, log=case.log)
    for path in list((tmp_path / "vector_bak").glob("*.csv")):
        (path.parent / f"{path.name}.gz").write_bytes(GZIP.pack(path.read_bytes()))
        path.unlink()
    options = {"mode": "replace", **ROADS["text"], "max_unpack_ratio": 10_000, **case.options}
    with old_rows.database(case.ddl) as (dsn, content):
        with pytest.raises(BadDataError) as caught:
            restore(tmp_path, dsn, **options)
        error = caught.value
        assert (error.file, error.record) == (f"{case.file}.gz", case.record)
        assert type(error) is case.error
        assert case.says in error.message
        assert case.hint in (error.hint or "")
        assert error.column == case.column
        assert snapshot(dsn) == content
