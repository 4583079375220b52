"""Inspecting a set without a database: everything counted, nothing raised."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pgvector_restore import (
    BackupNotFoundError,
    FileInspection,
    InspectReport,
    OptionError,
    RepeatedKey,
    RowRejectedError,
    StoreError,
    inspect_set,
    open_store,
    surveying,
)
from pgvector_restore.schema import COLLECTION, EMBEDDING
from tests.restore.hostile_cells import ALL
from tests.sets import (
    COLLECTION_FILE,
    DOC_ID,
    EMBEDDING_CELLS,
    EMBEDDING_FILE,
    EMBEDDING_HEADER,
    SQL_ID,
    STRANGER_ID,
    collection_bytes,
    embedding_bytes,
    quote,
    with_cell,
    write_set,
)

#: Inputs that only a database can tell to be wrong.
_NEEDS_DATABASE = (
    "json-lone-surrogate", "deep-json", "null-vector", "check-constraint", "too-long-for-varchar",
    "too-long-for-index", "dimension-of-type", "dimension-of-index", "unknown-name", "other-case",
    "space-in-name",
)  # fmt: skip
#: What is found is another fault of the same file.
_OTHERWISE = {"bytea-address": "id", "two-boms": "id", "semicolons": "id"}


def inspect(root: Path, **options: Any) -> InspectReport:
    return inspect_set(open_store(root), **options)


def embedding_of(root: Path, **options: Any) -> FileInspection:
    return inspect(root, **options).file(EMBEDDING)


@pytest.mark.parametrize("name", list(ALL))
def test_every_hostile_input_is_reported(tmp_path: Path, name: str) -> None:
    case = ALL[name]
    root = write_set(tmp_path, collection=case.collection, embedding=case.embedding, log=case.log)
    report = inspect(root, **case.options)
    json.dumps(report.to_dict())
    file = next(f for f in report.files if f.file == case.file)
    other = next(f for f in report.files if f.file != case.file)
    assert other.error is None
    if name in _NEEDS_DATABASE:
        assert report.ok
        return
    assert not report.ok
    assert not file.ok or not other.ok
    assert "HAS FAULTS" in str(report)
    if name in _OTHERWISE:
        keys = [repeated.column for repeated in file.repeated]
        assert [*keys, file.missing_key][0] == _OTHERWISE[name]
    elif file.error is not None:
        assert case.says in str(file.error["message"])
        assert file.error.get("record") == case.record
        assert file.error.get("column") == case.column
    elif name.startswith("log-"):
        assert [claim.source for claim in file.disagreeing] == ["log"]
        assert file.records == 4
    elif name.startswith("duplicate"):
        assert [key.records[1] for keys in file.repeated for key in keys.first] == [case.record]
    elif name.startswith("orphan"):
        assert file.first_orphans[0].record == case.record
        assert file.orphans == (4 if name == "orphan-of-cut-collections" else 1)
    else:
        (bad,) = file.first_bad
        assert (file.bad_records, file.bad_cells) == (1, 1)
        assert bad.record == case.record
        assert bad.column == case.column
        if case.error is not RowRejectedError and name != "bad-uuid":
            assert case.says in bad.reason
            assert case.hint in (bad.hint or "")


def test_a_good_set(tmp_path: Path) -> None:
    root = write_set(tmp_path, log={EMBEDDING_FILE: 4, COLLECTION_FILE: 2})
    report = inspect(root, backup="vector_bak/20260102_030405")
    assert report.ok
    collection, embedding = report.files
    assert [(f.file, f.records) for f in report.files] == [
        (COLLECTION_FILE, 2),
        (EMBEDDING_FILE, 4),
    ]
    assert [(c.source, c.rows) for c in embedding.claims] == [("log", 4)]
    assert {c.name: c.nulls for c in embedding.columns} == {
        "id": 0, "collection_id": 0, "embedding": 1, "document": 1, "cmetadata": 1,
    }  # fmt: skip
    assert {c.name: c.type_name for c in embedding.columns} == {
        "id": "varchar",
        "collection_id": "uuid",
        "embedding": "vector",
        "document": "varchar",
        "cmetadata": "jsonb",
    }
    assert embedding.columns[2].dimensions == ((3, 3),)
    (repair,) = embedding.repairs
    assert (repair.column, repair.kind, repair.cells, repair.record) == (
        "cmetadata", "python_repr", 2, 1,
    )  # fmt: skip
    assert (repair.before, repair.after) == ("{'a': None}", '{"a": null}')
    assert collection.repairs[0].record == 2
    assert str(report).splitlines() == [
        "vector_bak/20260102_030405: can be restored",
        f"  {COLLECTION_FILE}: 2 records",
        '    1 cell of "cmetadata" will be repaired (python_repr), such as record 2',
        '    1 NULL in "cmetadata"',
        f"  {EMBEDDING_FILE}: 4 records",
        '    2 cells of "cmetadata" will be repaired (python_repr), such as record 1',
        '    1 NULL in "embedding"',
        '    vectors in "embedding": 3 of 3 dimensions',
        '    1 NULL in "document"',
        '    1 NULL in "cmetadata"',
    ]
    document = report.to_dict()
    assert document["restorable"] is True
    assert document["files"][EMBEDDING]["columns"]["embedding"]["dimensions"] == {"3": 3}


def test_vectors_are_counted_by_kind(tmp_path: Path) -> None:
    cells = ["[0,0,0]", "[-0.0 0. 0.]", "[1,2]", "[1,inf,3]", "[nan]", "[1 2]", "[3,4]", "[1e-50]"]
    records = [(f"k{n}", SQL_ID, quote(cell), "", "") for n, cell in enumerate(cells)]
    file = embedding_of(write_set(tmp_path, embedding=embedding_bytes(records=records)))
    column = file.columns[2]
    assert column.dimensions == ((2, 3), (3, 2), (1, 1))
    # What is nearer to zero than to any float4 is zero, as for the server.
    assert (column.zero_vectors, column.not_finite) == (3, 2)
    assert (column.bad_cells, file.bad_cells) == (2, 2)
    assert {(r.kind, r.cells, r.record) for r in file.repairs} == {("numpy_vector", 2, 2)}
    assert 'vectors of "embedding" differ in their dimensions' in file.notes
    assert not file.ok


def test_the_shape_follows_the_header(tmp_path: Path) -> None:
    old = ("uuid", "collection_id", "embedding", "document", "cmetadata", "custom_id", "mine")
    records = [
        (SQL_ID, DOC_ID, "", "", quote(r'{"a": "\u0000"}'), "x", "y"),
        (SQL_ID.upper(), DOC_ID, "", "", "", "x", ""),
    ]
    root = write_set(tmp_path, embedding=embedding_bytes(header=old, records=records))
    file = embedding_of(root)
    types = {c.name: c.type_name for c in file.columns}
    assert (types["uuid"], types["cmetadata"], types["mine"]) == ("uuid", "json", None)
    assert file.bad_records == 0  # json takes what jsonb does not
    (keys,) = file.repeated
    assert (keys.column, keys.extra_records, keys.values, keys.exact) == ("uuid", 1, 1, True)
    assert keys.first == (RepeatedKey(SQL_ID, 2, (1, 2)),)
    assert 'no known shape of langchain_pg_embedding has a column "mine"' in file.notes


def test_a_broken_parent_leaves_orphans_open(tmp_path: Path) -> None:
    collection = collection_bytes() + b'x,"y'
    embedding = with_cell(2, "embedding", quote("[1"))
    report = inspect(write_set(tmp_path, collection=collection, embedding=embedding))
    broken, file = report.files
    assert broken.error is not None
    assert broken.error["type"] == "BadRecordError"
    assert broken.records == 2
    assert file.orphans is None
    assert file.bad_records == 1
    assert "whether rows refer to rows of the set could not be looked at" in file.notes


def test_too_many_parents_leave_orphans_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(surveying, "_MAX_PARENT_KEYS", 1)
    assert embedding_of(write_set(tmp_path)).orphans is None


def test_all_are_counted_and_the_first_named(tmp_path: Path) -> None:
    records = [
        ("same" if n % 2 else f"k{n}", STRANGER_ID, quote("[1"), "", quote("{'a': nan}"))
        for n in range(10)
    ]
    root = write_set(tmp_path, embedding=embedding_bytes(records=records))
    file = embedding_of(root, limit=3)
    assert (file.bad_records, file.bad_cells, file.orphans) == (10, 20, 10)
    assert [(bad.record, bad.column) for bad in file.first_bad] == [
        (1, "embedding"),
        (1, "cmetadata"),
        (2, "embedding"),
    ]
    assert [orphan.record for orphan in file.first_orphans] == [1, 2, 3]
    assert file.repeated[0].first == (RepeatedKey("same", 5, (2, 4, 6, 8, 10)),)
    unnamed = embedding_of(root, limit=0)
    assert (unnamed.first_bad, unnamed.first_orphans, unnamed.repeated[0].first) == ((), (), ())
    assert (unnamed.bad_cells, unnamed.repeated[0].extra_records) == (20, 4)


def test_repeated_keys_through_the_disk(tmp_path: Path) -> None:
    ids = [f"k{n % 700}" for n in range(1000)]
    records = [(key, SQL_ID, "", "", "") for key in ids]
    root = write_set(tmp_path, embedding=embedding_bytes(records=records))
    expected = embedding_of(root, limit=1000)
    assert embedding_of(root, limit=1000, run_values=64) == expected
    (keys,) = expected.repeated
    assert (keys.extra_records, keys.values, keys.exact) == (300, 300, True)
    assert keys.first[5] == RepeatedKey("k5", 2, (6, 706))


def test_more_repeated_keys_than_are_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(surveying, "_MAX_REPEATED", 10)
    records = [(f"k{n % 50}", SQL_ID, "", "", "") for n in range(150)]
    root = write_set(tmp_path, embedding=embedding_bytes(records=records))
    file = embedding_of(root)
    (keys,) = file.repeated
    assert (keys.extra_records, keys.values, keys.exact) == (100, 50, False)
    assert len(keys.first) == 10
    assert all(key.count == 3 for key in keys.first)
    assert 'about 100 records repeat a value of "id"' in str(inspect(root))


def test_malformed_records_do_not_hide_repeated_keys(tmp_path: Path) -> None:
    records = [EMBEDDING_CELLS[0], ("few",), EMBEDDING_CELLS[1], EMBEDDING_CELLS[0]]
    file = embedding_of(write_set(tmp_path, embedding=embedding_bytes(records=records)))
    assert (file.records, file.bad_records) == (4, 1)
    assert file.repeated[0].first == (RepeatedKey("a-ddl", 2, (1, 4)),)


def test_a_file_replaced_meanwhile_is_told(tmp_path: Path) -> None:
    store = open_store(write_set(tmp_path))
    backup = store.catalog().latest()
    write_set(tmp_path, embedding=embedding_bytes() + b"e,,,,\r\n")
    file = inspect_set(store, backup).file(EMBEDDING)
    assert file.error is not None
    assert file.error["type"] == "StoreChangedError"


def test_notes(tmp_path: Path) -> None:
    root = write_set(
        tmp_path, collection=collection_bytes(records=[]), embedding=b",".join(
            name.encode() for name in EMBEDDING_HEADER
        )
    )  # fmt: skip
    log = tmp_path / "vector_bak" / "vector_backup_log.txt"
    log.write_text(f"✗ {EMBEDDING}: FAILED - no room\n", "utf-8")
    collection, embedding = inspect(root).files
    assert collection.notes == (
        "there are no records: a restore in mode replace empties the table",
    )
    assert embedding.notes == (
        "the file does not end with a row end: its last record may be cut short",
        "there are no records: a restore in mode replace empties the table",
        "the backup log says that the newest backup of the table failed: no room",
    )


def test_wrong_calls(tmp_path: Path) -> None:
    root = write_set(tmp_path)
    with pytest.raises(OptionError, match="limit must not be negative"):
        inspect(root, limit=-1)
    with pytest.raises(BackupNotFoundError, match='no backup set "vector_bak/20260102_000000"'):
        inspect(root, backup="vector_bak/20260102_000000")
    with pytest.raises(StoreError, match="keys cannot be kept in a temporary file") as caught:
        inspect(root, run_values=1, temp_dir=str(tmp_path / "nowhere"))
    assert "temp_dir" in (caught.value.hint or "")
    with pytest.raises(KeyError, match="nothing"):
        inspect(root).file("nothing")


def test_collections_are_looked_at_as_well(tmp_path: Path) -> None:
    collection = with_cell(2, "name", "sql", COLLECTION)
    report = inspect(write_set(tmp_path, collection=collection))
    assert report.file(COLLECTION).repeated[0].column == "name"
    assert report.file(EMBEDDING).ok


_MEASURE = """
import sys
from pgvector_restore import inspect_set, open_store

def peak():
    # Not getrusage: its peak is inherited from the process that started this one.
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))

small, large = map(open_store, sys.argv[1:])
assert inspect_set(small, run_values=100_000).ok
before = peak()
keys, = inspect_set(large, run_values=100_000).files[1].repeated
print(peak() - before, keys.extra_records, keys.first[0].records)
"""


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="the peak of a process is read from /proc"
)
def test_memory_does_not_grow_with_the_ids(tmp_path: Path) -> None:
    roots = []
    for rows in (100_000, 2_000_000):
        lines = "".join(f"id-{n}\r\n" for n in range(rows))
        embedding = b"id\r\n" + lines.encode()
        if rows > 100_000:
            embedding += b"id-7\r\n"
        roots.append(write_set(tmp_path / str(rows), embedding=embedding))
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, *map(str, roots)],
        check=True,
        capture_output=True,
        text=True,
    )
    kib, extra, *records = done.stdout.split()
    assert (extra, records) == ("1", ["(8,", "2000001)"])
    # The hashes alone are 16 MB, the ids as Python objects 130 MB.
    assert int(kib) < 4 * 1024, done.stdout
