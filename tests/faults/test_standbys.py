"""Readers on a hot standby while tables are exchanged on its primary."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pgvector_restore import Restorer, open_store
from pgvector_restore.db import embedded
from pgvector_restore.db._pgserver import (
    find_install,
    private_folder,
    run_or_raise,
    server_account,
)
from pgvector_restore.schema import COLLECTION, EMBEDDING
from tests.conftest import SETTINGS, connect, server_folder
from tests.faults.kit import wait_until
from tests.sets import embedding_bytes, restore, write_set

pytestmark = [pytest.mark.faults]

_KEEPING: dict[str, Any] = {"strategy": "swap", "keep_previous": True}
#: What is done, and how the tables get their rows for it.
_OPTIONS: dict[str, dict[str, Any]] = {
    "swap": {"strategy": "swap"},
    "keep_previous": _KEEPING,
    "revert": _KEEPING,
    "in_place": {"strategy": "in_place"},
}

_COUNT = f"SELECT count(*) FROM {EMBEDDING}"
_LOG = SETTINGS | {"wal_level": "replica", "max_wal_senders": "4"}


class Pair:
    """A primary, and a standby of it."""

    def __init__(self, folder: Path, version: int, feedback: str) -> None:
        primary = embedded.start(folder / "primary", version=version, settings=_LOG)
        self.dsn = primary.conninfo
        given = conninfo_to_dict(primary.conninfo)
        account = server_account()
        copy = folder / "standby"
        private_folder(copy, account, make=True)
        run_or_raise(
            "could not be copied",
            (
                *(find_install(version) / "bin" / "pg_basebackup", "-D", str(copy), "-R"),
                *("-X", "stream", "-c", "fast", "-U", "postgres"),
                *("-h", str(given["host"]), "-p", str(given["port"])),
            ),
            primary.data_dir,
            account,
        )
        shutil.rmtree(copy / "run")  # of the primary's socket
        settings = _LOG | {
            "hot_standby_feedback": feedback,
            "wal_receiver_status_interval": "1",
            "max_standby_streaming_delay": "500ms",
        }
        standby = embedded.start(copy, version=version, settings=settings)
        self.standby = standby.conninfo

    def catch_up(self, dsn: str) -> None:
        with connect(dsn) as primary, connect(self.standby) as standby:
            (now,) = primary.execute("SELECT pg_current_wal_lsn()").fetchone() or (None,)
            said = (
                "SELECT FROM (SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn AS done) x WHERE done"
            )
            wait_until(lambda: standby.execute(said, [now]).rowcount, "the standby catches up")


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((version, feedback), id=f"pg{version}-feedback-{feedback}")
        for version in (16, 18)
        for feedback in ("off", "on")
    ],
)
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    with server_folder() as folder:
        yield Pair(folder, *request.param)


@pytest.fixture
def on_pair(pair: Pair) -> tuple[Pair, str, str]:
    """The pair, and a database there with the tables: on the primary and on the standby."""
    name = "served"
    with connect(pair.dsn) as admin:
        admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        admin.execute(f"CREATE DATABASE {name}")
    dsn = make_conninfo(pair.dsn, dbname=name)
    with connect(dsn) as conn:
        conn.execute("CREATE EXTENSION vector")
    return pair, dsn, make_conninfo(pair.standby, dbname=name)


def seen_by_an_older_reader(pair: Pair, dsn: str, there: str, action: Callable[[], object]) -> int:
    """Rows that a standby's reader finds whose snapshot is older; -1: the standby has ended it."""
    pair.catch_up(dsn)
    with psycopg.connect(there) as reader:
        reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SELECT 1")
        action()
        try:
            pair.catch_up(dsn)
            return int((reader.execute(_COUNT).fetchone() or (0,))[0])
        except (errors.QueryCanceled, errors.SerializationFailure, errors.AdminShutdown):
            return -1
        except psycopg.OperationalError:
            assert reader.closed
            return -1


@pytest.mark.parametrize("what", _OPTIONS)
def test_an_older_reader_never_sees_an_empty_table(
    on_pair: tuple[Pair, str, str], tmp_path: Path, what: str
) -> None:
    pair, dsn, there = on_pair
    root = write_set(tmp_path, embedding=embedding_bytes())
    restore(root, dsn)
    options = _OPTIONS[what]
    told: list[str] = []
    with Restorer(open_store(root), dsn) as restorer:
        plan = restorer.plan(mode="replace", lock_timeout_s=4.0, **options)
        if what == "revert":
            restorer.run(plan)

        def act() -> None:
            if what == "revert":
                restorer.revert(tables=[COLLECTION, EMBEDDING])
            else:
                told.extend(restorer.run(plan).warnings)

        rows = seen_by_an_older_reader(pair, dsn, there, act)
    # With feedback the primary waits for the reader, who stays: that is told.
    assert rows in (4, -1) or any("standby" in one for one in told), (rows, told)
    with connect(there) as reader:
        pair.catch_up(dsn)
        assert reader.execute(_COUNT).fetchone() == (4,)
