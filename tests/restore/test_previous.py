"""Kept tables: known by a mark, put back by the restore that kept them, in nobody's way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from pgvector_restore import (
    ConnectError,
    OptionError,
    Restorer,
    RestoreReport,
    TargetMismatchError,
    open_store,
)
from pgvector_restore.restorer import drop_previous, previous_tables, revert_tables
from tests.conftest import connect
from tests.proxy import COMMIT, Judge, Proxy
from tests.restore.content import count, execute, query, snapshot
from tests.restore.roles import role
from tests.sets import SQL_ID, embedding_bytes, restore, write_set

EMBEDDING, COLLECTION = "langchain_pg_embedding", "langchain_pg_collection"
BOTH = [COLLECTION, EMBEDDING]

_KEYS = """
    SELECT n.nspname, c.relname, k.conname, k.convalidated, f.relnamespace::regnamespace::text
    FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_class f ON f.oid = k.confrelid
    WHERE k.contype = 'f' ORDER BY 1, 2, 3
"""
_LIVE_KEY = ("public", EMBEDDING, f"{EMBEDDING}_collection_id_fkey", True, "public")


@pytest.fixture
def roots(tmp_path: Path) -> dict[str, Path]:
    """Sets whose rows say which of them they are of."""
    return {
        word: write_set(
            tmp_path / word,
            embedding=embedding_bytes(
                records=[(f"{word}-{n}", SQL_ID, '"[1,2,3]"', word, "") for n in range(rows)]
            ),
        )
        for word, rows in (("one", 1), ("two", 2), ("three", 3))
    }


def swap(root: Path, dsn: Any, *, keep: bool = True, **options: Any) -> RestoreReport:
    return restore(
        root, dsn, mode="replace", strategy="swap", keep_previous=keep, jobs=1, **options
    )


def served(dsn: str) -> str:
    """The set that is in service, whole, in tables that take and refuse what they should."""
    found = query(dsn, f"SELECT document, count(*) FROM public.{EMBEDDING} GROUP BY 1")
    assert len(found) == 1, found
    word, rows = found[0]
    assert rows == {"one": 1, "two": 2, "three": 3}[word]
    assert _LIVE_KEY in query(dsn, _KEYS)
    with connect(dsn) as conn, conn.transaction(force_rollback=True):
        conn.execute(f"INSERT INTO {EMBEDDING} (id, collection_id) VALUES ('x', '{SQL_ID}')")
        with pytest.raises(psycopg.errors.ForeignKeyViolation):
            conn.execute(
                f"INSERT INTO {EMBEDDING} (id, collection_id) VALUES ('y', gen_random_uuid())"
            )
    return str(word)


def kept_in(dsn: str, **given: str) -> list[str]:
    return [one.kept_in for one in previous_tables(dsn, **given)]


def test_one_table_is_kept_and_then_both(g2_dsn: str, roots: dict[str, Path]) -> None:
    restore(roots["one"], g2_dsn)
    first = swap(roots["two"], g2_dsn, tables=EMBEDDING)
    assert first.kept == (f"public_previous.{EMBEDDING}",)
    assert query(g2_dsn, _KEYS) == [_LIVE_KEY]  # what is kept refers to nothing in service
    restore(roots["one"], g2_dsn, mode="replace", strategy="in_place")
    second = swap(roots["two"], g2_dsn)
    assert (second.warnings, kept_in(g2_dsn)) == ((), ["public_previous"])
    before = snapshot(g2_dsn)
    for name, other in (BOTH, reversed(BOTH)):
        with pytest.raises(TargetMismatchError, match="is tied to ") as caught:
            revert_tables(g2_dsn, [name])
        assert other in str(caught.value)
    assert snapshot(g2_dsn) == before
    report = revert_tables(g2_dsn)
    assert served(g2_dsn) == "one"
    assert (report.restore_id, list(report)) == (
        second.restore_id,
        [f"public.{name}" for name in BOTH],
    )
    assert [(one.table, one.rows) for one in report.tables] == [(COLLECTION, 2), (EMBEDDING, 1)]
    assert f"public.{EMBEDDING}, 1 rows, as before restore {second.restore_id}" in str(report)
    swap(roots["three"], g2_dsn, keep=False)
    restore(roots["two"], g2_dsn, mode="replace", strategy="in_place")
    assert served(g2_dsn) == "two"


def test_keys_of_one_table_come_back_checked(g2_dsn: str, roots: dict[str, Path]) -> None:
    restore(roots["one"], g2_dsn)
    execute(
        g2_dsn,
        f"COMMENT ON CONSTRAINT {_LIVE_KEY[2]} ON {EMBEDDING} IS 'a key'",
    )
    swap(roots["two"], g2_dsn, tables=EMBEDDING)
    execute(g2_dsn, f"DELETE FROM {COLLECTION}")
    execute(g2_dsn, "SET session_replication_role = replica; "
                    f"INSERT INTO {EMBEDDING} (id, document) VALUES ('z', 'two')")  # fmt: skip
    before = snapshot(g2_dsn)
    with pytest.raises(TargetMismatchError, match=f"the foreign key {_LIVE_KEY[2]}"):
        revert_tables(g2_dsn, EMBEDDING)
    assert snapshot(g2_dsn) == before
    execute(g2_dsn, f"INSERT INTO {COLLECTION} VALUES ('{SQL_ID}', 'x')")
    for _ in range(3):
        report = revert_tables(g2_dsn, [EMBEDDING])
        assert query(g2_dsn, _KEYS) == [_LIVE_KEY]
    assert served(g2_dsn) == "one"
    assert report.notes == ()
    comment = "SELECT description FROM pg_description WHERE classoid = 'pg_constraint'::regclass"
    assert ("a key",) in query(g2_dsn, comment)


def test_a_report_takes_back_its_own_restore_or_nothing(
    g2_dsn: str, roots: dict[str, Path]
) -> None:
    restore(roots["one"], g2_dsn)
    with Restorer(open_store(roots["two"]), g2_dsn) as restorer:
        kept = swap(roots["two"], g2_dsn)
        nothing = restore(roots["one"], g2_dsn, mode="append", tables=EMBEDDING)
        for report in (nothing, swap(roots["three"], g2_dsn, keep=False)):
            with pytest.raises(TargetMismatchError, match="has kept no tables") as caught:
                restorer.revert(report)
            assert report.restore_id in str(caught.value)
        for replacing in (None, "in_place"):
            if replacing:
                kept = swap(roots["two"], g2_dsn)
                restore(roots["three"], g2_dsn, mode="replace", strategy=replacing)
            with pytest.raises(TargetMismatchError, match="has replaced its tables since"):
                restorer.revert(kept)
            assert served(g2_dsn) == "three"
        later = swap(roots["one"], g2_dsn)
        with pytest.raises(TargetMismatchError, match="is not there any more"):
            restorer.revert(kept)
        assert served(g2_dsn) == "one"
        for word in ("three", "one", "three"):
            restorer.revert(later)
            assert served(g2_dsn) == word
        execute(g2_dsn, f"ALTER TABLE {EMBEDDING} RENAME TO aside; "
                        f"CREATE TABLE {EMBEDDING} (LIKE aside INCLUDING ALL)")  # fmt: skip
        with pytest.raises(TargetMismatchError, match="somebody else has replaced"):
            restorer.revert(later)
        with pytest.raises(OptionError):
            restorer.revert(tables=[])
        with pytest.raises(OptionError):
            restorer.drop_previous()
        assert [one.restore_id for one in restorer.previous("public")] == [later.restore_id]
        assert restorer.previous("other") == ()
        (gone,) = restorer.drop_previous(later)
        assert gone.restore_id == later.restore_id
        with pytest.raises(TargetMismatchError, match="nothing is kept"):
            restorer.revert()


def test_what_is_put_back_although_others_have_replaced_it(
    g2_dsn: str, roots: dict[str, Path]
) -> None:
    restore(roots["one"], g2_dsn)
    swap(roots["two"], g2_dsn)
    later = swap(roots["three"], g2_dsn, keep=False)
    assert previous_tables(g2_dsn)[0].replaced_by == later.restore_id
    assert [one.rows for one in revert_tables(g2_dsn).tables] == [2, 1]
    assert served(g2_dsn) == "one"
    again = revert_tables(g2_dsn)
    assert served(g2_dsn) == "three"
    assert all(one.reverted_at is not None for one in again.tables)
    assert "was reverted at" in str(again)


def test_schemas_and_tables_of_others_stay(g2_dsn: str, roots: dict[str, Path]) -> None:
    mine = (
        f"CREATE SCHEMA public_previous; CREATE TABLE public_previous.{EMBEDDING} AS SELECT 7 AS a"
    )
    execute(g2_dsn, mine)
    restore(roots["one"], g2_dsn)
    for word in ("two", "three", "two"):
        report = swap(roots[word], g2_dsn)
    assert report.warnings == ()
    assert len(kept_in(g2_dsn)) == 1
    place = kept_in(g2_dsn)[0]
    assert place != "public_previous"
    assert query(g2_dsn, f"SELECT a FROM public_previous.{EMBEDDING}") == [(7,)]
    execute(g2_dsn, f"CREATE TABLE {place}.mine AS SELECT 8 AS a")
    revert_tables(g2_dsn)
    assert served(g2_dsn) == "three"
    swap(roots["one"], g2_dsn)
    assert query(g2_dsn, f"SELECT a FROM {place}.mine") == [(8,)]
    assert len(kept_in(g2_dsn)) == 1
    for one in previous_tables(g2_dsn):
        execute(g2_dsn, f"DROP TABLE {one.kept_in}.{EMBEDDING}; "
                        f"CREATE TABLE {one.kept_in}.{EMBEDDING} (mine int)")  # fmt: skip
        with pytest.raises(TargetMismatchError, match="is not there any more"):
            revert_tables(g2_dsn)
        drop_previous(g2_dsn, [one.restore_id])
        assert count(g2_dsn, f"{one.kept_in}.{EMBEDDING}") == 0
    assert kept_in(g2_dsn) == []


def test_two_long_names_of_schemas(g2_dsn: str, roots: dict[str, Path]) -> None:
    tenants = ["tenant_" + "a" * 50 + end for end in ("_x", "_y")]
    for word, schema in zip(("one", "two"), tenants, strict=True):
        execute(
            g2_dsn,
            f"CREATE SCHEMA {schema}; "
            + "".join(f"CREATE TABLE {schema}.{t} (LIKE {t} INCLUDING ALL);" for t in BOTH),
        )
        restore(roots[word], g2_dsn, schema=schema)
        swap(roots["three"], g2_dsn, schema=schema)
    assert len(set(kept_in(g2_dsn))) == 2
    assert [len(kept_in(g2_dsn, schema=schema)) for schema in tenants] == [1, 1]
    revert_tables(g2_dsn, schema=tenants[0])
    assert [count(g2_dsn, f"{schema}.{EMBEDDING}") for schema in tenants] == [1, 3]
    execute(g2_dsn, f"ALTER SCHEMA {tenants[1]} RENAME TO moved")
    execute(g2_dsn, f"CREATE SCHEMA {tenants[1]}")
    with pytest.raises(TargetMismatchError):
        revert_tables(g2_dsn, schema=tenants[1])
    revert_tables(g2_dsn, EMBEDDING, schema="moved")
    assert count(g2_dsn, f"moved.{EMBEDDING}") == 2
    execute(g2_dsn, "DROP SCHEMA moved CASCADE")
    assert previous_tables(g2_dsn)[0].schema == ""
    drop_previous(g2_dsn, [previous_tables(g2_dsn)[0].restore_id])


#: What others may hang on a kept table, how that is told, and how it is taken away.
HANGING = {
    "view": ("CREATE VIEW v AS SELECT id FROM {}", "view public.v reads it", "DROP VIEW v"),
    "key": (
        "CREATE TABLE note (id varchar REFERENCES {})",
        "foreign key note_id_fkey of public.note refers to it",
        "DROP TABLE note",
    ),
    "child": (
        "CREATE TABLE child () INHERITS ({})",
        "public.child inherits from it",
        "DROP TABLE child",
    ),
    "function": (
        "CREATE FUNCTION f({}) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "function public.f(",
        "DROP FUNCTION f",
    ),
    "publication": (
        "CREATE PUBLICATION p FOR TABLE {}",
        "publication p publishes it",
        "DROP PUBLICATION p",
    ),
    "policy": (
        "CREATE TABLE t (id varchar); CREATE POLICY q ON t USING (id IN (SELECT id FROM {}))",
        "policy q of public.t reads it",
        "DROP TABLE t",
    ),
}


def test_what_hangs_on_a_kept_table_stays_and_stops_nobody(
    g2_dsn: str, roots: dict[str, Path]
) -> None:
    restore(roots["one"], g2_dsn)
    execute(g2_dsn, "SET client_min_messages = error")
    for ddl, phrase, undo in HANGING.values():
        older = swap(roots["two"], g2_dsn)
        assert older.warnings == ()
        (place,) = kept_in(g2_dsn)
        table = f"{place}.{EMBEDDING}"
        execute(g2_dsn, ddl.format(table))
        rows = count(g2_dsn, table)
        with pytest.raises(TargetMismatchError) as refused:
            revert_tables(g2_dsn)
        assert phrase in str(refused.value)
        with pytest.raises(TargetMismatchError) as refused:
            drop_previous(g2_dsn, [older.restore_id])
        assert phrase in str(refused.value)
        restore(roots["three"], g2_dsn, mode="replace", strategy="in_place")
        newer = swap(roots["one"], g2_dsn)
        assert any(phrase in warning for warning in newer.warnings), newer.warnings
        assert len(kept_in(g2_dsn)) == 2
        assert count(g2_dsn, table) == rows
        with (
            Restorer(open_store(roots["one"]), g2_dsn) as restorer,
            pytest.raises(TargetMismatchError, match="has replaced its tables since"),
        ):
            restorer.revert(older)
        revert_tables(g2_dsn)
        assert served(g2_dsn) == "three"
        execute(g2_dsn, undo)
    swap(roots["one"], g2_dsn)
    assert kept_in(g2_dsn) == ["public_previous"]


def test_a_kept_table_that_somebody_reads_stops_nobody(g2_dsn: str, roots: dict[str, Path]) -> None:
    restore(roots["one"], g2_dsn)
    swap(roots["two"], g2_dsn)
    with connect(g2_dsn) as reader, reader.transaction():
        reader.execute(f"SELECT FROM public_previous.{EMBEDDING}")
        report = swap(roots["three"], g2_dsn, lock_timeout_s=5)
        assert any("somebody uses it" in warning for warning in report.warnings)
    assert len(kept_in(g2_dsn)) == 2
    swap(roots["one"], g2_dsn)
    assert kept_in(g2_dsn) == ["public_previous"]


@pytest.mark.parametrize(
    ("step", "sign"), [("INCREMENT 5", 1), ("INCREMENT -5 MINVALUE -99999", -1)]
)
def test_identity_sequences_go_on_where_they_are(
    g2_dsn: str, roots: dict[str, Path], step: str, sign: int
) -> None:
    """Numbers given since are not given again."""
    execute(
        g2_dsn,
        f"ALTER TABLE {EMBEDDING} ADD n int GENERATED BY DEFAULT AS IDENTITY ({step})",
    )
    restore(roots["one"], g2_dsn)
    swap(roots["two"], g2_dsn)
    number = f"SELECT nextval(pg_get_serial_sequence('{EMBEDDING}', 'n'))"
    ((last,),) = [query(g2_dsn, number)[0] for _ in range(7)][-1:]
    with Restorer(open_store(roots["two"]), g2_dsn) as restorer:
        restorer.revert()
    assert query(g2_dsn, number) == [(last + 5 * sign,)]


def test_what_was_taken_away_meanwhile_does_not_come_back(
    g2_dsn: str, roots: dict[str, Path]
) -> None:
    with (
        role(g2_dsn, "GRANT CREATE ON SCHEMA public TO {};") as (name, _),
        role(g2_dsn, "SELECT 1") as (other, _),
    ):
        execute(
            g2_dsn,
            f"""
            ALTER TABLE {EMBEDDING} ADD n int GENERATED BY DEFAULT AS IDENTITY (SEQUENCE NAME sq);
            GRANT SELECT, UPDATE ON {EMBEDDING} TO {name} WITH GRANT OPTION;
            GRANT UPDATE (document) ON {EMBEDDING} TO {other};
            GRANT INSERT ON {EMBEDDING} TO PUBLIC;
            GRANT USAGE ON SEQUENCE sq TO {other};
            CREATE POLICY gone ON {EMBEDDING} USING (true);
            """,
        )
        restore(roots["one"], g2_dsn)
        swap(roots["two"], g2_dsn)
        execute(
            g2_dsn,
            f"""
            REVOKE ALL ON {EMBEDDING} FROM {name}, PUBLIC CASCADE;
            REVOKE UPDATE (document) ON {EMBEDDING} FROM {other};
            REVOKE ALL ON SEQUENCE sq FROM {other};
            GRANT SELECT (id) ON {EMBEDDING} TO {other};
            DROP POLICY gone ON {EMBEDDING};
            CREATE POLICY present ON {EMBEDDING} FOR SELECT TO {other}
                USING (id IN (SELECT id FROM {EMBEDDING}));
            COMMENT ON POLICY present ON {EMBEDDING} IS 'a policy';
            ALTER TABLE {EMBEDDING} ENABLE ROW LEVEL SECURITY;
            ALTER TABLE {EMBEDDING} FORCE ROW LEVEL SECURITY;
            ALTER TABLE {EMBEDDING} OWNER TO {name};
            """,
        )
        who = f"""
            SELECT c.relowner::regrole::text, c.relrowsecurity, c.relforcerowsecurity,
                   (SELECT array_agg((x.grantee, x.privilege_type)::text ORDER BY 1)
                    FROM aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) x),
                   (SELECT array_agg((a.attname, a.attacl)::text ORDER BY 1) FROM pg_attribute a
                    WHERE a.attrelid = c.oid AND a.attacl IS NOT NULL),
                   (SELECT array_agg((p.polname, pg_get_expr(p.polqual, p.polrelid))::text)
                    FROM pg_policy p WHERE p.polrelid = c.oid),
                   (SELECT coalesce(s.relacl::text, '') FROM pg_class s
                    WHERE s.oid = 'public.sq'::regclass)
            FROM pg_class c WHERE c.oid = 'public.{EMBEDDING}'::regclass
        """
        before = query(g2_dsn, who)
        revert_tables(g2_dsn)
        assert query(g2_dsn, f"SELECT document FROM {EMBEDDING}") == [("one",)]
        after = query(g2_dsn, who)
        assert [row[:6] for row in after] == [row[:6] for row in before]
        assert other not in after[0][6]


#: What may have changed since, and whether that is refused or told.
CHANGES = {
    "column": ("ALTER TABLE {} ADD extra int", "other columns"),
    "not null": ("ALTER TABLE {} ALTER document SET NOT NULL", "other columns"),
    "check": ("ALTER TABLE {} ADD CONSTRAINT ck CHECK (id <> '')", "CONSTRAINT ck CHECK"),
    "key": ("ALTER TABLE {} ADD CONSTRAINT un UNIQUE (document, id)", "CONSTRAINT un UNIQUE"),
    "unique index": ("CREATE UNIQUE INDEX ux ON {} (document, id)", "CREATE UNIQUE INDEX ux"),
    "trigger": (
        (
            "CREATE TRIGGER tr BEFORE UPDATE ON {} FOR EACH ROW "
            "EXECUTE FUNCTION suppress_redundant_updates_trigger()"
        ),
        "CREATE TRIGGER tr",
    ),
    "index": ("CREATE INDEX ix ON {} (document)", None),
    "comment": ("COMMENT ON TABLE {} IS 'new'", None),
    "settings": ("ALTER TABLE {} SET (fillfactor = 70)", None),
}


def test_what_has_changed_since_is_refused_or_told(g2_dsn: str, roots: dict[str, Path]) -> None:
    restore(roots["one"], g2_dsn)
    for ddl, phrase in CHANGES.values():
        swap(roots["two"], g2_dsn)
        execute(g2_dsn, ddl.format(EMBEDDING))
        before = snapshot(g2_dsn)
        if phrase is None:
            report = revert_tables(g2_dsn)
            assert query(g2_dsn, f"SELECT document FROM {EMBEDDING}") == [("one",)]
            assert [note for note in report.notes if "has no more: " in note], ddl
            revert_tables(g2_dsn)
        else:
            with pytest.raises(TargetMismatchError, match="is not defined like") as caught:
                revert_tables(g2_dsn)
            assert phrase in str(caught.value)
            assert snapshot(g2_dsn) == before
            execute(g2_dsn, ddl.format(f"public_previous.{EMBEDDING}"))
            revert_tables(g2_dsn)
        restore(roots["one"], g2_dsn, mode="replace", strategy="in_place")


def forged(dsn: str, schema: str, text: str) -> None:
    with connect(dsn) as conn:
        conn.execute(
            sql.SQL("COMMENT ON SCHEMA {} IS {}").format(sql.Identifier(schema), sql.Literal(text))
        )


def test_marks_that_are_none(g2_dsn: str, roots: dict[str, Path]) -> None:
    restore(roots["one"], g2_dsn)
    report = swap(roots["two"], g2_dsn)
    mark = query(g2_dsn, "SELECT obj_description('public_previous'::regnamespace)")[0][0]
    prefix, _, text = mark.partition("{")
    said = json.loads("{" + text)
    # A dump that was read into another schema: its objects have other numbers.
    execute(
        g2_dsn,
        "CREATE SCHEMA copied; "
        + "".join(f"CREATE TABLE copied.{name} (mine int);" for name in BOTH),
    )
    forged(g2_dsn, "copied", mark)
    # One that somebody has written who is no superuser, over the superuser's own tables.
    with role(g2_dsn, "CREATE SCHEMA trap AUTHORIZATION {};") as (_, own):
        oids = {name: query(g2_dsn, f"SELECT '{name}'::regclass::oid::int8")[0][0] for name in BOTH}
        trap = query(g2_dsn, "SELECT 'trap'::regnamespace::oid::int8")[0][0]
        tables = [one | {"oid": oids[one["name"]]} for one in said["tables"]]
        execute(own, "".join(f"CREATE TABLE trap.{name} (mine int);" for name in BOTH))
        forged(own, "trap", prefix + json.dumps(said | {"place": trap, "tables": tables}))
        assert kept_in(g2_dsn) == ["public_previous"]
        for wrong in ("", "{}", "[" * 5000, "null", '{"tables": 3}', "{" + text[:40]):
            execute(g2_dsn, "DROP SCHEMA IF EXISTS bad; CREATE SCHEMA bad")
            forged(g2_dsn, "bad", prefix + wrong)
            assert kept_in(g2_dsn) == ["public_previous"]
        swap(roots["three"], g2_dsn)
        assert [count(g2_dsn, f"{s}.{t}") for s in ("copied", "trap") for t in BOTH] == [0] * 4
        with pytest.raises(TargetMismatchError, match="nothing is kept of a restore"):
            drop_previous(g2_dsn, [report.restore_id])
        # Nor does that role come near what was kept by another one.
        assert [(one.kept_in, one.tables) for one in previous_tables(own)] == [("trap", ())]
        with pytest.raises(TargetMismatchError):
            revert_tables(own, BOTH)
    # A mark of our own over tables that lie elsewhere.
    here = query(g2_dsn, "SELECT 'public_previous'::regnamespace::oid::int8")[0][0]
    oids = {name: query(g2_dsn, f"SELECT '{name}'::regclass::oid::int8")[0][0] for name in BOTH}
    tables = [one | {"oid": oids[one["name"]]} for one in said["tables"]]
    forged(g2_dsn, "public_previous", prefix + json.dumps(said | {"place": here, "tables": tables}))
    assert [one.tables for one in previous_tables(g2_dsn)] == [()]
    swap(roots["one"], g2_dsn)
    assert served(g2_dsn) == "one"
    assert count(g2_dsn, f"public_previous.{EMBEDDING}") == 2  # without a mark it is nobody's


def losing(verdict: str) -> Judge:
    noted = False

    def judge(data: bytes) -> str | None:
        nonlocal noted
        noted = noted or b"pg_current_xact_id" in data
        if not noted or COMMIT not in data:
            return None
        noted = False
        return verdict

    return judge


@pytest.fixture
def through(g2_dsn: str) -> Iterator[Proxy]:
    with Proxy(g2_dsn) as proxy:
        yield proxy


def test_a_lost_commit_is_resolved(g2_dsn: str, roots: dict[str, Path], through: Proxy) -> None:
    restore(roots["one"], g2_dsn)
    kept = swap(roots["two"], g2_dsn)
    through.judge = losing("before")
    with pytest.raises(ConnectError, match="nothing has changed"):
        revert_tables(through.dsn)
    assert served(g2_dsn) == "two"
    through.judge = losing("after")
    revert_tables(through.dsn)
    assert served(g2_dsn) == "one"
    through.judge = losing("before")
    with pytest.raises(ConnectError, match="nothing has changed"):
        drop_previous(through.dsn, [kept.restore_id])
    assert len(kept_in(g2_dsn)) == 1
    through.judge = losing("after")
    drop_previous(through.dsn, [kept.restore_id])
    assert kept_in(g2_dsn) == []
