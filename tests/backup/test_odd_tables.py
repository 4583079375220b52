"""Tables and sessions that hardly anybody has: the set can be restored, or there is none."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import psycopg
import pytest
from psycopg import sql

from pgvector_restore import (
    Backuper,
    BackupReport,
    CancelToken,
    ConnectError,
    OptionError,
    TargetChangedError,
    TargetMismatchError,
    open_store,
)
from pgvector_restore.db import embedded
from pgvector_restore.db.embedded import EmbeddedServer
from pgvector_restore.db.inspect import find_schema
from pgvector_restore.db.pool import Target
from tests.backup.kit import backup, content, files, restored
from tests.backup.test_bad_cases import Dying
from tests.conftest import SETTINGS, connect, database
from tests.restore.roles import role


def _there_and_back(
    server: EmbeddedServer, root: Path, ddl: str, *tables: str, kind: str = "csv"
) -> BackupReport:
    """Back up tables and restore them into an empty database: the same rows."""
    with database(server) as source, database(server) as target:
        for dsn in (source, target):
            with connect(dsn) as conn:
                conn.execute("CREATE EXTENSION vector")
        with connect(source) as conn:
            conn.execute(ddl)
        report = backup(root, source, tables=tables, format=kind)
        restored(root, target, report.label)
        for table in tables:
            assert content(target, table) == content(source, table)
        return report


#: Keys that a table created anew cannot have, or that rows do not keep.
KEYS = {
    "rows from before the key": (
        "CREATE TABLE p (id int PRIMARY KEY); CREATE TABLE t (p int); INSERT INTO t VALUES (9);"
        " ALTER TABLE t ADD FOREIGN KEY (p) REFERENCES p NOT VALID"
    ),
    "not enforced": (
        "CREATE TABLE p (id int PRIMARY KEY);"
        " CREATE TABLE t (p int REFERENCES p NOT ENFORCED); INSERT INTO t VALUES (9)"
    ),
    "a table of that name elsewhere": (
        "CREATE SCHEMA o; CREATE TABLE o.p (id int PRIMARY KEY); INSERT INTO o.p VALUES (7);"
        " CREATE TABLE p (id int PRIMARY KEY);"
        " CREATE TABLE t (p int REFERENCES o.p); INSERT INTO t VALUES (7)"
    ),
    "a unique index": (
        "CREATE TABLE p (a int, k text); CREATE UNIQUE INDEX ON p (k) INCLUDE (a);"
        " INSERT INTO p VALUES (1, 'a');"
        " CREATE TABLE t (p text REFERENCES p (k)); INSERT INTO t VALUES ('a')"
    ),
    "each other": (
        "CREATE TABLE p (id int PRIMARY KEY, t int);"
        " CREATE TABLE t (id int PRIMARY KEY, p int REFERENCES p);"
        " ALTER TABLE p ADD FOREIGN KEY (t) REFERENCES t;"
        " INSERT INTO p VALUES (1); INSERT INTO t VALUES (1, 1); UPDATE p SET t = 1"
    ),
    "nulls from before the constraint": (
        "CREATE TABLE p (id int); CREATE TABLE t (id int, d text); INSERT INTO t VALUES (1);"
        " ALTER TABLE t ADD CONSTRAINT d_there NOT NULL d NOT VALID"
    ),
}
_SINCE_18 = ("not enforced", "nulls from before the constraint")


@pytest.mark.parametrize("kind", ["csv", "binary"])
@pytest.mark.parametrize("case", KEYS)
def test_keys(server: EmbeddedServer, tmp_path: Path, case: str, kind: str) -> None:
    if case in _SINCE_18 and server.version < 18:
        pytest.skip("PostgreSQL has it since version 18")
    assert _there_and_back(server, tmp_path, KEYS[case], "p", "t", kind=kind).rows > 0


def test_a_key_that_is_not_enforced_refuses_no_rows(server: EmbeddedServer, tmp_path: Path) -> None:
    if server.version < 18:
        pytest.skip("PostgreSQL has it since version 18")
    with database(server) as dsn:
        with connect(dsn) as conn:
            conn.execute(KEYS["not enforced"])
        report = backup(tmp_path, dsn, tables="t")
        restored(tmp_path, dsn, report.label)
        assert content(dsn, "t") == [("(9)",)]


def test_numbers_with_more_digits_than_python_reads(server: EmbeddedServer, tmp_path: Path) -> None:
    ddl = "CREATE TABLE t AS SELECT '[1e5000, 1e-5000]'::jsonb j, '{\"a\": 1e99999}'::json k"
    assert _there_and_back(server, tmp_path, ddl, "t").rows == 1


def test_what_no_other_database_gets_back_from_binary(dsn: str, tmp_path: Path) -> None:
    """Numbers of objects, and what the server itself refuses to read."""
    with connect(dsn) as conn:
        conn.execute(
            "CREATE TYPE pair AS (a int, b regtype); CREATE DOMAIN sought AS tsquery;"
            "CREATE TABLE t (id oid, plain regclass); CREATE TABLE u (many pair[]);"
            "CREATE TABLE w (q sought); INSERT INTO w VALUES ('');"
            "INSERT INTO t VALUES (1, 't')"
        )
    for table, column, kind in (
        ("t", "plain", "regclass"),
        ("u", "many", "regtype"),
        ("w", "q", "tsquery"),
    ):
        with pytest.raises(TargetMismatchError) as caught:
            backup(tmp_path, dsn, tables=table, format="binary")
        assert str(caught.value) == (
            f'column "{column}" of public.{table} has values of type {kind},'
            " which another database would not get back from binary"
        )
    assert files(tmp_path) == []
    report = backup(tmp_path, dsn, tables="t,w")
    restored(tmp_path, dsn, report.label)
    assert content(dsn, "t") == [("(1,t)",)]
    assert content(dsn, "w") == [('("")',)]


def test_a_column_that_begins_with_a_byte_order_mark(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    ddl = 'CREATE TABLE t ("\ufeffid" int, "\ufefft" text); INSERT INTO t VALUES (1, \'\ufeff\')'
    with database(server) as dsn:
        with connect(dsn) as conn:
            conn.execute(ddl)
        with pytest.raises(TargetMismatchError, match="begins with a byte order mark"):
            backup(tmp_path, dsn, tables="t")
        assert files(tmp_path) == []
    _there_and_back(server, tmp_path, ddl, "t", kind="binary")


def test_a_table_that_others_inherit_from_is_not_emptied(dsn: str, tmp_path: Path) -> None:
    with connect(dsn) as conn:
        conn.execute(
            "CREATE TABLE t (id int); CREATE TABLE more (extra text) INHERITS (t);"
            "INSERT INTO t VALUES (1); INSERT INTO more VALUES (2, 'in no backup of t')"
        )
    with pytest.raises(TargetMismatchError) as caught:
        backup(tmp_path, dsn, tables="t", truncate_after=True)
    assert str(caught.value) == "public.t cannot be emptied: public.more inherits from it"
    assert files(tmp_path) == []
    assert content(dsn, "more") == [('(2,"in no backup of t")',)]
    assert backup(tmp_path, dsn, tables="t").rows == 2


def test_names_of_types_without_quotes(server: EmbeddedServer, tmp_path: Path) -> None:
    """Whatever the role wants of the server."""
    with database(server) as source, database(server) as target:
        for dsn in (source, target):
            with connect(dsn) as conn:
                conn.execute("CREATE EXTENSION vector")
        with connect(source) as conn:
            conn.execute(
                "CREATE TABLE t (id uuid PRIMARY KEY, v vector(2), j jsonb, d text);"
                "INSERT INTO t VALUES (gen_random_uuid(), '[1,2]', '{}', 'x')"
            )
        settings = "ALTER ROLE {} SET quote_all_identifiers = on; GRANT SELECT ON t TO {}"
        with role(source, settings) as (_, plain):
            for kind in ("csv", "binary"):
                report = backup(tmp_path, plain, tables="t", format=kind)
                restored(tmp_path, target, report.label)
                assert content(target, "t") == content(source, "t")


def test_no_other_transaction_is_waited_for(dsn: str, tmp_path: Path) -> None:
    """As one that is serializable and deferrable does, with its first query."""
    with connect(dsn) as conn:
        conn.execute("CREATE TABLE t (id int); CREATE TABLE u (id int)")
    settings = (
        "ALTER ROLE {} SET default_transaction_isolation = serializable;"
        "ALTER ROLE {} SET default_transaction_deferrable = on; GRANT SELECT ON t TO {}"
    )
    with role(dsn, settings) as (_, plain), psycopg.connect(dsn) as writer:
        writer.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
        writer.execute("SELECT * FROM u")
        writer.execute("INSERT INTO u VALUES (1)")
        token = CancelToken()
        timer = threading.Timer(30, token.cancel)
        timer.start()
        assert backup(tmp_path, plain, tables="t", cancel=token).rows == 0
        timer.cancel()


def test_no_limit_of_the_role_counts_from_the_first_query_on(dsn: str) -> None:
    limits = ["statement_timeout"]
    with psycopg.connect(dsn) as conn:
        if conn.info.server_version >= 170_000:
            limits.append("transaction_timeout")
        for name in limits:
            conn.execute(f"SET {name} = '1h'")  # type: ignore[arg-type, unused-ignore]
        conn.commit()
        assert find_schema(conn.cursor(), None, ["t"]) == "public"
        for name in limits:
            assert conn.execute(f"SHOW {name}").fetchone() == ("0",)


@pytest.fixture
def four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many connections as ever, however small the table."""
    monkeypatch.setattr("pgvector_restore.backup_run._SMALL_BYTES", -1)
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    monkeypatch.setattr("pgvector_restore.dumping._CSV_EXTENT_BYTES", 10_000)


_MANY_ROWS = "CREATE TABLE t AS SELECT n, md5(n::text) d FROM generate_series(1, 2000) n"


@pytest.mark.usefixtures("four_cores")
def test_fewer_connections_than_wanted(dsn: str, tmp_path: Path) -> None:
    with connect(dsn) as conn:
        conn.execute(_MANY_ROWS)
    settings = "ALTER ROLE {} CONNECTION LIMIT 2; GRANT SELECT ON t TO {}"
    with role(dsn, settings) as (name, plain):
        assert backup(tmp_path, plain, tables="t").rows == 2000
        with pytest.raises(ConnectError, match=f'too many connections for role "{name}"'):
            backup(tmp_path, plain, tables="t", jobs=4)
    assert len(open_store(tmp_path).catalog().sets) == 1
    assert open_store(tmp_path).catalog().incomplete == ()


def _wait_until_somebody_waits(conn: psycopg.Connection[Any]) -> None:
    while not conn.execute(
        "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        " AND datname = current_database()"
    ).fetchone():
        pass


class _Meanwhile(Dying):
    """A store; something happens when the first file comes."""

    def __init__(self, root: Path, happens: Callable[[], None]) -> None:
        super().__init__(root)
        self._happens = [happens]

    @contextmanager
    def create(self, key: str, *, replace: bool = False) -> Iterator[BinaryIO]:
        if self._happens:
            self._happens.pop()()
        with super().create(key, replace=replace) as stream:
            yield stream


@pytest.mark.usefixtures("four_cores")
@pytest.mark.parametrize("jobs", ["auto", 2])
def test_somebody_waits_for_the_table(dsn: str, tmp_path: Path, jobs: Any) -> None:
    """Another connection would wait for him, and he waits for the first one."""
    with connect(dsn) as conn:
        conn.execute(_MANY_ROWS)

    def alter() -> None:
        with connect(dsn) as conn:
            conn.execute("ALTER TABLE t ADD x int")

    thread = threading.Thread(target=alter)

    def begin_to_wait() -> None:
        thread.start()
        with connect(dsn) as conn:
            _wait_until_somebody_waits(conn)

    with Backuper(_Meanwhile(tmp_path, begin_to_wait), dsn) as backuper:
        assert backuper.backup(tables="t", jobs=jobs, lock_timeout_s=20).rows == 2000
    thread.join()


@pytest.mark.parametrize("kind", ["csv", "binary"])
def test_a_row_that_is_too_long(dsn: str, tmp_path: Path, kind: str) -> None:
    """Longer than 1 GB with what is sent twice; here the server only says so."""
    with connect(dsn) as conn:
        conn.execute(
            "CREATE FUNCTION long() RETURNS int LANGUAGE plpgsql AS"
            " $$BEGIN RAISE program_limit_exceeded USING MESSAGE = 'string buffer'; END$$;"
            "CREATE VIEW t AS SELECT long() x"
        )
    with pytest.raises(TargetMismatchError) as caught:
        backup(tmp_path, dsn, tables="t", format=kind)
    assert str(caught.value) == "public.t has a row that is too long to be sent: string buffer"
    assert caught.value.hint == "back it up without a digest, or in binary"
    assert files(tmp_path) == []


def test_another_table_of_that_name_comes_while_it_is_waited_for(dsn: str, tmp_path: Path) -> None:
    """As a restore with the strategy ``swap`` exchanges them; nothing is known of the new one."""
    with connect(dsn) as conn:
        conn.execute("CREATE TABLE t (id int)")
    found: list[BaseException] = []

    def run() -> None:
        try:
            backup(tmp_path, dsn, tables="t", truncate_after=True)
        except TargetChangedError as exc:
            found.append(exc)

    thread = threading.Thread(target=run)
    with connect(dsn) as other, connect(dsn) as watching, other.transaction():
        other.execute("LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
        thread.start()
        _wait_until_somebody_waits(watching)
        other.execute("ALTER TABLE t RENAME TO before; CREATE TABLE t AS SELECT 1 AS id")
    thread.join()
    assert [str(exc) for exc in found] == ["public.t was replaced a moment ago"]
    assert files(tmp_path) == []
    assert content(dsn, "t") == [("(1)",)]


@pytest.mark.usefixtures("four_cores")
@pytest.mark.parametrize("jobs", ["auto", 3])
def test_the_connection_with_the_snapshot_is_lost(dsn: str, tmp_path: Path, jobs: Any) -> None:
    with connect(dsn) as conn:
        conn.execute(_MANY_ROWS)

    def end_all() -> None:
        with connect(dsn) as conn:
            conn.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )

    store = _Meanwhile(tmp_path, end_all)
    with Backuper(store, dsn) as backuper, pytest.raises(ConnectError):
        backuper.backup(tables="t", jobs=jobs)
    assert files(tmp_path) == []


def test_why_there_is_no_connection(dsn: str) -> None:
    """Though there was one a moment ago."""
    with role(dsn) as (name, plain):
        target = Target(plain)
        with target.connection():
            pass
        with connect(dsn) as conn:
            conn.execute(f"ALTER ROLE {name} NOLOGIN")
            conn.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = %s",
                [name],
            )
        with pytest.raises(ConnectError, match="is not permitted to log in"), target.connection():
            pass
        target.close()


@pytest.mark.parametrize("name", ["a\u202eb", "a\u3000b", "a\u00adb"])
def test_names_that_do_not_show(dsn: str, tmp_path: Path, name: str) -> None:
    """No store has a file of such a name."""
    with connect(dsn) as conn:
        conn.execute(sql.SQL("CREATE TABLE {} (id int)").format(sql.Identifier(name)))
    with pytest.raises(OptionError, match="cannot be a file's name"):
        backup(tmp_path, dsn, tables=name)
    assert files(tmp_path) == []


def test_a_standby(place: Path, tmp_path: Path) -> None:
    """It is read as any other server, over several connections too; nothing can be emptied."""
    data_dir = place / "standby"
    server = embedded.start(data_dir, version=18, settings=SETTINGS)
    with connect(server.conninfo) as conn:
        conn.execute(_MANY_ROWS)
    embedded.stop(data_dir)
    (data_dir / "standby.signal").touch()
    server = embedded.start(data_dir, version=18, settings=SETTINGS)
    try:
        for kind in ("csv", "binary"):
            assert backup(tmp_path, server.conninfo, tables="t", jobs=2, format=kind).rows == 2000
        before = files(tmp_path)
        with pytest.raises(TargetMismatchError) as caught:
            backup(tmp_path, server.conninfo, tables="t", truncate_after=True)
        assert str(caught.value) == "public.t cannot be emptied: the server is a standby"
        assert files(tmp_path) == before
    finally:
        embedded.stop(data_dir)
