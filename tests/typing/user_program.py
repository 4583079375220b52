"""A user's program, for the type checker: it is checked with the package, never run."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from psycopg_pool import ConnectionPool

from pgvector_restore import (
    BackupSet,
    BadDataError,
    Catalog,
    Layout,
    ProgressEvent,
    RestoreOptions,
    RestorePlan,
    Restorer,
    RestoreReport,
    TqdmProgress,
    VerifyReport,
    open_store,
    resolve_target,
)


def by_hand(event: ProgressEvent) -> None:
    done: int = event.bytes_done
    rows: int | None = event.rows_total
    print(event.phase, done, rows)  # noqa: T201 - a user may


def targets(pool: ConnectionPool[Any], mapping: Mapping[str, Any]) -> None:
    store = open_store("memory://backups", layout=Layout(global_folders=("vectors",)))
    for target in ("postgresql://user@host/db", mapping, pool):
        with Restorer(store, target) as restorer:
            plan: RestorePlan = restorer.plan("latest", mode="replace", tables=["a", "b"])
            report: RestoreReport = restorer.run(plan, progress=by_hand)
            found: VerifyReport = restorer.verify("latest", tables=["a"], limit=3)
            named: list[tuple[str, ...]] = [d.key for t in found.tables for d in t.differences]
            print(found.equal, named)  # noqa: T201 - a user may
            size: str = report.to_dict()["tables"]["a"]["size"]
            print(plan, size)  # noqa: T201 - a user may


async def service(store_url: str) -> dict[str, Any]:
    store = open_store(store_url, storage_options={"anon": True})
    catalog: Catalog = store.catalog(task_id="task_1")
    newest: BackupSet = catalog.latest()
    target = resolve_target(None, {"host": "db", "dbname": "rag"}).target
    with Restorer(store, target) as restorer:
        try:
            report = await asyncio.to_thread(
                restorer.restore,
                newest,
                RestoreOptions(mode="replace", schema="rag"),
                progress=TqdmProgress(),
            )
        except BadDataError as error:
            place: tuple[str | None, int | None, str | None]
            place = (error.file, error.record, error.column)
            raise RuntimeError(place) from error
    return report.to_dict()
