"""The log a backup leaves beside its files: how many rows it wrote, and what failed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TypeVar

from attrs import field, frozen

from pgvector_restore.manifest import Manifest
from pgvector_restore.model import BackupSet
from pgvector_restore.storage.compression import CODEC_BY_SUFFIX

__all__ = [
    "BackupLog",
    "EmptiedFile",
    "LogLine",
    "add_emptied",
    "emptied_tables",
    "parse_log",
    "write_log",
]

# "✓ <table>: 62 rows -> <file> (818.9 KB)". The size is rounded and counts other row ends than
# copies of the file may have: it checks nothing, so it is not kept.
_DONE = re.compile(
    r"[✓✔]\ufe0f?\s*([^:]+):\s*([0-9][0-9,]{0,30}) rows? -> (.+?)(?:\s*\([^()]*\))?", re.IGNORECASE
)
# "✓ <table>: TRUNCATED (62 rows removed)", of the newest backup's file; with " -> <file>" of that.
_EMPTIED = re.compile(
    r"[✓✔]\ufe0f?\s*(.+?)\s*:\s*TRUNCATED(?:\s*\(([0-9][0-9,]{0,30}) rows? removed\))?"
    r"(?:\s+-> (.+))?",
    re.IGNORECASE,
)
_FAILED = re.compile(r"[✗✘]\ufe0f?\s*([^:]+?)\s*:\s*FAILED\s*(?:-\s*(.*))?", re.IGNORECASE)
_TIME = re.compile(r"Backup Time:\s*(\S+ \S+)", re.IGNORECASE)

#: Lines after this one tell what was emptied.
_END = "truncate status"
_EMPTIED_HEAD = "Truncate Status:"


@frozen
class EmptiedFile:
    """A file whose rows were removed from the database after the backup."""

    #: Table.
    table: str
    #: Name of the file; of a file in parts without the part.
    file: str
    #: Rows that were removed.
    rows: int


@frozen
class BackupLog:
    """What a backup's log says. Each backup overwrites it, so it describes the newest one only."""

    #: Rows written, by file name; other files of the location are not spoken of.
    rows: Mapping[str, int] = field(factory=dict, hash=False)
    #: Why a table could not be backed up, by table name.
    failed: Mapping[str, str] = field(factory=dict, hash=False)
    #: When the backup was made, local time of the machine that made it; ``None``: not told.
    backup_time: datetime | None = None
    #: Files whose rows were removed from the database after the backup, by file name; those of
    #: earlier backups as well, where this package has rewritten the log.
    emptied: Mapping[str, EmptiedFile] = field(factory=dict, hash=False)

    def rows_of(self, file_name: str) -> int | None:
        """Rows the log counts in that very file, or ``None`` if it does not name it.

        A file may have been compressed since: then the log knows it by its name before that.
        """
        return _named(self.rows, file_name)

    def emptied_of(self, file_name: str) -> EmptiedFile | None:
        """What the log tells of a file whose rows were removed; ``None``: nothing."""
        return _named(self.emptied, file_name)


_Value = TypeVar("_Value")


def _named(values: Mapping[str, _Value], file_name: str) -> _Value | None:
    found = values.get(file_name)
    plain, dot, suffix = file_name.rpartition(".")
    if found is None and dot + suffix in CODEC_BY_SUFFIX:
        return values.get(plain)
    return found


def emptied_tables(
    backup: BackupSet, manifest: Manifest | None, log: BackupLog | None
) -> tuple[str, ...]:
    """Tables of a set whose rows were, or may have been, removed from the database after it.

    Args:
        backup: The set.
        manifest: Its manifest; ``None``: it has none, or none that can be used.
        log: The log of its location.
    """
    marked = {one.name for one in manifest.tables if one.emptied} if manifest is not None else ()
    return tuple(
        file.table
        for file in backup.files
        if file.table in marked or (log is not None and log.emptied_of(file.name) is not None)
    )


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


def write_log(
    lines: Iterable[LogLine],
    made_at: datetime,
    task_id: str,
    seconds: float,
    earlier: Iterable[EmptiedFile] = (),
) -> bytes:
    """A log in the form that :func:`parse_log` reads.

    Args:
        lines: The tables.
        made_at: When the backup was made, local time.
        task_id: Id of the task, or the folder of global backups.
        seconds: How long it took.
        earlier: Files of earlier backups whose rows were removed: the log that told of them goes.
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
    before = [_emptied_line(one) for one in earlier]
    if emptied or before:
        text += ["", _EMPTIED_HEAD]
        text += [f"✓ {one.table}: TRUNCATED ({one.removed} rows removed)" for one in emptied]
    return ("\n".join([*text, *before]) + "\n").encode()


def add_emptied(log: bytes, files: Iterable[EmptiedFile]) -> bytes:
    """A log that tells of more files whose rows were removed, and of all else as before.

    Args:
        log: The log; empty: there is none.
        files: The files.
    """
    # Whatever comes after the head is no row of a table, so it can stand there twice.
    end = b"" if not log or log.endswith(b"\n") else b"\n"
    text = ["", _EMPTIED_HEAD, *map(_emptied_line, files)]
    return log + end + ("\n".join(text) + "\n").encode()


def _emptied_line(one: EmptiedFile) -> str:
    return f"✓ {one.table}: TRUNCATED ({one.rows} rows removed) -> {one.file}"


def parse_log(data: bytes) -> BackupLog | None:
    """Read a log; ``None`` if not one line of it tells of a table.

    Lines that say nothing known are passed over, bytes that are not UTF-8 as well.
    """
    rows: dict[str, int] = {}
    failed: dict[str, str] = {}
    files: dict[str, str] = {}
    emptied: dict[str, EmptiedFile] = {}
    backup_time: datetime | None = None
    ended = False
    for raw in data.decode("utf-8-sig", "replace").split("\n"):
        line = raw.strip()
        ended = ended or line.lower().startswith(_END)
        if ended:
            if match := _EMPTIED.fullmatch(line):
                file = match[3] or files.get(match[1].strip())
                removed = rows.get(file or "", 1) if match[2] is None else _number(match[2])
                if file is not None and removed:
                    emptied[file] = EmptiedFile(match[1], file, removed)
        elif match := _DONE.fullmatch(line):
            rows[match[3]] = _number(match[2])
            files[match[1].strip()] = match[3]
        elif match := _FAILED.fullmatch(line):
            failed[match[1]] = match[2] or ""
        elif match := _TIME.fullmatch(line):
            backup_time = _parse_time(match[1])
    known = rows or failed or emptied
    return BackupLog(rows, failed, backup_time, emptied) if known else None


def _number(text: str) -> int:
    return int(text.replace(",", ""))


def _parse_time(text: str) -> datetime | None:
    try:
        return datetime.strptime(text, "%Y-%m-%d %H:%M:%S")  # noqa: DTZ007 - no zone given
    except ValueError:
        return None
