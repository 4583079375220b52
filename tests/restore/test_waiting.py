"""A second connection that is never answered: what is a convenience is not waited for.

Behind a pooler whose connections to the server are taken, everybody may log in, and nobody is
answered. Every operation ends there, as it should or with an error, and holds nothing then.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen
from psycopg_pool import ConnectionPool

from pgvector_restore import (
    CancelledError,
    CancelToken,
    ConnectError,
    Restorer,
    open_store,
    pieces,
)
from pgvector_restore.db import pool
from pgvector_restore.restorer import revert_tables
from tests.backup.kit import backup
from tests.conftest import connect
from tests.proxy import Proxy
from tests.restore.content import count, execute, query
from tests.restore.roles import role
from tests.sets import SQL_ID, embedding_bytes, restore, write_set

#: They take long, with processes, poolers and silences that are waited for.
pytestmark = pytest.mark.faults

TABLE = "langchain_pg_embedding"
ROWS = 4000
#: No operation takes as long, however busy the machine is.
BOUND_S = 240.0
#: An index that takes a second to build.
_SLOW_INDEX = f"""
    CREATE FUNCTION slow(text) RETURNS text IMMUTABLE LANGUAGE plpgsql
        AS 'BEGIN IF $1 = ''7'' THEN PERFORM pg_sleep(1); END IF; RETURN $1; END';
    CREATE INDEX sleepy ON {TABLE} (slow(id));
"""
#: Locks of others than the one who asks.
_LOCKS = """
    SELECT count(*) FROM pg_locks l WHERE pid <> pg_backend_pid() AND (locktype = 'advisory'
        OR relation IN (SELECT oid FROM pg_class WHERE relname LIKE 'langchain%'))
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


@frozen
class Case:
    """Where an operation runs."""

    proxy: Proxy
    #: The database, past the proxy.
    dsn: str
    #: What the operation is given.
    target: Any
    root: Path


def _restore(case: Case, **options: Any) -> None:
    restore(case.root, case.target, mode="replace", **options)
    assert count(case.dsn, TABLE) == ROWS


def _plan(case: Case) -> None:
    with Restorer(open_store(case.root), case.target) as restorer:
        restorer.plan(mode="replace")


def _append(case: Case) -> None:
    execute(case.dsn, "TRUNCATE langchain_pg_collection, langchain_pg_embedding")
    restore(case.root, case.target, mode="append")


def _verify(case: Case) -> None:
    restore(case.root, case.dsn, mode="replace")
    with Restorer(open_store(case.root), case.target) as restorer:
        assert restorer.verify().equal


def _indexed(case: Case, strategy: str) -> None:
    execute(case.dsn, _SLOW_INDEX)
    _restore(case, strategy=strategy, jobs=1)


def _backup(case: Case, **options: Any) -> None:
    backup(case.root.parent / "made", case.target, **options)


def _truncate(case: Case) -> None:
    _backup(case, truncate_after=True, jobs=1)
    assert count(case.dsn, TABLE) == 0


def _revert(case: Case) -> None:
    restore(case.root, case.dsn, mode="replace", strategy="swap", keep_previous=True)
    revert_tables(case.target, ["langchain_pg_collection", TABLE])
    assert count(case.dsn, TABLE) == 1


OPERATIONS: dict[str, Callable[[Case], None]] = {
    "plan": _plan,
    "in_place": lambda case: _restore(case, strategy="in_place"),
    "append": _append,
    "swap": lambda case: _restore(case, strategy="swap", jobs=1),
    "index_in_place": lambda case: _indexed(case, "in_place"),
    "index_swap": lambda case: _indexed(case, "swap"),
    "content": lambda case: _restore(case, strategy="in_place", verify="content"),
    "parallel": lambda case: _restore(case, strategy="swap", jobs="auto"),
    "verify": _verify,
    "backup": lambda case: _backup(case, jobs="auto"),
    "truncate": _truncate,
    "revert": _revert,
}


def within_bound(action: Callable[[], object]) -> None:
    """Run it; what it raises is raised here, and that it never ends is an error."""
    outcome: list[BaseException] = []

    def run() -> None:
        try:
            action()
        except BaseException as exc:  # noqa: BLE001 - raised below
            outcome.append(exc)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(BOUND_S)
    assert not thread.is_alive(), "it waits for ever"
    if outcome:
        raise outcome[0]


def wait_until_free(dsn: str) -> None:
    """Nobody holds a lock, soon."""
    end = time.monotonic() + 60
    while query(dsn, _LOCKS) != [(0,)]:
        assert time.monotonic() < end, "a lock is held"
        time.sleep(0.05)


@pytest.fixture
def large(g2_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A set that is taken for a large one, before a database with other rows."""
    monkeypatch.setattr(pieces, "PART_BYTES", 20_000)
    monkeypatch.setattr("pgvector_restore.strategy.LARGE_BYTES", 1)
    monkeypatch.setattr("pgvector_restore.backup_run._SMALL_BYTES", 1)
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    execute(g2_dsn, f"INSERT INTO {TABLE} (id) VALUES ('old')")
    records = [(f"{n}", SQL_ID, f'"[{n},{n % 7},1]"', "new", "") for n in range(ROWS)]
    return write_set(tmp_path / "set", embedding=embedding_bytes(records=records))


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second connection is given up soon: where it would never be answered, or is not needed."""
    monkeypatch.setattr(pool, "_SECOND_WAIT_S", 1.5)


@pytest.fixture
def proxy(g2_dsn: str) -> Iterator[Proxy]:
    with Proxy(g2_dsn) as through:
        yield through


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("target", ["string", "pool"])
@pytest.mark.parametrize(
    "pooler", [("session", 1), ("transaction", 1), ("session", 2), ("transaction", 2)]
)
def test_a_pooler_without_a_connection(
    g2_dsn: str, proxy: Proxy, large: Path, operation: str, target: str, pooler: Any
) -> None:
    proxy.pooling, proxy.slots = pooler
    run = OPERATIONS[operation]
    if target == "string":
        within_bound(lambda: run(Case(proxy, g2_dsn, proxy.dsn, large)))
    else:
        with ConnectionPool(proxy.dsn, min_size=0, max_size=1, open=True) as own:
            within_bound(lambda: run(Case(proxy, g2_dsn, own, large)))
            assert own.get_stats()["pool_size"] == 1
    wait_until_free(g2_dsn)


def test_progress_is_waited_for_by_nobody(g2_dsn: str, proxy: Proxy, large: Path) -> None:
    """It was asked for, and no answer came: the index is done after that."""
    slow = "IF $1 = ''7'' THEN PERFORM pg_sleep(1); END IF;"
    until = "WHILE NOT pg_try_advisory_xact_lock_shared(42) LOOP PERFORM pg_sleep(0.05); END LOOP;"
    execute(g2_dsn, _SLOW_INDEX.replace(slow, until))
    proxy.slots = 1
    case = Case(proxy, g2_dsn, proxy.dsn, large)
    with connect(g2_dsn) as holder:
        holder.execute("SELECT pg_advisory_lock(42)")

        def let_go() -> None:
            end = time.monotonic() + BOUND_S / 2
            while not proxy.waited and time.monotonic() < end:
                time.sleep(0.05)
            holder.execute("SELECT pg_advisory_unlock(42)")

        releasing = threading.Thread(target=let_go)
        releasing.start()
        within_bound(lambda: _restore(case, strategy="in_place", jobs=1))
        releasing.join()
    assert proxy.waited


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("operation", ["restore", "backup"])
@pytest.mark.parametrize("pooling", ["session", "transaction"])
def test_a_number_of_connections_that_are_not_there(
    g2_dsn: str, proxy: Proxy, large: Path, operation: str, pooling: Any
) -> None:
    proxy.slots, proxy.pooling = 1, pooling
    case = Case(proxy, g2_dsn, proxy.dsn, large)
    with pytest.raises(ConnectError, match="jobs 2 takes 2 connections") as caught:
        within_bound(
            (lambda: _restore(case, strategy="swap", jobs=2))
            if operation == "restore"
            else (lambda: _backup(case, jobs=2))
        )
    assert "was not answered within 1.5 s" in caught.value.message
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("with jobs auto")
    wait_until_free(g2_dsn)
    assert count(g2_dsn, TABLE) == 1


@pytest.mark.parametrize("limit", [2, 3])
def test_a_role_with_few_connections(g2_dsn: str, large: Path, limit: int) -> None:
    """A number is an error that says what is lacking; ``auto`` goes on with those there are."""
    with role(g2_dsn) as (name, own):
        execute(g2_dsn, f"ALTER ROLE {name} CONNECTION LIMIT {limit}")
        execute(g2_dsn, f"ALTER TABLE {TABLE} OWNER TO {name}")
        execute(g2_dsn, f"ALTER TABLE langchain_pg_collection OWNER TO {name}")
        execute(g2_dsn, f"GRANT ALL ON SCHEMA public TO {name}")
        database = query(g2_dsn, "SELECT current_database()")[0][0]
        execute(g2_dsn, f"GRANT CREATE ON DATABASE {database} TO {name}")
        with Restorer(open_store(large), own) as restorer:
            with pytest.raises(ConnectError, match=f"jobs 3 takes 3 .*, and {limit - 1} can be"):
                restorer.restore(mode="replace", strategy="swap", jobs=3)
            assert count(g2_dsn, TABLE) == 1
            report = restorer.restore(mode="replace", strategy="swap", jobs="auto")
        assert count(g2_dsn, TABLE) == ROWS
        number = "one connection" if limit == 2 else "2 connections"
        fewer = [text for text in report.warnings if text.startswith("loaded over")]
        assert len(fewer) == (limit == 2)
        assert all(text.startswith(f"loaded over {number}: no connection") for text in fewer)


@pytest.mark.parametrize("operation", ["plan", "parallel", "backup"])
def test_nobody_answers_a_login(g2_dsn: str, proxy: Proxy, large: Path, operation: str) -> None:
    """A port that accepts everybody and never says anything: from the first connection on."""
    del g2_dsn
    proxy.mute = True
    hurried = f"{proxy.dsn} connect_timeout=2"
    with pytest.raises(ConnectError):
        within_bound(lambda: OPERATIONS[operation](Case(proxy, hurried, hurried, large)))


@pytest.mark.parametrize("operation", ["index_in_place", "parallel", "backup"])
def test_nobody_answers_a_second_login(
    g2_dsn: str, proxy: Proxy, large: Path, operation: str
) -> None:
    def judge(data: bytes) -> str | None:
        proxy.mute = proxy.mute or b"SET TRANSACTION" in data
        return None

    proxy.judge = judge
    within_bound(lambda: OPERATIONS[operation](Case(proxy, g2_dsn, proxy.dsn, large)))
    assert proxy.mute  # the first connection got that far
    wait_until_free(g2_dsn)


def test_nobody_answers_a_request_to_cancel(g2_dsn: str, proxy: Proxy, large: Path) -> None:
    execute(g2_dsn, _SLOW_INDEX.replace("pg_sleep(1)", "pg_sleep(300)"))
    token = CancelToken()
    asleep = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"

    def call_off() -> None:
        while query(g2_dsn, asleep) == [(0,)]:
            time.sleep(0.05)
        proxy.mute = True
        token.cancel()

    threading.Thread(target=call_off, daemon=True).start()

    def run() -> None:
        with Restorer(open_store(large), proxy.dsn) as restorer:
            restorer.restore(mode="replace", strategy="in_place", cancel=token)

    with pytest.raises(CancelledError):
        within_bound(run)
    wait_until_free(g2_dsn)
    assert count(g2_dsn, TABLE) == 1


def test_limits_on_idle_sessions(g2_dsn: str, large: Path) -> None:
    """The first connection of a parallel swap is silent while others load."""
    name, version = query(
        g2_dsn, "SELECT current_database(), current_setting('server_version_num')::int"
    )[0]
    limits = ["idle_session_timeout", "idle_in_transaction_session_timeout"]
    limits += ["transaction_timeout"] if version >= 170_000 else []
    slept: list[str] = []

    def listen(event: Any) -> None:
        if event.phase in ("load", "index") and slept.count(event.phase) == 0:
            slept.append(event.phase)
            time.sleep(3.5)

    # Before that the tables are counted: with this rows, in no time.
    with connect(g2_dsn) as conn:
        for limit in limits:
            conn.execute(f"ALTER DATABASE {name} SET {limit} = '3s'")
    with Restorer(open_store(large), g2_dsn) as restorer:
        restorer.restore(mode="replace", strategy="swap", jobs=2, progress=listen)
    assert slept == ["load", "index"]
    assert query(g2_dsn, f"SELECT count(*) FROM {TABLE}") == [(ROWS,)]


@pytest.mark.parametrize("target", ["string", "pool", "checking pool"])
def test_all_sessions_were_ended(g2_dsn: str, large: Path, target: str) -> None:
    """As when a server was restarted: the next call has a connection at once."""
    check = ConnectionPool.check_connection if target.startswith("checking") else None
    own = ConnectionPool(g2_dsn, min_size=0, max_size=8, timeout=6, check=check, open=False)
    with Restorer(open_store(large), g2_dsn if target == "string" else own) as restorer:
        if target != "string":
            own.open()
        kept = [restorer._target.connection() for _ in range(8)]
        pids = {one.__enter__().info.backend_pid for one in kept}
        for one in kept:
            one.__exit__(None, None, None)
        assert len(pids) == 8
        execute(
            g2_dsn,
            "SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity WHERE"
            f" pid IN ({', '.join(map(str, pids))})",
        )
        for _ in range(2):
            restorer.plan(mode="replace")
            with restorer._target.connection() as conn:
                assert conn.info.backend_pid not in pids
    own.close()
