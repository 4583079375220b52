"""What fault tests stand on: a server of their own, two backup sets, clients that are ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
from attrs import define, field, frozen
from psycopg import sql
from psycopg.conninfo import make_conninfo

from pgvector_restore.db import embedded, staging
from pgvector_restore.db.embedded import EmbeddedServer
from pgvector_restore.failpoints import ENV_FAILPOINT
from tests.conftest import G2_TABLES, SETTINGS, connect
from tests.sets import (
    COLLECTION_CELLS,
    SQL_ID,
    collection_bytes,
    embedding_bytes,
    quote,
    restore,
    write_set,
)

REPOSITORY = Path(__file__).parents[2]

#: What was reported as committed must survive the end of the server's processes; that the machine
#: stays up is taken for granted.
FAULT_SETTINGS = SETTINGS | {"synchronous_commit": "on", "restart_after_crash": "on"}

#: Large enough for several blocks of 512 KiB and several parts, small enough for a second.
ROWS, DOCUMENT_BYTES, PART_BYTES = 1500, 900, 400_000

#: Seconds to wait for what should take less than one.
PATIENCE_S = 240.0

_SESSIONS = """
    SELECT pid, state, query FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'pgvector_restore'
"""

#: Rows of both tables, in one snapshot, and what the tables are like. The vector index and the
#: one on metadata are asked as well: they must know the same rows.
_STATE = """
    SELECT
      (SELECT count(*) || md5(string_agg(t::text, chr(10) ORDER BY uuid))
       FROM langchain_pg_collection t),
      (SELECT count(*) || md5(string_agg(t::text, chr(10) ORDER BY id))
       FROM langchain_pg_embedding t),
      (SELECT count(*) FROM langchain_pg_embedding WHERE cmetadata @> '{"even": true}'),
      (SELECT left(min(document), 9) FROM (SELECT document FROM langchain_pg_embedding
       ORDER BY (embedding::vector(3)) <=> '[7,2,3]' LIMIT 1) AS nearest)
"""
_SHAPE = """
    SELECT 'index', indexname::text, indexdef FROM pg_indexes WHERE schemaname = 'public'
    UNION ALL
    SELECT 'constraint', conname::text, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE connamespace = 'public'::regnamespace
    UNION ALL
    SELECT 'relation', relname::text, relkind::text FROM pg_class
    WHERE relnamespace = 'public'::regnamespace
    ORDER BY 1, 2
"""
_LEFT_OVER = "SELECT nspname FROM pg_namespace WHERE starts_with(nspname, 'pgvr_staging_')"
_ADVISORY = """
    SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


def wait_until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.01)


def write_word(root: Path, word: str, rows: int) -> Path:
    """A set whose every row says which set it is of."""
    text = word * (DOCUMENT_BYTES // len(word))
    records = [
        (f"{word}-{n}", SQL_ID, f'"[{n},2,3]"', text, quote(json.dumps({"even": n % 2 == 0})))
        for n in range(rows)
    ]
    collections = [(*cells[:2], quote(json.dumps({"set": word}))) for cells in COLLECTION_CELLS]
    return write_set(
        root,
        collection=collection_bytes(records=collections),
        embedding=embedding_bytes(records=records),
    )


@frozen
class Outcome:
    """How a client ended."""

    #: Exit code; negative: the signal.
    code: int
    #: What it said, ``None`` if it could not say anything any more.
    told: dict[str, Any] | None
    #: Its standard output and error.
    output: str

    @property
    def error(self) -> str | None:
        return None if self.told is None else self.told["error"]


class Client:
    """A restore in a process of its own.

    Args:
        folder: For its files.
        dsn: Where to.
        root: The store.
        failpoint: Where something is to happen to it, and what; ``stop`` for a stop there.
        do: ``restore``, ``revert`` or ``drop``.
        restores: What was kept by these is dropped.
        options: Of the restore.
    """

    def __init__(
        self,
        folder: Path,
        dsn: str,
        root: Path,
        failpoint: str | None,
        do: str = "restore",
        restores: Sequence[str] = (),
        **options: Any,
    ) -> None:
        self._out, self._reached = folder / "outcome.json", folder / "reached"
        self._log = folder / "client.log"
        folder.mkdir(exist_ok=True)
        for left in folder.glob("*"):
            left.unlink()
        task = {
            "do": do,
            "restores": list(restores),
            "dsn": dsn,
            "root": str(root),
            "out": str(self._out),
            "part_bytes": PART_BYTES,
            "options": {"mode": "replace", "lock_timeout_s": 20.0} | options,
        }
        environment = dict(os.environ)
        if failpoint is not None:
            if failpoint.endswith("=stop"):
                failpoint = f"{failpoint}:{self._reached}"
            environment[ENV_FAILPOINT] = failpoint
        with self._log.open("w") as log:  # a file: workers that outlive it keep pipes open
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.client", json.dumps(task)],
                cwd=REPOSITORY,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def wait_at_failpoint(self) -> dict[str, Any]:
        """Wait until it stands still; what it said there."""
        wait_until(lambda: self._reached.exists() or self._process.poll() is not None, "failpoint")
        assert self._reached.exists(), self._log.read_text() + str(self.wait())
        told: dict[str, Any] = json.loads(self._reached.read_text())
        return told

    def go_on(self) -> None:
        self._reached.with_name("reached.go").touch()

    def wait(self) -> Outcome:
        code = self._process.wait(PATIENCE_S)
        told = json.loads(self._out.read_text()) if self._out.exists() else None
        return Outcome(code, told, self._log.read_text())

    def close(self) -> None:
        """End it, whatever it does."""
        self.go_on()
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()


@define
class Arena:
    """A server, and a database in which one of two sets is served.

    A test may end the server: :meth:`up` starts it again.
    """

    #: Its data.
    data_dir: Path
    #: Major version.
    version: int
    #: For stores and files.
    folder: Path
    #: Stores by the word their rows say.
    roots: dict[str, Path] = field(factory=dict)
    #: What is found when a set is served whole.
    states: dict[str, Any] = field(factory=dict)
    #: Indexes, constraints and relations, which never change.
    shape: list[Any] = field(factory=list)
    server: EmbeddedServer = field(init=False)
    dsn: str = field(init=False)

    @classmethod
    def build(cls, data_dir: Path, version: int, folder: Path) -> Arena:
        arena = cls(data_dir, version, folder)
        for word, rows in (("one", ROWS), ("two", ROWS - 100)):
            arena.roots[word] = write_word(folder / word, word, rows)
        arena.renew()
        return arena

    def up(self) -> None:
        """Make sure that the server runs."""
        self.server = embedded.start(self.data_dir, version=self.version, settings=FAULT_SETTINGS)
        self.dsn = make_conninfo(self.server.conninfo, dbname="arena")

    def renew(self) -> None:
        """Start over with a new database: a test has failed."""
        self.up()
        with connect(self.server.conninfo) as admin:
            admin.execute("DROP DATABASE IF EXISTS arena WITH (FORCE)")
            admin.execute("CREATE DATABASE arena TEMPLATE template0 STRATEGY file_copy")
        with connect(self.dsn) as conn:
            conn.execute(sql.SQL(G2_TABLES))
            conn.execute(
                "CREATE INDEX ix ON langchain_pg_embedding "
                "USING hnsw ((embedding::vector(3)) vector_cosine_ops)"
            )
        self.shape = self.query(_SHAPE)
        for word in ("two", "one"):
            restore(self.roots[word], self.dsn, mode="replace", strategy="swap")
            self.states[word] = self.query(_STATE)
        assert self.states["one"] != self.states["two"]

    def query(self, text: str) -> list[tuple[Any, ...]]:
        with connect(self.dsn) as conn:
            conn.execute("SET lock_timeout = '30s'; SET enable_seqscan = off")
            return conn.execute(sql.SQL(text)).fetchall()

    def served(self) -> str:
        """The word of the set that is served, whole and by tables like those of the beginning."""
        state, shape = self.query(_STATE), self.query(_SHAPE)
        words = [word for word, known in self.states.items() if known == state]
        assert words, f"neither old nor new: {state}"
        assert shape == self.shape
        return words[0]

    def settle(self) -> None:
        """Wait until nobody is connected any more: a backend notices that its client has gone."""
        wait_until(self._is_quiet, "sessions of a restore that has ended")

    def _is_quiet(self) -> bool:
        try:
            return not self.query(_SESSIONS)
        except psycopg.OperationalError:  # it is still starting
            return False

    def assert_clean(self) -> None:
        """Nothing of a restore is left but the rows."""
        assert not self.query(_LEFT_OVER)
        assert self.query(_ADVISORY) == [(0,)]
        assert not self.query(_SESSIONS)

    def leave_behind(self) -> None:
        """A staging schema, as a restore leaves it that died."""
        with connect(self.dsn) as conn, conn.transaction():
            name = staging.new_staging_name()
            staging.create_staging(conn.cursor(), name)
            conn.execute(
                sql.SQL("CREATE TABLE {} (id int)").format(
                    sql.Identifier(name, "langchain_pg_embedding")
                )
            )

    def backend(self, told: dict[str, Any]) -> int:
        """The backend of a client that stands still: the one it named, else its first."""
        if told["backend"] is not None:
            return int(told["backend"])
        found = self.query(
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'pgvector_restore' "
            "AND datname = current_database() ORDER BY backend_start LIMIT 1"
        )
        return int(found[0][0])

    def end_backend(self, pid: int, number: signal.Signals | None) -> None:
        """End a backend by a signal, or as an administrator does; wait until that is done."""
        if number is None:
            with connect(self.dsn) as admin:
                admin.execute("SELECT pg_terminate_backend(%s)", [pid])
        else:
            os.kill(pid, number)
        wait_until(lambda: self._has_gone(pid), f"end of backend {pid}")

    def _has_gone(self, pid: int) -> bool:
        try:
            return not self.query(f"SELECT FROM pg_stat_activity WHERE pid = {pid}")
        except psycopg.OperationalError:  # all were ended with it, and the server starts again
            return False

    def end_server(self) -> None:
        """Immediate shutdown: no checkpoint, no good-bye."""
        postmaster = self.server.pid
        os.kill(postmaster, signal.SIGQUIT)
        wait_until(lambda: not _runs(postmaster), "end of the server")


def _runs(pid: int) -> bool:
    with suppress(ProcessLookupError, FileNotFoundError):
        os.kill(pid, 0)
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return False
