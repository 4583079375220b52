"""LangChain's own tables, the examples and real backups: equal after a restore."""

from __future__ import annotations

from pathlib import Path

import pytest

from pgvector_restore import Restorer, open_store
from tests.restore.content import execute, query

EXAMPLES = Path(__file__).parents[2] / "examples" / "training_data"
EMBEDDING = "langchain_pg_embedding"


@pytest.mark.parametrize("strategy", ["in_place", "swap"])
def test_examples(g2_dsn: str, strategy: str) -> None:
    with Restorer(open_store(EXAMPLES), g2_dsn) as restorer:
        for backup in restorer.store.catalog().sets:
            report = restorer.restore(backup, mode="replace", strategy=strategy, verify="content")
            found = restorer.verify(backup)
            assert found.equal
            assert [t.digest for t in report.tables] == [t.file_digest for t in found.tables]


def test_real_backups(dsn: str, samples: Path) -> None:
    with Restorer(open_store(samples), dsn) as restorer:
        backups = restorer.store.catalog().sets
        digests = []
        for backup in backups:
            restorer.restore(backup, mode="replace", verify="content")
            report = restorer.verify(backup)
            assert report.equal
            digests.append([table.file_digest for table in report.tables])
        restorer.restore("latest", mode="replace")
        found = [restorer.verify(backup).equal for backup in backups]
        assert found == [digest == digests[0] for digest in digests]  # two hold the same rows
        assert found.count(True) < len(backups)


def test_one_bit_of_a_real_vector(dsn: str, samples: Path) -> None:
    with Restorer(open_store(samples), dsn) as restorer:
        restorer.restore("latest", mode="replace")
        ((key, text),) = query(dsn, f"SELECT id, embedding::text FROM {EMBEDDING} OFFSET 7 LIMIT 1")
        last = text[1:-1].split(",")[-1]
        digit = "1" if last[-1] != "1" else "2"
        execute(
            dsn,
            f"UPDATE {EMBEDDING} SET embedding = '{text[:-2]}{digit}]' WHERE id = '{key}'",
        )
        (named,) = restorer.verify().table(EMBEDDING).differences
        assert (named.kind, named.key, named.columns) == ("different", (key,), ("embedding",))
