"""What the documentation says is true: code runs, commands parse, tables are complete."""

from __future__ import annotations

import inspect
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from attrs import fields
from click.testing import CliRunner

import pgvector_restore
from pgvector_restore import (
    BackupOptions,
    PgvectorRestoreError,
    RestoreOptions,
    Restorer,
    errors,
    open_store,
)
from pgvector_restore.cli.app import app
from tests.conftest import connect

ROOT = Path(__file__).parents[2]
STORE = ROOT / "examples" / "training_data"
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
REFERENCE = ROOT / "docs" / "reference.md"
GUIDE = ROOT / "docs" / "guide.md"

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def blocks(page: Path, language: str) -> Iterator[tuple[int, str]]:
    """Line number and text of the fenced blocks of a language."""
    content = page.read_text("utf-8")
    for match in re.finditer(rf"^```{language}\n(.*?)^```$", content, re.DOTALL | re.MULTILINE):
        yield content.count("\n", 0, match.start(1)), match[1]


def program(page: Path) -> str:
    """The page's Python blocks as one program, each line where it stands in the page."""
    lines: list[str] = []
    for start, block in blocks(page, "python"):
        lines += [""] * (start - len(lines)) + block.splitlines()
    return "\n".join(lines) + "\n"


def rows(page: Path, heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, without its head."""
    _, _, below = page.read_text("utf-8").partition(f"\n{heading}\n")
    table = re.search(r"(?:^\|.*\n)+", below, re.MULTILINE)
    assert table, heading
    lines = table[0].splitlines()[2:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def code(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


# --- code --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "page", [page for page in PAGES if program(page).strip()], ids=lambda page: page.name
)
def test_python_runs(page: Path, dsn: str, tmp_path: Path) -> None:
    script = tmp_path / f"{page.stem}.py"
    script.write_text(program(page), "utf-8")
    shutil.copytree(STORE, tmp_path / "examples" / "training_data")
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        check=False,
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=tmp_path,
        env=os.environ | {"PGVECTOR_RESTORE_DSN": dsn, "PYTHONUTF8": "1"},
    )
    assert done.returncode == 0, done.stderr
    if page.name == "operating.md":  # it makes an application and serves nobody
        return
    with connect(dsn) as connection:
        assert connection.execute("SELECT FROM langchain_pg_embedding").rowcount > 0


def test_readme_shows_what_the_command_prints(dsn: str) -> None:
    (_, shown), *_ = blocks(ROOT / "README.md", "text")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pgvector_restore", "restore", "examples/training_data"),
            *("--dsn", dsn, "--mode", "replace"),
        ],
        check=False,
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=ROOT,
        env=os.environ | {"COLUMNS": "100", "PYTHONUTF8": "1"},
    )
    assert done.returncode == 0, done.stderr
    printed = {comparable(line) for line in done.stdout.splitlines()}
    lines = [line for line in shown.splitlines() if line and line != "…"]
    assert [line for line in lines if comparable(line) not in printed] == []


def comparable(line: str) -> str:
    """A line without what differs from run to run: times, and the width of columns."""
    return re.sub(r"\d+\.\d+", "0.0", re.sub(r"\s+|─+", " ", line)).strip()


# --- commands ----------------------------------------------------------------------------------


def commands() -> list[Any]:
    found = []
    for page in PAGES:
        for start, block in blocks(page, "sh"):
            for number, line in enumerate(block.replace("\\\n", " ").splitlines(), start + 1):
                for part in line.split("&&"):
                    words = shlex.split(part, comments=True)
                    if words[:1] == ["pgvector-restore"]:
                        found.append(pytest.param(words[1:], id=f"{page.name}:{number}"))
    return found


def leaves(group: click.Group) -> Iterator[click.Command]:
    for command in group.commands.values():
        if isinstance(command, click.Group):
            yield from leaves(command)
        else:
            yield command


@pytest.mark.parametrize("words", commands())
def test_command_parses(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    for command in leaves(app):
        monkeypatch.setattr(command, "callback", recorder(called))
    quiet = [word for word in words if word not in ("-v", "-vv")]  # these set the log's level
    result = CliRunner().invoke(app, quiet)
    assert (result.exit_code, result.output, len(called)) == (0, "", 1)


def recorder(called: list[str]) -> Callable[..., None]:
    def record(**given: object) -> None:
        called.append(", ".join(given))

    return record


def test_quick_start_is_two_commands() -> None:
    (_, first), *_ = blocks(ROOT / "README.md", "sh")
    assert first.splitlines() == [
        'pip install ".[cli,embedded]" && pgvector-restore restore examples/training_data',
        'pip install -e ".[dev]" && pytest',
    ]


# --- links -------------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@every_page
def test_relative_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        aim = (page.parent / name).resolve() if name else page
        assert aim.exists(), target
        assert not anchor or anchor in anchors(aim), target


# --- completeness ------------------------------------------------------------------------------


def test_reference_has_every_public_name() -> None:
    named = {
        re.split(r"\W", word)[0] for row in rows(REFERENCE, "## Names") for word in code(row[0])
    }
    named |= {word for row in rows(REFERENCE, "## Errors") for word in code(row[0])}
    assert named == set(pgvector_restore.__all__)


@pytest.mark.parametrize(
    ("heading", "options"),
    [("## Options", RestoreOptions), ("## Options of a backup", BackupOptions)],
)
def test_reference_has_every_option_with_its_default(heading: str, options: Any) -> None:
    said = {code(name)[0]: code(default)[0] for name, default, *_ in rows(REFERENCE, heading)}
    assert said == {field.name: repr(field.default).replace("'", '"') for field in fields(options)}


def test_reference_has_every_option_of_every_command() -> None:
    said: dict[str, set[str]] = {}
    for option, of, *_ in rows(REFERENCE, "## Command line"):
        for word in code(option):
            said[word.split()[0]] = {of} if of.startswith("all") else set(code(of))
    have: dict[str, set[str]] = {}
    for command in leaves(app):
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                for spelling in parameter.opts:
                    have.setdefault(spelling, set()).add(command.name or "")
    every = {command.name or "" for command in leaves(app)}
    for spelling, commands in said.items():
        if commands == {"all"}:
            assert have[spelling] == every
        elif commands == {"all but `serve`"}:
            assert have[spelling] == every - {"serve"}
        else:
            assert have[spelling] == commands, spelling
    assert set(said) == {s for c in leaves(app) for p in c.params for s in p.opts if s[0] == "-"}


def test_reference_has_every_code_of_findings() -> None:
    told = re.compile(r"""findings\.\w+\(\s*"([a-z-]+)\"""")
    used = {
        code
        for path in (ROOT / "pgvector_restore").rglob("*.py")
        for code in told.findall(path.read_text("utf-8"))
    }
    assert {
        word for first, *_ in rows(REFERENCE, "Codes of findings:") for word in code(first)
    } == used


def test_reference_has_every_command() -> None:
    (_, usage), *_ = blocks(REFERENCE, "text")
    for command in leaves(app):
        assert command.name in re.split(r"[\s|]", usage)


def test_exit_codes_are_those_of_the_errors() -> None:
    known = {
        name: kind.exit_code
        for name, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, PgvectorRestoreError)
    }
    said = {code(name)[0]: int(number) for name, number, *_ in rows(REFERENCE, "## Errors")}
    assert said == known
    for number, name, *_ in rows(GUIDE, "## Errors"):
        for error in code(name):
            assert known[error] == int(number)
    guide = {int(number) for number, *_ in rows(GUIDE, "## Errors")}
    assert guide == {0, errors.ROWS_REJECTED_EXIT_CODE, 129, 130, 143, *known.values()}


def test_errors_are_the_builtins_the_reference_says() -> None:
    for name, _, builtin, *_ in rows(REFERENCE, "## Errors"):
        kind = getattr(pgvector_restore, code(name)[0])
        direct = {base.__name__ for base in kind.__bases__ if base.__module__ == "builtins"}
        assert direct - {"Exception"} == set(code(builtin))


def test_architecture_has_every_module() -> None:
    tree = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    package = ROOT / "pgvector_restore"
    for module in package.rglob("*.py"):
        if module.name != "__init__.py":
            assert re.search(rf"(?m)(?:^|\s){re.escape(module.name)}\s", tree), module.name


# --- messages ----------------------------------------------------------------------------------

BROKEN = [
    ("embedding", "[0.1 0.2 ... 0.3]"),
    ("embedding", "[0.1,nan,0.3]"),
    ("embedding", "[1,2,3]"),
    ("cmetadata", "{'a': datetime.date(2026, 1, 1)}"),
    ("collection_id", "00000000-0000-0000-0000-000000000000"),
]


@pytest.mark.parametrize(("column", "cell"), BROKEN, ids=[cell for _, cell in BROKEN])
def test_guide_quotes_real_messages(column: str, cell: str, g2_dsn: str, tmp_path: Path) -> None:
    header = "id,collection_id,embedding,document,cmetadata"
    values = {"id": "a", "collection_id": "", "embedding": "", "document": "", "cmetadata": ""}
    record = ",".join(f'"{value}"' if value else "" for value in (values | {column: cell}).values())
    for table, content in (
        ("langchain_pg_collection", "uuid,name,cmetadata\n"),
        ("langchain_pg_embedding", f"{header}\n{record}\n"),
    ):
        (tmp_path / f"{table}_20260101_000000.csv").write_text(content, "utf-8")
    with connect(g2_dsn) as connection:
        connection.execute("ALTER TABLE langchain_pg_embedding ALTER embedding TYPE vector(16)")
    with (
        Restorer(open_store(tmp_path), g2_dsn) as restorer,
        pytest.raises(errors.BadCellError) as bad,
    ):
        restorer.restore()
    assert bad.value.message in GUIDE.read_text("utf-8")
