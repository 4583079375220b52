"""How files begin, whatever their format: manifest, names of columns, first record, rows."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from itertools import zip_longest

from pgvector_restore.errors import BadManifestError, OptionError, quoted, shown
from pgvector_restore.feed import read_header, read_start
from pgvector_restore.manifest import Manifest, ManifestTable
from pgvector_restore.model import DEFAULT_LIMITS, BackupFile, BackupSet, UnpackLimits
from pgvector_restore.rows.copied import CopiedRows, cells_of, copied_rows
from pgvector_restore.rows.csv import Header
from pgvector_restore.rows.fields import Field
from pgvector_restore.storage import BackupStore
from pgvector_restore.sums import FileSum

__all__ = ["check_header", "copied_batches", "header_of", "read_manifest", "start_of"]


def read_manifest(store: BackupStore, backup: BackupSet, *, use: bool) -> Manifest | None:
    """The set's manifest; ``None`` where it has none, or it is not to be used.

    Raises:
        BadManifestError: It cannot be read, or is not that of the files.
        OptionError: It is not to be used, and tells the columns of files in binary.
    """
    if use:
        return store.read_manifest(backup)
    binary = [file.name for file in backup.files if file.format == "binary"]
    if binary:
        raise OptionError(
            f"without the manifest nobody knows the columns of {', '.join(binary)}",
            hint="leave check_manifest on, or take a set in the form csv",
        )
    return None


def header_of(
    store: BackupStore,
    file: BackupFile,
    described: ManifestTable | None,
    max_record_bytes: int,
    limits: UnpackLimits = DEFAULT_LIMITS,
) -> Header:
    """Column names of a file: its own, or for one in binary those of the manifest.

    Raises:
        BadHeaderError: There is none, or it is no list of names.
        BadManifestError: A file in binary that no manifest describes, or a header with other
            columns than the manifest.
    """
    if file.format == "csv":
        return check_header(read_header(store, file, max_record_bytes, limits), file, described)
    return Header(tuple(c.name for c in _described(file, described).columns), crlf=False)


def start_of(
    store: BackupStore,
    file: BackupFile,
    described: ManifestTable | None,
    max_record_bytes: int,
    limits: UnpackLimits = DEFAULT_LIMITS,
) -> tuple[Header, tuple[Field, ...] | None]:
    """Column names, and the fields of the first record: text, or payloads of a file in binary.

    ``None``: the file has no record. No fields: the first one is malformed.
    """
    if file.format == "csv":
        own, first_record = read_start(store, file, max_record_bytes, limits)
        return check_header(own, file, described), first_record
    header = header_of(store, file, described, max_record_bytes, limits)
    width = len(header.names)
    for piece in file.pieces:
        batches = copied_batches(store, piece, width, max_record_bytes, limits=limits)
        with closing(batches):
            for rows in batches:
                first = CopiedRows(rows.data, rows.starts[:1], 1)
                cells = cells_of(first, range(width))
                return header, tuple(column[0] for column in cells)
    return header, None


def check_header(header: Header, file: BackupFile, described: ManifestTable | None) -> Header:
    """The header, if the manifest has the same columns in the same order.

    Raises:
        BadManifestError: It has not.
    """
    if described is not None:
        names = tuple(column.name for column in described.columns)
        for place, (said, there) in enumerate(zip_longest(names, header.names), 1):
            if said != there:
                told, found = ("none" if one is None else quoted(one) for one in (said, there))
                raise BadManifestError(
                    f"manifest: column {place} of {shown(described.name)} is {told},"
                    f" in the header it is {found}",
                    hint="files or manifest were changed after the backup; take another set",
                    file=file.name,
                )
    return header


def _described(file: BackupFile, described: ManifestTable | None) -> ManifestTable:
    if described is None:
        raise BadManifestError(
            "file is in binary and no manifest tells its columns",
            hint="restore the set with its manifest",
            file=file.name,
        )
    return described


def copied_batches(  # noqa: PLR0913 - what is read, and who is told
    store: BackupStore,
    piece: BackupFile,
    columns: int,
    max_record_bytes: int,
    *,
    found: FileSum | None = None,
    limits: UnpackLimits = DEFAULT_LIMITS,
    on_read: Callable[[int], None] | None = None,
) -> Generator[CopiedRows, None, None]:
    """The rows of one stored file in binary, whole ones. Close it.

    Args:
        store: Where it lies.
        piece: The file, or one part of it.
        columns: Fields of a row.
        max_record_bytes: A longer row is refused.
        found: Is given what is stored.
        limits: How much may come out of a compressed file.
        on_read: Called with the length of each stored block.

    Raises:
        BadDataError: The file is malformed, with its name and the record.
        StoreError: It cannot be read, or changed.
    """
    blocks = store.blocks(
        piece, limits=limits, on_read=on_read, on_stored=found.add if found else None
    )
    with closing(blocks):
        yield from copied_rows(blocks, piece.name, columns, max_record_bytes)
