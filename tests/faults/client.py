"""A program that restores, reverts or drops what was kept, and says how it ended.

Tests start it and end it on the way::

    python -m tests.faults.client TASK

TASK is a JSON object: ``do`` (``restore``, ``revert`` or ``drop``), ``restores`` to drop, ``dsn``,
``root``, ``out`` (where the outcome goes, as JSON), ``part_bytes`` and ``options`` of the restore.
"""

from __future__ import annotations

import json
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

from pgvector_restore import (
    CancelledError,
    CancelToken,
    PgvectorRestoreError,
    ProgressEvent,
    Restorer,
    open_store,
    pieces,
)


def run(task: dict[str, Any]) -> dict[str, Any]:
    token = CancelToken()
    signal.signal(signal.SIGTERM, lambda *_: token.cancel())

    def listen(_: ProgressEvent) -> None:
        if token.cancelled:
            raise CancelledError("called off by a signal")

    pieces.PART_BYTES = task["part_bytes"]
    try:
        with Restorer(open_store(task["root"]), task["dsn"]) as restorer:
            if task["do"] == "revert":
                return {"error": None, "tables": list(restorer.revert(cancel=token))}
            if task["do"] == "drop":
                gone = restorer.drop_previous(*task["restores"], cancel=token)
                return {"error": None, "dropped": len(gone)}
            report = restorer.restore("latest", progress=listen, **task["options"])
    except Exception as exc:  # noqa: BLE001 - the test judges it
        return {
            "error": type(exc).__name__,
            "typed": isinstance(exc, PgvectorRestoreError),
            "message": str(exc),
            "sqlstate": getattr(exc, "sqlstate", None),
            "traceback": traceback.format_exc(),
        }
    return {"error": None, "rows": report.rows_loaded, "strategy": report.strategy}


def main() -> None:
    task = json.loads(sys.argv[1])
    outcome = json.dumps(run(task))
    out = Path(task["out"])
    new = out.with_suffix(".new")
    new.write_text(outcome)
    new.rename(out)


if __name__ == "__main__":
    main()
