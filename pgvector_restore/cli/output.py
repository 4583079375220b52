"""What the commands print for people: tables and lines."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from rich.cells import cell_len
from rich.text import Text

from pgvector_restore.backup_report import BackupReport
from pgvector_restore.cli.console import PlainConsole, calm_table, counted, print_lines
from pgvector_restore.cli.counts import read_counts
from pgvector_restore.cli.documents import Result, sets_by_location
from pgvector_restore.cli.listing import MAX_LOCATIONS, print_location, shown_of
from pgvector_restore.cli.text import printable, safe
from pgvector_restore.db import embedded
from pgvector_restore.db.embedded import EmbeddedServer
from pgvector_restore.model import BackupSet, Catalog
from pgvector_restore.plan import RestorePlan, TablePlan
from pgvector_restore.report import RestoreReport, TableReport, format_size
from pgvector_restore.storage import BackupStore

#: Characters of a document beside its key.
_TEXT_CHARS = 60


def print_plan(plan: RestorePlan, *, err: bool = False) -> None:
    """What a restore will do."""
    console = PlainConsole(err=err)
    heading = f"restore {plan.backup.label} into {plan.facts.label}, schema {plan.facts.schema}"
    how = f"mode {plan.options.mode}, {safe(plan.unity)}"
    why = f"strategy {plan.strategy}: {plan.strategy_reason}"
    over = [f"server {plan.server}"]
    over += [f"{plan.jobs} connections load at the same time"] if plan.jobs > 1 else []
    print_lines(heading, how, safe(why), *over, err=err)
    table = calm_table("table", ">rows there", "what happens", ">rows in file", ">size")
    for one in plan.tables:
        table.add_row(
            safe(one.name),
            "" if one.create else f"{one.target.rows or 0:,}",
            _deed(one, plan.options.mode),
            "" if one.logged_rows is None else f"{one.logged_rows:,}",
            format_size(one.source.size_bytes),
        )
    console.print(table)
    notes = [f"{t.name} goes as text: {t.wire_reason}" for t in plan.tables if t.wire_reason]
    notes += [f"{one.table}: builds {one}" for one in plan.forecast.builds]
    notes += [f"lock: {lock}" for lock in plan.forecast.locks]
    notes.append(f"disk: {plan.forecast.disk}")
    notes += [f"note: {note}" for note in plan.notes]
    notes += [f"warning: {warning}" for warning in plan.warnings]
    if plan.creates_extension:
        version = plan.facts.vector_version or ""
        notes.insert(0, f"the extension vector {version}".rstrip() + " will be created")
    if plan.rows_removed:
        notes.append(f"{counted(plan.rows_removed, 'row')} will be removed")
    print_lines(*notes, err=err)


def _deed(table: TablePlan, mode: str) -> str:
    if table.create:
        return "create, load"
    return "remove, load" if mode == "replace" else "keep, add"


def print_result(store: BackupStore, catalog: Catalog, result: Result) -> None:
    """What a restore did, and where it can be looked at."""
    console = PlainConsole(err=False)
    report = result.report
    _print_source(console, store, catalog, report.backup)
    print_lines(f"restored into {report.target}, schema {report.schema}, mode {report.mode}")
    if not report.atomic:
        print_lines("NOT all or none: rows on other servers were committed there")
    table = calm_table(
        "table", ">loaded", ">removed", ">rows now", ">repaired cells", ">size", ">MB/s", ">seconds"
    )
    for one in report.tables:
        table.add_row(safe(one.table), *_numbers(one))
    console.print(table)
    created = [one.table for one in report.tables if one.created]
    notes = ["created: extension vector"] if report.extension_created else []
    notes += [f"created: table {name}" for name in created]
    if report.kept:
        notes.append(f"kept for a revert, restore {report.restore_id}: {', '.join(report.kept)}")
    print_lines(*notes, *_repairs(report), *[f"warning: {text}" for text in report.warnings])
    if report.rows_rejected:
        print_lines(
            f"NOT RESTORED: {counted(report.rows_rejected, 'bad record')}; mend them in "
            f"{report.reject_folder} and restore that folder with mode append",
            err=True,
        )
    print_lines(
        f"total: {counted(report.rows_loaded, 'row')}, {format_size(report.size_bytes)}, "
        f"{report.seconds:.2f} s",
        "",
    )
    _print_neighbours(console, result)
    print_lines("look at it with", f"  {_psql(result.conninfo)}")
    if result.server is not None:
        print_lines(
            "  Any PostgreSQL client will do: the embedded server puts no psql on your PATH.",
            "  It stays up until: pgvector-restore embedded stop",
        )


def _print_source(
    console: PlainConsole, store: BackupStore, catalog: Catalog, backup: BackupSet
) -> None:
    """The locations of the store, and the sets of the one that was restored from."""
    sets = sets_by_location(catalog.sets)
    print_lines(f"backups in {store.url}")
    table = calm_table("location", "kind", ">sets", "newest", ">size")
    for location in catalog.locations[:MAX_LOCATIONS]:
        own = sets.get(location, ())
        table.add_row(
            safe(location.relative_path),
            location.kind,
            f"{len(own):,}",
            f"{own[0].backup_date:%Y-%m-%d %H:%M}" if own else "",
            format_size(sum(one.size_bytes for one in own)),
        )
    console.print(table)
    more = len(catalog.locations) - MAX_LOCATIONS
    print_lines(*([f"  … and {more:,} more"] if more > 0 else []), "")
    own = sets[backup.location]
    counts = read_counts(store, catalog, shown_of(own, backup))
    print_location(console, backup.location, own, counts, backup)


def _numbers(table: TableReport) -> tuple[str, ...]:
    return (
        f"{table.rows_loaded:,}",
        f"{table.rows_removed:,}",
        f"{table.rows_after:,}",
        f"{table.cells_repaired:,}",
        format_size(table.size_bytes),
        f"{table.bytes_per_second / (1 << 20):.1f}",
        f"{table.seconds:.2f}",
    )


def _repairs(report: RestoreReport) -> Iterable[str]:
    for table in report.tables:
        for one in table.repairs:
            yield (
                f"repaired: {table.table}.{one.column}, {counted(one.cells, 'cell')} "
                f"({one.kind}), such as record {one.record}:"
            )
            yield f"  {one.before}"
            yield f"  {one.after}"


def _print_neighbours(console: PlainConsole, result: Result) -> None:
    for name, rows in result.neighbours.items():
        print_lines(f"nearest to the first row of {name} by cosine distance")
        table = calm_table(">distance", "key", "document")
        keys = [printable(one.key) for one in rows]
        # Keys stay whole, for looking them up; a document is cut to what is left of the line.
        room = max(console.width - max(map(cell_len, keys)) - len(" distance      "), 20)
        for key, one in zip(keys, rows, strict=True):
            text = Text(printable(" ".join((one.text or "").split())[:_TEXT_CHARS]))
            text.truncate(room, overflow="ellipsis")
            table.add_row(f"{one.distance:.4f}", key, text)
        console.print(table)
        print_lines("")
    if result.look_failed is not None:
        print_lines(f"warning: could not look at the restored rows: {result.look_failed}", "")


def print_backup(url: str, report: BackupReport) -> None:
    """What a backup wrote."""
    packed = f", {report.codec}" if report.codec is not None else ""
    print_lines(
        f"backup {report.label} in {url}: {report.format}{packed}",
        f"of {report.source}, schema {report.schema}",
    )
    table = calm_table("table", ">rows", ">removed", ">files", ">size", ">seconds")
    for one in report.tables:
        table.add_row(
            safe(one.table),
            f"{one.rows:,}",
            f"{one.rows_removed:,}",
            f"{len(one.files):,}",
            format_size(one.size_bytes),
            f"{one.seconds:.2f}",
        )
    PlainConsole(err=False).print(table)
    if not report.one_snapshot:
        print_lines("NOT one snapshot: rows on other servers may be of other moments")
    print_lines(
        *[f"warning: {text}" for text in report.warnings],
        f"total: {counted(report.rows, 'row')}, {format_size(report.size_bytes)}, "
        f"{report.seconds:.2f} s",
    )


def print_server(server: EmbeddedServer | None) -> None:
    """Where the embedded server is."""
    if server is None:
        place = embedded.default_data_dir()
        print_lines("no embedded server is running", f"  its data would be in {place}")
        return
    print_lines(
        f"embedded PostgreSQL {server.version} is running, process {server.pid}",
        f"  data     {server.data_dir}",
        f"  connect  {_psql(server.conninfo)}",
        "  end it   pgvector-restore embedded stop",
    )


def _psql(conninfo: str) -> str:
    if not conninfo:
        return "psql"
    is_plain = not set(conninfo) & set('"$`\\!%')
    return f'psql "{conninfo}"' if is_plain else f"psql {shlex.quote(conninfo)}"
