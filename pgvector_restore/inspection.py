"""What was found in the files of a backup set: frozen values."""

from __future__ import annotations

from typing import Any

from attrs import asdict, frozen

from pgvector_restore.model import BackupSet, RepairCount
from pgvector_restore.report import format_size

__all__ = [
    "BadCell",
    "ColumnInspection",
    "FileInspection",
    "InspectReport",
    "Orphan",
    "RepeatedKey",
    "RepeatedKeys",
    "RowClaim",
]


@frozen
class BadCell:
    """A cell, or a whole record, that cannot be restored."""

    #: Record, counted from 1 after the header.
    record: int
    #: Column; ``None``: the record cannot be told apart into its fields.
    column: str | None
    #: What is wrong, one line.
    reason: str
    #: Advice, or ``None``.
    hint: str | None


@frozen
class ColumnInspection:
    """What one column holds."""

    #: Name.
    name: str
    #: Type that the known shapes of the table give it; ``None``: a column none of them has. Its
    #: cells are taken for text.
    type_name: str | None
    #: NULLs.
    nulls: int
    #: Cells that cannot be restored.
    bad_cells: int
    #: Dimensions of vectors, each with how many vectors have it, most frequent first.
    dimensions: tuple[tuple[int, int], ...] = ()
    #: Vectors of zeros only, which an index for cosine distance leaves out.
    zero_vectors: int = 0
    #: Vectors with NaN or an infinity; they are among ``bad_cells``.
    not_finite: int = 0


@frozen
class RepeatedKey:
    """A value that should be there once."""

    #: The value, shortened.
    value: str
    #: How often it is there.
    count: int
    #: The first records that have it.
    records: tuple[int, ...]


@frozen
class RepeatedKeys:
    """Values of a key column that are there more than once."""

    #: Key column.
    column: str
    #: Records beyond the first of each value.
    extra_records: int
    #: Values that are repeated.
    values: int
    #: The first of them.
    first: tuple[RepeatedKey, ...]
    #: False: so many that the two counts are those of 64-bit hashes, which were not read again.
    exact: bool = True


@frozen
class Orphan:
    """A record that refers to a row which the set does not have."""

    #: Record.
    record: int
    #: What it refers to, shortened.
    key: str


@frozen
class RowClaim:
    """How many rows somebody says a file has."""

    #: Who: ``log`` or ``manifest``.
    source: str
    #: Rows.
    rows: int


@frozen
class FileInspection:
    """What was found in one file."""

    #: Table the file is for.
    table: str
    #: File name.
    file: str
    #: Stored bytes.
    size_bytes: int
    #: Why it could not be read to its end (``type``, ``message``, ``hint`` …); what else is said
    #: of the file holds for what came before. ``None``: it was read whole.
    error: dict[str, object] | None = None
    #: Records.
    records: int = 0
    #: Columns in the file's order.
    columns: tuple[ColumnInspection, ...] = ()
    #: Cells that will be repaired, by column and kind.
    repairs: tuple[RepairCount, ...] = ()
    #: Records with at least one cell that cannot be restored, or malformed ones.
    bad_records: int = 0
    #: Cells that cannot be restored; a malformed record counts as one.
    bad_cells: int = 0
    #: The first of them.
    first_bad: tuple[BadCell, ...] = ()
    #: Key columns with repeated values.
    repeated: tuple[RepeatedKeys, ...] = ()
    #: Records that refer to a row the set does not have; ``None``: this could not be looked at.
    orphans: int | None = 0
    #: The first of them.
    first_orphans: tuple[Orphan, ...] = ()
    #: Row counts of others.
    claims: tuple[RowClaim, ...] = ()
    #: Key column of the table's known shape that the file lacks; ``None``: it has it, or no shape
    #: of the table is known.
    missing_key: str | None = None
    #: What is worth knowing and no fault, one line each.
    notes: tuple[str, ...] = ()
    #: Stored files that are not those of the manifest, by their SHA-256: the file, or parts of it.
    changed: tuple[str, ...] = ()
    #: A CSV file whose last record has no row end: it may be cut short.
    final_newline_missing: bool = False

    @property
    def disagreeing(self) -> tuple[RowClaim, ...]:
        """Row counts that are not the file's."""
        if self.error is not None:
            return ()
        return tuple(claim for claim in self.claims if claim.rows != self.records)

    @property
    def ok(self) -> bool:
        """Everything of the file can be restored, as far as it can be told without a database."""
        wrong = self.error or self.bad_records or self.repeated or self.orphans or self.changed
        return not (wrong or self.missing_key or self.disagreeing)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return asdict(self) | {
            "ok": self.ok,
            "size": format_size(self.size_bytes),
            "columns": {
                c.name: asdict(c) | {"dimensions": {str(d): n for d, n in c.dimensions}}
                for c in self.columns
            },
        }


@frozen
class InspectReport:
    """What was found in a backup set."""

    #: The set.
    backup: BackupSet
    #: Its files, parents first.
    files: tuple[FileInspection, ...]
    #: Seconds it took.
    seconds: float
    #: Why the manifest cannot be used (``type``, ``message`` …); ``None``: it can, or is not there.
    manifest_error: dict[str, object] | None = None
    #: Tables whose rows were, or may have been, removed from the database after this backup.
    emptied: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """The set can be restored, as far as it can be told without a database."""
        return self.manifest_error is None and all(file.ok for file in self.files)

    def file(self, table: str) -> FileInspection:
        """What was found for one table; ``KeyError`` if the set has no such file."""
        for file in self.files:
            if file.table == table:
                return file
        raise KeyError(table)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form, one entry per table under ``files``."""
        return {
            **self.backup.to_dict(),
            "restorable": self.ok,
            "manifest_error": self.manifest_error,
            "emptied": list(self.emptied),
            "files": {file.table: file.to_dict() for file in self.files},
            "seconds": self.seconds,
        }

    def __str__(self) -> str:
        lines = [f"{self.backup.label}: {'can be restored' if self.ok else 'HAS FAULTS'}"]
        if self.manifest_error is not None:
            lines.append(f"  {self.manifest_error['message']}")
        for file in self.files:
            lines.append(f"  {file.file}: {_count(file.records, 'record')}")
            lines += [f"    {line}" for line in findings(file)]
        return "\n".join(lines)


def findings(file: FileInspection) -> list[str]:
    """What people should read of a file: faults first, then repairs and notes, one line each.

    Names and cells stand in there as the file has them: escape them for a terminal.
    """
    return [*_faults(file), *_remarks(file)]


def _faults(file: FileInspection) -> list[str]:
    lines = []
    if file.error is not None:
        lines.append(f"cannot be read further: {file.error['message']}")
    lines += [
        f"{name} is not the file the manifest was written for: its SHA-256 differs"
        for name in file.changed
    ]
    if file.missing_key is not None:
        lines.append(f'the header has no column "{file.missing_key}", the key of the table')
    lines += [
        f"{claim.source} counts {_count(claim.rows, 'record')}, the file has {file.records}"
        for claim in file.disagreeing
    ]
    if file.bad_records:
        cells = _count(file.bad_cells, "cell")
        lines.append(f"{_count(file.bad_records, 'record')} cannot be restored ({cells}):")
    for bad in file.first_bad:
        place = f', column "{bad.column}"' if bad.column is not None else ""
        lines.append(f"  record {bad.record}{place}: {bad.reason}")
    for keys in file.repeated:
        about = "" if keys.exact else "about "
        lines.append(
            f'{about}{_count(keys.extra_records, "record")} repeat a value of "{keys.column}", '
            f"which should be there once:"
        )
        for key in keys.first:
            records = ", ".join(map(str, key.records))
            more = " …" if key.count > len(key.records) else ""
            lines.append(f"  {key.value}: {key.count} times, records {records}{more}")
    if file.orphans:
        lines.append(f"{_count(file.orphans, 'record')} refer to a row that the set does not have:")
    lines += [f"  record {orphan.record}: {orphan.key}" for orphan in file.first_orphans]
    return lines


def _remarks(file: FileInspection) -> list[str]:
    lines = [
        f'{_count(r.cells, "cell")} of "{r.column}" will be repaired ({r.kind}), '
        f"such as record {r.record}"
        for r in file.repairs
    ]
    for column in file.columns:
        if column.nulls:
            lines.append(f'{_count(column.nulls, "NULL")} in "{column.name}"')
        if column.dimensions:
            sizes = ", ".join(f"{n} of {size} dimensions" for size, n in column.dimensions)
            lines.append(f'vectors in "{column.name}": {sizes}')
        if column.zero_vectors:
            lines.append(
                f'{_count(column.zero_vectors, "vector")} of "{column.name}" of zeros only: '
                "an index for cosine distance leaves them out"
            )
        if column.not_finite:
            lines.append(
                f'{_count(column.not_finite, "vector")} of "{column.name}" with NaN or infinity'
            )
    return [*lines, *file.notes]


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'s'[: number != 1]}"
