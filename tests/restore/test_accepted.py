"""What looks odd and is right: it is restored, to the letter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pgvector_restore import RestoreReport
from tests.restore.content import count, execute, query
from tests.sets import (
    EMBEDDING_CELLS,
    EMBEDDING_FILE,
    EMBEDDING_HEADER,
    SQL_ID,
    collection_bytes,
    embedding_bytes,
    quote,
    raw_file,
    restore,
    with_cell,
    write_set,
    written,
)

_EXPECTED = [
    ("a-ddl", "[1,2,3]", 'create table "x" (\n  a int\n)', {"a": None}),
    ("b-sql", "[0.5,-2,3e-05]", "second row", {"id": "b-sql"}),
    ("c-doc", "[0.1,0.2,0.3]", "größe 📚", None),
    ("d-sql", None, None, {"n": [1, 2.5, True]}),
]


def rows(dsn: str) -> list[tuple[Any, ...]]:
    return query(
        dsn,
        "SELECT id, embedding::text, document, cmetadata FROM langchain_pg_embedding ORDER BY id",
    )


def restored(dsn: str, tmp_path: Path, embedding: bytes, **options: Any) -> RestoreReport:
    return restore(write_set(tmp_path, embedding=embedding), dsn, mode="replace", **options)


def document_of(dsn: str, tmp_path: Path, cell: str) -> str | None:
    restored(dsn, tmp_path, with_cell(2, "document", cell))
    (row,) = query(dsn, "SELECT document FROM langchain_pg_embedding WHERE id = 'b-sql'")
    document: str | None = row[0]
    return document


@pytest.mark.parametrize(
    "embedding",
    [
        embedding_bytes(),
        embedding_bytes(end="\n"),
        b"\xef\xbb\xbf" + embedding_bytes(),
        b"\xef\xbb\xbf" + embedding_bytes(end="\n"),
        embedding_bytes(header=[quote(name) for name in EMBEDDING_HEADER]),
        raw_file(EMBEDDING_HEADER[::-1], [cells[::-1] for cells in EMBEDDING_CELLS]),
    ],
    ids=["crlf", "lf", "bom", "bom-lf", "quoted-header", "columns-reversed"],
)
def test_forms_of_a_file(g2_dsn: str, tmp_path: Path, embedding: bytes) -> None:
    report = restored(g2_dsn, tmp_path, embedding)
    assert rows(g2_dsn) == _EXPECTED
    assert report.warnings == ()
    (repair,) = report.table("langchain_pg_embedding").repairs
    assert (repair.column, repair.kind, repair.cells, repair.record) == (
        "cmetadata",
        "python_repr",
        2,
        1,
    )
    assert (repair.before, repair.after) == ("{'a': None}", '{"a": null}')


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_last_record_without_row_end_is_reported(g2_dsn: str, tmp_path: Path, end: str) -> None:
    report = restored(g2_dsn, tmp_path, embedding_bytes(end=end).removesuffix(end.encode()))
    assert rows(g2_dsn) == _EXPECTED
    (warning,) = report.warnings
    assert EMBEDDING_FILE in warning
    assert "does not end with a row end" in warning


@pytest.mark.parametrize("log", [None, {EMBEDDING_FILE: 0}], ids=["no-log", "log"])
def test_header_only_empties_the_table_with_a_warning(
    g2_dsn: str, tmp_path: Path, log: dict[str, int] | None
) -> None:
    restored(g2_dsn, tmp_path, embedding_bytes())
    root = write_set(tmp_path, embedding=embedding_bytes(records=[]), log=log)
    report = restore(root, g2_dsn, mode="replace")
    assert count(g2_dsn, "langchain_pg_embedding") == 0
    (warning,) = report.warnings
    assert EMBEDDING_FILE in warning


def test_empty_cells(g2_dsn: str, tmp_path: Path) -> None:
    execute(g2_dsn, "ALTER TABLE langchain_pg_embedding ADD note text NOT NULL, ADD more text")
    cells = [
        ("1", SQL_ID, "", "", "", "", ""),
        ("2", SQL_ID, "", '""', "", '""', '""'),
        ("3", SQL_ID, "", '" "', "", "x", '""""'),
    ]
    restored(g2_dsn, tmp_path, raw_file((*EMBEDDING_HEADER, "note", "more"), cells))
    assert query(g2_dsn, "SELECT document, note, more FROM langchain_pg_embedding ORDER BY id") == [
        (None, "", None),
        ("", "", ""),
        (" ", "x", '"'),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "\r\n", "\r", "\n\n", "\t", "\\", "\\\\N", "\\N", "\\.", "a\n\\.\nb", '"', '""', ",", " ",
        "\u2028\u2029", "\x01\x7f\x85",
        "📚👩‍👩‍👧", "\ufeff", "NULL", "'; DROP TABLE x; --", "\\x41",
        "x" * 300_000, '"\n,' * 60_000,
    ],
    ids=lambda text: ascii(text[:12]),
)  # fmt: skip
def test_documents_to_the_letter(g2_dsn: str, tmp_path: Path, text: str) -> None:
    assert document_of(g2_dsn, tmp_path, quote(text)) == text


@pytest.mark.parametrize("cell", ["\\N", "\\.", "a\tb", "\\", " padded ", "NULL", "'quoted'"])
def test_unquoted_documents_to_the_letter(g2_dsn: str, tmp_path: Path, cell: str) -> None:
    assert document_of(g2_dsn, tmp_path, cell) == cell


def test_record_that_is_end_of_data_to_others(g2_dsn: str, tmp_path: Path) -> None:
    header, *_ = written(["id"], []).splitlines(keepends=True)
    report = restored(g2_dsn, tmp_path, header + b"a\r\n\\.\r\nb\r\n")
    assert report.table("langchain_pg_embedding").rows_after == 3
    assert [row[0] for row in rows(g2_dsn)] == ["\\.", "a", "b"]


@pytest.mark.parametrize(
    ("cell", "stored"),
    [
        ("[ 1 ,  2,3 ]", "[1,2,3]"),
        (" [1,2,3]\n", "[1,2,3]"),
        ("[1e-46,-0,1E2]", "[0,-0,100]"),
        ("[123456789012345678901234567890]", "[1.2345679e+29]"),
        ("[.5,+1,2.]", "[0.5,1,2]"),
    ],
)
def test_spellings_of_vectors(g2_dsn: str, tmp_path: Path, cell: str, stored: str) -> None:
    report = restored(g2_dsn, tmp_path, with_cell(2, "embedding", quote(cell)))
    assert rows(g2_dsn)[1][1] == stored
    assert [r.column for r in report.table("langchain_pg_embedding").repairs] == ["cmetadata"]


def test_vectors_printed_by_numpy_are_repaired_and_counted(g2_dsn: str, tmp_path: Path) -> None:
    cells = [list(cells) for cells in EMBEDDING_CELLS]
    cells[1][2] = "[ 1.   2.5 -3. ]"
    cells[2][2] = quote("[0.1 0.2\n 0.3 4e-05]")
    report = restored(g2_dsn, tmp_path, embedding_bytes(records=cells))
    assert [row[1] for row in rows(g2_dsn)] == [
        "[1,2,3]",
        "[1,2.5,-3]",
        "[0.1,0.2,0.3,4e-05]",
        None,
    ]
    repairs = {r.column: r for r in report.table("langchain_pg_embedding").repairs}
    found = repairs["embedding"]
    assert (found.kind, found.cells, found.record) == ("numpy_vector", 2, 2)
    assert (found.before, found.after) == ("[ 1.   2.5 -3. ]", "[1.,2.5,-3.]")


def test_largest_vector(g2_dsn: str, tmp_path: Path) -> None:
    text = "[" + ",".join(str(n / 8) for n in range(16_000)) + "]"
    restored(g2_dsn, tmp_path, with_cell(2, "embedding", quote(text)))
    assert json.loads(rows(g2_dsn)[1][1]) == [n / 8 for n in range(16_000)]


@pytest.mark.parametrize(
    ("cell", "meaning"),
    [
        ("{'a': \"it's\"}", {"a": "it's"}),
        ("{'a': 'say \"x\"\\n', 'b': '\\\\N'}", {"a": 'say "x"\n', "b": "\\N"}),
        ("{'a': '\\x85\\u2028\\U0001f4da'}", {"a": "\x85\u2028📚"}),
        ("[None, True, False, 1e+16, -0.5]", [None, True, False, 1e16, -0.5]),
        ("'True'", "True"),
        ("True", True),
        ("{}", {}),
        ('{"a": [1, null]}', {"a": [1, None]}),
        ('"x"', "x"),
        ("null", None),
        ("{'None': 'None'}", {"None": "None"}),
        ('{"a": "\\\\u0000"}', {"a": "\\u0000"}),
    ],
)
def test_metadata(g2_dsn: str, tmp_path: Path, cell: str, meaning: Any) -> None:
    restored(g2_dsn, tmp_path, with_cell(2, "cmetadata", quote(cell)))
    assert rows(g2_dsn)[1][3] == meaning


def test_nul_escape_is_fine_in_json(g2_dsn: str, tmp_path: Path) -> None:
    """The collections' metadata is json, which keeps the escape; jsonb refuses it."""
    cells = [(SQL_ID, "sql", quote("{'a': 'x\\x00'}"))]
    root = write_set(
        tmp_path, collection=collection_bytes(records=cells), embedding=embedding_bytes(records=[])
    )
    restore(root, g2_dsn)
    assert query(g2_dsn, "SELECT cmetadata::text FROM langchain_pg_collection") == [
        ('{"a": "x\\u0000"}',)
    ]
