"""Content of files and tables, compared: what counts as a difference, and how it is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pgvector_restore import (
    BadCellError,
    BadHeaderError,
    OptionError,
    ProgressEvent,
    Restorer,
    RowDifference,
    TargetMismatchError,
    VerifyReport,
    open_store,
)
from tests.restore.content import execute, query, snapshot
from tests.sets import (
    COLLECTION_FILE,
    DOC_ID,
    EMBEDDING_FILE,
    SQL_ID,
    embedding_bytes,
    restore,
    with_cell,
    write_set,
)

EMBEDDING = "langchain_pg_embedding"
COLLECTION = "langchain_pg_collection"


def verify(root: Path, target: Any, **how: Any) -> VerifyReport:
    with Restorer(open_store(root), target) as restorer:
        return restorer.verify("latest", **how)


def differences(root: Path, target: Any, **how: Any) -> list[RowDifference]:
    report = verify(root, target, **how)
    assert not report.equal
    assert not report.ok
    return [one for table in report.tables for one in table.differences]


@pytest.fixture
def restored(tmp_path: Path, g2_dsn: str) -> tuple[Path, str]:
    root = write_set(tmp_path)
    restore(root, g2_dsn)
    return root, g2_dsn


def test_a_restored_set_is_equal_and_nothing_is_touched(restored: tuple[Path, str]) -> None:
    root, dsn = restored
    before = snapshot(dsn)
    events: list[ProgressEvent] = []
    report = verify(root, dsn, progress=events.append)
    assert report.equal
    assert report.ok
    assert [(t.rows_in_file, t.rows_in_database) for t in report.tables] == [(2, 2), (4, 4)]
    assert [t.key for t in report.tables] == [("uuid",), ("id",)]
    assert all(t.file_digest == t.database_digest for t in report.tables)
    assert snapshot(dsn) == before
    assert [event.phase for event in events if event.phase != "verify"] == ["done"]
    assert events[-1].bytes_done == events[-1].bytes_total == report.backup.size_bytes
    assert str(report).splitlines()[1:] == [
        "  langchain_pg_collection: 2 rows, all the same",
        "  langchain_pg_embedding: 4 rows, all the same",
    ]
    assert report.to_dict()["tables"][EMBEDDING]["equal"] is True


@pytest.mark.parametrize("verify_level", ["counts", "content"])
@pytest.mark.parametrize("strategy", ["in_place", "swap"])
@pytest.mark.parametrize("wire", ["binary", "text"])
def test_equal_after_every_kind_of_restore(
    tmp_path: Path, g2_dsn: str, strategy: str, wire: str, verify_level: str
) -> None:
    root = write_set(tmp_path)
    report = restore(
        root, g2_dsn, mode="replace", strategy=strategy, wire=wire, verify=verify_level
    )
    found = verify(root, g2_dsn)
    assert found.equal
    assert report.verified == report.to_dict()["verified"] == verify_level
    expected = [t.database_digest for t in found.tables]
    assert [t.digest for t in report.tables] == (
        expected if verify_level == "content" else [None, None]
    )
    assert ("content compared" in str(report)) == (verify_level == "content")


def test_spelling_of_the_file_does_not_count(restored: tuple[Path, str]) -> None:
    root, dsn = restored
    meta = '"{""n"": [1.0, 25e-1, true], ""n"": [1, 2.50, true]}"'
    write_set(root, embedding=with_cell(4, "cmetadata", meta))
    assert verify(root, dsn).equal
    write_set(root, embedding=with_cell(2, "embedding", '" [ 5e-1,-2.0, 0.00003 ] "'))
    assert verify(root, dsn, tables=[EMBEDDING]).table(EMBEDDING).rows_in_file == 4
    write_set(root, embedding=with_cell(3, "collection_id", DOC_ID.upper()))
    assert verify(root, dsn).equal
    reordered = embedding_bytes(
        header=("document", "id", "embedding", "cmetadata"),
        records=[
            ('"create table ""x"" (\n  a int\n)"', "a-ddl", '"[1,2,3]"', '"{""a"": null}"'),
            ("second row", "b-sql", '"[0.5,-2,3e-05]"', '"{""id"":""b-sql""}"'),
            ("größe 📚", "c-doc", '"[0.1,0.2,0.3]"', ""),
            ("", "d-sql", "", '"{""n"":[1,2.5,true]}"'),
        ],
        end="\n",
    )
    write_set(root, embedding=reordered)
    assert verify(root, dsn).equal


def different(key: str, record: int, *columns: str) -> list[RowDifference]:
    return [RowDifference("different", (key,), record, columns)]


CHANGES: dict[str, tuple[str, list[RowDifference]]] = {
    "one bit of a float": (
        f"UPDATE {EMBEDDING} SET embedding = '[0.1,0.20000002,0.3]' WHERE id = 'c-doc'",
        different("c-doc", 3, "embedding"),
    ),
    "a sign": (
        f"UPDATE {EMBEDDING} SET embedding = '[1,-2,3]' WHERE id = 'a-ddl'",
        different("a-ddl", 1, "embedding"),
    ),
    "one character": (
        f"UPDATE {EMBEDDING} SET document = 'second Row' WHERE id = 'b-sql'",
        different("b-sql", 2, "document"),
    ),
    "a combined character": (
        f"UPDATE {EMBEDDING} SET document = 'gro\u0308ße 📚' WHERE id = 'c-doc'",
        different("c-doc", 3, "document"),
    ),
    "a space at the end": (
        f"UPDATE {EMBEDDING} SET document = 'second row ' WHERE id = 'b-sql'",
        different("b-sql", 2, "document"),
    ),
    "empty instead of NULL": (
        f"UPDATE {EMBEDDING} SET document = '' WHERE id = 'd-sql'",
        different("d-sql", 4, "document"),
    ),
    "JSON null instead of NULL": (
        f"UPDATE {EMBEDDING} SET cmetadata = 'null' WHERE id = 'c-doc'",
        different("c-doc", 3, "cmetadata"),
    ),
    "NULL instead of a vector": (
        f"UPDATE {EMBEDDING} SET embedding = NULL WHERE id = 'a-ddl'",
        different("a-ddl", 1, "embedding"),
    ),
    "a number in JSON": (
        f"""UPDATE {EMBEDDING} SET cmetadata = '{{"n": [1, 2.50001, true]}}' WHERE id = 'd-sql'""",
        different("d-sql", 4, "cmetadata"),
    ),
    "a string instead of a number": (
        f"""UPDATE {EMBEDDING} SET cmetadata = '{{"n": ["1", 2.5, true]}}' WHERE id = 'd-sql'""",
        different("d-sql", 4, "cmetadata"),
    ),
    "two columns": (
        f"UPDATE {EMBEDDING} SET document = 'x', collection_id = '{SQL_ID}' WHERE id = 'c-doc'",
        different("c-doc", 3, "collection_id", "document"),
    ),
    "rows swapped between keys": (
        f"UPDATE {EMBEDDING} e SET document = o.document FROM {EMBEDDING} o "  # noqa: ISC004
        "WHERE (e.id, o.id) IN (('b-sql', 'c-doc'), ('c-doc', 'b-sql'))",
        different("b-sql", 2, "document") + different("c-doc", 3, "document"),
    ),
    "a missing row": (
        f"DELETE FROM {EMBEDDING} WHERE id = 'b-sql'",
        [RowDifference("missing", ("b-sql",), 2)],
    ),
    "an extra row": (
        f"INSERT INTO {EMBEDDING} (id, embedding) VALUES ('x', '[1,2,3]')",
        [RowDifference("extra", ("x",))],
    ),
    "another key": (
        f"UPDATE {EMBEDDING} SET id = 'z' WHERE id = 'a-ddl'",
        [RowDifference("missing", ("a-ddl",), 1), RowDifference("extra", ("z",))],
    ),
    "an empty table": (
        f"TRUNCATE {EMBEDDING}",
        [RowDifference("missing", (k,), n) for n, k in enumerate(["a-ddl", "b-sql", "c-doc"], 1)]
        + [RowDifference("missing", ("d-sql",), 4)],
    ),
    "the other table": (
        f"UPDATE {COLLECTION} SET cmetadata = '{{}}' WHERE uuid = '{DOC_ID}'",
        different(DOC_ID, 2, "cmetadata"),
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_differs_is_named(restored: tuple[Path, str], change: str) -> None:
    root, dsn = restored
    statement, expected = CHANGES[change]
    execute(dsn, statement)
    assert differences(root, dsn) == expected


OTHER_JSON = """'{ "reviewed" : null,\n "owner":"d\\u0061ta team"}'"""


@pytest.mark.parametrize(
    "change",
    [
        f"UPDATE {EMBEDDING} SET cmetadata = '{{\"n\": [1.000, 0.25e1, true]}}' WHERE id = 'd-sql'",
        f"UPDATE {COLLECTION} SET cmetadata = {OTHER_JSON} WHERE cmetadata IS NOT NULL",
        f"ALTER TABLE {EMBEDDING} ADD COLUMN mine int DEFAULT 5",
        f"ALTER TABLE {EMBEDDING} ALTER COLUMN document TYPE text",
        f"CLUSTER {EMBEDDING} USING {EMBEDDING}_pkey",
    ],
)
def test_what_means_the_same_does_not_count(restored: tuple[Path, str], change: str) -> None:
    root, dsn = restored
    execute(dsn, change)
    assert verify(root, dsn).equal


def test_sentences(restored: tuple[Path, str]) -> None:
    root, dsn = restored
    execute(dsn, f"UPDATE {EMBEDDING} SET document = 'x' WHERE id = 'b-sql'")
    execute(dsn, f"INSERT INTO {EMBEDDING} (id) VALUES (E'new\\n\\x1b[2J')")
    report = verify(root, dsn)
    assert "does not hold exactly vector_bak/20260102_030405" in report.lines[0]
    assert report.lines[2:] == [
        f"  {EMBEDDING}: 5 rows, not those of {EMBEDDING_FILE} with 4 records",
        '    different: "b-sql" (record 2) in document',
        '    extra: "new\\n\\x1b[2J"',
    ]


def test_limit(restored: tuple[Path, str]) -> None:
    root, dsn = restored
    execute(dsn, f"UPDATE {EMBEDDING} SET document = 'x'")
    for limit, more in ((1, True), (3, True), (4, False), (1000, False)):
        table = verify(root, dsn, limit=limit).table(EMBEDDING)
        assert (len(table.differences), table.more) == (min(limit, 4), more)
    table = verify(root, dsn, limit=0).table(EMBEDDING)
    assert (table.equal, table.differences, table.more) == (False, (), True)
    for wrong in (-1, 1001, True, "3"):
        with pytest.raises(OptionError, match="limit must be a whole number from 0 to 1000"):
            verify(root, dsn, limit=wrong)


def test_rows_without_a_key(restored: tuple[Path, str]) -> None:
    root, dsn = restored
    execute(dsn, f"ALTER TABLE {EMBEDDING} DROP CONSTRAINT {EMBEDDING}_pkey")
    assert verify(root, dsn).table(EMBEDDING).key == ()
    assert verify(root, dsn).equal
    execute(dsn, f"INSERT INTO {EMBEDDING} SELECT * FROM {EMBEDDING} WHERE id = 'b-sql'")
    (twice,) = differences(root, dsn)
    assert (twice.kind, twice.key, twice.record) == ("extra", (), None)
    assert query(dsn, f"SELECT id FROM {EMBEDDING} WHERE ctid = '{twice.ctid}'") == [("b-sql",)]
    assert str(twice) == f"extra: row {twice.ctid}"
    execute(dsn, f"DELETE FROM {EMBEDDING} WHERE id = 'b-sql'")
    (missing,) = differences(root, dsn)
    assert missing == RowDifference("missing", (), 2)
    assert str(missing) == "missing: record 2"


def test_a_key_the_file_lacks_is_none(restored: tuple[Path, str]) -> None:
    root, dsn = restored
    write_set(
        root, embedding=embedding_bytes(header=("document",), records=[("x",), ("second row",)])
    )
    table = verify(root, dsn).table(EMBEDDING)
    assert table.key == ()
    assert {one.kind for one in table.differences} == {"missing", "extra"}
    assert len(table.differences) == 4


def test_a_key_of_two_columns_in_its_order(restored: tuple[Path, str]) -> None:
    root, dsn = restored
    execute(dsn, f"ALTER TABLE {EMBEDDING} DROP CONSTRAINT {EMBEDDING}_pkey")
    execute(dsn, f"DELETE FROM {EMBEDDING} WHERE id = 'd-sql'")
    execute(dsn, f"ALTER TABLE {EMBEDDING} ADD PRIMARY KEY (id, document)")
    table = verify(root, dsn).table(EMBEDDING)
    assert table.key == ("id", "document")
    assert table.differences == (RowDifference("missing", ("d-sql", ""), 4),)


def test_a_key_twice_in_the_file(restored: tuple[Path, str]) -> None:
    root, dsn = restored
    data = embedding_bytes() + f"b-sql,{SQL_ID},,again,\r\n".encode()
    write_set(root, embedding=data)
    assert differences(root, dsn) == [RowDifference("missing", ("b-sql",), 5)]


def test_computed_columns_are_not_compared(restored: tuple[Path, str]) -> None:
    root, dsn = restored
    execute(dsn, f"ALTER TABLE {EMBEDDING} DROP COLUMN document")
    execute(
        dsn, f"ALTER TABLE {EMBEDDING} ADD COLUMN document text GENERATED ALWAYS AS ('x') STORED"
    )
    assert verify(root, dsn).equal


def test_only_named_tables_and_another_schema(restored: tuple[Path, str]) -> None:
    root, dsn = restored
    execute(dsn, f"UPDATE {COLLECTION} SET name = name || '!'")
    report = verify(root, dsn, tables=EMBEDDING)
    assert report.equal
    assert [t.table for t in report.tables] == [EMBEDDING]
    execute(dsn, "CREATE SCHEMA other")
    with pytest.raises(TargetMismatchError, match='schema "other" has no table') as caught:
        verify(root, dsn, schema="other")
    assert caught.value.hint == "restore it first, or name the schema it is in"


def test_a_column_the_table_lacks(restored: tuple[Path, str]) -> None:
    root, dsn = restored
    execute(dsn, f"ALTER TABLE {EMBEDDING} DROP COLUMN document")
    with pytest.raises(BadHeaderError, match='has no column "document"'):
        verify(root, dsn)


def test_a_broken_cell_is_named(restored: tuple[Path, str]) -> None:
    root, dsn = restored
    write_set(root, embedding=with_cell(3, "embedding", '"[1,2,nan]"'))
    with pytest.raises(BadCellError, match="not finite") as caught:
        verify(root, dsn)
    assert (caught.value.record, caught.value.column) == (3, "embedding")


def test_a_session_of_the_servers_own_taste(restored: tuple[Path, str]) -> None:
    root, dsn = restored
    execute(
        dsn,
        "DO $$BEGIN EXECUTE format('ALTER DATABASE %I SET bytea_output = escape', "
        "current_database()); EXECUTE format('ALTER DATABASE %I SET extra_float_digits = -3', "
        "current_database()); EXECUTE format('ALTER DATABASE %I SET DateStyle = German', "
        "current_database()); END$$",
    )
    execute(dsn, f"ALTER TABLE {COLLECTION} ADD COLUMN f float8[]")
    execute(dsn, f"UPDATE {COLLECTION} SET f = '{{0.1234567890123456}}'")
    row = (SQL_ID, "sql", '"{0.1234567890123457}"')
    other = (DOC_ID, "documentation", '"{0.12345678901234560}"')
    text = "\r\n".join(",".join(cells) for cells in (("uuid", "name", "f"), row, other, ()))
    write_set(root, collection=text.encode())
    found = verify(root, dsn).table(COLLECTION)
    assert found.source_file == COLLECTION_FILE
    assert found.differences == (RowDifference("different", (SQL_ID,), 1, ("f",)),)
