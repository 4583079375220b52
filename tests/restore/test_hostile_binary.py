"""Sets in binary that are damaged, or whose manifest lies: a typed error, and nothing changed."""

from __future__ import annotations

import gzip
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

from pgvector_restore import (
    BadCellError,
    BadCompressionError,
    BadDataError,
    BadHeaderError,
    BadManifestError,
    BadRecordError,
    IncompleteBackupError,
    OptionError,
    PgvectorRestoreError,
    Restorer,
    RowCountError,
    RowRejectedError,
    StoreError,
    TargetMismatchError,
    open_store,
)
from pgvector_restore.rows.pgcopy import BINARY_HEADER, BINARY_TRAILER
from pgvector_restore.schema import COLLECTION, EMBEDDING
from tests.described import STAMP, change_file, change_manifest, folder_of, write_described
from tests.restore.content import execute, snapshot
from tests.sets import restore

_FILL = """
INSERT INTO langchain_pg_collection VALUES
    ('11111111-1111-4111-8111-111111111111', 'sql', NULL),
    ('22222222-2222-4222-8222-222222222222', 'documentation', '{"owner":  "data team"}');
INSERT INTO langchain_pg_embedding
SELECT 'row-' || n, '11111111-1111-4111-8111-111111111111'::uuid,
    format('[%s,1,-0.5]', n)::public.vector, 'text ' || n, jsonb_build_object('n', n)
FROM generate_series(1, 12) n;
"""

#: Columns of the embeddings in the order of the file: ``cmetadata`` has a form of its own.
_ORDER = ("cmetadata", "collection_id", "document", "embedding", "id")


def name(table: str = EMBEDDING, part: int | None = None, end: str = "") -> str:
    number = "" if part is None else f".part{part:05}"
    return f"{table}_{STAMP}{number}.pgcopy{end}"


@pytest.fixture
def backed_up(g2_dsn: str, tmp_path: Path) -> str:
    """A database, backed up in parts of five rows; then its rows changed."""
    execute(g2_dsn, _FILL)
    write_described(tmp_path, g2_dsn, part_rows=5)
    execute(g2_dsn, "UPDATE langchain_pg_embedding SET document = 'kept'")
    return g2_dsn


@attrs.frozen
class Broken:
    """A change to the second part of the embeddings, and what comes of it."""

    what: str
    change: Callable[[bytes], bytes]
    error: type[BadDataError]
    message: str
    record: int | None = None
    column: str | None = None

    def __str__(self) -> str:
        return self.what


def _field(data: bytes, row: int, column: str, new: bytes | None) -> bytes:
    """The file with another field in a row, both counted from 1 and by name."""
    at = len(BINARY_HEADER)
    for number in range(1, row + 1):
        at += 2
        for known in _ORDER:
            size = int.from_bytes(data[at : at + 4], "big", signed=True)
            end = at + 4 + max(size, 0)
            if number == row and known == column:
                head = b"\xff\xff\xff\xff" if new is None else len(new).to_bytes(4, "big") + new
                return data[:at] + head + data[end:]
            at = end
    raise AssertionError(row)


def _row(number: int) -> bytes:
    return f"row-{number}".encode()


BROKEN = [
    Broken("empty", lambda _: b"", BadHeaderError, "does not begin as one of COPY", 0),
    Broken("half a header", lambda d: d[:13], BadHeaderError, "ends within its header", 0),
    Broken("signature", lambda d: b"X" + d[1:], BadHeaderError, "does not begin as one", 0),
    Broken(
        "flags",
        lambda d: d[:11] + b"\0\1\0\0" + d[15:],
        BadHeaderError,
        "header has flags 00010000, none are known",
        0,
    ),
    Broken("extension", lambda d: d[:18] + b"\4" + d[19:], BadHeaderError, "has an extension", 0),
    Broken("no trailer", lambda d: d[:-2], BadRecordError, "ends before its end mark", 6),
    Broken("half a trailer", lambda d: d[:-1], BadRecordError, "ends before its end mark", 6),
    Broken("header alone", lambda d: d[:19], BadRecordError, "ends before its end mark", 1),
    Broken("after the end", lambda d: d + b"\0", BadRecordError, "goes on after its end mark"),
    Broken("twice", lambda d: d + d, BadRecordError, "goes on after its end mark, behind 5"),
    Broken("early end", lambda d: d[:19] + b"\xff\xff", RowCountError, "file has 0 records"),
    Broken(
        "field count",
        lambda d: d[:19] + b"\0\4" + d[21:],
        BadRecordError,
        "record has 4 fields, there are 5 columns",
        1,
    ),
    Broken(
        "field length",
        lambda d: d[:21] + b"\xff\xff\xff\xfe" + d[25:],
        BadRecordError,
        "field has length -2",
        1,
    ),
    Broken(
        "huge field",
        lambda d: d[:21] + b"\x7f\xff\xff\xff" + d[25:],
        BadRecordError,
        "record is longer than 67108864 bytes",
        1,
    ),
    Broken(
        "uuid of 15 bytes",
        lambda d: _field(d, 3, "collection_id", bytes(15)),
        BadCellError,
        "refers to",
        3,
        "collection_id",
    ),
    Broken(
        "vector with too few numbers",
        lambda d: _field(d, 2, "embedding", b"\0\3\0\0" + bytes(8)),
        RowRejectedError,
        "server refused the row",
        2,
        "embedding",
    ),
    Broken(
        "vector with NaN",
        lambda d: _field(d, 2, "embedding", b"\0\1\0\0\x7f\xc0\0\0"),
        RowRejectedError,
        "NaN not allowed in vector",
        2,
        "embedding",
    ),
    Broken(
        "text that is no UTF-8",
        lambda d: _field(d, 4, "document", b"\xff"),
        RowRejectedError,
        "invalid byte sequence",
        4,
        "document",
    ),
    Broken(
        "jsonb of another version",
        lambda d: _field(d, 1, "cmetadata", b"\7{}"),
        RowRejectedError,
        "server refused the row",
        1,
        "cmetadata",
    ),
    Broken(
        "jsonb that is no JSON",
        lambda d: _field(d, 5, "cmetadata", b"\1{"),
        RowRejectedError,
        "invalid input syntax for type json",
        5,
        "cmetadata",
    ),
    Broken(
        "NULL in NOT NULL",
        lambda d: _field(d, 5, "id", None),
        RowRejectedError,
        "violates not-null constraint",
        5,
        "id",
    ),
    Broken(
        "orphan",
        lambda d: _field(d, 3, "collection_id", b"\x99" * 16),
        BadCellError,
        "row refers to '99999999-9999-9999-9999-999999999999'",
        3,
        "collection_id",
    ),
]


@pytest.mark.sampled("broken")
@pytest.mark.parametrize("strategy", ["in_place", "swap"])
@pytest.mark.parametrize("broken", BROKEN, ids=str)
def test_a_broken_part(backed_up: str, tmp_path: Path, broken: Broken, strategy: str) -> None:
    part = name(part=2)
    good = (folder_of(tmp_path) / part).read_bytes()
    change_file(tmp_path, part, broken.change(good), honest=True)
    before = snapshot(backed_up)
    with pytest.raises(broken.error) as caught:
        restore(tmp_path, backed_up, mode="replace", strategy=strategy, jobs=2)
    assert broken.message in str(caught.value)
    assert caught.value.file == part
    assert caught.value.record == broken.record
    assert caught.value.column == broken.column
    assert snapshot(backed_up) == before


@pytest.mark.parametrize("strategy", ["in_place", "swap"])
def test_an_id_that_is_there_twice(backed_up: str, tmp_path: Path, strategy: str) -> None:
    part = name(part=2)
    good = (folder_of(tmp_path) / part).read_bytes()
    change_file(tmp_path, part, _field(good, 4, "id", b"row-1"), honest=True)
    before = snapshot(backed_up)
    with pytest.raises(RowRejectedError) as caught:
        restore(tmp_path, backed_up, mode="replace", strategy=strategy, jobs=2)
    assert (caught.value.file, caught.value.record) == (part, 4)
    assert snapshot(backed_up) == before


@pytest.mark.sampled("seed")
@pytest.mark.parametrize("codec", [None, "gzip"])
@pytest.mark.parametrize("seed", range(40))
def test_flipped_bits(g2_dsn: str, tmp_path: Path, seed: int, codec: Any) -> None:
    execute(g2_dsn, _FILL)
    write_described(tmp_path, g2_dsn, part_rows=5, codec=codec)
    before = snapshot(g2_dsn)
    dice = random.Random(seed)  # noqa: S311 - reproducible
    part = name(part=dice.randint(1, 3), end=".gz" if codec else "")
    data = bytearray((folder_of(tmp_path) / part).read_bytes())
    data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    (folder_of(tmp_path) / part).write_bytes(data)
    with pytest.raises(BadDataError) as caught:
        restore(
            tmp_path, g2_dsn, mode="replace", jobs=2, strategy=dice.choice(["in_place", "swap"])
        )
    assert caught.value.file == part
    assert snapshot(g2_dsn) == before


@pytest.mark.parametrize("honest", [True, False])
def test_cut_anywhere(backed_up: str, tmp_path: Path, honest: bool) -> None:  # noqa: FBT001
    part = name(part=3)
    good = (folder_of(tmp_path) / part).read_bytes()
    before = snapshot(backed_up)
    with Restorer(open_store(tmp_path), backed_up) as restorer:
        for size in range(0, len(good), 7):
            change_file(tmp_path, part, good[:size], honest=honest)
            with pytest.raises(BadDataError) as caught:
                restorer.restore(mode="replace")
            assert caught.value.file == part
    assert snapshot(backed_up) == before


def test_a_part_that_is_missing(backed_up: str, tmp_path: Path) -> None:
    (folder_of(tmp_path) / name(part=2)).unlink()
    before = snapshot(backed_up)
    with (
        Restorer(open_store(tmp_path), backed_up) as restorer,
        pytest.raises(IncompleteBackupError, match=re.escape(f"{name(part=2)} missing")),
    ):
        restorer.restore(f"vector_bak/{STAMP}", mode="replace")
    assert snapshot(backed_up) == before


def test_parts_that_were_swapped(backed_up: str, tmp_path: Path) -> None:
    first, second = (folder_of(tmp_path) / name(part=part) for part in (1, 2))
    one, other = first.read_bytes(), second.read_bytes()
    change_file(tmp_path, first.name, other, honest=False)
    change_file(tmp_path, second.name, one, honest=False)
    before = snapshot(backed_up)
    with pytest.raises(BadManifestError, match="SHA-256 differs") as caught:
        restore(tmp_path, backed_up, mode="replace")
    assert caught.value.file == first.name
    assert snapshot(backed_up) == before


def _lie(change: Callable[[dict[str, Any], dict[str, Any]], None]) -> Callable[[Any], None]:
    """A change to the manifest's embeddings: the table, and its second file."""

    def apply(document: dict[str, Any]) -> None:
        table = document["tables"][1]
        change(table, table["files"][1])

    return apply


def _rows(table: dict[str, Any], file: dict[str, Any]) -> None:
    table["rows"] += 1
    file["rows"] += 1


def _shifted_rows(table: dict[str, Any], file: dict[str, Any]) -> None:
    file["rows"] += 1
    table["files"][2]["rows"] -= 1


LIES = [
    ("rows", _rows, RowCountError, "file has 5 records, the manifest counts 6"),
    ("rows of a part", _shifted_rows, RowCountError, "file has 5 records, the manifest counts 6"),
    ("size", lambda _, f: f.update(size_bytes=1), BadManifestError, "the manifest says 1"),
    ("sum", lambda _, f: f.update(sha256="0" * 64), BadManifestError, "its SHA-256 differs"),
    ("a column less", lambda t, _: t["columns"].pop(), BadRecordError, "there are 4 columns"),
    (
        "another column",
        lambda t, _: t["columns"][2].update(name="doc"),
        BadHeaderError,
        'has no column "doc"',
    ),
    (
        "another type",
        lambda t, _: t["columns"][2].update(type_name="integer"),
        TargetMismatchError,
        'column "document" of langchain_pg_embedding is of type character varying',
    ),
    (
        "columns exchanged",
        lambda t, _: t["columns"].insert(2, t["columns"].pop(3)),
        RowRejectedError,
        "server refused the row",
    ),
    ("file", lambda _, f: f.update(name="x"), BadManifestError, "names x, which is not there"),
]


@pytest.mark.sampled("change", "error", "message")
@pytest.mark.parametrize("strategy", ["in_place", "swap"])
@pytest.mark.parametrize(
    ("change", "error", "message"), [lie[1:] for lie in LIES], ids=[lie[0] for lie in LIES]
)
def test_a_manifest_that_lies(
    backed_up: str,
    tmp_path: Path,
    change: Callable[[dict[str, Any], dict[str, Any]], None],
    error: type[PgvectorRestoreError],
    message: str,
    strategy: str,
) -> None:
    change_manifest(tmp_path, _lie(change))
    before = snapshot(backed_up)
    with pytest.raises(error) as caught:
        restore(tmp_path, backed_up, mode="replace", strategy=strategy, jobs=2)
    assert message in str(caught.value)
    if not isinstance(caught.value, (StoreError, TargetMismatchError)):
        assert EMBEDDING in str(caught.value) or "manifest" in str(caught.value)
    assert snapshot(backed_up) == before


def test_columns_of_one_type_exchanged(backed_up: str, tmp_path: Path) -> None:
    """Only the content tells."""

    def exchange(document: dict[str, Any]) -> None:
        columns = document["tables"][1]["columns"]
        columns[2], columns[4] = columns[4], columns[2]

    change_manifest(tmp_path, exchange)
    before = snapshot(backed_up)
    with pytest.raises(BadManifestError, match="another digest than the rows of the file"):
        restore(tmp_path, backed_up, mode="replace", verify="content")
    assert snapshot(backed_up) == before


@pytest.mark.parametrize("form", ["csv", "binary"])
@pytest.mark.parametrize("strategy", ["in_place", "swap"])
def test_a_digest_that_lies(g2_dsn: str, tmp_path: Path, strategy: str, form: Any) -> None:
    execute(g2_dsn, _FILL)
    write_described(tmp_path, g2_dsn, form=form)
    change_manifest(tmp_path, _lie_digest)
    before = snapshot(g2_dsn)
    with Restorer(open_store(tmp_path), g2_dsn) as restorer:
        with pytest.raises(BadManifestError, match="another digest than the rows of the file"):
            restorer.restore(mode="replace", strategy=strategy, verify="content")
        assert snapshot(g2_dsn) == before
        with pytest.raises(BadManifestError, match="another digest than the rows of the file"):
            restorer.verify()


def _lie_digest(document: dict[str, Any]) -> None:
    document["tables"][1]["digest"] = "1" * 32


def test_csv_that_is_not_the_manifests(g2_dsn: str, tmp_path: Path) -> None:
    execute(g2_dsn, _FILL)
    write_described(tmp_path, g2_dsn, form="csv")
    path = folder_of(tmp_path) / f"{EMBEDDING}_{STAMP}.csv"
    path.write_bytes(path.read_bytes().replace(b"text 7", b"text 8"))
    before = snapshot(g2_dsn)
    for strategy in ("in_place", "swap"):
        with pytest.raises(BadManifestError, match="SHA-256 differs") as caught:
            restore(tmp_path, g2_dsn, mode="replace", strategy=strategy)
        assert caught.value.file == path.name
        assert snapshot(g2_dsn) == before
    report = restore(tmp_path, g2_dsn, mode="replace", check_manifest=False)
    assert [t.rows_loaded for t in report.tables] == [2, 12]


def test_records_set_aside_are_not_missed(g2_dsn: str, tmp_path: Path) -> None:
    """A manifest counts them, and its digest is not the one of the rows that were loaded."""
    execute(g2_dsn, _FILL)
    write_described(tmp_path, g2_dsn, form="csv")
    csv = f"{EMBEDDING}_{STAMP}.csv"
    good = (folder_of(tmp_path) / csv).read_bytes()
    change_file(tmp_path, csv, good.replace(b'"[7,1', b'"[x,1'), honest=True)
    report = restore(
        tmp_path,
        g2_dsn,
        mode="replace",
        verify="content",
        on_bad_row="quarantine",
        reject_dir=str(tmp_path / "rejects"),
    )
    assert report.rows_rejected == 1
    assert [t.rows_after for t in report.tables] == [2, 11]


def test_csv_that_is_loaded_in_ranges_has_its_sum_compared(
    g2_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgvector_restore.pieces.PART_BYTES", 200)
    execute(g2_dsn, _FILL)
    write_described(tmp_path, g2_dsn, form="csv")
    report = restore(tmp_path, g2_dsn, mode="replace", strategy="swap", jobs=2)
    assert [t.rows_loaded for t in report.tables] == [2, 12]
    path = folder_of(tmp_path) / f"{EMBEDDING}_{STAMP}.csv"
    path.write_bytes(path.read_bytes().replace(b"text 7", b"text 8"))
    before = snapshot(g2_dsn)
    with pytest.raises(BadManifestError, match="SHA-256 differs") as caught:
        restore(tmp_path, g2_dsn, mode="replace", strategy="swap", jobs=2)
    assert caught.value.file == path.name
    assert snapshot(g2_dsn) == before


def test_a_manifest_that_is_damaged(g2_dsn: str, tmp_path: Path) -> None:
    execute(g2_dsn, _FILL)
    write_described(tmp_path, g2_dsn, form="csv")
    manifest = folder_of(tmp_path) / f"manifest_{STAMP}.json"
    manifest.write_bytes(manifest.read_bytes()[:-10])
    with pytest.raises(BadManifestError, match="manifest is no JSON document"):
        restore(tmp_path, g2_dsn, mode="replace")
    report = restore(tmp_path, g2_dsn, mode="replace", check_manifest=False)
    assert [t.rows_loaded for t in report.tables] == [2, 12]


def test_options_that_binary_does_not_go_with(backed_up: str, tmp_path: Path) -> None:
    with Restorer(open_store(tmp_path), backed_up) as restorer:
        with pytest.raises(OptionError, match="without the manifest nobody knows the columns"):
            restorer.plan(check_manifest=False)
        with pytest.raises(OptionError, match="rows of a file in binary cannot go as text"):
            restorer.plan(wire="text")
        with pytest.raises(OptionError, match="records of a file in binary cannot be set aside"):
            restorer.plan(on_bad_row="quarantine", reject_dir=str(tmp_path))


def test_vectors_of_another_dimension(backed_up: str, tmp_path: Path) -> None:
    """Found in planning: the first record tells."""
    execute(backed_up, "TRUNCATE langchain_pg_embedding")
    execute(backed_up, "ALTER TABLE langchain_pg_embedding ALTER embedding TYPE public.vector(4)")
    with (
        Restorer(open_store(tmp_path), backed_up) as restorer,
        pytest.raises(BadCellError, match="vector has 3 dimensions, the column takes 4") as caught,
    ):
        restorer.plan(mode="replace")
    assert (caught.value.record, caught.value.column) == (1, "embedding")


def test_a_compressed_part_that_is_cut(g2_dsn: str, tmp_path: Path) -> None:
    execute(g2_dsn, _FILL)
    write_described(tmp_path, g2_dsn, part_rows=5, codec="gzip")
    part = name(part=2, end=".gz")
    good = (folder_of(tmp_path) / part).read_bytes()
    change_file(tmp_path, part, good[:-9], honest=True)
    before = snapshot(g2_dsn)
    with pytest.raises(BadCompressionError) as caught:
        restore(tmp_path, g2_dsn, mode="replace", strategy="swap", jobs=2)
    assert caught.value.file == part
    change_file(tmp_path, part, gzip.compress(gzip.decompress(good)[:-2]), honest=True)
    with pytest.raises(BadRecordError, match="ends before its end mark"):
        restore(tmp_path, g2_dsn, mode="replace", strategy="swap", jobs=2)
    assert snapshot(g2_dsn) == before


def test_a_table_without_rows(g2_dsn: str, tmp_path: Path) -> None:
    write_described(tmp_path, g2_dsn)
    assert (folder_of(tmp_path) / name()).read_bytes() == BINARY_HEADER + BINARY_TRAILER
    execute(g2_dsn, _FILL)
    report = restore(tmp_path, g2_dsn, mode="replace", verify="content")
    assert [t.rows_after for t in report.tables] == [0, 0]
    assert any(f"{COLLECTION} " in warning for warning in report.warnings)
