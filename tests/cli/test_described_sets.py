"""Sets with a manifest on the command line."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import run_command
from tests.described import MANIFEST, folder_of, write_described
from tests.restore.content import execute


def test_a_set_in_binary(g2_dsn: str, tmp_path: Path) -> None:
    execute(g2_dsn, "INSERT INTO langchain_pg_embedding (id) VALUES ('a'), ('b'), ('c')")
    write_described(tmp_path, g2_dsn, part_rows=2)
    listed = run_command("list", tmp_path)
    assert "1 backup set" in listed.out
    inspected = run_command("inspect", tmp_path)
    assert inspected.code == 0, inspected.err
    assert "langchain_pg_embedding_20261125_003000.pgcopy  (3 records" in inspected.out
    execute(g2_dsn, "DELETE FROM langchain_pg_embedding WHERE id = 'b'")
    differing = run_command("verify", tmp_path, "--dsn", g2_dsn)
    assert differing.code == 8
    assert 'missing: "b" (record 2)' in differing.out
    done = run_command("restore", tmp_path, "--mode", "replace", "--yes", "--dsn", g2_dsn)
    assert done.code == 0, done.err
    assert run_command("verify", tmp_path, "--dsn", g2_dsn).code == 0
    refused = run_command("restore", tmp_path, "--ignore-manifest", "--dsn", g2_dsn)
    assert refused.code == 2
    assert "without the manifest nobody knows the columns" in refused.err


def test_a_damaged_manifest_is_left_aside(g2_dsn: str, tmp_path: Path) -> None:
    execute(g2_dsn, "INSERT INTO langchain_pg_embedding (id) VALUES ('a'), ('b')")
    write_described(tmp_path, g2_dsn, form="csv")
    (folder_of(tmp_path) / MANIFEST).write_text("{")
    inspected = run_command("inspect", tmp_path)
    assert inspected.code == 4
    assert "manifest is no JSON document" in inspected.out
    for command in ("restore", "verify"):
        more = ("--mode", "replace", "--yes") if command == "restore" else ()
        refused = run_command(command, tmp_path, *more, "--dsn", g2_dsn)
        assert refused.code == 4
        assert "manifest is no JSON document" in refused.err
        done = run_command(command, tmp_path, *more, "--ignore-manifest", "--dsn", g2_dsn)
        assert done.code == 0, done.err
