"""What a file that was read whole comes to; see ``surveying.py``."""

from __future__ import annotations

from collections.abc import Iterator

from pgvector_restore.inspection import FileInspection, RepeatedKeys, RowClaim
from pgvector_restore.manifest import ManifestTable
from pgvector_restore.model import BackupFile
from pgvector_restore.rows.survey import Survey
from pgvector_restore.storage import BackupLog
from pgvector_restore.surveying import FileReading

__all__ = ["inspection_of"]


def inspection_of(
    reading: FileReading, error: dict[str, object] | None, repeated: tuple[RepeatedKeys, ...]
) -> FileInspection:
    """What was found in a file.

    Args:
        reading: The file, read to its end or to an error.
        error: The error.
        repeated: Key columns with repeated values.
    """
    file, survey = reading.file, reading.survey or Survey((), 0)
    return FileInspection(
        table=file.table,
        file=file.name,
        size_bytes=file.size_bytes,
        error=error,
        records=survey.records,
        columns=survey.columns,
        repairs=survey.repairs,
        bad_records=survey.bad_records,
        bad_cells=survey.bad_cells,
        first_bad=tuple(survey.first_bad),
        repeated=repeated,
        orphans=reading.orphans,
        first_orphans=tuple(reading.first_orphans),
        claims=tuple(_claims(reading.call.log, reading.described, file)),
        missing_key=_missing_key(reading),
        notes=tuple(_notes(reading, survey, error)),
        changed=tuple(reading.changed),
        final_newline_missing=reading.final_newline_missing,
    )


def _missing_key(reading: FileReading) -> str | None:
    key = reading.links.own_key
    return None if key in [column.name for column in reading.columns] else key


def _notes(reading: FileReading, survey: Survey, error: dict[str, object] | None) -> Iterator[str]:
    table, log = reading.file.table, reading.call.log
    for column in survey.columns:
        if column.type_name is None:
            yield f'no known shape of {table} has a column "{column.name}"'
        if len(column.dimensions) > 1:
            yield f'vectors of "{column.name}" differ in their dimensions'
    if reading.orphans is None:
        yield "whether rows refer to rows of the set could not be looked at"
    if reading.final_newline_missing:
        yield "the file does not end with a row end: its last record may be cut short"
    if error is None and not survey.records:
        yield "there are no records: a restore in mode replace empties the table"
    marked = reading.described is not None and reading.described.emptied
    if marked or (log is not None and log.emptied_of(reading.file.name) is not None):
        yield "the rows were removed from the database after this backup, or may have been"
    if log is not None and (reason := log.failed.get(table)):
        yield f"the backup log says that the newest backup of the table failed: {reason}"


def _claims(
    log: BackupLog | None, described: ManifestTable | None, file: BackupFile
) -> Iterator[RowClaim]:
    """How many rows others say the file has: one row for each who says something."""
    if log is not None and (rows := log.rows_of(file.name)) is not None:
        yield RowClaim("log", rows)
    if described is not None:
        yield RowClaim("manifest", described.rows)
