"""Compressed sets restore like plain ones, over every road; what changes meanwhile is noticed."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pgvector_restore import (
    BackupSet,
    BadCellError,
    BadCompressionError,
    MissingExtraError,
    ProgressEvent,
    Restorer,
    RowCountError,
    RowRejectedError,
    StoreChangedError,
    open_store,
    pieces,
)
from pgvector_restore.cli.counts import Counts
from pgvector_restore.cli.documents import catalog_document
from pgvector_restore.storage import compression, unpack
from tests.faults.packs import ALL, COMPRESSED, GZIP, PLAIN, ZSTD, Pack
from tests.faults.stores import held
from tests.restore.content import snapshot
from tests.restore.test_hostile import ROADS
from tests.sets import (
    EMBEDDING_FILE,
    SQL_ID,
    collection_bytes,
    embedding_bytes,
    restore,
    with_cell,
)

every_pack = pytest.mark.parametrize("pack", ALL, ids=str)
every_codec = pytest.mark.parametrize("pack", COMPRESSED, ids=str)
every_road = pytest.mark.parametrize("road", list(ROADS))


def _many(count: int = 400) -> bytes:
    rows = [(f"row-{n}", SQL_ID, '"[1,2,3]"', f"text {n * n}", "") for n in range(count)]
    return embedding_bytes(records=rows)


def _rows(dsn: str) -> Any:
    return snapshot(dsn)["rows"]


@pytest.mark.sampled("pack", "road")
@every_codec
@every_road
def test_restores_like_a_plain_set(
    g2_dsn: str, tmp_path: Path, pack: Pack, road: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "PART_BYTES", 64)
    restore(PLAIN.write(tmp_path / "plain", embedding=_many()), g2_dsn, mode="replace")
    content = _rows(g2_dsn)
    root = pack.write(tmp_path / "packed", embedding=_many())
    with ThreadPoolExecutor(2) as executor:
        report = restore(root, g2_dsn, executor=executor, mode="replace", **ROADS[road])
    assert [t.rows_loaded for t in report.tables] == [2, 400]
    assert report.table("langchain_pg_embedding").source_file == pack.embedding_file
    assert _rows(g2_dsn) == content


def test_plan_says_what_a_compressed_file_means(g2_dsn: str, tmp_path: Path) -> None:
    PLAIN.write(tmp_path)
    folder = tmp_path / "vector_bak"
    (folder / EMBEDDING_FILE).rename(folder / f"{EMBEDDING_FILE}.old")
    (folder / f"{EMBEDDING_FILE}.gz").write_bytes(GZIP.pack(embedding_bytes()))
    with Restorer(open_store(tmp_path), g2_dsn) as restorer:
        plan = restorer.plan(mode="replace", strategy="swap", jobs=3)
        assert plan.jobs == 3  # the collections could use them
        over_one = "loaded over one connection, as compressed files cannot be read in parts: "
        assert plan.warnings == (f"{over_one}{EMBEDDING_FILE}.gz",)
        assert [t["codec"] for t in plan.to_dict()["tables"]] == [None, "gzip"]
        assert json.dumps(plan.to_dict())
        assert restorer.run(plan).warnings == plan.warnings
        assert restorer.plan(mode="replace", strategy="in_place", jobs=3).warnings == ()
        ZSTD.write(tmp_path)
        assert restorer.plan(mode="replace", strategy="swap", jobs=3).jobs == 1
        assert restorer.plan(mode="replace", strategy="swap", jobs=1).warnings == ()


def test_cut_leaves_a_compressed_file_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PART_BYTES", 64)
    for pack, parts in ((PLAIN, 20), (GZIP, 1)):
        store = held(pack, _many())
        file = store.catalog().latest().files[1]
        found = list(pieces.cut(store, file, 2))
        assert len(found) >= parts
        assert (len(found) == 1) == (pack is GZIP)


@every_pack
def test_progress_counts_stored_bytes(g2_dsn: str, tmp_path: Path, pack: Pack) -> None:
    events: list[ProgressEvent] = []
    store = open_store(pack.write(tmp_path, embedding=_many()))
    with Restorer(store, g2_dsn) as restorer:
        restorer.restore(progress=events.append)
    total = sum(p.stat().st_size for p in (tmp_path / "vector_bak").iterdir())
    done = [event.bytes_done for event in events]
    assert done == sorted(done)
    assert (done[-1], events[-1].bytes_total) == (total, total)


@every_codec
def test_log_speaks_of_the_file_before_it_was_compressed(
    g2_dsn: str, tmp_path: Path, pack: Pack
) -> None:
    pack.write(tmp_path)
    log = tmp_path / "vector_bak" / "vector_backup_log.txt"
    for rows in (4, 5):
        line = f"✓ langchain_pg_embedding: {rows} rows -> {EMBEDDING_FILE} (1.0 KB)\n"
        log.write_text(line, encoding="utf-8")
        store = open_store(tmp_path)
        with Restorer(store, g2_dsn) as restorer:
            plan = restorer.plan(mode="replace")
            assert [t.logged_rows for t in plan.tables] == [None, rows]
            if rows == 4:
                restorer.run(plan)
            else:
                with pytest.raises(RowCountError) as caught:
                    restorer.run(plan)
                assert caught.value.file == pack.embedding_file


@every_codec
def test_second_reading_finds_the_offender(g2_dsn: str, tmp_path: Path, pack: Pack) -> None:
    root = pack.write(tmp_path, embedding=with_cell(3, "id", "a-ddl"))
    with pytest.raises(RowRejectedError) as caught:
        restore(root, g2_dsn, mode="replace", strategy="swap", jobs=1)
    assert (caught.value.file, caught.value.record) == (pack.embedding_file, 3)


def test_package_that_is_missing_is_named_by_the_plan(
    g2_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = compression.codec_named("zstd")
    gone = compression.Codec(row.name, row.suffixes, row.magic, ("pgvr_no",), row.make, "zstd")
    monkeypatch.setitem(compression._BY_NAME, "zstd", gone)
    store = open_store(ZSTD.write(tmp_path))
    with Restorer(store, g2_dsn) as restorer, pytest.raises(MissingExtraError) as caught:
        restorer.plan()
    assert caught.value.hint == 'pip install "pgvector_restore[zstd]"'


@pytest.mark.sampled("pack", "road")
@pytest.mark.parametrize("pack", [GZIP, ZSTD], ids=str)
@every_road
def test_bomb_of_good_rows(
    g2_dsn: str, tmp_path: Path, pack: Pack, road: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpack, "FREE_BYTES", 1 << 20)
    monkeypatch.setattr(pieces, "PART_BYTES", 64)
    restore(pack.write(tmp_path), g2_dsn, mode="replace")
    content = snapshot(g2_dsn)
    rows = [(f"{n}", "", "", "z" * 40_000, "") for n in range(200)]
    pack.write(tmp_path, embedding=embedding_bytes(records=rows))
    with ThreadPoolExecutor(2) as executor, pytest.raises(BadCompressionError) as caught:
        restore(tmp_path, g2_dsn, executor=executor, mode="replace", **ROADS[road])
    assert "unpack to more than " in caught.value.message
    assert caught.value.file == pack.embedding_file
    assert snapshot(g2_dsn) == content
    options = {"max_unpack_ratio": 100_000, **ROADS[road]}
    with ThreadPoolExecutor(2) as executor:
        report = restore(tmp_path, g2_dsn, executor=executor, mode="replace", **options)
    assert report.table("langchain_pg_embedding").rows_after == 200


# --- files that change -------------------------------------------------------------------------


@pytest.mark.sampled("pack", "read_bytes")
@every_pack
@pytest.mark.parametrize("read_bytes", [1, 13])
def test_short_reads_are_no_end(g2_dsn: str, pack: Pack, read_bytes: int) -> None:
    with Restorer(held(pack, read_bytes=read_bytes), g2_dsn) as restorer:
        assert restorer.restore().rows_loaded == 6


@pytest.mark.sampled("pack", "when")
@every_pack
@pytest.mark.parametrize("when", ["planned", "read", "checked"])
def test_file_replaced_by_another_good_one(g2_dsn: str, pack: Pack, when: str) -> None:
    """Of the same length where the codec allows, after the plan or in the middle of reading."""
    store = held(pack, read_bytes=50)
    with Restorer(store, g2_dsn) as restorer:
        restorer.restore(mode="replace")
        content = snapshot(g2_dsn)
        plan = restorer.plan(mode="replace")
        key = plan.tables[1].source.key
        other = pack.pack(embedding_bytes().replace(b"second row", b"SECOND ROW"))

        def replace(read: str, done: int) -> None:
            if read == key and done >= 50 and store.objects[key][0] != other:
                store.put(key, other)

        def at_the_end(event: ProgressEvent) -> None:
            if when == "checked" and event.phase == "verify":
                store.put(key, other)

        if when == "planned":
            store.put(key, other)
        elif when == "read":
            store.before_read = replace
        with pytest.raises(StoreChangedError) as caught:
            restorer.run(plan, progress=at_the_end)
    assert pack.embedding_file in caught.value.message
    assert snapshot(g2_dsn) == content


@every_codec
def test_file_that_is_cut_while_it_is_read(g2_dsn: str, pack: Pack) -> None:
    store = held(pack, read_bytes=50)
    with Restorer(store, g2_dsn) as restorer:
        restorer.restore(mode="replace")
        content = snapshot(g2_dsn)
        plan = restorer.plan(mode="replace")
        key = plan.tables[1].source.key

        def cut(read: str, done: int) -> None:
            if read == key and done == 100:
                store.put(key, store.objects[key][0][:120])

        store.before_read = cut
        with pytest.raises(StoreChangedError, match="was listed with"):
            restorer.run(plan)
    assert snapshot(g2_dsn) == content


# --- what is legal -----------------------------------------------------------------------------


@pytest.mark.sampled("pack", "text")
@every_pack
@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"\xef\xbb\xbf" + embedding_bytes(), id="bom"),
        pytest.param(embedding_bytes(end="\n"), id="lf"),
        pytest.param(embedding_bytes()[:-2], id="no-row-end"),
    ],
)
def test_accepted_texts(g2_dsn: str, tmp_path: Path, pack: Pack, text: bytes) -> None:
    report = restore(pack.write(tmp_path, embedding=text), g2_dsn)
    assert report.table("langchain_pg_embedding").rows_loaded == 4
    warned = any("does not end with a row end" in warning for warning in report.warnings)
    assert warned == (not text.endswith(b"\n"))


@every_pack
def test_set_without_rows(g2_dsn: str, tmp_path: Path, pack: Pack) -> None:
    empty = embedding_bytes(records=[])
    report = restore(pack.write(tmp_path, embedding=empty), g2_dsn, mode="replace")
    assert report.table("langchain_pg_embedding").rows_after == 0


def test_documents_name_the_codec(tmp_path: Path) -> None:
    GZIP.write(tmp_path)
    store = open_store(tmp_path)
    catalog = store.catalog()
    found: BackupSet = catalog.latest()
    assert [file.codec for file in found.files] == ["gzip", "gzip"]
    document: Any = catalog_document(store.url, catalog, Counts())
    assert [f["codec"] for f in document["locations"][0]["sets"][0]["files"]] == ["gzip", "gzip"]
    (tmp_path / "vector_bak" / GZIP.collection_file).unlink()
    PLAIN.write(tmp_path, collection=collection_bytes())
    assert [file.codec for file in store.catalog().latest().files] == [None, None]


@every_codec
def test_bad_cell_is_named_with_its_record(g2_dsn: str, tmp_path: Path, pack: Pack) -> None:
    root = pack.write(tmp_path, embedding=with_cell(2, "embedding", '"[1,nan,3]"'))
    with pytest.raises(BadCellError) as caught:
        restore(root, g2_dsn)
    error = caught.value
    assert (error.file, error.record, error.column) == (pack.embedding_file, 2, "embedding")
