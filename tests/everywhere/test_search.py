"""LangChain's own store finds the same before a backup and after a restore of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from langchain_core.documents import Document
from langchain_postgres import PGVector

from pgvector_restore import Backuper, Restorer, open_store
from pgvector_restore.db.embedded import EmbeddedServer
from tests.conftest import database
from tests.restore.test_langchain import Remembering, opened

_TEXTS = [f'text {n}: "it\'s", {"ü" * (n % 3)}\r\n{n * n}' for n in range(40)]
_QUESTIONS = ["a question", "another one", _TEXTS[7]]


def _found(store: PGVector) -> list[list[tuple[Document, float]]]:
    everything = [store.similarity_search_with_score(question, k=5) for question in _QUESTIONS]
    filtered = store.similarity_search_with_score(
        _QUESTIONS[0], k=5, filter={"$and": [{"even": True}, {"n": {"$gt": 9}}]}
    )
    return [*everything, filtered]


@pytest.mark.parametrize(
    ("form", "compress"), [("csv", "none"), ("csv", "gzip"), ("binary", "zstd")]
)
def test_the_same_results(server: EmbeddedServer, tmp_path: Path, form: str, compress: str) -> None:
    row = ("texts", "x", str(Remembering({"x": [0.0] * 16}).embed_query("y")), "1")
    with database(server) as source, database(server) as fresh:
        store = opened(source, [row])
        metadata = [
            {"n": n, "even": n % 2 == 0, "of": [None, {"ü": n}]} for n in range(len(_TEXTS))
        ]
        store.add_texts(_TEXTS, metadatas=metadata, ids=[f"{n}-doc" for n in range(len(_TEXTS))])
        before = _found(store)
        backups = open_store(str(tmp_path))
        with Backuper(backups, source) as backuper:
            label = backuper.backup(format=form, compress=compress, task_id="task_1").label
        assert label.startswith("task_1/")
        with Restorer(backups, fresh) as restorer:
            restorer.restore(label)
        after = _found(opened(fresh, [row]))
    assert [len(found) for found in before] == [5, 5, 5, 5]
    assert after == before
