"""Parts of a file as tasks that travel to other processes; see ``lanes.py``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

from attrs import define, evolve, field, frozen

from pgvector_restore.binary_feed import BinaryFeed
from pgvector_restore.db.staged import load_staged
from pgvector_restore.feed import WHOLE, Part, TableFeed
from pgvector_restore.model import DEFAULT_LIMITS, BackupFile, RepairCount, UnpackLimits
from pgvector_restore.plan import TablePlan
from pgvector_restore.quarantine import too_many
from pgvector_restore.rows.csv import record_ends
from pgvector_restore.rows.digest import ContentDigest
from pgvector_restore.rows.rejects import Reject
from pgvector_restore.storage import BackupStore
from pgvector_restore.storage.spool import PartStore, Spool
from pgvector_restore.sums import FileSum

__all__ = ["Loaded", "Task", "cut", "divided", "divisible", "load_part"]

#: Bytes of the smallest and of the largest task. Each pays for a connection and a COPY of its own,
#: so the first tasks of a file are large; the last ones are small, for no core to be idle at its
#: end. Measured with 600 MB over two connections: 2.8 s in parts of 32 MB, 2.5 s in larger ones.
PART_BYTES, LARGEST_PART_BYTES = 32 << 20, 128 << 20

#: The same where parts pass through temporary files, as many at a time as there are connections and
#: two more.
LARGEST_COPY_BYTES = 64 << 20

#: Bytes per read while a file is cut.
_BLOCK_BYTES = 1 << 20


@frozen
class Task:
    """A part of a file to load, with everything that takes; travels to another process."""

    #: Where the file lies.
    store: BackupStore
    #: What to load, into a staging table.
    plan: TablePlan
    #: Which records.
    part: Part
    #: Longer records are refused.
    max_record_bytes: int
    #: Digest the rows.
    content: bool
    #: Connection parameters. They hold the password, so they are not shown.
    connection: Mapping[str, Any] = field(repr=False)
    #: So many records may be set aside in the whole restore; ``None``: the first bad one raises.
    max_bad_rows: int | None = None
    #: Records that were set aside before this file was begun.
    bad_rows_before: int = 0
    #: How much may come out of a compressed file.
    limits: UnpackLimits = DEFAULT_LIMITS
    #: Which part of its table it is, counted from 0.
    number: int = 0


@frozen
class Loaded:
    """What has been loaded of a file."""

    #: Rows.
    rows: int = 0
    #: Bytes of the file.
    bytes_read: int = 0
    #: Cells repaired; records are counted from the start of the part.
    repairs: tuple[RepairCount, ...] = ()
    #: The file does not end with a row end.
    final_newline_missing: bool = False
    #: Digest of the rows; that of none where nobody asked for it.
    content: ContentDigest = field(factory=ContentDigest)
    #: Records set aside; they are counted from the start of the part, too.
    rejects: tuple[Reject, ...] = field(default=(), repr=False)

    @property
    def rows_read(self) -> int:
        """Records: loaded, or set aside."""
        return self.rows + len(self.rejects)

    def followed_by(self, other: Loaded) -> Loaded:
        """This part and the next one together."""
        return Loaded(
            self.rows + other.rows,
            self.bytes_read + other.bytes_read,
            _merged(self.repairs, other.repairs, self.rows_read),
            other.final_newline_missing,
            self.content + other.content,
            self.rejects
            + tuple(evolve(r, record=r.record + self.rows_read) for r in other.rejects),
        )


def _merged(
    first: Sequence[RepairCount], second: Sequence[RepairCount], offset: int
) -> tuple[RepairCount, ...]:
    found = {(r.column, r.kind): r for r in first}
    for repair in second:
        key = (repair.column, repair.kind)
        known = found.get(key)
        found[key] = (
            evolve(known, cells=known.cells + repair.cells)
            if known
            else evolve(repair, record=repair.record + offset)
        )
    return tuple(found.values())


def divisible(file: BackupFile) -> bool:
    """Parts of the file can be loaded at the same time, and it is large enough for that."""
    if file.format == "binary":
        return len(file.parts) > 1
    return file.codec is None and file.size_bytes > PART_BYTES


def divided(whole: Task, jobs: int, spool: Spool | None = None) -> Iterator[Task]:
    """The parts of a file as tasks, in its order.

    Args:
        whole: All of the file as one task.
        jobs: How many parts are loaded at a time.
        spool: Hands the parts of a file in CSV to processes of this machine; open until all tasks
            have ended.

    Raises:
        BadManifestError: After the last one: the file is not that of the manifest.
    """
    plan = whole.plan
    if plan.as_is:
        for number, piece in enumerate(plan.source.pieces):
            said = plan.described
            if said is not None:
                said = evolve(said, files=tuple(f for f in said.files if f.name == piece.name))
            yield evolve(whole, plan=evolve(plan, source=piece, described=said), number=number)
        return
    found = FileSum(plan.described, plan.source)
    for number, part in enumerate(cut(whole.store, plan.source, jobs, found, spool)):
        store = spool.part(part.end) if spool is not None else whole.store
        yield evolve(whole, store=store, part=part, number=number)
    found.check(whole.store)


def cut(
    store: BackupStore,
    file: BackupFile,
    jobs: int,
    found: FileSum | None = None,
    spool: Spool | None = None,
) -> Iterator[Part]:
    """Parts of whole records, found as they are asked for; smaller ones towards the end.

    A compressed file is one part: the middle of it cannot be reached but from its beginning.

    Args:
        store: Where the file lies.
        file: The file.
        jobs: How many parts are loaded at a time.
        found: Is given what is stored, all of it when the last part is asked for.
        spool: Is given the same.
    """
    if file.codec is not None:
        yield WHOLE
        return
    start = 0
    largest = LARGEST_PART_BYTES if spool is None else LARGEST_COPY_BYTES
    sum_of = found.add if found is not None else None

    def enough() -> int:
        share = (file.size_bytes - start) // (2 * jobs)
        return max(PART_BYTES, min(share, largest))

    def stored(block: bytes) -> None:
        if sum_of is not None:
            sum_of(block)
        if spool is not None:
            spool.add(block)

    blocks = store.blocks(
        file,
        block_bytes=min(_BLOCK_BYTES, PART_BYTES),
        on_stored=stored,
    )
    with closing(blocks):
        for end in record_ends(blocks, enough):
            if end < file.size_bytes:
                yield Part(start, end)
                start = end
    yield Part(start, None)


def load_part(task: Task) -> Loaded:
    """Load one part in a transaction of its own; runs in a worker process.

    Once, however often it runs: an executor may run it again when a worker is lost.
    """
    if isinstance(task.store, PartStore):
        try:
            return _load_range(task)
        finally:
            task.store.remove()
    return _load_piece(task) if task.plan.as_is else _load_range(task)


def _load_range(task: Task) -> Loaded:
    """A range of a file in CSV."""
    collected = None
    if task.max_bad_rows is not None:
        collected = _Collected(task.plan.source.name, task.max_bad_rows, task.bad_rows_before)
    feed = TableFeed(
        task.store,
        task.plan,
        task.max_record_bytes,
        lambda _bytes, _rows: None,
        task.part,
        collected,
        content=task.content,
    )
    load_staged(task.connection, task.plan.target, feed, task.number)
    rejects = sorted(collected.rejects, key=lambda r: r.record) if collected else ()
    return Loaded(
        feed.rows,
        feed.bytes_read,
        feed.repairs,
        feed.final_newline_missing,
        feed.content or ContentDigest(),
        tuple(rejects),
    )


def _load_piece(task: Task) -> Loaded:
    """A part that is a file of its own, in binary."""
    feed = BinaryFeed(
        task.store,
        task.plan,
        task.max_record_bytes,
        lambda _bytes, _rows: None,
        limits=task.limits,
    )
    load_staged(task.connection, task.plan.target, feed, task.number)
    return Loaded(feed.rows, feed.bytes_read)


@define
class _Collected:
    """Records set aside in a worker, until they travel home."""

    file: str
    max_bad_rows: int
    before: int
    rejects: list[Reject] = field(factory=list)

    def __call__(self, reject: Reject) -> None:
        if self.before + len(self.rejects) >= self.max_bad_rows:
            raise too_many(self.file, reject, self.max_bad_rows)
        self.rejects.append(reject)
