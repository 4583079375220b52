"""How many of what takes long, and is no job, may go on at the same time."""

from __future__ import annotations

import threading

from pgvector_restore.http.answers import Answer

__all__ = ["FULL", "TOO_MANY_PLANS", "TOO_MANY_STREAMS", "Places"]

TOO_MANY_STREAMS = Answer(
    429,
    "TOO_MANY_STREAMS",
    {"zh": "打开的事件流过多", "en": "too many event streams are open"},
    can_retry=True,
)
TOO_MANY_PLANS = Answer(
    429,
    "TOO_MANY_PLANS",
    {"zh": "同时进行的计划过多", "en": "too many plans are being made"},
    can_retry=True,
)
#: The answers where no place is left, by code.
FULL = {answer.code: answer for answer in (TOO_MANY_STREAMS, TOO_MANY_PLANS)}


class Places:
    """Counts who is in, so that they stay few. Any thread may call it.

    Args:
        most: How many may be in at the same time.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        #: How many are in.
        self.taken = 0

    def enter(self) -> bool:
        """Take a place, if there is one."""
        with self._lock:
            if self.taken >= self._most:
                return False
            self.taken += 1
            return True

    def leave(self) -> None:
        """Give a place back."""
        with self._lock:
            self.taken -= 1
