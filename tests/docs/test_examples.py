"""The examples run as their readers run them: as programs, and as a notebook in a kernel."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.conftest import connect

EXAMPLES = Path(__file__).parents[2] / "examples"
STORE = EXAMPLES / "training_data"


def run(name: str, *args: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / name), *map(str, args)],
        check=False,
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=os.environ | {"PYTHONUTF8": "1"},
    )


def count(dsn: str) -> Any:
    with connect(dsn) as connection:
        row = connection.execute("SELECT count(*) FROM langchain_pg_embedding").fetchone()
    assert row
    return row[0]


def test_service_answers_each_request(dsn: str) -> None:
    done = run("service.py", STORE, dsn)
    assert done.returncode == 0, done.stderr
    answers = [line.split(" ", 1) for line in done.stdout.splitlines()]
    assert [status for status, _ in answers] == ["200", "200", "404", "400"]
    bodies = [json.loads(body) for _, body in answers]
    assert bodies[0]["backups"][0] == "vector_bak/20260112_030000"
    assert bodies[1]["rows_loaded"] == 68
    assert bodies[2] == {"error": "BackupNotFoundError", "message": "no such backup"}
    assert bodies[3]["error"] == "OptionError"
    assert "publish" in done.stderr
    assert count(dsn) == 64


def test_pipeline_step_can_run_twice(dsn: str) -> None:
    reports = []
    for _ in range(2):
        done = run("pipeline_step.py", STORE, dsn)
        assert done.returncode == 0, done.stderr
        assert "mode replace" in done.stderr
        reports.append(json.loads(done.stdout))
    assert [report["rows_loaded"] for report in reports] == [68, 68]
    assert reports[1]["tables"]["langchain_pg_embedding"]["rows_removed"] == 64
    assert count(dsn) == 64


def test_pipeline_step_refuses_to_lose_most_rows(dsn: str) -> None:
    assert run("pipeline_step.py", STORE, dsn).returncode == 0
    with connect(dsn) as connection:
        connection.execute(
            "INSERT INTO langchain_pg_embedding (id) SELECT 'x' || n FROM generate_series(1, 99) n"
        )
    done = run("pipeline_step.py", STORE, dsn)
    assert done.returncode == 5
    assert "langchain_pg_embedding has 163 rows, the backup only 64" in done.stderr
    assert count(dsn) == 163


def test_pipeline_step_ends_with_the_exit_code_of_its_error(dsn: str, tmp_path: Path) -> None:
    done = run("pipeline_step.py", tmp_path / "nothing", dsn)
    assert done.returncode == 3
    assert done.stdout == ""


# On Windows zmq says that the default event loop lacks what it needs, then helps itself.
@pytest.mark.filterwarnings("ignore:Proactor event loop does not implement:RuntimeWarning")
@pytest.mark.parametrize("named", [True, False], ids=["environment", "embedded"])
def test_notebook_runs(dsn: str, monkeypatch: pytest.MonkeyPatch, *, named: bool) -> None:
    if named:
        monkeypatch.setenv("PGVECTOR_RESTORE_DSN", dsn)
    book = nbformat.read(  # type: ignore[no-untyped-call]
        EXAMPLES / "notebook.ipynb", as_version=nbformat.NO_CONVERT
    )
    nbformat.validate(book)
    assert (book.nbformat, book.nbformat_minor) == (4, 5)
    assert not any(cell.get("outputs") for cell in book.cells), "committed without outputs"
    client = NotebookClient(
        book, timeout=400, kernel_name="python3", resources={"metadata": {"path": str(EXAMPLES)}}
    )
    client.execute()
    shown = {cell.id: cell.outputs for cell in book.cells if cell.cell_type == "code"}
    assert "vector_bak/20260112_030000" in text(shown["store"])
    assert "mode replace" in text(shown["plan"])
    html = [output.data["text/html"] for output in shown["run"] if "data" in output]
    assert "langchain_pg_embedding" in html[-1]
    assert "64 cells, python_repr" in text(shown["repairs"])
    assert len(text(shown["search"]).splitlines()) == 5
    if named:
        assert count(dsn) == 64


def text(outputs: list[Any]) -> str:
    return "".join(output.text for output in outputs if output.get("name") == "stdout")
