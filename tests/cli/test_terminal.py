"""On a terminal: the question before rows are removed, the bar, the colours."""

from __future__ import annotations

import sys

import pytest

from tests.cli.conftest import STORE, run_command
from tests.cli.test_restoring import rows

if sys.platform == "win32":
    pytest.skip("Windows has no pseudo-terminals", allow_module_level=True)

from tests.cli.conftest import CTRL_C, run_on_terminal

REPLACE = ("restore", STORE, "--mode", "replace", "--dsn")


@pytest.fixture
def full_dsn(g2_dsn: str) -> str:
    """A database that holds a small set."""
    done = run_command("restore", STORE, "task_20260105_091500/latest", "--dsn", g2_dsn)
    assert done.code == 0
    return g2_dsn


@pytest.mark.parametrize("answer", ["n\n", "\n", "yess\n", "\x04"])
def test_only_yes_is_yes(full_dsn: str, answer: str) -> None:
    code, shown = run_on_terminal(*REPLACE, full_dsn, answers=answer)
    assert code == 6
    assert "Remove 34 rows and restore? [y/N]" in shown
    assert "remove, load" in shown
    assert shown.rstrip().endswith("declined: nothing has changed")
    assert rows(full_dsn) == 32


def test_yes_restores(full_dsn: str) -> None:
    code, shown = run_on_terminal(*REPLACE, full_dsn, answers="y\n")
    assert (code, rows(full_dsn)) == (0, 64)
    assert "total: 68 rows" in shown


def test_the_option_answers(full_dsn: str) -> None:
    code, shown = run_on_terminal(*REPLACE, full_dsn, "--yes", "--no-progress")
    assert (code, rows(full_dsn)) == (0, 64)
    assert "[y/N]" not in shown
    assert "B/s" not in shown.partition("restored into")[0]


def test_nothing_to_remove_nothing_to_ask(g2_dsn: str) -> None:
    code, shown = run_on_terminal(*REPLACE, g2_dsn)
    assert (code, rows(g2_dsn)) == (0, 64)
    assert "[y/N]" not in shown


def test_ctrl_c_at_the_question(full_dsn: str) -> None:
    code, shown = run_on_terminal(*REPLACE, full_dsn, answers=CTRL_C)
    assert code == 130
    assert "interrupted: nothing has changed" in shown
    assert rows(full_dsn) == 32


@pytest.mark.parametrize("options", [(), ("--no-progress",)])
@pytest.mark.parametrize("command", ["restore", "verify", "inspect"])
def test_the_bar(g2_dsn: str, command: str, options: tuple[str, ...]) -> None:
    assert run_command("restore", STORE, "--dsn", g2_dsn).code == 0
    database = () if command == "inspect" else ("--dsn", g2_dsn)
    mode = ("--mode", "replace", "--yes") if command == "restore" else ()
    code, shown = run_on_terminal(command, STORE, *mode, *database, *options)
    assert code == 0
    assert ("0%|" in shown) == (not options)
