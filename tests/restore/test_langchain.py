"""The application the backups come from opens what was restored."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from langchain_core.embeddings import Embeddings
from langchain_postgres import PGVector
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import create_engine
from sqlalchemy.engine import URL
from sqlalchemy.pool import NullPool

from pgvector_restore import Restorer, open_store
from tests.restore.content import query

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


def test_search_in_tables_that_were_there(g2_dsn: str) -> None:
    restore_and_search(g2_dsn)


def test_search_in_tables_that_were_created(dsn: str) -> None:
    restore_and_search(dsn)


def restore_and_search(dsn: str) -> None:
    with Restorer(open_store(EXAMPLES), dsn) as restorer:
        report = restorer.restore("vector_bak/latest", mode="replace")
    rows = query(
        dsn,
        "SELECT c.name, e.document, e.embedding::text, e.id FROM langchain_pg_embedding e "
        "JOIN langchain_pg_collection c ON c.uuid = e.collection_id ORDER BY e.id",
    )
    assert len(rows) == report.tables[1].rows_loaded

    given = conninfo_to_dict(dsn)
    url = URL.create(
        "postgresql+psycopg",
        username=str(given["user"]),
        database=str(given["dbname"]),
        query={"host": str(given["host"]), "port": str(given.get("port", 5432))},
    )
    engine = create_engine(url, poolclass=NullPool)
    for name in ("sql", "documentation"):
        texts = {doc: json.loads(vector) for coll, doc, vector, _ in rows if coll == name}
        store = PGVector(
            embeddings=Remembering(texts), collection_name=name, connection=engine, use_jsonb=True
        )
        for text in list(texts)[:3]:
            (found,) = store.similarity_search(text, k=1)
            assert found.page_content == text
            assert found.id in {key for coll, doc, _, key in rows if (coll, doc) == (name, text)}
        added = store.add_texts(["a new text"], ids=["new-1"])
        assert store.get_by_ids(added)[0].page_content == "a new text"
        store.delete(added)
