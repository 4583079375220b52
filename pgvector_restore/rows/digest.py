"""Digests of rows, whatever their order: of a file and of a table, to be compared.

The digest of some rows is their number and the sum, modulo 2**128, of a 128-bit hash of each. Each
hash is over the complete fields of the row in a fixed order; a complete field begins with its
length, so that neighbours cannot merge and NULL differs from the empty string. Sums of parts add up
to the sum of the whole, and a row that is there twice counts twice. It finds what has changed by
accident; it is no proof against somebody who makes up rows to match a sum.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from zlib import crc32

import numpy as np
from attrs import frozen

from pgvector_restore.rows.canonical import Canonical, canonical_for
from pgvector_restore.target import TargetColumn

__all__ = [
    "BUCKETS",
    "ContentDigest",
    "RowForm",
    "bucket_of",
    "bucket_sums",
    "canonical_columns",
    "differing",
    "digest_of",
    "field_hash",
    "form_of",
    "hash_columns",
    "row_hash",
    "row_hashes",
    "split_row",
]

#: Bytes of a row's hash.
_HASH_BYTES = 16
#: Bytes of a cell's hash, which only ever tells two cells of one key apart.
_CELL_HASH_BYTES = 8
_MODULUS = 1 << (8 * _HASH_BYTES)

#: Rows with another key are in another of so many buckets, mostly. 100 million rows make 1,500
#: rows a bucket, and the sums of all buckets 6 MB.
BUCKETS = 1 << 16


@frozen
class ContentDigest:
    """Number and sum of rows."""

    #: Rows.
    rows: int = 0
    #: Sum of their hashes modulo 2**128.
    total: int = 0

    def __add__(self, other: ContentDigest) -> ContentDigest:
        return ContentDigest(self.rows + other.rows, (self.total + other.total) % _MODULUS)

    @property
    def hex(self) -> str:
        """The sum as 32 hexadecimal digits."""
        return f"{self.total:032x}"


@frozen
class RowForm:
    """In which order and form the fields of a row are hashed.

    Fields that need a form of their own come first: the rest of a row is hashed as it is.
    """

    #: Columns in that order.
    columns: tuple[TargetColumn, ...]
    #: Where each of them is among the columns the form was made of.
    places: tuple[int, ...]
    #: What the first columns go through.
    canonical: tuple[Canonical, ...]


def form_of(columns: Sequence[TargetColumn]) -> RowForm:
    """The form of rows of these columns; their order makes no difference to a hash."""
    found = [(canonical_for(column), column, place) for place, column in enumerate(columns)]
    found.sort(key=lambda one: (one[0] is None, one[1].name))
    return RowForm(
        tuple(column for _, column, _ in found),
        tuple(place for _, _, place in found),
        tuple(canonical for canonical, _, _ in found if canonical is not None),
    )


def canonical_columns(form: RowForm, columns: Sequence[Sequence[bytes]]) -> list[Sequence[bytes]]:
    """Complete fields by column, in the order of the file, to canonical ones in the form's."""
    ordered = [columns[place] for place in form.places]
    for place, canonical in enumerate(form.canonical):
        ordered[place] = [canonical(field) for field in ordered[place]]
    return ordered


def hash_columns(form: RowForm, columns: Sequence[Sequence[bytes]]) -> list[bytes]:
    """Hashes of the rows whose complete fields these are, by column, in the order of the file."""
    return row_hashes(canonical_columns(form, columns))


def row_hashes(columns: Sequence[Sequence[bytes]]) -> list[bytes]:
    """Hashes of rows given by column: canonical fields in the form's order."""
    return [
        blake2b(b"".join(row), digest_size=_HASH_BYTES).digest()
        for row in zip(*columns, strict=True)
    ]


def row_hash(form: RowForm, data: bytes, ends: Sequence[int] | None = None) -> bytes:
    """Hash of a row as COPY sends it: the number of fields, then the fields in the form's order.

    Args:
        form: The form.
        data: The row.
        ends: Where its fields end, behind the number 2, if that is known.
    """
    start = 2
    parts: list[bytes] = []
    for place, canonical in enumerate(form.canonical, 1):
        end = ends[place] if ends is not None else _field_end(data, start)
        parts.append(canonical(data[start:end]))
        start = end
    parts.append(data[start:])
    return blake2b(b"".join(parts), digest_size=_HASH_BYTES).digest()


def split_row(form: RowForm, data: bytes) -> list[bytes]:
    """The canonical fields of a row as COPY sends it; what follows them is left as it is."""
    fields = []
    start = 2
    for place in range(int.from_bytes(data[:2], "big")):
        end = _field_end(data, start)
        field = data[start:end]
        fields.append(form.canonical[place](field) if place < len(form.canonical) else field)
        start = end
    return fields


def _field_end(data: bytes, start: int) -> int:
    return start + 4 + max(int.from_bytes(data[start : start + 4], "big", signed=True), 0)


def digest_of(hashes: Sequence[bytes]) -> ContentDigest:
    """The digest of rows with these hashes. Measured: 0.1 µs a row."""
    words = np.frombuffer(b"".join(hashes), "<u4").reshape(len(hashes), _HASH_BYTES // 4)
    sums = words.sum(axis=0, dtype=np.uint64).tolist()
    total = sum(int(word) << (32 * place) for place, word in enumerate(sums))
    return ContentDigest(len(hashes), total % _MODULUS)


def field_hash(field: bytes) -> bytes:
    """A short hash of one field."""
    return blake2b(field, digest_size=_CELL_HASH_BYTES).digest()


def bucket_of(key: bytes) -> int:
    """The bucket of a row, by the fields of its key; the same in every process."""
    return crc32(key) % BUCKETS


def bucket_sums(rows: Iterable[tuple[bytes, bytes]]) -> list[int]:
    """Sum of the hashes in each bucket, given key and hash of each row."""
    sums = [0] * BUCKETS
    for key, hashed in rows:
        sums[crc32(key) % BUCKETS] += int.from_bytes(hashed, "little")
    return sums


def differing(ours: Sequence[int], theirs: Sequence[int]) -> Iterator[int]:
    """Buckets whose sums differ."""
    for bucket, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        if one != other:
            yield bucket
