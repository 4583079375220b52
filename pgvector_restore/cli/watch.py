"""A restore of the command line under way: its progress, and the signals that end it."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Literal

from attrs import define, field

from pgvector_restore.cancel import CancelToken
from pgvector_restore.errors import CancelledError
from pgvector_restore.progress import LoggingProgress, Progress, ProgressEvent, TqdmProgress

__all__ = ["SIGNALS", "Interrupted", "Watch", "heard_signals", "raising_signals", "watching"]

#: What is under way.
_What = Literal["restore", "backup", "copy", "prune", "revert", "drop"]

_log = logging.getLogger("pgvector_restore")

#: Signals that end a command; the last one, where there is one, says that its terminal was closed.
#: Shells give 128 and the number as exit code.
SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)

#: What has become of it, by the phase it was in; in any other nothing has changed.
_LAST_WORDS = {
    "restore": {
        "publish": "the restore was being committed: look whether its rows are there",
        "done": "the restore had been committed",
    },
    "backup": {
        "publish": "the backup was being published: list shows whether it is there",
        "done": "the backup was complete",
    },
    "copy": {
        "load": "what was copied stays, marked as unfinished",
        "done": "the copy was complete",
    },
    "prune": {"prepare": "what was removed before that is gone"},
    # These tell of no phases.
    "revert": {"prepare": "the tables were being put back: previous shows which are kept"},
    "drop": {"prepare": "what was kept was being dropped: previous shows whether it is there"},
}


class Interrupted(Exception):  # noqa: N818 - like KeyboardInterrupt
    """Ctrl-C, SIGTERM or SIGHUP during a restore; the text says what has become of it."""

    def __init__(self, message: str, number: int = signal.SIGINT) -> None:
        super().__init__(message)
        self.exit_code = 128 + number


@define
class Watch:
    """Passes progress on, and knows how far a restore was when it was interrupted."""

    _listener: Progress | None
    #: What is under way; decides the last words.
    what: _What = "restore"
    #: Used by a signal.
    cancel: CancelToken = field(factory=CancelToken)
    #: The last signal.
    number: int = signal.SIGINT
    _phase: str = "prepare"

    def __call__(self, event: ProgressEvent) -> None:
        """Note the event, then show it."""
        self._phase = event.phase
        if self._listener is not None:
            try:
                self._listener(event)
            except OSError:  # the terminal was closed
                self._listener = None

    def on_signal(self, number: int, _frame: FrameType | None) -> None:
        """Call the restore off; a second Ctrl-C does not wait for that."""
        if self.cancel.cancelled and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.number = number
        self.cancel.cancel()

    def interrupted(self) -> Interrupted:
        """What to tell of it."""
        what = _LAST_WORDS[self.what].get(self._phase, "nothing has changed")
        return Interrupted(f"interrupted: {what}", self.number)

    def close(self) -> None:
        """Take the bar away."""
        if isinstance(self._listener, TqdmProgress):
            with suppress(OSError):
                self._listener.close()


def heard_signals() -> list[int]:
    """Those that are not ignored, as ``nohup`` and shells have it for what runs beside them."""
    return [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]


@contextmanager
def raising_signals() -> Iterator[None]:
    """Each signal that ends a command raises ``KeyboardInterrupt``, as Ctrl-C does anyway."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    with _heard_by(interrupt):
        yield


@contextmanager
def _heard_by(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in heard_signals()}
    try:
        yield
    finally:
        for number, replaced in before.items():
            signal.signal(number, replaced)


@contextmanager
def watching(*, hidden: bool, what: _What = "restore") -> Iterator[Watch]:
    """Watch what may be interrupted until the block ends.

    Args:
        hidden: No progress bar.
        what: Which of them.

    Raises:
        Interrupted: A signal has ended it.
    """
    watch = Watch(_listener(hidden=hidden), what)
    try:
        with _heard_by(watch.on_signal):
            yield watch
    except CancelledError as exc:
        watch.close()
        words = str(exc).removeprefix("cancelled: ")
        raise Interrupted(f"interrupted: {words}", watch.number) from None
    except KeyboardInterrupt:
        watch.close()
        raise watch.interrupted() from None
    finally:
        watch.close()


def _listener(*, hidden: bool) -> Progress | None:
    if _log.isEnabledFor(logging.INFO):
        return LoggingProgress()
    if hidden or not sys.stderr.isatty():
        return None
    return TqdmProgress(file=sys.stderr, leave=False)
