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
from pgvector_restore.db.extents import Extent, cut_pages
from pgvector_restore.db.reader import Reader
from pgvector_restore.db.relations import Relation
from pgvector_restore.failpoints import reach
from pgvector_restore.manifest import ManifestFile
from pgvector_restore.model import FileFormat
from pgvector_restore.plain_csv import PlainCsv, check_counts
from pgvector_restore.row_sums import RowSums
from pgvector_restore.rows.csv_text import CsvPrinter
from pgvector_restore.rows.digest import ContentDigest, RowForm, form_of
from pgvector_restore.storage.compression import Packer
from pgvector_restore.storage.layout import Layout
from pgvector_restore.storage.new_set import NewSet, StoredFile

__all__ = ["Dump", "Dumped"]

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
        begin = self._begin_plain if self._packer is None else self._begin_packed
        name = self._layout.file_name(table.name, self._new.timestamp) + self._suffix
        with self._new.file(name, aside=False) as file:
            stretches, futures = begin(table, form, extents)
            for blocks in stretches:
                for block in blocks:
                    file.write(block)
                    reach("backup.block")
                self._tally.add(0, table.size_bytes // len(extents))
                self._tell(table.name)
            digest = ContentDigest()
            for part in self._crew.results(futures, partial(self._tell, table.name)):
                digest += part
            reach("backup.file")
        stored = _described(file, digest.rows)
        return Dumped((stored,), digest, time.perf_counter() - started)

    def _begin_plain(
        self, table: Relation, form: RowForm, extents: Sequence[Extent | None]
    ) -> tuple[Iterable[Iterable[bytes]], list[Future[ContentDigest]]]:
        """Blocks by stretch, and what becomes of all; one thread reads."""
        plain = PlainCsv(
            table,
            form,
            extents,
            self._crew,
            blocks=_CSV_BLOCKS,
            ahead=self._crew.size + _CSV_AHEAD,
            digest=self._digest,
            on_rows=lambda rows: self._tally.add(rows, 0),
        )
        return plain.stretches, [self._crew.submit_alone(plain.run)]

    def _begin_packed(
        self, table: Relation, form: RowForm, extents: Sequence[Extent | None]
    ) -> tuple[Iterable[Iterable[bytes]], list[Future[ContentDigest]]]:
        """The same, compressed: a thread for each stretch, as compressing takes the longest."""
        waiting: deque[Pipe[bytes]] = deque()
        futures: list[Future[ContentDigest]] = []
        todo = iter(enumerate(extents))

        def begin() -> None:
            for place, extent in todo:
                pipe: Pipe[bytes] = Pipe(self._crew, _CSV_BLOCKS)
                read = partial(self._csv_extent, table, form, extent, pipe, place == 0)
                futures.append(self._crew.submit(read))
                waiting.append(pipe)
                return

        def stretches() -> Iterator[Iterable[bytes]]:
            for _ in range(self._crew.size + _CSV_AHEAD):
                begin()
            while waiting:
                yield waiting.popleft()
                begin()

        return stretches(), futures

    def _csv_extent(
        self,
        table: Relation,
        form: RowForm,
        extent: Extent | None,
        pipe: Pipe[bytes],
        header: bool,  # noqa: FBT001 - bound by partial()
        reader: Reader,
    ) -> ContentDigest:
        counted: list[int] = []
        hashes = RowSums(form)
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
        check_counts(table, counted[0], digest.rows)
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
        hashes = RowSums(form)
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
        check_counts(table, rows, digest.rows)
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
        hashes = RowSums(form)
        for row in rows:
            hashes.add(bytes(row))
        self._crew.stop.check()
        return hashes.digest


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
