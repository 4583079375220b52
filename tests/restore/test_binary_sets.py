"""Sets with a manifest, in binary and as CSV: restored, exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from pgvector_restore import Restorer, open_store
from pgvector_restore.schema import EMBEDDING
from tests.described import write_described
from tests.restore.content import execute, snapshot
from tests.sets import restore

_FILL = """
INSERT INTO langchain_pg_collection VALUES
    ('11111111-1111-4111-8111-111111111111', 'sql', NULL),
    ('22222222-2222-4222-8222-222222222222', 'documentation', '{"owner":  "data team"}');
INSERT INTO langchain_pg_embedding
SELECT 'row-' || n,
    CASE n % 3 WHEN 0 THEN NULL WHEN 1 THEN '11111111-1111-4111-8111-111111111111'::uuid
        ELSE '22222222-2222-4222-8222-222222222222' END,
    CASE WHEN n % 7 > 0 THEN format('[%s,%s,-0.5]', n, n / 3.0)::public.vector END,
    CASE WHEN n % 5 > 0 THEN E'größe \\n\\t"' || n END,
    CASE WHEN n % 4 > 0 THEN jsonb_build_object('n', n, 'x', ARRAY[1.50, 2]) END
FROM generate_series(1, 40) n;
"""


@pytest.fixture
def filled(g2_dsn: str) -> str:
    execute(g2_dsn, _FILL)
    return g2_dsn


def _change(dsn: str) -> None:
    execute(dsn, "DELETE FROM langchain_pg_embedding WHERE id < 'row-3'")
    execute(dsn, "UPDATE langchain_pg_embedding SET document = 'other' WHERE id = 'row-5'")


Form = Literal["csv", "binary"]


@pytest.mark.parametrize("strategy", ["in_place", "swap"])
@pytest.mark.parametrize("codec", [None, "gzip"])
@pytest.mark.parametrize(("form", "part_rows"), [("csv", None), ("binary", None), ("binary", 7)])
def test_a_set_with_a_manifest_is_restored(
    filled: str,
    tmp_path: Path,
    form: Form,
    part_rows: int | None,
    codec: Literal["gzip"] | None,
    strategy: str,
) -> None:
    before = snapshot(filled)["rows"]
    write_described(tmp_path, filled, form=form, codec=codec, part_rows=part_rows)
    _change(filled)
    with Restorer(open_store(tmp_path), filled) as restorer:
        assert not restorer.verify().equal
        report = restorer.restore(mode="replace", strategy=strategy, jobs=2, verify="content")
        assert snapshot(filled)["rows"] == before
        assert [t.rows_loaded for t in report.tables] == [2, 40]
        assert all("compressed files" in warning for warning in report.warnings)
        assert bool(report.warnings) == (form == "csv" and codec == "gzip" and strategy == "swap")
        verified = restorer.verify()
    assert verified.equal
    assert [t.database_digest for t in verified.tables] == [t.digest for t in report.tables]


def test_appending(filled: str, tmp_path: Path) -> None:
    write_described(tmp_path, filled, part_rows=9)
    before = snapshot(filled)["rows"]
    execute(filled, "TRUNCATE langchain_pg_collection CASCADE")
    restore(tmp_path, filled, mode="append", verify="content")
    assert snapshot(filled)["rows"] == before


def test_the_plan_tells_what_the_manifest_counts(filled: str, tmp_path: Path) -> None:
    write_described(tmp_path, filled, part_rows=9)
    with Restorer(open_store(tmp_path), filled) as restorer:
        plan = restorer.plan(mode="replace")
    assert f"{EMBEDDING}_20261125_003000.pgcopy (40 rows" in str(plan)
    tables = plan.to_dict()["tables"]
    assert [t["manifest_rows"] for t in tables] == [2, 40]
    assert [t["format"] for t in tables] == ["binary", "binary"]
    assert [t["parts"] for t in tables] == [0, 5]
    assert not any("no log counts" in note for note in plan.notes)
