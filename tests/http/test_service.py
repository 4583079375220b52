"""The service's core against real databases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pgvector_restore.http.service import Service
from pgvector_restore.http.settings import ServiceSettings
from tests.conftest import connect
from tests.sets import write_set


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    made: list[Service] = []

    def make(**changes: Any) -> Service:
        store = str(write_set(tmp_path / "store"))
        made.append(Service(ServiceSettings.load(**{"store": store} | changes)))
        return made[-1]

    yield make
    for service in made:
        service.close()


def test_one_of_each(make: Callable[..., Service], g2_dsn: str, tmp_path: Path) -> None:
    service = make(dsn=g2_dsn, state_dir=tmp_path / "state")
    restored = service.jobs.wait(service.restore("latest").id, 60)
    assert (restored.state, restored.target) == ("done", "default")
    assert restored.result is not None
    assert restored.result["rows_loaded"] == 6
    with connect(g2_dsn) as connection:
        assert connection.execute("SELECT FROM langchain_pg_embedding").rowcount == 4
    compared = service.jobs.wait(service.verify("latest").id, 60)
    assert compared.result is not None
    assert compared.result["equal"] is True
    saved = service.jobs.wait(service.backup(options={"task_id": "task_7"}).id, 60)
    assert saved.state == "done"
    assert saved.label is not None
    assert saved.label.startswith("task_7/")
    assert saved.label in [one.label for one in service.catalog().sets]
    pruned = service.jobs.wait(service.prune(rules={"last": 1}, dry_run=True).id, 60)
    assert pruned.state == "done"
    assert [job.kind for job in service.jobs.list()] == ["prune", "backup", "verify", "restore"]
