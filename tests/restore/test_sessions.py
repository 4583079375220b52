"""What a session is like does not depend on the role, the database or the environment."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import TransactionStatus
from psycopg_pool import ConnectionPool

from pgvector_restore import (
    ConnectError,
    OptionError,
    Restorer,
    TargetError,
    TargetMismatchError,
    open_store,
)
from pgvector_restore.db import in_place, kept, pool, revert, session, swap
from pgvector_restore.db.ledger import LEDGER
from tests.conftest import connect
from tests.restore.content import execute, query, snapshot
from tests.sets import SQL_ID, embedding_bytes, restore, write_set

_STRATEGIES = pytest.mark.parametrize("strategy", ["in_place", "swap"])

#: What an administrator may have set for an application, or somebody to be a nuisance.
_HOSTILE = {
    "statement_timeout": "'100ms'",
    "lock_timeout": "'1ms'",
    "search_path": "evil, public",
    "datestyle": "'German, DMY'",
    "client_encoding": "'LATIN1'",
    "standard_conforming_strings": "off",
    "bytea_output": "'escape'",
    "extra_float_digits": "-15",
    "default_transaction_isolation": "'serializable'",
    "row_security": "on",
}


@pytest.fixture
def hostile_dsn(g2_dsn: str) -> Iterator[str]:
    name = conninfo_to_dict(g2_dsn)["dbname"]
    execute(g2_dsn, "CREATE SCHEMA evil; CREATE TABLE evil.pg_class (relname text)")
    # At one go: whoever connects afterwards has these settings.
    execute(g2_dsn, "".join(f"ALTER DATABASE {name} SET {n} = {v};" for n, v in _HOSTILE.items()))
    yield g2_dsn
    for setting in _HOSTILE:
        execute(g2_dsn, f"SET statement_timeout = 0; ALTER DATABASE {name} RESET {setting}")


@_STRATEGIES
def test_settings_of_the_database_do_not_matter(
    hostile_dsn: str, tmp_path: Path, strategy: str
) -> None:
    records = [(f"{n}", SQL_ID, '"[1.5,2,3]"', f"größe {n}", "") for n in range(60_000)]
    root = write_set(tmp_path, embedding=embedding_bytes(records=records))
    report = restore(root, hostile_dsn, mode="replace", strategy=strategy, jobs=1)
    assert report.table("langchain_pg_embedding").rows_after == len(records)
    with connect(hostile_dsn) as conn:
        conn.execute("SET statement_timeout = 0; SET client_encoding = 'UTF8'")
        found = conn.execute(
            "SELECT embedding::text, document FROM public.langchain_pg_embedding WHERE id = '7'"
        ).fetchall()
    assert found == [("[1.5,2,3]", "größe 7")]


@pytest.mark.parametrize("pool_of", ["us", "a caller"])
def test_what_is_locked_is_looked_at_as_it_is_then(
    g2_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pool_of: str
) -> None:
    """Not as it was when the transaction began, whatever the defaults and the pool's owner want."""
    dsn = make_conninfo(g2_dsn, options="-c default_transaction_isolation=serializable")
    root = write_set(tmp_path)
    levels: dict[str, str] = {}

    def seen(point: str, conn: psycopg.Connection[Any] | None = None) -> None:
        if conn is not None and conn.info.transaction_status == TransactionStatus.INTRANS:
            row = conn.execute("SELECT current_setting('transaction_isolation')").fetchone()
            levels[point] = str((row or ("?",))[0])

    for module in (in_place, kept, revert, swap):
        monkeypatch.setattr(module, "reach", seen)

    def serializable(conn: psycopg.Connection[Any]) -> None:
        conn.isolation_level = psycopg.IsolationLevel.SERIALIZABLE

    with ConnectionPool(dsn, min_size=1, max_size=2, configure=serializable) as lent:
        with Restorer(open_store(root), dsn if pool_of == "us" else lent) as restorer:
            for strategy in ("in_place", "swap"):
                restorer.restore(
                    "latest", mode="replace", strategy=strategy, keep_previous=strategy == "swap"
                )
            restorer.revert()
            restorer.drop_previous(*restorer.previous())
        with lent.connection() as conn:
            assert conn.isolation_level == psycopg.IsolationLevel.SERIALIZABLE
    points = {"empty", "exchange.locked", "revert.locked", "previous.locked"}
    assert points <= set(levels)
    assert set(levels.values()) == {"read committed"}


def slow(dsn: str) -> None:
    """Every index takes half a second to build, and the last one for good."""
    execute(
        dsn,
        """
        CREATE FUNCTION slow(text) RETURNS text IMMUTABLE LANGUAGE plpgsql
            AS 'BEGIN PERFORM pg_sleep(0.5); RETURN $1; END';
        CREATE INDEX sleepy ON langchain_pg_embedding (slow(document));
        """,
    )


@_STRATEGIES
def test_a_statement_timeout_of_the_callers(g2_dsn: str, tmp_path: Path, strategy: str) -> None:
    slow(g2_dsn)
    restore(write_set(tmp_path), g2_dsn, mode="replace")
    before = snapshot(g2_dsn)
    with pytest.raises(TargetError, match="due to statement timeout") as caught:
        restore(tmp_path, g2_dsn, mode="replace", strategy=strategy, statement_timeout_s=0.2)
    assert caught.value.sqlstate == "57014"
    assert caught.value.hint == "was statement_timeout reached?"
    assert snapshot(g2_dsn) == before
    restore(tmp_path, g2_dsn, mode="replace", strategy=strategy, statement_timeout_s=60)


@pytest.mark.parametrize("wrong", [0, -1, "soon", True, 3_000_000])
def test_a_statement_timeout_that_is_none(wrong: Any) -> None:
    with pytest.raises(OptionError, match="statement_timeout_s"):
        restore(Path(), "", statement_timeout_s=wrong)


def test_limits_are_those_of_the_transaction(g2_dsn: str) -> None:
    names = ["lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout"]
    with connect(g2_dsn) as conn:
        if conn.info.server_version >= 170_000:
            conn.execute("SET transaction_timeout = '1h'")
            names.append("transaction_timeout")
        conn.execute("SET statement_timeout = '1h'")
        before = [conn.execute(f"SHOW {name}").fetchone() for name in names]
        with conn.transaction():
            session.configure_session(conn.cursor(), 2.5, 90)
            inside = [conn.execute(f"SHOW {name}").fetchone() for name in names]
        after = [conn.execute(f"SHOW {name}").fetchone() for name in names]
    assert inside == [("2500ms",), ("90s",), ("10min",), ("0",)][: len(names)]
    assert before == after


@pytest.mark.parametrize(
    ("mode", "strategy"), [("append", "in_place"), ("replace", "in_place"), ("replace", "swap")]
)
def test_the_ledger_has_a_row_for_each_restore(
    g2_dsn: str, tmp_path: Path, mode: str, strategy: str
) -> None:
    root = write_set(tmp_path)
    for _ in range(2):
        restore(root, g2_dsn, mode=mode, strategy=strategy, ledger=True)
        if mode == "append":
            execute(g2_dsn, "TRUNCATE langchain_pg_collection, langchain_pg_embedding")
    found = query(g2_dsn, f"SELECT label, store, mode, strategy, tables, version FROM {LEDGER}")
    assert len(found) == 2
    label, store, *how, tables, version = found[0]
    assert label == "vector_bak/20260102_030405"
    assert store == open_store(root).url
    assert how == [mode, strategy]
    assert [(t["table"], t["rows"]) for t in tables] == [
        ("langchain_pg_collection", 2),
        ("langchain_pg_embedding", 4),
    ]
    assert tables[0]["file"] == "langchain_pg_collection_20260102_030405.csv"
    assert version


@_STRATEGIES
def test_a_restore_that_fails_leaves_no_row(g2_dsn: str, tmp_path: Path, strategy: str) -> None:
    root = write_set(tmp_path)
    restore(root, g2_dsn, mode="replace", ledger=True)
    before = snapshot(g2_dsn)

    def fail(event: Any) -> None:
        if event.phase == "publish":
            raise RuntimeError("no more")

    with Restorer(open_store(root), g2_dsn) as restorer, pytest.raises(RuntimeError):
        restorer.restore(mode="replace", strategy=strategy, ledger=True, progress=fail)
    assert snapshot(g2_dsn) == before


@_STRATEGIES
def test_a_table_of_that_name_that_is_no_ledger(g2_dsn: str, tmp_path: Path, strategy: str) -> None:
    execute(g2_dsn, f"CREATE TABLE {LEDGER} (mine int)")
    before = snapshot(g2_dsn)
    with pytest.raises(TargetMismatchError, match="is no ledger of restores"):
        restore(write_set(tmp_path), g2_dsn, mode="replace", strategy=strategy, ledger=True)
    assert snapshot(g2_dsn) == before


@pytest.mark.skipif(sys.platform == "win32", reason="needs a Unix socket")
def test_connecting_is_tried_again(
    g2_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As while a server starts again: its socket is not there for a moment."""
    given = conninfo_to_dict(g2_dsn)
    real = Path(str(given["host"])) / f".s.PGSQL.{given['port']}"
    place = tmp_path / real.name
    naps: list[float] = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 3:
            place.symlink_to(real)

    monkeypatch.setattr(time, "sleep", nap)
    conn = pool.connect({**given, "host": str(tmp_path)})
    conn.close()
    assert len(naps) == 3
    assert 0.05 <= naps[0] <= 0.1 <= naps[1] <= 0.2 <= naps[2] <= 0.4


def test_an_exhausted_pool(g2_dsn: str, tmp_path: Path) -> None:
    with (
        ConnectionPool(g2_dsn, min_size=1, max_size=1, timeout=0.2, open=True) as crowded,
        crowded.connection(timeout=240),
        Restorer(open_store(write_set(tmp_path)), crowded) as restorer,
        pytest.raises(ConnectError, match="no connection became free in the pool") as caught,
    ):
        restorer.restore(mode="replace")
    assert caught.value.hint == "enlarge the pool or its timeout"


def test_a_server_without_a_connection_left(g2_dsn: str, tmp_path: Path) -> None:
    execute(
        g2_dsn,
        "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'crowded') "
        "THEN CREATE ROLE crowded LOGIN CONNECTION LIMIT 0; END IF; END $$",
    )
    with pytest.raises(ConnectError, match="too many connections for role") as caught:
        restore(write_set(tmp_path), make_conninfo(g2_dsn, user="crowded"))
    assert caught.value.hint is not None
    assert caught.value.hint.endswith("user, password and limits of connections")
