"""A service that was killed in a restore: the next one tells what became of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from pgvector_restore.db.embedded import EmbeddedServer
from pgvector_restore.db.ledger import LEDGER, LedgerEntry, look, write_entry
from pgvector_restore.http.connections import Reached
from pgvector_restore.http.jobs import Job
from pgvector_restore.http.recovery import look_before, outcome_of
from pgvector_restore.http.service import Service
from pgvector_restore.http.settings import ServiceSettings
from tests.conftest import connect
from tests.proxy import COMMIT, Proxy
from tests.sets import EMBEDDING_CELLS, embedding_bytes, restore, write_set

#: Rows of the set that lies there when the service is killed.
NEW = 1
OLD = len(EMBEDDING_CELLS)

Start = Callable[..., Service]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a service of the store in ``tmp_path``."""
    made: list[Service] = []

    def start(**changes: Any) -> Service:
        store, state = str(tmp_path / "store"), tmp_path / "state"
        made.append(Service(ServiceSettings.load(store=store, state_dir=state, **changes)))
        made[-1].start()
        return made[-1]

    yield start
    for service in made:
        service.close()


def killed(tmp_path: Path, dsn: str, point: str, **options: Any) -> None:
    """Restore a set of ``OLD`` rows, then one of ``NEW`` in a service that is killed there."""
    root = write_set(tmp_path / "store")
    restore(root, dsn, mode="replace")
    write_set(root, embedding=embedding_bytes(records=EMBEDDING_CELLS[:NEW]))
    given = json.dumps({"mode": "replace"} | options)
    done = subprocess.run(
        [sys.executable, "-m", "tests.http.killed", str(root), str(tmp_path / "state"), dsn, given],
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | {"PGVECTOR_RESTORE_FAILPOINT": f"{point}=kill"},
    )
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, ""), done.stderr


def reached(dsn: str) -> Reached:
    return Reached("default", dsn, configured=True, holds=frozenset(), key="")


def only_job(service: Service) -> Job:
    (job,) = service.jobs.list()
    return job


def settled(service: Service) -> Job:
    """The job once it is known what became of it."""
    job: Job | None = only_job(service)
    while job is not None and job.outcome == "unknown":
        job = service.jobs.changes(job.id, job.version, 60)
    assert job is not None, "nobody has found out"
    return job


def rows(dsn: str) -> int:
    with connect(dsn) as connection:
        return connection.execute("SELECT FROM langchain_pg_embedding").rowcount


@pytest.mark.parametrize("strategy", ["in_place", "swap"])
@pytest.mark.parametrize(
    ("point", "outcome"),
    [
        ("load.begin", "nothing_changed"),
        ("commit.before", "nothing_changed"),
        ("commit.after", "committed"),
    ],
)
def test_the_truth_after_sigkill(
    start: Start, g2_dsn: str, tmp_path: Path, strategy: str, point: str, outcome: str
) -> None:
    killed(tmp_path, g2_dsn, point, strategy=strategy)
    first = start(dsn=g2_dsn)
    job = settled(first)
    assert (job.state, job.outcome, job.result) == ("interrupted", outcome, None)
    assert rows(g2_dsn) == (NEW if outcome == "committed" else OLD)
    # It is written down, the key is still that request's, and the next restore is a new job.
    first.close()
    service = start(dsn=g2_dsn)
    assert only_job(service).outcome == outcome
    options = {"mode": "replace", "strategy": strategy}
    assert service.restore("latest", options=options, idempotency_key="one").id == job.id
    again = service.jobs.wait(service.restore("latest", options=options).id, 60)
    assert again.state == "done"
    assert rows(g2_dsn) == NEW


def test_unknown_until_the_database_answers(start: Start, g2_dsn: str, tmp_path: Path) -> None:
    with Proxy(g2_dsn) as proxy:
        killed(tmp_path, proxy.dsn, "commit.after")
        proxy.judge = lambda _: "before"  # no connection comes about any more
        service = start(dsn=proxy.dsn)
        job = only_job(service)
        assert (job.state, job.outcome) == ("interrupted", "unknown")
        assert service.ready() == {"store": True, "targets": {"default": False}}
        proxy.judge = lambda _: None
        assert settled(service).outcome == "committed"


def test_an_unknown_outcome_is_looked_up_later(
    start: Start, g2_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection goes with COMMIT, and the server with it for longer than a restore waits."""
    monkeypatch.setattr("pgvector_restore.db.outcome._PATIENCE_S", 0.2)
    write_set(tmp_path / "store")
    written, gone = threading.Event(), threading.Event()

    def judge(data: bytes) -> str | None:
        if gone.is_set():
            return "before"
        if b"INSERT INTO" in data and LEDGER.encode() in data:
            written.set()
        elif written.is_set() and data == COMMIT:
            gone.set()
            return "after"
        return None

    with Proxy(g2_dsn) as proxy:
        proxy.judge = judge
        service = start(dsn=proxy.dsn)
        job = service.jobs.wait(service.restore("latest").id, 60)
        assert (job.state, job.outcome) == ("failed", "unknown")
        assert job.error is not None
        assert job.error.code == "OUTCOME_UNKNOWN"
        proxy.judge = lambda _: None
        assert settled(service).outcome == "committed"
        assert rows(g2_dsn) == OLD


@pytest.mark.parametrize("commits", [True, False])
def test_a_commit_on_its_way_is_waited_for(g2_dsn: str, *, commits: bool) -> None:
    traces, _ = look_before(reached(g2_dsn), "public", "mark")
    found: list[str] = []
    asking = threading.Thread(target=lambda: found.append(outcome_of(traces, g2_dsn)))
    with connect(g2_dsn) as watching, psycopg.connect(g2_dsn) as writing:
        entry = LedgerEntry("l", "s", "replace", "swap", "1", mark=traces.mark)
        write_entry(writing.cursor(), "public", entry, [("t", "f", 1)])
        asking.start()
        waiting = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        while not watching.execute(waiting).rowcount:
            assert asking.is_alive()
        assert found == []
        if commits:
            writing.commit()
        else:
            writing.rollback()
    asking.join()
    assert found == ["committed" if commits else "nothing_changed"]


def test_a_ledger_that_has_lost_rows_tells_nothing(g2_dsn: str) -> None:
    with connect(g2_dsn) as connection:
        with connection.transaction():
            entry = LedgerEntry("l", "s", "replace", "swap", "1")
            write_entry(connection.cursor(), "public", entry, [("t", "f", 1)])
        traces, _ = look_before(reached(g2_dsn), "public", "mark")
        assert outcome_of(traces, g2_dsn) == "nothing_changed"
        connection.execute(f"TRUNCATE {LEDGER}".encode())
        assert outcome_of(traces, g2_dsn) == "unknown"
        connection.execute(f"DROP TABLE {LEDGER}".encode())
        assert outcome_of(traces, g2_dsn) == "unknown"


def test_another_database_tells_nothing(g2_dsn: str, server: EmbeddedServer) -> None:
    traces, _ = look_before(reached(g2_dsn), "public", "mark")
    assert traces.database
    assert outcome_of(traces, g2_dsn) == "nothing_changed"
    assert outcome_of(traces, server.conninfo) == "unknown"


def test_a_ledger_that_would_run_code_is_not_read(g2_dsn: str) -> None:
    with connect(g2_dsn) as connection:
        connection.execute(
            f"CREATE VIEW {LEDGER} AS SELECT 1::bigint AS id, '[]'::jsonb AS tables".encode()
        )
        assert look(g2_dsn, "public", "mark").highest is None


def test_a_role_that_may_keep_no_ledger_restores_all_the_same(
    start: Start, g2_dsn: str, tmp_path: Path
) -> None:
    role = "writer_of_tables_only"
    with connect(g2_dsn) as admin:
        if not admin.execute("SELECT FROM pg_roles WHERE rolname = %s", [role]).rowcount:
            admin.execute(f"CREATE ROLE {role} LOGIN".encode())
        for table in ("langchain_pg_collection", "langchain_pg_embedding"):
            admin.execute(f"GRANT SELECT, INSERT ON {table} TO {role}".encode())
    write_set(tmp_path / "store")
    own = make_conninfo(g2_dsn, user=role)
    service = start(dsn=own)
    assert service.jobs.wait(service.restore("latest").id, 60).state == "done"
    assert rows(g2_dsn) == OLD
    traces, ledger = look_before(reached(own), "public", "mark")
    assert (traces.highest, ledger) == (None, False)
    # Whether such a restore was committed nobody can tell.
    assert outcome_of(traces, own) == "unknown"
    with connect(g2_dsn) as admin:
        admin.execute(f"GRANT CREATE ON SCHEMA public TO {role}".encode())
    assert look_before(reached(own), "public", "mark")[1]
