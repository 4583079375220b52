"""Progress: many sources, one stream of events."""

from __future__ import annotations

import logging
from collections.abc import Callable

from attrs import evolve

from pgvector_restore.cancel import CancelToken
from pgvector_restore.plan import RestorePlan
from pgvector_restore.progress import Phase, Progress, ProgressEvent, ServerStep

__all__ = ["Teller", "Tracker"]

_log = logging.getLogger(__name__)


class Tracker:
    """Adds up the progress of several tables; where it is told anything, it can be called off.

    Args:
        plan: What is being done.
        progress: The listener.
        cancel: Calls it off.
    """

    def __init__(self, plan: RestorePlan, progress: Progress, cancel: CancelToken) -> None:
        #: Calls the restore off.
        self.cancel = cancel
        self._progress = progress
        logged = [t.logged_rows for t in plan.tables]
        rows = None if None in logged else sum(n for n in logged if n is not None)
        self._event = ProgressEvent("prepare", None, 0, plan.size_bytes, 0, rows)
        self._done: dict[str, tuple[int, int]] = {}

    def tell(self, phase: Phase) -> None:
        """A phase begins."""
        self._send(evolve(self._event, phase=phase, table=None, server=None))

    def tell_step(self, step: ServerStep) -> None:
        """The server says how far it is."""
        self._send(evolve(self._event, server=step))

    def tell_done(self) -> None:
        """The restore is committed: a listener that fails now must not make it look failed."""
        try:
            self.tell("done")
        except Exception:  # noqa: BLE001 - whatever a listener raises
            _log.exception("progress listener failed after the restore was committed")

    def for_table(
        self, table: str, server: Callable[[], ServerStep | None]
    ) -> Callable[[int, int], None]:
        """What a table's feed calls with bytes read and rows decoded so far."""

        def update(bytes_read: int, rows: int) -> None:
            self._done[table] = (bytes_read, rows)
            self._send(
                evolve(
                    self._event,
                    phase="load",
                    table=table,
                    bytes_done=sum(b for b, _ in self._done.values()),
                    rows_done=sum(r for _, r in self._done.values()),
                    server=server(),
                )
            )

        return update

    def _send(self, event: ProgressEvent) -> None:
        if event.phase != "done":
            self.cancel.check()
        self._event = event
        self._progress(event)


class Teller:
    """Progress over the tables of a set that is only read; where it is told anything, it can end.

    Args:
        progress: The listener.
        cancel: Calls it off.
        phase: What is being done.
        bytes_total: Stored bytes of all files.
    """

    def __init__(
        self, progress: Progress, cancel: CancelToken, phase: Phase, bytes_total: int
    ) -> None:
        #: Calls it off.
        self.cancel = cancel
        self._progress = progress
        self._phase: Phase = phase
        self._bytes_total = bytes_total
        self._bytes_before = 0

    def for_table(self, table: str) -> Callable[[int, int], None]:
        """What is called with bytes read of the table's file, and rows."""

        def update(bytes_read: int, rows: int) -> None:
            self.cancel.check()
            done = min(self._bytes_before + bytes_read, self._bytes_total)
            self._progress(ProgressEvent(self._phase, table, done, self._bytes_total, rows))

        return update

    def finished(self, size_bytes: int) -> None:
        """A file is done with."""
        self._bytes_before += size_bytes

    def tell_done(self) -> None:
        """All of them are."""
        done = self._bytes_before
        self._progress(ProgressEvent("done", None, done, self._bytes_total, 0))
