"""Figures for Prometheus: what jobs did, and what lies in the store."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter as Counts
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from starlette.responses import Response

from pgvector_restore.errors import PgvectorRestoreError
from pgvector_restore.http import logs
from pgvector_restore.http.context import service_of
from pgvector_restore.http.job_values import Job
from pgvector_restore.model import Catalog

if TYPE_CHECKING:
    from pgvector_restore.http.service import Service

__all__ = ["Metrics", "router"]

_log = logging.getLogger(__name__)

#: So many locations have figures of their own: those of the whole system, then tasks with the
#: newest backups. Each is a time series, and services that make a task a run have thousands.
_LOCATIONS = 200
_NAME = "pgvector_restore"
#: What only grows: its text and its labels.
_COUNTERS: dict[str, tuple[str, ...]] = {
    "jobs": ("Jobs that have ended.", "kind", "outcome"),
    "rows": ("Rows that jobs restored or backed up.", "kind"),
    "bytes": ("Bytes of backup files of these rows.", "kind"),
    "phase_seconds": ("Seconds by phase.", "kind", "phase"),
}
_KINDS = ("restore", "backup", "verify", "prune")

router = APIRouter()


@router.get("/metrics", include_in_schema=False)
def metrics(request: Request) -> Response:
    """All figures, in the text format of Prometheus."""
    service_of(request)
    return Response(request.app.state.metrics.text(), media_type=CONTENT_TYPE_LATEST)


class Metrics:
    """The figures of one service; the process's own registry is left to its other inhabitants.

    Args:
        service: Whose.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._lock = threading.Lock()
        #: Job → phase it is in and since when.
        self._phases: dict[str, tuple[str, float]] = {}
        #: Name, then values of its labels → sum.
        self._sums: dict[str, dict[tuple[str, ...], float]] = {name: {} for name in _COUNTERS}
        for kind in _KINDS:  # there from the start: a rate of what appears later misses its first
            for outcome in ("done", "failed", "cancelled", "unknown"):
                self._sums["jobs"][kind, outcome] = 0
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def text(self) -> bytes:
        """All figures, in the text format of Prometheus."""
        return generate_latest(self._registry)

    def changed(self, before: Job, after: Job) -> None:
        """Count what a change of a job means."""
        if before.phase == after.phase and before.state == after.state:
            return
        now = time.monotonic()
        with self._lock:
            phase, since = self._phases.pop(after.id, ("prepare", now))
            if not after.finished:
                self._phases[after.id] = (after.phase or "prepare", now)
            if before.state == "running":
                self._add("phase_seconds", (after.kind, phase), now - since)
            if after.finished and not before.finished:
                self._ended(after)

    def _ended(self, job: Job) -> None:
        outcome = "unknown" if job.outcome == "unknown" else job.state
        self._add("jobs", (job.kind, outcome), 1)
        result = job.result or {}
        rows = result.get("rows_loaded" if job.kind == "restore" else "rows")
        if job.kind in ("restore", "backup") and isinstance(rows, int):
            self._add("rows", (job.kind,), rows)
            self._add("bytes", (job.kind,), result.get("size_bytes", 0))

    def _add(self, name: str, labels: tuple[str, ...], value: float) -> None:
        sums = self._sums[name]
        sums[labels] = sums.get(labels, 0) + value

    def collect(self) -> Iterator[Metric]:
        """All that there is to tell."""
        yield from self._counters()
        running: Counts[str] = Counts(
            job.kind for job in self._service.jobs.list(limit=1000, state="running")
        )
        gauge = _gauge("running_jobs", "Jobs under way.", "kind")
        for kind in _KINDS:
            gauge.add_metric([kind], running[kind])
        yield gauge
        try:
            catalog: Catalog | None = self._service.catalog()
        except PgvectorRestoreError as exc:
            logs.failed(_log, "catalog not listed", exc, logging.WARNING)
            catalog = None
        yield _gauge("store_up", "1: the store could be listed.", value=catalog is not None)
        if catalog is not None:
            yield from _of_catalog(catalog)

    def _counters(self) -> list[Metric]:
        found: list[Metric] = []
        with self._lock:
            for name, (text, *labels) in _COUNTERS.items():
                counter = CounterMetricFamily(f"{_NAME}_{name}", text, labels=labels)
                for values, total in self._sums[name].items():
                    counter.add_metric(list(values), total)
                found.append(counter)
        return found


def _of_catalog(catalog: Catalog) -> Iterator[Metric]:
    size = sum(one.size_bytes for one in catalog.sets)
    yield _gauge("sets", "Complete backup sets.", value=len(catalog.sets))
    yield _gauge("sets_bytes", "Stored bytes of all complete sets.", value=size)
    incomplete = sum(bool(one.timestamp) for one in catalog.incomplete)  # without half a log
    yield _gauge("incomplete_sets", "Unfinished sets.", value=incomplete)
    newest: dict[str, tuple[bool, datetime]] = {}
    for one in catalog.sets:  # newest first
        place = one.location
        newest.setdefault(place.name, (place.task_id is None, one.backup_date))
    shown = sorted(newest, key=lambda name: newest[name][0], reverse=True)[:_LOCATIONS]
    age = _gauge("newest_set_age_seconds", "Age of the newest complete set.", "location")
    now = datetime.now()  # noqa: DTZ005 - stamps of sets are local time
    for name in shown:
        age.add_metric([name], (now - newest[name][1]).total_seconds())
    yield age
    yield _gauge("locations", "Locations with complete sets.", value=len(newest))


def _gauge(name: str, text: str, *labels: str, value: float | None = None) -> GaugeMetricFamily:
    given: dict[str, Any] = {"labels": labels} if labels else {"value": value}
    return GaugeMetricFamily(f"{_NAME}_{name}", text, **given)
