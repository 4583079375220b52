"""Plans and reports as values: what an HTTP layer or a worker process takes from them."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from pgvector_restore import (
    BackupNotFoundError,
    OptionError,
    PgvectorRestoreError,
    Restorer,
    RestoreReport,
    open_store,
)
from tests.restore.content import snapshot
from tests.sets import COLLECTION_FILE, EMBEDDING_FILE, STAMP, collection_bytes, write_set


def test_report_has_what_a_service_answers_with(g2_dsn: str, tmp_path: Path) -> None:
    store = open_store(write_set(tmp_path))
    with Restorer(store, g2_dsn) as restorer:
        restorer.restore()
        report = restorer.restore(mode="replace")
    answer = json.loads(json.dumps(report.to_dict()))
    assert answer["label"] == f"vector_bak/{STAMP}"
    assert answer["backup_path"] == "./vector_bak"
    assert (answer["timestamp"], answer["backup_date"]) == (STAMP, "2026-01-02 03:04:05")
    assert (answer["mode"], answer["rows_loaded"], answer["warnings"]) == ("replace", 6, [])
    assert list(answer["tables"]) == ["langchain_pg_collection", "langchain_pg_embedding"]
    table = answer["tables"]["langchain_pg_collection"]
    size = len(collection_bytes())
    assert (
        table.items()
        >= {
            "source_file": COLLECTION_FILE,
            "rows_before": 2,
            "rows_removed": 2,
            "rows_read": 2,
            "rows_loaded": 2,
            "rows_after": 2,
            "size_bytes": size,
            "size": f"{size}.0 B",
            "cells_repaired": 1,
        }.items()
    )
    assert 0 < table["seconds"] <= answer["seconds"]
    assert table["remove_seconds"] >= 0
    assert table["repairs"][0].items() >= {"column": "cmetadata", "record": 2}.items()


def test_sizes_are_written_as_backup_logs_write_them(dsn: str, samples: Path) -> None:
    with Restorer(open_store(samples), dsn) as restorer:
        report = restorer.restore("task_20250721_213627/latest")
    assert report.to_dict()["tables"]["langchain_pg_embedding"]["size"] == "764.0 KB"
    assert report.to_dict()["tables"]["langchain_pg_collection"]["size"] == "204.0 B"


def test_plan_says_what_will_be_done_and_does_nothing(dsn: str, tmp_path: Path) -> None:
    content = snapshot(dsn)
    root = write_set(tmp_path, log={COLLECTION_FILE: 2, EMBEDDING_FILE: 4})
    with Restorer(open_store(root), dsn) as restorer:
        plan = restorer.plan(mode="replace")
        assert snapshot(dsn) == content
        shown = str(plan)
        assert "create extension vector" in shown
        assert f"langchain_pg_embedding: create, load {EMBEDDING_FILE} (4 rows, " in shown
        restorer.run(plan)
        again = restorer.plan(mode="replace")
    assert "langchain_pg_embedding: remove 4 rows, load" in str(again)
    assert again.rows_removed == 6
    found = json.loads(json.dumps(again.to_dict()))
    assert [t["rows_before"] for t in found["tables"]] == [2, 4]


def test_plans_and_reports_travel(g2_dsn: str, tmp_path: Path) -> None:
    with Restorer(open_store(write_set(tmp_path)), g2_dsn) as restorer:
        plan = restorer.plan()
        arrived = pickle.loads(pickle.dumps(plan))  # noqa: S301 - its own
        assert arrived == plan
        report = restorer.run(arrived)
    copy: RestoreReport = pickle.loads(pickle.dumps(report))  # noqa: S301 - its own
    assert copy == report
    assert copy.to_dict() == report.to_dict()
    assert "<table>" in copy._repr_html_()


def test_error_of_a_row_travels(g2_dsn: str, tmp_path: Path) -> None:
    with Restorer(open_store(write_set(tmp_path)), g2_dsn) as restorer:
        restorer.restore()
        with pytest.raises(PgvectorRestoreError) as caught:
            restorer.restore()
    error = caught.value
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - its own
    assert type(copy) is type(error)
    assert (str(copy), copy.hint, vars(copy)) == (str(error), error.hint, vars(error))
    assert json.loads(json.dumps(copy.to_dict()))["record"] == 1


@pytest.mark.parametrize("label", ["vector_bak/20990101_000000", "nowhere/latest", ""])
def test_label_that_is_not_there(tmp_path: Path, label: str) -> None:
    with (
        Restorer(open_store(write_set(tmp_path)), "host=127.0.0.1 port=1") as restorer,
        pytest.raises(BackupNotFoundError),
    ):
        restorer.plan(label)


def test_label_that_leads_out_of_the_store(tmp_path: Path) -> None:
    with (
        Restorer(open_store(write_set(tmp_path)), "host=127.0.0.1 port=1") as restorer,
        pytest.raises(OptionError, match="leads upwards"),
    ):
        restorer.plan("../x")


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "merge"},
        {"modus": "replace"},
        {"lock_timeout_s": 0},
        {"tables": ""},
        {"tables": ()},
        {"schema": ""},
        {"schema": "x" * 64},
        {"schema": "a\0b"},
        {"check_log": 1},
        {"max_record_bytes": -1},
    ],
)
def test_wrong_options_are_found_before_anything_is_touched(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    with (
        Restorer(open_store(tmp_path), "host=127.0.0.1 port=1") as restorer,
        pytest.raises(OptionError),
    ):
        restorer.plan("latest", **options)
