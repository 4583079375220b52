"""The command ``verify``, and ``restore --verify``."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pgvector_restore import ProgressEvent
from pgvector_restore.cli import run, watch
from tests.cli.conftest import STORE, run_command
from tests.restore.content import execute

EMBEDDING = "langchain_pg_embedding"


def test_a_restored_backup_is_there(g2_dsn: str) -> None:
    done = run_command("restore", STORE, "--verify", "content", "--dsn", g2_dsn, "--json")
    assert (done.code, done.document["verified"]) == (0, "content")
    digest = done.document["tables"][EMBEDDING]["digest"]
    done = run_command("verify", STORE, "--dsn", g2_dsn)
    assert (done.code, done.err) == (0, "")
    assert "holds exactly vector_bak/20260112_030000" in done.out
    assert f"{EMBEDDING}: 64 rows, all the same" in done.out
    done = run_command("verify", STORE, "vector_bak/latest", "--dsn", g2_dsn, "--json")
    assert (done.code, done.document["ok"], done.document["equal"]) == (0, True, True)
    assert done.document["tables"][EMBEDDING]["database_digest"] == digest


def test_rows_that_differ_are_shown(g2_dsn: str) -> None:
    run_command("restore", STORE, "--dsn", g2_dsn)
    execute(g2_dsn, f"INSERT INTO {EMBEDDING} (id) VALUES (E'\\x1b[2J\\nboom'), ('zz')")
    done = run_command("verify", STORE, "--dsn", g2_dsn)
    assert (done.code, done.err) == (8, "")
    assert "does not hold exactly vector_bak/20260112_030000" in done.out
    assert 'extra: "\\x1b[2J\\nboom"' in done.out
    assert "\x1b" not in done.out
    done = run_command("verify", STORE, "--dsn", g2_dsn, "--limit", "1", "--json")
    assert (done.code, done.document["ok"]) == (8, False)
    table = done.document["tables"][EMBEDDING]
    assert (table["rows_in_file"], table["rows_in_database"], table["more"]) == (64, 66, True)
    assert [(one["kind"], one["record"]) for one in table["differences"]] == [("extra", None)]
    done = run_command("verify", STORE, "--tables", "langchain_pg_collection", "--dsn", g2_dsn)
    assert (done.code, EMBEDDING in done.out) == (0, False)


def test_what_cannot_be_compared(dsn: str) -> None:
    done = run_command("verify", STORE, "--dsn", dsn)
    assert (done.code, done.out) == (5, "")
    assert 'error: schema "public" has no table langchain_pg_collection' in done.err
    done = run_command("verify", STORE, "--limit", "1001", "--dsn", dsn)
    assert done.code == 2
    done = run_command("verify", STORE, "nowhere/latest", "--dsn", dsn)
    assert done.code == 3


def test_a_restore_that_content_undoes(g2_dsn: str) -> None:
    execute(
        g2_dsn,
        f"""
        CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN NEW.document := 'x'; RETURN NEW; END $$;
        CREATE TRIGGER meddle BEFORE INSERT ON {EMBEDDING}
        FOR EACH ROW EXECUTE FUNCTION meddle();
        """,
    )
    done = run_command("restore", STORE, "--verify", "content", "--dsn", g2_dsn)
    assert (done.code, done.out) == (8, "")
    assert f"error: {EMBEDDING} does not hold what {EMBEDDING}_20260112_030000.csv" in done.err
    assert "hint: does a trigger of the table change rows?" in done.err
    done = run_command("restore", STORE, "--verify", "content", "--dsn", g2_dsn, "--json")
    error = done.document["error"]
    assert (error["type"], len(error["differences"])) == ("ContentMismatchError", 10)


def test_a_backup_of_one_task(g2_dsn: str) -> None:
    task = "task_20260105_091500"
    run_command("restore", STORE, "--task", task, "--mode", "replace", "--dsn", g2_dsn)
    done = run_command("verify", STORE, "--task", task, "--dsn", g2_dsn)
    assert (done.code, done.err) == (0, "")
    assert f"holds exactly {task}/" in done.out
    done = run_command("verify", STORE, "vector_bak/latest", "--task", task, "--dsn", g2_dsn)
    assert (done.code, done.out) == (2, "")
    assert f"vector_bak/latest is no backup set of --task {task}" in done.err


@pytest.mark.parametrize(
    ("option", "hidden"), [([], False), (["--no-progress"], True), (["--json"], True)]
)
@pytest.mark.parametrize("command", ["inspect", "verify"])
def test_progress_of_commands_that_only_read(
    g2_dsn: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    option: list[str],
    hidden: bool,  # noqa: FBT001 - a parameter
) -> None:
    assert run_command("restore", STORE, "--dsn", g2_dsn).code == 0
    monkeypatch.setenv("PGVECTOR_RESTORE_DSN", g2_dsn)
    heard: list[ProgressEvent] = []
    asked: list[bool] = []

    def listener(*, hidden: bool) -> Callable[[ProgressEvent], None]:
        asked.append(hidden)
        return heard.append

    monkeypatch.setattr(watch, "_listener", listener)
    assert run([command, str(STORE), *option]) == 0
    assert capsys.readouterr().err == ""
    assert asked == [hidden]
    assert {event.phase for event in heard[:-1]} == {command}
    assert {event.table for event in heard[:-1]} == {"langchain_pg_collection", EMBEDDING}
    assert (heard[-1].phase, heard[-1].bytes_done) == ("done", heard[-1].bytes_total)
