"""Examples of answers, as the description of the interface shows them."""

from __future__ import annotations

from typing import Any

__all__ = ["EVENTS", "EXAMPLES", "RESTORE_JOB", "SET"]

_COLLECTION = "langchain_pg_collection"
_EMBEDDING = "langchain_pg_embedding"
_STAMP = "20260102_030405"

#: A set.
SET: dict[str, Any] = {
    "label": f"vector_bak/{_STAMP}",
    "location": "./vector_bak",
    "kind": "global",
    "task_id": None,
    "timestamp": _STAMP,
    "backup_date": "2026-01-02 03:04:05",
    "size_bytes": 782_537,
    "manifest": False,
    "files": [
        {
            "table": table,
            "name": f"{table}_{_STAMP}.csv",
            "format": "csv",
            "codec": None,
            "parts": 0,
            "size_bytes": size,
        }
        for table, size in ((_COLLECTION, 209), (_EMBEDDING, 782_328))
    ],
}
#: A page of sets that is not the last one.
CATALOG: dict[str, Any] = {
    "sets": [SET],
    "total": 2,
    "next_cursor": "WyIyMDI2MDEwMl8wMzA0MDUiLCJnbG9iYWwiLCJ2ZWN0b3JfYmFrIiwidmVjdG9yX2JhayIsMV0",
}
#: A page of what is no set.
INCOMPLETE: dict[str, Any] = {
    "incomplete": [
        {
            "label": "vector_bak/20260101_030405",
            "location": "./vector_bak",
            "timestamp": "20260101_030405",
            "reason": f"{_EMBEDDING}_20260101_030405.csv missing",
            "files": [f"{_COLLECTION}_20260101_030405.csv"],
        }
    ],
    "total": 1,
    "next_cursor": None,
}

_NAMED: dict[str, Any] = {
    "label": SET["label"],
    "backup_path": SET["location"],
    "timestamp": _STAMP,
    "backup_date": SET["backup_date"],
}
#: A plan, without some of its parts.
PLAN: dict[str, Any] = {
    **_NAMED,
    "store": "./backups",
    "target": "app@db.example.com:5432/vectors",
    "database": {
        "system_identifier": "7301234567890123456",
        "name": "vectors",
        "oid": 16384,
        "address": "db.example.com:5432",
        "started": "2026-01-01 00:00:00.123456+00",
    },
    "schema": "public",
    "mode": "replace",
    "strategy": "in_place",
    "strategy_reason": "the set is small",
    "jobs": 1,
    "options": {"mode": "replace", "strategy": "auto", "verify": "counts"},
    "rows_removed": 62,
    "size_bytes": SET["size_bytes"],
    "tables": [
        {
            "table": table,
            "source_file": f"{table}_{_STAMP}.csv",
            "size_bytes": size,
            "create": False,
            "rows_before": rows,
            "rows_removed": rows,
            "wire": "binary",
        }
        for table, size, rows in ((_COLLECTION, 209, 4), (_EMBEDDING, 782_328, 58))
    ],
    "warnings": [],
    "findings": [],
    "forecast": {},
}

#: A job that has just begun.
RESTORE_JOB: dict[str, Any] = {
    "id": "9f86d081884c7d659a2feaa0c55ad015",
    "kind": "restore",
    "target": "default",
    "label": SET["label"],
    "state": "queued",
    "created_at": "2026-01-02T09:00:00.000000+00:00",
    "started_at": None,
    "finished_at": None,
    "phase": None,
    "table": None,
    "bytes_done": 0,
    "bytes_total": 0,
    "rows_done": 0,
    "rows_total": None,
    "result": None,
    "error": None,
    "outcome": None,
    "request_id": "5e884898da28047151d0e56f8dc62927",
    "version": 1,
}
#: The same, a little later.
RUNNING_JOB: dict[str, Any] = RESTORE_JOB | {
    "state": "running",
    "started_at": "2026-01-02T09:00:00.001000+00:00",
    "phase": "load",
    "table": _EMBEDDING,
    "bytes_done": 262_144,
    "bytes_total": SET["size_bytes"],
    "rows_done": 20,
    "rows_total": 62,
    "version": 4,
}
_ENDED = {"finished_at": "2026-01-02T09:00:00.911000+00:00", "version": 9}
#: One that has failed; nothing has changed then.
FAILED_JOB: dict[str, Any] = (
    RUNNING_JOB
    | _ENDED
    | {
        "state": "failed",
        "error": {"type": "TargetBusyError", "exit_code": 5, "code": "TARGET_BUSY"},
    }
)
#: A comparison that has ended.
VERIFY_JOB: dict[str, Any] = (
    RUNNING_JOB
    | _ENDED
    | {
        "kind": "verify",
        "state": "done",
        "phase": "done",
        "table": None,
        "result": {
            **_NAMED,
            "target": PLAN["target"],
            "schema": "public",
            "equal": False,
            "tables": {
                _EMBEDDING: {
                    "table": _EMBEDDING,
                    "rows_in_file": 58,
                    "rows_in_database": 58,
                    "equal": False,
                    "differences": [
                        {
                            "kind": "different",
                            "key": ["b-sql"],
                            "record": 2,
                            "columns": ["document"],
                            "ctid": None,
                        }
                    ],
                    "more": False,
                }
            },
        },
    }
)
#: A page of jobs.
JOBS: dict[str, Any] = {"jobs": [RUNNING_JOB], "next_before": None}
#: A stream.
EVENTS = (
    "retry: 2000\n\n"
    'event: progress\ndata: {"id":"9f86d081884c7d659a2feaa0c55ad015","state":"running","version":4}'
    "\nid: 4\n\n"
    ": ping\n\n"
    'event: end\ndata: {"id":"9f86d081884c7d659a2feaa0c55ad015","state":"done","version":9}'
    "\nid: 9\n\n"
)

#: Those that answers refer to.
EXAMPLES: dict[str, Any] = {
    "set": SET | {"emptied": []},
    "catalog": CATALOG,
    "incomplete": INCOMPLETE,
    "plan": PLAN,
    "jobs": JOBS,
    "restore_begun": RESTORE_JOB,
    "backup_begun": RESTORE_JOB | {"kind": "backup", "label": None},
    "verification_begun": RESTORE_JOB | {"kind": "verify"},
    "prune_begun": RESTORE_JOB | {"kind": "prune", "target": "", "label": None},
    "job_running": RUNNING_JOB,
    "job_verified": VERIFY_JOB,
    "job_failed": FAILED_JOB,
}
