"""Every codec as its usual tool writes it: with a checksum over the text."""

from __future__ import annotations

import bz2
import gzip
import lzma
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import lz4.frame
from attrs import frozen

from tests.sets import COLLECTION_FILE, EMBEDDING_FILE, collection_bytes, embedding_bytes

zstd: Any = import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")


@frozen
class Pack:
    """A way to store a text."""

    #: Name of the codec; ``None`` for plain text.
    codec: str | None
    #: What it adds to a file's name.
    suffix: str
    #: Text to stored bytes.
    pack: Callable[[bytes], bytes]

    def __str__(self) -> str:
        return self.codec or "plain"

    @property
    def collection_file(self) -> str:
        return COLLECTION_FILE + self.suffix

    @property
    def embedding_file(self) -> str:
        return EMBEDDING_FILE + self.suffix

    def write(
        self, root: Path, collection: bytes | None = None, embedding: bytes | None = None
    ) -> Path:
        """A set in this form, over whatever is there; texts are the small ones unless given."""
        folder = root / "vector_bak"
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.iterdir():
            old.rmdir() if old.is_dir() else old.unlink()
        text = collection_bytes() if collection is None else collection
        (folder / self.collection_file).write_bytes(self.pack(text))
        text = embedding_bytes() if embedding is None else embedding
        (folder / self.embedding_file).write_bytes(self.pack(text))
        return root


def zstd_frame(text: bytes) -> bytes:
    """As the command writes it; the library's own default has no checksum."""
    options = {zstd.CompressionParameter.checksum_flag: 1}
    return bytes(zstd.compress(text, options=options))


PLAIN = Pack(None, "", lambda text: text)
GZIP = Pack("gzip", ".gz", lambda text: gzip.compress(text, mtime=0))
BZIP2 = Pack("bzip2", ".bz2", bz2.compress)
XZ = Pack("xz", ".xz", lzma.compress)
ZSTD = Pack("zstd", ".zst", zstd_frame)
LZ4 = Pack("lz4", ".lz4", lambda text: bytes(lz4.frame.compress(text, content_checksum=True)))

COMPRESSED = (GZIP, BZIP2, XZ, ZSTD, LZ4)
ALL = (PLAIN, *COMPRESSED)
