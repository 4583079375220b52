"""Names from callers: nothing that leads out of a store, by the rules of either system."""

from __future__ import annotations

from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pgvector_restore import BackupNotFoundError, OptionError, Restorer, open_store
from pgvector_restore.model import Catalog
from pgvector_restore.names import refusal
from pgvector_restore.storage.discover import check_task_id
from pgvector_restore.storage.layout import is_task_id
from tests.cli.conftest import STORE, run_command

REFUSED = {
    "..": "leads upwards",
    "../vector_bak/latest": "leads upwards",
    "./../latest": "leads upwards",
    "vector_bak/../../etc/latest": "leads upwards",
    "vector_bak/..": "leads upwards",
    "vector_bak/.. /latest": "leads upwards",
    "vector_bak/.. ./latest": "leads upwards",
    "vector_bak/. ./latest": "leads upwards",
    "/etc/latest": "starts at a root",
    "//host/share/latest": "starts at a root",
    "C:/backups/latest": "names a drive",
    "c:latest": "names a drive",
    "C:\\backups\\latest": "has a backslash",
    "\\\\host\\share\\latest": "has a backslash",
    "\\\\?\\C:\\latest": "has a backslash",
    "..\\latest": "has a backslash",
    "~/latest": "has a tilde",
    "~root/latest": "has a tilde",
    "%2e%2e/latest": "has a percent sign",
    "vector_bak%00/latest": "has a percent sign",
    "vector_bak\0/latest": "has control characters",
    "vector_bak\n/latest": "has control characters",
    "\x1b[2J/latest": "has control characters",
    "vector\u202ebak/latest": "has marks that turn the direction of writing",
    "vector\udcffbak/latest": "has characters that are half of a pair",
    "s3://bucket/latest": "is a URL",
    "simplecache::s3/latest": "is a URL",
    "file:///etc/latest": "is a URL",
}


@pytest.mark.parametrize("label", REFUSED)
def test_a_label_that_leads_elsewhere_is_refused(label: str) -> None:
    with pytest.raises(OptionError) as caught:
        open_store(STORE).catalog().get(label)
    assert caught.value.message.startswith('label "')
    assert caught.value.message.endswith(f'" {REFUSED[label]}')
    assert caught.value.message.isprintable()
    assert 'folders below the store\'s root, with "/" between' in (caught.value.hint or "")
    with pytest.raises(OptionError, match="is no task id"):
        check_task_id(label)
    with pytest.raises(OptionError, match="location "):
        Catalog((), (), ()).latest(label)


def test_refusing_comes_before_any_connection() -> None:
    with (
        Restorer(open_store(STORE), "host=127.0.0.1 port=1") as restorer,
        pytest.raises(OptionError, match="leads upwards"),
    ):
        restorer.plan("../vector_bak/latest")


@pytest.mark.parametrize("label", ["latest", "./vector_bak/latest", "vector_bak/20260112_030000"])
def test_usual_labels_pass(label: str) -> None:
    assert open_store(STORE).catalog().get(label).label == "vector_bak/20260112_030000"


def test_an_odd_but_harmless_label_is_only_not_found() -> None:
    for label in ("größe/latest", "a:b/latest", "...", "vector_bak/…", ""):
        if refusal(label) is None:
            with pytest.raises(BackupNotFoundError):
                Catalog((), (), ()).get(label)


@given(st.text(alphabet="ab./\\: ~%C\0", max_size=12) | st.text(max_size=12))
@example("C:..")
@example("a/C:x")
def test_what_passes_stays_inside_on_both_systems(text: str) -> None:
    if refusal(text) is not None:
        return
    for kind, root in ((PurePosixPath, "/store"), (PureWindowsPath, "D:/store")):
        path = kind(root) / text
        assert path.is_relative_to(kind(root))
        parts = [part.rstrip(". ") or part for part in path.parts]
        assert ".." not in path.parts
        assert not any(part.strip(" ") in ("..", ". .") for part in parts)


@given(st.from_regex(r"[A-Za-z0-9_]+", fullmatch=True))
def test_ids_of_tasks_pass(text: str) -> None:
    assert is_task_id(text)
    assert refusal(text) is None


def test_the_command_line_refuses_them_as_a_wrong_call() -> None:
    done = run_command("plan", STORE, "../vector_bak/latest", "--dsn", "host=127.0.0.1 port=1")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith('error: label "../vector_bak/latest" leads upwards\nhint: ')
    done = run_command("restore", STORE, "--task", "a\x1b[2Jb", "--json")
    assert done.code == 2
    assert done.document["error"]["message"] == '"a\\x1b[2Jb" is no task id'
