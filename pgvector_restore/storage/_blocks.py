"""An object that is uploaded block by block and shown by the last request."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

__all__ = ["BlockSink"]


class BlockSink(ABC):
    """What comes is kept until it makes a block.

    Args:
        block_bytes: Bytes of a block.
    """

    def __init__(self, block_bytes: int) -> None:
        self._buffer = bytearray()
        self._size = 0
        #: Bytes of the next block.
        self.blocksize = block_bytes
        #: Whether it is finished, or given up.
        self.closed = False

    @abstractmethod
    def _send(self, block: bytes) -> None:
        """Upload a block that is not the last one."""

    @abstractmethod
    def _finish(self, last: bytes) -> None:
        """Upload the rest, nothing only of an object of no bytes, and show the object."""

    def tell(self) -> int:
        """Bytes that were written."""
        return self._size

    def write(self, data: Any, /) -> int:  # noqa: ANN401 - any buffer
        """Take all of it, and upload what makes more than a block."""
        view = memoryview(data)
        for start in range(0, len(view), self.blocksize):
            self._buffer += view[start : start + self.blocksize]
            while len(self._buffer) > self.blocksize:
                block = bytes(self._buffer[: self.blocksize])
                del self._buffer[: self.blocksize]
                self._send(block)
        self._size += len(view)
        return len(view)

    def close(self) -> None:
        """Show the object; nothing is done where that was done, or it was given up."""
        if not self.closed:
            self._finish(bytes(self._buffer))
            self.closed = True
