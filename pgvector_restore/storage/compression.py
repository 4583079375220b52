"""Codecs of compressed files: one table, with what is only known by its name or first bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib import import_module
from types import ModuleType
from typing import Any, Protocol

from attrs import frozen

from pgvector_restore.errors import MissingExtraError, OptionError, quoted

__all__ = [
    "CODECS",
    "CODEC_BY_SUFFIX",
    "HEAD_BYTES",
    "Codec",
    "Decoder",
    "Packer",
    "codec_named",
    "identify",
]

#: First bytes of a file that tell all formats of the table apart.
HEAD_BYTES = 10

#: Memory a decoder may take for what it looks back at. ``xz -9`` needs 65 MiB; zstd's own limit,
#: which ``zstd --long`` keeps to, is 128 MiB as well.
_WINDOW_BYTES = 128 << 20


#: Levels files are written with. Measured on 25 MB of vectors of 1,536 dimensions as CSV, times
#: smaller and MB per second of one core: lz4 1.5 and 313; zstd 2.7 and 265 at level 1, 2.5 and 106
#: at 3; gzip 2.3 and 106 at 1, 2.6 and 17 at 6; bzip2 3.0 and 16; xz 2.5 and 18 at 0, 3.1 and 1 at
#: 6. In binary nothing gets below 1.2, and zstd at level 1 does 549.
_GZIP_LEVEL, _BZIP2_LEVEL, _XZ_PRESET, _ZSTD_LEVEL = 1, 1, 0, 1


class Decoder(Protocol):
    """Unpacks one stream (gzip calls it a member, zstd and lz4 a frame) as bytes come in."""

    @property
    def eof(self) -> bool:
        """The end of the stream has been reached, and its checksum was right."""

    @property
    def needs_input(self) -> bool:
        """Nothing more comes out before something goes in."""

    @property
    def unused_data(self) -> bytes | None:
        """What came in after the end of the stream; lz4's is ``None`` where nothing did."""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Take bytes in, give at most ``max_length`` out."""


class Packer(Protocol):
    """Compresses one stream."""

    def compress(self, data: bytes, /) -> bytes:
        """Take bytes in, give what is ready."""

    def flush(self) -> bytes:
        """End the stream, give the rest."""


class _Lz4Packer:
    """lz4's compressor with the manners of the others: its frame begins by itself."""

    def __init__(self, lz4: ModuleType) -> None:
        # The checksum of the content is off unless asked for, and a flipped bit would pass.
        self._inner: Any = lz4.LZ4FrameCompressor(content_checksum=True, block_linked=False)
        self._begun = False

    def compress(self, data: bytes, /) -> bytes:
        return self._begin() + bytes(self._inner.compress(data))

    def flush(self) -> bytes:
        return self._begin() + bytes(self._inner.flush())

    def _begin(self) -> bytes:
        if self._begun:
            return b""
        self._begun = True
        return bytes(self._inner.begin())


def _zstd_packer(zstd: Any) -> Packer:  # noqa: ANN401 - one of two modules
    key = zstd.CompressionParameter
    packer: Packer = zstd.ZstdCompressor(
        options={key.compression_level: _ZSTD_LEVEL, key.checksum_flag: 1}
    )
    return packer


class _GzipDecoder:
    """zlib's decompressor with the manners of the others; checks CRC and length of a member."""

    def __init__(self, zlib: ModuleType) -> None:
        self._inner: Any = zlib.decompressobj(wbits=31)  # 16 + 15: gzip's header and trailer
        self._full = False

    @property
    def eof(self) -> bool:
        return bool(self._inner.eof)

    @property
    def needs_input(self) -> bool:
        # Output that just fills its room may not be all there is.
        return not self._inner.unconsumed_tail and not self._full

    @property
    def unused_data(self) -> bytes:
        return bytes(self._inner.unused_data)

    def decompress(self, data: bytes, max_length: int) -> bytes:
        out: bytes = self._inner.decompress(self._inner.unconsumed_tail + data, max_length)
        self._full = len(out) == max_length
        return out


@frozen
class Codec:
    """A way to compress files: a row of the table."""

    #: What messages, plans and documents call it.
    name: str
    #: How such files end, the usual one first; empty for what is known by its first bytes only.
    suffixes: tuple[str, ...]
    #: How such files begin, one of these; empty where the format has no mark.
    magic: tuple[bytes, ...] = ()
    #: Modules that unpack it, the first one that is there is taken; empty: it is not read.
    modules: tuple[str, ...] = ()
    #: Makes a decoder out of that module.
    make: Callable[[Any], Decoder] | None = None
    #: Extra of this package that brings the module; ``None``: it comes with Python.
    extra: str | None = None
    #: NUL bytes in fours may follow a stream.
    padded: bool = False
    #: Makes a packer out of the module; ``None``: such files are not written.
    make_packer: Callable[[Any], Packer] | None = None

    @property
    def readable(self) -> bool:
        """Files of this kind can be read, if the module is there."""
        return self.make is not None

    def maker(self, file: str) -> Callable[[], Decoder]:
        """What makes a decoder for each stream of a file.

        Raises:
            MissingExtraError: The module is not installed.
        """
        module, make = _first(self.modules), self.make
        if module is None or make is None:
            raise self._missing(f"{quoted(file)} is {self.name}")
        return lambda: make(module)

    def packer(self) -> Callable[[], Packer]:
        """What makes a packer for each stream of a file; streams may follow one another.

        Raises:
            OptionError: Files of this kind are not written.
            MissingExtraError: The module is not installed.
        """
        make = self.make_packer
        if make is None:
            raise OptionError(f"files are not compressed with {self.name} here")
        module = _first(self.modules)
        if module is None:
            raise self._missing(f"compress is {self.name}")
        return lambda: make(module)

    def _missing(self, what: str) -> MissingExtraError:
        without = f"this Python was built without {', '.join(self.modules)}"
        return MissingExtraError(
            f"{what}, for which a package is not installed",
            hint=f'pip install "pgvector_restore[{self.extra}]"' if self.extra else without,
        )


def _first(modules: Iterable[str]) -> ModuleType | None:
    """The first module that is installed."""
    for name in modules:
        with suppress(ImportError):
            return import_module(name)
    return None


# Frames to be skipped: zstd's tools keep tables in them, lz4 knows the same ones.
_SKIPPABLE = tuple(bytes([0x50 + n]) + b"\x2a\x4d\x18" for n in range(16))
# A level, then a first block or, in an empty file, the end.
_BZIP2 = tuple(
    b"BZh%d" % level + mark
    for level in range(1, 10)
    for mark in (b"\x31\x41\x59\x26\x53\x59", b"\x17\x72\x45\x38\x50\x90")
)

#: Every codec that is known. Those that cannot be read have a row too, so that a listing and a
#: message can say what a file is. Formats: RFC 1952 (gzip), RFC 8878 (zstd), lz4's and xz's own.
CODECS: tuple[Codec, ...] = (
    Codec(
        "gzip", (".gz",), (b"\x1f\x8b\x08",), ("zlib",), _GzipDecoder,
        make_packer=lambda zlib: zlib.compressobj(_GZIP_LEVEL, wbits=31),
    ),
    Codec(
        "bzip2", (".bz2",), _BZIP2, ("bz2",), lambda bz2: bz2.BZ2Decompressor(),
        make_packer=lambda bz2: bz2.BZ2Compressor(_BZIP2_LEVEL),
    ),
    Codec(
        "xz", (".xz",), (b"\xfd7zXZ\0",), ("lzma",),
        lambda lzma: lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=_WINDOW_BYTES),
        padded=True,
        make_packer=lambda lzma: lzma.LZMACompressor(preset=_XZ_PRESET),
    ),
    # Not the package zstandard: it takes a file that was cut for a shorter one.
    Codec(
        "zstd", (".zst", ".zstd"), (b"\x28\xb5\x2f\xfd", *_SKIPPABLE),
        ("compression.zstd", "backports.zstd"), lambda zstd: zstd.ZstdDecompressor(), "zstd",
        make_packer=_zstd_packer,
    ),
    Codec(
        "lz4", (".lz4",), (b"\x04\x22\x4d\x18", *_SKIPPABLE),
        ("lz4.frame",), lambda lz4: lz4.LZ4FrameDecompressor(), "lz4",
        make_packer=_Lz4Packer,
    ),
    Codec("lz4 of an old kind", (), (b"\x02\x21\x4c\x18",)),
    Codec("lzma", (".lzma",), (b"\x5d\0\0",)),
    Codec("lzip", (".lz",), (b"LZIP\x01",)),
    Codec("lzop", (".lzo",), (b"\x89LZO\0",)),
    Codec("brotli", (".br",)),
    Codec("snappy", (".snappy", ".sz"), (b"\xff\x06\0\0sNaPpY",)),
    Codec("compress", (".Z",), (b"\x1f\x9d",)),
    Codec("zip", (".zip",), (b"PK\x03\x04",)),
    Codec("7z", (".7z",), (b"7z\xbc\xaf\x27\x1c",)),
    Codec("rar", (".rar",), (b"Rar!\x1a\x07",)),
)  # fmt: skip

#: Codecs by the end of a file's name; case counts.
CODEC_BY_SUFFIX = {suffix: codec for codec in CODECS for suffix in codec.suffixes}
_BY_NAME = {codec.name: codec for codec in CODECS}


def codec_named(name: str) -> Codec:
    """The row of a codec; ``KeyError`` for a name that is not in the table."""
    return _BY_NAME[name]


def identify(head: bytes) -> Codec | None:
    """The codec whose mark a file begins with, by its first ``HEAD_BYTES``."""
    return next((codec for codec in CODECS if head.startswith(codec.magic)), None)
