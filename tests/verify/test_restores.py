"""Restores that compare content before their result becomes visible."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pgvector_restore import (
    CancelledError,
    ContentMismatchError,
    OptionError,
    ProgressEvent,
    Restorer,
    RestoreReport,
    open_store,
    pieces,
)
from tests.restore.content import count, execute, query, snapshot
from tests.sets import (
    EMBEDDING_FILE,
    SQL_ID,
    collection_bytes,
    embedding_bytes,
    restore,
    with_cell,
    write_set,
    written,
)

EMBEDDING = "langchain_pg_embedding"
COLLECTION = "langchain_pg_collection"

#: A trigger that changes one row on its way in.
MEDDLING = f"""
CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.id = 'b-sql' THEN NEW.document := upper(NEW.document); END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER meddle BEFORE INSERT ON {EMBEDDING} FOR EACH ROW EXECUTE FUNCTION meddle();
"""


@pytest.mark.parametrize("wire", ["binary", "text"])
@pytest.mark.parametrize("mode", ["append", "replace"])
def test_a_row_changed_by_a_trigger_undoes_the_restore(
    tmp_path: Path, g2_dsn: str, mode: str, wire: str
) -> None:
    root = write_set(tmp_path)
    execute(g2_dsn, f"INSERT INTO {COLLECTION} VALUES (gen_random_uuid(), 'old')")
    execute(g2_dsn, f"INSERT INTO {EMBEDDING} (id, embedding) VALUES ('old', '[1]')")
    execute(g2_dsn, MEDDLING)
    before = snapshot(g2_dsn)
    with pytest.raises(ContentMismatchError) as caught:
        restore(root, g2_dsn, mode=mode, wire=wire, strategy="in_place", verify="content")
    assert snapshot(g2_dsn) == before
    assert str(caught.value) == (
        f"{EMBEDDING} does not hold what {EMBEDDING_FILE} holds, such as "
        'different: "b-sql" (record 2) in document'
    )
    assert caught.value.hint == "does a trigger of the table change rows?"
    (named,) = caught.value.differences
    assert (named["key"], named["record"], named["columns"]) == (("b-sql",), 2, ("document",))
    assert caught.value.to_dict()["exit_code"] == 8
    report = restore(root, g2_dsn, mode=mode, wire=wire)
    assert (report.verified, report.tables[1].digest) == ("counts", None)


def test_appended_rows_are_compared_among_those_that_were_there(
    tmp_path: Path, g2_dsn: str
) -> None:
    root = write_set(tmp_path)
    restore(root, g2_dsn)
    ids = {"a-ddl": "e", "b-sql": "f", "c-doc": "g", "d-sql": "h"}
    text = embedding_bytes().decode()
    for old, new in ids.items():
        text = text.replace(f"\n{old},", f"\n{new},")
    write_set(root, collection=collection_bytes(records=[]), embedding=text.encode())
    report = restore(root, g2_dsn, verify="content")
    assert [t.rows_after for t in report.tables] == [2, 8]
    assert report.tables[0].digest == "0" * 32
    assert count(g2_dsn, EMBEDDING) == 8


def test_a_row_that_was_there_and_changed_counts_as_added(tmp_path: Path, g2_dsn: str) -> None:
    root = write_set(tmp_path)
    execute(g2_dsn, f"INSERT INTO {EMBEDDING} (id, document) VALUES ('old', 'x')")
    execute(
        g2_dsn,
        f"""
        CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN UPDATE {EMBEDDING} SET document = 'y' WHERE id = 'old'; RETURN NULL; END $$;
        CREATE TRIGGER touch AFTER INSERT ON {EMBEDDING} EXECUTE FUNCTION touch();
        ALTER FUNCTION touch SET search_path = public;
        """,
    )
    with pytest.raises(ContentMismatchError, match='such as extra: "old"'):
        restore(root, g2_dsn, verify="content")
    assert query(g2_dsn, f"SELECT document FROM {EMBEDDING}") == [("x",)]


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("UPDATE {} SET embedding = '[1,2,3.0000002]' WHERE id = 'a-ddl'", "a-ddl"),
        ("UPDATE {} SET id = 'zzz' WHERE id = 'a-ddl'", "a-ddl"),
    ],
)
def test_a_new_table_that_is_not_right_is_not_published(
    tmp_path: Path, g2_dsn: str, statement: str, named: str
) -> None:
    root = write_set(tmp_path)
    restore(root, g2_dsn)
    write_set(root, embedding=with_cell(3, "document", "other"))
    before = snapshot(g2_dsn)

    def meddle(event: ProgressEvent) -> None:
        if event.phase == "index" and event.server is None:
            find = "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'pgvr_staging_%'"
            for (schema,) in query(g2_dsn, find):
                execute(g2_dsn, statement.format(f"{schema}.{EMBEDDING}"))

    with Restorer(open_store(root), g2_dsn) as restorer:
        options: dict[str, Any] = {"mode": "replace", "strategy": "swap", "verify": "content"}
        with pytest.raises(ContentMismatchError, match=named):
            restorer.restore("latest", progress=meddle, **options)
        assert snapshot(g2_dsn) == before
        assert restorer.restore("latest", **options).verified == "content"


@pytest.mark.parametrize("strategy", ["in_place", "swap"])
def test_tables_that_are_created(tmp_path: Path, dsn: str, strategy: str) -> None:
    root = write_set(tmp_path)
    execute(dsn, "CREATE EXTENSION vector")
    report = restore(root, dsn, mode="replace", strategy=strategy, verify="content")
    with Restorer(open_store(root), dsn) as restorer:
        found = restorer.verify()
    assert found.equal
    assert [t.digest for t in report.tables] == [t.file_digest for t in found.tables]


def parallel(root: Path, dsn: str) -> RestoreReport:
    with ThreadPoolExecutor(2) as executor:
        return restore(
            root,
            dsn,
            executor=executor,
            mode="replace",
            strategy="swap",
            jobs=2,
            verify="content",
        )


def test_parts_of_a_file_add_up(
    tmp_path: Path, g2_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "PART_BYTES", 5_000)
    rows = [
        (f"k{n}", SQL_ID, f"[{n},0.5]", "text " * (n % 7), f"{{'n': {n / 8}}}") for n in range(500)
    ]
    header = ("id", "collection_id", "embedding", "document", "cmetadata")
    root = write_set(tmp_path, embedding=written(header, rows))
    report = parallel(root, g2_dsn)
    with Restorer(open_store(root), g2_dsn) as restorer:
        found = restorer.verify()
    assert found.equal
    assert [t.digest for t in report.tables] == [t.file_digest for t in found.tables]
    assert report.tables[1].rows_loaded == 500


def test_partitions(tmp_path: Path, g2_dsn: str) -> None:
    execute(
        g2_dsn,
        f"""
        DROP TABLE {EMBEDDING};
        CREATE TABLE {EMBEDDING} (id varchar PRIMARY KEY, collection_id uuid, embedding vector,
                                  document varchar, cmetadata jsonb) PARTITION BY RANGE (id);
        CREATE TABLE low PARTITION OF {EMBEDDING} FOR VALUES FROM (MINVALUE) TO ('c');
        CREATE TABLE high PARTITION OF {EMBEDDING} FOR VALUES FROM ('c') TO (MAXVALUE);
        INSERT INTO {EMBEDDING} VALUES ('old'), ('also old');
        """,
    )
    root = write_set(tmp_path)
    report = restore(root, g2_dsn, verify="content")
    assert report.table(EMBEDDING).rows_after == 6
    write_set(root, collection=collection_bytes(records=[]))
    execute(g2_dsn, f"DELETE FROM {EMBEDDING} WHERE id NOT LIKE '%old'")
    execute(g2_dsn, MEDDLING)
    with pytest.raises(ContentMismatchError, match="b-sql"):
        restore(root, g2_dsn, verify="content")
    assert count(g2_dsn, EMBEDDING) == 2


IDLE = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND state LIKE 'idle in%'
"""


def test_comparing_can_be_called_off(tmp_path: Path, g2_dsn: str) -> None:
    rows = [(f"k{n}", None, "[1]", "", None) for n in range(5_000)]
    header = ("id", "collection_id", "embedding", "document", "cmetadata")
    root = write_set(tmp_path, embedding=written(header, rows))
    restore(root, g2_dsn)

    def impatient(event: ProgressEvent) -> None:
        if event.phase == "verify" and 1_000 < event.rows_done < 5_000:
            raise CancelledError("called off")

    with Restorer(open_store(root), g2_dsn) as restorer:
        with pytest.raises(CancelledError, match="called off"):
            restorer.verify(progress=impatient)
        assert restorer.verify().equal
        assert query(g2_dsn, IDLE) == [(0,)]


def test_levels(tmp_path: Path, g2_dsn: str) -> None:
    with pytest.raises(OptionError, match='verify "everything" is not known') as caught:
        restore(write_set(tmp_path), g2_dsn, verify="everything")
    assert caught.value.hint == "verify is one of counts, content"
