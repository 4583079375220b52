"""Inspecting a backup set: read whole, without a database.

Memory does not grow with the files: a batch of records, the first findings, the keys of a parent
table up to 200,000, and what ``spill.py`` needs to find repeated keys.
"""

from __future__ import annotations

import time
from contextlib import ExitStack

from pgvector_restore.cancel import CancelToken
from pgvector_restore.errors import (
    BadDataError,
    BadManifestError,
    CancelledError,
    OptionError,
    PgvectorRestoreError,
    StoreError,
)
from pgvector_restore.inspection import (
    FileInspection,
    InspectReport,
    RepeatedKeys,
)
from pgvector_restore.manifest import Manifest
from pgvector_restore.model import DEFAULT_LIMITS, BackupFile, BackupSet, UnpackLimits
from pgvector_restore.progress import Progress, no_progress
from pgvector_restore.rows.csv import DEFAULT_MAX_RECORD_BYTES
from pgvector_restore.spill import RUN_VALUES, SpillError
from pgvector_restore.storage import BackupStore
from pgvector_restore.storage.log import emptied_tables
from pgvector_restore.surveyed import inspection_of
from pgvector_restore.surveying import Call, FileReading, Keys
from pgvector_restore.tracking import Teller

__all__ = ["inspect_file", "inspect_set"]


def inspect_set(  # noqa: PLR0913 - limits, each with a default
    store: BackupStore,
    backup: str | BackupSet = "latest",
    *,
    limit: int = 20,
    max_record_bytes: int = DEFAULT_MAX_RECORD_BYTES,
    temp_dir: str | None = None,
    run_values: int = RUN_VALUES,
    limits: UnpackLimits = DEFAULT_LIMITS,
    progress: Progress = no_progress,
    cancel: CancelToken | None = None,
) -> InspectReport:
    """Read a whole backup set and tell what would become of it, without a database.

    The types of columns are those of the manifest, else those of the known shapes of LangChain's
    tables; columns that none of them has are taken for text. A file that cannot be read ends its
    own inspection only.

    Args:
        store: Where the set lies.
        backup: A label or a set of the catalog.
        limit: So many bad cells, orphans and repeated keys are named of each file; all are counted.
        max_record_bytes: A longer record cannot be read.
        temp_dir: Folder of temporary files, which take 8 bytes for each record of files with more
            than ``run_values``; ``None``: the system's own.
        run_values: Keys that are held in memory, 8 bytes each.
        limits: How much may come out of a compressed file.
        progress: Called with events of the phase ``inspect``, then ``done``.
        cancel: Calls it off from another thread, within about a second.

    Raises:
        CancelledError: It was called off.
        OptionError: A wrong argument.
        StoreError: The set is not there, or nothing temporary can be written.
    """
    if limit < 0 or run_values < 1 or max_record_bytes < 1:
        raise OptionError("limit must not be negative, run_values and max_record_bytes not below 1")
    started = time.perf_counter()
    found = backup if isinstance(backup, BackupSet) else store.find(backup)[0]
    log = store.read_log(found.location)
    manifest, error = _manifest(store, found)
    teller = Teller(progress, cancel or CancelToken(), "inspect", found.size_bytes)
    call = Call(
        store, found, log, manifest, limit, max_record_bytes, temp_dir, run_values, limits, teller
    )
    parents: dict[str, Keys] = {}
    with store.hold(found):
        files = tuple(inspect_file(call, file, parents) for file in found.files)
    teller.tell_done()
    emptied = emptied_tables(found, manifest, log)
    return InspectReport(found, files, time.perf_counter() - started, error, emptied)


def _manifest(
    store: BackupStore, backup: BackupSet
) -> tuple[Manifest | None, dict[str, object] | None]:
    """The manifest, or why it cannot be used."""
    try:
        return store.read_manifest(backup), None
    except BadManifestError as exc:
        return None, exc.to_dict() | {"message": str(exc)}


def inspect_file(call: Call, file: BackupFile, parents: dict[str, Keys]) -> FileInspection:
    """Read one file of a set, after those that its rows refer to.

    Args:
        call: What is asked.
        file: The file.
        parents: Keys of the files that were read before; this one's are added.

    Raises:
        CancelledError: It was called off.
        StoreError: Nothing temporary can be written; if asked for, also what the storage raises.
    """
    said = call.manifest.table(file.table) if call.manifest is not None else None
    reading = FileReading(call, file, parents, said)
    error: dict[str, object] | None = None
    repeated: tuple[RepeatedKeys, ...] = ()
    with ExitStack() as stack:
        try:
            reading.read(stack)
            repeated = tuple(reading.repeated())
            call.store.check_unchanged(file)
        except CancelledError:
            raise
        except SpillError as exc:  # not the set's fault
            raise StoreError(exc.message, hint=exc.hint) from exc
        except PgvectorRestoreError as exc:
            if call.strict and not isinstance(exc, BadDataError):
                raise
            error = exc.to_dict() | {"message": str(exc)}
    call.teller.finished(file.size_bytes)
    if reading.links.is_parent:
        parents[file.table] = reading.own_keys if error is None else None
    return inspection_of(reading, error, repeated)
