"""The table of hostile inputs: a changed file, and the error it must end in."""

from __future__ import annotations

import gzip
from typing import Any

from attrs import field, frozen

from pgvector_restore import (
    BadDataError,
    BadHeaderError,
    BadRecordError,
    RowCountError,
)
from tests.sets import (
    COLLECTION_FILE,
    DOC_ID,
    EMBEDDING_CELLS,
    EMBEDDING_FILE,
    EMBEDDING_HEADER,
    SQL_ID,
    embedding_bytes,
    quote,
    with_cell,
)


@frozen(kw_only=True)
class Hostile:
    """One input that must be refused."""

    #: The only error it may end in.
    error: type[BadDataError]
    #: Part of the message.
    says: str
    #: Part of the hint.
    hint: str = ""
    #: Where the error must point.
    record: int | None = None
    column: str | None = None
    #: Files, the good ones unless given.
    embedding: bytes | None = None
    collection: bytes | None = None
    log: dict[str, int] | None = None
    #: SQL that changes the target beforehand.
    ddl: str = ""
    options: dict[str, Any] = field(factory=dict)
    #: Name of the file the error must name.
    file: str = field()

    @file.default
    def _changed_file(self) -> str:
        return EMBEDDING_FILE if self.collection is None else COLLECTION_FILE


def _records(*changed: str | None, at: int = 2) -> bytes:
    """The small file with one record changed to these cells."""
    records: list[Any] = [list(cells) for cells in EMBEDDING_CELLS]
    records[at - 1] = [cell for cell in changed if cell is not None]
    return embedding_bytes(records=records)


def _header(*names: str) -> bytes:
    return embedding_bytes(header=names)


def _one_end(record: int, wrong: bytes, right: bytes) -> bytes:
    """The small file where one record ends in another way than the rest."""
    parts = [
        embedding_bytes(records=[cells], end=right.decode()).split(right, 1)[1]
        for cells in EMBEDDING_CELLS
    ]
    parts[record - 1] = parts[record - 1].removesuffix(right) + wrong
    return embedding_bytes(records=[], end=right.decode()) + b"".join(parts)


_GOOD = embedding_bytes()
_NAMES = EMBEDDING_HEADER

BYTES = {
    "nul-unquoted": Hostile(
        embedding=with_cell(2, "document", "se\0cond"),
        error=BadRecordError, says="NUL byte", record=2, column="document",
    ),
    "nul-quoted": Hostile(
        embedding=with_cell(1, "document", quote("a\0\n")),
        error=BadRecordError, says="NUL byte", record=1, column="document",
    ),
    "nul-header": Hostile(
        embedding=_header("id", "collection_id", "embedding", "docu\0ment", "cmetadata"),
        error=BadHeaderError, says="NUL byte", record=0,
    ),
    "latin-1": Hostile(
        embedding=with_cell(3, "document", "gr\xf6\xdfe").decode().encode("latin-1"),
        error=BadRecordError, says="byte 0xf6 is not UTF-8", record=3, column="document",
    ),
    "cut-character": Hostile(
        embedding=_GOOD.replace("📚".encode(), "📚".encode()[:-1]),
        error=BadRecordError, says="is not UTF-8", record=3, column="document",
    ),
    "surrogate-bytes": Hostile(
        embedding=_GOOD.replace("📚".encode(), b"\xed\xa0\x80"),
        error=BadRecordError, says="byte 0xed is not UTF-8", record=3, column="document",
    ),
    "lf-in-crlf-file": Hostile(
        embedding=_one_end(2, b"\n", b"\r\n"),
        error=BadRecordError, says="ends with LF, the header ends with CRLF",
        record=2, column="cmetadata",
    ),
    "crlf-in-lf-file": Hostile(
        embedding=_one_end(3, b"\r\n", b"\n"),
        error=BadRecordError, says="ends with CRLF, the header ends with LF",
        record=3, column="cmetadata",
    ),
    "lf-after-quote": Hostile(
        embedding=_one_end(1, b"\n", b"\r\n"),
        error=BadRecordError, says="ends with LF, the header ends with CRLF",
        record=1, column="cmetadata",
    ),
    "lone-cr": Hostile(
        embedding=with_cell(2, "document", "sec\rond"),
        error=BadRecordError, says="carriage return", record=2, column="document",
    ),
    "cr-only-file": Hostile(
        embedding=_GOOD.replace(b"\r\n", b"\r"),
        error=BadHeaderError, says="carriage return", record=0,
    ),
    "two-boms": Hostile(
        embedding=b"\xef\xbb\xbf" * 2 + _GOOD,
        error=BadHeaderError, says=r'no column "\ufeffid"', record=0, column="\ufeffid",
    ),
    "utf-16": Hostile(
        embedding=embedding_bytes(encoding="utf-16"),
        error=BadHeaderError, says="header cannot be read", hint="UTF-16", record=0,
    ),
    "utf-16-no-bom": Hostile(
        embedding=embedding_bytes(encoding="utf-16-le"),
        error=BadHeaderError, says="header cannot be read", record=0,
    ),
    "gzip": Hostile(
        embedding=gzip.compress(_GOOD, mtime=0),
        error=BadHeaderError, says="", hint="gzip", record=0,
    ),
    "empty": Hostile(
        embedding=b"", error=BadHeaderError, says="file is empty"
    ),
    "only-bom": Hostile(
        embedding=b"\xef\xbb\xbf", error=BadHeaderError, says="file is empty"
    ),
    "empty-lines": Hostile(
        embedding=b"\r\n\r\n", error=BadHeaderError,
        says="column 1 of the header has no name", record=0,
    ),
}  # fmt: skip

STRUCTURE = {
    "lost-closing-quote": Hostile(
        embedding=with_cell(4, "cmetadata", "\"{'n': 1}"),
        error=BadRecordError, says="no closing quote", record=4, column="cmetadata",
    ),
    "lost-opening-quote": Hostile(
        embedding=with_cell(2, "embedding", '[0.5,-2,3]"'),
        error=BadRecordError, says="quote inside of an unquoted field",
        record=2, column="cmetadata",
    ),
    "quote-in-unquoted": Hostile(
        embedding=with_cell(2, "document", 'a "word" here'),
        error=BadRecordError, says="quote inside of an unquoted field", record=2, column="document",
    ),
    "text-after-quote": Hostile(
        embedding=with_cell(2, "document", '"a"b'),
        error=BadRecordError, says="closing quote is followed by", record=2, column="document",
    ),
    "quote-in-header": Hostile(
        embedding=_header("id", "collection_id", "embedding", "document", '"cmetadata'),
        error=BadHeaderError, says="", record=0,
    ),
    "cut-in-quotes": Hostile(
        embedding=_GOOD[: _GOOD.rindex(b"2.5")],
        error=BadRecordError, says="no closing quote", record=4, column="cmetadata",
    ),
    "cut-between-quotes": Hostile(
        embedding=_GOOD[: _GOOD.rindex(b',"{')],
        error=BadRecordError, says="record has 4 fields, the header has 5", record=4,
    ),
    "cut-in-record": Hostile(
        embedding=_GOOD[: _GOOD.rindex(DOC_ID.encode()) + 9],
        error=BadRecordError, says="record has 2 fields, the header has 5", record=4,
    ),
    "too-few": Hostile(
        embedding=_records("b-sql", SQL_ID, "", ""),
        error=BadRecordError, says="record has 4 fields, the header has 5", record=2,
    ),
    "too-many": Hostile(
        embedding=_records("b-sql", SQL_ID, "", "", "", ""),
        error=BadRecordError, says="record has more than 5 fields", record=2,
    ),
    "empty-line": Hostile(
        embedding=_records("", at=3),
        error=BadRecordError, says="empty line", record=3,
    ),
    "empty-line-at-end": Hostile(
        embedding=_GOOD + b"\r\n",
        error=BadRecordError, says="empty line", record=5,
    ),
    "backslash-dot": Hostile(
        embedding=_records("\\."),
        error=BadRecordError, says="record has 1 field, the header has 5", record=2,
    ),
    "semicolons": Hostile(
        embedding=_GOOD.replace(b",", b";"),
        error=BadHeaderError, says="no column", record=0, column=";".join(_NAMES),
    ),
    "duplicate-name": Hostile(
        embedding=_header(*_NAMES[:3], "id", "cmetadata"),
        error=BadHeaderError, says='column "id" stands twice in the header', record=0,
    ),
    "unknown-name": Hostile(
        embedding=_header(*_NAMES[:3], "body", "cmetadata"),
        error=BadHeaderError, says='has no column "body"', record=0, column="body",
    ),
    "other-case": Hostile(
        embedding=_header(*_NAMES[:3], "Document", "cmetadata"),
        error=BadHeaderError, says='has no column "Document"', record=0, column="Document",
    ),
    "space-in-name": Hostile(
        embedding=_header(*_NAMES[:3], " document", "cmetadata"),
        error=BadHeaderError, says='has no column " document"', record=0, column=" document",
    ),
    "empty-name": Hostile(
        embedding=_header(*_NAMES[:3], "", "cmetadata"),
        error=BadHeaderError, says="column 4 of the header has no name", record=0,
    ),
    "too-long-in-quotes": Hostile(
        embedding=with_cell(2, "document", '"' + "x" * 3_000_000),
        error=BadRecordError, says="record is longer than 65536 bytes", record=2,
        options={"max_record_bytes": 65536},
    ),
    "log-counts-more": Hostile(
        log={EMBEDDING_FILE: 5},
        error=RowCountError, says="has 4 records, the backup log counts 5",
    ),
    "log-counts-less": Hostile(
        log={EMBEDDING_FILE: 3},
        error=RowCountError, says="has 4 records, the backup log counts 3",
    ),
}  # fmt: skip
