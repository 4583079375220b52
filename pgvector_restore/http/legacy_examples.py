"""Answers of the existing endpoints as OpenAPI shows them."""

from __future__ import annotations

from typing import Any

__all__ = ["BACKED_UP", "LISTED", "RESTORED"]

_NOW = "2026-07-22T10:30:45.123456"
_PATH = "./data_pipeline/training_data/task_20250721_213627/vector_bak"
_STAMP = "20250721_215758"
_FILES = {
    "langchain_pg_collection": f"langchain_pg_collection_{_STAMP}.csv",
    "langchain_pg_embedding": f"langchain_pg_embedding_{_STAMP}.csv",
}
_SIZES = {"langchain_pg_collection": "209.0 B", "langchain_pg_embedding": "764.0 KB"}
_ROWS = {"langchain_pg_collection": 4, "langchain_pg_embedding": 58}


def _succeeded(response: str, **data: object) -> dict[str, Any]:
    return {
        "code": 200,
        "success": True,
        "message": "操作成功",
        "data": {"response": response, **data, "timestamp": _NOW},
    }


def _emptied(table: str) -> dict[str, Any]:
    return {"success": True, "rows_before": _ROWS[table], "rows_after": 0, "duration": 0.025}


LISTED = _succeeded(
    "成功扫描到 1 个备份位置，共 1 个备份集",
    backup_locations=[
        {
            "type": "task",
            "task_id": "task_20250721_213627",
            "relative_path": _PATH,
            "backups": [
                {
                    "timestamp": _STAMP,
                    "collection_file": _FILES["langchain_pg_collection"],
                    "embedding_file": _FILES["langchain_pg_embedding"],
                    "collection_size": _SIZES["langchain_pg_collection"],
                    "embedding_size": _SIZES["langchain_pg_embedding"],
                    "backup_date": "2025-07-21 21:57:58",
                    "has_log": True,
                    "log_file": "vector_backup_log.txt",
                }
            ],
        }
    ],
    summary={
        "total_locations": 1,
        "total_backup_sets": 1,
        "global_backups": 0,
        "task_backups": 1,
        "scan_time": _NOW,
    },
)

RESTORED = _succeeded(
    "Vector表恢复完成",
    restore_performed=True,
    truncate_performed=True,
    backup_info={
        "backup_path": _PATH,
        "timestamp": _STAMP,
        "backup_date": "2025-07-21 21:57:58",
    },
    truncate_results={table: _emptied(table) for table in _FILES},
    restore_results={
        table: {
            "success": True,
            "source_file": file,
            "rows_restored": _ROWS[table],
            "file_size": _SIZES[table],
            "duration": 0.145,
        }
        for table, file in _FILES.items()
    },
    errors=[],
    duration=0.911,
)

BACKED_UP = _succeeded(
    "Vector表备份完成",
    backup_performed=True,
    truncate_performed=False,
    backup_directory=_PATH,
    tables_backed_up={
        table: {
            "success": True,
            "row_count": _ROWS[table],
            "file_size": _SIZES[table],
            "backup_file": file,
            "duration": 0.105,
        }
        for table, file in _FILES.items()
    },
    truncate_results={},
    errors=[],
    duration=0.498,
)
