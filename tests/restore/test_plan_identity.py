"""A plan is for the database and the store that it was made for."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from psycopg.conninfo import conninfo_to_dict

from pgvector_restore import OptionError, Restorer, TargetMismatchError, open_store
from pgvector_restore.db import embedded
from pgvector_restore.db.embedded import EmbeddedServer
from pgvector_restore.target import DatabaseIdentity
from tests.conftest import G2_TABLES, SETTINGS, database
from tests.proxy import Proxy
from tests.restore.content import execute, snapshot
from tests.sets import write_set

#: Ways to restore, each with its first statements.
WAYS: dict[str, dict[str, Any]] = {
    "append": {"mode": "append"},
    "in place": {"mode": "replace", "strategy": "in_place"},
    "swap": {"mode": "replace", "strategy": "swap"},
}


def assert_refused(root: Path, planned: str, other: str, **options: Any) -> None:
    with Restorer(open_store(root), planned) as here, Restorer(open_store(root), other) as there:
        plan = here.plan(**options)
        assert plan.facts.identity is not None
        before = snapshot(planned), snapshot(other)
        with pytest.raises(TargetMismatchError, match="the plan was made for database") as caught:
            there.run(plan)
        assert str(plan.facts.identity) in str(caught.value)
        assert (snapshot(planned), snapshot(other)) == before
        here.run(plan)  # where it was made for it is carried out


@pytest.mark.parametrize("way", WAYS)
def test_a_copy_of_the_database_on_the_same_server(
    server: EmbeddedServer, dsn: str, tmp_path: Path, way: str
) -> None:
    execute(dsn, G2_TABLES)
    with database(server, str(conninfo_to_dict(dsn)["dbname"])) as copy:
        assert_refused(write_set(tmp_path), dsn, copy, **WAYS[way])


@pytest.mark.faults
@pytest.mark.parametrize("version", [16, 18])
def test_a_copy_of_the_whole_server(place: Path, tmp_path: Path, version: int) -> None:
    original, copy = place / f"original{version}", place / f"copy{version}"
    execute(embedded.start(original, version=version, settings=SETTINGS).conninfo, G2_TABLES)
    embedded.stop(original)
    shutil.copytree(original, copy, ignore=shutil.ignore_patterns("run", "*.pid"))
    for path in (copy, *copy.rglob("*")):
        shutil.chown(path, original.owner(), original.group())
    first = embedded.start(original, version=version, settings=SETTINGS)
    second = embedded.start(copy, version=version, settings=SETTINGS)
    assert_refused(write_set(tmp_path), first.conninfo, second.conninfo, mode="replace")


def test_the_same_database_by_another_way(g2_dsn: str, tmp_path: Path) -> None:
    store = open_store(write_set(tmp_path))
    with Proxy(g2_dsn) as proxy, Restorer(store, g2_dsn) as here, Restorer(store, proxy.dsn) as far:
        assert far.run(here.plan()).rows_loaded > 0


def test_a_plan_for_another_store_is_refused(g2_dsn: str, tmp_path: Path) -> None:
    one, other = write_set(tmp_path / "one"), write_set(tmp_path / "other")
    with Restorer(open_store(one), g2_dsn) as here, Restorer(open_store(other), g2_dsn) as there:
        plan = here.plan()
        before = snapshot(g2_dsn)
        with pytest.raises(OptionError, match=r"made for another store: .*one"):
            there.run(plan)
        assert snapshot(g2_dsn) == before
        assert plan.to_dict()["store"] == open_store(one).url


def test_a_store_may_be_spelled_in_two_ways(g2_dsn: str, tmp_path: Path) -> None:
    root = write_set(tmp_path / "root")
    again = tmp_path / "x" / ".." / "root"
    (tmp_path / "x").mkdir()
    with Restorer(open_store(root), g2_dsn) as here, Restorer(open_store(again), g2_dsn) as there:
        assert there.run(here.plan()).rows_loaded > 0


def test_what_tells_databases_apart() -> None:
    one = DatabaseIdentity("1", "app", 16384, "db:5432", "2026-01-01 10:00:00.123456+00")
    assert one.is_same(evolve(one, started="2026-01-02 10:00:00+00"))  # it was restarted
    assert one.is_same(evolve(one, address="10.0.0.7:6432"))  # through a pooler
    assert not one.is_same(evolve(one, address="copy:5432", started="2026-01-02 10:00:00+00"))
    for change in ({"system_identifier": "2"}, {"name": "other"}, {"oid": 16385}):
        assert not one.is_same(evolve(one, **change))
