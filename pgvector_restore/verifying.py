"""Does this database hold exactly this backup?"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime

from pgvector_restore.cancel import CancelToken
from pgvector_restore.columns import SourceFacts, match_types
from pgvector_restore.comparing import TableCheck
from pgvector_restore.db.encodings import naming_rows
from pgvector_restore.db.inspect import find_schema, inspect_target
from pgvector_restore.db.interrupt import interruptible
from pgvector_restore.db.pool import Target
from pgvector_restore.db.session import configure_session
from pgvector_restore.db.verify import snapshot
from pgvector_restore.errors import BadHeaderError, OptionError, TargetMismatchError, listed, quoted
from pgvector_restore.file_reader import OnProgress
from pgvector_restore.findings import Findings
from pgvector_restore.manifest import ManifestTable
from pgvector_restore.model import BackupFile, BackupSet
from pgvector_restore.options import RestoreOptions
from pgvector_restore.plan import TablePlan
from pgvector_restore.progress import Progress
from pgvector_restore.rows.csv import Header
from pgvector_restore.storage import BackupStore
from pgvector_restore.sums import check_sums
from pgvector_restore.target import TargetColumn, TargetFacts, TargetTable
from pgvector_restore.tracking import Teller
from pgvector_restore.verify_report import VerifyReport

__all__ = ["check_limit", "verify_backup"]

#: More named rows are no help to anybody.
_MAX_LIMIT = 1000


def check_limit(limit: object) -> None:
    """Raise ``OptionError`` unless so many rows can be named."""
    if type(limit) is not int or not 0 <= limit <= _MAX_LIMIT:
        raise OptionError(f"limit must be a whole number from 0 to {_MAX_LIMIT}, not {limit!r}")


def verify_backup(  # noqa: PLR0913 - two sides, and how to look at them
    store: BackupStore,
    target: Target,
    backup: BackupSet,
    headers: Mapping[BackupFile, Header],
    described: Mapping[BackupFile, ManifestTable | None],
    *,
    options: RestoreOptions,
    limit: int,
    progress: Progress,
    cancel: CancelToken,
) -> VerifyReport:
    """Compare a set with a database, all tables in one snapshot of the server.

    Args:
        store: Where the set lies.
        target: The database.
        backup: The set.
        headers: The files to compare, with their headers.
        described: What the manifest says of each of them.
        options: The schema, and the limit of a record.
        limit: How many rows of each table are named if they differ.
        progress: The listener.
        cancel: Calls it off.

    Raises:
        CancelledError: It was called off.
        BadHeaderError: A column that the table lacks.
        BadDataError: A record that cannot be read.
        TargetMismatchError: A table is not there, or reading it would run somebody's code.
    """
    started = time.perf_counter()
    teller = Teller(progress, cancel, "verify", sum(file.size_bytes for file in headers))
    names = [file.table for file in headers]
    schema = options.schema or ""
    with (
        naming_rows(target.fresh, lambda: schema, names),
        target.connection() as conn,
        interruptible(conn, cancel),
        snapshot(conn) as cur,
    ):
        schema = find_schema(cur, options.schema, names)
        configure_session(cur, options.lock_timeout_s)
        facts = inspect_target(cur, schema, names)
        _check_code(facts)
        plans = [_plan(file, header, described[file], facts) for file, header in headers.items()]
        tables = []
        for plan in plans:
            update = teller.for_table(plan.name)
            check = TableCheck(conn, store, plan, options.max_record_bytes, on_progress=update)
            claimed = plan.claimed_digest
            if claimed is not None:
                check_sums(store, plan.source, plan.described, _added(update))
            tables.append(check.compare(limit, None, claimed))
            store.check_unchanged(plan.source)
            teller.finished(plan.source.size_bytes)
    seconds = time.perf_counter() - started
    teller.tell_done()
    now = datetime.now().astimezone()
    return VerifyReport(backup, facts.label, schema, tuple(tables), seconds, now)


def _check_code(facts: TargetFacts) -> None:
    """Nothing that somebody has written runs because a table is read."""
    for table in facts.tables:
        for code in table.attached_code:
            if code.untrusted_reading:
                who = " or ".join(map(quoted, code.strangers))
                raise TargetMismatchError(
                    f"{code}, would run as {quoted(facts.role)}, and {who} may have written it",
                    hint=f"verify as {who}",
                )


def _added(update: OnProgress) -> Callable[[int], None]:
    """Tells of bytes read so far, given how many each block has."""
    so_far = 0

    def add(size: int) -> None:
        nonlocal so_far
        so_far += size
        update(so_far, 0)

    return add


def _plan(
    file: BackupFile, header: Header, described: ManifestTable | None, facts: TargetFacts
) -> TablePlan:
    target = facts.table(file.table)
    if target is None:
        raise TargetMismatchError(
            f"schema {quoted(facts.schema)} has no table {file.table}",
            hint="restore it first, or name the schema it is in",
        )
    columns = tuple(_column(name, file, target) for name in header.names)
    findings = Findings()
    recasts = match_types(
        SourceFacts(file, header, described=described), columns, findings, target.name
    )
    findings.check()
    return TablePlan(
        file,
        target,
        header,
        columns,
        create=False,
        logged_rows=None,
        described=described,
        recasts=recasts,
    )


def _column(name: str, file: BackupFile, target: TargetTable) -> TargetColumn | None:
    """The table's column; ``None`` for one that the server computes, which is not compared."""
    column = target.column(name)
    if column is None:
        raise BadHeaderError(
            f"table {target.schema}.{target.name} has no column {quoted(name)}",
            hint=f"it has {listed([c.name for c in target.columns])}",
            file=file.name,
            record=0,
            column=name,
        )
    return None if column.generated else column
