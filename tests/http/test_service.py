"""The service's core against real databases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import SecretStr

from pgvector_restore.http.service import Service
from tests.conftest import connect
from tests.sets import write_set


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    made: list[Service] = []

    def make(**changes: Any) -> Service:
        settings: dict[str, Any] = {
            "store": str(write_set(tmp_path / "store")),
            "storage_options": {},
            "dsn": None,
            "targets": {},
            "state_dir": None,
            "history": 1000,
            "shutdown_grace_s": 30.0,
            "schema_name": None,
            "lock_timeout_s": 30.0,
            "jobs": "auto",
        }
        made.append(Service(SimpleNamespace(**settings | changes)))
        return made[-1]

    yield make
    for service in made:
        service.close()


def test_one_of_each(make: Callable[..., Service], g2_dsn: str, tmp_path: Path) -> None:
    service = make(dsn=SecretStr(g2_dsn), state_dir=tmp_path / "state")
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
