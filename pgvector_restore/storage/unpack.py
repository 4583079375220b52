"""Unpacking compressed files: in blocks, within limits, every stored byte accounted for."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator

from pgvector_restore.errors import BadCompressionError, BadHeaderError
from pgvector_restore.model import BackupFile, UnpackLimits
from pgvector_restore.storage.compression import (
    HEAD_BYTES,
    Decoder,
    codec_named,
    identify,
)

__all__ = ["FREE_BYTES", "check_plain", "unpack"]

#: Output that is let through whatever the ratio. So much text does no harm, and small files of a
#: few equal rows do compress several hundred times.
FREE_BYTES = 64 << 20

#: Stored bytes given to a decoder at a time. What it leaves over at the end of a stream is copied,
#: so a file of very many tiny streams would be slow with larger pieces.
_PIECE_BYTES = 32 << 10


def check_plain(blocks: Iterator[bytes], file: BackupFile) -> Iterator[bytes]:
    """The blocks of a text as they are.

    Args:
        blocks: As stored, or as unpacked once.
        file: Where they come from.

    Raises:
        BadHeaderError: What they begin with is compressed.
    """
    first: list[bytes] = []
    head = b""
    while len(head) < HEAD_BYTES and (block := next(blocks, b"")):
        first.append(block)
        head += block[:HEAD_BYTES]
    found = identify(head)
    if found is not None:
        name = f"; or name it {file.name}{found.suffixes[0]}" if found.readable else ""
        raise BadHeaderError(
            f"file holds {found.name} inside of {file.codec}"
            if file.codec
            else f"file is {found.name}, not the text that its name says",
            hint=f"the file looks like {found.name}: unpack it first{'' if file.codec else name}",
            file=file.name,
            record=0,
        )
    yield from first
    yield from blocks


def unpack(
    stored: Iterable[bytes], file: BackupFile, block_bytes: int, limits: UnpackLimits
) -> Generator[bytes, None, None]:
    """What a compressed file holds, in blocks of ``block_bytes``, the last one shorter.

    Memory is bounded by a stored block, a block of output, and what the codec looks back at
    (128 MiB at the most). Streams that follow each other are one text. Whatever stands between or
    after them is an error, so that every stored byte is accounted for.

    Args:
        stored: The file's bytes in order.
        file: The file, with its codec and size.
        block_bytes: Length of the blocks.
        limits: How much may come out.

    Raises:
        MissingExtraError: The codec's package is not installed.
        BadCompressionError: Cut short, damaged, of another kind, or too much comes out.
    """
    streams = _Streams(file)
    allowed = min(limits.total_bytes, max(FREE_BYTES, limits.ratio * file.size_bytes))
    parts: list[bytes] = []
    size = total = 0
    for piece in _pieces(stored):
        streams.take(piece)
        while data := streams.give(block_bytes - size):
            total += len(data)
            if total > allowed:
                raise _too_much(file, allowed, limits)
            parts.append(data)
            size += len(data)
            if size == block_bytes:
                yield b"".join(parts)
                parts, size = [], 0
    streams.check_end()
    if parts:
        yield b"".join(parts)


def _pieces(stored: Iterable[bytes]) -> Iterator[bytes | None]:
    """Short pieces of the file, then ``None``."""
    for block in stored:
        for start in range(0, len(block), _PIECE_BYTES):
            yield block[start : start + _PIECE_BYTES]
    yield None


class _Streams:
    """The compressed streams of one file, one after the other."""

    def __init__(self, file: BackupFile) -> None:
        assert file.codec is not None  # noqa: S101 - plain files are not unpacked
        self._file = file.name
        self._codec = codec_named(file.codec)
        self._make = self._codec.maker(file.name)
        self._decoder: Decoder | None = None
        self._data = b""
        self._taken = self._streams = self._padding = 0
        self._complete = False

    def take(self, data: bytes | None) -> None:
        """The file's next bytes; ``None`` after the last ones. Everything has been given before."""
        self._complete = data is None
        self._data += data or b""
        self._taken += len(data or b"")

    def give(self, most: int) -> bytes:
        """At most so many bytes of the text; none where the next stored bytes are needed."""
        while self._decoder is not None or self._begin():
            decoder = self._decoder
            assert decoder is not None  # noqa: S101 - there is one now
            data, self._data = self._data, b""
            if not data and decoder.needs_input:
                return b""
            try:
                out = decoder.decompress(data, most)
            except MemoryError:
                raise
            except Exception as exc:  # each library has its own, lz4 plain RuntimeErrors
                raise self._error(
                    f"file cannot be unpacked as {self._codec.name}: {exc}",
                    "the file is damaged: copy it again, or take another set",
                ) from exc
            if decoder.eof:
                self._data, self._decoder = decoder.unused_data or b"", None
            if out or self._decoder is not None:
                return out
        return b""

    def _begin(self) -> bool:
        """Begin a stream if its first bytes are there."""
        if self._streams and self._codec.padded:
            length = len(self._data)
            self._data = self._data.lstrip(b"\0")
            self._padding += length - len(self._data)
        if len(self._data) < (1 if self._complete else HEAD_BYTES):
            return False
        if not self._data.startswith(self._codec.magic) or self._padding % 4:
            raise self._foreign(self._data)
        self._decoder = self._make()
        self._streams += 1
        self._padding = 0
        return True

    def check_end(self) -> None:
        """The file is at its end: so must be its last stream."""
        if self._decoder is not None:
            raise self._cut()
        if not self._streams:
            raise self._error(
                f"file is empty: not even the beginning of {self._codec.name}",
                "the backup was not written: take another set",
            )
        if self._padding % 4:
            raise self._foreign(b"")

    def _cut(self) -> BadCompressionError:
        return self._error(
            f"file ends in the middle of its {self._codec.name} data, after {self._taken} bytes",
            "the file was cut short: copy it again, or take another set",
        )

    def _foreign(self, head: bytes) -> BadCompressionError:
        """What is there is no beginning of a stream."""
        if any(mark.startswith(head) for mark in self._codec.magic if head):
            return self._cut()
        if self._streams:
            return self._error(
                f"something follows the end of the {self._codec.name} data",
                "the file was written to after it was complete: copy it again, or take another set",
            )
        found = identify(head)
        if found is not None and found.readable:
            what, hint = found.name, f"name it {found.suffixes[0]}"
        elif found is not None:
            what, hint = found.name, f"{found.name} is not read: unpack it first"
        elif _is_text(head):
            what, hint = "plain text", "take the last part off its name"
        else:
            what = "nothing that is known"
            hint = f"its first bytes are {head[:HEAD_BYTES].hex(' ')}: take another set"
        return self._error(f"file is named as {self._codec.name} and holds {what}", hint)

    def _error(self, message: str, hint: str) -> BadCompressionError:
        return BadCompressionError(message, hint=hint, file=self._file)


def _is_text(head: bytes) -> bool:
    """Whether the first bytes could be those of a header."""
    head = head.removeprefix(b"\xef\xbb\xbf")[:HEAD_BYTES].split(b"\n")[0].removesuffix(b"\r")
    return head.isascii() and head.decode("ascii").isprintable()


def _too_much(file: BackupFile, allowed: int, limits: UnpackLimits) -> BadCompressionError:
    option = "max_unpacked_bytes" if allowed == limits.total_bytes else "max_unpack_ratio"
    return BadCompressionError(
        f"{file.size_bytes} bytes of {file.codec} unpack to more than {allowed}",
        hint=f"it may be made to fill the database; if it is not, raise {option}",
        file=file.name,
    )
