"""Emptying the embedding table after the backup: no row is lost, whatever happens when."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from pgvector_restore import (
    ConnectError,
    KeepRules,
    OptionError,
    ProgressEvent,
    TargetBusyError,
    TargetMismatchError,
    open_store,
    prune,
)
from pgvector_restore.keeping import EMPTIED
from pgvector_restore.storage.log import parse_log
from tests.backup.kit import COLLECTION, EMBEDDING, backup, content, files, restored
from tests.conftest import connect
from tests.restore.roles import role

ROWS = 3


@pytest.fixture
def filled(g2_dsn: str) -> str:
    with connect(g2_dsn) as conn:
        conn.execute(
            f"INSERT INTO {COLLECTION} VALUES (gen_random_uuid(), 'one');"
            f"INSERT INTO {EMBEDDING} (id, embedding) VALUES"
            " ('a', '[1,2]'), ('b', '[1,3]'), ('c', NULL)"
        )
    return g2_dsn


@pytest.mark.parametrize("kind", ["csv", "binary"])
def test_rows_are_removed_and_told(filled: str, tmp_path: Path, kind: str) -> None:
    before = content(filled, EMBEDDING)
    report = backup(tmp_path, filled, truncate_after=True, format=kind, jobs=2)
    assert report.rows_removed == report.table(EMBEDDING).rows_removed == ROWS
    assert report.table(COLLECTION).rows_removed == 0
    assert content(filled, EMBEDDING) == []
    assert len(content(filled, COLLECTION)) == 1
    log = (tmp_path / "vector_bak" / "vector_backup_log.txt").read_text()
    assert log.endswith(f"\nTruncate Status:\n✓ {EMBEDDING}: TRUNCATED (3 rows removed)\n")
    parsed = parse_log(log.encode())
    assert parsed is not None
    assert parsed.failed == {}
    assert parsed.rows == {file.name: rows for file, rows in zip(report.backup.files, (1, 3))}  # noqa: B905
    assert parsed.backup_time == report.backup.backup_date
    if kind == "csv":
        restored(tmp_path, filled, report.label)
        assert content(filled, EMBEDDING) == before


def test_the_only_copy_stays_until_it_is_asked_for(filled: str, tmp_path: Path) -> None:
    """Of rows that have gone, and of rows whose going somebody prevented."""
    with connect(filled) as other, other.transaction():
        other.execute(f"SELECT count(*) FROM {EMBEDDING}")
        with pytest.raises(TargetBusyError):
            backup(tmp_path, filled, truncate_after=True, lock_timeout_s=0.2)
    (prevented,) = open_store(tmp_path).catalog().sets
    only = backup(tmp_path, filled, truncate_after=True)
    for _ in range(2):
        backup(tmp_path, filled)
    store = open_store(tmp_path)
    kept = prune(store, KeepRules(last=1))
    stay = [one for one in kept.decisions if EMPTIED in one.reasons]
    assert {one.backup.label for one in stay if one.keep} == {prevented.label, only.label}
    assert len(kept.removed) == 1
    asked = prune(store, KeepRules(last=1), remove_emptied=True)
    assert {one.backup.label for one in asked.removed} == {prevented.label, only.label}
    assert len(store.catalog().sets) == 1


@pytest.mark.parametrize("name", ["a ", " a", "A"])
def test_a_table_whose_name_is_alike_stays(dsn: str, tmp_path: Path, name: str) -> None:
    """It is not taken for the other one, which would be backed up and emptied in its place."""
    with connect(dsn) as conn:
        conn.execute("CREATE TABLE a AS SELECT 1 AS one")
        conn.execute(f'CREATE TABLE "{name}" AS SELECT 2 AS one')
    if name == "A":
        assert backup(tmp_path, dsn, tables=[name], truncate_after=True).rows_removed == 1
    else:  # no file can be named like that everywhere
        with pytest.raises(OptionError, match="cannot be a file's name"):
            backup(tmp_path, dsn, tables=[name], truncate_after=True)
        assert files(tmp_path) == []
    assert content(dsn, "a") == [("(1)",)]


def test_writers_wait(filled: str, tmp_path: Path) -> None:
    """A row that comes while the backup runs is there afterwards."""

    def insert() -> None:
        with connect(filled) as conn:
            conn.execute(f"INSERT INTO {EMBEDDING} (id) VALUES ('late')")

    thread = threading.Thread(target=insert)

    def begin(event: ProgressEvent) -> None:
        if event.phase == "read" and not thread.ident:
            thread.start()
            with connect(filled) as conn:
                while not conn.execute(
                    "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                    " AND datname = current_database()"
                ).fetchone():
                    pass
                assert conn.execute(f"SELECT count(*) FROM {EMBEDDING}").fetchone() == (ROWS,)

    report = backup(tmp_path, filled, truncate_after=True, progress=begin)
    thread.join()
    assert report.table(EMBEDDING).rows == ROWS
    assert [row[0].partition(",")[0] for row in content(filled, EMBEDDING)] == ["(late"]


def test_a_reader_is_in_the_way(filled: str, tmp_path: Path) -> None:
    """The backup is there, and the error says so."""
    with connect(filled) as other, other.transaction():
        other.execute(f"SELECT count(*) FROM {EMBEDDING}")
        with pytest.raises(TargetBusyError) as caught:
            backup(tmp_path, filled, truncate_after=True, lock_timeout_s=0.2)
    (found,) = open_store(tmp_path).catalog().sets
    assert str(caught.value).startswith(
        f"backup {found.label} is complete, but nothing was removed from {EMBEDDING}: "
    )
    assert len(content(filled, EMBEDDING)) == ROWS
    assert len(files(tmp_path)) == 3
    log = (tmp_path / "vector_bak" / "vector_backup_log.txt").read_text()
    assert "Truncate" not in log


def test_refused_before_anything_is_written(filled: str, tmp_path: Path) -> None:
    with connect(filled) as conn:
        conn.execute(f"CREATE TABLE refers (id varchar REFERENCES {EMBEDDING} (id))")
    with pytest.raises(TargetMismatchError) as caught:
        backup(tmp_path, filled, truncate_after=True)
    assert str(caught.value) == f"public.{EMBEDDING} cannot be emptied: public.refers refers to it"
    with connect(filled) as conn:
        conn.execute(f"DROP TABLE refers; CREATE VIEW v AS SELECT * FROM {EMBEDDING}")
    with pytest.raises(TargetMismatchError) as caught:
        backup(tmp_path, filled, tables="v", truncate_after=True)
    assert str(caught.value) == "public.v is no table that can be emptied"
    assert files(tmp_path) == []


def test_code_of_strangers_is_not_run(filled: str, tmp_path: Path) -> None:
    grants = f"ALTER TABLE {EMBEDDING} OWNER TO {{}}; GRANT CREATE ON SCHEMA public TO {{}}"
    with role(filled, grants) as (name, dsn):
        with connect(dsn) as conn:
            conn.execute(
                "CREATE FUNCTION ran() RETURNS trigger LANGUAGE plpgsql AS"
                " $$BEGIN RAISE 'it ran'; END$$;"
                f"CREATE TRIGGER t BEFORE TRUNCATE ON {EMBEDDING} EXECUTE FUNCTION ran()"
            )
        with pytest.raises(TargetMismatchError, match=f"would run code of {name}: trigger t"):
            backup(tmp_path, filled, truncate_after=True)
        assert files(tmp_path) == []
        with connect(filled) as conn:
            conn.execute(f"ALTER TABLE {EMBEDDING} OWNER TO postgres")
            conn.execute(f"DROP TRIGGER t ON {EMBEDDING}; DROP FUNCTION ran")


def test_partitioned(dsn: str, tmp_path: Path) -> None:
    with connect(dsn) as conn:
        conn.execute(
            "CREATE TABLE p (id int) PARTITION BY RANGE (id);"
            "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);"
            "INSERT INTO p VALUES (1), (2)"
        )
        conn.execute("ALTER TABLE p1 ADD PRIMARY KEY (id); CREATE TABLE r (id int REFERENCES p1)")
    with pytest.raises(TargetMismatchError) as caught:
        backup(tmp_path, dsn, tables="p", truncate_after=True)
    assert str(caught.value) == "public.p cannot be emptied: public.r refers to it"
    assert files(tmp_path) == []
    with connect(dsn) as conn:
        conn.execute("DROP TABLE r")
    report = backup(tmp_path, dsn, tables="p", truncate_after=True)
    assert report.rows_removed == 2
    assert content(dsn, "p") == []


def test_sessions_that_lose_their_connection(filled: str, tmp_path: Path) -> None:
    """Ended after publishing: the backup is there, and nothing was removed."""

    def end(event: ProgressEvent) -> None:
        if event.phase == "publish":
            with connect(filled) as conn:
                conn.execute(
                    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )

    with pytest.raises(ConnectError, match=f"nothing was removed from {EMBEDDING}: "):
        backup(tmp_path, filled, truncate_after=True, progress=end)
    assert len(open_store(tmp_path).catalog().sets) == 1
    assert len(content(filled, EMBEDDING)) == ROWS
    # Without anything to remove it is a warning.
    report = backup(tmp_path, filled, progress=end)
    assert report.warnings[0].startswith("after the backup was complete: ")
