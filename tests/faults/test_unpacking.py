"""Compressed files without a database: what is legal, what comes out, and within which limits."""

from __future__ import annotations

import gzip
import itertools
import lzma
import shutil
import struct
import subprocess
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lz4.frame
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgvector_restore import (
    BackupFile,
    BadCompressionError,
    BadHeaderError,
    MissingExtraError,
    OptionError,
    StoreChangedError,
    UnpackLimits,
)
from pgvector_restore.feed import read_header
from pgvector_restore.storage import compression, unpack
from pgvector_restore.storage.compression import CODECS, identify
from tests.faults.packs import ALL, BZIP2, COMPRESSED, GZIP, LZ4, XZ, ZSTD, Pack, zstd
from tests.faults.stores import HeldStore, held
from tests.sets import EMBEDDING_HEADER, embedding_bytes

_TEXT = embedding_bytes() * 50
_SKIPPED = struct.pack("<II", 0x184D2A5A, 7) + b"skipped"

every_pack = pytest.mark.parametrize("pack", ALL, ids=str)
every_codec = pytest.mark.parametrize("pack", COMPRESSED, ids=str)


def _file(store: HeldStore) -> BackupFile:
    return store.catalog().latest().file("langchain_pg_embedding")


def _holding(pack: Pack, data: bytes, read_bytes: int | None = None) -> HeldStore:
    store = held(pack, read_bytes=read_bytes)
    store.objects[f"vector_bak/{pack.embedding_file}"] = (data, 1)
    return store


def _read(store: HeldStore, **options: Any) -> bytes:
    return b"".join(store.blocks(_file(store), **options))


# --- what is legal -----------------------------------------------------------------------------


@every_pack
@pytest.mark.parametrize("read_bytes", [1, 7, 1000, None])
@pytest.mark.parametrize("block_bytes", [1, 999, 1 << 19])
def test_blocks_of_any_size_are_the_text(
    pack: Pack, read_bytes: int | None, block_bytes: int
) -> None:
    text = _TEXT[:3000] if block_bytes == 1 else _TEXT
    store = held(pack, text, read_bytes)
    blocks = list(store.blocks(_file(store), block_bytes=block_bytes))
    assert b"".join(blocks) == text
    assert max(map(len, blocks)) <= block_bytes
    if pack.codec:
        assert {len(block) for block in blocks[:-1]} <= {block_bytes}


@every_codec
@settings(deadline=None, max_examples=30)
@given(cuts=st.lists(st.integers(0, len(_TEXT)), max_size=5), read_bytes=st.integers(1, 50))
def test_streams_that_follow_each_other_are_one_text(
    pack: Pack, cuts: list[int], read_bytes: int
) -> None:
    ends = [0, *sorted(cuts), len(_TEXT)]
    data = b"".join(pack.pack(_TEXT[a:b]) for a, b in itertools.pairwise(ends))
    assert _read(_holding(pack, data, read_bytes)) == _TEXT


@every_codec
def test_very_many_tiny_streams(pack: Pack) -> None:
    data = b"".join(pack.pack(bytes([byte])) for byte in _TEXT[:3000])
    assert _read(_holding(pack, data)) == _TEXT[:3000]


@pytest.mark.parametrize(
    ("pack", "data"),
    [
        pytest.param(XZ, XZ.pack(_TEXT) + bytes(8), id="xz-padding"),
        pytest.param(
            XZ, XZ.pack(_TEXT[:99]) + bytes(4000) + XZ.pack(_TEXT[99:]), id="xz-padding-between"
        ),
        pytest.param(XZ, lzma.compress(_TEXT, check=lzma.CHECK_CRC32), id="xz-crc32"),
        pytest.param(ZSTD, _SKIPPED + ZSTD.pack(_TEXT) + _SKIPPED, id="zstd-skippable"),
        pytest.param(ZSTD, bytes(zstd.compress(_TEXT)), id="zstd-without-checksum"),
        pytest.param(LZ4, _SKIPPED + LZ4.pack(_TEXT) + _SKIPPED, id="lz4-skippable"),
        pytest.param(LZ4, bytes(lz4.frame.compress(_TEXT)), id="lz4-without-checksum"),
        pytest.param(
            LZ4, bytes(lz4.frame.compress(_TEXT, block_checksum=True, block_linked=False)),
            id="lz4-block-checksum",
        ),
        pytest.param(GZIP, gzip.compress(_TEXT, mtime=1_700_000_000), id="gzip-time"),
        pytest.param(
            GZIP,
            GZIP.pack(_TEXT)[:3] + b"\x08" + GZIP.pack(_TEXT)[4:10] + b"name.csv\0"
            + GZIP.pack(_TEXT)[10:],
            id="gzip-name",
        ),
    ],
)  # fmt: skip
def test_what_tools_write_besides(pack: Pack, data: bytes) -> None:
    assert _read(_holding(pack, data)) == _TEXT


@pytest.mark.parametrize(
    ("pack", "command"),
    [
        (GZIP, "gzip -c"),
        (BZIP2, "bzip2 -c"),
        (XZ, "xz -c -T2 --block-size=4KiB"),
        (ZSTD, "zstd -q -c"),
        (ZSTD, "zstd -q -c --long=27"),
        (ZSTD, "pzstd -q -c"),
        (LZ4, "lz4 -q -c"),
        (LZ4, "lz4 -q -c -BD -BX"),
    ],
)
def test_what_the_usual_commands_write(pack: Pack, command: str, tmp_path: Path) -> None:
    words = command.split()
    if shutil.which(words[0]) is None:
        pytest.skip(f"no command {words[0]} here")
    plain = tmp_path / "plain"
    plain.write_bytes(_TEXT)
    done = subprocess.run([*words, str(plain)], check=True, capture_output=True)
    assert _read(_holding(pack, done.stdout)) == _TEXT


@every_codec
def test_header_is_read_without_the_rest(pack: Pack) -> None:
    store = held(pack, embedding_bytes() + bytes(range(256)) * 20_000)
    file = _file(store)
    assert read_header(store, file, 1 << 20).names == EMBEDDING_HEADER


@every_pack
def test_stored_bytes_are_counted(pack: Pack) -> None:
    store = held(pack, _TEXT, 100)
    seen: list[int] = []
    _read(store, on_read=seen.append)
    assert sum(seen) == _file(store).size_bytes


@every_codec
@pytest.mark.parametrize(("start", "end"), [(1, None), (0, 5), (3, 9)])
def test_no_part_of_a_compressed_file(pack: Pack, start: int, end: int | None) -> None:
    store = held(pack)
    with pytest.raises(OptionError, match="is compressed: it cannot be read in parts"):
        list(store.blocks(_file(store), start, end))


# --- the table ---------------------------------------------------------------------------------


@every_codec
def test_every_codec_is_known_by_its_first_bytes(pack: Pack) -> None:
    for text in (b"", _TEXT):
        found = identify(pack.pack(text))
        assert found is not None
        assert (found.name, found.suffixes[0]) == (pack.codec, pack.suffix)


@pytest.mark.parametrize(
    "head", [b"", b"i", b"id,embedding\r\n", b"BZhang,name\n", b"\xef\xbb\xbfid", "größe".encode()]
)
def test_no_text_is_taken_for_compressed(head: bytes) -> None:
    assert identify(head) is None


def test_table_is_consistent() -> None:
    suffixes = [suffix for codec in CODECS for suffix in codec.suffixes]
    assert len(suffixes) == len(set(suffixes))
    assert all(suffix.startswith(".") for suffix in suffixes)
    assert [codec.name for codec in CODECS if codec.readable] == [p.codec for p in COMPRESSED]
    for codec in CODECS:
        assert bool(codec.modules) == codec.readable
        assert all(len(mark) <= compression.HEAD_BYTES for mark in codec.magic)


@pytest.mark.parametrize(
    ("pack", "modules", "hint"),
    [
        (ZSTD, ("pgvr_no.zstd", "pgvr_no"), 'pip install "pgvector_restore[zstd]"'),
        (LZ4, ("pgvr_no",), 'pip install "pgvector_restore[lz4]"'),
        (BZIP2, ("pgvr_no",), "this Python was built without pgvr_no"),
    ],
    ids=["zstd", "lz4", "bzip2"],
)
def test_package_that_is_not_installed(
    pack: Pack, modules: tuple[str, ...], hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pack.codec
    row = compression.codec_named(pack.codec)
    changed = compression.Codec(row.name, row.suffixes, row.magic, modules, row.make, row.extra)
    monkeypatch.setitem(compression._BY_NAME, pack.codec, changed)
    store = held(pack)
    assert _file(store).codec == pack.codec
    with pytest.raises(MissingExtraError) as caught:
        _read(store)
    assert caught.value.message == (
        f'"{pack.embedding_file}" is {pack.codec}, for which a package is not installed'
    )
    assert caught.value.hint == hint


# --- limits ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pack", "packer", "count", "least"),
    [
        (GZIP, lambda: zlib.compressobj(9, wbits=31), 256, 1000),
        (ZSTD, zstd.ZstdCompressor, 1024, 10_000),
    ],
    ids=["gzip", "zstd"],
)  # fmt: skip
def test_bomb_is_refused_and_memory_stays_small(
    pack: Pack, packer: Callable[[], Any], count: int, least: int
) -> None:
    making = packer()
    zeros = itertools.repeat(bytes(1 << 20), count)
    data = b"".join([*map(making.compress, zeros), making.flush()])
    store = _holding(pack, data)
    file = _file(store)
    sizes: list[int] = []
    tracemalloc.start()
    try:
        with pytest.raises(BadCompressionError) as caught:
            sizes.extend(map(len, store.blocks(file)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert caught.value.message == (
        f"{len(data)} bytes of {pack.codec} unpack to more than {unpack.FREE_BYTES}"
    )
    assert caught.value.hint
    assert "max_unpack_ratio" in caught.value.hint
    assert caught.value.file == pack.embedding_file
    assert sum(sizes) == unpack.FREE_BYTES
    assert peak < 16 << 20
    assert count * (1 << 20) / len(data) > least


@every_codec
def test_limits_are_the_callers(pack: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpack, "FREE_BYTES", 1000)
    store = held(pack, _TEXT)
    file = _file(store)
    ratio = len(_TEXT) // file.size_bytes
    assert ratio > 1
    for limits in (UnpackLimits(ratio + 1), UnpackLimits(10**6, len(_TEXT))):
        assert _read(store, limits=limits) == _TEXT
    for limits in (UnpackLimits(ratio), UnpackLimits(10**6, len(_TEXT) - 1)):
        with pytest.raises(BadCompressionError, match="unpack to more than"):
            _read(store, limits=limits)


# --- files that change -------------------------------------------------------------------------


@every_codec
@pytest.mark.parametrize("change", [-200, -1, 1, 200])
def test_another_length_than_listed(pack: Pack, change: int) -> None:
    store = held(pack, bytes(range(256)) * 40)
    file = _file(store)
    data, _ = store.objects[file.key]
    store.put(file.key, data + bytes(change) if change > 0 else data[:change])
    with pytest.raises(StoreChangedError, match=f"{pack.embedding_file} was listed with"):
        list(store.blocks(file))


@every_codec
def test_damage_by_a_replacement_is_called_that(pack: Pack) -> None:
    store = held(pack, _TEXT)
    file = _file(store)
    store.put(file.key, bytes(file.size_bytes))
    with pytest.raises(StoreChangedError, match="is not the file that was listed") as caught:
        list(store.blocks(file))
    assert isinstance(caught.value.__context__, BadCompressionError)


@every_pack
def test_file_that_is_gone(pack: Pack) -> None:
    store = held(pack)
    file = _file(store)
    del store.objects[file.key]
    with pytest.raises(OSError, match="no such file"):
        list(store.blocks(file))


def test_plain_file_that_is_compressed() -> None:
    store = held(Pack(None, "", GZIP.pack))
    with pytest.raises(BadHeaderError, match="file is gzip, not the text"):
        list(store.blocks(_file(store), block_bytes=1))
