"""A table as plain CSV over several connections: one thread reads whichever has rows.

A thread for each would spend a good part of its time waiting for Python's lock. Measured: 1.6 to
1.7 seconds in place of 1.8 for 600 MB over two connections, on two cores; less since then.
"""

from __future__ import annotations

import selectors
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from attrs import define, field

from pgvector_restore.crew import Crew, Pipe
from pgvector_restore.db.copy_out import CopyOut
from pgvector_restore.db.extents import Extent
from pgvector_restore.db.reader import Reader
from pgvector_restore.db.relations import Relation
from pgvector_restore.errors import RowCountError
from pgvector_restore.row_sums import RowSums
from pgvector_restore.rows.csv_text import CsvPrinter
from pgvector_restore.rows.digest import ContentDigest, RowForm

__all__ = ["PlainCsv", "check_counts"]

#: Bytes of CSV that are given on at a time.
_BLOCK_BYTES = 1 << 20
#: Rows that are taken from one connection before it is another one's turn.
_BURST = 8
#: Seconds between two looks at whether it was called off, and at whether there is room again.
_POLL_S, _NO_ROOM_S = 0.1, 0.002


def check_counts(table: Relation, sent: int, hashed: int) -> None:
    """Raise unless the server has counted as many rows as came."""
    if sent != hashed:
        raise RowCountError(
            f"{table.schema}.{table.name} gave {sent} rows, and {hashed} for the digest"
        )


@define(eq=False)
class _Slot:
    """A connection, and the stretch of the table it is at."""

    reader: Reader
    copies: ExitStack
    copy: CopyOut | None = None
    pipe: Pipe[bytes] | None = None
    held: list[bytes | memoryview] = field(factory=list)
    size: int = 0
    sums: RowSums | None = None


@define
class PlainCsv:
    """Reads one table.

    Args:
        table: The table.
        form: The form of its rows.
        extents: Its stretches, in the order of the file.
        crew: Whose connections are used.
        blocks: Blocks of a stretch that may wait.
        ahead: Stretches that may wait.
        digest: Take the digest of the rows.
        on_rows: Told the number of rows of each stretch that is done.
    """

    _table: Relation
    _form: RowForm
    _extents: Sequence[Extent | None]
    _crew: Crew
    _blocks: int
    _ahead: int
    _digest: bool
    _on_rows: Callable[[int], None]
    #: For each stretch its blocks, in the order of the file.
    stretches: Pipe[Pipe[bytes]] = field(init=False)
    _printer: CsvPrinter | None = field(init=False)
    _begun: int = field(default=0, init=False)
    #: Those that wait for room, or for a stretch.
    _paused: list[_Slot] = field(factory=list, init=False)
    _found: ContentDigest = field(factory=ContentDigest, init=False)

    def __attrs_post_init__(self) -> None:
        self.stretches = Pipe(self._crew, self._ahead)
        self._printer = CsvPrinter(self._form, self._table.columns) if self._digest else None

    def run(self, readers: Sequence[Reader]) -> ContentDigest:
        """Read all stretches; in a thread of the crew."""
        with ExitStack() as stack, selectors.DefaultSelector() as selector:
            self._paused = [_Slot(reader, stack.enter_context(ExitStack())) for reader in readers]
            at_hand: list[_Slot] = []
            # Here are one or two rows a turn: what is done for each turn counts.
            while True:
                self._crew.stop.check()
                if self._paused:
                    at_hand += self._resumed(selector)
                at_hand = [slot for slot in at_hand if self._advance(slot, selector)]
                wait_s = 0 if at_hand else _NO_ROOM_S if self._paused else _POLL_S
                if not selector.get_map():  # which not every system can wait for
                    if not self._paused:
                        break
                    self._crew.stop.wait(wait_s)
                    continue
                ready = [key.data for key, _ in selector.select(wait_s)]
                if not ready and wait_s == _POLL_S:
                    # A driver may hold back what the socket has given it already.
                    ready = [key.data for key in selector.get_map().values()]
                for slot in ready:
                    slot.copy.receive()
                    if slot not in at_hand:
                        at_hand.append(slot)
        self.stretches.put(None)
        return self._found

    def _resumed(self, selector: selectors.BaseSelector) -> list[_Slot]:
        """Those that can go on, or begin the next stretch; they are waited for from now on."""
        resumed: list[_Slot] = []
        paused: list[_Slot] = []
        for slot in self._paused:
            if slot.copy is None and self._begun == len(self._extents):
                continue  # nothing is left for it
            if (self.stretches if slot.pipe is None else slot.pipe).full:
                paused.append(slot)
            else:
                if slot.copy is None:
                    self._begin(slot)
                selector.register(slot.reader.socket, selectors.EVENT_READ, slot)
                resumed.append(slot)
        self._paused = paused
        return resumed

    def _begin(self, slot: _Slot) -> None:
        """Begin the next stretch."""
        place, extent = self._begun, self._extents[self._begun]
        self._begun += 1
        if self._printer is None:
            begun = slot.reader.begin_csv(self._table, extent, header=place == 0)
        else:
            columns, printed = self._form.columns, self._printer.sent_as_text
            begun = slot.reader.begin_for_digest(self._table, columns, extent, printed)
            slot.held = [self._printer.header] if place == 0 else []
            slot.sums = RowSums(self._form)
        slot.copy = slot.copies.enter_context(begun)
        slot.pipe = Pipe(self._crew, self._blocks)
        self.stretches.put(slot.pipe)

    def _advance(self, slot: _Slot, selector: selectors.BaseSelector) -> bool:
        """Take a few rows; whether there may be more at hand."""
        copy, pipe, held = slot.copy, slot.pipe, slot.held
        assert copy is not None  # noqa: S101 - it was begun
        assert pipe is not None  # noqa: S101 - with it
        self._take(slot, copy)
        if slot.size < _BLOCK_BYTES and copy.counted is None:
            return not copy.dry
        if held:
            pipe.put(b"".join(held))
            held.clear()
            slot.size = 0
        if copy.counted is not None:
            self._finish(slot, pipe, copy.counted)
        elif not pipe.full:
            return not copy.dry
        selector.unregister(slot.reader.socket)
        self._paused.append(slot)
        return False

    def _take(self, slot: _Slot, copy: CopyOut) -> None:
        """Take a few rows, fewer where they are long."""
        held, size, sums, printer = slot.held, slot.size, slot.sums, self._printer
        for row in copy.take(_BURST):
            if printer is None or sums is None:
                held.append(row)
            else:
                sums.take(printer.add(row, held))
            size += len(row)
            if size >= _BLOCK_BYTES:
                break
        slot.size = size

    def _finish(self, slot: _Slot, pipe: Pipe[bytes], counted: int) -> None:
        slot.copies.close()
        slot.copy = slot.pipe = None
        pipe.put(None)
        found = slot.sums.digest if slot.sums is not None else ContentDigest(counted)
        check_counts(self._table, counted, found.rows)
        self._found += found
        self._on_rows(found.rows)
