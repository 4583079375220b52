"""The table of mutilations: what is done to a good set, and the error it must end in."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import field, frozen

from pgvector_restore import (
    BackupNotFoundError,
    BadCellError,
    BadCompressionError,
    BadDataError,
    BadHeaderError,
    BadRecordError,
    IncompleteBackupError,
    RowCountError,
    StoreError,
)
from tests.faults.packs import ALL, BZIP2, COMPRESSED, GZIP, LZ4, PLAIN, XZ, ZSTD, Pack
from tests.sets import EMBEDDING_FILE, collection_bytes, embedding_bytes, with_cell

#: Changes the embedding file, or what lies beside it.
Mutate = Callable[[Path, Pack], None]


@frozen(kw_only=True)
class Mutilation:
    """One way to damage a set."""

    mutate: Mutate
    #: The only error it may end in.
    error: type[BadDataError | StoreError]
    #: Part of the message; ``{codec}`` is the name of the codec, ``{file}`` that of the file.
    says: str
    #: Part of the hint.
    hint: str = ""
    #: The sets it is done to.
    packs: tuple[Pack, ...] = COMPRESSED
    options: dict[str, Any] = field(factory=dict)


def stored(change: Callable[[bytes], bytes]) -> Mutate:
    """Change the stored bytes."""
    return lambda path, _: _write(path, change(path.read_bytes()))


def text(change: Callable[[bytes], bytes]) -> Mutate:
    """Change the text, then store it as before."""
    return lambda path, pack: _write(path, pack.pack(change(embedding_bytes())))


def holds(data: bytes) -> Mutate:
    """Whatever the name says."""
    return lambda path, _: _write(path, data)


def packed(*packs: Pack) -> Mutate:
    """The text in other forms, one inside of the other."""

    def mutate(path: Path, _: Pack) -> None:
        data = embedding_bytes()
        for pack in packs:
            data = pack.pack(data)
        _write(path, data)

    return mutate


def logged(change: Mutate, rows: int) -> Mutate:
    """With a log that counts rows of the file by its plain name."""

    def mutate(path: Path, pack: Pack) -> None:
        change(path, pack)
        line = f"✓ langchain_pg_embedding: {rows} rows -> {EMBEDDING_FILE} (1.0 KB)\n"
        (path.parent / "vector_backup_log.txt").write_text(line, encoding="utf-8")

    return mutate


def beside(suffix: str, *, keep: bool) -> Mutate:
    """A second file of the table, or the file under another name."""

    def mutate(path: Path, _: Pack) -> None:
        other = path.with_name(EMBEDDING_FILE + suffix)
        if keep:
            other.write_bytes(path.read_bytes())
        else:
            path.rename(other)

    return mutate


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _flip(offset: int, mask: int = 0x80) -> Mutate:
    def change(data: bytes) -> bytes:
        changed = bytearray(data)
        changed[offset if abs(offset) < len(data) else len(data) // 2] ^= mask
        return bytes(changed)

    return stored(change)


def _folder(path: Path, _: Pack) -> None:
    path.unlink()
    path.mkdir()


def _no_collections(path: Path, pack: Pack) -> None:
    path.with_name(pack.collection_file).unlink()


def _nothing(path: Path, pack: Pack) -> None:
    _no_collections(path, pack)
    path.unlink()


def _named_plain(path: Path, _: Pack) -> None:
    path.rename(path.with_name(EMBEDDING_FILE))


def _cut_between_streams(path: Path, pack: Pack) -> None:
    """Of two streams only the first one is left: it ends where a record does."""
    first = embedding_bytes(records=[])
    _write(path, pack.pack(first))


_MIDDLE = 1 << 20
_GOOD = embedding_bytes()
_LAST = _GOOD[: _GOOD.rindex(b"d-sql")]
_CUT: dict[str, Any] = {
    "error": BadCompressionError,
    "says": "file ends in the middle of its {codec} data",
}
_BROKEN: dict[str, Any] = {
    "error": BadCompressionError,
    "says": "file cannot be unpacked as {codec}: ",
}
_AFTER: dict[str, Any] = {
    "error": BadCompressionError,
    "says": "something follows the end of the {codec} data",
}
_NAMED = "file is named as {codec} and holds "
_HALF: dict[str, Any] = {"error": IncompleteBackupError, "packs": ALL}

STREAMS: dict[str, Mutilation] = {
    "empty-file": Mutilation(
        mutate=holds(b""), error=BadCompressionError,
        says="file is empty: not even the beginning of {codec}", hint="take another set",
    ),
    "cut-after-1-byte": Mutilation(mutate=stored(lambda data: data[:1]), **_CUT),
    "cut-in-the-mark": Mutilation(mutate=stored(lambda data: data[:2]), **_CUT),
    "cut-in-the-header": Mutilation(mutate=stored(lambda data: data[:10]), **_CUT),
    "cut-in-half": Mutilation(
        mutate=stored(lambda data: data[: len(data) // 2]), hint="copy it again", **_CUT
    ),
    "cut-in-the-checksum": Mutilation(mutate=stored(lambda data: data[:-3]), **_CUT),
    "cut-by-one-byte": Mutilation(mutate=stored(lambda data: data[:-1]), **_CUT),
    "flip-in-the-mark": Mutilation(
        mutate=_flip(0), error=BadCompressionError, says=_NAMED + "nothing that is known",
        hint="its first bytes are",
    ),
    "flip-in-the-middle": Mutilation(mutate=_flip(_MIDDLE), hint="copy it again", **_BROKEN),
    "flip-near-the-end": Mutilation(
        mutate=_flip(-12, 0x10), error=BadCompressionError, says="{codec}",
    ),
    "flip-in-the-last-byte": Mutilation(mutate=_flip(-1), **_BROKEN),
    "one-byte-lost": Mutilation(
        mutate=stored(lambda data: data[: len(data) // 2] + data[len(data) // 2 + 1 :]),
        error=BadCompressionError, says="{codec}",
    ),
    "one-byte-more": Mutilation(
        mutate=stored(lambda data: data[: len(data) // 2] + b"x" + data[len(data) // 2 :]),
        error=BadCompressionError, says="{codec}",
    ),
    "row-end-after": Mutilation(mutate=stored(lambda data: data + b"\n"), **_AFTER),
    "nul-after": Mutilation(mutate=stored(lambda data: data + b"\0"), **_AFTER),
    "nuls-after": Mutilation(
        mutate=stored(lambda data: data + b"\0" * 512), packs=(GZIP, BZIP2, ZSTD, LZ4), **_AFTER
    ),
    "text-after": Mutilation(
        mutate=stored(lambda data: data + _GOOD), hint="written to after it was complete", **_AFTER
    ),
    "garbage-between": Mutilation(
        mutate=stored(lambda data: data + b"garbage between" + data), **_AFTER
    ),
    "second-stream-cut": Mutilation(mutate=stored(lambda data: data + data[:-5]), **_CUT),
    "second-stream-damaged": Mutilation(
        mutate=stored(lambda data: data + data[:-1] + bytes([data[-1] ^ 0x80])), **_BROKEN
    ),
    "twice": Mutilation(
        mutate=stored(lambda data: data * 2), packs=ALL, error=BadCellError,
        says="row refers to 'collection_id'",
    ),
    "zeros": Mutilation(
        mutate=stored(lambda data: bytes(len(data))), error=BadCompressionError,
        says=_NAMED + "nothing that is known",
    ),
    "too-much": Mutilation(
        mutate=text(lambda good: good), error=BadCompressionError,
        says=f"bytes of {{codec}} unpack to more than {len(collection_bytes())}",
        hint="raise max_unpacked_bytes",
        options={"max_unpacked_bytes": len(collection_bytes())},
    ),
}  # fmt: skip

KINDS: dict[str, Mutilation] = {
    "plain-text": Mutilation(
        mutate=packed(), error=BadCompressionError, says=_NAMED + "plain text",
        hint="take the last part off its name",
    ),
    "plain-text-with-bom": Mutilation(
        mutate=holds(b"\xef\xbb\xbf" + _GOOD), error=BadCompressionError,
        says=_NAMED + "plain text",
    ),
    "gzip-named-otherwise": Mutilation(
        mutate=packed(GZIP), packs=(BZIP2, XZ, ZSTD, LZ4), error=BadCompressionError,
        says=_NAMED + "gzip", hint="name it .gz",
    ),
    "zstd-named-otherwise": Mutilation(
        mutate=packed(ZSTD), packs=(GZIP, BZIP2, XZ, LZ4), error=BadCompressionError,
        says=_NAMED + "zstd", hint="name it .zst",
    ),
    "zip-named-otherwise": Mutilation(
        mutate=holds(b"PK\x03\x04" + bytes(100)), error=BadCompressionError,
        says=_NAMED + "zip", hint="zip is not read: unpack it first",
    ),
    "zip-named-csv": Mutilation(
        mutate=holds(b"PK\x03\x04" + bytes(100)), packs=(PLAIN,), error=BadHeaderError,
        says="file is zip, not the text that its name says", hint="looks like zip: unpack it",
    ),
    "compressed-named-csv": Mutilation(
        mutate=_named_plain, error=BadHeaderError,
        says="file is {codec}, not the text that its name says", hint="name it " + EMBEDDING_FILE,
    ),
    "packed-twice": Mutilation(
        mutate=lambda path, pack: packed(pack, pack)(path, pack), error=BadHeaderError,
        says="file holds {codec} inside of {codec}", hint="unpack it first",
    ),
    "lz4-inside": Mutilation(
        mutate=lambda path, pack: packed(LZ4, pack)(path, pack), error=BadHeaderError,
        says="file holds lz4 inside of {codec}",
    ),
    "copy-binary-inside": Mutilation(
        mutate=text(lambda _: b"PGCOPY\n\xff\r\n\0" + bytes(8)), packs=ALL, error=BadHeaderError,
        says='has no column "PGCOPY"',
    ),
    "utf-16-inside": Mutilation(
        mutate=text(lambda _: embedding_bytes(encoding="utf-16")), packs=ALL,
        error=BadHeaderError, says="header cannot be read", hint="UTF-16",
    ),
}  # fmt: skip

TEXTS: dict[str, Mutilation] = {
    "no-text": Mutilation(
        mutate=text(lambda _: b""), packs=ALL, error=BadHeaderError, says="file is empty"
    ),
    "text-cut-in-quotes": Mutilation(
        mutate=text(lambda good: good[:-5]), packs=ALL, error=BadRecordError,
        says="no closing quote",
    ),
    "text-cut-in-a-record": Mutilation(
        mutate=text(lambda good: good[: good.rindex(b',"{')]), packs=ALL, error=BadRecordError,
        says="record has 4 fields, the header has 5",
    ),
    "text-cut-between-records": Mutilation(
        mutate=logged(text(lambda _: _LAST), 4), packs=ALL, error=RowCountError,
        says="file has 3 records, the backup log counts 4",
    ),
    "cut-between-streams": Mutilation(
        mutate=logged(_cut_between_streams, 4), packs=ALL, error=RowCountError,
        says="file has 0 records, the backup log counts 4",
    ),
    "backslash-dot": Mutilation(
        mutate=text(lambda _: _LAST + b"\\.\r\n"), packs=ALL, error=BadRecordError,
        says="record has 1 field, the header has 5",
    ),
    "nul-byte": Mutilation(
        mutate=text(lambda _: with_cell(2, "document", "a\0b")), packs=ALL, error=BadRecordError,
        says="NUL byte",
    ),
    "other-columns": Mutilation(
        mutate=text(lambda good: good.replace(b"document", b"body", 1)), packs=ALL,
        error=BadHeaderError, says='has no column "body"',
    ),
    "endless-record": Mutilation(
        mutate=text(lambda good: good + b'x,,"' + b"z" * 3_000_000), packs=ALL,
        error=BadRecordError, says="record is longer than 65536 bytes",
        options={"max_record_bytes": 65536, "max_unpack_ratio": 1_000_000},
    ),
}  # fmt: skip

FOLDERS: dict[str, Mutilation] = {
    "no-collections": Mutilation(
        mutate=_no_collections, says="langchain_pg_collection_20260102_030405.csv missing", **_HALF
    ),
    "no-embeddings": Mutilation(
        mutate=lambda path, _: path.unlink(), says=f"{EMBEDDING_FILE} missing", **_HALF
    ),
    "nothing": Mutilation(
        mutate=_nothing, packs=ALL, error=BackupNotFoundError, says="no backup set",
    ),
    "folder-instead": Mutilation(mutate=_folder, says=f"{EMBEDDING_FILE} missing", **_HALF),
    "unfinished": Mutilation(
        mutate=lambda path, _: _write_renamed(path, path.name + ".tmp"),
        says="unfinished: {file}.tmp", **_HALF,
    ),
    "other-case": Mutilation(
        mutate=lambda path, _: _write_renamed(path, path.name[:-1] + path.name[-1].swapcase()),
        error=IncompleteBackupError, says=f"{EMBEDDING_FILE} missing",
        packs=(PLAIN, GZIP, XZ, ZSTD),
    ),
    "brotli": Mutilation(
        mutate=beside(".br", keep=False),
        says=f"cannot be read, unpack it first: {EMBEDDING_FILE}.br (brotli)", **_HALF,
    ),
    "plain-beside": Mutilation(
        mutate=beside("", keep=True), error=IncompleteBackupError,
        says=f"langchain_pg_embedding has 2 files, {EMBEDDING_FILE}, {{file}}: keep one",
    ),
    "gzip-beside": Mutilation(
        mutate=beside(".gz", keep=True), error=IncompleteBackupError,
        says="langchain_pg_embedding has 2 files, ", packs=(PLAIN, BZIP2, XZ, ZSTD, LZ4),
    ),
    "two-endings-of-one-codec": Mutilation(
        mutate=beside(".zstd", keep=True), error=IncompleteBackupError, packs=(ZSTD,),
        says=f"2 files, {EMBEDDING_FILE}.zst, {EMBEDDING_FILE}.zstd: keep one",
    ),
}  # fmt: skip


def _write_renamed(path: Path, name: str) -> None:
    path.rename(path.with_name(name))


def _patched(offset: int, new: bytes) -> Mutate:
    return stored(lambda data: data[:offset] + new + data[offset + len(new) :])


def _xz_window(data: bytes) -> bytes:
    """A header that asks for 4 GiB to look back at, its checksum right."""
    size = (data[12] + 1) * 4  # the block's header follows the stream's, of 12 bytes
    header = bytearray(data[12 : 12 + size - 4])
    header[4] = 40
    return data[:12] + header + struct.pack("<I", zlib.crc32(header)) + data[12 + size :]


def _zstd_raw(descriptor: int, fields: bytes) -> bytes:
    """The text as one block that is not compressed, below a header of these bytes."""
    block = (len(_GOOD) << 3 | 1).to_bytes(3, "little")
    return b"\x28\xb5\x2f\xfd" + bytes([descriptor]) + fields + block + _GOOD


def _one(pack: Pack, mutate: Mutate, **more: Any) -> Mutilation:
    return Mutilation(mutate=mutate, packs=(pack,), **more)


FORMATS: dict[str, Mutilation] = {
    "gzip-other-method": _one(
        GZIP, _patched(2, b"\x07"), error=BadCompressionError, says="holds nothing that is known"
    ),
    "gzip-unknown-flags": _one(GZIP, _patched(3, b"\xe0"), **_BROKEN),
    "gzip-endless-name": _one(
        GZIP, stored(lambda data: data[:3] + b"\x08" + data[4:10] + b"n" * 100), **_CUT
    ),
    "gzip-wrong-crc": _one(GZIP, _flip(-8), **_BROKEN),
    "gzip-wrong-length": _one(GZIP, _flip(-4), **_BROKEN),
    "gzip-without-header": _one(
        GZIP, stored(lambda data: data[10:]), error=BadCompressionError, says="named as gzip"
    ),
    "gzip-is-zlib": _one(
        GZIP, holds(zlib.compress(_GOOD)), error=BadCompressionError,
        says="holds nothing that is known",
    ),
    "bzip2-level-0": _one(
        BZIP2, _patched(3, b"0"), error=BadCompressionError, says="named as bzip2 and holds"
    ),
    "bzip2-wrong-block-crc": _one(BZIP2, _flip(10), **_BROKEN),
    "xz-three-nuls-after": _one(XZ, stored(lambda data: data + bytes(3)), **_AFTER),
    "xz-two-nuls-between": _one(XZ, stored(lambda data: data + bytes(2) + data), **_AFTER),
    "xz-wrong-footer": _one(XZ, _flip(-2), **_BROKEN),
    "xz-without-footer": _one(XZ, stored(lambda data: data[:-12]), **_CUT),
    "xz-wants-4-gib": _one(XZ, stored(_xz_window), **_BROKEN),
    "xz-is-lzma": _one(
        XZ, holds(b"\x5d\0\0\x80\0" + b"\xff" * 8 + b"\0" * 20), error=BadCompressionError,
        says="holds lzma", hint="lzma is not read",
    ),
    "zstd-wants-2-gib": _one(ZSTD, holds(_zstd_raw(0, b"\xa8")), **_BROKEN),
    "zstd-wants-a-dictionary": _one(ZSTD, holds(_zstd_raw(1, b"\x50\x2a")), **_BROKEN),
    "zstd-reserved-bit": _one(ZSTD, holds(_zstd_raw(8, b"\x50")), **_BROKEN),
    "zstd-skips-beyond-the-end": _one(
        ZSTD, stored(lambda data: data + b"\x50\x2a\x4d\x18\xff\0\0\0" + bytes(9)), **_CUT
    ),
    "zstd-wrong-checksum": _one(ZSTD, _flip(-4), **_BROKEN),
    "lz4-wrong-header-checksum": _one(LZ4, _flip(6, 0xFF), **_BROKEN),
    "lz4-of-an-old-kind": _one(
        LZ4, holds(b"\x02\x21\x4c\x18" + bytes(40)), error=BadCompressionError,
        says="holds lz4 of an old kind", hint="unpack it first",
    ),
    "lz4-without-end-mark": _one(LZ4, stored(lambda data: data[:-8]), **_CUT),
    "lz4-wrong-checksum": _one(LZ4, _flip(-4), **_BROKEN),
}  # fmt: skip

TABLE = STREAMS | KINDS | TEXTS | FOLDERS | FORMATS
