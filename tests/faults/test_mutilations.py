"""A good set restores; damaged in one way it ends in one error, and the old rows stay."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pgvector_restore import BadDataError, PgvectorRestoreError, Restorer, open_store
from pgvector_restore.db.embedded import EmbeddedServer
from tests.conftest import database
from tests.faults.mutilations import FOLDERS, FORMATS, KINDS, STREAMS, TABLE, TEXTS, Mutilation
from tests.faults.packs import ALL, Pack
from tests.restore.content import query, snapshot
from tests.sets import EMBEDDING_FILE, STAMP

_CASES = [
    pytest.param(case, pack, id=f"{pack}-{name}")
    for name, case in TABLE.items()
    for pack in case.packs
]


@pytest.fixture(scope="module")
def kept_dsn(server: EmbeddedServer, g2_template: str) -> Iterator[str]:
    """One database for the whole table: every case restores into it first."""
    with database(server, g2_template) as made:
        yield made


@pytest.mark.sampled("case", "pack")
@pytest.mark.parametrize(("case", "pack"), _CASES)
def test_refused_and_nothing_changes(
    kept_dsn: str, tmp_path: Path, case: Mutilation, pack: Pack
) -> None:
    store = open_store(pack.write(tmp_path))
    label = f"vector_bak/{STAMP}"
    with Restorer(store, kept_dsn) as restorer:
        report = restorer.restore(label, mode="replace")
        assert [table.rows_after for table in report.tables] == [2, 4]
        content = snapshot(kept_dsn)
        case.mutate(tmp_path / "vector_bak" / pack.embedding_file, pack)
        with pytest.raises(PgvectorRestoreError) as caught:
            restorer.restore(label, mode="replace", **case.options)
    error = caught.value
    assert type(error) is case.error
    assert case.says.format(codec=pack.codec, file=pack.embedding_file) in error.message
    assert case.hint in (error.hint or "")
    if isinstance(error, BadDataError):
        assert (error.file or "").startswith(EMBEDDING_FILE)
    assert snapshot(kept_dsn) == content
    assert not query(kept_dsn, "SELECT FROM pg_namespace WHERE nspname LIKE 'pgvr%'")


def test_no_row_of_the_table_is_lost() -> None:
    parts = (STREAMS, KINDS, TEXTS, FOLDERS, FORMATS)
    assert sum(map(len, parts)) == len(TABLE) >= 40
    assert {pack for case in TABLE.values() for pack in case.packs} == set(ALL)
