"""A connection that is lost during COMMIT: the outcome is found out, and told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pgvector_restore import ConnectError, OutcomeUnknownError, Restorer, open_store
from pgvector_restore.db import outcome
from pgvector_restore.db.outcome import Evidence, Pending, resolve
from pgvector_restore.db.pool import Target
from tests.conftest import connect
from tests.proxy import COMMIT, Judge, Proxy
from tests.restore.content import execute, query, snapshot
from tests.sets import embedding_bytes, restore, write_set

_HOW = [("replace", "in_place"), ("append", "in_place"), ("replace", "swap")]


@pytest.fixture
def through(g2_dsn: str) -> Iterator[Proxy]:
    with Proxy(g2_dsn) as proxy:
        yield proxy


def losing(verdict: str) -> Judge:
    """Lose the connection at the COMMIT that makes the rows visible."""
    noted = False

    def judge(data: bytes) -> str | None:
        nonlocal noted
        noted = noted or b"pg_current_xact_id" in data
        if not noted or COMMIT not in data:
            return None
        noted = False
        return verdict

    return judge


def attempt(through: Proxy, root: Path, options: Any, judge: Judge) -> Any:
    through.judge = lambda _data: None
    with Restorer(open_store(root), through.dsn) as restorer:
        plan = restorer.plan(**options)
        through.judge = judge
        return restorer.run(plan)


@pytest.mark.parametrize(("mode", "strategy"), _HOW)
@pytest.mark.parametrize("verdict", ["before", "after"])
def test_a_lost_commit_is_resolved(
    g2_dsn: str, tmp_path: Path, through: Proxy, mode: str, strategy: str, verdict: str
) -> None:
    options: dict[str, Any] = {"mode": mode, "strategy": strategy}
    root = write_set(tmp_path)
    old = write_set(tmp_path / "old", embedding=embedding_bytes(records=[("x", "", "", "old", "")]))
    restore(old, g2_dsn, tables="langchain_pg_embedding")
    before = snapshot(g2_dsn)
    if verdict == "before":
        with pytest.raises(ConnectError, match="the server has rolled back, nothing has changed"):
            attempt(through, root, options, losing(verdict))
        assert (
            snapshot(g2_dsn)["rows"]["public.langchain_pg_embedding"]
            == (before["rows"]["public.langchain_pg_embedding"])
        )
    else:
        report = attempt(through, root, options, losing(verdict))
        assert report.table("langchain_pg_embedding").rows_loaded == 4
        rows = 4 + (mode == "append")
        assert query(g2_dsn, "SELECT count(*) FROM langchain_pg_embedding") == [(rows,)]
    execute(g2_dsn, "TRUNCATE langchain_pg_collection, langchain_pg_embedding")
    restore(root, g2_dsn, **options)
    assert not query(g2_dsn, "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'pgvr%'")


def test_without_a_server_it_stays_unknown(
    tmp_path: Path, through: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outcome, "_PATIENCE_S", 0.5)
    lose = losing("before")
    lost = False

    def judge(data: bytes) -> str | None:
        nonlocal lost
        lost = lost or lose(data) == "before"
        return "before" if lost else None

    with pytest.raises(OutcomeUnknownError, match="happened or it did not") as caught:
        attempt(through, write_set(tmp_path), {"mode": "replace", "strategy": "in_place"}, judge)
    assert isinstance(caught.value.__cause__, psycopg.OperationalError)


def told(dsn: str, pending: Pending) -> str:
    """What becomes of a transaction, in a word."""
    target = Target(dsn)
    try:
        resolve(pending, target.fresh, psycopg.OperationalError())
    except ConnectError:
        return "aborted"
    else:
        return "committed"
    finally:
        target.close()


def test_after_a_crash_the_number_alone_proves_nothing(g2_dsn: str) -> None:
    with connect(g2_dsn) as conn, conn.transaction():
        conn.execute(
            "INSERT INTO langchain_pg_embedding (id) SELECT n::text FROM generate_series(1, 7) n"
        )
        row = conn.execute(
            "SELECT pg_current_xact_id()::text, 'langchain_pg_embedding'::regclass::oid::int8, "
            "pg_postmaster_start_time()"
        ).fetchone()
        assert row is not None
        number, oid, started = row

    def pending(started: Any, rows: int | None, oid: int = oid) -> Pending:
        return Pending(number, started, (Evidence("public", "langchain_pg_embedding", oid, rows),))

    assert told(g2_dsn, pending(started, 3)) == "committed"  # the server itself says so
    assert told(g2_dsn, pending(None, 7)) == "committed"
    assert told(g2_dsn, pending(None, 8)) == "aborted"
    assert told(g2_dsn, pending(None, None)) == "committed"
    assert told(g2_dsn, pending(None, None, oid + 1)) == "aborted"
