"""What a comparison of a backup with a database has found."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from attrs import asdict, frozen

from pgvector_restore.errors import ContentMismatchError, quoted
from pgvector_restore.model import BackupSet

__all__ = ["RowDifference", "TableComparison", "VerifyReport", "mismatch"]

#: Characters of a key that a sentence shows.
_KEY_CHARS = 80


@frozen
class RowDifference:
    """One row that is not the same on both sides."""

    #: ``missing``: only the file has it; ``extra``: only the table; ``different``: both have a row
    #: with this key.
    kind: Literal["missing", "extra", "different"]
    #: Cells of the key, in the order of ``TableComparison.key``, as the side that has them writes
    #: them; empty for a table without a key in the file.
    key: tuple[str, ...] = ()
    #: Record of the file, counted from 1 after the header; ``None`` for an extra row.
    record: int | None = None
    #: Columns that differ; empty unless the kind is ``different``.
    columns: tuple[str, ...] = ()
    #: ``ctid`` of an extra row that has no key; ``None`` else.
    ctid: str | None = None

    def __str__(self) -> str:
        key = ", ".join(self.key)
        shown = key if len(key) <= _KEY_CHARS else key[: _KEY_CHARS - 1] + "…"
        place = f"record {self.record}" if self.record is not None else ""
        what = quoted(shown) if self.key else (f"row {self.ctid}" if self.ctid else place)
        if self.key and place:
            what += f" ({place})"
        return f"{self.kind}: {what}" + (f" in {', '.join(self.columns)}" if self.columns else "")


@frozen
class TableComparison:
    """A file and a table, compared."""

    #: Table name.
    table: str
    #: File name.
    source_file: str
    #: Columns that tell rows apart: the primary key, if the file has all of it; else empty.
    key: tuple[str, ...]
    #: Records of the file.
    rows_in_file: int
    #: Rows of the table; in mode ``append`` those that the restore has added.
    rows_in_database: int
    #: Sum of the hashes of the file's rows, 32 hexadecimal digits.
    file_digest: str
    #: The same of the table's.
    database_digest: str
    #: Rows that differ, as many as were asked for.
    differences: tuple[RowDifference, ...] = ()
    #: There are further ones.
    more: bool = False

    @property
    def equal(self) -> bool:
        """The table holds exactly the file's rows."""
        return (
            self.rows_in_file == self.rows_in_database and self.file_digest == self.database_digest
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {**asdict(self), "equal": self.equal}


@frozen
class VerifyReport:
    """Whether a database holds exactly a backup."""

    #: The set.
    backup: BackupSet
    #: ``user@host:port/dbname``.
    target: str
    #: Schema of the tables.
    schema: str
    #: Tables, parents first.
    tables: tuple[TableComparison, ...]
    #: Seconds it took.
    seconds: float
    #: When it ended, local time with zone.
    finished_at: datetime

    @property
    def equal(self) -> bool:
        """All tables hold exactly the rows of their files."""
        return all(table.equal for table in self.tables)

    @property
    def ok(self) -> bool:
        """The same as :attr:`equal`."""
        return self.equal

    def table(self, name: str) -> TableComparison:
        """The comparison of one table; ``KeyError`` if it was not compared."""
        for table in self.tables:
            if table.table == name:
                return table
        raise KeyError(name)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form, one entry per table under ``tables``."""
        return {
            **self.backup.to_dict(),
            "target": self.target,
            "schema": self.schema,
            "equal": self.equal,
            "tables": {table.table: table.to_dict() for table in self.tables},
            "seconds": self.seconds,
            "finished_at": self.finished_at.isoformat(),
        }

    @property
    def lines(self) -> list[str]:
        """The report for people; names are as they are, line ends in them included."""
        holds = "holds exactly" if self.equal else "does not hold exactly"
        lines = [f"{self.target}, schema {self.schema}, {holds} {self.backup.label}"]
        for table in self.tables:
            lines.append(f"  {sentence(table)}")
            lines += [f"    {one}" for one in table.differences]
            if table.more:
                lines.append("    … and more")
        return lines

    def __str__(self) -> str:
        return "\n".join(self.lines)


def sentence(table: TableComparison) -> str:
    """What became of one table, in one line."""
    if table.equal:
        return f"{table.table}: {table.rows_in_file} rows, all the same"
    return (
        f"{table.table}: {table.rows_in_database} rows, not those of {table.source_file} "
        f"with {table.rows_in_file} records"
    )


def mismatch(table: TableComparison) -> ContentMismatchError:
    """The error of a restore whose rows are not those of the file."""
    first = f", such as {table.differences[0]}" if table.differences else ""
    return ContentMismatchError(
        f"{table.table} does not hold what {table.source_file} holds{first}",
        hint="does a trigger of the table change rows?",
        differences=[asdict(one) for one in table.differences],
    )
