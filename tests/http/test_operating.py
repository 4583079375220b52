"""The page for operators: every setting, a file that loads, figures that exist."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic_core import PydanticUndefined

from pgvector_restore.http import ServiceSettings, create_app
from tests.docs.test_docs import ROOT, blocks, code, rows
from tests.http.running import TOKEN
from tests.sets import write_set

PAGE = ROOT / "docs" / "operating.md"


def test_every_setting_has_its_default() -> None:
    said = {code(name)[0]: default for name, default, _ in rows(PAGE, "## Settings")}
    words = {None: "none", True: "`true`", False: "`false`", PydanticUndefined: "required"}
    for name, field in ServiceSettings.model_fields.items():
        default = field.get_default(call_default_factory=True, validated_data={})
        if name == "token":
            assert said.pop(name) == "random"
        elif isinstance(default, bool) or default in (None, PydanticUndefined):
            assert said.pop(name) == words[default], name
        else:
            assert said.pop(name) == f"`{default}`", name
    assert said == {}


def test_the_example_loads(tmp_path: Path) -> None:
    ((_, text),) = blocks(PAGE, "toml")
    path = tmp_path / "service.toml"
    path.write_text(text, "utf-8")
    settings = ServiceSettings.load(path)
    assert list(settings.named_targets()) == ["default", "staging"]
    assert settings.storage_options == {"endpoint_url": "https://s3.example.com"}


def test_every_figure_is_described(tmp_path: Path) -> None:
    app = create_app(ServiceSettings.load(store=str(write_set(tmp_path)), token=TOKEN))
    text = app.state.metrics.text().decode()
    there = set(re.findall(r"^# TYPE (\w+) ", text, re.MULTILINE))
    page = PAGE.read_text("utf-8")
    named = set(re.findall(r"\bpgvector_restore_\w+", page)) - {"pgvector_restore_ledger"}
    assert named == there
    app.state.service.close()
