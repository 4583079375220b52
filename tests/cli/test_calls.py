"""Wrong calls, missing packages, help, secrets, closed pipes."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from click.testing import CliRunner

from pgvector_restore import __version__
from pgvector_restore.cli import main, run
from pgvector_restore.cli.app import app
from pgvector_restore.cli.text import document, masked, printable
from tests.cli.conftest import COMMAND, STORE, run_command

CANARY = "kanarienvogel"
NOWHERE = f"postgresql://me:{CANARY}@127.0.0.1:1/db"


def test_the_installed_command_is_this_one() -> None:
    (script,) = entry_points(group="console_scripts", name="pgvector-restore")
    assert script.load() is main


@pytest.mark.parametrize("command", [[], ["list"], ["plan"], ["restore"], ["embedded"]])
def test_help_names_the_exit_codes(command: list[str]) -> None:
    shown = CliRunner().invoke(app, [*command, "-h"])
    assert shown.exit_code == 0
    for line in ("0    done", "3    storage", "6    declined", "130  interrupted", "143  ended"):
        assert line in shown.output


def test_help_tells_the_default_mode() -> None:
    words = " ".join(CliRunner().invoke(app, ["restore", "-h"]).output.split())
    assert (
        "[default: append; replace on the embedded server when nothing names a database]" in words
    )


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"pgvector-restore, version {__version__}\n"


@pytest.mark.parametrize(
    "args",
    [
        ["list"],
        ["list", STORE, "--bad"],
        ["nonsense"],
        ["restore", STORE, "--mode", "merge"],
        ["restore", STORE, "--strategy", "magic"],
        ["restore", STORE, "--tables", "nosuch"],
        ["restore", STORE, "--tables", "langchain_pg_collection", "--mode", "replace"],
        ["restore", STORE, "--tables", ","],
        ["restore", STORE, "--schema", "x" * 64],
        ["restore", STORE, "--lock-timeout", "0"],
        ["restore", STORE, "--lock-timeout", "nan"],
        ["restore", STORE, "--lock-timeout", "inf"],
        ["restore", STORE, "--max-record-bytes", "0"],
        ["restore", STORE, "--dsn", ""],
        ["restore", STORE, "--dsn", "nonsense"],
        ["restore", STORE, "--task", "../etc"],
        ["restore", STORE, "vector_bak/20260112_030000", "--task", "task_20260105_091500"],
    ],
)
def test_a_wrong_call_is_told_in_a_sentence(
    args: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([str(arg) for arg in args]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert len(err.splitlines()) <= 2  # no server was started for it either


def test_a_wrong_call_as_json() -> None:
    done = run_command("list", STORE, "--bad", "--json")
    assert (done.code, done.document["ok"]) == (2, False)
    assert done.document["error"]["type"] == "OptionError"


def test_an_unknown_label_names_what_is_there() -> None:
    for command in ("plan", "restore"):
        done = run_command(command, STORE, "vector_bak/20200101_000000")
        assert (done.code, done.out) == (3, "")
        assert 'error: no backup set "vector_bak/20200101_000000"' in done.err
        assert "hint: there are vector_bak/20260112_030000" in done.err


def test_an_incomplete_set_says_what_is_missing() -> None:
    done = run_command("restore", STORE, "manual_20260110_101010/20260110_100255", "--json")
    assert done.code == 3
    assert done.document["error"]["type"] == "IncompleteBackupError"
    assert "langchain_pg_embedding_20260110_100255.csv missing" in done.err


def test_an_unreachable_database() -> None:
    done = run_command("restore", STORE, "--dsn", "host=127.0.0.1 port=1 user=me dbname=db")
    assert (done.code, done.out) == (5, "")
    assert "Connection refused" in done.err


def test_the_environment_names_the_database() -> None:
    ours = run_command("plan", STORE, PGVECTOR_RESTORE_DSN="host=127.0.0.1 port=1")
    libpq = run_command("plan", STORE, PGHOST="127.0.0.1", PGPORT="1")
    assert (ours.code, libpq.code) == (5, 5)


@pytest.mark.parametrize(
    "args",
    [
        ["restore", STORE, "--dsn", NOWHERE],
        ["restore", STORE, "--dsn", NOWHERE, "-v"],
        ["restore", STORE, "--dsn", NOWHERE, "-v", "-v", "--json"],
        ["plan", STORE, "--dsn", f"host=127.0.0.1 port=1 password={CANARY}", "-vv"],
        ["restore", STORE, "latest", NOWHERE],
        ["restore", STORE, NOWHERE, "--json"],
        ["restore", NOWHERE],
        ["restore", STORE, "--dns", NOWHERE],
        ["restore", STORE, "--dsn", f"host=127.0.0.1 {CANARY} password={CANARY}"],
        ["restore", STORE, "--dsn", f"postgresql://me:pass@{CANARY}@127.0.0.1:1/db", "-vv"],
        ["restore", STORE, "--dsn", f"postgresql://me:{CANARY}/x@127.0.0.1:1/db", "-vv"],
        ["restore", STORE, "--dsn", f"postgresql://me:1/{CANARY}@127.0.0.1:1/db", "-vv"],
        ["restore", STORE, "--dsn", f"postgresql://me:{CANARY}?x@127.0.0.1:1/db", "-vv"],
        ["restore", STORE, "--dsn", f"postgresql://me:{CANARY}#x@127.0.0.1:1/db", "-vv"],
        ["restore", STORE, "--dsn", f"postgresql://me:{CANARY} x@127.0.0.1:1/db", "-vv"],
    ],
)
def test_a_password_is_never_shown(args: list[str]) -> None:
    done = run_command(*args)
    assert done.code in (2, 3, 5)
    assert CANARY not in done.out + done.err


@pytest.mark.parametrize("package", ["click", "rich", "tqdm"])
def test_without_the_extra_there_is_one_sentence(package: str) -> None:
    program = f"""
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {package!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocker())
from pgvector_restore.cli import main
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", program, "list", STORE], check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"error: the command line needs {package}, which cannot be imported\n"
        'hint: pip install "pgvector_restore[cli]"\n'
    )


def test_an_unexpected_error_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError(f"boom postgresql://me:{CANARY}@h/db")

    monkeypatch.setattr("pgvector_restore.cli.app.open_store", fail)
    assert run(["list", "x"]) == 1
    line = "internal error: RuntimeError: boom postgresql://me:***@h/db\n"
    assert capsys.readouterr().err == line
    assert run(["-vv", "list", "x"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("Traceback")
    assert err.endswith(line)
    assert CANARY not in err


def test_interrupted_before_anything(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pgvector_restore.cli.app.open_store", interrupt)
    assert run(["restore", "x"]) == 130
    assert capsys.readouterr().err == "interrupted: nothing has changed\n"


def test_a_closed_pipe_is_no_failure() -> None:
    process = subprocess.Popen(
        [*COMMAND, "list", str(STORE)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    with process.stderr:
        assert process.stderr.read() == b""
    assert process.wait() == 0


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_consoles_of_any_encoding(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "数据📚").mkdir()
    for args in (["list", STORE], ["list", tmp_path / "数据📚"], ["list", tmp_path / "没有"]):
        done = subprocess.run(
            [*COMMAND, *map(str, args)],
            check=False,
            capture_output=True,
            env={**os.environ, "PYTHONIOENCODING": encoding},
        )
        assert done.returncode in (0, 3)
        assert b"internal" not in done.stderr
        done.stdout.decode(encoding)


def test_text_for_terminals() -> None:
    assert printable("a\x1b[2J\u202e\x00\ud800\n数据") == r"a\x1b[2J\u202e\x00\ud800\n数据"
    assert masked("postgresql://u:p@ss@h/d x") == "postgresql://u:***@h/d x"
    assert masked(r"host=h password='a \' b' user=u") == "host=h password=*** user=u"
    assert document({"a": "\x1b\x7f\u202e"}).isascii()
    assert "\x7f" not in document({"a": "\x7f"})
