from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pgvector_restore.cli.counts import Counts
from pgvector_restore.cli.documents import catalog_document
from pgvector_restore.cli.listing import print_catalog
from pgvector_restore.cli.text import print_document
from pgvector_restore.manifest import Manifest, ManifestColumn, ManifestFile, ManifestTable
from pgvector_restore.model import (
    BackupFile,
    BackupSet,
    Catalog,
    IncompleteSet,
    Location,
    ObjectInfo,
)
from pgvector_restore.schema import COLLECTION, EMBEDDING
from tests.cli.conftest import STORE, run_command

SETS = (
    "vector_bak/20260112_030000",
    "manual_20260110_101010/20260110_101010",
    "task_20260105_091500/20260105_091733",
    "vector_bak/20260103_030000",
)


def test_list_shows_every_set_and_what_is_incomplete() -> None:
    done = run_command("list", STORE)
    assert (done.code, done.err) == (0, "")
    for label in SETS:
        assert label in done.out
    assert "manual_20260110_101010/20260110_100255" in done.out
    assert "langchain_pg_embedding_20260110_100255.csv missing" in done.out
    assert "4 + 64" in done.out
    assert done.out.endswith("4 backup sets at 3 locations, 109.7 KB; 2 incomplete\n")


def test_list_fits_a_terminal_of_100_columns() -> None:
    done = run_command("list", STORE, COLUMNS="100")
    assert max(map(len, done.out.splitlines())) <= 100
    for label in SETS:
        assert label in done.out


def test_list_as_json() -> None:
    done = run_command("list", STORE, "--json")
    assert (done.code, done.err) == (0, "")
    document = done.document
    assert document["ok"] is True
    newest, manual, task = document["locations"]
    assert (newest["type"], newest["relative_path"]) == ("global", "./vector_bak")
    assert "task_id" not in newest
    assert newest["log_file"] == "vector_backup_log.txt"
    assert (manual["task_id"], task["task_id"]) == (
        "manual_20260110_101010",
        "task_20260105_091500",
    )
    assert [one["label"] for one in newest["sets"]] == [SETS[0], SETS[3]]
    assert newest["sets"][0]["backup_date"] == "2026-01-12 03:00:00"
    assert [file["rows"] for file in newest["sets"][0]["files"]] == [4, 64]
    assert [file["rows"] for file in newest["sets"][1]["files"]] == [None, None]
    assert {one["label"] for one in document["incomplete"]} == {
        "vector_bak/20260111_030000",
        "manual_20260110_101010/20260110_100255",
    }
    assert document["summary"]["sets"] == 4


def test_list_of_one_task_and_of_the_system() -> None:
    task = run_command("list", STORE, "--task", "task_20260105_091500", "--json").document
    assert [place.get("task_id") for place in task["locations"]] == ["task_20260105_091500"]
    system = run_command("list", STORE, "--global-only", "--json").document
    assert [place["type"] for place in system["locations"]] == ["global"]
    both = run_command("list", STORE, "--global-only", "--task", "task_20260105_091500")
    assert both.code == 2


def test_nothing_found_is_no_failure(tmp_path: Path) -> None:
    done = run_command("list", tmp_path)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("no backups in ")
    assert run_command("list", tmp_path, "--json").document["locations"] == []


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    done = run_command("list", tmp_path / "none")
    assert (done.code, done.out) == (3, "")
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 2


def make_sets(folder: Path, count: int) -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        for table in ("collection", "embedding"):
            (folder / f"langchain_pg_{table}_202501{number + 1:02}_000000.csv").write_text("x")


def test_long_listings_are_cut_and_say_so(tmp_path: Path) -> None:
    make_sets(tmp_path / "vector_bak", 12)
    for number in range(30):
        make_sets(tmp_path / f"task_{number}" / "vector_bak", 1)
    done = run_command("list", tmp_path)
    assert "… and 2 more" in done.out
    assert "… and 11 locations more: --all shows them" in done.out
    assert "42 backup sets at 31 locations" in done.out
    whole = run_command("list", tmp_path, "--all")
    assert "more" not in whole.out
    assert "vector_bak/20250101_000000" in whole.out
    assert len(run_command("list", tmp_path, "--json").document["locations"]) == 31


HOSTILE = "a\x1b]0;owned\x07\u202e[red]b[/red]\x9b2J\nc\udcff"
DRIVES_TERMINALS = {"\x1b", "\x07", "\x9b", "\u202e", "\udcff"}


@pytest.mark.parametrize("extra", [[], ["--json"]])
def test_a_hostile_path_does_not_reach_the_terminal(tmp_path: Path, extra: list[str]) -> None:
    done = run_command("list", tmp_path / HOSTILE, *extra)
    assert done.code == 2
    assert not set(done.out + done.err) & DRIVES_TERMINALS


def test_hostile_names_in_a_listing(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever a layout of one's own lets through."""
    place = Location("task", HOSTILE, f"{HOSTILE}/vector_bak", task_id=HOSTILE)
    info = ObjectInfo(f"{HOSTILE}/vector_bak/{HOSTILE}.csv", 1)
    files = (BackupFile(HOSTILE, info), BackupFile(f"{HOSTILE}_2", info))
    backup = BackupSet(place, "20250722_010318", files)
    left = IncompleteSet(place, "20250722_010318", (info,), f"{HOSTILE} missing")
    catalog = Catalog((place,), (backup,), (left,))
    print_catalog(HOSTILE, catalog, Counts(), show_all=False)
    print_document(catalog_document(HOSTILE, catalog, Counts()))
    shown = capsys.readouterr().out
    assert "owned" in shown
    assert not set(shown) & DRIVES_TERMINALS
    assert "[red]b[/red]" in shown


def test_hostile_files_beside_the_sets(tmp_path: Path) -> None:
    folder = tmp_path / "vector_bak"
    make_sets(folder, 1)
    name = HOSTILE.removesuffix("\udcff").replace("/", "")
    (folder / f"langchain_pg_embedding_20250101_000000{name}.csv").write_text("x")
    (folder / f"langchain_pg_embedding_20250101_000000.csv{name}").write_text("x")
    (tmp_path / f"task_{name}").mkdir()
    (folder / "vector_backup_log.txt").write_text(f"✓ {name}: 1 rows -> {name}.csv (1 B)\n")
    done = run_command("list", tmp_path)
    assert done.code == 0
    assert not set(done.out + done.err) & DRIVES_TERMINALS


def test_markup_is_no_markup(tmp_path: Path) -> None:
    (tmp_path / "[bold]x:smile:").mkdir()
    done = run_command("list", tmp_path / "[bold]x:smile:")
    assert "[bold]x:smile:" in done.out


def described(root: Path, *stamps: str, table: str | None = None) -> None:
    """Sets with a manifest of 2 and 3 rows, and without a log."""
    folder = root / "vector_bak"
    folder.mkdir(parents=True, exist_ok=True)
    names = (COLLECTION, EMBEDDING) if table is None else (table,)
    column = (ManifestColumn("id", "uuid"),)
    for stamp in stamps:
        tables = []
        for rows, name in enumerate(names, 2):
            file = ManifestFile(f"{name}_{stamp}.csv", 3, "0" * 64, rows)
            tables.append(ManifestTable(name, "public", rows, None, column, (file,)))
            (folder / file.name).write_text("id\n")
        at = "2026-01-01T00:00:00+00:00"
        manifest = Manifest(stamp, "csv", None, at, "0.1.0", 180004, None, tuple(tables))
        (folder / f"manifest_{stamp}.json").write_bytes(manifest.to_json())


def _rows_of(document: dict[str, Any]) -> list[list[int | None]]:
    (place,) = document["locations"]
    return [[file["rows"] for file in one["files"]] for one in place["sets"]]


def test_rows_without_a_log_are_those_of_the_manifest(tmp_path: Path) -> None:
    described(tmp_path, "20260101_000000", "20260102_000000", "20260103_000000")
    folder = tmp_path / "vector_bak"
    (folder / "manifest_20260102_000000.json").write_text("{")
    (folder / "manifest_20260101_000000.json").unlink()
    done = run_command("list", tmp_path)
    assert (done.code, done.err) == (0, "")
    lines = [line for line in done.out.splitlines() if line.startswith(" vector_bak/")]
    assert [line.endswith("2 + 3") for line in lines] == [True, False, False]
    why = "manifest is no JSON document (manifest_20260102_000000.json)"
    assert f"  warning: vector_bak/20260102_000000: {why}\n" in done.out
    document = run_command("list", tmp_path, "--json").document
    assert _rows_of(document) == [[2, 3], [None, None], [None, None]]
    (place,) = document["locations"]
    assert [one["manifest_error"] for one in place["sets"]] == [None, why, None]


def test_rows_of_the_log_need_no_manifest(tmp_path: Path) -> None:
    described(tmp_path, "20260101_000000", "20260102_000000")
    folder = tmp_path / "vector_bak"
    lines = [f"✓ {name}: 7 rows -> {name}_20260102_000000.csv (1 B)\n"
             for name in (COLLECTION, EMBEDDING)]  # fmt: skip
    (folder / "vector_backup_log.txt").write_text("".join(lines), encoding="utf-8")
    (folder / "manifest_20260102_000000.json").write_text("{")  # not looked at
    document = run_command("list", tmp_path, "--json").document
    assert _rows_of(document) == [[7, 7], [2, 3]]


def test_many_manifests_are_not_all_read(tmp_path: Path) -> None:
    stamps = [f"202601{day:02}_{hour:02}0000" for day in range(1, 6) for hour in range(12)]
    described(tmp_path, *stamps)
    rows = _rows_of(run_command("list", tmp_path, "--json").document)
    assert rows == [[2, 3]] * 50 + [[None, None]] * 10
    assert "rows are shown of the newest sets only" in run_command("list", tmp_path, "--all").out
    few = run_command("list", tmp_path).out
    assert few.count("2 + 3") == 10
    assert "newest sets only" not in few


def test_sets_of_different_tables_have_no_columns_of_theirs(tmp_path: Path) -> None:
    described(tmp_path, "20260101_000000")
    described(tmp_path, "20260102_000000", table="docs")
    out = run_command("list", tmp_path, COLUMNS="100").out
    lines = [line.split() for line in out.splitlines()]
    assert lines[1] == ["backup", "set", "date", "tables", "total", "rows"]
    assert lines[3] == [
        *("vector_bak/20260102_000000", "2026-01-02", "00:00", "1", "3.0", "B", "2"),
    ]
    assert lines[4][3:] == ["2", "6.0", "B", "2", "+", "3"]


def test_sets_of_many_tables(tmp_path: Path) -> None:
    names = [f"docs_{number}" for number in range(6)]
    described(tmp_path, "20260101_000000", table=names[0])
    folder = tmp_path / "vector_bak"
    path = folder / "manifest_20260101_000000.json"
    found = json.loads(path.read_bytes())
    (first,) = found["tables"]
    found["tables"] = [
        {
            **first,
            "name": name,
            "files": [{**first["files"][0], "name": f"{name}_20260101_000000.csv"}],
        }
        for name in names
    ]
    path.write_text(json.dumps(found))
    for name in names:
        (folder / f"{name}_20260101_000000.csv").write_text("id\n")
    lines = run_command("list", tmp_path).out.splitlines()
    assert lines[3].split()[3:] == ["6", "18.0", "B", "12"]
