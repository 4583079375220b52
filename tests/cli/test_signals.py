"""Signals that end a command: the old rows stay, and the exit code says which it was."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgvector_restore import ProgressEvent
from pgvector_restore.cli import app, run, watch
from pgvector_restore.db import kept, revert
from pgvector_restore.storage._local import LocalStore
from tests.cli.conftest import COMMAND, STORE, TIMEOUT_S, run_command
from tests.cli.test_restoring import rows
from tests.conftest import connect

if sys.platform == "win32":
    pytest.skip("Windows has no such signals", allow_module_level=True)

_SIGNALS = pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)]
)
_OR_HANGUP = pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]
)
_WAITS = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'relation'"


@pytest.fixture(autouse=True)
def no_signal_is_ignored() -> Iterator[None]:
    """As one is for all that is started under ``nohup``, the tests perhaps."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    for number in before:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("strategy", ["in-place", "swap"])
@_OR_HANGUP
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
    # A server that does not answer a request to cancel in time is left by cutting the connection.
    left = r"(warning: staging schema \w+ is left for the next restore: None\n)?"
    assert re.fullmatch(left + "interrupted: nothing has changed\n", told.read_text())
    error = json.loads(out)["error"]
    assert (error["exit_code"], error["message"]) == (code, "interrupted: nothing has changed")
    assert rows(g2_dsn) == 32


@_OR_HANGUP
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


@_OR_HANGUP
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


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT])
def test_a_signal_that_is_ignored(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """As ``nohup``, and a shell for what runs beside it, have it."""
    heard = []

    def signal_at_once(event: ProgressEvent) -> None:
        heard.append(event.phase)
        os.kill(os.getpid(), number)

    monkeypatch.setattr(watch, "_listener", lambda **_: signal_at_once)
    before = signal.signal(number, signal.SIG_IGN)
    try:
        assert run(["inspect", str(STORE), "--json"]) == 0
    finally:
        signal.signal(number, before)
    assert heard


def test_a_terminal_that_is_closed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing can be shown there any more: that is no reason to fail."""
    heard = []

    def closed(event: ProgressEvent) -> None:
        heard.append(event.phase)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(watch, "_listener", lambda **_: closed)
    assert run(["inspect", str(STORE)]) == 0
    assert len(heard) == 1
    assert "langchain_pg_embedding" in capsys.readouterr().out


@_OR_HANGUP
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


@_OR_HANGUP
@pytest.mark.parametrize("verb", ["revert", "previous"])
def test_a_signal_while_kept_tables_are_exchanged_or_dropped(
    g2_dsn: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    verb: str,
    number: int,
    code: int,
) -> None:
    restore = ("restore", str(STORE), "task_20260105_091500/latest", "--dsn", g2_dsn)
    assert run_command(*restore).code == 0
    swap = ("--mode", "replace", "--strategy", "swap", "--keep-previous")
    assert run_command(*restore, *swap).code == 0
    command = ["revert", "--json"] if verb == "revert" else ["previous", "--drop", "all", "--json"]
    monkeypatch.setenv("PGVECTOR_RESTORE_DSN", g2_dsn)
    capfd.readouterr()
    for place in ("locked", "done"):

        def signalled(point: str, *_: object, sought: str = f"{verb}.{place}") -> None:
            if point == sought:
                os.kill(os.getpid(), number)

        monkeypatch.setattr(revert if verb == "revert" else kept, "reach", signalled)
        ended = run(command)
        out, err = capfd.readouterr()
        shown = run_command("previous", "--dsn", g2_dsn, "--json").document["previous"]
        if place == "locked":
            assert (ended, err) == (code, "interrupted: nothing has changed\n")
            (then,) = shown
            assert [one["reverted_at"] for one in then["tables"]] == [None, None]
        elif verb == "revert":  # COMMIT has come before
            assert (ended, err, json.loads(out)["ok"]) == (0, "", True)
            assert None not in [one["reverted_at"] for one in shown[0]["tables"]]
        else:
            assert (ended, err, json.loads(out)["ok"], shown) == (0, "", True, [])


@_OR_HANGUP
def test_a_signal_while_what_was_done_is_told(
    g2_dsn: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    number: int,
    code: int,
) -> None:
    def signalled(_: object) -> None:
        os.kill(os.getpid(), number)
        time.sleep(TIMEOUT_S)

    monkeypatch.setattr(app, "print_document", signalled)
    monkeypatch.setenv("PGVECTOR_RESTORE_DSN", g2_dsn)
    assert code != 0
    assert run(["restore", str(STORE), "task_20260105_091500/latest", "--json"]) == 0
    told = "the restore is done, but not all of it could be told: interrupted"
    assert told in capfd.readouterr().err
    assert rows(g2_dsn) == 32


#: The command line, sent a signal when it comes to import a module.
EARLY = """
import os, runpy, sys
module, number = sys.argv[1], int(sys.argv[2])
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == module:
            os.kill(os.getpid(), number)
sys.meta_path.insert(0, Finder())
sys.argv[:] = ["pgvector-restore", *sys.argv[3:]]
runpy.run_module("pgvector_restore", run_name="__main__", alter_sys=False)
"""


@pytest.mark.parametrize("module", ["click", "pgvector_restore.cli.app", "psycopg", "numpy"])
@_SIGNALS
def test_a_signal_while_it_is_loaded(module: str, number: int, code: int) -> None:
    start = [sys.executable, "-X", "dev", "-W", "error", "-c", EARLY, module, str(int(number))]
    for args in (["list", str(STORE), "--json"], ["list", str(STORE)]):
        done = subprocess.run(
            [*start, *args], check=False, capture_output=True, text=True, timeout=TIMEOUT_S
        )
        assert (done.returncode, done.stderr) == (code, "interrupted: nothing has changed\n")
        if "--json" not in args:
            assert done.stdout == ""
            continue
        error = json.loads(done.stdout)["error"]
        assert (error["exit_code"], error["type"]) == (code, "KeyboardInterrupt")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_loading_leaves_signals_as_they_were(number: int) -> None:
    script = f"""
import signal, sys
from pgvector_restore.cli import app, main
found = []
app.list_command.callback = lambda **_: found.append(signal.getsignal({int(number)}))
if sys.argv.pop(1) == "ignored":
    signal.signal({int(number)}, signal.SIG_IGN)
before = signal.getsignal({int(number)})
try:
    main()
except SystemExit:
    print(found == [before])
"""
    for kind in ("default", "ignored"):
        done = subprocess.run(
            [sys.executable, "-c", script, kind, "list", STORE],
            check=False,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
        assert (done.stdout, done.stderr) == ("True\n", "")
