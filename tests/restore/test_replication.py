"""Published tables and those of a subscription: never swapped, and what subscribers get."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import make_conninfo

from pgvector_restore import Restorer, TargetMismatchError, open_store
from pgvector_restore.db import embedded
from pgvector_restore.db.embedded import EmbeddedServer
from tests.conftest import G2_TABLES, SETTINGS, database
from tests.restore.content import execute, query
from tests.sets import restore, write_set

IDS = "SELECT id FROM public.langchain_pg_embedding ORDER BY id"
NEAR = (
    "CREATE INDEX near ON langchain_pg_embedding "
    "USING hnsw ((embedding::vector(3)) vector_cosine_ops)"
)
#: Seconds until replication is thought to be stuck.
PATIENCE_S = 240


@pytest.fixture(scope="module")
def publisher(server: EmbeddedServer, place: Path) -> Iterator[EmbeddedServer]:
    """A server of the same version that others may subscribe to."""
    folder = place / f"publisher{server.version}"
    settings = SETTINGS | {"wal_level": "logical"}
    yield embedded.start(folder, version=server.version, settings=settings)
    embedded.stop(folder)


@contextmanager
def subscribed(
    publisher: EmbeddedServer, subscriber: str, publication: str
) -> Iterator[tuple[str, str]]:
    """Databases of both sides, the subscription caught up."""
    with database(publisher) as source:
        execute(source, G2_TABLES + publication)
        connection = make_conninfo(source).replace("'", "''")
        try:
            execute(subscriber, f"CREATE SUBSCRIPTION sub CONNECTION '{connection}' PUBLICATION p")
            state = "SELECT count(*) FROM pg_subscription_rel WHERE srsubstate <> 'r'"
            wait_for(subscriber, state, [(0,)])
            yield source, subscriber
        finally:
            execute(subscriber, "DROP SUBSCRIPTION IF EXISTS sub")


def wait_for(dsn: str, text: str, wanted: list[tuple[Any, ...]]) -> None:
    """Ask until the answer is the wanted one."""
    end = time.monotonic() + PATIENCE_S
    while (found := query(dsn, text)) != wanted and time.monotonic() < end:
        time.sleep(0.1)
    assert found == wanted


def test_rows_restored_in_place_reach_subscribers(
    publisher: EmbeddedServer, g2_dsn: str, tmp_path: Path
) -> None:
    both = "langchain_pg_collection, langchain_pg_embedding"
    publication = f"CREATE PUBLICATION p FOR TABLE {both}"
    with subscribed(publisher, g2_dsn, publication) as (source, there):
        execute(source, NEAR)  # by itself it would make a swap
        execute(source, "INSERT INTO langchain_pg_embedding (id) VALUES ('old')")
        wait_for(there, IDS, [("old",)])
        with Restorer(open_store(write_set(tmp_path)), source) as restorer:
            with pytest.raises(TargetMismatchError, match="publication p publishes it"):
                restorer.plan(mode="replace", strategy="swap")
            plan = restorer.plan(mode="replace")
            assert (plan.strategy, plan.warnings) == ("in_place", ())
            assert "publication p publishes it" in plan.strategy_reason
            restorer.run(plan)
        wait_for(there, IDS, query(source, IDS))
        assert len(query(there, IDS)) == 4
        # The other side: the table is written by the subscription.
        with Restorer(open_store(tmp_path), there) as restorer:
            with pytest.raises(TargetMismatchError, match="subscription sub writes to it"):
                restorer.plan(mode="replace", strategy="swap")
            plan = restorer.plan(mode="replace")
            assert plan.strategy == "in_place"
            assert any("subscription sub writes to public.lang" in one for one in plan.warnings)
            restorer.run(plan)
        execute(source, "INSERT INTO langchain_pg_embedding (id) VALUES ('z-new')")
        wait_for(there, IDS, query(source, IDS))


#: What a publication sends, how the set is restored, and what the plan warns of.
PARTIAL = {
    "no truncate": ("(publish = 'insert')", "replace", "does not send that public.langchain"),
    "no insert": ("(publish = 'truncate')", "replace", "sends no inserts"),
    "no insert, appending": ("(publish = 'update')", "append", "sends no inserts"),
}


@pytest.mark.sampled("kind")
@pytest.mark.parametrize("kind", PARTIAL)
def test_what_is_not_published_is_a_warning(g2_dsn: str, tmp_path: Path, kind: str) -> None:
    options, mode, phrase = PARTIAL[kind]
    execute(g2_dsn, f"CREATE PUBLICATION p FOR TABLE ONLY langchain_pg_embedding WITH {options}")
    with Restorer(open_store(write_set(tmp_path)), g2_dsn) as restorer:
        found = [one.message for one in restorer.plan(mode=mode).findings if one.table]
    assert any(f"publication p {phrase}" in one for one in found)


def test_a_partition_that_is_sent_as_its_parent(g2_dsn: str, tmp_path: Path) -> None:
    execute(
        g2_dsn,
        """
        CREATE TABLE whole (LIKE langchain_pg_embedding) PARTITION BY HASH (id);
        ALTER TABLE whole ATTACH PARTITION langchain_pg_embedding
            FOR VALUES WITH (MODULUS 1, REMAINDER 0);
        CREATE PUBLICATION p FOR TABLE whole WITH (publish_via_partition_root);
        """,
    )
    with Restorer(open_store(write_set(tmp_path)), g2_dsn) as restorer:
        warnings = restorer.plan(mode="replace").warnings
    sent = "publication p sends public.langchain_pg_embedding as public.whole, but not"
    assert any(one.startswith(sent) for one in warnings)


@pytest.mark.sampled("what")
@pytest.mark.parametrize("what", ["ALL TABLES", "TABLES IN SCHEMA public"])
def test_new_tables_that_are_published(dsn: str, tmp_path: Path, what: str) -> None:
    execute(dsn, f"CREATE EXTENSION vector; CREATE PUBLICATION p FOR {what}")
    root = write_set(tmp_path)
    with Restorer(open_store(root), dsn) as restorer:
        with pytest.raises(TargetMismatchError, match="publication p publishes"):
            restorer.plan(mode="replace", strategy="swap")
        plan = restorer.plan(mode="replace", ledger=True)
    assert plan.strategy == "in_place"
    for name in ("langchain_pg_collection", "langchain_pg_embedding", "pgvector_restore_ledger"):
        assert any(f"public.{name} too: a subscriber without" in one for one in plan.warnings)


def test_an_unlogged_table_is_not_published(g2_dsn: str, tmp_path: Path) -> None:
    execute(
        g2_dsn,
        "ALTER TABLE langchain_pg_embedding SET UNLOGGED; CREATE PUBLICATION p FOR ALL TABLES",
    )
    execute(
        g2_dsn,
        "ALTER TABLE langchain_pg_embedding DROP CONSTRAINT IF EXISTS "
        "langchain_pg_embedding_collection_id_fkey",
    )
    options: dict[str, Any] = {"mode": "replace", "strategy": "swap"}
    root = write_set(tmp_path)
    with Restorer(open_store(root), g2_dsn) as restorer:
        plan = restorer.plan(tables=["langchain_pg_embedding"], ledger=True, **options)
    (warned,) = (one for one in plan.warnings if "a subscriber without" in one)
    assert "public.pgvector_restore_ledger too" in warned
    assert restore(root, g2_dsn, tables=["langchain_pg_embedding"], **options).strategy == "swap"
