"""What is looked at before a backup begins: where it goes, and what may be emptied afterwards."""

from __future__ import annotations

from collections.abc import Sequence

from pgvector_restore.backup_options import BackupOptions
from pgvector_restore.db.export import Snapshot
from pgvector_restore.errors import OptionError, TargetMismatchError, quoted
from pgvector_restore.model import FileFormat, Location
from pgvector_restore.storage import Layout
from pgvector_restore.storage.compression import CODEC_BY_SUFFIX, codec_named
from pgvector_restore.storage.discover import check_task_id

__all__ = [
    "check_code",
    "check_emptied",
    "check_form",
    "check_snapshot",
    "location_of",
    "suffix_of",
    "table_to_empty",
]


def location_of(layout: Layout, task_id: str | None) -> Location:
    """The folder a backup goes to.

    Raises:
        OptionError: A task whose folder would not be found again.
    """
    if task_id is None:
        folder = layout.global_folders[0]
        return Location("global", folder, folder)
    check_task_id(task_id)
    if not layout.is_task_folder(task_id):
        raise OptionError(
            f"task {quoted(task_id)} would not be found again",
            hint=f"folders of tasks are named like {', '.join(layout.task_folders)}",
        )
    return Location("task", task_id, f"{task_id}/{layout.inner_folders[0]}", task_id)


def suffix_of(layout: Layout, options: BackupOptions) -> str:
    """What follows the names of files; the package that compresses is there.

    Raises:
        OptionError: The layout's own suffix says how files are compressed.
    """
    if options.format == "csv" and f".{layout.suffix.rpartition('.')[2]}" in CODEC_BY_SUFFIX:
        raise OptionError(
            f"the layout names every csv file {layout.suffix}, however it is compressed",
            hint="back up with a layout whose suffix is .csv",
        )
    if options.codec is None:
        return ""
    codec = codec_named(options.codec)
    codec.packer()
    return codec.suffixes[0]


def table_to_empty(layout: Layout, names: Sequence[str]) -> str:
    """The embedding table: the layout's last one; of a choice without it the only one.

    Raises:
        OptionError: It cannot be told which one is meant.
    """
    if layout.tables[-1] in names:
        return layout.tables[-1]
    if len(names) == 1:
        return names[0]
    raise OptionError(
        f"truncate_after empties one table, and {len(names)} are backed up",
        hint="back up the table that is to be emptied by itself",
    )


def check_emptied(snapshot: Snapshot, emptied: str | None) -> None:
    """Look for what would keep the table from being emptied, before anything is written."""
    for table in snapshot.tables:
        if table.name != emptied:
            continue
        full = f"{table.schema}.{table.name}"
        if not table.lockable or table.kind == "v":
            raise TargetMismatchError(f"{full} is no table that can be emptied")
        if snapshot.facts.read_only:
            raise TargetMismatchError(
                f"{full} cannot be emptied: the server is read-only",
                hint="connect to the primary server",
            )
        if table.referenced_by:
            raise TargetMismatchError(
                f"{full} cannot be emptied: {', '.join(table.referenced_by)} refers to it"
            )
        if table.elsewhere:
            raise TargetMismatchError(
                f"{full} cannot be emptied: {table.elsewhere[0]}",
                hint="no lock of this server keeps writers out of rows on another one",
            )
        if table.inherited_by:
            raise TargetMismatchError(
                f"{full} cannot be emptied: {', '.join(table.inherited_by)} inherits from it",
                hint="emptying it would empty those too, and columns of their own are not backed"
                " up",
            )
        if table.truncate_code:
            raise TargetMismatchError(
                f"emptying {full} would run code of {', '.join(table.truncate_code[0].strangers)}:"
                f" {table.truncate_code[0]}",
                hint="back up without truncate_after, or as the table's owner",
            )


def check_code(snapshot: Snapshot, *, allowed: bool) -> None:
    """Nothing that somebody has written runs because a table is read, unless that is allowed.

    Raises:
        TargetMismatchError: It would.
    """
    for table in () if allowed else snapshot.tables:
        for code in table.reading_code:
            who = " or ".join(map(quoted, code.strangers))
            raise TargetMismatchError(
                f"{code}, would run as {quoted(snapshot.facts.role)}, and {who} may have written"
                " it",
                hint=f"back up as {who}; allow_attached_code would let the code do all that you"
                " may",
            )


def check_snapshot(snapshot: Snapshot, *, allowed: bool) -> tuple[str, ...]:
    """Tables with rows on other servers: no snapshot of this one covers them.

    Returns:
        A warning for each, if they are allowed.

    Raises:
        TargetMismatchError: There are, and they are not.
    """
    warnings = tuple(
        f"{table.schema}.{table.name} is not read in one snapshot: {phrase}"
        for table in snapshot.tables
        for phrase in table.elsewhere
    )
    if warnings and not allowed:
        raise TargetMismatchError(
            warnings[0],
            hint="rows there may be of another moment; if that will do, use allow_non_atomic",
        )
    return warnings


def check_form(snapshot: Snapshot, form: FileFormat) -> None:
    """Look for what could not be restored from that form.

    Raises:
        TargetMismatchError: A type whose values come back from text only; a column's name that
            begins with what is no text at the start of a CSV file.
    """
    for table in snapshot.tables:
        full = f"{table.schema}.{table.name}"
        if form == "binary" and table.text_only:
            column, type_name = table.text_only[0]
            raise TargetMismatchError(
                f"column {quoted(column)} of {full} has values of type {type_name}, which another"
                " database would not get back from binary",
                hint="back it up as csv",
            )
        if form == "csv" and table.columns[0].name.startswith("\ufeff"):
            raise TargetMismatchError(
                f"the first column of {full} begins with a byte order mark, which readers of csv"
                " leave out",
                hint="back it up in binary",
            )
