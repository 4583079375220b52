"""What became of restores whose end nobody saw: asked until their databases answer."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

from attrs import frozen

from pgvector_restore.backoff import pauses
from pgvector_restore.db.ledger import look
from pgvector_restore.errors import PgvectorRestoreError
from pgvector_restore.http.connections import Reached
from pgvector_restore.http.jobs import JobManager, Outcome
from pgvector_restore.http.logs import failed

__all__ = ["Recovery", "Traces", "look_before", "outcome_of"]

_log = logging.getLogger(__name__)

#: Seconds between two rounds: the first, and the longest. A database that is down for long is not
#: asked more than once a minute.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 60.0
#: Seconds to wait for a COMMIT that may be on its way, before asking again in the next round.
_COMMIT_WAIT_S = 10.0


@frozen
class Traces:
    """Where a restore leaves its mark, as it is before it begins."""

    #: Name of the target; empty for a caller's own connection, which is not kept.
    target: str
    #: Schema of the ledger.
    schema: str
    #: What the restore is marked with.
    mark: str
    #: Which database of which server; empty where the role may not know.
    database: str
    #: Highest number in the ledger; ``None``: it cannot be read, or the restore writes none.
    highest: int | None


def look_before(reached: Reached, schema: str, mark: str) -> tuple[Traces, bool]:
    """The traces of a restore that is about to begin, and whether its role may keep a ledger.

    Raises:
        TargetError: The database does not answer.
    """
    state = look(reached.target, schema, mark)
    name = reached.name if reached.configured else ""
    highest = state.highest if state.writable else None
    return Traces(name, schema, mark, state.database, highest), state.writable


def outcome_of(before: Traces, target: str) -> Outcome:
    """What became of a restore whose process has ended.

    The mark is written in the restore's own transaction, so it is there exactly if that was
    committed. A ledger that has lost rows, or another database, tells nothing.

    Raises:
        TargetError: The database does not answer, or a COMMIT may still be on its way.
    """
    now = look(target, before.schema, before.mark, _COMMIT_WAIT_S)
    if now.marked:
        return "committed"
    same = before.database == now.database
    readable = before.highest is not None and now.highest is not None
    if not same or not readable or (now.highest or 0) < (before.highest or 0):
        return "unknown"
    return "nothing_changed"


class Recovery:
    """Looks for what is unknown, in a thread of its own, for as long as there is any.

    Args:
        jobs: Whose jobs.
        conninfo: The connection of a target's name, or ``None``.
    """

    def __init__(self, jobs: JobManager, conninfo: Callable[[str], str | None]) -> None:
        self._jobs = jobs
        self._conninfo = conninfo
        self._given_up: set[str] = set()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def wake(self) -> None:
        """There may be something to look for."""
        with self._lock:
            if self._thread is None and not self._stop.is_set() and self._open():
                self._thread = threading.Thread(
                    target=self._run, name="outcomes-of-restores", daemon=True
                )
                self._thread.start()

    def stop(self) -> None:
        """Look no further. A look that is under way ends by itself, and is heard by nobody."""
        self._stop.set()

    def _open(self) -> dict[str, dict[str, Any]]:
        unknown = self._jobs.unknown()
        return {job_id: traces for job_id, traces in unknown.items()
                if job_id not in self._given_up}  # fmt: skip

    def _run(self) -> None:
        for pause in pauses(_FIRST_PAUSE_S, _LONGEST_PAUSE_S):
            for job_id, traces in self._open().items():
                if not self._stop.is_set():
                    self._look(job_id, traces)
            with self._lock:
                if not self._open():
                    self._thread = None
                    return
            if self._stop.wait(pause):
                return

    def _look(self, job_id: str, kept: Mapping[str, Any]) -> None:
        traces = Traces(**kept)
        conninfo = self._conninfo(traces.target)
        if conninfo is None:
            self._given_up.add(job_id)
            return
        try:
            outcome = outcome_of(traces, conninfo)
        except PgvectorRestoreError as exc:
            _log.info("job %s: its outcome cannot be looked up yet: %s", job_id, exc)
            return
        except Exception as exc:  # noqa: BLE001 - the others must be looked for all the same
            self._given_up.add(job_id)
            failed(_log, "outcome of a restore not looked up", exc)
            return
        if outcome == "unknown":
            self._given_up.add(job_id)
        self._jobs.settle(job_id, outcome)
