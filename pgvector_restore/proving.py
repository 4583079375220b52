"""Sets that stay are read whole before others go: each is what it should be, or it is named."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

from pgvector_restore.cancel import CancelToken
from pgvector_restore.errors import (
    BackupInUseError,
    BackupNotFoundError,
    BadManifestError,
    CancelledError,
)
from pgvector_restore.inspecting import inspect_file
from pgvector_restore.inspection import FileInspection
from pgvector_restore.manifest import ManifestTable
from pgvector_restore.model import DEFAULT_LIMITS, BackupFile, BackupSet
from pgvector_restore.progress import no_progress
from pgvector_restore.rows.csv import DEFAULT_MAX_RECORD_BYTES
from pgvector_restore.spill import RUN_VALUES
from pgvector_restore.storage import BackupStore
from pgvector_restore.sums import check_sums
from pgvector_restore.surveying import Call, Keys
from pgvector_restore.tracking import Teller
from pgvector_restore.validity import AT_ONCE, CALLED_OFF

__all__ = ["prove"]

#: Looks at something of a set; gives what is wrong with it.
_Check = Callable[[], "str | None"]


def prove(
    store: BackupStore, sets: Sequence[BackupSet], cancel: CancelToken | None
) -> dict[BackupSet, str | None]:
    """Why each set is not what it should be, or ``None``; over a network several files at once.

    The files of a set with a manifest are compared with its sizes and SHA-256. A set without one is
    read and decoded to its end as ``inspect`` does, and its rows are counted against the backup
    log. Memory does not grow with the files.

    Args:
        store: Where they lie.
        sets: The sets.
        cancel: Calls it off within about a second.

    Raises:
        CancelledError: It was called off.
        StoreError: The storage does not answer, or a file changes while it is read: that tells
            nothing of the set.
        MissingExtraError: A set without a manifest is compressed, and the package for it is not
            there.
    """
    prover = _Prover(store, cancel or CancelToken())
    threads = ThreadPoolExecutor(1 if store.is_local else AT_ONCE, "pgvector_restore prune")
    try:
        looks = [threads.submit(prover.held, one, partial(prover.look, one)) for one in sets]
        begun: list[tuple[BackupSet, list[Future[str | None]]]] = []
        for one, look in zip(sets, looks, strict=True):
            problem = look.result()
            checks = prover.checks(one) if problem is None else [partial(str, problem)]
            begun.append((one, [threads.submit(prover.held, one, check) for check in checks]))
        found = {}
        for one, futures in begun:
            said = [future.result() for future in futures]
            found[one] = next((problem for problem in said if problem is not None), None)
    except CancelledError as exc:
        raise CancelledError(CALLED_OFF) from exc
    finally:
        prover.over = True
        threads.shutdown(cancel_futures=True)
    return found


class _Prover:
    """Reads sets whole."""

    def __init__(self, store: BackupStore, cancel: CancelToken) -> None:
        self._store = store
        self._cancel = cancel
        #: What the manifests of sets say of their tables.
        self._described: dict[BackupSet, dict[str, ManifestTable]] = {}
        #: Nobody waits for the rest any more.
        self.over = False

    def held(self, backup: BackupSet, check: _Check) -> str | None:
        """Look at something of a set, which nobody removes meanwhile."""
        self._on_read(0)
        try:
            with self._store.hold(backup):
                return check()
        except (BackupInUseError, BackupNotFoundError) as exc:
            return f"somebody else removes it: {exc}"

    def look(self, backup: BackupSet) -> str | None:
        """Read the manifest."""
        try:
            manifest = self._store.read_manifest(backup)
        except BadManifestError as exc:
            return str(exc)
        if manifest is not None:
            self._described[backup] = {table.name: table for table in manifest.tables}
        return None

    def checks(self, backup: BackupSet) -> list[_Check]:
        """What is to be read of a set, each by itself."""
        if backup.manifest is None:
            return [partial(self._read, backup)]
        pieces = (piece for file in backup.files for piece in file.pieces)
        return [partial(self._compare, backup, piece) for piece in pieces]

    def _compare(self, backup: BackupSet, piece: BackupFile) -> str | None:
        described = self._described[backup].get(piece.table)
        try:
            check_sums(self._store, piece, described, self._on_read)
        except BadManifestError as exc:
            return str(exc)
        return None

    def _read(self, backup: BackupSet) -> str | None:
        log = self._store.read_log(backup.location)
        teller = Teller(no_progress, self._cancel, "inspect", backup.size_bytes)
        call = Call(
            self._store, backup, log, None, 1, DEFAULT_MAX_RECORD_BYTES, None, RUN_VALUES,
            DEFAULT_LIMITS, teller, strict=True,
        )  # fmt: skip
        parents: dict[str, Keys] = {}
        for file in backup.files:
            fault = next(_faults_of(inspect_file(call, file, parents)), None)
            if fault is not None:
                return fault
            self._on_read(0)
        return None

    def _on_read(self, _: int) -> None:
        if self.over:
            raise CancelledError(CALLED_OFF)
        self._cancel.check()


def _faults_of(file: FileInspection) -> Iterator[str]:
    """What is wrong with a file, one line each."""
    name = file.file
    if file.error is not None:
        yield str(file.error["message"])
    for bad in file.first_bad:
        column = "" if bad.column is None else f', column "{bad.column}"'
        yield f"{name}: record {bad.record}{column}: {bad.reason}"
    for claim in file.disagreeing:
        yield f"{name} has {file.records} records, the {claim.source} counts {claim.rows}"
    if file.final_newline_missing:
        yield f"{name} does not end with a row end: its last record may be cut short"
    if file.missing_key is not None:
        yield f'{name} has no column "{file.missing_key}", the key of its table'
    for keys in file.repeated:
        yield f'{name} has values of "{keys.column}" more than once'
    if file.orphans:
        yield f"{name} refers to rows that the set does not have, {file.orphans} times"
