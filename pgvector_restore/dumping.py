"""Tables into files: rows as the server sends them, in one order, compressed, hashed, counted."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, closing
from functools import partial
from itertools import chain
from threading import Lock

from attrs import define, field, frozen

from pgvector_restore.crew import Crew, Pipe
from pgvector_restore.db.export import Extent, Reader
from pgvector_restore.db.relations import Relation
from pgvector_restore.errors import RowCountError
from pgvector_restore.failpoints import reach
from pgvector_restore.manifest import ManifestFile
from pgvector_restore.model import FileFormat
from pgvector_restore.rows.csv_text import CsvPrinter
from pgvector_restore.rows.digest import ContentDigest, RowForm, digest_of, form_of, row_hash
from pgvector_restore.storage.compression import Packer
from pgvector_restore.storage.layout import Layout
from pgvector_restore.storage.new_set import NewSet, StoredFile

__all__ = ["Dump", "Dumped", "cut_pages"]

#: Bytes that are given to the packer and to the storage at a time.
_BLOCK_BYTES = 1 << 20

#: Bytes of a table that one thread reads at a time for a CSV file: of vectors they make about
#: three times as much text, which waits in memory for its turn.
_CSV_EXTENT_BYTES = 2_500_000
#: Blocks of such a stretch that may wait; the thread pauses when there are more.
_CSV_BLOCKS = 12
#: Stretches that are read ahead beside those the threads are at.
_CSV_AHEAD = 3

#: Bytes of a table that make a file in binary: enough that starting a COPY costs nothing, and few
#: enough that several connections have something to restore.
_PART_BYTES = 64 << 20

#: Rows whose hashes are added up at a time.
_HASHES = 1000

#: What precedes the first row and follows the last one of COPY's binary format.
_HEADER_BYTES, _TRAILER = 19, b"\xff\xff"


def cut_pages(pages: int, size_bytes: int, extent_bytes: int) -> tuple[Extent | None, ...]:
    """Stretches of a table of about so many bytes, in order; the last one goes to its end.

    >>> cut_pages(5, 100, 40)
    (Extent(first=0, end=2), Extent(first=2, end=4), Extent(first=4, end=None))
    >>> cut_pages(0, 100, 40)
    (None,)
    """
    count = min(pages, -(-size_bytes // extent_bytes))
    if count < 2:  # noqa: PLR2004 - one stretch is the whole table
        return (None,)
    step = -(-pages // count)
    starts = range(0, pages, step)
    return tuple(Extent(at, at + step if at + step < pages else None) for at in starts)


@frozen
class Dumped:
    """What was written of a table."""

    #: Its files.
    files: tuple[ManifestFile, ...]
    #: Number and sum of its rows; the sum is 0 where no digest was taken.
    digest: ContentDigest
    #: Seconds from the first row to the last file.
    seconds: float


@define
class _Tally:
    """How far the threads are."""

    rows: int = 0
    size_bytes: int = 0
    _lock: Lock = field(factory=Lock)

    def add(self, rows: int, size_bytes: int) -> None:
        with self._lock:
            self.rows += rows
            self.size_bytes += size_bytes


#: Told of a table, the rows and bytes of all tables read so far.
OnRead = Callable[[str | None, int, int], None]


@define
class Dump:
    """Writes the tables of one set."""

    _new: NewSet
    _layout: Layout
    _crew: Crew
    _packer: Callable[[], Packer] | None
    _suffix: str
    _digest: bool
    _on_read: OnRead
    _tally: _Tally = field(factory=_Tally, init=False)

    def tables(self, tables: Sequence[Relation], kind: FileFormat) -> dict[str, Dumped]:
        """Write them, parents first; what was written, by table."""
        if kind == "csv":
            return {table.name: self._csv(table) for table in tables}
        begun = [(table, time.perf_counter(), self._begin_binary(table)) for table in tables]
        done = {}
        for table, started, futures in begun:
            tell = partial(self._tell, table.name)
            files: list[ManifestFile] = []
            digest = ContentDigest()
            for found, part in self._crew.results(futures, tell):
                files += found
                digest += part
            done[table.name] = Dumped(tuple(files), digest, time.perf_counter() - started)
        return done

    def _tell(self, table: str | None) -> None:
        self._on_read(table, self._tally.rows, self._tally.size_bytes)

    def _csv(self, table: Relation) -> Dumped:
        """One file; threads read stretches of the table, which are written in order."""
        started = time.perf_counter()
        extents = cut_pages(table.pages, table.size_bytes, _CSV_EXTENT_BYTES)
        form = form_of(table.columns)
        waiting: deque[Pipe] = deque()
        futures: list[Future[ContentDigest]] = []
        todo = iter(enumerate(extents))

        def begin() -> None:
            for place, extent in todo:
                pipe = Pipe(self._crew, _CSV_BLOCKS)
                read = partial(self._csv_extent, table, form, extent, pipe, place == 0)
                futures.append(self._crew.submit(read))
                waiting.append(pipe)
                return

        name = self._layout.file_name(table.name, self._new.timestamp) + self._suffix
        with self._new.file(name, aside=False) as file:
            for _ in range(self._crew.size + _CSV_AHEAD):
                begin()
            while waiting:
                for block in waiting.popleft():
                    file.write(block)
                    reach("backup.block")
                begin()
                self._tally.add(0, table.size_bytes // len(extents))
                self._tell(table.name)
            digest = ContentDigest()
            for part in self._crew.results(futures, partial(self._tell, table.name)):
                digest += part
            reach("backup.file")
        stored = _described(file, digest.rows)
        return Dumped((stored,), digest, time.perf_counter() - started)

    def _csv_extent(
        self,
        table: Relation,
        form: RowForm,
        extent: Extent | None,
        pipe: Pipe,
        header: bool,  # noqa: FBT001 - bound by partial()
        reader: Reader,
    ) -> ContentDigest:
        counted: list[int] = []
        hashes = _Hashes(form)
        with ExitStack() as stack:
            if self._digest:
                printer = CsvPrinter(form, table.columns)
                found = reader.for_digest(
                    table, form.columns, extent, counted, printer.sent_as_text
                )
                rows = stack.enter_context(closing(found))
                blocks = printer.blocks(rows, hashes.take)
                if header:
                    blocks = chain([printer.header], blocks)
            else:
                sent = reader.csv(table, extent, header=header, counted=counted)
                blocks = _joined(stack.enter_context(closing(sent)))
            for block in self._packed(blocks):
                pipe.put(block)
        pipe.put(None)
        digest = hashes.digest if self._digest else ContentDigest(counted[0])
        _check_counts(table, counted[0], digest.rows)
        self._tally.add(digest.rows, 0)
        return digest

    def _begin_binary(
        self, table: Relation
    ) -> list[Future[tuple[list[ManifestFile], ContentDigest]]]:
        """A file for each stretch of the table; one thread writes each."""
        extents = cut_pages(table.pages, table.size_bytes, _PART_BYTES)
        form = form_of(table.columns)
        in_parts = len(extents) > 1 or table.size_bytes > _PART_BYTES
        return [
            self._crew.submit(
                partial(self._binary_extent, table, form, extent, place if in_parts else None)
            )
            for place, extent in enumerate(extents, 1)
        ]

    def _binary_extent(
        self,
        table: Relation,
        form: RowForm,
        extent: Extent | None,
        part: int | None,
        reader: Reader,
    ) -> tuple[list[ManifestFile], ContentDigest]:
        name = self._layout.binary_name(table.name, self._new.timestamp, part) + self._suffix
        counted: list[int] = []
        digest = ContentDigest()
        direct = self._digest and all(column.wire is not None for column in form.columns)
        hashes = _Hashes(form)
        with (
            self._new.file(name, aside=True) as file,
            closing(reader.binary(table, form.columns, extent, counted)) as pieces,
        ):
            for block in self._packed(_joined(hashes.of_copy(pieces) if direct else pieces)):
                file.write(block)
                reach("backup.block")
            reach("backup.file")
        rows = counted[0]
        if direct:
            digest = hashes.digest
        elif self._digest:
            with closing(reader.for_digest(table, form.columns, extent, [])) as again:
                digest = self._hashed(form, again)
        else:
            digest = ContentDigest(rows)
        _check_counts(table, rows, digest.rows)
        self._tally.add(rows, file.size_bytes)
        return [_described(file, rows)], digest

    def _packed(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        """Blocks as those of one compressed stream."""
        packer = self._packer() if self._packer is not None else None
        for block in blocks:
            self._crew.stop.check()
            data = packer.compress(block) if packer is not None else block
            if data:
                yield data
        if packer is not None:
            yield packer.flush()

    def _hashed(self, form: RowForm, rows: Iterable[memoryview]) -> ContentDigest:
        hashes = _Hashes(form)
        for row in rows:
            hashes.add(bytes(row))
        self._crew.stop.check()
        return hashes.digest


class _Hashes:
    """Hashes of rows, added up as they come."""

    def __init__(self, form: RowForm) -> None:
        self._form = form
        self._found: list[bytes] = []
        self._digest = ContentDigest()

    @property
    def digest(self) -> ContentDigest:
        """The digest of all rows so far."""
        self._digest += digest_of(self._found)
        self._found = []
        return self._digest

    def add(self, row: bytes) -> None:
        """Hash a row as COPY sends it."""
        self.take(row_hash(self._form, row))

    def take(self, found: bytes) -> None:
        """Add a row's hash."""
        self._found.append(found)
        if len(self._found) >= _HASHES:
            _ = self.digest

    def of_copy(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Pass on what COPY sends in binary, and hash its rows."""
        header = _HEADER_BYTES
        for piece in pieces:
            row = piece[header:]
            header = 0
            if row and row != _TRAILER:
                self.add(row)
            yield piece


def _check_counts(table: Relation, sent: int, hashed: int) -> None:
    if sent != hashed:
        raise RowCountError(
            f"{table.schema}.{table.name} gave {sent} rows, and {hashed} for the digest"
        )


def _joined(pieces: Iterable[bytes]) -> Iterator[bytes]:
    held: list[bytes] = []
    size = 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= _BLOCK_BYTES:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)


def _described(file: StoredFile, rows: int) -> ManifestFile:
    return ManifestFile(file.name, file.size_bytes, file.sha256, rows)
