"""What a plan is made from: the set, how its files begin, and the target as it is."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve

from pgvector_restore.cancel import CancelToken
from pgvector_restore.columns import SourceFacts
from pgvector_restore.db.claims import check_guard, check_unclaimed
from pgvector_restore.db.inspect import find_schema, inspect_target
from pgvector_restore.db.interrupt import interruptible
from pgvector_restore.db.labels import find_unloaded
from pgvector_restore.db.pool import Target
from pgvector_restore.db.session import configure_session
from pgvector_restore.errors import OptionError
from pgvector_restore.manifest import Manifest
from pgvector_restore.model import BackupFile, BackupSet, Catalog
from pgvector_restore.opening import start_of
from pgvector_restore.options import RestoreOptions
from pgvector_restore.storage import BackupStore
from pgvector_restore.target import TargetFacts

__all__ = ["facts_of", "find_backup", "sources_of"]


def find_backup(store: BackupStore, backup: str | BackupSet) -> tuple[BackupSet, Catalog]:
    """A set and what there is beside it.

    That is what its own folder holds, a short listing; for ``latest`` alone it is everything.

    Raises:
        OptionError: It is neither.
        StoreError: The store cannot be listed, or has no such set.
    """
    if not isinstance(backup, (str, BackupSet)):
        raise OptionError(
            f"a backup is a label or a set of the catalog, not {type(backup).__name__}"
        )
    if isinstance(backup, str):
        return store.find(backup)
    return backup, store.catalog_of(backup.location)


def sources_of(
    store: BackupStore,
    backup: BackupSet,
    files: Sequence[BackupFile],
    options: RestoreOptions,
    manifest: Manifest | None,
) -> list[SourceFacts]:
    """What is known of each file before it is read.

    Raises:
        StoreError: A file cannot be read.
        BadDataError: A header that is none.
    """
    log = store.read_log(backup.location) if options.check_log else None
    sources = []
    for file in files:
        said = manifest.table(file.table) if manifest is not None else None
        header, first = start_of(store, file, said, options.max_record_bytes, options.unpack_limits)
        logged = log.rows_of(file.name) if log is not None else None
        sources.append(SourceFacts(file, header, logged, first, said))
    return sources


def facts_of(
    target: Target, backup: BackupSet, options: RestoreOptions, cancel: CancelToken
) -> TargetFacts:
    """What the target looks like, read in a transaction that writes nothing.

    Raises:
        CancelledError: It was called off.
        TargetError: It cannot be reached, or another restore has one of the tables.
    """
    names = [file.table for file in backup.files]
    with target.reading() as cur, interruptible(cur.connection, cancel):
        schema = find_schema(cur, options.schema, names)
        configure_session(cur, options.lock_timeout_s, options.statement_timeout_s)
        check_unclaimed(cur, schema, names)
        facts = inspect_target(
            cur,
            schema,
            names,
            trusting=options.allow_attached_code,
            everywhere=options.allow_non_atomic,
        )
        if options.mode == "replace" and options.strategy != "in_place":
            facts = evolve(facts, keeps_claims=check_guard(cur, target.fresh))
    providers = dict.fromkeys(one for table in facts.tables for one in table.label_providers)
    if not providers or facts.read_only:
        return facts
    with target.connection() as conn:
        return evolve(facts, unloaded_providers=find_unloaded(conn, providers))
