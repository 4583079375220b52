"""Signals that end a command: the old rows stay, and the exit code says which it was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pgvector_restore import ProgressEvent
from pgvector_restore.cli import run, watch
from pgvector_restore.storage._local import LocalStore
from tests.cli.conftest import COMMAND, STORE, TIMEOUT_S, run_command
from tests.cli.test_restoring import rows
from tests.conftest import connect

if sys.platform == "win32":
    pytest.skip("Windows has no such signals", allow_module_level=True)

_SIGNALS = pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)]
)
_WAITS = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'relation'"


@pytest.mark.parametrize("strategy", ["in-place", "swap"])
@_SIGNALS
def test_a_signal_while_it_waits(
    g2_dsn: str, tmp_path: Path, strategy: str, number: int, code: int
) -> None:
    assert run_command("restore", STORE, "task_20260105_091500/latest", "--dsn", g2_dsn).code == 0
    command: list[str] = [*COMMAND, "restore", str(STORE), "--mode", "replace"]
    command += ["--strategy", strategy, "--json"]
    told = tmp_path / "told"
    with connect(g2_dsn) as other, told.open("w") as err:
        with other.transaction():
            other.execute("SELECT FROM langchain_pg_embedding")
            process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=err,
                env={**os.environ, "PGVECTOR_RESTORE_DSN": g2_dsn},
            )
            with connect(g2_dsn) as watcher:
                while watcher.execute(_WAITS).fetchone() == (0,):
                    assert process.poll() is None
            process.send_signal(number)
            out, _ = process.communicate(timeout=TIMEOUT_S)
        assert process.returncode == code
    assert told.read_text() == "interrupted: nothing has changed\n"
    error = json.loads(out)["error"]
    assert (error["exit_code"], error["message"]) == (code, "interrupted: nothing has changed")
    assert rows(g2_dsn) == 32


@_SIGNALS
def test_a_signal_while_verify_waits(g2_dsn: str, tmp_path: Path, number: int, code: int) -> None:
    assert run_command("restore", STORE, "--dsn", g2_dsn).code == 0
    told = tmp_path / "told"
    with connect(g2_dsn) as other, told.open("w") as err, other.transaction():
        other.execute("LOCK TABLE langchain_pg_embedding")
        process = subprocess.Popen(
            [*COMMAND, "verify", str(STORE), "--json"],
            stdout=subprocess.PIPE,
            stderr=err,
            env={**os.environ, "PGVECTOR_RESTORE_DSN": g2_dsn},
        )
        with connect(g2_dsn) as watcher:
            while watcher.execute(_WAITS).fetchone() == (0,):
                assert process.poll() is None
        process.send_signal(number)
        out, _ = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == code
    assert told.read_text() == "interrupted: nothing has changed\n"
    assert json.loads(out)["error"]["exit_code"] == code


@_SIGNALS
@pytest.mark.parametrize("command", ["inspect", "verify"])
def test_a_signal_while_files_are_read(
    g2_dsn: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    number: int,
    code: int,
) -> None:
    assert run_command("restore", STORE, "--dsn", g2_dsn).code == 0
    heard = []

    def signal_at_once(event: ProgressEvent) -> None:
        heard.append(event)
        os.kill(os.getpid(), number)

    monkeypatch.setattr(watch, "_listener", lambda **_: signal_at_once)
    monkeypatch.setenv("PGVECTOR_RESTORE_DSN", g2_dsn)
    before = signal.getsignal(number)
    assert run([command, str(STORE)]) == code
    assert capsys.readouterr().err == "interrupted: nothing has changed\n"
    assert [event.phase for event in heard] == [command]
    assert signal.getsignal(number) == before


@_SIGNALS
def test_a_signal_while_sets_are_removed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    number: int,
    code: int,
) -> None:
    folder = tmp_path / "vector_bak"
    folder.mkdir()
    for day in (1, 2, 3):
        for table in ("langchain_pg_collection", "langchain_pg_embedding"):
            (folder / f"{table}_2026010{day}_000000.csv").write_text("id\n")
    delete, signals = LocalStore.delete, [number]

    def interrupted(store: LocalStore, key: str) -> None:
        if signals:
            os.kill(os.getpid(), signals.pop())
        delete(store, key)

    monkeypatch.setattr(LocalStore, "delete", interrupted)
    assert run(["prune", str(tmp_path), "--keep-last", "1", "--json"]) == code
    out, err = capfd.readouterr()
    # The set that was begun is removed whole.
    assert len(list(folder.iterdir())) == 4
    message = "interrupted: what was removed before that is gone"
    assert (json.loads(out)["error"]["message"], err) == (message, f"{message}\n")
