"""What planning looks at beside columns: server, attached code, rows, other sets. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pgvector_restore.columns import SourceFacts, lookalike
from pgvector_restore.db.ledger import LEDGER
from pgvector_restore.errors import OptionError, TargetMismatchError, quoted
from pgvector_restore.findings import Findings
from pgvector_restore.forecast import Forecast
from pgvector_restore.model import BackupSet, Catalog
from pgvector_restore.options import Mode, RestoreOptions
from pgvector_restore.plan import TablePlan
from pgvector_restore.report import format_size
from pgvector_restore.target import AttachedCode, Publication, TargetFacts, TargetTable

__all__ = [
    "check_atomic",
    "check_children",
    "check_code",
    "check_counts",
    "check_disk",
    "check_formats",
    "check_ledger",
    "check_names",
    "check_neighbours",
    "check_replaceable",
    "check_replication",
    "check_rows",
    "check_server",
]

#: Statements of a swap and figures of progress need it.
_OLDEST_SERVER = 140_000
#: Leftovers named one by one.
_MAX_NAMED = 3


def check_server(facts: TargetFacts, findings: Findings) -> None:
    """Whether the server takes writes, and is not too old."""
    if facts.read_only:
        findings.error(
            "read-only",
            TargetMismatchError(
                f"{facts.label} is read-only",
                hint="is it a standby? connect to the primary server",
            ),
        )
    if facts.server_version < _OLDEST_SERVER:
        findings.warn(
            "server-version",
            f"PostgreSQL {facts.server_version // 10_000} is older than "
            f"{_OLDEST_SERVER // 10_000}, which strategy swap needs",
            hint="use strategy in_place, or a newer server",
        )


def check_code(
    facts: TargetFacts,
    options: RestoreOptions,
    tables: Sequence[TablePlan],
    strategy: Literal["in_place", "swap"],
    findings: Findings,
) -> None:
    """Code of the tables: who could have written it, and whether this restore runs it."""
    for code in facts.event_triggers:
        _judge_code(code, facts, options, findings, None)
    for table in tables:
        for code in table.target.attached_code:
            if _runs(code, table, options.mode, strategy):
                _judge_code(code, facts, options, findings, table.name)
            else:
                findings.note("attached-code", f"{code}, does not run", table=table.name)


def _judge_code(
    code: AttachedCode,
    facts: TargetFacts,
    options: RestoreOptions,
    findings: Findings,
    table: str | None,
) -> None:
    """Code that this restore runs: known to be of somebody trusted, allowed, or an error."""
    runs = f"{code}, runs as {quoted(facts.role)}"
    if not code.strangers:
        findings.note("attached-code", runs, table=table)
        return
    who = " or ".join(map(quoted, code.strangers))
    if options.allow_attached_code:
        findings.warn("attached-code", f"{runs}: {who} may have written it", table=table)
        return
    findings.error(
        "attached-code",
        TargetMismatchError(
            f"{code}, would run as {quoted(facts.role)}, and {who} may have written it",
            hint=f"restore as {who}; allow_attached_code would let the code do all that you may",
        ),
        table,
    )


def _runs(
    code: AttachedCode, table: TablePlan, mode: Mode, strategy: Literal["in_place", "swap"]
) -> bool:
    if code.kind == "trigger":  # new tables get theirs after the load
        fires = "INSERT" in code.events or (mode == "replace" and "TRUNCATE" in code.events)
        return fires and strategy == "in_place"
    if code.kind == "default":
        return code.name not in {column.name for column in table.loaded}
    # COPY ignores rules; row security is off, so that the server raises instead of filtering.
    return code.kind not in ("rule", "policy")


def check_atomic(options: RestoreOptions, tables: Sequence[TablePlan], findings: Findings) -> None:
    """Tables with rows on other servers: one COMMIT does not cover them."""
    for table in tables:
        for phrase in table.target.elsewhere:
            message = f"{table.target.schema}.{table.name} is not restored all or none: {phrase}"
            if options.allow_non_atomic:
                findings.warn(
                    "atomic",
                    message,
                    hint="after an error rows there may be new while others are old: restore again",
                    table=table.name,
                )
            else:
                findings.error(
                    "atomic",
                    TargetMismatchError(
                        message,
                        hint="rows there are committed on their own; if that will do, use"
                        " allow_non_atomic",
                    ),
                    table.name,
                )


def check_replication(
    facts: TargetFacts,
    options: RestoreOptions,
    tables: Sequence[TablePlan],
    findings: Findings,
) -> None:
    """What subscribers get of rows that are restored in place, and who else writes the tables."""
    for table in tables:
        full = f"{table.target.schema}.{table.name}"
        for publication in table.target.publications:
            if not publication.inserts:
                findings.warn(
                    "replication",
                    f"publication {publication.name} sends no inserts: subscribers do not get the"
                    f" rows of {full}",
                    table=table.name,
                )
            if options.mode == "replace" and not publication.truncates:
                findings.warn(
                    "replication",
                    f"publication {publication.name} does not send that {full} is emptied:"
                    " subscribers keep its old rows",
                    hint="let the publication publish truncate before the restore",
                    table=table.name,
                )
            elif options.mode == "replace" and publication.root is not None:
                findings.warn(
                    "replication",
                    f"publication {publication.name} sends {full} as {publication.root}, but not"
                    " that it is emptied: subscribers keep its old rows",
                    table=table.name,
                )
        for subscription in table.target.subscriptions:
            findings.warn(
                "replication",
                f"subscription {subscription} writes to {full} as well: rows may come twice, or go",
                hint="disable the subscription for the restore, and look at both sides afterwards",
                table=table.name,
            )
        for publication in facts.publications if table.create else ():
            _warn_of_new(f"{facts.schema}.{table.name}", publication, findings, table.name)


def check_ledger(facts: TargetFacts, findings: Findings) -> None:
    """Whether the table of restores is published too, once it is made."""
    for publication in facts.publications:
        _warn_of_new(f"{facts.schema}.{LEDGER}", publication, findings, None)


def _warn_of_new(
    full: str, publication: Publication, findings: Findings, table: str | None
) -> None:
    findings.warn(
        "replication",
        f"{publication}, {full} too: a subscriber without that table stops applying changes",
        hint="create the table at the subscribers first",
        table=table,
    )


def check_replaceable(target: TargetTable) -> None:
    """Whether a table can be emptied.

    Raises:
        TargetMismatchError: Others refer to it or inherit from it.
    """
    if target.referenced_by:
        raise TargetMismatchError(
            f"{target.schema}.{target.name} cannot be emptied: "
            f"{', '.join(target.referenced_by)} refers to it by foreign key",
            hint="mode append removes no rows",
        )
    if target.inherited_by:
        raise TargetMismatchError(
            f"{target.schema}.{target.name} cannot be emptied alone: "
            f"{', '.join(target.inherited_by)} inherits from it",
            hint="mode append removes no rows",
        )


def check_children(
    sources: Sequence[SourceFacts],
    options: RestoreOptions,
    facts: TargetFacts,
    findings: Findings,
) -> None:
    """Tables of the set that stay as they are, and refer to one whose rows are replaced."""
    chosen = {source.file.table for source in sources}
    for table in facts.tables if options.mode == "replace" else ():
        parents = {key.parent for key in table.foreign_keys} & chosen
        for parent in parents if table.name not in chosen else ():
            findings.error(
                "references",
                OptionError(
                    f"replacing only {parent} would orphan the rows of {table.name}",
                    hint=f"mode append removes no rows; with {table.name} named in tables all rows"
                    " of it would be removed as well",
                ),
                parent,
            )


def check_names(facts: TargetFacts, sources: Sequence[SourceFacts], findings: Findings) -> None:
    """Tables whose name only looks like the one asked for."""
    for source in sources:
        name = source.file.table
        other = lookalike(name, facts.unusual_names)
        if other is not None:
            findings.warn(
                "names",
                f"schema {facts.schema} has a table that looks like {quoted(name)} and is spelled "
                f"with other characters: {ascii(other)[1:-1]}",
                hint="the two differ in Unicode normalisation only; PostgreSQL tells them apart",
                table=name,
            )


def check_rows(
    source: SourceFacts, target: TargetTable, options: RestoreOptions, findings: Findings
) -> None:
    """What becomes of rows that are there; files without rows."""
    if target.rows:
        fate = "removed" if options.mode == "replace" else "kept"
        findings.note(
            "rows",
            f"{target.schema}.{target.name} has {target.rows} rows, which are {fate}",
            table=target.name,
        )
    if source.described is not None and source.described.outside_snapshot:
        findings.warn(
            "snapshot",
            f"rows of {target.name} were backed up from several servers: they may be of different"
            " moments",
            table=target.name,
        )
    empty = source.counted_rows == 0 or source.first is None
    if options.mode == "replace" and empty and target.rows:
        findings.warn(
            "empty",
            f"{source.file.name} has no rows: {target.name} with its {target.rows} rows "
            "will be empty",
            hint="is it the right backup set?",
            table=target.name,
        )


def check_counts(
    sources: Sequence[SourceFacts], options: RestoreOptions, findings: Findings
) -> None:
    """Files that neither log nor manifest speak of."""
    uncounted = [source.file.name for source in sources if source.counted_rows is None]
    if uncounted and options.check_log:
        findings.note(
            "row-counts",
            f"no log counts the rows of {', '.join(uncounted)}: nothing shows that none is lacking",
        )


def check_formats(
    sources: Sequence[SourceFacts], options: RestoreOptions, findings: Findings
) -> None:
    """Options that files in binary do not go with: their rows are passed on as they are."""
    binary = [source.file.name for source in sources if source.file.format == "binary"]
    names = ", ".join(binary)
    if binary and options.on_bad_row == "quarantine":
        findings.error(
            "bad-rows",
            OptionError(
                f"records of a file in binary cannot be set aside: {names}",
                hint="leave on_bad_row at error; inspect tells what is wrong with the set",
            ),
        )
    if binary and options.wire == "text":
        findings.error(
            "wire",
            OptionError(
                f"rows of a file in binary cannot go as text: {names}", hint="leave wire at auto"
            ),
        )


def check_neighbours(backup: BackupSet, catalog: Catalog | None, findings: Findings) -> None:
    """Unfinished and half sets at the same place, as old as the chosen one or newer; newer sets."""
    if catalog is None:
        return
    place = backup.location.key
    left = [
        one
        for one in catalog.incomplete
        if one.location.key == place and one.timestamp >= backup.timestamp
    ]
    for one in left[:_MAX_NAMED]:
        findings.warn(
            "incomplete",
            f"{one.label} is incomplete: {one.reason}",
            hint="has a backup failed, or is one being written?",
        )
    if len(left) > _MAX_NAMED:
        findings.warn("incomplete", f"{len(left) - _MAX_NAMED} more sets there are incomplete")
    newer = [
        one
        for one in catalog.sets
        if one.location.key == place and one.timestamp > backup.timestamp
    ]
    if newer:
        findings.note("newer", f"{newer[0].label} is a newer set of the same place")


def check_disk(forecast: Forecast, findings: Findings) -> None:
    """Whether there is room, where that can be known."""
    free = forecast.free_bytes
    if free is not None and free < forecast.disk_bytes:
        findings.warn(
            "disk",
            f"the restore may take {format_size(forecast.disk_bytes)} on the server's disk, "
            f"{format_size(free)} are free",
            hint="make room first: what runs out of space is rolled back",
        )
