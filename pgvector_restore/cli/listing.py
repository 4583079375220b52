"""What ``list`` prints for people, and ``restore`` of the location it restored from."""

from __future__ import annotations

from collections.abc import Sequence

from pgvector_restore.cli.console import PlainConsole, calm_table, counted, print_lines
from pgvector_restore.cli.counts import Counts
from pgvector_restore.cli.documents import sets_by_location
from pgvector_restore.cli.text import safe
from pgvector_restore.model import BackupSet, Catalog, IncompleteSet, Location
from pgvector_restore.report import format_size

__all__ = [
    "MAX_LOCATIONS",
    "print_catalog",
    "print_location",
    "shown_of",
    "shown_sets",
]

#: What a screen takes in. The rest is counted; ``list --all`` shows it.
MAX_LOCATIONS = 20
_MAX_SETS = 10
#: More tables than these have no columns of their own, nor those of sets that are not alike.
_MAX_TABLES = 5


def shown_sets(catalog: Catalog, *, show_all: bool) -> list[BackupSet]:
    """The sets that :func:`print_catalog` shows."""
    if show_all:
        return list(catalog.sets)
    sets = sets_by_location(catalog.sets)
    places = catalog.locations[:MAX_LOCATIONS]
    return [one for place in places for one in shown_of(sets.get(place, ()))]


def shown_of(sets: Sequence[BackupSet], restored: BackupSet | None = None) -> list[BackupSet]:
    """Sets of one location that are shown; the one that was restored is among them."""
    shown = list(sets[:_MAX_SETS])
    if restored is not None and restored not in shown:
        shown[-1] = restored
    return shown


def print_catalog(url: str, catalog: Catalog, counts: Counts, *, show_all: bool) -> None:
    """The backup sets of a store, location by location."""
    if not catalog.locations:
        print_lines(
            f"no backups in {url}",
            "Is this the folder that holds vector_bak, or the folders of tasks?",
        )
        return
    console = PlainConsole(err=False)
    sets = sets_by_location(catalog.sets)
    shown = catalog.locations if show_all else catalog.locations[:MAX_LOCATIONS]
    for location in shown:
        own = sets.get(location, ())
        print_location(console, location, own, counts, show_all=show_all)
    if more := len(catalog.locations) - len(shown):
        print_lines(f"… and {counted(more, 'location')} more: --all shows them", "")
    _print_incomplete(console, catalog.incomplete, None if show_all else _MAX_SETS)
    if counts.cut:
        print_lines("rows are shown of the newest sets only: inspect tells those of any", "")
    total = format_size(sum(one.size_bytes for one in catalog.sets))
    print_lines(
        f"{counted(len(catalog.sets), 'backup set')} at "
        f"{counted(len(catalog.locations), 'location')}, {total}; "
        f"{len(catalog.incomplete)} incomplete"
    )


def print_location(
    console: PlainConsole,
    location: Location,
    sets: Sequence[BackupSet],
    counts: Counts,
    restored: BackupSet | None = None,
    *,
    show_all: bool = False,
) -> None:
    """The sets of one location."""
    has_log = "with log" if location.log else "without log"
    print_lines(f"{location.relative_path}  ({location.kind}, {has_log})")
    if not sets:
        print_lines("  no complete backup set", "")
        return
    shown = list(sets) if show_all else shown_of(sets, restored)
    tables = [file.table for file in shown[0].files]
    alike = all([file.table for file in one.files] == tables for one in shown)
    if not alike or len(tables) > _MAX_TABLES:
        tables = []
    heads = [f">{name}" for name in _short(tables)] or [">tables"]
    table = calm_table("backup set", "date", *heads, ">total", ">rows")
    for one in shown:
        is_it = one == restored
        table.add_row(
            safe(one.label) + (" *" if is_it else ""),
            f"{one.backup_date:%Y-%m-%d %H:%M}",
            *(
                [format_size(file.size_bytes) for file in one.files]
                if tables
                else [f"{len(one.files):,}"]
            ),
            format_size(one.size_bytes),
            _rows(one, counts),
            style="bold" if is_it else None,
        )
    console.print(table)
    notes = ["  * restored"] if restored is not None else []
    if more := len(sets) - len(shown):
        notes.append(f"  … and {more:,} more")
    problems = [(one.label, counts.problem(one)) for one in shown]
    notes += [f"  warning: {label}: {why}" for label, why in problems if why is not None]
    notes += [
        f"  {one.label}: the rows of {', '.join(emptied)} were removed from the database afterwards"
        for one in shown
        if (emptied := counts.emptied(one))
    ]
    print_lines(*notes, "")


def _rows(backup: BackupSet, counts: Counts) -> str:
    """Rows of a set, table by table, or of all where there are many."""
    rows = [counts.rows(backup, file) for file in backup.files]
    known = [n for n in rows if n is not None]
    if not known:
        return ""
    if len(rows) > _MAX_TABLES:
        return f"{sum(known):,}" if len(known) == len(rows) else "?"
    return " + ".join("?" if n is None else f"{n:,}" for n in rows)


def _print_incomplete(
    console: PlainConsole, incomplete: Sequence[IncompleteSet], most: int | None
) -> None:
    if not incomplete:
        return
    print_lines("incomplete, cannot be restored")
    table = calm_table("backup set", "why")
    for one in incomplete[:most]:
        table.add_row(safe(one.label), safe(one.reason))
    console.print(table)
    more = len(incomplete) - len(incomplete[:most])
    print_lines(*([f"  … and {more:,} more: --all shows them"] if more else []), "")


def _short(names: Sequence[str]) -> list[str]:
    """Table names without what all of them begin with: ``collection``, ``embedding``."""
    low, high = min(names, default=""), max(names, default="")
    same = next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), 0)
    return [safe(name[low.rfind("_", 0, same) + 1 :]) for name in names]
