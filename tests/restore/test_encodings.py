"""Databases that cannot hold every character: the error names file, record and column."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg.conninfo import make_conninfo

from pgvector_restore import RowRejectedError
from pgvector_restore.db.embedded import EmbeddedServer
from pgvector_restore.schema import EMBEDDING
from tests.conftest import connect, database
from tests.restore.content import query
from tests.sets import EMBEDDING_FILE, quote, restore, with_cell, write_set


@pytest.fixture
def western(server: EmbeddedServer) -> Iterator[str]:
    """A database in LATIN1."""
    with database(server) as beside, connect(beside) as admin:
        admin.execute(
            "CREATE DATABASE test_western TEMPLATE template0 ENCODING 'LATIN1'"
            " LOCALE_PROVIDER libc LC_COLLATE 'C' LC_CTYPE 'C'"
        )
        try:
            yield make_conninfo(beside, dbname="test_western")
        finally:
            admin.execute("DROP DATABASE test_western WITH (FORCE)")


@pytest.mark.parametrize("strategy", ["in_place", "swap"])
@pytest.mark.parametrize("wire", ["auto", "text"])
def test_character_that_the_database_lacks(
    western: str, tmp_path: Path, wire: str, strategy: str
) -> None:
    restore(write_set(tmp_path, embedding=with_cell(3, "document", "grün")), western)
    rows = query(western, f"SELECT id, document FROM {EMBEDDING} ORDER BY id")
    lacking = quote('a\\b "grün" for 5 €\nand 6 €')
    write_set(tmp_path, embedding=with_cell(3, "document", lacking))
    with pytest.raises(RowRejectedError) as caught:
        restore(tmp_path, western, mode="replace", wire=wire, strategy=strategy)
    error = caught.value
    assert (error.sqlstate, error.file) == ("22P05", EMBEDDING_FILE)
    assert (error.record, error.column) == (3, "document")
    assert query(western, f"SELECT id, document FROM {EMBEDDING} ORDER BY id") == rows
