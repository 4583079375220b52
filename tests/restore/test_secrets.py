"""A password is in nothing that is shown: a canary in all of it."""

from __future__ import annotations

import json
import logging
import pickle
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import make_conninfo
from psycopg_pool import ConnectionPool

from pgvector_restore import (
    BadCellError,
    CancelledError,
    CancelToken,
    ConnectError,
    PgvectorRestoreError,
    ProgressEvent,
    Restorer,
    open_store,
    pieces,
)
from tests.cli.conftest import run_command
from tests.restore.content import query
from tests.sets import SQL_ID, embedding_bytes, with_cell, write_set

CANARY = "s3cr3t-c4nary"


@pytest.fixture
def secret_dsn(g2_dsn: str) -> str:
    """The server trusts whoever reaches its socket, so that any password will do."""
    return make_conninfo(g2_dsn, password=CANARY)


def command_lines() -> str:
    """What all users of the machine can see."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended
            found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return "\n".join(found)


class Heard:
    """Everything that came out."""

    def __init__(self, dsn: str, log: pytest.LogCaptureFixture) -> None:
        self.text: list[str] = []
        self._dsn = dsn
        self._log = log

    def note(self, *things: Any) -> None:
        self.text += [f"{thing!r} {thing!s}" for thing in things]

    def listen(self, event: ProgressEvent) -> None:
        self.note(event)
        if event.phase in ("load", "index"):
            self.text.append(command_lines())
            sessions = "SELECT application_name, query FROM pg_stat_activity"
            self.note(query(self._dsn, sessions))

    def all(self) -> str:
        return "\n".join([*self.text, self._log.text])


@pytest.fixture
def heard(g2_dsn: str, caplog: pytest.LogCaptureFixture) -> Heard:
    caplog.set_level(logging.DEBUG)
    return Heard(g2_dsn, caplog)


def many(rows: int) -> bytes:
    return embedding_bytes(records=[(f"{n}", SQL_ID, '"[1,2,3]"', "", "") for n in range(rows)])


@pytest.mark.skipif(sys.platform == "win32", reason="looks at /proc")
@pytest.mark.parametrize(("strategy", "jobs"), [("in_place", 1), ("swap", 2)])
def test_a_restore_that_succeeds(
    secret_dsn: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    heard: Heard,
    strategy: str,
    jobs: int,
) -> None:
    monkeypatch.setattr(pieces, "PART_BYTES", 50_000)
    root = write_set(tmp_path, embedding=many(10_000))
    with Restorer(open_store(root), secret_dsn) as restorer:
        plan = restorer.plan(mode="replace", strategy=strategy, jobs=jobs, ledger=True)
        report = restorer.run(plan, progress=heard.listen)
        heard.note(restorer, plan, report, json.dumps(plan.to_dict()), report.to_dict())
        heard.note(vars(report) if hasattr(report, "__dict__") else report)
    heard.note(query(secret_dsn, "SELECT * FROM pgvector_restore_ledger"))
    text = heard.all()
    for part in (plan.backup.label, str(report), "pg_stat_activity", sys.executable):
        assert part in text
    assert CANARY not in text


def failing(dsn: str, root: Path, heard: Heard, **options: Any) -> PgvectorRestoreError:
    """The error of a restore that fails; all that it says is heard."""
    with pytest.raises(PgvectorRestoreError) as caught, Restorer(open_store(root), dsn) as restorer:
        restorer.restore(progress=heard.listen, **options)
    exc = caught.value
    heard.note(exc, exc.hint, json.dumps(exc.to_dict(), default=repr))
    heard.note("".join(traceback.format_exception(exc)))
    heard.note(pickle.loads(pickle.dumps(exc)).to_dict())  # noqa: S301 - our own
    return exc


def test_bad_data(secret_dsn: str, tmp_path: Path, heard: Heard) -> None:
    root = write_set(tmp_path, embedding=with_cell(2, "embedding", '"[1,nan]"'))
    error = failing(secret_dsn, root, heard, mode="replace", strategy="swap")
    assert isinstance(error, BadCellError)
    assert error.message in heard.all()
    assert CANARY not in heard.all()


def test_a_server_that_is_not_there(secret_dsn: str, tmp_path: Path, heard: Heard) -> None:
    root = write_set(tmp_path)
    for change in ({"host": "127.0.0.1", "port": 1}, {"dbname": "none"}, {"user": "nobody"}):
        error = failing(make_conninfo(secret_dsn, **change), root, heard)
        assert isinstance(error, ConnectError)
        assert error.message in heard.all()
    assert CANARY not in heard.all()


def test_called_off(secret_dsn: str, tmp_path: Path, heard: Heard) -> None:
    token = CancelToken()
    token.cancel()
    error = failing(secret_dsn, write_set(tmp_path), heard, mode="replace", cancel=token)
    assert isinstance(error, CancelledError)
    assert error.message in heard.all()
    assert CANARY not in heard.all()


def test_a_pool_of_the_callers(secret_dsn: str, tmp_path: Path, heard: Heard) -> None:
    root = write_set(tmp_path)
    with (
        ConnectionPool(secret_dsn, min_size=1, max_size=4, open=True) as pool,
        Restorer(open_store(root), pool) as restorer,
    ):
        report = restorer.restore(mode="replace", strategy="swap", jobs=2, progress=heard.listen)
        heard.note(restorer, report)
    assert str(report) in heard.all()
    assert CANARY not in heard.all()


@pytest.mark.parametrize("change", [{}, {"dbname": "none"}, {"sslmode": "never"}])
def test_the_command_line(
    secret_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, str]
) -> None:
    monkeypatch.setenv("PGVECTOR_RESTORE_DSN", make_conninfo(secret_dsn, **change))
    root = write_set(tmp_path)
    for arguments in (["plan"], ["restore", "--mode", "replace", "--yes"], ["restore", "--json"]):
        done = run_command(*arguments, str(root), "-vv")
        assert CANARY not in f"{done}"
