"""Calling a restore off from outside: from another thread, or from a signal handler."""

from __future__ import annotations

import threading

from pgvector_restore.errors import CancelledError

__all__ = ["CancelToken"]


class CancelToken:
    """Calls off whatever was started with it; a service keeps one for each restore it runs.

    Any thread may call any method, any number of times. A token that has been used stays used.

    >>> token = CancelToken()
    >>> token.cancel()
    >>> token.cancelled
    True
    """

    def __init__(self) -> None:
        self._called_off = threading.Event()

    def __repr__(self) -> str:
        return f"<CancelToken {'cancelled' if self.cancelled else 'waiting'}>"

    @property
    def cancelled(self) -> bool:
        """:meth:`cancel` has been called."""
        return self._called_off.is_set()

    def cancel(self) -> None:
        """Call it off. Returns at once; the restore ends within about a second, old state intact.

        Once COMMIT has been sent it is too late: the restore is done then, and says so.
        """
        self._called_off.set()

    def check(self) -> None:
        """Raise if it has been called off.

        Raises:
            CancelledError: It has.
        """
        if self.cancelled:
            raise CancelledError("cancelled: nothing has changed")

    def wait(self, timeout_s: float) -> bool:
        """Wait until it is called off, for so many seconds at the most; says whether it is."""
        return self._called_off.wait(timeout_s)
