"""What a restore will take: locks, index builds, disk, and roughly how long. Values."""

from __future__ import annotations

from typing import Any, Literal

from attrs import asdict, frozen

from pgvector_restore.report import format_size

__all__ = ["Forecast", "IndexBuild", "TableLock"]

_MINUTE_S, _HOUR_S = 60, 3600


@frozen
class TableLock:
    """A lock that the restore will hold on tables that are there."""

    #: As ``LOCK TABLE`` has it: ``ACCESS EXCLUSIVE``, ``ROW EXCLUSIVE``, ``ACCESS SHARE``.
    mode: str
    #: ``schema.table`` of each.
    tables: tuple[str, ...]
    #: ``restore``: from the first step to COMMIT; ``exchange``: only while tables are exchanged.
    during: Literal["restore", "exchange"]
    #: Seconds, roughly; ``None`` where nothing is known to reckon with.
    seconds: float | None
    #: What it means to others.
    meaning: str

    def __str__(self) -> str:
        when = {"restore": "until COMMIT", "exchange": "for the exchange only"}[self.during]
        return f"{self.mode} on {', '.join(self.tables)} {when}, {_about(self.seconds)}: " + (
            self.meaning
        )


@frozen
class IndexBuild:
    """An index that will be built."""

    #: Table it is on.
    table: str
    #: Its name.
    index: str
    #: Access method.
    method: str
    #: ``maintenance_work_mem`` it will ask for, bytes; the server's own, if that is more.
    memory_bytes: int
    #: Parallel workers at the most.
    workers: int

    def __str__(self) -> str:
        workers = f", {self.workers} workers" if self.workers else ""
        return f"{self.index} ({self.method}, {format_size(self.memory_bytes)} of memory{workers})"


@frozen
class Forecast:
    """What a restore will take, as far as it can be said before."""

    #: Locks on tables that are there.
    locks: tuple[TableLock, ...] = ()
    #: Indexes to be built, besides those of tables that are created.
    builds: tuple[IndexBuild, ...] = ()
    #: Seconds of loading and building, roughly; ``None`` where rows of a vector index are unknown.
    seconds: float | None = None
    #: Disk the new rows and indexes may take, bytes: an upper bound from the files' sizes.
    disk_bytes: int = 0
    #: Disk the present tables take with their indexes, bytes; they stay until the end.
    present_bytes: int = 0
    #: Free where new tables go, bytes; ``None`` unless the server's folder can be looked at.
    free_bytes: int | None = None

    @property
    def disk(self) -> str:
        """The part about the disk, one line."""
        free = "free space unknown: the server does not tell"
        if self.free_bytes is not None:
            free = f"{format_size(self.free_bytes)} free"
        beside = (
            f", beside {format_size(self.present_bytes)} there now" if self.present_bytes else ""
        )
        return f"up to {format_size(self.disk_bytes)}{beside}; {free}"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return asdict(self)


def _about(seconds: float | None) -> str:
    if seconds is None:
        return "for how long is not known"
    if seconds < 1:
        return "about a second"
    if seconds < 2 * _MINUTE_S:
        return f"about {seconds:.0f} s"
    if seconds < 2 * _HOUR_S:
        return f"about {seconds / _MINUTE_S:.0f} min"
    return f"about {seconds / _HOUR_S:.0f} h"
