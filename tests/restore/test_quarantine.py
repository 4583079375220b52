"""Bad records set aside: exactly those, as they stand in the file, and the others restored."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pgvector_restore import (
    BadDataError,
    BadRecordError,
    ContentMismatchError,
    OptionError,
    OutcomeUnknownError,
    RestoreReport,
    RowCountError,
    RowRejectedError,
    StoreError,
    TargetBusyError,
    TooManyBadRowsError,
    pieces,
)
from pgvector_restore.db import in_place
from pgvector_restore.schema import COLLECTION, EMBEDDING
from tests.restore.content import count, execute, query, snapshot
from tests.restore.hostile import Hostile
from tests.restore.hostile_cells import ALL
from tests.sets import (
    COLLECTION_FILE,
    DOC_ID,
    EMBEDDING_CELLS,
    EMBEDDING_FILE,
    SQL_ID,
    STRANGER_ID,
    collection_bytes,
    embedding_bytes,
    quote,
    restore,
    with_cell,
    write_set,
)

ROADS: dict[str, dict[str, Any]] = {
    "binary": {"strategy": "in_place"},
    "text": {"wire": "text", "strategy": "in_place"},
    "parallel": {"strategy": "swap", "jobs": 2},
}

#: Malformed records whose end is beyond doubt.
_MALFORMED = (
    "nul-unquoted", "nul-quoted", "latin-1", "cut-character", "surrogate-bytes", "too-few",
    "too-many", "empty-line", "empty-line-at-end", "backslash-dot",
)  # fmt: skip
#: Cells that a rule or an encoder refuses, on every road.
_CELLS = (
    "dimension-of-type", "dimension-of-index", "nan", "nan-small", "inf", "numpy-inf", "elided",
    "no-numbers", "only-spaces", "no-brackets", "list-of-strings", "cut-vector",
    "empty-vector-cell", "repr-nan", "repr-inf", "repr-decimal", "repr-datetime", "repr-cut",
    "repr-tuple", "repr-tuple-inside", "repr-set", "repr-number-key", "repr-none-key",
    "repr-bytes", "repr-call", "repr-joined-strings", "repr-other-escape", "repr-no-character",
    "repr-no-number-of-a-character", "repr-lone-surrogate", "repr-trailing-comma", "bare-word",
    "json-nan", "json-cut", "json-two-values", "json-nul", "repr-nul", "empty-cmetadata",
    "bytea-address", "orphan", "bad-uuid", "null-vector",
)  # fmt: skip
#: Cells that only an encoder refuses: as text they go to the server, which does.
_ENCODED = (
    "missing-number", "mixed-separators", "huge-number", "too-large-for-float4", "two-vectors",
    "too-many-dimensions",
)  # fmt: skip
#: More than one record, in one file or in both.
_SEVERAL: dict[str, dict[str, list[int]]] = {
    "orphan-of-cut-collections": {EMBEDDING_FILE: [1, 2, 3, 4]},
    "collection-repr": {COLLECTION_FILE: [2], EMBEDDING_FILE: [3, 4]},
    "null-uuid": {COLLECTION_FILE: [2], EMBEDDING_FILE: [3, 4]},
    "bad-collection-uuid": {COLLECTION_FILE: [1], EMBEDDING_FILE: [1, 2]},
}


def expected(name: str, road: str) -> dict[str, list[int]]:
    """Records that are set aside, by file; none where the input stays an error."""
    if name in _SEVERAL and not (road == "text" and name == "bad-collection-uuid"):
        return _SEVERAL[name]
    case = ALL[name]
    if name in (*_MALFORMED, *_CELLS) or (name in _ENCODED and road != "text"):
        assert case.record
        return {case.file: [case.record]}
    return {}


def raw_records(data: bytes) -> list[bytes]:
    """The records of a file, the header first, by counting quotes byte by byte."""
    records, start, inside = [], 0, False
    for at, byte in enumerate(data):
        inside ^= byte == ord('"')
        if byte == ord("\n") and not inside:
            records.append(data[start : at + 1])
            start = at + 1
    return [*records, data[start:]] if data[start:] else records


def files_in(folder: Path) -> Iterator[str]:
    return (str(p.relative_to(folder)) for p in sorted(folder.rglob("*")))


def reasons(report: RestoreReport, table: str = EMBEDDING) -> list[dict[str, Any]]:
    found = report.table(table).reject_file
    assert found
    lines = Path(found).with_suffix(".reasons.jsonl").read_text("ascii").splitlines()
    return [json.loads(line) for line in lines]


def ways() -> Iterator[tuple[str, str]]:
    """Inputs and roads: as text only where that makes a difference."""
    for name in ALL:
        yield name, "binary"
        if expected(name, "parallel"):
            yield name, "parallel"
        if name in (*_ENCODED, *_SEVERAL):
            yield name, "text"


@pytest.mark.sampled("name", "road")
@pytest.mark.parametrize(("name", "road"), list(ways()))
def test_every_hostile_input_is_set_aside_or_an_error(
    g2_dsn: str, tmp_path: Path, name: str, road: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    case: Hostile = ALL[name]
    monkeypatch.setattr(pieces, "PART_BYTES", 64)  # a few records
    store, rejects = tmp_path / "store", tmp_path / "rejects"
    restore(write_set(store), g2_dsn, mode="replace")
    if case.ddl:
        execute(g2_dsn, case.ddl)
    content = snapshot(g2_dsn)
    write_set(store, collection=case.collection, embedding=case.embedding, log=case.log)
    options = {"mode": "replace", "on_bad_row": "quarantine", "reject_dir": rejects, **ROADS[road]}
    aside = expected(name, road)
    with ThreadPoolExecutor(2) as executor:
        if not aside:
            with pytest.raises(BadDataError) as caught:
                restore(store, g2_dsn, executor=executor, **options | case.options)
            assert (caught.value.file, caught.value.record) == (case.file, case.record)
            assert snapshot(g2_dsn) == content
            assert not rejects.exists() or list(files_in(rejects)) == []
            return
        report = restore(store, g2_dsn, executor=executor, **options | case.options)
    for table in report.tables:
        records = aside.get(table.source_file, [])
        assert table.rows_rejected == len(records)
        assert table.rows_read == table.rows_loaded + table.rows_rejected
        assert count(g2_dsn, table.table) == table.rows_loaded
        stored = (store / "vector_bak" / table.source_file).read_bytes()
        all_raw = raw_records(stored)
        assert table.rows_read == len(all_raw) - 1
        written = (rejects / "rejected_20260102_030405" / table.source_file).read_bytes()
        assert written == b"".join(all_raw[n] for n in (0, *records))
        if records:
            told = reasons(report, table.table)
            assert sorted({line["record"] for line in told}) == records
            for line in told:
                start, size = line["offset"], line["bytes"]
                assert stored[start : start + size] == all_raw[line["record"]]
    if name not in _ENCODED and name not in _SEVERAL:
        (first, *_) = reasons(report, case.file[:-20])
        assert case.says in first["reason"]
        assert case.hint in (first["hint"] or "")


def test_the_mended_folder_can_be_restored(g2_dsn: str, tmp_path: Path) -> None:
    store = write_set(tmp_path / "store", embedding=with_cell(2, "embedding", quote("[0.5,nan]")))
    report = restore(store, g2_dsn, on_bad_row="quarantine", reject_dir=tmp_path)
    assert report.rows_rejected == 1
    assert report.reject_folder == str(tmp_path / "rejected_20260102_030405")
    assert "NOT RESTORED" in str(report)
    assert f"1 bad record of {EMBEDDING} not restored" in report.warnings[0]
    document = report.to_dict()
    assert (document["rows_rejected"], document["reject_folder"]) == (1, report.reject_folder)
    file = Path(report.reject_folder) / EMBEDDING_FILE
    file.write_bytes(file.read_bytes().replace(b"[0.5,nan]", b"[0.5,-2,3e-05]"))
    again = restore(Path(report.reject_folder), g2_dsn, mode="append")
    assert [t.rows_loaded for t in again.tables] == [0, 1]
    mended = snapshot(g2_dsn)
    restore(write_set(tmp_path / "store"), g2_dsn, mode="replace")
    assert snapshot(g2_dsn) == mended


@pytest.mark.parametrize("road", list(ROADS))
def test_more_bad_records_than_allowed_change_nothing(
    g2_dsn: str, tmp_path: Path, road: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "PART_BYTES", 64)
    store, rejects = write_set(tmp_path / "store"), tmp_path / "rejects"
    restore(store, g2_dsn)
    content = snapshot(g2_dsn)
    records = [(f"k{n}", SQL_ID, '"[1,2"' if n % 3 else '"[1,2]"', "", "") for n in range(60)]
    write_set(
        store,
        collection=with_cell(2, "cmetadata", quote("{'a': nan}"), COLLECTION),
        embedding=embedding_bytes(records=records),
    )
    options = {"mode": "replace", "on_bad_row": "quarantine", "reject_dir": rejects, **ROADS[road]}
    with ThreadPoolExecutor(2) as executor:
        with pytest.raises(TooManyBadRowsError) as caught:
            restore(store, g2_dsn, max_bad_rows=40, executor=executor, **options)
        error = caught.value
        # One collection, then records 2, 3, 5, 6 …: the 41st is the 40th of them.
        assert (error.file, error.record, error.column) == (EMBEDDING_FILE, 60, "embedding")
        assert error.message.startswith("more than 40 records cannot be restored, the last one")
        assert "look at the whole set with inspect" in (error.hint or "")
        assert error.exit_code == 4
        assert snapshot(g2_dsn) == content
        assert list(files_in(rejects)) == []
        report = restore(store, g2_dsn, max_bad_rows=41, executor=executor, **options)
    assert [t.rows_rejected for t in report.tables] == [1, 40]
    assert [line["record"] for line in reasons(report)] == [n for n in range(1, 61) if n % 3 != 1]
    assert not query(g2_dsn, "SELECT FROM pg_namespace WHERE nspname LIKE 'pgvr%'")


def test_none_allowed_is_an_error_at_the_first(g2_dsn: str, tmp_path: Path) -> None:
    store = write_set(tmp_path / "store", embedding=with_cell(2, "embedding", quote("[1")))
    with pytest.raises(TooManyBadRowsError, match="more than 0 records") as caught:
        restore(store, g2_dsn, max_bad_rows=0, on_bad_row="quarantine", reject_dir=tmp_path)
    assert caught.value.record == 2


def test_every_reason_of_a_record_is_told(g2_dsn: str, tmp_path: Path) -> None:
    bad = ("b-sql", STRANGER_ID, quote("[1,inf]"), "", quote("{'a': nan}"))
    records = [EMBEDDING_CELLS[0], bad, *EMBEDDING_CELLS[2:]]
    embedding = b"\xef\xbb\xbf" + embedding_bytes(records=records)
    store = write_set(tmp_path / "store", embedding=embedding)
    report = restore(store, g2_dsn, on_bad_row="quarantine", reject_dir=tmp_path)
    assert report.rows_rejected == 1
    assert [line["column"] for line in reasons(report)] == [
        "collection_id",
        "embedding",
        "cmetadata",
    ]
    stored = (store / "vector_bak" / EMBEDDING_FILE).read_bytes()
    (offset,) = {line["offset"] for line in reasons(report)}
    assert stored[offset:].startswith(b"b-sql,")


@pytest.mark.parametrize("road", list(ROADS))
def test_repairs_and_the_servers_records_are_counted_from_the_file(
    g2_dsn: str, tmp_path: Path, road: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "PART_BYTES", 64)
    bad = ("x", SQL_ID, '"[1,2"', "", "\"{'a': None}\"")
    records = [bad, bad, EMBEDDING_CELLS[1], bad, EMBEDDING_CELLS[0], EMBEDDING_CELLS[1]]
    store = write_set(tmp_path / "store", embedding=embedding_bytes(records=records))
    options = {"mode": "replace", "on_bad_row": "quarantine", "reject_dir": tmp_path, **ROADS[road]}
    with ThreadPoolExecutor(2) as executor:
        with pytest.raises(RowRejectedError, match=r"duplicate key|unique index") as caught:
            restore(store, g2_dsn, executor=executor, **options)
        assert caught.value.record == 6
        write_set(store, embedding=embedding_bytes(records=records[:5]))
        report = restore(store, g2_dsn, executor=executor, **options)
    (repair,) = report.table(EMBEDDING).repairs
    assert (repair.cells, repair.record) == (1, 5)


def test_the_log_counts_records_that_were_set_aside(g2_dsn: str, tmp_path: Path) -> None:
    embedding = with_cell(2, "embedding", quote("[1"))
    store = write_set(tmp_path / "store", embedding=embedding, log={EMBEDDING_FILE: 4})
    options: dict[str, Any] = {"on_bad_row": "quarantine", "reject_dir": tmp_path / "rejects"}
    assert restore(store, g2_dsn, **options).rows_rejected == 1
    write_set(store, embedding=embedding, log={EMBEDDING_FILE: 3})
    with pytest.raises(RowCountError, match="has 4 records, the backup log counts 3"):
        restore(store, g2_dsn, mode="replace", **options)
    assert next(files_in(tmp_path / "rejects")) == "rejected_20260102_030405"


@pytest.mark.parametrize("road", list(ROADS))
def test_content_is_verified_without_what_was_set_aside(
    g2_dsn: str, tmp_path: Path, road: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "PART_BYTES", 64)
    bad = ("x", SQL_ID, '"[1,2"', "", "")
    records = [bad, EMBEDDING_CELLS[1], ("few",), EMBEDDING_CELLS[0], bad, EMBEDDING_CELLS[2]]
    store = write_set(tmp_path / "store", embedding=embedding_bytes(records=records))
    options = {"mode": "replace", "on_bad_row": "quarantine", "reject_dir": tmp_path, **ROADS[road]}
    with ThreadPoolExecutor(2) as executor:
        report = restore(store, g2_dsn, executor=executor, verify="content", **options)
        assert (report.rows_rejected, report.rows_loaded) == (3, 5)
        execute(
            g2_dsn,
            "CREATE FUNCTION change() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN NEW.document = 'changed'; RETURN NEW; END $$; "
            "CREATE TRIGGER t BEFORE INSERT ON langchain_pg_embedding "
            "FOR EACH ROW WHEN (NEW.id = 'c-doc') EXECUTE FUNCTION change()",
        )
        if road != "parallel":  # there no trigger fires
            with pytest.raises(ContentMismatchError, match="record 6") as caught:
                restore(store, g2_dsn, verify="content", **options)
            assert [one["record"] for one in caught.value.differences] == [6]


def test_one_table_of_a_set_has_its_rejects_in_a_whole_set(g2_dsn: str, tmp_path: Path) -> None:
    store = write_set(tmp_path / "store", embedding=with_cell(2, "embedding", quote("[1")))
    restore(store, g2_dsn, tables=COLLECTION)
    report = restore(store, g2_dsn, tables=EMBEDDING, on_bad_row="quarantine", reject_dir=tmp_path)
    folder = Path(report.reject_folder or "")
    assert list(files_in(folder)) == [
        COLLECTION_FILE,
        EMBEDDING_FILE,
        EMBEDDING_FILE.replace(".csv", ".reasons.jsonl"),
    ]
    assert (folder / COLLECTION_FILE).read_bytes() == b"uuid,name,cmetadata\r\n"


def test_a_second_folder_gets_a_number(g2_dsn: str, tmp_path: Path) -> None:
    store = write_set(tmp_path / "store", embedding=with_cell(2, "embedding", quote("[1")))
    folders = [
        restore(
            store, g2_dsn, mode="replace", on_bad_row="quarantine", reject_dir=tmp_path
        ).reject_folder
        for _ in range(3)
    ]
    assert [Path(folder or "").name for folder in folders] == [
        "rejected_20260102_030405",
        "rejected_20260102_030405_2",
        "rejected_20260102_030405_3",
    ]


def test_nothing_set_aside_leaves_no_folder(g2_dsn: str, tmp_path: Path) -> None:
    store = write_set(tmp_path / "store")
    report = restore(store, g2_dsn, on_bad_row="quarantine", reject_dir=tmp_path / "rejects")
    assert (report.rows_rejected, report.reject_folder, report.warnings) == (0, None, ())
    assert list(files_in(tmp_path / "rejects")) == []


def test_a_cut_file_stays_an_error(g2_dsn: str, tmp_path: Path) -> None:
    cut = embedding_bytes()[: embedding_bytes().rindex(DOC_ID.encode()) + 9]
    store = write_set(tmp_path / "store", embedding=cut)
    with pytest.raises(BadRecordError, match="record has 2 fields") as caught:
        restore(store, g2_dsn, on_bad_row="quarantine", reject_dir=tmp_path)
    assert caught.value.record == 4


def test_a_lost_quote_stays_an_error_behind_bad_records(g2_dsn: str, tmp_path: Path) -> None:
    records = [("too", "few"), *EMBEDDING_CELLS[:2], ("e", SQL_ID, "", 'a "word" x', "", "")]
    store = write_set(tmp_path / "store", embedding=embedding_bytes(records=records))
    with pytest.raises(BadRecordError, match="quote inside of an unquoted field") as caught:
        restore(store, g2_dsn, on_bad_row="quarantine", reject_dir=tmp_path)
    assert (caught.value.record, caught.value.column) == (4, "document")
    quoting = [*EMBEDDING_CELLS[:3], ("e", SQL_ID, "", "", "", 'a "word" x')]
    write_set(store, embedding=embedding_bytes(records=quoting))
    with pytest.raises(BadRecordError, match="quote inside of an unquoted field") as caught:
        restore(store, g2_dsn, on_bad_row="quarantine", reject_dir=tmp_path)
    assert (caught.value.record, caught.value.column) == (4, None)


def test_unknown_outcome_keeps_the_records(
    g2_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = write_set(tmp_path / "store", embedding=with_cell(2, "embedding", quote("[1")))
    made = tmp_path / "rejects"

    def lost(*_: Any) -> None:
        raise OutcomeUnknownError("connection was lost during COMMIT", hint="look")

    monkeypatch.setattr(in_place, "analyze", lost)
    with pytest.raises(OutcomeUnknownError) as caught:
        restore(store, g2_dsn, on_bad_row="quarantine", reject_dir=made)
    (folder,) = made.iterdir()
    assert caught.value.hint == f"look; records that were set aside are in {folder}"
    assert raw_records((folder / EMBEDDING_FILE).read_bytes())[1].startswith(b"b-sql")
    monkeypatch.setattr(in_place, "analyze", busy)
    with pytest.raises(TargetBusyError):
        restore(store, g2_dsn, on_bad_row="quarantine", reject_dir=made)
    assert list(made.iterdir()) == [folder]


def busy(*_: Any) -> None:
    raise TargetBusyError("somebody else holds a lock on the target")


def test_a_folder_that_cannot_be_made_is_told_before_anything(g2_dsn: str, tmp_path: Path) -> None:
    store = write_set(tmp_path / "store")
    (tmp_path / "file").write_bytes(b"")
    content = snapshot(g2_dsn)
    with pytest.raises(StoreError, match="records cannot be set aside in") as caught:
        restore(store, g2_dsn, on_bad_row="quarantine", reject_dir=tmp_path / "file" / "x")
    assert "reject_dir" in (caught.value.hint or "")
    assert snapshot(g2_dsn) == content


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes of folders")
def test_the_folder_is_nobody_elses_business(g2_dsn: str, tmp_path: Path) -> None:
    store = write_set(tmp_path / "store", collection=collection_bytes(records=[]))
    report = restore(store, g2_dsn, on_bad_row="quarantine", reject_dir=tmp_path)
    assert report.rows_rejected == 4
    assert Path(report.reject_folder or "").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"on_bad_row": "quarantine"}, "needs a folder"),
        ({"on_bad_row": "skip"}, 'on_bad_row "skip" is not known'),
        ({"max_bad_rows": -1}, "max_bad_rows must be a whole number"),
        ({"reject_dir": 7}, "reject_dir must be the path of a folder"),
        ({"reject_dir": "a\0b"}, "reject_dir must be the path of a folder"),
    ],
    ids=["no-folder", "unknown", "negative", "number", "nul"],
)
def test_wrong_options(tmp_path: Path, options: dict[str, Any], says: str) -> None:
    with pytest.raises(OptionError, match=says):
        restore(write_set(tmp_path), "postgresql://nowhere", **options)
