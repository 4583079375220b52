"""Write one backup set of LangChain tables, of any size, for the benchmarks.

The files have the shape a backup job gives them: ``csv.writer`` with its defaults over the rows
of ``langchain_pg_collection`` and ``langchain_pg_embedding``. As a script::

    python benchmarks/data.py OUT --rows 30000 --dims 1536
"""

from __future__ import annotations

import argparse
import json
import random
import re
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import numpy as np
import orjson

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["STYLES", "SetSpec", "csv_record", "vector_texts", "write_set"]

#: How a metadata cell is printed: as Python prints a dict, or as JSON.
STYLES: dict[str, Callable[[object], str]] = {
    "repr": repr,
    "json": lambda value: json.dumps(value, ensure_ascii=False),
}

#: Rows made at a time. 1536 dimensions take 3 MB of floats and 10 MB of text; larger blocks were
#: no faster.
BLOCK_ROWS = 512

#: Raised when the same arguments give other bytes, so that old sets are written anew.
FORMAT = 1

NAMESPACE = uuid.UUID("b5a4b9f5-0f5c-5f4e-8d0c-3d1f0a6f7c52")

WORDS = """
order customer parcel invoice warehouse stock price review supplier category payment refund
shipment coupon carrier address quantity amount status weekly monthly average highest lowest
which every without between before after delivered returned the of by for and with 订单 客户
仓库 库存 商品 价格 naïve façade it's don't
"""


@attrs.frozen
class SetSpec:
    """Everything the bytes of a set depend on."""

    #: Rows of the embedding table; 0 gives a file with a header only.
    rows: int
    #: Elements of each vector, at least 2.
    dims: int
    #: Rows of the collection table, at least 1; embeddings are dealt out in turn.
    collections: int
    #: A key of ``STYLES``.
    style: str
    seed: int
    #: ``YYYYMMDD_HHMMSS``, the end of the files' names.
    timestamp: str

    def __attrs_post_init__(self) -> None:
        if self.rows < 0 or self.dims < 2 or self.collections < 1 or self.style not in STYLES:
            raise ValueError(f"no such set: {self}")
        if not re.fullmatch(r"[0-9]{8}_[0-9]{6}", self.timestamp):
            raise ValueError(f"no timestamp: {self.timestamp!r}")


def write_set(  # noqa: PLR0913 - callers name what they vary
    out: Path,
    *,
    rows: int,
    dims: int,
    collections: int = 4,
    style: str = "repr",
    seed: int = 1,
    timestamp: str = "20260101_000000",
) -> Path:
    """Write the two files of a set unless the identical set is there.

    Args:
        out: The store's root; made if missing. A hidden file in it remembers what was written.
        rows: Rows of the embedding table.
        dims: Elements of each vector, at least 2.
        collections: Rows of the collection table.
        style: ``"repr"`` or ``"json"``, the form of the metadata cells.
        seed: Another seed gives other vectors, documents and ids.
        timestamp: ``YYYYMMDD_HHMMSS``, the end of the files' names.

    Returns:
        The location, ``out/vector_bak``.

    Raises:
        ValueError: An argument is out of its bounds.
    """
    spec = SetSpec(rows, dims, collections, style, seed, timestamp)
    location = out / "vector_bak"
    parts = {
        location / f"langchain_pg_collection_{timestamp}.csv": _collection_rows(spec),
        location / f"langchain_pg_embedding_{timestamp}.csv": _embedding_rows(spec),
    }
    marker = out / f".set_{timestamp}.json"
    if _is_there(marker, spec, list(parts)):
        return location
    location.mkdir(parents=True, exist_ok=True)
    marker.unlink(missing_ok=True)
    for path, records in parts.items():
        unfinished = path.with_name(path.name + ".tmp")
        with unfinished.open("w", encoding="utf-8", newline="") as file:
            file.writelines(map(csv_record, records))
        unfinished.replace(path)
    marker.write_text(_marker_text(spec, list(parts)), "utf-8")
    return location


def csv_record(cells: Sequence[str]) -> str:
    """Return a record as ``csv.writer`` writes it by default, about five times as fast.

    ``csv.writer`` looks at every character of a vector's text; most of the run went there.
    """
    return ",".join(map(_csv_cell, cells)) + "\r\n"


_SPECIAL = re.compile(r'[,"\r\n]')


def _csv_cell(text: str) -> str:
    if _SPECIAL.search(text):
        return '"' + text.replace('"', '""') + '"'
    return text


def vector_texts(vectors: np.ndarray[tuple[int, int], np.dtype[np.float32]]) -> list[str]:
    """Print each row of a C-contiguous array as pgvector does: the shortest decimals.

    orjson finds the same digits as PostgreSQL and differs in three notations, which are mended:
    ``0.0000123`` is ``1.23e-05`` there, ``1e-7`` is ``1e-07`` and ``0.0`` is ``0``. Compared with
    pgvector 0.8.5 over 460,800 numbers between -1 and 1; larger ones are not provided for.
    """
    return [
        _vector_text(orjson.dumps(vector, option=orjson.OPT_SERIALIZE_NUMPY)) for vector in vectors
    ]


_FIXED = re.compile(r"0\.0000(0*)([1-9])([0-9]*)")
_EXPONENT = re.compile(r"e-([0-9])(?![0-9])")


def _vector_text(data: bytes) -> str:
    text = data.decode("ascii")
    if "0.0000" in text:
        text = _FIXED.sub(_scientific, text)
    if "e-" in text:
        text = _EXPONENT.sub(r"e-0\1", text)
    return text.replace(".0,", ",").replace(".0]", "]")


def _scientific(found: re.Match[str]) -> str:
    zeros, first, rest = found.groups()
    return f"{first}{'.' if rest else ''}{rest}e-{5 + len(zeros):02}"


def _is_there(marker: Path, spec: SetSpec, paths: list[Path]) -> bool:
    if not marker.exists() or not all(path.exists() for path in paths):
        return False
    return marker.read_text("utf-8") == _marker_text(spec, paths)


def _marker_text(spec: SetSpec, paths: list[Path]) -> str:
    sizes = {path.name: path.stat().st_size for path in paths}
    return json.dumps({"format": FORMAT, **attrs.asdict(spec), "size_bytes": sizes}) + "\n"


def _collection_id(spec: SetSpec, number: int) -> str:
    return str(uuid.uuid5(NAMESPACE, f"{spec.seed}/{number}"))


def _collection_rows(spec: SetSpec) -> Iterator[tuple[str, ...]]:
    show = STYLES[spec.style]
    yield "uuid", "name", "cmetadata"
    for number in range(spec.collections):
        metadata = show({"number": number, "active": True, "note": None}) if number % 2 else ""
        yield _collection_id(spec, number), f"collection_{number}", metadata


def _embedding_rows(spec: SetSpec) -> Iterator[tuple[str, ...]]:
    show = STYLES[spec.style]
    numbers = np.random.default_rng(spec.seed)
    chance = random.Random(spec.seed)
    words = WORDS.split()
    sentences = [_sentence(chance, words) for _ in range(4096)]
    owners = [_collection_id(spec, number) for number in range(spec.collections)]
    yield "id", "collection_id", "embedding", "document", "cmetadata"
    for start in range(0, spec.rows, BLOCK_ROWS):
        count = min(BLOCK_ROWS, spec.rows - start)
        vectors = numbers.standard_normal((count, spec.dims), dtype=np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        for number, vector in enumerate(vector_texts(vectors), start):
            key = f"{uuid.UUID(int=chance.getrandbits(128), version=4)}-doc"
            document = f"Page {number}: " + "".join(chance.choices(sentences, k=8))
            metadata = show({"id": key, "createdat": None, "page": number, "tags": ["a", "b's"]})
            yield key, owners[number % spec.collections], vector, document, metadata


def _sentence(chance: random.Random, vocabulary: list[str]) -> str:
    """Return about 60 bytes that end a line now and then, and quote a word now and then."""
    words = chance.choices(vocabulary, k=9)
    if chance.random() < 0.3:
        words[4] = f'"{words[4]}"'
    return " ".join(words) + chance.choice([". ", ", ", "? ", ".\n"])


def main() -> None:
    parser = argparse.ArgumentParser(description="Write one backup set for the benchmarks.")
    parser.add_argument("out", type=Path, help="the store's root")
    parser.add_argument("--rows", type=int, default=30_000)
    parser.add_argument("--dims", type=int, default=1536)
    parser.add_argument("--collections", type=int, default=4)
    parser.add_argument("--style", choices=sorted(STYLES), default="repr")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--timestamp", default="20260101_000000")
    options = vars(parser.parse_args())
    started = time.perf_counter()
    location = write_set(**options)
    elapsed_s = time.perf_counter() - started
    for path in sorted(location.glob(f"*_{options['timestamp']}.csv")):
        print(f"{path}  {path.stat().st_size / 1e6:,.1f} MB")
    print(f"{elapsed_s:.1f} s")


if __name__ == "__main__":
    main()
