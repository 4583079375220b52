"""What a web server sends of a file: in one answer, and in several where that is slow."""

from __future__ import annotations

import http.client
import re
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from pgvector_restore.errors import StoreError, quoted
from pgvector_restore.storage._web_ranges import Ranges
from pgvector_restore.storage._wide import Spread

__all__ = ["Body", "WideWebBody", "check_complete"]

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)", re.IGNORECASE)

#: How files are named that a server may call encoded: they are sent as they are stored.
_PACKED = (".gz", ".tgz", ".br", ".bz2", ".xz", ".zst", ".lz4", ".z", ".zip")


class Body:
    """The body of an answer from the first byte wanted to its end; a cut one is an error.

    Args:
        answer: Of a server.
        key: Of the file.
        start: First byte wanted.
        end: Byte after the last one wanted; ``None``: where the file ends.

    Raises:
        StoreError: It is another range than was asked for, or packed on the way.
    """

    def __init__(
        self, answer: http.client.HTTPResponse, key: str, start: int, end: int | None
    ) -> None:
        self._answer = answer
        self._cut: http.client.IncompleteRead | None = None
        if not key.lower().endswith(_PACKED):
            _check_plain(answer, key)
        #: Bytes of the file; ``None``: the server does not tell.
        self.size = _size(answer, key, start)
        # A server that knows no ranges sends all of it.
        skipped = start if answer.status == http.client.OK else 0
        while skipped and (data := answer.read(min(skipped, 1 << 20))):
            skipped -= len(data)
        self._left: int | None = None
        if self.size is not None:
            self._left = max((self.size if end is None else min(end, self.size)) - start, 0)

    def readinto(self, buffer: Any, /) -> int:  # noqa: ANN401 - any buffer
        """One read. http.client itself takes a connection that ends for the end of the body."""
        if self._cut is not None:
            raise self._cut
        view = memoryview(buffer).cast("B")
        if self._left is not None:
            view = view[: self._left]
        if not view:
            return 0
        try:
            count = self._answer.readinto(view)
        except http.client.IncompleteRead as exc:
            self._cut = exc
            count = len(exc.partial)  # it is in the buffer
            if not count:
                raise
        if self._left is not None:
            if not count:
                raise http.client.IncompleteRead(b"", self._left)
            self._left -= count
        return count

    def close(self) -> None:
        """Let go of the answer."""
        self._answer.close()


class WideWebBody:
    """A body whose rest comes in several requests at once if it is slow and the server allows it.

    Whether it does is tried with a request for one byte, while the answer is read on.

    Args:
        body: The answer.
        start: Its first byte.
        end: Byte after its last one.
        ranges: Makes what asks for other ranges of the same version; ``None``: not now.
    """

    def __init__(
        self, body: Body, start: int, end: int, ranges: Callable[[], Ranges | None]
    ) -> None:
        self._body = body
        self._make = ranges
        self._ranges: Ranges | None = None
        self._spread = Spread(start, end)
        self._trial: Future[memoryview] | None = None
        self._is_wide = False
        self._pieces: deque[Future[memoryview]] = deque()
        self._rest = memoryview(b"")

    def readinto(self, buffer: Any, /) -> int:  # noqa: ANN401 - any buffer
        """One read."""
        if self._is_wide:
            return self._next(memoryview(buffer).cast("B"))
        began = time.monotonic()
        count = self._body.readinto(buffer)
        is_slow = self._spread.is_slow(count, time.monotonic() - began)
        if self._ranges is None or self._trial is None:
            if is_slow and (ranges := self._make()) is not None:
                self._ranges = ranges
                self._trial = ranges.ask(self._spread.at, self._spread.at + 1)
        elif self._trial.done():
            if self._trial.exception() is not None:
                self._ranges.close()
            else:
                self._is_wide = True
                self._body.close()
                self._ask(self._ranges)
        return count

    def close(self) -> None:
        """Let go of what is on its way."""
        self._body.close()
        if self._ranges is not None:
            self._ranges.close()

    def _next(self, view: memoryview) -> int:
        if not self._rest and self._pieces and self._ranges is not None:
            used, self._rest = self._rest, memoryview(b"")
            self._ranges.give_back(used)
            # Taken off when it has come: nothing is passed over after an error.
            self._rest = self._pieces[0].result()
            self._pieces.popleft()
            self._ask(self._ranges)
        count = min(len(view), len(self._rest))
        view[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def _ask(self, ranges: Ranges) -> None:
        for start, end in self._spread.ranges(len(self._pieces)):
            self._pieces.append(ranges.ask(start, end))


def check_complete(answer: http.client.HTTPResponse, what: str) -> None:
    """Refuse a page of which not all has come, or that is packed; http.client takes either."""
    _check_plain(answer, what)
    if answer.length:
        raise http.client.IncompleteRead(b"", answer.length)


def _check_plain(answer: http.client.HTTPResponse, what: str) -> None:
    if answer.headers.get("Content-Encoding", "").strip().lower() not in {"", "identity"}:
        raise StoreError(
            f"the server packs {quoted(what)} on the way, though it was asked not to",
            hint="serve the backups as plain files, without compression on the way",
        )


def _size(answer: http.client.HTTPResponse, key: str, start: int) -> int | None:
    """Bytes of the whole file, of an answer that starts where it was asked to."""
    if answer.status == http.client.OK:
        return answer.length
    found = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", "").strip())
    if found is None or int(found[1]) != start:
        raise StoreError(f"the server sends another range of {quoted(key)} than was asked for")
    return None if found[3] == "*" else int(found[3])
