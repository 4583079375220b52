"""What a caller may ask of a backup, as one validated value."""

from __future__ import annotations

from typing import Any, Literal

from attrs import Attribute, field, frozen
from attrs.validators import optional

from pgvector_restore.errors import OptionError, quoted
from pgvector_restore.model import FileFormat
from pgvector_restore.options import (
    between,
    check_jobs,
    check_schema,
    check_tables,
    flag,
    merged,
    number,
    one_of,
    table_names,
)

__all__ = ["BackupOptions", "Compress", "make_backup_options"]

#: How files are compressed: ``none``, or a codec of the table in ``storage/compression.py``.
Compress = Literal["none", "gzip", "bzip2", "xz", "zstd", "lz4"]

#: The longest id a task may have: it names a folder.
_MAX_TASK_CHARS = 200


def _task(_: object, __: Attribute[Any], value: object) -> None:
    if value is not None and not (isinstance(value, str) and 0 < len(value) <= _MAX_TASK_CHARS):
        raise OptionError(f"task_id must be the id of a task, not {quoted(str(value)[:80])}")


@frozen(kw_only=True)
class BackupOptions:
    """Options of one backup. Everything has a default; wrong values raise ``OptionError``."""

    #: Task whose folder the backup goes to; ``None``: the folder of the whole system.
    task_id: str | None = field(default=None, validator=_task)
    #: ``csv``: one file a table, which any reader of CSV understands. ``binary``: PostgreSQL's own
    #: form, large tables in parts; restoring needs no parsing, and needs the manifest.
    format: FileFormat = field(default="csv", validator=one_of(FileFormat))
    #: How files are compressed.
    compress: Compress = field(default="none", validator=one_of(Compress))
    #: Tables, or a comma-separated string; ``None``: those of the store's layout.
    tables: tuple[str, ...] | None = field(
        default=None, converter=table_names, validator=check_tables
    )
    #: Their schema; ``None``: where the connection's search path finds them.
    schema: str | None = field(default=None, validator=check_schema)
    #: Connections that read at the same time, 1 to 64. ``auto``: as many as cores, 4 at the most,
    #: and those the server gives; 1 for tables below 16 MB together.
    jobs: int | Literal["auto"] = field(default="auto", converter=number, validator=check_jobs)
    #: Take a digest of the rows into the manifest, by which a database and this backup can be
    #: compared without reading the files. With ``csv`` every row is read a second time for it.
    digest: bool = field(default=True, validator=flag)
    #: Empty the embedding table once the backup is published and has been read back. Others cannot
    #: write to it from before the snapshot until then.
    truncate_after: bool = field(default=False, validator=flag)
    #: Read tables to which a role that we have no reason to trust has attached code that reading
    #: them runs, with our rights.
    allow_attached_code: bool = field(default=False, validator=flag)
    #: Read tables with rows on other servers (foreign tables, distributed ones), which no single
    #: snapshot covers: rows may be of different moments.
    allow_non_atomic: bool = field(default=False, validator=flag)
    #: Seconds to wait for somebody else's lock on a table, 0.001 to 2,000,000 (23 days).
    lock_timeout_s: float = field(default=30.0, validator=between(0.001, 2_000_000, float))
    #: Seconds one statement may take, 0.001 to 2,000,000; ``None``: any number, whatever limit the
    #: role or the database has.
    statement_timeout_s: float | None = field(
        default=None, validator=optional(between(0.001, 2_000_000, float))
    )

    @property
    def codec(self) -> str | None:
        """Name of the codec; ``None``: files are not compressed."""
        return None if self.compress == "none" else self.compress


def make_backup_options(options: BackupOptions | None, changes: dict[str, Any]) -> BackupOptions:
    """Options from keyword arguments, on top of given ones.

    Raises:
        OptionError: An unknown name or a wrong value.
    """
    return merged(BackupOptions, options, changes)
