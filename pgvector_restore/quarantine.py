"""Records that a restore sets aside, in a folder that can be restored itself.

The folder holds a file for every table of the set, with the original header and the records set
aside, byte for byte; beside it the reasons, a JSON document a line. Mended, the folder is a store
with one backup set: restore it in mode ``append``. It is written under a temporary name, gets its
own once the restore is committed, and is removed when the restore fails.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import BinaryIO

from attrs import define

from pgvector_restore.errors import (
    OutcomeUnknownError,
    PgvectorRestoreError,
    StoreError,
    TooManyBadRowsError,
)
from pgvector_restore.failpoints import reach
from pgvector_restore.model import BackupFile
from pgvector_restore.plan import RestorePlan
from pgvector_restore.rows.csv import CsvReader
from pgvector_restore.rows.rejects import Reject
from pgvector_restore.storage import BackupStore

__all__ = ["Quarantine", "quarantine", "too_many"]

#: Folders of one timestamp in one place; whoever has more has forgotten to clean up.
_MOST_FOLDERS = 10_000


def too_many(file: str, reject: Reject, max_bad_rows: int) -> TooManyBadRowsError:
    """The error for one bad record more than allowed."""
    first = reject.problems[0]
    return TooManyBadRowsError(
        f"more than {max_bad_rows} records cannot be restored, the last one because: "
        f"{first.message}",
        hint="look at the whole set with inspect; records that are set aside are not restored",
        file=file,
        record=reject.record,
        column=first.column,
    )


@define
class _Files:
    """Where the records of one table go."""

    rejects: BinaryIO
    #: Opened with the first of them.
    reasons: BinaryIO | None = None
    count: int = 0

    @property
    def streams(self) -> list[BinaryIO]:
        return [self.rejects] if self.reasons is None else [self.rejects, self.reasons]


class Quarantine:
    """The records one restore sets aside, and how many there may be of them in all tables.

    Used by one thread at a time.

    Args:
        store: Where the set lies; headers are read again from there.
        plan: The restore; its options name the folder and the limit.

    Raises:
        StoreError: Nothing can be written there.
    """

    def __init__(self, store: BackupStore, plan: RestorePlan) -> None:
        #: Records set aside so far.
        self.count = 0
        #: The folder, once the restore is committed; ``None`` where it has nothing to hold.
        self.folder: Path | None = None
        self._store = store
        self._plan = plan
        self._files: dict[str, _Files] = {}
        self._sealed = False
        self._parent = Path(plan.options.reject_dir or ".").absolute()
        self._name = f"rejected_{plan.backup.timestamp}"
        with self._writing():
            self._parent.mkdir(parents=True, exist_ok=True)
            # Mode 0700: rows may be nobody else's business.
            self._temporary = Path(mkdtemp(".partial", f".{self._name}.", self._parent))

    @property
    def max_bad_rows(self) -> int:
        """Records that may be set aside."""
        return self._plan.options.max_bad_rows

    def of(self, file: BackupFile) -> Callable[[Reject], None]:
        """What takes the records of one file, in their order.

        It raises ``TooManyBadRowsError`` for one more than allowed.
        """

        def add(reject: Reject) -> None:
            if self.count >= self.max_bad_rows:
                raise too_many(file.name, reject, self.max_bad_rows)
            self.count += 1
            with self._writing():
                files = self._opened(file)
                files.count += 1
                files.rejects.write(reject.data)
                if files.reasons is None:
                    files.reasons = self._path(file.table, ".reasons.jsonl").open("xb")
                files.reasons.write(_reasons(reject))

        return add

    def seal(self) -> None:
        """Nothing more will come: bring what there is to the disk, before COMMIT."""
        if self.count:
            with self._writing():
                for file in self._plan.backup.files:
                    # A set is complete with a file for every table only.
                    with suppress(PgvectorRestoreError):
                        self._opened(file)
                for files in self._files.values():
                    for stream in files.streams:
                        stream.flush()
                        os.fsync(stream.fileno())
        self._close()
        self._sealed = True

    def publish(self) -> list[str]:
        """The restore is committed: give the folder its name. Returns warnings; never raises."""
        if not self.count:
            shutil.rmtree(self._temporary, ignore_errors=True)
            return []
        self.folder = self._temporary
        reach("reject.publish")
        warnings = []
        try:
            self.folder = self._renamed()
        except OSError as exc:
            warnings.append(
                f"the folder of rejected records keeps its temporary name: {exc.strerror}"
            )
        told = [
            f"{files.count} bad {_records(files.count)} of {table} not restored: see "
            f"{self.folder / self._file_name(table)} and the reasons beside it"
            for table, files in self._files.items()
            if files.count
        ]
        return told + warnings

    def reject_file(self, table: str) -> str | None:
        """Path of the table's rejected records, or ``None`` where there are none."""
        files = self._files.get(table)
        if self.folder is None or files is None or not files.count:
            return None
        return str(self.folder / self._file_name(table))

    def fail(self, exc: BaseException) -> None:
        """The restore has failed: remove the folder, unless its rows may be committed."""
        self._close()
        ours = isinstance(exc, PgvectorRestoreError)
        unknown = isinstance(exc, OutcomeUnknownError) or (self._sealed and not ours)
        if not (unknown and self.count):
            shutil.rmtree(self._temporary, ignore_errors=True)
        elif isinstance(exc, PgvectorRestoreError):
            kept = f"records that were set aside are in {self._temporary}"
            exc.hint = f"{exc.hint}; {kept}" if exc.hint else kept

    def _renamed(self) -> Path:
        for number in range(1, _MOST_FOLDERS):
            final = self._parent / (self._name + (f"_{number}" if number > 1 else ""))
            if not final.exists():
                with suppress(FileExistsError):
                    return self._temporary.rename(final)
        raise FileExistsError(17, "there are too many folders like it", str(self._parent))

    def _file_name(self, table: str) -> str:
        return self._store.layout.file_name(table, self._plan.backup.timestamp)

    def _path(self, table: str, suffix: str | None = None) -> Path:
        path = self._temporary / self._file_name(table)
        return path if suffix is None else path.with_suffix(suffix)

    def _opened(self, file: BackupFile) -> _Files:
        files = self._files.get(file.table)
        if files is None:
            header = self._header(file)
            files = self._files[file.table] = _Files(self._path(file.table).open("xb"))
            files.rejects.write(header)
        return files

    def _header(self, file: BackupFile) -> bytes:
        options = self._plan.options
        with closing(self._store.blocks(file, limits=options.unpack_limits)) as blocks:
            reader = CsvReader(blocks, file.name, max_record_bytes=options.max_record_bytes)
            return reader.header_bytes

    def _close(self) -> None:
        for files in self._files.values():
            for stream in files.streams:
                with suppress(OSError):
                    stream.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except StoreError:
            raise
        except OSError as exc:
            raise StoreError(
                f"records cannot be set aside in {self._parent}: {exc.strerror or exc}",
                hint="name a folder that can be written with reject_dir",
            ) from exc


def _reasons(reject: Reject) -> bytes:
    """A line for each reason; JSON in ASCII, so that nothing in it can drive a terminal."""
    lines = [
        json.dumps(
            {
                "record": reject.record,
                "offset": reject.offset,
                "bytes": len(reject.data),
                "column": problem.column,
                "reason": problem.message,
                "hint": problem.hint,
            }
        )
        for problem in reject.problems
    ]
    return ("\n".join(lines) + "\n").encode()


def _records(count: int) -> str:
    return "record" if count == 1 else "records"


@contextmanager
def quarantine(store: BackupStore, plan: RestorePlan) -> Iterator[Quarantine | None]:
    """Where a restore sets records aside, or ``None`` where bad ones are errors."""
    if plan.options.on_bad_row != "quarantine":
        yield None
        return
    made = Quarantine(store, plan)
    try:
        yield made
    except BaseException as exc:
        made.fail(exc)
        raise
