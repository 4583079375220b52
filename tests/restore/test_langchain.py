"""The application the backups come from opens what was restored."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from langchain_core.embeddings import Embeddings
from langchain_postgres import PGVector
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import create_engine
from sqlalchemy.engine import URL
from sqlalchemy.pool import NullPool

from pgvector_restore import Restorer, open_store
from tests.restore.content import query

Row = tuple[Any, ...]

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "training_data"


class Remembering(Embeddings):
    """Gives every known text the vector that is stored with it."""

    def __init__(self, known: dict[str, list[float]]) -> None:
        self._known = known
        self._size = len(next(iter(known.values())))

    def embed_query(self, text: str) -> list[float]:
        if text in self._known:
            return self._known[text]
        return [byte / 255 for byte in hashlib.sha512(text.encode()).digest() * 99][: self._size]

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]


#: Texts that are searched for in each collection.
_SEARCHED = 3


def test_search_in_tables_that_were_there(g2_dsn: str) -> None:
    rows = restored(g2_dsn)
    for name in ("sql", "documentation"):
        mine = [row for row in rows if row[0] == name]
        store = opened(g2_dsn, mine)
        found = nearest(store, texts(mine))
        assert [text for text, _ in found] == texts(mine)
        assert set(found) <= {(text, key) for _, text, _, key in mine}
        assert added(store) == "a new text"


def test_search_in_tables_that_were_created(dsn: str) -> None:
    rows = restored(dsn)
    for name in ("sql", "documentation"):
        mine = [row for row in rows if row[0] == name]
        store = opened(dsn, mine)
        found = nearest(store, texts(mine))
        assert [text for text, _ in found] == texts(mine)
        assert set(found) <= {(text, key) for _, text, _, key in mine}
        assert added(store) == "a new text"


def restored(dsn: str) -> list[Row]:
    """All rows: collection, text, vector, id."""
    with Restorer(open_store(EXAMPLES), dsn) as restorer:
        report = restorer.restore("vector_bak/latest", mode="replace")
    rows = query(
        dsn,
        "SELECT c.name, e.document, e.embedding::text, e.id FROM langchain_pg_embedding e "
        "JOIN langchain_pg_collection c ON c.uuid = e.collection_id ORDER BY e.id",
    )
    assert len(rows) == report.tables[1].rows_loaded
    return rows


def opened(dsn: str, rows: list[Row]) -> PGVector:
    """The application's store of one collection."""
    given = conninfo_to_dict(dsn)
    url = URL.create(
        "postgresql+psycopg",
        username=str(given["user"]),
        database=str(given["dbname"]),
        query={"host": str(given["host"]), "port": str(given.get("port", 5432))},
    )
    return PGVector(
        embeddings=Remembering({text: json.loads(vector) for _, text, vector, _ in rows}),
        collection_name=rows[0][0],
        connection=create_engine(url, poolclass=NullPool),
        use_jsonb=True,
    )


def texts(rows: list[Row]) -> list[str]:
    """Those that are searched for."""
    return list(dict.fromkeys(text for _, text, *_ in rows))[:_SEARCHED]


def nearest(store: PGVector, searched: list[str]) -> list[tuple[str, str | None]]:
    """The document that is found for each text, and its id."""
    found = [store.similarity_search(text, k=1) for text in searched]
    return [(document.page_content, document.id) for (document,) in found]


def added(store: PGVector) -> str:
    """A new text as it is read back; it is gone afterwards."""
    ids = store.add_texts(["a new text"], ids=["new-1"])
    (document,) = store.get_by_ids(ids)
    store.delete(ids)
    return document.page_content
