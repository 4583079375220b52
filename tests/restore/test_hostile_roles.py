"""Roundabout ways to have a superuser's restore run code of a role without rights: none works."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pgvector_restore import Backuper, Restorer, TargetMismatchError, open_store
from pgvector_restore.db.embedded import EmbeddedServer
from pgvector_restore.schema import COLLECTION, EMBEDDING
from tests.restore.content import count, execute, query, snapshot
from tests.restore.roles import Low, grab, is_super
from tests.sets import restore, write_set

#: A type of the role with a cast to one of the server's, which calls its function.
_TYPE = """
CREATE TYPE pair AS (a int);
CREATE FUNCTION turned(pair) RETURNS {0} LANGUAGE plpgsql AS $$ BEGIN
    PERFORM public.grab(1); RETURN {1}; END $$;
CREATE CAST (pair AS {0}) WITH FUNCTION turned(pair) AS IMPLICIT;
"""
_DISTANCE = """
CREATE FUNCTION far(int, int) RETURNS float8 IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN
    PERFORM public.calm(1); RETURN 1; END $$;
CREATE TYPE span AS RANGE (subtype = int, subtype_diff = far);
"""

#: Statements of the role, and how the plan names the code.
CODE = {
    "cast that to_json looks up": (
        _TYPE.format("json", "'1'")
        + f"ALTER TABLE {EMBEDDING} ADD CONSTRAINT c CHECK (to_json(ROW(1)::pair) IS NOT NULL)",
        f"check c of public.{EMBEDDING}, which calls public.turned(public.pair)",
    ),
    "cast behind an operator": (
        _TYPE.format("text", "'1'").replace(" AS IMPLICIT", "")
        + f"ALTER TABLE {EMBEDDING} ADD CONSTRAINT c CHECK (('x'::text || ROW(1)::pair) <> '')",
        f"check c of public.{EMBEDDING}, which calls public.turned(public.pair)",
    ),
    "cast of a column's type": (
        _TYPE.format("text", "'1'") + f"ALTER TABLE {EMBEDDING} ADD n pair DEFAULT ROW(1)",
        f"type n of public.{EMBEDDING}, which calls public.turned(public.pair)",
    ),
    "distance of a range": (
        (
            f"{_DISTANCE} ALTER TABLE {EMBEDDING} ADD n span DEFAULT '[1,2]'; "
            f"CREATE INDEX i ON {EMBEDDING} USING gist (n)"
        ),
        f"type n of public.{EMBEDDING}, which calls public.far(integer,integer)",
    ),
    "constant in an index's predicate": (
        f"CREATE INDEX i ON {EMBEDDING} (id) WHERE calm(1)",
        f"index public.i of public.{EMBEDDING}, which calls public.calm(anyelement)",
    ),
    "constant in statistics": (
        (
            f"INSERT INTO {EMBEDDING} (id) VALUES ('x'), ('y'); "
            f"CREATE STATISTICS s ON (calm(1) AND calm(id)) FROM {EMBEDDING}; ANALYZE {EMBEDDING}"
        ),
        f"statistics public.s of public.{EMBEDDING}, which calls public.calm(anyelement)",
    ),
}


def refusal(low: Low, root: Path, **options: Any) -> str:
    """What a plan is refused with, having run nothing and changed nothing."""
    before = snapshot(low.own)
    with (
        Restorer(open_store(root), low.dsn) as restorer,
        pytest.raises(TargetMismatchError) as caught,
    ):
        restorer.plan(**options)
    assert f'"{low.name}" may have written it' in str(caught.value)
    assert snapshot(low.own) == before
    assert not is_super(low)
    return str(caught.value)


@pytest.mark.parametrize("strategy", ["in_place", "swap"])
@pytest.mark.parametrize("kind", CODE)
def test_a_plan_refuses_and_runs_nothing(
    low: Low, tmp_path: Path, kind: str, strategy: str
) -> None:
    statements, phrase = CODE[kind]
    execute(low.own, grab(low) + statements)
    assert phrase in refusal(low, write_set(tmp_path), mode="replace", strategy=strategy)


@pytest.mark.parametrize("form", ["csv", "binary"])
@pytest.mark.parametrize("kind", [k for k in CODE if not CODE[k][1].startswith("check ")])
def test_a_backup_refuses_and_runs_nothing(low: Low, tmp_path: Path, kind: str, form: str) -> None:
    """It only reads; but to empty a table its transaction may write."""
    statements, phrase = CODE[kind]
    execute(low.own, grab(low) + statements)
    options: dict[str, Any] = {"truncate_after": True, "format": form}
    with Backuper(open_store(tmp_path), low.dsn) as backuper:
        with pytest.raises(TargetMismatchError) as caught:
            backuper.backup(**options)
        assert str(caught.value) == (
            f'{phrase}, would run as "postgres", and "{low.name}" may have written it'
        )
        assert caught.value.hint == (
            f'back up as "{low.name}"; allow_attached_code would let the code do all that you may'
        )
        assert not is_super(low)
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
        assert backuper.backup(**options, allow_attached_code=True).tables


def test_a_backup_refuses_the_query_of_a_view(low: Low, tmp_path: Path) -> None:
    execute(
        low.own,
        f"{grab(low)} CREATE VIEW v AS SELECT public.calm(1) AS one;"
        "CREATE VIEW fine AS SELECT abs(-1) AS one",
    )
    with Backuper(open_store(tmp_path), low.dsn) as backuper:
        with pytest.raises(TargetMismatchError, match=r"rule _RETURN of public\.v, which calls"):
            backuper.backup(tables="v")
        assert backuper.backup(tables="fine").rows == 1


def test_json_value_checks_a_domain(server: EmbeddedServer, low: Low, tmp_path: Path) -> None:
    if server.version < 17:
        pytest.skip("JSON_VALUE came with PostgreSQL 17")
    execute(
        low.own,
        f"""
        {grab(low)} CREATE DOMAIN d AS text CHECK (grab(value));
        ALTER TABLE {EMBEDDING} ADD CONSTRAINT c
            CHECK (JSON_VALUE(cmetadata, '$.a' RETURNING d) IS DISTINCT FROM 'x');
        """,
    )
    phrase = f"check c of public.{EMBEDDING}, which calls public.grab("
    assert phrase in refusal(low, write_set(tmp_path))


def test_a_table_that_is_referred_to(low: Low, tmp_path: Path) -> None:
    """Its keys are read, though it is not restored."""
    execute(low.own, f"{grab(low)} CREATE INDEX i ON {COLLECTION} (name) WHERE calm(1)")
    phrase = f"index public.i of public.{COLLECTION}, which calls public.calm(anyelement)"
    assert phrase in refusal(low, write_set(tmp_path), tables=EMBEDDING)


def test_an_index_of_a_table_that_inherits(low: Low, tmp_path: Path) -> None:
    """Counting the rows of the target reads it."""
    execute(
        low.own,
        f"{grab(low)} CREATE TABLE child () INHERITS ({EMBEDDING}); "
        "CREATE INDEX i ON child (id) WHERE calm(1)",
    )
    phrase = "index public.i of public.child, which calls public.calm(anyelement)"
    assert phrase in refusal(low, write_set(tmp_path), mode="append")


def partitioned(low: Low, above: str, below: str) -> str:
    return f"""
        {grab(low)} DROP TABLE {EMBEDDING};
        CREATE TABLE {above} (id varchar PRIMARY KEY, collection_id uuid, embedding vector,
            document varchar, cmetadata jsonb) PARTITION BY HASH (id);
        CREATE TABLE {below} PARTITION OF {above} FOR VALUES WITH (MODULUS 1, REMAINDER 0);
        CREATE TRIGGER t AFTER INSERT ON {above} FOR EACH ROW EXECUTE FUNCTION grab();
    """


def test_a_trigger_of_the_table_above(low: Low, tmp_path: Path) -> None:
    execute(low.own, partitioned(low, "above", EMBEDDING))
    phrase = f"trigger t of public.{EMBEDDING}, which calls public.grab()"
    assert phrase in refusal(low, write_set(tmp_path))


def test_a_trigger_that_only_a_partition_has_enabled(low: Low, tmp_path: Path) -> None:
    execute(
        low.own,
        partitioned(low, EMBEDDING, "part")
        + f"ALTER TABLE ONLY {EMBEDDING} DISABLE TRIGGER t; ALTER TABLE part ENABLE TRIGGER t",
    )
    phrase = "trigger t of public.part, which calls public.grab()"
    assert phrase in refusal(low, write_set(tmp_path))


def test_an_event_trigger_of_a_superuser(low: Low, tmp_path: Path) -> None:
    execute(
        low.own,
        f"""
        CREATE FUNCTION seize() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
            EXECUTE 'ALTER ROLE {low.name} SUPERUSER'; END $$;
        """,
    )
    execute(low.dsn, "CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION public.seize()")
    try:
        phrase = "event trigger e of the database, which calls public.seize()"
        assert phrase in refusal(low, write_set(tmp_path), mode="replace")
    finally:
        execute(low.dsn, "DROP EVENT TRIGGER e")


def test_a_foreign_partition(low: Low, tmp_path: Path) -> None:
    if not query(low.dsn, "SELECT FROM pg_available_extensions WHERE name = 'postgres_fdw'"):
        pytest.skip("the server has no postgres_fdw")
    execute(
        low.dsn,
        "CREATE EXTENSION postgres_fdw; "
        f"GRANT USAGE ON FOREIGN DATA WRAPPER postgres_fdw TO {low.name}",
    )
    execute(
        low.own,
        f"""
        CREATE SERVER loop FOREIGN DATA WRAPPER postgres_fdw;
        DROP TABLE {EMBEDDING};
        CREATE TABLE {EMBEDDING} (id varchar, collection_id uuid, embedding vector,
            document varchar, cmetadata jsonb) PARTITION BY HASH (id);
        CREATE FOREIGN TABLE part PARTITION OF {EMBEDDING}
            FOR VALUES WITH (MODULUS 1, REMAINDER 0) SERVER loop;
        """,
    )
    phrase = "foreign server loop of public.part, which calls public.postgres_fdw_handler()"
    with pytest.raises(TargetMismatchError) as caught:
        restore(write_set(tmp_path), low.dsn)
    assert phrase in str(caught.value)


#: Functions and operators that fit calls of this package better than the server's own.
SHADOWS = """
CREATE FUNCTION unnest(name[]) RETURNS SETOF name LANGUAGE plpgsql AS $$ BEGIN
    PERFORM public.grab(1); RETURN QUERY SELECT pg_catalog.unnest($1); END $$;
CREATE FUNCTION hashtextextended(text, int) RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN
    PERFORM public.grab(1); RETURN pg_catalog.hashtextextended($1, $2); END $$;
"""
#: With the server's own behind the schema in the search path, the same signature will do.
HIDDEN = """
CREATE FUNCTION current_schema() RETURNS name LANGUAGE plpgsql AS $$ BEGIN
    PERFORM public.grab(1); RETURN 'public'; END $$;
CREATE FUNCTION current_schemas(bool) RETURNS name[] LANGUAGE plpgsql AS $$ BEGIN
    PERFORM public.grab(1); RETURN '{public}'; END $$;
CREATE FUNCTION same(name, name) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN
    PERFORM public.grab(1); RETURN $1 OPERATOR(pg_catalog.=) $2; END $$;
CREATE FUNCTION same(text, text) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN
    PERFORM public.grab(1); RETURN $1 OPERATOR(pg_catalog.=) $2; END $$;
CREATE FUNCTION same(int, int) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN
    PERFORM public.grab(1); RETURN $1 OPERATOR(pg_catalog.=) $2; END $$;
CREATE FUNCTION same(oid, oid) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN
    PERFORM public.grab(1); RETURN $1 OPERATOR(pg_catalog.=) $2; END $$;
CREATE OPERATOR = (LEFTARG = name, RIGHTARG = name, FUNCTION = same);
CREATE OPERATOR = (LEFTARG = text, RIGHTARG = text, FUNCTION = same);
CREATE OPERATOR = (LEFTARG = int, RIGHTARG = int, FUNCTION = same);
CREATE OPERATOR = (LEFTARG = oid, RIGHTARG = oid, FUNCTION = same);
CREATE FUNCTION pg_try_advisory_lock(bigint) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN
    PERFORM public.grab(1); RETURN pg_catalog.pg_try_advisory_lock($1); END $$;
CREATE FUNCTION pg_backend_pid() RETURNS int LANGUAGE plpgsql AS $$ BEGIN
    PERFORM public.grab(1); RETURN pg_catalog.pg_backend_pid(); END $$;
CREATE VIEW pg_locks AS SELECT * FROM pg_catalog.pg_locks WHERE public.grab(1);
CREATE VIEW pg_namespace AS SELECT * FROM pg_catalog.pg_namespace WHERE public.grab(1);
"""


@pytest.mark.parametrize("strategy", ["in_place", "swap"])
@pytest.mark.parametrize("first", ["pg_catalog", "public"])
def test_functions_in_the_search_path(low: Low, tmp_path: Path, first: str, strategy: str) -> None:
    """Of the database's owner too, who decides on the search path of all sessions in it."""
    execute(low.own, grab(low) + SHADOWS + (HIDDEN if first == "public" else ""))
    if first == "public":
        (name,) = query(low.dsn, "SELECT pg_catalog.current_database()")[0]
        execute(low.dsn, f"ALTER DATABASE {name} SET search_path = public, pg_catalog")
    with Restorer(open_store(write_set(tmp_path)), low.dsn) as restorer:
        report = restorer.restore(mode="replace", strategy=strategy)
        assert report.schema == "public"
        assert restorer.verify().equal
        assert len(restorer.nearest_neighbours(EMBEDDING, schema="public")) == 3
        restored = restorer.restore(mode="replace", strategy="swap", keep_previous=True)
        restorer.revert(restored)
    assert not is_super(low)


LEDGER = "pgvector_restore_ledger"


@pytest.mark.parametrize(
    ("statements", "phrase"),
    [
        (
            f"CREATE TRIGGER t BEFORE INSERT ON {LEDGER} FOR EACH ROW EXECUTE FUNCTION grab()",
            f"trigger t of public.{LEDGER}, which calls public.grab()",
        ),
        (
            (
                f"CREATE TABLE other (x bool DEFAULT grab(1)); "
                f"CREATE RULE r AS ON INSERT TO {LEDGER} DO ALSO INSERT INTO other DEFAULT VALUES"
            ),
            f"rule r of public.{LEDGER}",
        ),
        (
            (
                f"ALTER TABLE {LEDGER} RENAME TO other; "
                f"CREATE VIEW {LEDGER} AS SELECT * FROM other; "
                f"CREATE TRIGGER t INSTEAD OF INSERT ON {LEDGER} "
                "FOR EACH ROW EXECUTE FUNCTION grab()"
            ),
            f"rule _RETURN of public.{LEDGER}",
        ),
    ],
)
def test_a_ledger_that_somebody_has_laid_out(
    low: Low, tmp_path: Path, statements: str, phrase: str
) -> None:
    root = write_set(tmp_path)
    execute(low.own, grab(low))
    restore(root, low.own, mode="replace", ledger=True)
    restore(root, low.dsn, mode="replace", ledger=True)  # it is the role's, and harmless
    execute(low.own, statements)
    before = snapshot(low.own)
    with pytest.raises(TargetMismatchError) as caught:
        restore(root, low.dsn, mode="replace", ledger=True)
    expected = f"public.{LEDGER} would run code that somebody has written: {phrase}"
    assert str(caught.value) == expected
    assert caught.value.hint == "restore without a ledger"
    assert snapshot(low.own) == before
    assert not is_super(low)


@pytest.mark.parametrize(
    ("kind", "statements"),
    [
        ("index public.i", f"CREATE INDEX i ON {EMBEDDING} (id) WHERE calm(1)"),
        ("type n", _TYPE.format("text", "'1'") + f"ALTER TABLE {EMBEDDING} ADD n pair"),
    ],
)
def test_reading_runs_nothing_either(low: Low, tmp_path: Path, kind: str, statements: str) -> None:
    root = write_set(tmp_path)
    restore(root, low.own)
    execute(low.own, grab(low) + statements)
    with Restorer(open_store(root), low.dsn) as restorer:
        with pytest.raises(TargetMismatchError) as caught:
            restorer.verify()
        assert str(caught.value).startswith(f"{kind} of public.{EMBEDDING}, which calls public.")
        assert caught.value.hint == f'verify as "{low.name}"'
        assert restorer.nearest_neighbours(EMBEDDING, schema="public") == ()
    assert not is_super(low)


def test_an_operator_that_fits_a_domain_better(low: Low, tmp_path: Path) -> None:
    execute(
        low.own,
        f"""
        {grab(low)} CREATE DOMAIN d AS vector;
        CREATE FUNCTION near(d, d) RETURNS float8 LANGUAGE plpgsql AS $$ BEGIN
            PERFORM public.grab(1); RETURN 0; END $$;
        CREATE FUNCTION vector_dims(d) RETURNS int LANGUAGE plpgsql AS $$ BEGIN
            PERFORM public.grab(1); RETURN 3; END $$;
        CREATE OPERATOR <=> (LEFTARG = d, RIGHTARG = d, FUNCTION = near);
        ALTER TABLE {EMBEDDING} ALTER embedding TYPE d;
        """,
    )
    with Restorer(open_store(write_set(tmp_path)), low.dsn) as restorer:
        restorer.restore(mode="replace")
        assert len(restorer.nearest_neighbours(EMBEDDING, schema="public")) == 3
    assert count(low.own, EMBEDDING) == 4
    assert not is_super(low)
