"""A label is looked up in its own folder: requests and keys are counted, not seconds."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from pgvector_restore import inspect_set
from pgvector_restore.errors import BackupNotFoundError, IncompleteBackupError, OptionError
from pgvector_restore.gathering import find_backup
from pgvector_restore.model import ObjectInfo
from pgvector_restore.storage import BackupStore, open_store
from tests.storage.serving import s3_options
from tests.storage.web import web_server

STAMPS = ("20260105_091500", "20260106_091500", "20260107_091500")
FOLDERS = ("", "vector_bak", "task_1/vector_bak", "task_2/vector_bak", "task_2/global_vector_bak")
TABLES = ("langchain_pg_collection", "langchain_pg_embedding")


def keys() -> list[str]:
    """Three sets in each of five places, one more in one of them, and half of one."""
    found = [
        f"{folder}/{table}_{stamp}.csv".lstrip("/")
        for folder in FOLDERS
        for stamp in STAMPS
        for table in TABLES
        if (folder, stamp) != (FOLDERS[-1], STAMPS[0])
    ]
    return [*found, f"vector_bak/{TABLES[0]}_20260108_091500.csv"]


class Counting(BackupStore):
    """Keys in memory; what was asked for is kept."""

    def __init__(self) -> None:
        self.listed: list[tuple[str, int | None]] = []

    @property
    def url(self) -> str:
        return "counting://"

    def list(self, prefix: str = "", *, max_depth: int | None = None) -> Iterator[ObjectInfo]:
        self.listed.append((prefix, max_depth))
        for key in sorted(keys()):
            if key.startswith(prefix) and (max_depth is None or key.count("/") < max_depth):
                yield ObjectInfo(key, 1)

    def open(self, key: str, start: int = 0, end: int | None = None) -> BinaryIO:  # noqa: ARG002
        return io.BytesIO(b"x")


@pytest.mark.parametrize(
    ("label", "found", "listed"),
    [
        (f"vector_bak/{STAMPS[0]}", "vector_bak", [("vector_bak/", 2)]),
        (f"./vector_bak/{STAMPS[0]}", "vector_bak", [("vector_bak/", 2)]),
        ("vector_bak/latest", "vector_bak", [("vector_bak/", 2)]),
        (STAMPS[1], "", [("", 1)]),
        (
            f"task_1/{STAMPS[2]}",
            "task_1/vector_bak",
            [("task_1/vector_bak/", 3), ("task_1/global_vector_bak/", 3)],
        ),
        (
            f"task_2/{STAMPS[0]}",
            "task_2/vector_bak",
            [("task_2/vector_bak/", 3), ("task_2/global_vector_bak/", 3)],
        ),
        (
            f"task_2/global_vector_bak/{STAMPS[1]}",
            "task_2/global_vector_bak",
            [("task_2/global_vector_bak/", 3)],
        ),
        ("latest", "", [("", 3)]),
    ],
)
def test_what_is_listed(label: str, found: str, listed: list[tuple[str, int | None]]) -> None:
    store = Counting()
    backup, catalog = find_backup(store, label)
    assert backup.location.key == found
    assert store.listed == listed
    # As the whole catalog has it, and all that it has of the place.
    whole = Counting().catalog()
    assert backup == whole.get(label)
    place = [one for one in whole.sets if one.location.key == found]
    assert [one for one in catalog.sets if one.location.key == found] == place
    left = [one for one in whole.incomplete if one.location.key == found]
    assert [one for one in catalog.incomplete if one.location.key == found] == left


@pytest.mark.parametrize(
    ("label", "error", "hint"),
    [
        (f"task_2/{STAMPS[1]}", OptionError, "there are task_2/"),
        ("vector_bak/20260108_091500", IncompleteBackupError, f"there are vector_bak/{STAMPS[2]}"),
        ("vector_bak/20200101_000000", BackupNotFoundError, f"there are vector_bak/{STAMPS[2]}"),
        ("task_9/latest", BackupNotFoundError, f"there are {STAMPS[2]}"),
        ("elsewhere/20260105_091500", BackupNotFoundError, f"there are {STAMPS[2]}"),
        ("../vector_bak/latest", OptionError, ""),
    ],
)
def test_what_is_refused(label: str, error: type[Exception], hint: str) -> None:
    with pytest.raises(error) as caught:
        Counting().find(label)
    with pytest.raises(error) as before:
        Counting().catalog().get(label)
    assert str(caught.value) == str(before.value)
    if hint:
        assert str(getattr(caught.value, "hint", "")).startswith(hint)


def test_other_doors(tmp_path: Path) -> None:
    store = Counting()
    inspect_set(store, f"vector_bak/{STAMPS[0]}")
    assert ("", 3) not in store.listed
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for key in keys():
            archive.writestr(key, b"x")
    packed = open_store(f"zip://{tmp_path / 'a.zip'}")
    assert packed.find(STAMPS[0])[0].location.key == ""
    for key in keys():
        path = tmp_path / "root" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    local = open_store(tmp_path / "root")
    with web_server(tmp_path / "root") as server:
        web = open_store(server.url)
        for label in (f"task_1/{STAMPS[0]}", STAMPS[1], "vector_bak/latest"):
            server.requests.clear()
            assert web.find(label)[0].label == local.find(label)[0].label
            asked = {path for _, path, _ in server.requests}
            assert not [path for path in asked if path.startswith("/task_2")]


def test_s3_is_asked_for_one_folder(s3_server: dict[str, Any], s3_files: Any) -> None:
    s3_files.mkdir("finding")
    for key in keys():
        s3_files.pipe_file(f"finding/{key}", b"x")
    store = open_store("s3://finding", storage_options=s3_options(s3_server))
    seen = []
    client = store._inner._fs.s3  # type: ignore[attr-defined]
    client.meta.events.register(
        "provide-client-params.s3.ListObjectsV2", lambda params, **_: seen.append(params)
    )
    for label, prefixes in (
        (f"vector_bak/{STAMPS[0]}", ["vector_bak/"]),
        (STAMPS[0], [""]),
        (f"task_1/{STAMPS[0]}", ["task_1/vector_bak/", "task_1/global_vector_bak/"]),
    ):
        seen.clear()
        backup, _ = store.find(label)
        assert [one.get("Prefix", "") for one in seen][: len(prefixes)] == prefixes
        assert all(one.get("Delimiter") == "/" for one in seen)
        store.check_unchanged(backup.files[0])
    assert store.find("latest")[0].files[0].info == store.find(STAMPS[2])[0].files[0].info
