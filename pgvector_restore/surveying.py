"""One file of a backup set, read whole to say what is in it; see ``inspecting.py``."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
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
from pgvector_restore.rows.keys import form_of_column, key_of_cell, key_values, orphans
from pgvector_restore.rows.printing import printed, prints
from pgvector_restore.rows.rejects import Reject
from pgvector_restore.rows.repair import shown_cell
from pgvector_restore.rows.survey import Survey
from pgvector_restore.schema import TableSchema, columns_of, shape_of
from pgvector_restore.spill import Spill
from pgvector_restore.storage import BackupLog, BackupStore
from pgvector_restore.sums import FileSum
from pgvector_restore.target import KeyForm, TargetColumn
from pgvector_restore.tracking import Teller

__all__ = ["Call", "FileReading", "Keys"]

#: Parent keys that are held to find orphans, as many as a restore fetches for that.
_MAX_PARENT_KEYS = 200_000
#: Repeated keys that are read again to name their records; more are counted by their hashes.
_MAX_REPEATED = 100_000
#: Records that are named of each repeated key.
_RECORDS_SHOWN = 10

#: Keys of the rows of a parent table and how they are compared; ``None``: they are not all known.
Keys = tuple[KeyForm, set[bytes]] | None


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
    own_keys: Keys = None
    #: Cells that were met and are keys of the parent.
    spellings: set[bytes] = field(factory=set)
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
        """Cells of a column as they are shown, whatever the format of the file."""
        column, cells = self.columns[place], fields.columns[place]
        if self.file.format == "binary":
            return [printed(column.wire, cell) for cell in cells]
        if column.not_null and column.kind == "text":
            return [cell or b"" for cell in cells]
        return cells

    def _values(self, place: int, fields: Fields) -> Sequence[Field]:
        """Cells of a column as they are compared: one form for one value."""
        column, cells = self.columns[place], fields.columns[place]
        if self.file.format == "binary" and not prints(column.wire):
            return cells  # payloads, which have one form already
        return key_values(column, self._cells(place, fields))

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
        if self.links.is_parent and self.links.own_key in names:
            form = self._form(names.index(self.links.own_key))
            self.own_keys = (form, set()) if form is not None else None

    def _form(self, place: int) -> KeyForm | None:
        """How a column's values are compared; ``None``: that cannot be told of this file."""
        column = self.columns[place]
        readable = self.file.format == "csv" or prints(column.wire)
        return form_of_column(column) if readable else None

    def _parent(self) -> tuple[int, KeyForm, set[bytes]] | None:
        """Place of the column that refers to a parent, how it is compared, and the parent's keys.

        ``None``: nothing can be said of them.
        """
        names = [column.name for column in self.columns]
        if self.links.parent is None:
            return None
        column, table = self.links.parent
        parent = self.parents.get(table)
        if parent is None or column not in names:
            return None
        place = names.index(column)
        form = self._form(place)
        return (place, form, parent[1]) if form and form.kind == parent[0].kind else None

    def _look_at_keys(self, fields: Fields) -> None:
        for place, spill in self.spills:
            values = self._values(place, fields)
            spill.add([value for value in values if value is not None])
        if self.own_keys is not None:
            form, keys = self.own_keys
            names = [column.name for column in self.columns]
            cells = self._cells(names.index(self.links.own_key or ""), fields)
            made = set(map(key_of_cell(form), (cell for cell in cells if cell is not None)))
            keys.update(key for key in made if key is not None)
            if None in made or len(keys) > _MAX_PARENT_KEYS:
                self.own_keys = None  # one cannot be read here, or they are too many
        parent = self._parent()
        if parent is not None and self.orphans is not None:
            self._count_orphans(fields, *parent)

    def _count_orphans(self, fields: Fields, place: int, form: KeyForm, keys: set[bytes]) -> None:
        cells = self._cells(place, fields)
        found = orphans(cells, keys, key_of_cell(form), self.spellings)
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
            extra = sum(seen.count - 1 for seen in named.values()) if exact else found.extra
            if extra:  # else the hashes were the same, and not the values
                values = len(named) if exact else found.distinct
                yield RepeatedKeys(
                    self.columns[place].name, extra, values, self._shown(named.values()), exact
                )

    def _find(self, place: int, hashes: set[int]) -> dict[bytes, _Repeats]:
        """Values with these hashes that are there more than once."""
        found: dict[bytes, _Repeats] = {}
        with closing(self._again()) as batches:
            survey, self.survey = self.survey, None  # what is malformed was counted already
            try:
                for fields in batches:
                    self.call.teller.cancel.check()
                    values = self._values(place, fields)
                    cells: Sequence[Field] | None = None
                    for index, value in enumerate(values):
                        if value is not None and hash(value) in hashes:
                            cells = cells or self._cells(place, fields)
                            seen = found.setdefault(value, _Repeats(cells[index] or b""))
                            seen.add(fields.first_record + index)
            finally:
                self.survey = survey
        return {value: seen for value, seen in found.items() if seen.count > 1}

    def _again(self) -> Generator[Fields, None, None]:
        """The records once more."""
        if self.file.format == "binary":
            yield from self._payloads(compare=False)
            return
        with closing(self._blocks()) as blocks:
            yield from self._reader(blocks)

    def _shown(self, named: Iterable[_Repeats]) -> tuple[RepeatedKey, ...]:
        first = sorted(named, key=lambda seen: seen.records)[: self.call.limit]
        return tuple(
            RepeatedKey(shown_cell(seen.cell), seen.count, tuple(seen.records)) for seen in first
        )


@define
class _Repeats:
    """A value that may be there more than once."""

    #: As it is spelled the first time.
    cell: bytes
    #: How often it is there.
    count: int = 0
    #: Numbers of the first records that have it.
    records: list[int] = field(factory=list)

    def add(self, record: int) -> None:
        """A record has it."""
        if self.count < _RECORDS_SHOWN:
            self.records.append(record)
        self.count += 1


def _columns(
    shape: TableSchema | None, described: ManifestTable | None, names: Sequence[str]
) -> tuple[TargetColumn, ...]:
    """The columns with their types, as the manifest or the shape has them."""
    known = {} if described is None else {c.name: described_column(c) for c in described.columns}
    return tuple(
        known.get(name) or column
        for name, column in zip(names, columns_of(shape, names), strict=True)
    )
