"""One file and one table, compared by content."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from collections.abc import Set as AbstractSet
from contextlib import closing

from pgvector_restore.db.pool import Connection
from pgvector_restore.db.verify import TableReader
from pgvector_restore.errors import BadManifestError
from pgvector_restore.file_reader import FileReader, OnProgress
from pgvector_restore.model import DEFAULT_LIMITS, UnpackLimits
from pgvector_restore.plan import TablePlan
from pgvector_restore.rows.differences import Entry, match_rows
from pgvector_restore.rows.digest import (
    BUCKETS,
    ContentDigest,
    bucket_of,
    bucket_sums,
    canonical_columns,
    differing,
    digest_of,
    field_hash,
    form_of,
    hash_columns,
    row_hash,
    row_hashes,
    split_row,
)
from pgvector_restore.storage import BackupStore
from pgvector_restore.verify_report import RowDifference, TableComparison

__all__ = ["TableCheck"]

#: Rows whose hashes are added up at a time.
_BATCH_ROWS = 4096
#: Rows of each side that are kept, about, while differing ones are named: some 400 bytes each.
_KEPT_ROWS = 200_000


class TableCheck:
    """Compares one file with one table, in the transaction at hand.

    Equal tables take one pass over file and table, with nothing kept of their rows. Where they
    differ, a second pass sums up the rows by *bucket*, the hash of their key, and a third one keeps
    the hashes of rows in some of the buckets that differ: memory is bounded whatever the table.

    Args:
        conn: The connection; its session must be configured.
        store: Where the file lies.
        plan: File, table and columns.
        max_record_bytes: A longer record is refused.
        added_only: Compare only the rows that this transaction has added.
        on_progress: Called now and then.
        limits: How much may come out of a compressed file.
        left_out: Records that were set aside and are not to be looked for; ``None``: no record may
            be malformed.
    """

    def __init__(  # noqa: PLR0913 - what a restore says of one table
        self,
        conn: Connection,
        store: BackupStore,
        plan: TablePlan,
        max_record_bytes: int,
        *,
        added_only: bool = False,
        on_progress: OnProgress,
        limits: UnpackLimits = DEFAULT_LIMITS,
        left_out: Collection[int] | None = None,
    ) -> None:
        self._plan = plan
        self._on_progress = on_progress
        self._form = form_of(plan.loaded)
        target = plan.target
        self._table = TableReader(
            conn, target.schema, target.name, self._form.columns, added_only=added_only
        )
        self._names = [column.name for column in self._form.columns]
        # Of a type without an encoder a file in binary has what the server sends, not text.
        self._as_is = plan.as_is and any(column.wire is None for column in plan.loaded)
        self._key = self._table.key if set(self._table.key) <= set(self._names) else ()
        self._key_places = [self._names.index(name) for name in self._key]
        self._file = FileReader(
            store,
            plan,
            self._table,
            self._key,
            max_record_bytes,
            on_progress=on_progress,
            limits=limits,
            left_out=None if left_out is None else frozenset(left_out),
        )

    def compare(
        self,
        limit: int,
        content: ContentDigest | None = None,
        claimed: ContentDigest | None = None,
    ) -> TableComparison:
        """Compare, and name up to ``limit`` rows that differ.

        Args:
            limit: 0 names none.
            content: Digest of the file, where it is known; else the file is read.
            claimed: Digest that the manifest says the rows have. If the table has it, nothing is
                read of the file: its SHA-256 must have been compared.

        Raises:
            BadManifestError: File and table are the same, and the manifest says something else;
                only if all columns have an encoder.
            BadDataError: A record that cannot be read.
            StoreError: The file has changed or cannot be read.
        """
        ours, theirs = self._digests(content, claimed)
        named: list[RowDifference] = []
        more = ours != theirs
        if more and limit:
            named, more = self._differences(limit, max(ours.rows, theirs.rows))
        return TableComparison(
            table=self._plan.name,
            source_file=self._plan.source.name,
            key=self._key,
            rows_in_file=ours.rows,
            rows_in_database=theirs.rows,
            file_digest=ours.hex,
            database_digest=theirs.hex,
            differences=tuple(named),
            more=more,
        )

    def _digests(
        self, content: ContentDigest | None, claimed: ContentDigest | None
    ) -> tuple[ContentDigest, ContentDigest]:
        """Those of file and table; arguments are those of :meth:`compare`."""
        if claimed is None:
            ours = self._digest_file() if content is None else content
            return ours, self._digest_table(as_is=self._as_is)
        theirs = self._digest_table()
        if theirs == claimed:
            return claimed, theirs
        ours = self._digest_file() if content is None else content
        if self._as_is:
            theirs = self._digest_table(as_is=True)
        # How types without an encoder are printed may depend on who is asked.
        if ours == theirs and all(column.wire is not None for column in self._plan.loaded):
            raise BadManifestError(
                "manifest has another digest than the rows of the file",
                hint="it was changed after the backup; take another set",
                file=self._plan.source.name,
            )
        return ours, theirs

    def _digest_file(self) -> ContentDigest:
        digest = ContentDigest()
        with closing(self._file.batches()) as batches:
            for batch in batches:
                digest += digest_of(hash_columns(self._form, batch.columns))
        return digest

    def _digest_table(self, *, as_is: bool = False) -> ContentDigest:
        digest, hashes, form = ContentDigest(), [], self._form
        size = self._plan.source.size_bytes
        with closing(self._table.rows(as_is=as_is)) as rows:
            for row in rows:
                hashes.append(row_hash(form, row))
                if len(hashes) == _BATCH_ROWS:
                    digest += digest_of(hashes)
                    hashes.clear()
                    self._on_progress(size, digest.rows)
        return digest + digest_of(hashes)

    def _differences(self, limit: int, rows: int) -> tuple[list[RowDifference], bool]:
        """Named rows, and whether there are more of them."""
        ours = bucket_sums((key, entry.hashed) for key, entry in self._file_rows())
        theirs = bucket_sums((key, entry.hashed) for key, entry in self._table_rows())
        unlike = list(differing(ours, theirs))
        most = max(1, min(limit, _KEPT_ROWS * BUCKETS // max(rows, 1)))
        chosen = frozenset(unlike[:most])
        found = match_rows(
            _kept(self._file_rows(chosen)), _kept(self._table_rows(chosen)), self._names
        )
        return found[:limit], len(found) > limit or len(unlike) > most

    def _file_rows(self, chosen: AbstractSet[int] | None = None) -> Iterator[tuple[bytes, Entry]]:
        """Key and entry of each record; entries are complete for the chosen buckets only."""
        with closing(self._file.batches()) as batches:
            for batch in batches:
                columns = canonical_columns(self._form, batch.columns)
                hashes = row_hashes(columns)
                for index, hashed in enumerate(hashes):
                    key = b"".join([columns[p][index] for p in self._key_places]) or hashed
                    if chosen is None:
                        yield key, Entry(hashed)
                    elif bucket_of(key) in chosen:
                        label = tuple((cell or b"").decode() for cell in batch.label(index))
                        cells = tuple(field_hash(column[index]) for column in columns)
                        yield key, Entry(hashed, cells, label, batch.first_record + index)

    def _table_rows(self, chosen: AbstractSet[int] | None = None) -> Iterator[tuple[bytes, Entry]]:
        width = len(self._names)
        found = self._table.rows(keys_as_text=self._key, ctid=True, as_is=self._as_is)
        with closing(found) as rows:
            for row in rows:
                every = split_row(self._form, row)
                columns, (*label, ctid) = every[:width], every[width:]
                (hashed,) = row_hashes([[column] for column in columns])
                key = b"".join([columns[p] for p in self._key_places]) or hashed
                if chosen is None:
                    yield key, Entry(hashed)
                elif bucket_of(key) in chosen:
                    cells = tuple(map(field_hash, columns))
                    place = None if self._key else ctid[4:].decode()
                    texts = tuple(field[4:].decode() for field in label)
                    yield key, Entry(hashed, cells, texts, ctid=place)


def _kept(rows: Iterator[tuple[bytes, Entry]]) -> dict[bytes, list[Entry]]:
    kept: dict[bytes, list[Entry]] = {}
    for key, entry in rows:
        kept.setdefault(key, []).append(entry)
    return kept
