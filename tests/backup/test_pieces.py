"""The parts of a backup that need no server."""

from __future__ import annotations

import random
from contextlib import suppress
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgvector_restore import BackupFile, ObjectInfo
from pgvector_restore.db.extents import Extent, cut_pages
from pgvector_restore.db.relations import Relation
from pgvector_restore.describing import parents_first
from pgvector_restore.errors import BadCompressionError, OptionError
from pgvector_restore.model import DEFAULT_LIMITS
from pgvector_restore.storage.compression import CODECS, Codec, codec_named
from pgvector_restore.storage.log import LogLine, parse_log, write_log
from pgvector_restore.storage.unpack import unpack
from pgvector_restore.target import ForeignKey

WRITTEN = [codec for codec in CODECS if codec.readable]


@given(st.integers(0, 1000), st.integers(0, 10**7), st.integers(1, 10**6))
def test_every_page_is_in_one_stretch(pages: int, size_bytes: int, extent_bytes: int) -> None:
    extents = cut_pages(pages, size_bytes, extent_bytes)
    if extents == (None,):
        return
    assert all(isinstance(one, Extent) for one in extents)
    ends = [one.end for one in extents if one is not None]
    assert [one.first for one in extents if one is not None] == [0, *ends[:-1]]
    assert ends[-1] is None
    assert all(end is not None and 0 < end < pages for end in ends[:-1])


def _table(name: str, *parents: str) -> Relation:
    keys = tuple(ForeignKey(f"to_{parent}", "s", parent, "id") for parent in parents)
    return Relation("s", name, 1, "r", columns=(), pages=0, size_bytes=0, foreign_keys=keys)


@pytest.mark.parametrize(
    ("tables", "expected"),
    [
        ([_table("a"), _table("b")], "ab"),
        ([_table("b", "a"), _table("a")], "ab"),
        ([_table("c", "b"), _table("b", "a"), _table("a", "a"), _table("d")], "abcd"),
        ([_table("a", "elsewhere")], "a"),
        ([_table("a", "b"), _table("b", "a"), _table("c")], "cab"),
    ],
)
def test_parents_first(tables: list[Relation], expected: str) -> None:
    assert "".join(table.name for table in parents_first(tables)) == expected


def _unpacked(codec: Codec, data: bytes) -> bytes:
    file = BackupFile("t", ObjectInfo("t.csv", len(data)), codec.name)
    return b"".join(unpack(iter([data]), file, 1 << 16, DEFAULT_LIMITS))


@pytest.mark.parametrize("codec", WRITTEN, ids=lambda codec: codec.name)
def test_streams_after_one_another(codec: Codec) -> None:
    make = codec.packer()
    data = b""
    for text in (b"one,", b"", b"two" * 1000):
        packer = make()
        data += packer.compress(text) + packer.flush()
    assert _unpacked(codec, data) == b"one," + b"two" * 1000


@pytest.mark.parametrize("codec", WRITTEN, ids=lambda codec: codec.name)
def test_no_flipped_bit_passes(codec: Codec) -> None:
    """Text that does not compress: without checksums a bit would flip through."""
    text = random.Random(1).randbytes(3000).hex().encode()  # noqa: S311 - the same every time
    packer = codec.packer()()
    data = packer.compress(text) + packer.flush()
    for place in random.Random(2).sample(range(8 * len(data)), 300):  # noqa: S311 - as above
        flipped = bytearray(data)
        flipped[place // 8] ^= 1 << place % 8
        with suppress(BadCompressionError):
            assert _unpacked(codec, bytes(flipped)) == text


def test_what_is_not_written() -> None:
    with pytest.raises(OptionError, match="files are not compressed with brotli here"):
        codec_named("brotli").packer()


def test_the_log_is_read_again() -> None:
    lines = [
        LogLine("a", "a_20260102_030405.csv", 3, "1.0 KB"),
        LogLine("b", "b_20260102_030405.csv.gz", 0, "0 B", removed=7),
    ]
    made_at = datetime(2026, 1, 2, 3, 4, 5)  # noqa: DTZ001 - logs carry no zone
    data = write_log(lines, made_at, "task_1", 1.25)
    log = parse_log(data)
    assert log is not None
    assert log.rows == {"a_20260102_030405.csv": 3, "b_20260102_030405.csv.gz": 0}
    assert log.failed == {}
    assert log.backup_time == made_at
    assert "\nTask ID: task_1\nDuration: 1.25s\n" in data.decode()
    assert data.decode().endswith("Truncate Status:\n✓ b: TRUNCATED (7 rows removed)\n")
