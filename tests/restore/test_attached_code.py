"""Code that hangs on a target runs with the rights of whoever restores: found and refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from pgvector_restore import Restorer, TargetChangedError, TargetMismatchError, open_store
from tests.cli.conftest import run_command
from tests.restore.content import count, execute, snapshot
from tests.restore.roles import Low, grab, is_super, role
from tests.sets import restore, write_set

EMBEDDING = "langchain_pg_embedding"


#: Statements of the owner, and how the plan names the code.
CODE = {
    "row trigger": (
        f"CREATE TRIGGER t BEFORE INSERT ON {EMBEDDING} FOR EACH ROW EXECUTE FUNCTION grab()",
        f"trigger t of public.{EMBEDDING}, which calls public.grab()",
    ),
    "statement trigger": (
        f"CREATE TRIGGER t AFTER INSERT ON {EMBEDDING} EXECUTE FUNCTION grab()",
        f"trigger t of public.{EMBEDDING}, which calls public.grab()",
    ),
    "truncate trigger": (
        f"CREATE TRIGGER t BEFORE TRUNCATE ON {EMBEDDING} EXECUTE FUNCTION grab()",
        f"trigger t of public.{EMBEDDING}, which calls public.grab()",
    ),
    "deferred trigger": (
        (
            f"CREATE CONSTRAINT TRIGGER t AFTER INSERT ON {EMBEDDING} "
            "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION grab()"
        ),
        f"trigger t of public.{EMBEDDING}, which calls public.grab()",
    ),
    "condition of a trigger": (
        (
            f"CREATE TRIGGER t BEFORE INSERT ON {EMBEDDING} FOR EACH ROW WHEN (NOT grab(new.id)) "
            "EXECUTE FUNCTION suppress_redundant_updates_trigger()"
        ),
        f"trigger t of public.{EMBEDDING}, which calls public.grab(anyelement)",
    ),
    "check": (
        f"ALTER TABLE {EMBEDDING} ADD CONSTRAINT c CHECK (grab(id))",
        f"check c of public.{EMBEDDING}, which calls public.grab(anyelement)",
    ),
    "check through a cast to a domain": (
        (
            "CREATE DOMAIN d AS text CHECK (grab(value)); "
            f"ALTER TABLE {EMBEDDING} ADD CONSTRAINT c CHECK (coalesce(document::d, '') <> 'x')"
        ),
        f"check c of public.{EMBEDDING}, which calls public.grab(anyelement)",
    ),
    "operator of its own": (
        (
            "CREATE OPERATOR !!! (RIGHTARG = anyelement, FUNCTION = grab); "
            f"ALTER TABLE {EMBEDDING} ADD CONSTRAINT c CHECK (!!! id)"
        ),
        f"check c of public.{EMBEDDING}, which calls public.grab(anyelement)",
    ),
    "built-in that runs a query": (
        (
            f"ALTER TABLE {EMBEDDING} ADD CONSTRAINT c CHECK "
            "(query_to_xml('SELECT public.grab(1)', true, true, '') IS NOT NULL)"
        ),
        f"check c of public.{EMBEDDING}, which calls query_to_xml(",
    ),
    "default of an omitted column": (
        f"ALTER TABLE {EMBEDDING} ADD n bool; ALTER TABLE {EMBEDDING} ALTER n SET DEFAULT grab(1)",
        f"default n of public.{EMBEDDING}, which calls public.grab(anyelement)",
    ),
    "generated column": (
        f"ALTER TABLE {EMBEDDING} ADD n bool GENERATED ALWAYS AS (calm(id)) STORED",
        f"generated n of public.{EMBEDDING}, which calls public.calm(anyelement)",
    ),
    "index expression": (
        f"CREATE UNIQUE INDEX i ON {EMBEDDING} ((calm(id)), id)",
        f"index public.i of public.{EMBEDDING}, which calls public.calm(anyelement)",
    ),
    "predicate of an index": (
        f"CREATE INDEX i ON {EMBEDDING} (id) WHERE calm(id)",
        f"index public.i of public.{EMBEDDING}, which calls public.calm(anyelement)",
    ),
    "domain of a loaded column": (
        (
            "CREATE DOMAIN d AS varchar; CREATE DOMAIN e AS d CHECK (grab(value)); "
            f"ALTER TABLE {EMBEDDING} ALTER document TYPE e"
        ),
        f"domain document of public.{EMBEDDING}, which calls public.grab(anyelement)",
    ),
}


@pytest.mark.parametrize("kind", CODE)
def test_a_superuser_does_not_run_somebody_elses_code(low: Low, tmp_path: Path, kind: str) -> None:
    statements, phrase = CODE[kind]
    execute(low.own, grab(low) + statements)
    before = snapshot(low.dsn)
    with pytest.raises(TargetMismatchError) as caught:
        restore(write_set(tmp_path), low.dsn, mode="replace")
    assert phrase in caught.value.message
    assert (
        f', would run as "postgres", and "{low.name}" may have written it' in caught.value.message
    )
    assert caught.value.hint == (
        f'restore as "{low.name}"; allow_attached_code would let the code do all that you may'
    )
    assert snapshot(low.dsn) == before
    assert not is_super(low)


#: These do not run in mode append, where the second index is built with its owner's rights, or
#: on servers without XML.
QUIET = ("truncate trigger", "predicate of an index", "built-in that runs a query")


@pytest.mark.parametrize("kind", [kind for kind in CODE if kind not in QUIET])
def test_with_the_option_it_runs_as_asked(low: Low, tmp_path: Path, kind: str) -> None:
    statements, phrase = CODE[kind]
    execute(low.own, grab(low) + statements)
    report = restore(write_set(tmp_path), low.dsn, allow_attached_code=True)
    assert is_super(low)  # which is what the option is about
    assert count(low.dsn, EMBEDDING) == 4
    (warning,) = report.warnings
    assert warning.startswith(phrase)
    assert warning.endswith(f', runs as "postgres": "{low.name}" may have written it')


def test_the_owner_runs_its_own_code(low: Low, tmp_path: Path) -> None:
    execute(
        low.own,
        f"""
        CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
        CREATE TRIGGER eye BEFORE INSERT ON {EMBEDDING} FOR EACH ROW EXECUTE FUNCTION see();
        """,
    )
    with Restorer(open_store(write_set(tmp_path)), low.own) as restorer:
        plan = restorer.plan()
        assert plan.warnings == ()
        eye = f'trigger eye of public.{EMBEDDING}, which calls public.see(), runs as "{low.name}"'
        assert eye in plan.notes
        assert restorer.run(plan).rows_loaded == 6


def test_code_of_a_superuser_is_trusted(g2_dsn: str, tmp_path: Path) -> None:
    execute(
        g2_dsn,
        f"""
        CREATE FUNCTION fine(text) RETURNS bool LANGUAGE sql AS 'SELECT true';
        ALTER TABLE {EMBEDDING} ADD CHECK (fine(id));
        """,
    )
    grants = "GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA public TO {}"
    with role(g2_dsn, grants) as (_, own):
        assert restore(write_set(tmp_path), own).rows_loaded == 6


def test_somebody_elses_function_on_ones_own_table(low: Low, tmp_path: Path) -> None:
    """Its owner can replace its body whenever it likes."""
    execute(low.own, grab(low))
    execute(
        low.dsn,
        f"ALTER TABLE {EMBEDDING} OWNER TO postgres; "
        f"ALTER TABLE {EMBEDDING} ADD CONSTRAINT c CHECK (grab(id))",
    )
    with pytest.raises(TargetMismatchError, match=f'"{low.name}" may have written it'):
        restore(write_set(tmp_path), low.dsn)
    assert not is_super(low)


def test_a_member_of_the_owner_does_not_run_its_code(low: Low, tmp_path: Path) -> None:
    execute(low.own, f"{grab(low)} {CODE['check'][0]}")
    with (
        role(low.dsn, f"GRANT {low.name} TO {{}}") as (_, own),
        pytest.raises(TargetMismatchError, match=f'"{low.name}" may have written it'),
    ):
        restore(write_set(tmp_path), own)


def test_an_owner_who_may_act_as_the_role_is_trusted(low: Low, tmp_path: Path) -> None:
    execute(low.own, f"{grab(low).replace('SUPERUSER', 'CONNECTION LIMIT 9')} {CODE['check'][0]}")
    grants = (
        f"GRANT {{}} TO {low.name}; GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA public TO {{}}"
    )
    with role(low.dsn, grants) as (_, own), Restorer(open_store(write_set(tmp_path)), own) as mine:
        assert "attached-code" in {f.code for f in mine.plan().findings if f.level == "note"}


HARMLESS = {
    "built-in check": f"ALTER TABLE {EMBEDDING} ADD CHECK (length(id) > 0 AND id ~ '^.')",
    "built-in default": f"ALTER TABLE {EMBEDDING} ADD k uuid DEFAULT gen_random_uuid(), "
    "ADD at timestamptz DEFAULT now(), ADD n serial",
    "generated": f"ALTER TABLE {EMBEDDING} ADD size int GENERATED ALWAYS AS (length(id)) STORED",
    "vector index": f"CREATE INDEX near ON {EMBEDDING} "
    "USING hnsw ((embedding::vector(3)) vector_cosine_ops)",
    "function of pgvector": f"ALTER TABLE {EMBEDDING} ADD CHECK (vector_dims(embedding) > 0)",
    "domain": "CREATE DOMAIN d AS varchar CHECK (value <> 'x'); "
    f"ALTER TABLE {EMBEDDING} ALTER document TYPE d",
    "built-in trigger": f"ALTER TABLE {EMBEDDING} ADD words tsvector; "
    f"CREATE TRIGGER t BEFORE INSERT ON {EMBEDDING} FOR EACH ROW EXECUTE FUNCTION "
    "tsvector_update_trigger(words, 'pg_catalog.english', document)",
    "trigger on UPDATE": "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql "
    f"AS 'BEGIN RETURN new; END'; CREATE TRIGGER t BEFORE UPDATE ON {EMBEDDING} FOR EACH ROW "
    "EXECUTE FUNCTION f()",
    "disabled trigger": "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql "
    f"AS 'BEGIN RETURN new; END'; CREATE TRIGGER t BEFORE INSERT ON {EMBEDDING} FOR EACH ROW "
    f"EXECUTE FUNCTION f(); ALTER TABLE {EMBEDDING} DISABLE TRIGGER t",
    "policy": f"ALTER TABLE {EMBEDDING} ENABLE ROW LEVEL SECURITY; "
    f"CREATE POLICY p ON {EMBEDDING} USING (length(id) > 100)",
    "default of a loaded column": "CREATE FUNCTION f() RETURNS text LANGUAGE sql "
    f"AS $$SELECT 'x'$$; ALTER TABLE {EMBEDDING} ALTER document SET DEFAULT f()",
}


@pytest.mark.parametrize("kind", HARMLESS)
def test_what_runs_nothing_of_anybodys_is_let_through(low: Low, tmp_path: Path, kind: str) -> None:
    execute(low.own, HARMLESS[kind])
    assert restore(write_set(tmp_path), low.dsn).rows_loaded == 6


def test_code_of_a_partition(low: Low, tmp_path: Path) -> None:
    execute(
        low.own,
        f"""
        {grab(low)}
        DROP TABLE {EMBEDDING};
        CREATE TABLE {EMBEDDING} (id varchar PRIMARY KEY, collection_id uuid, embedding vector,
            document varchar, cmetadata jsonb) PARTITION BY HASH (id);
        CREATE TABLE part PARTITION OF {EMBEDDING} FOR VALUES WITH (MODULUS 1, REMAINDER 0);
        CREATE TRIGGER t BEFORE INSERT ON part FOR EACH ROW EXECUTE FUNCTION grab();
        """,
    )
    with pytest.raises(TargetMismatchError, match=r"trigger t of public\.part, which calls"):
        restore(write_set(tmp_path), low.dsn)
    assert not is_super(low)


def test_a_swap_fires_no_trigger_and_checks_all_else(low: Low, tmp_path: Path) -> None:
    execute(low.own, grab(low) + CODE["row trigger"][0])
    root = write_set(tmp_path)
    report = restore(root, low.dsn, mode="replace", strategy="swap")
    assert report.warnings == (f"trigger t of {EMBEDDING} would not fire",)
    assert not is_super(low)
    execute(low.own, f"{CODE['check'][0]} NOT VALID")
    with pytest.raises(TargetMismatchError, match="check c of "):
        restore(root, low.dsn, mode="replace", strategy="swap")
    assert not is_super(low)


@pytest.mark.parametrize("strategy", ["in_place", "swap"])
def test_code_attached_after_the_plan(low: Low, tmp_path: Path, strategy: str) -> None:
    with Restorer(open_store(write_set(tmp_path)), low.dsn) as restorer:
        plan = restorer.plan(mode="replace", strategy=strategy)
        execute(low.own, grab(low) + CODE["check"][0])
        with pytest.raises(TargetChangedError, match="has changed since the plan was made"):
            restorer.run(plan)
    assert not is_super(low)


def test_all_of_it_is_named(low: Low, tmp_path: Path) -> None:
    execute(low.own, f"{grab(low)} {CODE['check'][0]}; {CODE['row trigger'][0]}")
    with pytest.raises(TargetMismatchError) as caught:
        restore(write_set(tmp_path), low.dsn)
    assert [finding.code for finding in caught.value.findings] == ["attached-code"] * 2
    assert "; also: trigger t of " in str(caught.value)
    document = caught.value.to_dict()["findings"]
    assert isinstance(document, list)
    assert document[1]["message"].startswith("trigger t of ")


def test_on_the_command_line(low: Low, tmp_path: Path) -> None:
    execute(low.own, f"{grab(low)} {CODE['check'][0]}; {CODE['row trigger'][0]}")
    root = write_set(tmp_path)
    done = run_command("restore", root, "--dsn", low.dsn)
    assert (done.code, done.out) == (5, "")
    lines = done.err.splitlines()
    assert [line.partition(" ")[0] for line in lines] == ["error:", "hint:", "error:", "hint:"]
    assert lines[0].startswith("error: check c of ")
    assert lines[2].startswith("error: trigger t of ")
    assert not is_super(low)
    done = run_command("plan", root, "--dsn", low.dsn, "--allow-attached-code")
    assert done.code == 0
    assert "warning: check c of " in done.out
