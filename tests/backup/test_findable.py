"""A backup ends by finding its set through the door that a restore uses."""

from __future__ import annotations

from pathlib import Path

import pytest

from pgvector_restore import OptionError, StoreError, open_store
from tests.backup.kit import EMBEDDING, backup, content, make
from tests.proxy import Proxy  # whose thread reaches the server's folder, as ours does not here
from tests.unprivileged import locked


def test_folders_of_others_are_in_nobodys_way(g2_dsn: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "lost+found").mkdir(parents=True)
    with Proxy(g2_dsn) as proxy, locked(root / "lost+found"):
        report = backup(root, proxy.dsn)
        assert report.warnings == ()
        assert open_store(root).catalog().latest().label == report.label


def test_a_store_that_cannot_be_listed_is_told_of(g2_dsn: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    with Proxy(g2_dsn) as proxy, locked(root / "task_1"):
        report = backup(root, proxy.dsn)
        assert open_store(root).find(report.label)[0].label == report.label
        (warning,) = report.warnings
        assert warning.startswith("only part of the store can be listed, so list, prune and latest")
        assert "task_1" in warning


@pytest.mark.parametrize("truncate_after", [False, True])
def test_a_set_that_no_label_leads_to(dsn: str, tmp_path: Path, *, truncate_after: bool) -> None:
    make(dsn, "g2")
    rows = content(dsn, EMBEDDING)
    root = tmp_path / "root"
    with (
        Proxy(dsn) as proxy,
        locked(root / "task_1" / "global_vector_bak"),
        pytest.raises(StoreError, match="is complete, but a restore does not find it") as caught,
    ):
        backup(root, proxy.dsn, task_id="task_1", truncate_after=truncate_after)
    assert "global_vector_bak" in str(caught.value)
    assert not isinstance(caught.value, OptionError)
    assert content(dsn, EMBEDDING) == rows  # nothing was emptied
    (kept,) = open_store(root).catalog().sets
    assert kept.location.key == "task_1/vector_bak"
