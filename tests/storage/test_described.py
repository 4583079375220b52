"""Sets with a manifest: which files are theirs, and what is unfinished."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from attrs import evolve

from pgvector_restore.errors import BadManifestError, IncompleteBackupError, OptionError
from pgvector_restore.manifest import Manifest, ManifestColumn, ManifestFile, ManifestTable
from pgvector_restore.model import BackupSet, Catalog
from pgvector_restore.storage import BackupStore, open_store

_STAMP = "20261125_003000"
_CSV = (f"langchain_pg_collection_{_STAMP}.csv", f"langchain_pg_embedding_{_STAMP}.csv")
_MANIFEST, _MARKER = f"manifest_{_STAMP}.json", f"manifest_{_STAMP}.tmp"


def _parts(count: int, table: str = "langchain_pg_embedding", end: str = "") -> list[str]:
    return [f"{table}_{_STAMP}.part{n:05}.pgcopy{end}" for n in range(1, count + 1)]


def manifest(*files: str, timestamp: str = _STAMP) -> Manifest:
    """Of files that hold their own names; the table is what is before the stamp."""
    tables: dict[str, list[ManifestFile]] = {}
    for name in files:
        table = name.partition(f"_{_STAMP}")[0]
        tables.setdefault(table, []).append(ManifestFile(name, len(name), "0" * 64, 1))
    columns = (ManifestColumn("id", "uuid"),)
    return Manifest(
        timestamp, "csv", None, "2026-11-25T00:30:00+00:00", "0.1.0", 180004, "0.8.5",
        tuple(
            ManifestTable(table, "public", len(found), None, columns, tuple(found))
            for table, found in tables.items()
        ),
    )  # fmt: skip


Written = Callable[..., BackupStore]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """A store with files that hold their own names, and a manifest."""

    def write(*names: str, described: Manifest | bytes | None = None) -> BackupStore:
        folder = tmp_path / "vector_bak"
        folder.mkdir()
        for name in names:
            (folder / name).write_text(name)
        if described is not None:
            data = described.to_json() if isinstance(described, Manifest) else described
            (folder / _MANIFEST).write_bytes(data)
        return open_store(str(tmp_path))

    return write


def _only(catalog: Catalog) -> BackupSet:
    assert catalog.incomplete == ()
    (found,) = catalog.sets
    return found


def test_csv_with_a_manifest(written: Written) -> None:
    store = written(*_CSV, described=manifest(*_CSV))
    found = _only(store.catalog())
    assert [file.name for file in found.files] == list(_CSV)
    assert {file.format for file in found.files} == {"csv"}
    assert found.manifest is not None
    assert store.read_manifest(found) == manifest(*_CSV)


def test_parts_count_as_one_file(written: Written) -> None:
    names = [f"langchain_pg_collection_{_STAMP}.pgcopy.gz", *_parts(12, end=".gz")]
    store = written(*names, described=manifest(*names))
    collection, embedding = _only(store.catalog()).files
    assert (collection.format, collection.codec, collection.parts) == ("binary", "gzip", ())
    assert embedding.name == f"langchain_pg_embedding_{_STAMP}.pgcopy.gz"
    assert embedding.size_bytes == sum(map(len, names[1:]))
    assert [piece.name for piece in embedding.pieces] == names[1:]
    assert [store.open(piece.key).read().decode() for piece in embedding.pieces] == names[1:]
    store.check_unchanged(embedding)
    with pytest.raises(OptionError, match="is in parts"):
        list(store.blocks(embedding))


def test_tables_of_any_name(written: Written) -> None:
    names = [f"my docs_{_STAMP}.csv.gz", f"äöü_{_STAMP}.csv"]
    found = _only(written(*names, described=manifest(*names)).catalog())
    assert [file.table for file in found.files] == ["my docs", "äöü"]


def test_one_table_of_the_layout(written: Written) -> None:
    found = _only(written(_CSV[1], described=manifest(_CSV[1])).catalog())
    assert [file.name for file in found.files] == [_CSV[1]]


def test_tables_of_any_name_are_nothing_without_a_manifest(written: Written) -> None:
    catalog = written(f"my_docs_{_STAMP}.csv").catalog()
    assert (catalog.locations, catalog.sets, catalog.incomplete) == ((), (), ())


@pytest.mark.parametrize(
    ("names", "described", "reason"),
    [
        ([*_CSV, _MARKER], None, f"unfinished: {_MARKER}"),
        ([_MARKER], None, f"unfinished: {_MARKER}"),
        ([_MARKER, f"{_MANIFEST}.tmp"], None, f"unfinished: {_MANIFEST}.tmp, {_MARKER}"),
        ([f"{_MANIFEST}.tmp"], None, f"unfinished: {_MANIFEST}.tmp"),
        ([f"my_docs_{_STAMP}.csv", _MARKER], None, f"unfinished: {_MARKER}"),
        (_parts(1), None, f"{_MANIFEST} missing, without which {_parts(1)[0]} cannot be read"),
        ([_CSV[0]], manifest(*_CSV), f"{_CSV[1]} missing, named by {_MANIFEST}"),
        ([_CSV[0]], b"{}", f"{_MANIFEST} cannot be read"),
        ([], manifest(*_CSV), f"{_CSV[0]}, {_CSV[1]} missing, named by {_MANIFEST}"),
        (
            [f"langchain_pg_collection_{_STAMP}.pgcopy", *_parts(3)[::2]],
            manifest(f"langchain_pg_collection_{_STAMP}.pgcopy", *_parts(3)),
            f"{_parts(3)[1]} missing, named by {_MANIFEST}",
        ),
    ],
)
def test_what_is_no_set(
    written: Written, names: list[str], described: Manifest | bytes | None, reason: str
) -> None:
    store = written(*names, described=described)
    catalog = store.catalog()
    assert catalog.sets == ()
    (found,) = catalog.incomplete
    assert found.reason == reason
    expected = sorted([*names, *([_MANIFEST] if described is not None else [])])
    assert sorted(info.key.rpartition("/")[2] for info in found.objects) == expected
    with pytest.raises(IncompleteBackupError):
        catalog.get(f"vector_bak/{_STAMP}")


def test_what_lies_beside_a_set_is_told(written: Written) -> None:
    names = [*_CSV, _MARKER, f"other_{_STAMP}.csv", f"{_CSV[0]}.tmp"]
    catalog = written(*names, described=manifest(*_CSV)).catalog()
    assert [file.name for file in catalog.latest().files] == list(_CSV)
    (beside,) = catalog.incomplete
    assert beside.reason == (
        f"{_CSV[0]}.tmp, other_{_STAMP}.csv, {_MARKER} are not part of the complete set beside"
    )


def test_binary_beside_a_set_of_others(written: Written) -> None:
    catalog = written(*_CSV, *_parts(2)).catalog()
    assert [file.name for file in catalog.latest().files] == list(_CSV)
    assert catalog.latest().manifest is None
    assert [info.key.rpartition("/")[2] for info in catalog.incomplete[0].objects] == _parts(2)


def _renamed(described: Manifest, name: str) -> Manifest:
    first, *others = described.tables
    return evolve(described, tables=(evolve(first, name=name), *others))


def _swapped(described: Manifest) -> Manifest:
    one, other = described.tables
    return evolve(
        described, tables=(evolve(one, files=other.files), evolve(other, files=one.files))
    )


@pytest.mark.parametrize(
    ("described", "message"),
    [
        (b"", "manifest is no JSON document"),
        (manifest(_CSV[0]), f"manifest does not name {_CSV[1]}"),
        (manifest(*_CSV, f"x_{_STAMP}.csv"), f"manifest names x_{_STAMP}.csv, which is not there"),
        (manifest(*_CSV, timestamp="20261125_003001"), "manifest is of the backup 20261125_003001"),
        (_renamed(manifest(*_CSV), "a\nb"), f'manifest names {_CSV[0]} for the table "a\\nb"'),
        (_swapped(manifest(*_CSV)), f'manifest names {_CSV[1]} for the table "{_CSV[0][:-20]}"'),
        (evolve(manifest(*_CSV), format="binary"), f"manifest names {_CSV[0]} as binary"),
        (evolve(manifest(*_CSV), codec="gzip"), f"manifest names {_CSV[0]} as gzip"),
    ],
)
def test_manifest_that_lies(written: Written, described: Manifest | bytes, message: str) -> None:
    store = written(*_CSV, described=described)
    with pytest.raises(BadManifestError) as caught:
        store.read_manifest(store.catalog().latest())
    assert caught.value.message == message
    assert caught.value.file == _MANIFEST


def test_manifest_with_another_size(written: Written, tmp_path: Path) -> None:
    store = written(*_CSV, described=manifest(*_CSV))
    (tmp_path / "vector_bak" / _CSV[0]).write_text("x")
    with pytest.raises(BadManifestError, match=rf"{_CSV[0]} has 1 bytes, the manifest says 43"):
        store.read_manifest(store.catalog().latest())


@pytest.mark.parametrize("usual", [True, False])
def test_manifest_that_is_too_large(
    written: Written, tmp_path: Path, caplog: pytest.LogCaptureFixture, *, usual: bool
) -> None:
    store = written(*(_CSV if usual else _CSV[:1]), described=b"{}")
    size = (32 << 20) + 1
    with (tmp_path / "vector_bak" / _MANIFEST).open("r+b") as file:
        file.truncate(size)
    message = f"manifest is too large: {size:,} bytes, at most {size - 1:,} are read ({_MANIFEST})"
    catalog = store.catalog()
    if not usual:  # only the manifest could tell whether a file is missing
        assert (catalog.sets, caplog.messages) == ((), [message])
        return
    with pytest.raises(BadManifestError) as caught:
        store.read_manifest(_only(catalog))
    assert str(caught.value) == message
