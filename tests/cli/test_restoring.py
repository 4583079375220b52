"""Planning and restoring on real servers."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pgvector_restore import TargetBusyError
from pgvector_restore.cli import run
from tests.cli.conftest import STORE, Run, run_command
from tests.conftest import connect

EMBEDDING = "langchain_pg_embedding"


def rows(dsn: str, table: str = EMBEDDING) -> int:
    with connect(dsn) as connection:
        found = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    assert found is not None
    return int(found[0])


@pytest.fixture
def broken_store(tmp_path: Path) -> Path:
    """A store with a vector that is none, in record 3."""
    folder = tmp_path / "vector_bak"
    folder.mkdir()
    for table in ("collection", "embedding"):
        name = f"langchain_pg_{table}_20260112_030000.csv"
        shutil.copy(STORE / "vector_bak" / name, folder / name)
    path = folder / f"{EMBEDDING}_20260112_030000.csv"
    parts = path.read_text(encoding="utf-8").split('"[')
    parts[3] = "0.1,\x1b[2Jboom," + parts[3]
    path.write_text('"['.join(parts), encoding="utf-8", newline="")
    return tmp_path


def test_plan_touches_nothing(dsn: str) -> None:
    done = run_command("plan", STORE, "--dsn", dsn)
    assert (done.code, done.err) == (0, "")
    assert "restore vector_bak/20260112_030000 into " in done.out
    assert "mode append" in done.out
    assert "create, load" in done.out
    with connect(dsn) as connection:
        assert connection.execute("SELECT to_regclass(%s)", [EMBEDDING]).fetchone() == (None,)


def test_plan_as_json(g2_dsn: str) -> None:
    done = run_command("plan", STORE, "--mode", "replace", "--dsn", g2_dsn, "--json")
    assert (done.code, done.err) == (0, "")
    assert (done.document["ok"], done.document["mode"]) == (True, "replace")
    assert [one["logged_rows"] for one in done.document["tables"]] == [4, 64]


def test_restore_shows_what_it_did(dsn: str) -> None:
    done = run_command("restore", STORE, "--dsn", dsn, COLUMNS="100")
    assert (done.code, done.err) == (0, "")
    assert rows(dsn) == 64
    for words in (
        "./task_20260105_091500/vector_bak",
        "vector_bak/20260112_030000 *",
        "created: table langchain_pg_embedding",
        "repaired: langchain_pg_collection.cmetadata, 2 cells (python_repr)",
        "total: 68 rows, 35.1 KB",
        "by cosine distance",
        "0.0000",
        'psql "host=',
    ):
        assert words in done.out
    tables = [line for line in done.out.splitlines() if "psql" not in line and "{" not in line]
    assert max(map(len, tables)) <= 100


def test_restore_as_json_is_one_document(g2_dsn: str) -> None:
    done = run_command(
        "restore", STORE, "--task", "task_20260105_091500", "--dsn", g2_dsn, "--json"
    )
    assert (done.code, done.err) == (0, "")
    document = done.document
    assert (document["ok"], document["rows_loaded"], document["embedded"]) == (True, 34, False)
    assert document["label"] == "task_20260105_091500/20260105_091733"
    assert document["tables"][EMBEDDING]["rows_after"] == 32
    near = document["neighbours"][EMBEDDING]
    assert len(near) == 4
    assert near[0]["distance"] == 0
    assert rows(g2_dsn) == 32


def test_appending_twice_is_refused(g2_dsn: str) -> None:
    assert run_command("restore", STORE, "--dsn", g2_dsn).code == 0
    again = run_command("restore", STORE, "--dsn", g2_dsn)
    assert (again.code, again.out) == (4, "")
    assert again.err.startswith("error: server refused the row: duplicate key")
    assert "hint: " in again.err
    assert len(again.err.splitlines()) == 2
    assert rows(g2_dsn) == 64


def test_replacing_away_from_a_terminal_does_not_ask(g2_dsn: str) -> None:
    assert run_command("restore", STORE, "--dsn", g2_dsn).code == 0
    again = run_command("restore", STORE, "--mode", "replace", "--dsn", g2_dsn, "--json")
    assert (again.code, again.err) == (0, "")
    assert again.document["tables"][EMBEDDING]["rows_removed"] == 64
    assert rows(g2_dsn) == 64


def test_a_bad_cell_is_named_and_nothing_changes(g2_dsn: str, broken_store: Path) -> None:
    done = run_command("restore", broken_store, "--dsn", g2_dsn, "--json")
    assert done.code == 4
    error = done.document["error"]
    assert (error["file"], error["record"], error["column"]) == (
        f"{EMBEDDING}_20260112_030000.csv",
        3,
        "embedding",
    )
    assert f'({EMBEDDING}_20260112_030000.csv, record 3, column "embedding")' in done.err
    assert "\x1b" not in done.out + done.err
    assert rows(g2_dsn) == 0


def test_hostile_documents_do_not_reach_the_terminal(g2_dsn: str, tmp_path: Path) -> None:
    shutil.copytree(STORE / "vector_bak", tmp_path / "vector_bak")
    for path in tmp_path.glob("vector_bak/*_20260112_030000.csv"):
        text = path.read_text(encoding="utf-8")
        hostile = "\x1b]0;owned\x07\u202e"
        text = text.replace("{'id': '", f"{{'id': '{hostile}").replace(
            "How many", f"{hostile} many"
        )
        path.write_text(text, encoding="utf-8", newline="")
    done = run_command("restore", tmp_path, "--dsn", g2_dsn)
    assert (done.code, done.err) == (0, "")
    assert "owned" in done.out
    assert not set(done.out) & {"\x1b", "\x07", "\u202e"}


def test_schema_and_tables(g2_dsn: str) -> None:
    with connect(g2_dsn) as connection:
        connection.execute("CREATE SCHEMA shop")
    only = ("--tables", "langchain_pg_collection", "--schema", "shop")
    refused = run_command("restore", STORE, *only, "--no-create-tables", "--dsn", g2_dsn)
    assert refused.code == 5
    assert run_command("restore", STORE, *only, "--dsn", g2_dsn).code == 0
    assert rows(g2_dsn, "shop.langchain_pg_collection") == 4


def test_the_log_is_checked_unless_told_not_to(g2_dsn: str, tmp_path: Path) -> None:
    shutil.copytree(STORE / "vector_bak", tmp_path / "vector_bak")
    log = tmp_path / "vector_bak" / "vector_backup_log.txt"
    log.write_text(log.read_text(encoding="utf-8").replace("64 rows", "65 rows"), encoding="utf-8")
    done = run_command("restore", tmp_path, "--dsn", g2_dsn)
    assert done.code == 4
    assert "the backup log counts 65" in done.err
    assert run_command("restore", tmp_path, "--ignore-log", "--dsn", g2_dsn).code == 0


def test_a_password_is_not_shown_with_the_result(g2_dsn: str) -> None:
    secret = f"{g2_dsn} password=kanarienvogel"
    for extra in ([], ["-vv"], ["--json"]):
        done = run_command("restore", STORE, "--mode", "replace", "--dsn", secret, *extra)
        assert done.code == 0
        assert "kanarienvogel" not in done.out + done.err
    assert (
        run_command("restore", STORE, "-v", "--mode", "replace", PGVECTOR_RESTORE_DSN=secret)[0]
        == 0
    )


def test_verbose_logs_go_to_stderr(g2_dsn: str) -> None:
    done = run_command("restore", STORE, "-v", "--dsn", g2_dsn, "--json")
    assert (done.code, done.document["ok"]) == (0, True)
    assert "info: " in done.err


def test_interrupted_after_the_commit(
    g2_dsn: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pgvector_restore.cli.documents.look_at", interrupt)
    assert run(["restore", str(STORE), "--dsn", g2_dsn]) == 130
    assert capsys.readouterr().err == "interrupted: the restore had been committed\n"
    assert rows(g2_dsn) == 64


def test_interrupted_while_loading(
    g2_dsn: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pgvector_restore.plan.TablePlan.check_count", interrupt)
    assert run(["restore", str(STORE), "--dsn", g2_dsn]) == 130
    assert capsys.readouterr().err == "interrupted: nothing has changed\n"
    assert rows(g2_dsn) == 0


def test_looking_can_fail_without_failing_the_restore(
    g2_dsn: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise TargetBusyError("somebody holds a lock")

    monkeypatch.setattr("pgvector_restore.restorer.Restorer.nearest_neighbours", fail)
    assert run(["restore", str(STORE), "--dsn", g2_dsn]) == 0
    assert "could not look at the restored rows: somebody holds a lock" in capsys.readouterr().out


def test_the_embedded_server_is_the_default_and_can_be_used_again(embedded_default: Path) -> None:
    run: Run = run_command
    assert run("embedded", "status", "--json").document["running"] is False
    first = run("restore", STORE)
    assert first.code == 0
    assert f"started, data in {embedded_default}" in first.err
    assert "pgvector-restore embedded stop" in first.err
    assert "mode is replace there" in first.err
    assert 'psql "host=' in first.out
    again = run("restore", STORE, "--json")
    assert (again.code, again.document["mode"], again.document["embedded"]) == (0, "replace", True)
    assert run("restore", STORE, "--mode", "append").code == 4
    status = run("embedded", "status", "--json").document
    assert (status["running"], status["data_dir"]) == (True, str(embedded_default))
    assert run("embedded", "start").code == 0
    assert rows(status["connection"]) == 64
    assert run("embedded", "stop", "--json").document["stopped"] is True
    assert run("embedded", "stop").out == "no embedded server was running\n"
    assert "its data would be in" in run("embedded", "status").out


def test_a_swap_keeps_the_old_tables_and_revert_puts_them_back(g2_dsn: str) -> None:
    task = ("--task", "task_20260105_091500")
    assert run_command("restore", STORE, *task, "--dsn", g2_dsn).code == 0
    swap = ("--mode", "replace", "--strategy", "swap", "--keep-previous", "--jobs", "2")
    done = run_command("restore", STORE, *swap, "--dsn", g2_dsn, "--json")
    assert (done.code, done.err) == (0, "")
    assert (done.document["strategy"], rows(g2_dsn)) == ("swap", 64)
    assert rows(g2_dsn, f"public_previous.{EMBEDDING}") == 32
    tables = ("langchain_pg_collection", EMBEDDING)
    assert done.document["kept"] == [f"public_previous.{name}" for name in tables]
    listed = run_command("previous", "--dsn", g2_dsn, "--json")
    assert listed.document["previous"][0]["restore_id"] == done.document["restore_id"]
    done = run_command("revert", *tables, "--dsn", g2_dsn)
    assert (done.code, done.err) == (0, "")
    restore_id = listed.document["previous"][0]["restore_id"]
    first, second = done.out.splitlines()
    assert first.startswith("put back: public.langchain_pg_collection, ")
    assert second.startswith(f"put back: public.{EMBEDDING}, 32 rows, as before restore ")
    assert restore_id in second
    assert rows(g2_dsn) == 32
    done = run_command("revert", "--dsn", g2_dsn, "--json")
    assert (done.document["ok"], done.document["restore_id"]) == (True, restore_id)
    assert done.document["tables"] == [f"public.{name}" for name in tables]
    assert done.document["now"][EMBEDDING]["rows"] == rows(g2_dsn) == 64
    shown = run_command("previous", "--dsn", g2_dsn).out
    assert restore_id in shown
    assert "what was there before the restore" in shown
    done = run_command("previous", "--drop", restore_id, "--dsn", g2_dsn)
    assert (done.code, done.out.count(restore_id)) == (0, 1)
    assert run_command("previous", "--dsn", g2_dsn).out == "nothing is kept\n"
    assert run_command("previous", "--drop", restore_id, "--dsn", g2_dsn).code == 5
    assert run_command("previous", "--drop", "all", "--dsn", g2_dsn).code == 0


def test_nothing_kept_is_nothing_to_revert(g2_dsn: str) -> None:
    done = run_command("revert", EMBEDDING, "--dsn", g2_dsn, "--json")
    assert done.code != 0
    assert done.document["ok"] is False
    assert EMBEDDING in done.document["error"]["message"]


def test_options_of_the_load_are_checked(g2_dsn: str) -> None:
    for wrong in (("--jobs", "0"), ("--maintenance-memory", "lots"), ("--keep-previous",)):
        done = run_command("restore", STORE, *wrong, "--dsn", g2_dsn)
        assert done.code == 2, wrong
        assert done.err
    assert rows(g2_dsn) == 0
