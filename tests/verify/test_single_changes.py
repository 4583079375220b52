"""Any rows, any single change: exactly that row is named."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from pgvector_restore import Restorer, RowDifference, open_store
from pgvector_restore.db.embedded import EmbeddedServer
from tests.conftest import connect, database
from tests.sets import collection_bytes, embedding_bytes, write_set, written
from tests.strategies import documents, json_values

EMBEDDING = "langchain_pg_embedding"
HEADER = ("id", "embedding", "document", "cmetadata")

floats = st.floats(width=32, allow_nan=False, allow_infinity=False)
vectors = st.lists(floats, min_size=3, max_size=3)
#: psycopg's ``Jsonb`` prints numbers as they are; jsonb has room for doubles and long integers.
rows = st.tuples(documents, vectors, documents.filter(bool) | st.none(), json_values)
tables = st.lists(rows, min_size=1, max_size=8, unique_by=lambda row: row[0])


def printed(row: Any) -> tuple[Any, ...]:
    key, vector, document, meta = row
    numbers = "[" + ",".join(str(np.float32(number)) for number in vector) + "]"
    return key, numbers, document, repr(meta)


def next_float(number: float) -> float:
    """The float32 beside it, within the finite ones."""
    towards = np.float32(-np.inf if number > 0 else np.inf)
    return float(np.nextafter(np.float32(number), towards))


@pytest.fixture(scope="module")
def beside(server: EmbeddedServer, g2_template: str) -> Iterator[tuple[Path, str]]:
    with database(server, g2_template) as dsn, tempfile.TemporaryDirectory() as folder:
        yield Path(folder), dsn


def changed(data: st.DataObject, row: Any) -> tuple[str, Any, Any]:
    """A column, its new value as SQL and as a parameter; surely another value."""
    _, vector, document, _ = row
    column = data.draw(st.sampled_from(["embedding", "document", "cmetadata"]))
    if column == "embedding":
        at = data.draw(st.integers(0, 2))
        bent = [*vector[:at], next_float(vector[at]), *vector[at + 1 :]]
        return column, "%s::vector", str([float(str(np.float32(n))) for n in bent])
    if column == "document":
        text = document or ""
        at = data.draw(st.integers(0, len(text)))
        return column, "%s", text[:at] + data.draw(st.sampled_from("aé \n")) + text[at:]
    return column, "%s", Jsonb({"not": ["in", "any", "row"]})


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tables, st.data())
def test_a_single_change_is_named(
    beside: tuple[Path, str], table: list[Any], data: st.DataObject
) -> None:
    root, dsn = beside
    write_set(
        root,
        collection=collection_bytes(records=[]),
        embedding=written(HEADER, map(printed, table)) if table else embedding_bytes(records=[]),
    )
    with closing(Restorer(open_store(root), dsn)) as restorer, connect(dsn) as conn:
        report = restorer.restore(mode="replace", strategy="in_place", verify="content")
        digest = report.table(EMBEDDING).digest
        assert restorer.verify().table(EMBEDDING).database_digest == digest
        at = data.draw(st.integers(0, len(table) - 1))
        key = table[at][0]
        what = data.draw(st.sampled_from(["update", "delete", "insert"]))
        if what == "delete":
            conn.execute(f"DELETE FROM {EMBEDDING} WHERE id = %s", [key])
            expected = RowDifference("missing", (key,), at + 1)
        elif what == "insert":
            key += "+" if all(key + "+" != row[0] for row in table) else "+++++++++++++++++++++++"
            conn.execute(f"INSERT INTO {EMBEDDING} (id) VALUES (%s)", [key])
            expected = RowDifference("extra", (key,))
        else:
            column, expression, value = changed(data, table[at])
            conn.execute(
                f"UPDATE {EMBEDDING} SET {column} = {expression} WHERE id = %s", [value, key]
            )
            expected = RowDifference("different", (key,), at + 1, (column,))
        found = restorer.verify().table(EMBEDDING)
        assert found.differences == (expected,)
        assert not found.more
        assert not found.equal
