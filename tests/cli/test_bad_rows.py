"""Bad records on the command line: set aside loudly, or found by ``inspect``."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import STORE, run_command
from tests.restore.content import count
from tests.sets import (
    EMBEDDING_CELLS,
    EMBEDDING_FILE,
    SQL_ID,
    embedding_bytes,
    quote,
    with_cell,
    write_set,
)


def broken_set(folder: Path) -> Path:
    return write_set(folder / "store", embedding=with_cell(2, "embedding", quote("[1,nan]")))


def test_restore_says_it_loudly_and_exits_with_7(g2_dsn: str, tmp_path: Path) -> None:
    store, rejects = broken_set(tmp_path), tmp_path / "rejects"
    options = ("--dsn", g2_dsn, "--on-bad-row", "quarantine", "--reject-dir", rejects)
    plan = run_command("plan", store, *options)
    assert plan.code == 0
    assert not rejects.exists()
    done = run_command("restore", store, *options)
    assert done.code == 7
    folder = rejects / "rejected_20260102_030405"
    assert f"NOT RESTORED: 1 bad record; mend them in {folder}" in done.err
    assert "warning: 1 bad record of langchain_pg_embedding not restored" in done.out
    assert count(g2_dsn, "langchain_pg_embedding") == 3
    assert (folder / EMBEDDING_FILE).read_bytes().count(b"b-sql") == 2


def test_json_carries_it(g2_dsn: str, tmp_path: Path) -> None:
    store = broken_set(tmp_path)
    done = run_command(
        "restore", store, "--dsn", g2_dsn, "--json", "--on-bad-row", "quarantine",
        "--reject-dir", tmp_path,
    )  # fmt: skip
    assert done.code == 7
    document = done.document
    assert (document["ok"], document["rows_rejected"]) == (True, 1)
    table = document["tables"]["langchain_pg_embedding"]
    assert (table["rows_read"], table["rows_loaded"], table["rows_rejected"]) == (4, 3, 1)
    assert table["reject_file"] == str(Path(document["reject_folder"]) / EMBEDDING_FILE)
    reasons = Path(table["reject_file"]).with_suffix(".reasons.jsonl").read_text("ascii")
    assert json.loads(reasons)["record"] == 2


def test_too_many_are_bad_data(g2_dsn: str, tmp_path: Path) -> None:
    store = broken_set(tmp_path)
    done = run_command(
        "restore", store, "--dsn", g2_dsn, "--on-bad-row", "quarantine", "--max-bad-rows", "0",
        "--reject-dir", tmp_path / "rejects",
    )  # fmt: skip
    assert done.code == 4
    assert "error: more than 0 records cannot be restored" in done.err
    assert count(g2_dsn, "langchain_pg_embedding") == 0
    assert list((tmp_path / "rejects").iterdir()) == []


def test_inspect_a_good_set() -> None:
    done = run_command("inspect", STORE)
    assert (done.code, done.err) == (0, "")
    assert "langchain_pg_embedding_20260112_030000.csv  (64 records, 34.7 KB)" in done.out
    assert '64 cells of "cmetadata" will be repaired (python_repr)' in done.out
    assert done.out.endswith("can be restored, as far as it can be told without a database\n")


def test_inspect_a_task_as_json() -> None:
    done = run_command("inspect", STORE, "--task", "task_20260105_091500", "--json")
    assert done.code == 0
    assert done.document["ok"] is True
    assert done.document["label"] == "task_20260105_091500/20260105_091733"
    assert set(done.document["files"]) == {"langchain_pg_collection", "langchain_pg_embedding"}


def test_inspect_exits_with_4_and_escapes_what_it_shows(tmp_path: Path) -> None:
    ids = ("\x1b[2Jx", "\x1b[2Jx", "y\u202e", "y\u202e")
    records = [(key, SQL_ID, quote("[1"), *EMBEDDING_CELLS[0][3:]) for key in ids]
    store = write_set(tmp_path, embedding=embedding_bytes(records=records))
    done = run_command("inspect", store, "--limit", "1")
    assert done.code == 4
    assert "4 records cannot be restored (4 cells):" in done.out
    assert '  record 1, column "embedding": cell is not a vector' in done.out
    assert "record 2, column" not in done.out
    assert r"\x1b[2Jx: 2 times, records 1, 2" in done.out
    assert "\x1b" not in done.out
    assert done.out.endswith("HAS FAULTS: not all of it can be restored\n")
    document = run_command("inspect", store, "--json")
    assert document.code == 4
    assert document.document["ok"] is False
    assert len(document.document["files"]["langchain_pg_embedding"]["first_bad"]) == 4


def test_inspect_of_nothing(tmp_path: Path) -> None:
    done = run_command("inspect", tmp_path)
    assert done.code == 3
    assert "error: no complete backup set" in done.err
