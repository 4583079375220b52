"""Whatever a role or database has set: values are read, printed and compared in one way."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from pgvector_restore import Restorer, TargetMismatchError, open_store
from pgvector_restore.db import session
from pgvector_restore.db.embedded import EmbeddedServer
from tests.backup.kit import backup, content, restored, stored
from tests.conftest import connect
from tests.restore.content import execute, query
from tests.restore.roles import role

#: Settings that change how values are read or printed, each to what it must not be.
DANGEROUS = {
    "array_nulls": "off",
    "DateStyle": "SQL, DMY",
    "IntervalStyle": "sql_standard",
    "TimeZone": "Asia/Kathmandu",
    "timezone_abbreviations": "India",
    "extra_float_digits": "-15",
    "bytea_output": "escape",
    "xmlbinary": "hex",
    "xmloption": "document",
    "standard_conforming_strings": "off",
    "backslash_quote": "on",
    "transform_null_equals": "on",
    "client_encoding": "LATIN1",
    "quote_all_identifiers": "on",
    "row_security": "off",
    "synchronize_seqscans": "on",
    "gin_fuzzy_search_limit": "1",
    "default_transaction_isolation": "serializable",
    "default_transaction_read_only": "on",
    "default_transaction_deferrable": "on",
    "session_replication_role": "replica",
    "zero_damaged_pages": "on",
    "ignore_checksum_failure": "on",
}

TABLE = """
CREATE EXTENSION IF NOT EXISTS vector;
CREATE TABLE kinds (
    id int PRIMARY KEY, texts text[], numbers int[], day date, moment timestamptz, local timestamp,
    span interval, ratio float8, single real, raw bytea, price numeric, cost money, at timetz,
    v vector(2), doc jsonb, flag bool
);
INSERT INTO kinds SELECT n, ARRAY['a', NULL, 'NULL', ''], ARRAY[1, NULL], '2025-02-03',
    '2025-02-03 04:05:06.7+00', '2025-02-03 04:05:06.7', '-1 year 2 days -03:04:05.5',
    0.1 + n / 7.0, (1 / 3.0)::real, '\\x5c00ff', 1.50, '12.34', '04:05:06+05:30', '[0.1,3e-5]',
    '{"a": ["x\\\\y", null]}', n % 2 = 0
FROM generate_series(1, 3) n;
"""


@contextmanager
def altered(dsn: str, settings: dict[str, str]) -> Iterator[None]:
    """The database has these settings for everybody."""
    name = sql.Identifier(str(conninfo_to_dict(dsn)["dbname"]))
    with connect(dsn) as conn:
        for setting, value in settings.items():
            statement = "ALTER DATABASE {} SET {} = {}"
            conn.execute(
                sql.SQL(statement).format(name, sql.Identifier(setting), sql.Literal(value))
            )
        try:
            yield
        finally:
            conn.execute(sql.SQL("ALTER DATABASE {} RESET ALL").format(name))


def test_backups_restores_and_comparisons_do_not_see_them(dsn: str, tmp_path: Path) -> None:
    execute(dsn, TABLE)
    before = content(dsn, "kinds")
    plain = backup(tmp_path / "plain", dsn, tables=["kinds"], format="csv")
    with altered(dsn, DANGEROUS):
        changed = backup(tmp_path / "changed", dsn, tables=["kinds"], format="csv")
        assert stored(tmp_path / "changed", changed, "kinds") == stored(
            tmp_path / "plain", plain, "kinds"
        )
        with Restorer(open_store(tmp_path / "plain"), dsn) as restorer:
            assert restorer.verify("latest").equal
            with pytest.raises(TargetMismatchError, match="is read-only"):
                restorer.plan("latest", mode="replace")
    writable = {n: value for n, value in DANGEROUS.items() if n != "default_transaction_read_only"}
    with altered(dsn, writable):
        for strategy in ("in_place", "swap"):
            restored(tmp_path / "plain", dsn, "latest", strategy=strategy, jobs=1)
            with Restorer(open_store(tmp_path / "plain"), dsn) as restorer:
                assert restorer.verify("latest").equal
    assert content(dsn, "kinds") == before


def test_a_null_that_became_a_text_is_a_difference(dsn: str, tmp_path: Path) -> None:
    execute(dsn, TABLE)
    backup(tmp_path, dsn, tables=["kinds"], format="csv")
    execute(dsn, """UPDATE kinds SET texts = ARRAY['a', 'NULL', 'NULL', ''] WHERE id = 2""")
    with altered(dsn, {"array_nulls": "off"}), Restorer(open_store(tmp_path), dsn) as restorer:
        assert not restorer.verify("latest").equal


@pytest.mark.parametrize("setting", ["session_replication_role", "zero_damaged_pages"])
def test_what_a_role_may_not_set_back_is_refused(dsn: str, tmp_path: Path, setting: str) -> None:
    execute(dsn, TABLE)
    backup(tmp_path, dsn, tables=["kinds"], format="csv")
    grants = "ALTER TABLE kinds OWNER TO {}; GRANT CREATE ON SCHEMA public TO {};"
    with (
        role(dsn, grants) as (_, own),
        altered(dsn, {setting: DANGEROUS[setting]}),
        Restorer(open_store(tmp_path), own) as restorer,
        pytest.raises(TargetMismatchError, match=f"^{setting} is .* has to be"),
    ):
        restorer.restore(mode="replace")


def test_one_round_trip_and_no_snapshot(dsn: str) -> None:
    with connect(dsn) as conn, conn.transaction():
        cur = conn.cursor()
        cur.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        session.configure_session(cur, 5)
        with connect(dsn) as other:
            other.execute("CREATE TABLE later (id int); INSERT INTO later VALUES (1)")
        assert cur.execute("SELECT count(*) FROM public.later").fetchone() == (1,)


def test_every_setting_is_accounted_for(server: EmbeddedServer) -> None:
    """Whatever may be set is set by us, or the page says why it cannot matter."""
    page = (Path(__file__).parents[2] / "docs" / "settings.md").read_text(encoding="utf-8")
    ours, others = page.split("## Left as they are")
    named = set(re.findall(r"`([A-Za-z_]+)`", page))
    harmless = re.findall(r"^\| ([A-Z][^|`]*) \|", others, re.MULTILINE)
    unknown = [
        (name, category)
        for name, category in query(
            server.conninfo,
            "SELECT name, category FROM pg_settings WHERE context IN "
            "('user', 'superuser', 'backend', 'superuser-backend')",
        )
        if name not in named and not any(one in category for one in harmless)
    ]
    assert not unknown
    told = set(re.findall(r"`([A-Za-z_]+)`", ours.split("## Set in")[1]))
    with connect(server.conninfo) as conn, conn.transaction():
        session.configure_session(conn.cursor(), 5)
        assert conn.execute("SHOW array_nulls").fetchone() == ("on",)
        found = conn.execute(
            "SELECT name FROM pg_settings WHERE source = 'session' AND context <> 'internal'"
        ).fetchall()
    assert {name for (name,) in found} <= told
