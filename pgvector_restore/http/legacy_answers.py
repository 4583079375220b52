"""Answers of the existing endpoints: from catalog and reports to their JSON, field by field."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pgvector_restore.http import legacy_texts as texts
from pgvector_restore.http.legacy_paths import shown_path
from pgvector_restore.http.legacy_requests import ListRequest
from pgvector_restore.http.legacy_texts import Language, Say, message_of
from pgvector_restore.model import BackupFile, BackupSet, Catalog
from pgvector_restore.report import format_size
from pgvector_restore.schema import COLLECTION, EMBEDDING

__all__ = [
    "backed_up",
    "envelope",
    "locations_of",
    "nothing_done",
    "now_text",
    "restored",
    "summary_of",
]


def now_text() -> str:
    """Now, as existing callers read it: ISO with microseconds, local time, no zone."""
    return datetime.now().isoformat(timespec="microseconds")  # noqa: DTZ005 - no zone, on purpose


def envelope(
    status: int, say: Say, language: Language, data: Mapping[str, Any], **values: object
) -> dict[str, Any]:
    """An answer.

    Args:
        status: HTTP status, which is ``code`` as well.
        say: The text of ``response``.
        language: Its language.
        data: What comes between ``response`` and ``timestamp``.
        values: What is filled into the text.
    """
    return {
        "code": status,
        "success": status == 200,  # noqa: PLR2004 - the status itself
        "message": message_of(status, language),
        "data": {
            "response": say.text(language, **values),
            **data,
            "timestamp": now_text(),
        },
    }


def locations_of(catalog: Catalog, store: str, request: ListRequest) -> list[dict[str, Any]]:
    """``backup_locations``: global ones first; sets newest first.

    Sets without both of LangChain's tables have no place in this list, and a location that has no
    other is left out.

    Args:
        catalog: What there is.
        store: The store's ``url``.
        request: What of it is wanted.
    """
    wanted: dict[str, list[dict[str, Any]]] = {
        location.key: [] for location in catalog.locations if request.wants(location)
    }
    for backup in catalog.sets:
        backups = wanted.get(backup.location.key)
        files = {file.table: file for file in backup.files} if backups is not None else {}
        if backups is not None and COLLECTION in files and EMBEDDING in files:
            backups.append(_set(backup, files[COLLECTION], files[EMBEDDING]))
    return [
        {
            "type": location.kind,
            **({} if location.task_id is None else {"task_id": location.task_id}),
            "relative_path": shown_path(store, location),
            "backups": wanted[location.key],
        }
        for location in catalog.locations
        if wanted.get(location.key)
    ]


def _set(backup: BackupSet, collection: BackupFile, embedding: BackupFile) -> dict[str, Any]:
    log = backup.location.log
    return {
        "timestamp": backup.timestamp,
        "collection_file": collection.name,
        "embedding_file": embedding.name,
        "collection_size": format_size(collection.size_bytes),
        "embedding_size": format_size(embedding.size_bytes),
        "backup_date": _date(backup.timestamp),
        "has_log": log is not None,
        "log_file": None if log is None else log.key.rpartition("/")[2],
    }


def _date(stamp: str) -> str:
    """A stamp as a date; by its digits, as a list may hold thousands of them."""
    return f"{stamp[:4]}-{stamp[4:6]}-{stamp[6:8]} {stamp[9:11]}:{stamp[11:13]}:{stamp[13:15]}"


def summary_of(locations: list[dict[str, Any]]) -> dict[str, Any]:
    """``summary`` of a list, but for the time."""
    counts = {"global": 0, "task": 0}
    for location in locations:
        counts[location["type"]] += len(location["backups"])
    return {
        "total_locations": len(locations),
        "total_backup_sets": sum(counts.values()),
        "global_backups": counts["global"],
        "task_backups": counts["task"],
    }


def restored(
    report: Mapping[str, Any], path: str, language: Language, *, truncated: bool
) -> dict[str, Any]:
    """The answer to a restore.

    Args:
        report: ``RestoreReport.to_dict()``.
        path: The location as the list shows it.
        language: Of its texts.
        truncated: Whether the rows that were there have been removed.
    """
    tables: Mapping[str, Mapping[str, Any]] = report["tables"]
    emptied = {
        name: _emptied(table["rows_before"], table["remove_seconds"])
        for name, table in tables.items()
        if truncated
    }
    results = {
        name: {
            "success": True,
            "source_file": table["source_file"],
            "rows_restored": table["rows_loaded"],
            "file_size": format_size(table["size_bytes"]),
            "duration": round(table["seconds"] + table["index_seconds"], 3),
        }
        for name, table in tables.items()
    }
    data = {
        "restore_performed": True,
        "truncate_performed": truncated,
        "backup_info": {
            "backup_path": path,
            "timestamp": report["timestamp"],
            "backup_date": _date(report["timestamp"]),
        },
        "truncate_results": emptied,
        "restore_results": results,
        "errors": [],
        "duration": round(report["seconds"], 3),
    }
    return envelope(200, texts.RESTORED, language, data)


def backed_up(
    report: Mapping[str, Any], path: str, language: Language, *, truncated: bool
) -> dict[str, Any]:
    """The answer to a backup.

    Args:
        report: ``BackupReport.to_dict()``.
        path: The location as the list shows it.
        language: Of its texts.
        truncated: Whether the embedding table was emptied afterwards.
    """
    tables: Mapping[str, Mapping[str, Any]] = report["tables"]
    results = {
        name: {
            "success": True,
            "row_count": table["rows"],
            "file_size": format_size(table["size_bytes"]),
            "backup_file": table["files"][0],
            "duration": round(table["seconds"], 3),
        }
        for name, table in tables.items()
    }
    emptied = {
        name: _emptied(table["rows_removed"], table["remove_seconds"])
        for name, table in tables.items()
        if truncated and name == EMBEDDING
    }
    data = {
        "backup_performed": True,
        "truncate_performed": truncated,
        "backup_directory": path,
        "tables_backed_up": results,
        "truncate_results": emptied,
        "errors": [],
        "duration": round(report["seconds"], 3),
    }
    return envelope(200, texts.EMPTIED if truncated else texts.BACKED_UP, language, data)


def nothing_done(language: Language) -> dict[str, Any]:
    """The answer to a request for a backup that asks for none."""
    data: dict[str, Any] = {
        "backup_performed": False,
        "truncate_performed": False,
        "backup_directory": None,
        "tables_backed_up": {},
        "truncate_results": {},
        "errors": [],
        "duration": 0.0,
    }
    return envelope(200, texts.NOTHING_ASKED, language, data)


def _emptied(rows: int, seconds: float) -> dict[str, Any]:
    return {"success": True, "rows_before": rows, "rows_after": 0, "duration": round(seconds, 3)}
