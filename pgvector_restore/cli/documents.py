"""What the commands tell, as values and as documents for ``--json``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from attrs import asdict, frozen

from pgvector_restore.cli.counts import Counts
from pgvector_restore.db import embedded
from pgvector_restore.db.conninfo import TargetLike, public_conninfo
from pgvector_restore.db.embedded import EmbeddedServer
from pgvector_restore.db.neighbours import Neighbour
from pgvector_restore.errors import PgvectorRestoreError
from pgvector_restore.model import BackupFile, BackupSet, Catalog, Location
from pgvector_restore.report import RestoreReport, format_size
from pgvector_restore.restorer import Restorer

#: Rows shown beside the first one.
_NEIGHBOURS = 3


@frozen
class Result:
    """A restore and what shows that it worked."""

    #: What was done.
    report: RestoreReport
    #: Conninfo without password; ``""`` where libpq's variables say everything.
    conninfo: str
    #: The embedded server, if the rows are there.
    server: EmbeddedServer | None
    #: The first row of each table with vectors, and the rows nearest to it.
    neighbours: dict[str, tuple[Neighbour, ...]]
    #: Why there are none, if looking failed.
    look_failed: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        near = {table: [asdict(n) for n in rows] for table, rows in self.neighbours.items()}
        return self.report.to_dict() | {
            "connection": self.conninfo,
            "embedded": self.server is not None,
            "neighbours": near,
        }


def look_at(
    restorer: Restorer, report: RestoreReport, target: TargetLike, server: EmbeddedServer | None
) -> Result:
    """Have a look at what was restored. Never fails: the restore is done whatever comes now."""
    neighbours: dict[str, tuple[Neighbour, ...]] = {}
    failed = None
    try:
        for table in report.tables:
            found = restorer.nearest_neighbours(
                table.table, schema=report.schema, count=_NEIGHBOURS
            )
            if found:
                neighbours[table.table] = found
    except PgvectorRestoreError as exc:
        failed = str(exc)
    return Result(report, public_conninfo(target), server, neighbours, failed)


def catalog_document(url: str, catalog: Catalog, counts: Counts) -> dict[str, object]:
    """A catalog, JSON-ready."""
    sets = sets_by_location(catalog.sets)
    return {
        "store": url,
        "locations": [
            _location_document(location, sets.get(location, ()), counts)
            for location in catalog.locations
        ],
        "incomplete": [
            {
                "label": one.label,
                "location": one.location.relative_path,
                "reason": one.reason,
                "files": [info.key.rpartition("/")[2] for info in one.objects],
            }
            for one in catalog.incomplete
        ],
        "summary": {
            "locations": len(catalog.locations),
            "sets": len(catalog.sets),
            "incomplete": len(catalog.incomplete),
            **_sizes(sum(one.size_bytes for one in catalog.sets)),
        },
    }


def _location_document(
    location: Location, sets: Sequence[BackupSet], counts: Counts
) -> dict[str, object]:
    about: dict[str, object] = {"type": location.kind}
    if location.task_id is not None:
        about["task_id"] = location.task_id
    return about | {
        "relative_path": location.relative_path,
        "log_file": location.log.key.rpartition("/")[2] if location.log else None,
        "sets": [
            {
                "label": one.label,
                "timestamp": one.timestamp,
                "backup_date": one.backup_date.isoformat(sep=" "),
                "size_bytes": one.size_bytes,
                "manifest_error": counts.problem(one),
                "emptied": None if (found := counts.emptied(one)) is None else list(found),
                "files": [_file_document(file, counts.rows(one, file)) for file in one.files],
            }
            for one in sets
        ],
    }


def _file_document(file: BackupFile, rows: int | None) -> dict[str, object]:
    return {
        "table": file.table,
        "name": file.name,
        "codec": file.codec,
        **_sizes(file.size_bytes),
        "rows": rows,
    }


def _sizes(size_bytes: int) -> dict[str, object]:
    return {"size_bytes": size_bytes, "size": format_size(size_bytes)}


def server_document(server: EmbeddedServer | None) -> dict[str, object]:
    """The embedded server, JSON-ready."""
    if server is None:
        return {"running": False, "data_dir": str(embedded.default_data_dir())}
    return {
        "running": True,
        "data_dir": str(server.data_dir),
        "connection": server.conninfo,
        "version": server.version,
        "pid": server.pid,
    }


def sets_by_location(sets: Iterable[BackupSet]) -> dict[Location, list[BackupSet]]:
    """The sets of each location, in their order."""
    found: dict[Location, list[BackupSet]] = {}
    for one in sets:
        found.setdefault(one.location, []).append(one)
    return found
