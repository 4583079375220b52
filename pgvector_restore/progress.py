"""Progress events and what can be done with them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from attrs import frozen

from pgvector_restore.errors import MissingExtraError

if TYPE_CHECKING:
    from tqdm import tqdm

__all__ = ["LoggingProgress", "Progress", "ProgressEvent", "TqdmProgress", "no_progress"]

#: Steps of a restore, in order; ``verify`` and ``done`` are also those of a comparison, ``inspect``
#: and ``done`` those of an inspection. A backup has ``read`` in place of ``load`` and ``index``.
Phase = Literal["prepare", "load", "read", "index", "verify", "publish", "inspect", "done"]


#: What a stream raises that takes nothing any more.
_BROKEN = (OSError, ValueError)


@frozen
class ServerStep:
    """What the server says about the command at hand (``pg_stat_progress_…``)."""

    #: ``COPY`` with the table's name, or ``CREATE INDEX`` with the index's.
    command: str
    #: The server's word for the part it is in: ``building index: loading tuples``.
    part: str
    #: Work done in this part, in ``unit``.
    done: int
    #: Work there is in this part; 0: the server does not know.
    total: int
    #: ``rows``, ``blocks`` or ``bytes``.
    unit: str


@frozen
class ProgressEvent:
    """How far a restore, a comparison or an inspection is.

    Events of one of them come in order, from one thread.
    """

    #: What is being done.
    phase: Phase
    #: Table at hand, ``None`` between tables.
    table: str | None
    #: Bytes of backup files read so far, over all tables of the restore. Of a backup: bytes the
    #: tables take in the database, as far as they are read.
    bytes_done: int
    #: Bytes of all files of the restore, or of all tables of the backup.
    bytes_total: int
    #: Rows sent so far, over all tables.
    rows_done: int
    #: Rows expected over all tables, where the backup log tells; else ``None``.
    rows_total: int | None = None
    #: Figures of the server itself, where it was asked; they come about twice a second.
    server: ServerStep | None = None


#: A listener. What it raises ends the restore with nothing changed; with the ``done`` event, which
#: comes after COMMIT, it is only logged.
Progress = Callable[[ProgressEvent], None]


def no_progress(event: ProgressEvent) -> None:
    """The listener that does nothing."""


class TqdmProgress:
    """A tqdm bar over bytes, with rows beside it; fits terminals and notebooks.

    Use one per restore; it closes itself with the ``done`` event, and :meth:`close` ends it early.
    Where it cannot be shown any more, because a pipe was closed or a terminal has gone, it is not.

    Args:
        options: Passed on to ``tqdm``: ``file``, ``disable``, ``leave`` …
    """

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - tqdm's own keywords
        try:
            from tqdm.auto import tqdm  # noqa: PLC0415 - an extra
        except ImportError as exc:
            raise MissingExtraError(
                "the progress bar needs tqdm", hint='pip install "pgvector_restore[cli]"'
            ) from exc
        self._tqdm = tqdm
        self._options = options
        self._bar: tqdm[Any] | None = None
        self._is_shown = True

    def __call__(self, event: ProgressEvent) -> None:
        """Show the event."""
        if self._is_shown:
            try:
                self._show(event)
            except _BROKEN:
                self._give_up()

    def _show(self, event: ProgressEvent) -> None:
        if self._bar is None:
            self._bar = self._tqdm(
                total=event.bytes_total,
                unit="B",
                unit_scale=True,
                unit_divisor=1024,
                **self._options,
            )
        self._bar.update(event.bytes_done - self._bar.n)
        if event.table is not None:
            self._bar.set_description_str(event.table, refresh=False)
        of = f"/{event.rows_total}" if event.rows_total is not None else ""
        self._bar.set_postfix_str(f"{event.rows_done}{of} rows", refresh=False)
        if event.phase == "done":
            self.close()

    def close(self) -> None:
        """End the bar; harmless when there is none."""
        bar, self._bar = self._bar, None
        if bar is not None:
            try:
                bar.close()
            except _BROKEN:
                self._give_up()

    def _give_up(self) -> None:
        self._is_shown = False
        bar, self._bar = self._bar, None
        if bar is not None:
            bar.disable = True  # it closes itself once more when it is collected


class LoggingProgress:
    """Log lines at INFO, at most one per ``every_s`` seconds and one per change of phase."""

    def __init__(self, logger: logging.Logger | None = None, *, every_s: float = 5.0) -> None:
        self._logger = logger or logging.getLogger("pgvector_restore.progress")
        self._every_s = every_s
        self._last: tuple[str, str | None] | None = None
        self._due = 0.0
        self._lock = threading.Lock()

    def __call__(self, event: ProgressEvent) -> None:
        """Log the event if it is due."""
        with self._lock:
            step = (event.phase, event.table)
            if step == self._last and time.monotonic() < self._due:
                return
            self._last, self._due = step, time.monotonic() + self._every_s
        self._logger.info(
            "%s: %d of %d bytes, %d rows",
            f"{event.phase} {event.table}" if event.table else event.phase,
            event.bytes_done,
            event.bytes_total,
            event.rows_done,
        )
