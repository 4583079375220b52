"""One file of a backup set, read whole to say what is in it; see ``inspecting.py``."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing

from attrs import define, field, frozen

from pgvector_restore.column_types import described_column
from pgvector_restore.inspection import Orphan, RepeatedKey, RepeatedKeys
from pgvector_restore.links import Links, links_of
from pgvector_restore.manifest import Manifest, ManifestTable
from pgvector_restore.model import BackupFile, BackupSet, UnpackLimits
from pgvector_restore.opening import check_header, copied_batches, header_of
from pgvector_restore.rows.copied import cells_of
from pgvector_restore.rows.csv import CsvReader, Fields
from pgvector_restore.rows.fields import Field
from pgvector_restore.rows.keys import key_values, orphans
from pgvector_restore.rows.printing import printed
from pgvector_restore.rows.rejects import Reject
from pgvector_restore.rows.repair import shown_cell
from pgvector_restore.rows.survey import Survey
from pgvector_restore.schema import TableSchema, columns_of, shape_of
from pgvector_restore.spill import Spill
from pgvector_restore.storage import BackupLog, BackupStore
from pgvector_restore.sums import FileSum
from pgvector_restore.target import TargetColumn
from pgvector_restore.tracking import Teller

__all__ = ["Call", "FileReading", "Keys"]

#: Parent keys that are held to find orphans, as many as a restore fetches for that.
_MAX_PARENT_KEYS = 200_000
#: Repeated keys that are read again to name their records; more are counted by their hashes.
_MAX_REPEATED = 100_000
#: Records that are named of each repeated key.
_RECORDS_SHOWN = 10

#: Keys of the rows of a parent table; ``None``: they are not all known.
Keys = set[str] | None


@frozen
class Call:
    """What :func:`inspect_set` was asked."""

    store: BackupStore
    backup: BackupSet
    log: BackupLog | None
    manifest: Manifest | None
    limit: int
    max_record_bytes: int
    folder: str | None
    run_values: int
    limits: UnpackLimits
    teller: Teller
    #: Errors of the storage are raised: they tell nothing of the file.
    strict: bool = False


@define
class FileReading:
    """One file while it is read."""

    call: Call
    file: BackupFile
    parents: dict[str, Keys]
    described: ManifestTable | None = None
    survey: Survey | None = None
    links: Links = field(factory=Links)
    columns: tuple[TargetColumn, ...] = ()
    #: Key columns and what finds their repeated values.
    spills: list[tuple[int, Spill]] = field(factory=list)
    own_keys: Keys = field(factory=set)
    #: Stored files that are not those of the manifest.
    changed: list[str] = field(factory=list)
    final_newline_missing: bool = False
    orphans: int | None = 0
    first_orphans: list[Orphan] = field(factory=list)
    #: Stored bytes read, in all passes.
    bytes_read: int = 0

    def read(self, stack: ExitStack) -> None:
        """Go through the whole file once."""
        if self.file.format == "binary":
            self._read_binary(stack)
            return
        found = FileSum(self.described, self.file)
        with closing(self._blocks(found.add)) as blocks:
            reader = self._reader(blocks)
            self._begin(reader.header.names, stack)
            assert self.survey is not None  # noqa: S101 - made a moment ago
            for fields in reader:
                self.call.teller.cancel.check()  # a packed block can hold very many of them
                self.survey.add(fields)
                self._look_at_keys(fields)
            self.final_newline_missing = reader.final_newline_missing
        self._compare(found, self.file)
        check_header(reader.header, self.file, self.described)

    def _read_binary(self, stack: ExitStack) -> None:
        header = header_of(self.call.store, self.file, self.described, self.call.max_record_bytes)
        self._begin(header.names, stack)
        assert self.survey is not None  # noqa: S101 - made a moment ago
        with closing(self._payloads(compare=True)) as batches:
            for fields in batches:
                self.call.teller.cancel.check()
                self.survey.add_payloads(fields)
                self._look_at_keys(fields)

    def _payloads(self, *, compare: bool) -> Generator[Fields, None, None]:
        """Records of a file in binary, counted over its parts."""
        call, width, before = self.call, len(self.columns), 0
        for piece in self.file.pieces:
            found = FileSum(self.described if compare else None, piece)
            batches = copied_batches(
                call.store,
                piece,
                width,
                call.max_record_bytes,
                found=found,
                limits=call.limits,
                on_read=self._read_on(),
            )
            with closing(batches):
                for rows in batches:
                    yield Fields(tuple(cells_of(rows, range(width))), before + 1)
                    before += len(rows)
            self._compare(found, piece)

    def _compare(self, found: FileSum, piece: BackupFile) -> None:
        if not found.matches:
            self.call.store.check_unchanged(piece)
            self.changed.append(piece.name)

    def _cells(self, place: int, fields: Fields) -> Sequence[Field]:
        """Cells of a column as keys are compared, whatever the format of the file."""
        column, cells = self.columns[place], fields.columns[place]
        if self.file.format == "binary":
            return [printed(column.wire, cell) for cell in cells]
        return key_values(column, cells)

    def _blocks(
        self, on_stored: Callable[[bytes], None] | None = None
    ) -> Generator[bytes, None, None]:
        return self.call.store.blocks(
            self.file, limits=self.call.limits, on_read=self._read_on(), on_stored=on_stored
        )

    def _read_on(self) -> Callable[[int], None]:
        """Tells of stored bytes that were read."""
        update = self.call.teller.for_table(self.file.table)

        def on_read(size: int) -> None:
            self.bytes_read = min(self.bytes_read + size, self.file.size_bytes)
            update(self.bytes_read, self.survey.records if self.survey is not None else 0)

        return on_read

    def _reader(self, blocks: Iterator[bytes]) -> CsvReader:
        return CsvReader(
            blocks,
            self.file.name,
            max_record_bytes=self.call.max_record_bytes,
            on_reject=self._reject,
        )

    def _reject(self, reject: Reject) -> None:
        if self.survey is not None:
            self.survey.reject(reject)

    def _begin(self, names: Sequence[str], stack: ExitStack) -> None:
        shape = shape_of(self.file.table, names)
        self.links = links_of(self.file.table, shape, self.call.manifest)
        self.columns = _columns(shape, self.described, names)
        self.survey = Survey(self.columns, self.call.limit)
        for name in [key for key in self.links.unique if key in names]:
            spill = stack.enter_context(Spill(self.call.folder, self.call.run_values))
            self.spills.append((names.index(name), spill))
        if self._parent() is None and self.links.parent is not None:
            self.orphans = None

    def _parent(self) -> tuple[int, set[str]] | None:
        """Place of the column that refers to a parent, and the parent's keys."""
        names = [column.name for column in self.columns]
        if self.links.parent is None:
            return None
        column, table = self.links.parent
        keys = self.parents.get(table)
        return (names.index(column), keys) if column in names and keys is not None else None

    def _look_at_keys(self, fields: Fields) -> None:
        for place, spill in self.spills:
            values = self._cells(place, fields)
            spill.add([value for value in values if value is not None])
        if self.links.is_parent and self.own_keys is not None:
            names = [column.name for column in self.columns]
            if self.links.own_key in names:
                place = names.index(self.links.own_key)
                values = self._cells(place, fields)
                self.own_keys.update(value.decode() for value in values if value is not None)
                if len(self.own_keys) > _MAX_PARENT_KEYS:
                    self.own_keys = None
        parent = self._parent()
        if parent is not None and self.orphans is not None:
            self._count_orphans(fields, *parent)

    def _count_orphans(self, fields: Fields, place: int, keys: set[str]) -> None:
        binary = self.file.format == "binary"
        cells = self._cells(place, fields) if binary else fields.columns[place]
        found = orphans(cells, keys)
        self.orphans = (self.orphans or 0) + len(found)
        for index in found[: self.call.limit - len(self.first_orphans)]:
            key = shown_cell(cells[index] or b"")
            self.first_orphans.append(Orphan(fields.first_record + index, key))

    def repeated(self) -> Iterator[RepeatedKeys]:
        """Values that key columns have more than once; reads the file again where there are any."""
        for place, spill in self.spills:
            found = spill.repeated(_MAX_REPEATED)
            if not found.extra:
                continue
            named = self._find(place, set(found.hashes.tolist()))
            exact = found.distinct == len(found.hashes)
            extra = sum(count - 1 for count, _ in named.values()) if exact else found.extra
            if extra:  # else the hashes were the same, and not the values
                values = len(named) if exact else found.distinct
                yield RepeatedKeys(
                    self.columns[place].name, extra, values, self._shown(named), exact
                )

    def _find(self, place: int, hashes: set[int]) -> dict[bytes, tuple[int, list[int]]]:
        """Values with these hashes that are there more than once: how often, and first records."""
        found: dict[bytes, tuple[int, list[int]]] = {}
        with closing(self._again()) as batches:
            survey, self.survey = self.survey, None  # what is malformed was counted already
            try:
                for fields in batches:
                    self.call.teller.cancel.check()
                    values = self._cells(place, fields)
                    for record, value in enumerate(values, fields.first_record):
                        if value is not None and hash(value) in hashes:
                            count, records = found.get(value, (0, []))
                            if count < _RECORDS_SHOWN:
                                records.append(record)
                            found[value] = (count + 1, records)
            finally:
                self.survey = survey
        return {value: seen for value, seen in found.items() if seen[0] > 1}

    def _again(self) -> Generator[Fields, None, None]:
        """The records once more."""
        if self.file.format == "binary":
            yield from self._payloads(compare=False)
            return
        with closing(self._blocks()) as blocks:
            yield from self._reader(blocks)

    def _shown(self, named: dict[bytes, tuple[int, list[int]]]) -> tuple[RepeatedKey, ...]:
        first = sorted(named.items(), key=lambda item: item[1][1])[: self.call.limit]
        return tuple(
            RepeatedKey(shown_cell(value), count, tuple(records))
            for value, (count, records) in first
        )


def _columns(
    shape: TableSchema | None, described: ManifestTable | None, names: Sequence[str]
) -> tuple[TargetColumn, ...]:
    """The columns with their types, as the manifest or the shape has them."""
    known = {} if described is None else {c.name: described_column(c) for c in described.columns}
    return tuple(
        known.get(name) or column
        for name, column in zip(names, columns_of(shape, names), strict=True)
    )
