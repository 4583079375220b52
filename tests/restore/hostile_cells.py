"""Hostile inputs of single cells and of keys."""

from __future__ import annotations

from typing import Any

import pytest

from pgvector_restore import BadCellError, BadDataError, RowRejectedError
from pgvector_restore.schema import COLLECTION
from tests.restore.hostile import BYTES, STRUCTURE, Hostile
from tests.sets import (
    EMBEDDING_FILE,
    EMBEDDING_HEADER,
    SQL_ID,
    STRANGER_ID,
    collection_bytes,
    embedding_bytes,
    quote,
    with_cell,
)

_NAMES = EMBEDDING_HEADER
_AT_2 = ("b-sql", SQL_ID, quote("[4,5,6]"), "second", "")

_HNSW = (
    "CREATE INDEX ON langchain_pg_embedding USING hnsw ((embedding::vector(3)) vector_cosine_ops)"
)


def _vector(text: str, says: str, error: type[BadDataError] = BadCellError, **more: Any) -> Hostile:
    cell = with_cell(2, "embedding", quote(text))
    return Hostile(embedding=cell, error=error, says=says, record=2, column="embedding", **more)


def _meta(text: str, says: str = "neither JSON nor the Python repr", **more: Any) -> Hostile:
    cell = with_cell(2, "cmetadata", quote(text))
    known: dict[str, Any] = {"error": BadCellError, "record": 2, "column": "cmetadata"}
    return Hostile(embedding=cell, says=says, **known | more)


_TYPED = "ALTER TABLE langchain_pg_embedding ALTER embedding TYPE vector(3)"

CELLS = {
    "dimension-of-type": _vector("[1,2]", "2 dimensions, the column takes 3", ddl=_TYPED),
    "dimension-of-index": _vector("[1,2,3,4]", "vector has 4 dimensions", ddl=_HNSW),
    "nan": _vector("[1,NaN,3]", "not finite"),
    "nan-small": _vector("[1,nan,3]", "not finite"),
    "inf": _vector("[1,-Infinity,3]", "not finite"),
    "numpy-inf": _vector("[1. inf 3.]", "not finite"),
    "elided": _vector("[0.1 0.2 ... 0.3 0.4]", "printed by numpy", hint="not in the file"),
    "no-numbers": _vector("[]", "vector has no dimensions"),
    "only-spaces": _vector("[ \n ]", "vector has no dimensions"),
    "no-brackets": _vector("1,2,3", "not a vector"),
    "list-of-strings": _vector("['1','2','3']", "not a vector"),
    "cut-vector": _vector("[1,2", "not a vector"),
    "empty-vector-cell": _vector("", "not a vector"),
    "missing-number": _vector("[1,,2]", "invalid input syntax", RowRejectedError),
    "mixed-separators": _vector("[1 2,3]", "invalid input syntax", RowRejectedError),
    "huge-number": _vector("[1,1e400,3]", "out of range", RowRejectedError),
    "too-large-for-float4": _vector("[1,4e38,3]", "out of range", RowRejectedError),
    "two-vectors": _vector("[1,2,3][4,5,6]", "", RowRejectedError),
    "too-many-dimensions": _vector(
        "[" + "1," * 16_000 + "1]", "16000 dimensions", RowRejectedError
    ),
    "repr-nan": _meta("{'a': nan}", hint="no NaN"),
    "repr-inf": _meta("{'a': [-inf]}", hint="no infinity"),
    "repr-decimal": _meta("{'a': Decimal('1')}", hint="Python object"),
    "repr-datetime": _meta("{'a': datetime.datetime(2025, 1, 1, 0, 0)}", hint="Python object"),
    "repr-cut": _meta("{'a': 'b', 'c", hint="cut off"),
    "repr-tuple": _meta("(1, 2)"),
    "repr-tuple-inside": _meta("{'a': (1, 2)}"),
    "repr-set": _meta("{1, 2}"),
    "repr-number-key": _meta("{1: 'a'}"),
    "repr-none-key": _meta("{None: 'a'}"),
    "repr-bytes": _meta("{'a': b'x'}"),
    "repr-call": _meta("__import__('os').system('true')"),
    "repr-joined-strings": _meta("{'a': 'b' 'c'}"),
    "repr-other-escape": _meta(r"{'a': '\N{BULLET}'}"),
    "repr-no-character": _meta(r"{'a': '\U00110000'}"),
    "repr-no-number-of-a-character": _meta(r"{'a': '\Uffffffff'}"),
    "repr-lone-surrogate": _meta(r"{'a': '\ud800'}"),
    "repr-trailing-comma": _meta("{'a': 1,}"),
    "bare-word": _meta("abc"),
    "json-nan": _meta('{"a": NaN}'),
    "json-cut": _meta('{"a": [1, 2'),
    "json-two-values": _meta('{"a": 1} {"b": 2}'),
    "json-nul": _meta(r'{"a": "x\u0000"}', r"\u0000"),
    "repr-nul": _meta(r"{'a': 'x\x00'}", r"\u0000"),
    "json-lone-surrogate": _meta(r'{"a": "\ud800"}', "", error=RowRejectedError),
    "empty-cmetadata": _meta(""),
    "deep-json": _meta("[" * 100_000 + "]" * 100_000, "", error=RowRejectedError),
    "collection-repr": Hostile(
        collection=with_cell(2, "cmetadata", quote("{'a': nan}"), COLLECTION),
        error=BadCellError, says="neither JSON nor", record=2, column="cmetadata",
    ),
    "bytea-address": Hostile(
        embedding=embedding_bytes(
            header=(*_NAMES, "blob"), records=[(*_AT_2, ""), (*_AT_2, "<memory at 0x7f00aa>")]
        ),
        ddl="ALTER TABLE langchain_pg_embedding ADD blob bytea",
        error=BadCellError, says="address of a Python memoryview", record=2, column="blob",
    ),
}  # fmt: skip

KEYS = {
    "duplicate-id": Hostile(
        embedding=with_cell(3, "id", "a-ddl"),
        error=RowRejectedError, says="duplicate key", hint="twice in the file", record=3,
    ),
    "duplicate-collection-name": Hostile(
        collection=with_cell(2, "name", "sql", COLLECTION),
        error=RowRejectedError, says="duplicate key", record=2,
    ),
    "orphan": Hostile(
        embedding=with_cell(3, "collection_id", STRANGER_ID),
        error=BadCellError, says="neither in the backup nor in the database",
        record=3, column="collection_id",
    ),
    "orphan-of-cut-collections": Hostile(
        collection=collection_bytes(records=[]), file=EMBEDDING_FILE,
        error=BadCellError, says="neither in the backup", record=1, column="collection_id",
    ),
    "bad-uuid": Hostile(
        embedding=with_cell(3, "collection_id", SQL_ID[:-1]),
        error=BadCellError, says="refers to", record=3, column="collection_id",
    ),
    "bad-collection-uuid": Hostile(
        collection=with_cell(1, "uuid", "not-a-uuid", COLLECTION),
        error=RowRejectedError, says="invalid input syntax for type uuid", record=1, column="uuid",
    ),
    "null-uuid": Hostile(
        collection=with_cell(2, "uuid", "", COLLECTION),
        error=BadCellError, says="the column is NOT NULL", record=2, column="uuid",
    ),
    "null-vector": Hostile(
        ddl="UPDATE langchain_pg_embedding SET embedding = '[7,8,9]' WHERE embedding IS NULL; "
            "ALTER TABLE langchain_pg_embedding ALTER embedding SET NOT NULL",
        error=BadCellError, says="the column is NOT NULL", record=4, column="embedding",
    ),
    "check-constraint": Hostile(
        ddl="ALTER TABLE langchain_pg_embedding ADD CHECK (id <> 'z')",
        embedding=with_cell(2, "id", "z"),
        error=RowRejectedError, says="violates check constraint", record=2,
    ),
    "too-long-for-varchar": Hostile(
        ddl="ALTER TABLE langchain_pg_embedding ALTER id TYPE varchar(8)",
        embedding=with_cell(2, "id", "123456789"),
        error=RowRejectedError, says="too long", record=2, column="id",
    ),
    "too-long-for-index": Hostile(
        embedding=with_cell(
            2, "id", "".join(str(n * n * n) for n in range(3000))
        ),
        error=RowRejectedError, says="index row", record=2,
    ),
}  # fmt: skip

ALL = {**BYTES, **STRUCTURE, **CELLS, **KEYS}
every_case = pytest.mark.parametrize("case", ALL.values(), ids=ALL.keys())
