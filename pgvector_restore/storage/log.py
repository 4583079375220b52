"""The log a backup leaves beside its files: how many rows it wrote, and what failed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime

from attrs import field, frozen

from pgvector_restore.storage.compression import CODEC_BY_SUFFIX

__all__ = ["BackupLog", "LogLine", "parse_log", "write_log"]

# "✓ <table>: 62 rows -> <file> (818.9 KB)". The size is rounded and counts other row ends than
# copies of the file may have: it checks nothing, so it is not kept.
_DONE = re.compile(
    r"[✓✔]\ufe0f?\s*[^:]+:\s*([0-9][0-9,]{0,30}) rows? -> (.+?)(?:\s*\([^()]*\))?", re.IGNORECASE
)
_FAILED = re.compile(r"[✗✘]\ufe0f?\s*([^:]+?)\s*:\s*FAILED\s*(?:-\s*(.*))?", re.IGNORECASE)
_TIME = re.compile(r"Backup Time:\s*(\S+ \S+)", re.IGNORECASE)

#: Lines after this one tell what was emptied, in the same form.
_END = "truncate status"


@frozen
class BackupLog:
    """What a backup's log says. Each backup overwrites it, so it describes the newest one only."""

    #: Rows written, by file name; other files of the location are not spoken of.
    rows: Mapping[str, int] = field(factory=dict, hash=False)
    #: Why a table could not be backed up, by table name.
    failed: Mapping[str, str] = field(factory=dict, hash=False)
    #: When the backup was made, local time of the machine that made it; ``None``: not told.
    backup_time: datetime | None = None

    def rows_of(self, file_name: str) -> int | None:
        """Rows the log counts in that very file, or ``None`` if it does not name it.

        A file may have been compressed since: then the log knows it by its name before that.
        """
        rows = self.rows.get(file_name)
        plain, dot, suffix = file_name.rpartition(".")
        if rows is None and dot + suffix in CODEC_BY_SUFFIX:
            return self.rows.get(plain)
        return rows


@frozen
class LogLine:
    """One table of a log that is written."""

    #: Table.
    table: str
    #: Name of its file; of a file in parts without the part.
    file: str
    #: Rows in it.
    rows: int
    #: Its stored bytes, as text.
    size: str
    #: Rows removed from the table afterwards; ``None``: it was not emptied.
    removed: int | None = None


def write_log(lines: Iterable[LogLine], made_at: datetime, task_id: str, seconds: float) -> bytes:
    """A log in the form that :func:`parse_log` reads.

    Args:
        lines: The tables.
        made_at: When the backup was made, local time.
        task_id: Id of the task, or the folder of global backups.
        seconds: How long it took.
    """
    found = list(lines)
    text = [
        "=== Vector Table Backup Log ===",
        f"Backup Time: {made_at:%Y-%m-%d %H:%M:%S}",
        f"Task ID: {task_id}",
        f"Duration: {seconds:.2f}s",
        "",
        "Tables Backup Status:",
        *(f"✓ {one.table}: {one.rows} rows -> {one.file} ({one.size})" for one in found),
    ]
    emptied = [one for one in found if one.removed is not None]
    if emptied:
        text += ["", "Truncate Status:"]
        text += [f"✓ {one.table}: TRUNCATED ({one.removed} rows removed)" for one in emptied]
    return ("\n".join(text) + "\n").encode()


def parse_log(data: bytes) -> BackupLog | None:
    """Read a log; ``None`` if not one line of it tells of a table.

    Lines that say nothing known are passed over, bytes that are not UTF-8 as well.
    """
    rows: dict[str, int] = {}
    failed: dict[str, str] = {}
    backup_time: datetime | None = None
    for raw in data.decode("utf-8-sig", "replace").split("\n"):
        line = raw.strip()
        if line.lower().startswith(_END):
            break
        if match := _DONE.fullmatch(line):
            rows[match[2]] = int(match[1].replace(",", ""))
        elif match := _FAILED.fullmatch(line):
            failed[match[1]] = match[2] or ""
        elif match := _TIME.fullmatch(line):
            backup_time = _parse_time(match[1])
    return BackupLog(rows, failed, backup_time) if rows or failed else None


def _parse_time(text: str) -> datetime | None:
    try:
        return datetime.strptime(text, "%Y-%m-%d %H:%M:%S")  # noqa: DTZ007 - no zone given
    except ValueError:
        return None
