"""Whether what the service needs can be reached."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pgvector_restore.db.callers import reachable
from pgvector_restore.errors import PgvectorRestoreError
from pgvector_restore.http.connections import Connections
from pgvector_restore.storage import BackupStore

__all__ = ["check_ready"]

_log = logging.getLogger(__name__)

#: Targets that are asked at the same time.
_AT_ONCE = 8


def check_ready(store: BackupStore, connections: Connections) -> dict[str, Any]:
    """``{"store": True, "targets": {"default": True}}``."""
    names: Sequence[str] = connections.names
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="ready") as threads:
        answers = threads.map(lambda name: reachable(connections.conninfo(name) or ""), names)
        return {"store": _can_list(store), "targets": dict(zip(names, answers, strict=True))}


def _can_list(store: BackupStore) -> bool:
    try:
        next(iter(store.list("", max_depth=1)), None)
    except PgvectorRestoreError as exc:
        _log.warning("the store cannot be listed: %s", type(exc).__name__)
        return False
    return True
