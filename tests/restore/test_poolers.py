"""Behind poolers that lend a connection for one transaction."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import ConnectionPool

from pgvector_restore import (
    Backuper,
    Restorer,
    TargetBusyError,
    TargetMismatchError,
    open_store,
)
from pgvector_restore.db import claims
from pgvector_restore.db._pgserver import server_account
from pgvector_restore.db.callers import reachable
from pgvector_restore.db.pool import Target
from pgvector_restore.schema import COLLECTION, EMBEDDING
from tests.conftest import connect
from tests.faults.kit import Client, wait_until
from tests.pooler import Pooler
from tests.restore.content import count, query
from tests.sets import SQL_ID, embedding_bytes, restore, write_set

#: They take long, with processes, poolers and silences that are waited for.
pytestmark = pytest.mark.faults

_ADVISORY = """
    SELECT FROM pg_locks WHERE locktype = 'advisory'
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


@contextmanager
def pgbouncer(dsn: str, folder: Path, size: int) -> Iterator[str]:
    """PgBouncer with as many connections; it runs as the user of the server's socket."""
    program = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        pytest.skip("there is no pgbouncer on this machine")
    given = conninfo_to_dict(dsn)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = folder / "pgbouncer.ini"
    settings.write_text(
        f"[databases]\n{given['dbname']} = host={given['host']} port={given['port']} "
        "user=postgres\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        f"auth_type = any\npool_mode = transaction\ndefault_pool_size = {size}\n"
        "server_round_robin = 1\n"
    )
    settings.chmod(0o644)
    account = server_account()
    with subprocess.Popen(
        [program, str(settings)],
        cwd="/",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        user=account.uid if account is not None else None,
        group=account.gid if account is not None else None,
    ) as running:
        pooled = make_conninfo(dsn, host="127.0.0.1", port=port)
        try:
            wait_until(lambda: running.poll() is not None or reachable(pooled), "it listens")
            yield pooled
        finally:
            running.terminate()


@pytest.fixture(params=["ours", "pgbouncer"])
def pooled(request: pytest.FixtureRequest, g2_dsn: str, place: Path) -> Iterator[str]:
    if request.param == "ours":
        with Pooler(g2_dsn, 5) as pooler:
            yield pooler.dsn
    else:
        with pgbouncer(g2_dsn, place, 5) as dsn:
            yield dsn


def test_everything_over_connections_that_change(g2_dsn: str, pooled: str, tmp_path: Path) -> None:
    root = write_set(tmp_path / "old")
    with Restorer(open_store(root), pooled) as restorer:
        for _ in range(2):
            report = restorer.restore(
                mode="replace", strategy="swap", keep_previous=True, ledger=True
            )
            assert report.rows_loaded == 6
            assert report.warnings == ()  # what keeps the tables is no older transaction
            assert not query(g2_dsn, _ADVISORY)
        assert restorer.revert(tables=[COLLECTION, EMBEDDING])
        assert restorer.restore(mode="replace", strategy="in_place").rows_loaded == 6
        assert restorer.verify().equal
    (tmp_path / "new").mkdir()
    more = write_set(
        tmp_path / "more", embedding=embedding_bytes(records=[("new", SQL_ID, "", "", "")])
    )
    assert restore(more, pooled, mode="append", tables=EMBEDDING).rows_loaded == 1
    with Backuper(open_store(tmp_path / "new"), pooled) as backuper:
        backuper.backup(tables=[COLLECTION, EMBEDDING], jobs=2, truncate_after=True)
    assert count(g2_dsn, EMBEDDING) == 0
    assert not query(g2_dsn, _ADVISORY)


def test_a_second_restore_is_refused(g2_dsn: str, pooled: str, tmp_path: Path) -> None:
    root = write_set(tmp_path / "store")
    restore(root, g2_dsn)
    client = Client(tmp_path / "client", pooled, root, "publish=stop", strategy="swap")
    try:
        client.wait_at_failpoint()
        for dsn in (g2_dsn, pooled):
            for strategy in ("swap", "in_place"):
                with pytest.raises(TargetBusyError, match="another restore is writing"):
                    restore(root, dsn, mode="replace", strategy=strategy)
        client.go_on()
        assert client.wait().error is None
    finally:
        client.close()
    assert not query(g2_dsn, _ADVISORY)


@pytest.mark.parametrize("point", ["create", "publish", "exchange.moved"])
def test_a_killed_one_leaves_no_lock(g2_dsn: str, pooled: str, tmp_path: Path, point: str) -> None:
    root = write_set(tmp_path / "store")
    restore(root, g2_dsn)
    client = Client(tmp_path / "client", pooled, root, f"{point}=kill", strategy="swap")
    try:
        assert client.wait().code == -9
    finally:
        client.close()
    with connect(g2_dsn) as other:
        wait_until(lambda: not other.execute(_ADVISORY).rowcount, "its locks go")
    assert restore(root, pooled, mode="replace", strategy="swap").rows_loaded == 6
    assert not query(g2_dsn, "SELECT FROM pg_namespace WHERE nspname LIKE 'pgvr%'")


def test_a_pooler_with_one_connection(
    g2_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "_GUARD_S", 0.5)
    root = write_set(tmp_path)
    with Pooler(g2_dsn, 1) as pooler, Restorer(open_store(root), pooler.dsn) as restorer:
        plan = restorer.plan(mode="replace")
        assert plan.strategy == "in_place"
        assert restorer.run(plan).rows_loaded == 6
        with pytest.raises(TargetMismatchError, match="a pooler lends connections"):
            restorer.plan(mode="replace", strategy="swap")


def test_a_lock_that_was_left_is_told_of(g2_dsn: str, tmp_path: Path) -> None:
    root = write_set(tmp_path)
    restore(root, g2_dsn)
    with connect(g2_dsn) as left:
        key = f"pgvector_restore:public.{EMBEDDING}"
        left.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", [key])
        pid = left.info.backend_pid
        with pytest.raises(TargetBusyError, match=rf"\(server process {pid}, since ") as caught:
            restore(root, g2_dsn, mode="replace")
        assert f"pg_terminate_backend({pid})" in str(caught.value.hint)


def test_a_callers_pool_prepares_nothing_meanwhile(pooled: str, tmp_path: Path) -> None:
    root = write_set(tmp_path)

    def own(conn: psycopg.Connection[tuple[object, ...]]) -> None:
        conn.prepare_threshold = 0

    with ConnectionPool(pooled, min_size=0, max_size=3, configure=own, open=True) as pool:
        for _ in range(2):
            assert restore(root, pool, mode="replace", strategy="swap").rows_loaded == 6
        with Target(pool).spare() as beside:
            assert beside is not None
            assert beside.prepare_threshold is None
        with pool.connection() as conn:
            assert conn.prepare_threshold == 0
