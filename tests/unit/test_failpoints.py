"""Failpoints: nothing in normal use, one reader of the variable, no name without a place."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import pgvector_restore
from pgvector_restore import OptionError, failpoints
from pgvector_restore.failpoints import ENV_FAILPOINT, POINTS, Failpoint

_PACKAGE = Path(pgvector_restore.__file__).parent
_OTHERS = [path for path in _PACKAGE.rglob("*.py") if path.name != "failpoints.py"]


def test_nothing_happens_in_normal_use() -> None:
    assert failpoints.reach is failpoints._nothing


def test_the_variable_is_read_in_one_place() -> None:
    assert len(_OTHERS) > 50
    for path in _OTHERS:
        text = path.read_text(encoding="utf-8")
        assert ENV_FAILPOINT not in text, path
        assert "ENV_FAILPOINT" not in text, path


def test_every_name_has_a_place_and_every_place_a_name() -> None:
    placed = set()
    for path in _OTHERS:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "reach":
                name = node.args[0]
                assert isinstance(name, ast.Constant), path
                placed.add(name.value)
    assert placed == set(POINTS)


@pytest.mark.parametrize(
    "spec",
    [
        "",
        "connect",
        "nowhere=kill",
        "connect=explode",
        "connect@0=kill",
        "connect=kill:/somewhere",
        "connect=stop",
        "*=kill",
        "connect=note:/somewhere",
    ],
)
def test_a_spec_that_is_not_understood(spec: str) -> None:
    with pytest.raises(OptionError) as caught:
        Failpoint(spec)
    assert str(caught.value) == f'{ENV_FAILPOINT} "{spec}" is not understood'


def test_a_place_without_a_name() -> None:
    with pytest.raises(OptionError, match='no failpoint is called "nowhere"'):
        Failpoint("connect=kill").reach("nowhere")


def test_the_variable_is_judged_when_the_package_is_loaded() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from pgvector_restore import Restorer"],
        env=os.environ | {ENV_FAILPOINT: "nowhere=kill"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert f'OptionError: {ENV_FAILPOINT} "nowhere=kill" is not understood' in done.stderr


def test_notes(tmp_path: Path) -> None:
    point = Failpoint(f"*=note:{tmp_path / 'notes'}")
    for name in POINTS:
        point.reach(name)
    assert (tmp_path / "notes").read_text().split() == list(POINTS)


def test_a_stop_at_the_second_time(tmp_path: Path) -> None:
    told = tmp_path / "told"
    point = Failpoint(f"load.block@2=stop:{told}")
    point.reach("load.block")
    point.reach("load.begin")
    assert not told.exists()
    thread = threading.Thread(target=point.reach, args=("load.block",))
    thread.start()
    while not told.exists():
        time.sleep(0.001)
    known = {"point": "load.block", "pid": os.getpid(), "backend": None}
    assert json.loads(told.read_text()) == known
    assert thread.is_alive()
    # Another process that comes by does not wait.
    Failpoint(f"load.block=stop:{told}").reach("load.block")
    (tmp_path / "told.go").touch()
    thread.join(60)
    assert not thread.is_alive()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["told", "told.go"]
