"""Full disks, closed pipes and terminals that vanish: what was done decides the exit code."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pgvector_restore import ProgressEvent, TqdmProgress
from tests.cli.conftest import COMMAND, STORE, TIMEOUT_S, run_command
from tests.cli.test_restoring import rows
from tests.sets import write_set

LABEL = "task_20260105_091500/latest"
FULL = Path("/dev/full")
_full = pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")


@contextmanager
def stream(kind: str) -> Iterator[Any]:
    """A stream that takes nothing: on a full disk, or a pipe that nobody reads."""
    if kind == "full":
        with FULL.open("wb") as full:
            yield full
        return
    reading, writing = os.pipe()
    os.close(reading)
    try:
        yield writing
    finally:
        os.close(writing)


def run_into(kind: str, *args: str | Path, errors: bool = False) -> tuple[int, str]:
    """Exit code, and what was said on stderr unless that takes nothing either."""
    with stream(kind) as out:
        done = subprocess.run(
            [*COMMAND, *map(str, args)],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out if errors else subprocess.PIPE,
            timeout=TIMEOUT_S,
        )
    return done.returncode, (done.stderr or b"").decode()


@_full
@pytest.mark.parametrize(
    ("kind", "extra", "errors"),
    [("full", (), False), ("full", ("--json",), True), ("closed", ("--json", "-v"), True)],
)
def test_a_restore_that_cannot_be_told(
    g2_dsn: str, kind: str, extra: tuple[str, ...], *, errors: bool
) -> None:
    args: tuple[str | Path, ...] = ("restore", STORE, LABEL, "--dsn", g2_dsn, *extra)
    code, said = run_into(kind, *args, errors=errors)
    assert (code, rows(g2_dsn)) == (0, 32)
    if not errors:
        reason = "No space left on device"
        assert said == f"warning: the restore is done, but not all of it could be told: {reason}\n"
    # The same once more is refused, and that is what the exit code says then.
    code, said = run_into(kind, *args, errors=errors)
    assert code == 4
    assert errors or said.startswith("error: server refused the row: duplicate key")


@_full
def test_what_every_other_command_has_done(g2_dsn: str, tmp_path: Path) -> None:
    assert run_command("restore", STORE, LABEL, "--dsn", g2_dsn).code == 0
    code, said = run_into("full", "backup", tmp_path / "a", "--dsn", g2_dsn)
    assert (code, said[:8]) == (0, "warning:")
    label = said.split()[2]
    assert f"backup {label} is done, but not all of it could be told: No space left" in said

    verify = ("verify", tmp_path / "a", "--dsn", g2_dsn)
    assert run_into("full", *verify)[0] == 0
    assert run_into("closed", *verify, "--json")[0] == 0
    other = ("verify", STORE, "vector_bak/latest", "--dsn", g2_dsn)
    code, said = run_into("full", *other)
    assert (code, "holds not this backup" in said) == (8, True)
    assert run_into("closed", *other, errors=True)[0] == 8

    assert run_into("full", "copy", tmp_path / "a", label, tmp_path / "b")[0] == 0
    assert run_command("inspect", tmp_path / "b", label).code == 0
    assert run_into("closed", "inspect", tmp_path / "b", label)[0] == 0
    write_set(tmp_path / "c", embedding=b"no header\r\n")
    assert run_into("full", "inspect", tmp_path / "c", "vector_bak/20260102_030405")[0] == 4

    code, said = run_into("full", "prune", tmp_path / "b", "--keep-last", "1", "--yes")
    assert (code, said[:30]) == (0, "warning: the prune is done, bu")

    restore = ("restore", tmp_path / "a", "--mode", "replace", "--keep-previous", "--dsn", g2_dsn)
    assert run_command(*restore, "--strategy", "swap", "--yes").code == 0
    tables = ("langchain_pg_collection", "langchain_pg_embedding")
    code, said = run_into("full", "revert", *tables, "--dsn", g2_dsn, "--json")
    assert (code, said[:38]) == (0, "warning: the tables are put back, but ")


@_full
@pytest.mark.parametrize("args", [("list", STORE), ("list", STORE, "--json"), ("list", "--help")])
def test_telling_is_all_there_is_to_do(args: tuple[str, ...]) -> None:
    assert run_into("full", *args) == (
        1,
        "error: cannot write to stdout: No space left on device\n",
    )
    assert run_into("full", *args, errors=True)[0] == 1
    assert run_into("closed", *args) == (0, "")


@_full
def test_errors_that_cannot_be_told(tmp_path: Path) -> None:
    for kind in ("full", "closed"):
        assert run_into(kind, "list", tmp_path / "none", errors=True)[0] == 3
        code, said = run_into(kind, "list", tmp_path / "none", "--json")
        assert code == 3
        assert said.startswith("error: no such folder")


@pytest.mark.skipif(sys.platform == "win32", reason="needs descriptors that are not there")
def test_streams_that_are_not_there(g2_dsn: str) -> None:
    call = subprocess.list2cmdline([*COMMAND, "restore", str(STORE), LABEL, "--dsn", g2_dsn])
    done = subprocess.run(["sh", "-c", f"{call} >&- 2>&-"], check=False, timeout=TIMEOUT_S)
    assert (done.returncode, rows(g2_dsn)) == (0, 32)


class Vanishing(io.StringIO):
    """A terminal that is there for so many writes."""

    def __init__(self, writes: int, error: Exception) -> None:
        super().__init__()
        self.left, self.error = writes, error

    def write(self, text: str) -> int:
        self.left -= 1
        if self.left < 0:
            raise self.error
        return super().write(text)


@pytest.mark.parametrize("writes", [0, 1, 3])
@pytest.mark.parametrize(
    "error", [OSError(5, "EIO"), BrokenPipeError(32, "EPIPE"), ValueError("I/O on closed file")]
)
def test_bar_on_a_terminal_that_vanishes(writes: int, error: Exception) -> None:
    file = Vanishing(writes, error)
    bar = TqdmProgress(file=file, mininterval=0)
    for done in range(0, 101, 10):
        bar(ProgressEvent("load", "t", done, 100, done))
    bar(ProgressEvent("done", None, 100, 100, 100))
    bar.close()
    assert file.left < 0
