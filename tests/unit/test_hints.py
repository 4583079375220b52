"""Advice is followed: each hint of the program is in ``hints.txt``, where somebody has judged it.

A line there says: followed wherever it is shown, this helps; it removes nobody's rows and weakens
no check, or says what it would cost. ``python -m tests.unit.test_hints`` writes the file anew.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "pgvector_restore"
REVIEWED = Path(__file__).with_name("hints.txt")

#: Words of advice that can cost rows or safety.
_DANGEROUS = re.compile(
    r"\b(replac\w*|drop\w*|remov\w*|delet\w*|truncat\w*|cascade|empty\w*|detach|overwrit\w*|"
    r"unchecked|ignor\w*|allow_\w+|disabl\w*|superuser|kill\w*|end it|alter|turn off)\b",
    re.IGNORECASE,
)
#: Hints with such words that are given all the same, by a part of them, and why.
_JUDGED = {
    "back up the table that is to be emptied by itself": "emptying that table was asked for",
    "back up without truncate_after": "it asks for less than was given",
    "look whether the table is empty": "looking costs nothing",
    "a part of the backup was deleted or not copied": "says what has happened",
    "not empty, printable, without slashes": "says what a name is",
    "emptying it would empty those too": "says why it is refused",
    "allow_attached_code would let the code do all that you may": "says what it costs",
    "mode append removes no rows": "says which rows the other way would remove, and whose",
    "needed: INSERT, SELECT, TRUNCATE to replace": "names privileges",
    "if that will do, use allow_non_atomic": "says what does not hold then",
    "move the kept table by ALTER TABLE": "costs no rows, which are those of a kept table",
    "ALTER ROLE … RESET": "takes a setting back that weakens checks",
    "let the publication publish truncate": "what others have in common stays as it is",
    "disable the subscription for the restore": "keeps others from writing meanwhile",
    "GRANT": "names the privileges that are lacking",
    "emptying it needs that": "says what the command asked for needs",
    "let a superuser run CREATE EXTENSION": "there is no other way to have the extension",
    "the table goes as text then": "about the form of rows on their way",
    "the file was replaced": "says what has happened",
    "remove the NUL from the source": "about one character of the caller's own data",
    "was it killed for its memory": "says what may have happened",
    "leave it out to use the environment's database": "about an empty argument",
    "does a trigger or rule of the table drop or divert rows": "asks what may have happened",
}


def hints() -> set[str]:
    """``module: expression`` of all hints in the source."""
    found = set()
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            found |= {f"{name}: {text}" for text in _hints_of(node)}
    return found


def _hints_of(node: ast.AST) -> list[str]:
    values: list[ast.expr] = []
    if isinstance(node, ast.Call):
        values = [word.value for word in node.keywords if word.arg == "hint"]
    elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
        names = node.targets if isinstance(node, ast.Assign) else [node.target]
        if any(
            re.search("hint|_BY_STATE|_LIMITS", ast.unparse(one), re.IGNORECASE) for one in names
        ):
            values = [node.value]
    texts = [text for value in values for text in _texts(value)]
    return [text for text in texts if " " in text or "{" in text]


def _texts(value: ast.expr) -> list[str]:
    """The texts of an expression, with what is put into them in braces."""
    if isinstance(value, ast.Constant):
        return [value.value] if isinstance(value.value, str) else []
    if isinstance(value, ast.JoinedStr):
        return [ast.unparse(value)[2:-1]]
    return [text for child in ast.iter_child_nodes(value) for text in _texts_of(child)]


def _texts_of(node: ast.AST) -> list[str]:
    if isinstance(node, ast.expr):
        return _texts(node)
    return [text for child in ast.iter_child_nodes(node) for text in _texts_of(child)]


def test_every_hint_has_been_judged() -> None:
    reviewed = set(REVIEWED.read_text("utf-8").splitlines())
    there = hints()
    assert there - reviewed == set(), "follow these in thought in every case, then add them"
    assert reviewed - there == set(), "these are gone"


@pytest.mark.parametrize(
    "hint", sorted(h for h in hints() if _DANGEROUS.search(h.partition(": ")[2]))
)
def test_no_hint_costs_rows_or_safety(hint: str) -> None:
    assert any(part in hint for part in _JUDGED), f"say in _JUDGED why this may be advised: {hint}"


if __name__ == "__main__":
    REVIEWED.write_text("\n".join(sorted(hints())) + "\n", "utf-8")
