"""Broken or hostile files: a typed error with its place, and nothing changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.restore.content import execute, snapshot
from tests.restore.hostile import Hostile
from tests.restore.hostile_cells import every_case
from tests.sets import restore, write_set


@every_case
def test_refused_with_its_place_and_nothing_changes(
    g2_dsn: str, tmp_path: Path, case: Hostile
) -> None:
    restore(write_set(tmp_path), g2_dsn, mode="replace")
    if case.ddl:
        execute(g2_dsn, case.ddl)
    content = snapshot(g2_dsn)
    root = write_set(tmp_path, collection=case.collection, embedding=case.embedding, log=case.log)
    with pytest.raises(case.error) as caught:
        restore(root, g2_dsn, mode="replace", **case.options)
    error = caught.value
    assert type(error) is case.error
    assert case.says in error.message
    assert case.hint in (error.hint or "")
    assert (error.file, error.record, error.column) == (case.file, case.record, case.column)
    assert snapshot(g2_dsn) == content
