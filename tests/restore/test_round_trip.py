"""Arbitrary rows, written as backups are and as the server writes CSV, come back equal."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pgvector_restore import Restorer, open_store
from tests.conftest import connect
from tests.sets import EMBEDDING_HEADER, SQL_ID, write_set, written
from tests.strategies import documents, json_values, vectors

_TABLE = "langchain_pg_embedding"
_SELECT = f"SELECT id, vector_send(embedding), document, cmetadata::text FROM {_TABLE} ORDER BY id"

_Row = tuple[str | None, str | None, Any]
_rows: st.SearchStrategy[list[_Row]] = st.lists(
    st.tuples(st.none() | documents, st.none() | vectors.map(repr), json_values), max_size=5
)
# One database for all examples of a test: each of them replaces the whole table.
few = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def restorer(g2_dsn: str, tmp_path: Path) -> Iterator[Restorer]:
    with Restorer(open_store(write_set(tmp_path)), g2_dsn) as opened:
        opened.restore()
        yield opened


def fill(dsn: str, rows: Sequence[_Row]) -> list[tuple[Any, ...]]:
    """Make the table hold these rows, by INSERT; returns them as the server has them."""
    with connect(dsn) as conn:
        conn.execute(f"DELETE FROM {_TABLE}")
        for number, (document, vector, meta) in enumerate(rows):
            conn.execute(
                f"INSERT INTO {_TABLE} VALUES (%s, %s, %s::vector, %s, %s::jsonb)",
                [f"{number}", SQL_ID, vector, document, json.dumps(meta)],
            )
        return conn.execute(_SELECT).fetchall()


def stored(dsn: str) -> list[tuple[Any, ...]]:
    with connect(dsn) as conn:
        return conn.execute(_SELECT).fetchall()


@few
@given(rows=_rows)
def test_rows_written_by_a_backup_job(
    g2_dsn: str, tmp_path: Path, restorer: Restorer, rows: list[_Row]
) -> None:
    """The job prints None as '' and decoded json as its repr; a JSON null is lost on the way."""
    given_rows = [(d or None, v, {"meta": m}) for d, v, m in rows]
    before = fill(g2_dsn, given_rows)
    with connect(g2_dsn) as conn:
        cells = conn.execute(
            f"SELECT id, collection_id::text, embedding::text, document, cmetadata FROM {_TABLE}"
        ).fetchall()
    write_set(tmp_path, embedding=written(EMBEDDING_HEADER, cells))
    restorer.restore(mode="replace", tables=_TABLE)
    assert stored(g2_dsn) == before


@few
@given(rows=_rows)
def test_rows_written_by_the_server(
    g2_dsn: str, tmp_path: Path, restorer: Restorer, rows: list[_Row]
) -> None:
    """``COPY TO`` quotes an empty text, so it is told apart from NULL."""
    before = fill(g2_dsn, rows)
    statement = f"COPY {_TABLE} TO STDOUT (FORMAT csv, HEADER)"
    with connect(g2_dsn) as conn, conn.cursor().copy(statement) as copy:
        data = b"".join(map(bytes, copy))
    write_set(tmp_path, embedding=data)
    restorer.restore(mode="replace", tables=_TABLE)
    assert stored(g2_dsn) == before
