"""Which of very many values occur more than once, in little memory.

Each value is kept as a hash of 64 bits. Once a run of them is full it is sorted and goes to a
temporary file. In the end the range of all hashes is gone through slice by slice: a slice of every
run is read, and equal neighbours are found by sorting.

Memory: a run of 8 MiB, and a slice, which is 1/256 of all: 100 million values make slices of 3 MB.
Disk: 8 bytes a value, 800 MB for 100 million.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from tempfile import TemporaryFile
from typing import BinaryIO

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from pgvector_restore.errors import StoreError

__all__ = ["RUN_VALUES", "Repeated", "Spill", "SpillError"]

#: Hashes that are held before they go to the disk: 8 MiB.
RUN_VALUES = 1 << 20

_SLICES = 256
#: First hash of each slice but the first.
_BORDERS = np.array([(i << 56) - (1 << 63) for i in range(1, _SLICES)], np.int64)
_WIDTH = 8


class SpillError(StoreError):
    """The temporary file cannot be written or read."""


@contextmanager
def _disk() -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise SpillError(
            f"keys cannot be kept in a temporary file: {exc.strerror or exc}",
            hint=f"it takes {_WIDTH} bytes a record; name another folder with temp_dir",
        ) from exc


@frozen
class Repeated:
    """Hashes that were there more than once."""

    #: Values beyond the first of each hash.
    extra: int
    #: Hashes that occur more than once.
    distinct: int
    #: Those of them that were kept.
    hashes: NDArray[np.int64]


class Spill:
    """Takes values, then tells which hashes were repeated.

    Python's own hash of bytes is used: its key differs from process to process, so no file can be
    made whose values collide. Use it as a context manager; the temporary file goes with it.

    Args:
        folder: Where the temporary file goes; ``None``: the system's place.
        run_values: Hashes held in memory.
    """

    def __init__(self, folder: str | None = None, run_values: int = RUN_VALUES) -> None:
        self._folder = folder
        self._run_values = run_values
        self._run = np.empty(0, np.int64)
        self._held = 0
        self._file: BinaryIO | None = None
        #: Of each run in the file: where its slices begin, and its end, in values.
        self._runs: list[NDArray[np.int64]] = []
        self._written = 0

    def __enter__(self) -> Spill:  # noqa: PYI034 - typing.Self came with 3.11
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    @property
    def runs_on_disk(self) -> int:
        """Runs that went to the temporary file."""
        return len(self._runs)

    def add(self, values: Collection[bytes]) -> None:
        """Take some values.

        Raises:
            SpillError: The temporary file cannot be written.
        """
        hashes = np.fromiter(map(hash, values), np.int64, len(values))
        while len(hashes):
            if self._held == len(self._run):
                self._make_room()
            part = hashes[: len(self._run) - self._held]
            self._run[self._held : self._held + len(part)] = part
            self._held += len(part)
            hashes = hashes[len(part) :]

    def _make_room(self) -> None:
        """A larger run, or an empty one."""
        if len(self._run) < self._run_values:
            larger = min(max(1024, 2 * len(self._run)), self._run_values)
            self._run = np.concatenate([self._run, np.empty(larger - len(self._run), np.int64)])
            return
        self._run.sort()
        with _disk():
            if self._file is None:
                self._file = TemporaryFile(dir=self._folder)  # noqa: SIM115 - closed with this
            self._file.seek(self._written * _WIDTH)
            self._file.write(self._run.data)
        inner = np.searchsorted(self._run, _BORDERS)
        self._runs.append(np.concatenate([[0], inner, [self._held]]) + self._written)
        self._written += self._held
        self._held = 0

    def repeated(self, most: int) -> Repeated:
        """What was repeated; at most so many hashes are kept.

        Raises:
            SpillError: The temporary file cannot be read.
        """
        extra = distinct = 0
        kept: list[NDArray[np.int64]] = []
        room = most
        for hashes in self._slices():
            hashes.sort()
            again = hashes[1:][hashes[1:] == hashes[:-1]]
            extra += len(again)
            again = np.unique(again)
            distinct += len(again)
            kept.append(again[:room])
            room -= len(kept[-1])
        return Repeated(extra, distinct, np.concatenate(kept))

    def _slices(self) -> Iterator[NDArray[np.int64]]:
        rest = np.sort(self._run[: self._held])
        if self._file is None:
            yield rest
            return
        ends = np.concatenate([[0], np.searchsorted(rest, _BORDERS), [len(rest)]])
        for number in range(_SLICES):
            parts = [rest[ends[number] : ends[number + 1]]]
            with _disk():
                for run in self._runs:
                    self._file.seek(int(run[number]) * _WIDTH)
                    size = int(run[number + 1] - run[number]) * _WIDTH
                    parts.append(np.frombuffer(self._file.read(size), np.int64))
            yield np.concatenate(parts)
