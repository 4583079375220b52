"""What programs rely on that embed the library: pools, quiet, secrets, life cycle."""

from __future__ import annotations

import io
import logging
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool, NullConnectionPool

from pgvector_restore import (
    ConnectError,
    LoggingProgress,
    OptionError,
    ProgressEvent,
    Restorer,
    TqdmProgress,
    open_store,
)
from tests.restore.content import query
from tests.sets import (
    COLLECTION_FILE,
    EMBEDDING_FILE,
    SQL_ID,
    embedding_bytes,
    restore,
    write_set,
)

_CANARY = "c4n4ry-p4ssw0rd"


def _connections(dsn: str) -> int:
    text = (
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgvector_restore' "
        "AND datname = current_database()"
    )
    return int(query(dsn, text)[0][0])


@pytest.mark.parametrize("autocommit", [True, False])
def test_pool_of_the_caller(g2_dsn: str, tmp_path: Path, *, autocommit: bool) -> None:
    store = open_store(write_set(tmp_path))
    with ConnectionPool(
        g2_dsn,
        kwargs={"autocommit": autocommit, "row_factory": dict_row},
        min_size=1,
        max_size=1,
        open=True,
        check=ConnectionPool.check_connection,
    ) as pool:
        with Restorer(store, pool) as restorer:
            assert restorer.restore(mode="replace").rows_loaded == 6
            write_set(tmp_path, embedding=embedding_bytes(end="\n") + b"\n")
            with pytest.raises(ValueError, match="empty line"):
                restorer.restore(mode="replace")
        assert not pool.closed
        stats = pool.get_stats()
        assert stats["pool_available"] == stats["pool_size"] == 1
        with pool.connection() as conn:
            row: Any = conn.execute("SELECT current_setting('search_path') AS path").fetchone()
            assert row["path"] == '"$user", public'


def test_null_pool(g2_dsn: str, tmp_path: Path) -> None:
    with NullConnectionPool(g2_dsn, open=True) as pool:
        assert restore(write_set(tmp_path), pool).rows_loaded == 6


def test_closed_pool(g2_dsn: str, tmp_path: Path) -> None:
    pool = ConnectionPool(g2_dsn, min_size=0, max_size=1, open=True)
    pool.close()
    with pytest.raises(ConnectError):
        restore(write_set(tmp_path), pool)


def _targets(dsn: str) -> Iterator[tuple[str, Any]]:
    given = conninfo_to_dict(dsn)
    yield "keywords", dsn
    yield "mapping", given
    aliases = {"dbname": "database", "user": "username"}
    yield "aliases", {aliases.get(k, k): v for k, v in given.items()} | {"password": None}
    rest = "&".join(f"{k}={v}" for k, v in given.items() if k != "dbname")
    for scheme in ("postgresql", "postgres", "postgresql+psycopg", "postgresql+psycopg2"):
        yield scheme, f"{scheme}:///{given['dbname']}?{rest}"


def test_spellings_of_a_target(g2_dsn: str, tmp_path: Path) -> None:
    root = write_set(tmp_path)
    for name, target in _targets(g2_dsn):
        assert restore(root, target, mode="replace").rows_loaded == 6, name


@pytest.mark.parametrize("target", [3, None, ["host=x"], Path("x")])
def test_what_is_no_target(tmp_path: Path, target: Any) -> None:
    with pytest.raises(OptionError, match="a target is a connection string"):
        Restorer(open_store(tmp_path), target)


def test_password_with_signs_of_a_url_is_kept(tmp_path: Path) -> None:
    restorer = Restorer(open_store(tmp_path), "host=h password=a+b://c")
    assert (restorer._target._params or {})["password"] == "a+b://c"


def test_nothing_is_printed_and_nothing_global_changes(
    g2_dsn: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root_logger = logging.getLogger()
    before = (list(root_logger.handlers), root_logger.level, list(warnings.filters))
    root = write_set(tmp_path)
    restore(root, g2_dsn)
    with pytest.raises(ValueError, match="duplicate key"):
        restore(root, g2_dsn)
    assert capfd.readouterr() == ("", "")
    assert (list(root_logger.handlers), root_logger.level, list(warnings.filters)) == before


@pytest.mark.parametrize(
    "target",
    [
        f"postgresql://user:{_CANARY}@127.0.0.1:1/db",
        f"postgresql://user:{_CANARY}@[broken/db",
        f"postgresql://user:{_CANARY}%zz@h/db",
        f"host=127.0.0.1 port=1 password={_CANARY} nonsense={_CANARY}",
        f"host=127.0.0.1 port=1 password='{_CANARY}",
        {"host": "127.0.0.1", "port": 1, "password": _CANARY},
        {"host": "127.0.0.1", "passwd": _CANARY},
    ],
)
def test_password_is_never_shown(tmp_path: Path, target: Any) -> None:
    with pytest.raises((ConnectError, OptionError)) as caught:
        restore(write_set(tmp_path), target)
    error = caught.value
    assert _CANARY not in f"{error!r} {error} {error.hint} {error.to_dict()}"
    if "nonsense" not in str(target):
        assert _CANARY not in "".join(traceback.format_exception(error))


def test_password_of_a_good_target_is_never_shown(
    g2_dsn: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    target = make_conninfo(g2_dsn, password=_CANARY)
    with caplog.at_level(logging.DEBUG), Restorer(open_store(write_set(tmp_path)), target) as one:
        plan = one.plan()
        report = one.run(plan)
        shown = [repr(one), str(one), repr(plan), str(plan), repr(report), str(report)]
        shown += [str(plan.to_dict()), str(report.to_dict()), repr(one._target), caplog.text]
    assert _CANARY not in "".join(shown)


def test_nobody_is_there(tmp_path: Path) -> None:
    with pytest.raises(ConnectError) as caught:
        restore(write_set(tmp_path), "host=127.0.0.1 port=1")
    assert isinstance(caught.value.__cause__, psycopg.OperationalError)


def test_close_ends_connections_and_may_be_repeated(g2_dsn: str, tmp_path: Path) -> None:
    restorer = Restorer(open_store(write_set(tmp_path)), g2_dsn)
    assert _connections(g2_dsn) == 0  # nothing before the first use
    restorer.restore()
    assert _connections(g2_dsn) >= 1
    restorer.close()
    restorer.close()
    with pytest.raises(OptionError, match="has been closed"):
        restorer.restore()
    # The server renames no database that somebody is connected to, and waits a while for them.
    name = query(g2_dsn, "SELECT current_database()")[0][0]
    with psycopg.connect(g2_dsn, dbname="postgres", autocommit=True) as conn:
        conn.execute(f"ALTER DATABASE {name} RENAME TO {name}_free")
        conn.execute(f"ALTER DATABASE {name}_free RENAME TO {name}")


def test_progress_is_monotone_and_ends_at_the_totals(g2_dsn: str, tmp_path: Path) -> None:
    records = [(f"n-{n}", SQL_ID, "", "x" * 1000, "") for n in range(3000)]
    root = write_set(
        tmp_path,
        embedding=embedding_bytes(records=records),
        log={COLLECTION_FILE: 2, EMBEDDING_FILE: 3000},
    )
    events: list[ProgressEvent] = []
    report = restore(root, g2_dsn, progress=events.append)
    assert [(e.bytes_done, e.rows_done) for e in events] == sorted(
        (e.bytes_done, e.rows_done) for e in events
    )
    assert {(e.bytes_total, e.rows_total) for e in events} == {(report.size_bytes, 3002)}
    phases = list(dict.fromkeys(e.phase for e in events))
    assert phases == ["prepare", "load", "index", "verify", "publish", "done"]
    assert (events[-1].bytes_done, events[-1].rows_done) == (report.size_bytes, 3002)
    assert len([e for e in events if e.phase == "load"]) > 3


def test_progress_ends_at_the_total_without_rows(g2_dsn: str, tmp_path: Path) -> None:
    events: list[ProgressEvent] = []
    root = write_set(tmp_path, embedding=embedding_bytes(records=[]))
    report = restore(root, g2_dsn, progress=events.append)
    assert events[-1].bytes_done == events[-1].bytes_total == report.size_bytes
    assert events[-1].rows_total is None


def test_progress_bar_and_log(
    g2_dsn: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = write_set(tmp_path)
    shown = io.StringIO()
    restore(root, g2_dsn, progress=TqdmProgress(file=shown))
    assert "langchain_pg_embedding: 100%" in shown.getvalue()
    assert "6 rows" in shown.getvalue()
    with caplog.at_level(logging.INFO, "pgvector_restore"):
        restore(root, g2_dsn, mode="replace", progress=LoggingProgress())
    assert any("publish" in message for message in caplog.messages)
