"""What stands in the way of a swap is found in planning and named; nothing is touched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import make_conninfo

from pgvector_restore import Restorer, TargetChangedError, TargetMismatchError, open_store
from pgvector_restore.progress import Progress
from tests.conftest import connect
from tests.restore.content import execute, snapshot
from tests.sets import restore, write_set

#: Statements, and what the plan says of them.
BLOCKERS = {
    "view": (
        "CREATE VIEW v AS SELECT id FROM langchain_pg_embedding",
        "view public.v reads it",
    ),
    "materialized view": (
        'CREATE MATERIALIZED VIEW "M v" AS SELECT count(*) FROM langchain_pg_embedding',
        'materialized view public."M v" reads it',
    ),
    "rule on it": (
        "CREATE RULE r AS ON DELETE TO langchain_pg_embedding DO INSTEAD NOTHING",
        "rule r on it",
    ),
    "rule elsewhere": (
        (
            "CREATE TABLE t (id varchar); CREATE RULE r AS ON INSERT TO t "
            "DO ALSO DELETE FROM langchain_pg_embedding e WHERE e.id = new.id"
        ),
        "rule r on public.t",
    ),
    "foreign key": (
        "CREATE TABLE note (id varchar REFERENCES langchain_pg_embedding)",
        "foreign key note_id_fkey of public.note refers to it",
    ),
    "policy elsewhere": (
        (
            "CREATE TABLE t (id varchar); CREATE POLICY p ON t "
            "USING (id IN (SELECT id FROM langchain_pg_embedding))"
        ),
        "policy p of public.t reads it",
    ),
    "row type of a column": (
        "CREATE TABLE t (whole langchain_pg_embedding)",
        "column whole of table public.t depends on it",
    ),
    "array of its row type": (
        "CREATE TABLE t (whole langchain_pg_embedding[])",
        "column whole of table public.t depends on it",
    ),
    "row type in a composite type": (
        "CREATE TYPE c AS (whole langchain_pg_embedding)",
        "column whole of composite type public.c depends on it",
    ),
    "domain over its row type": (
        "CREATE DOMAIN d AS langchain_pg_embedding",
        "type public.d depends on it",
    ),
    "argument of a function": (
        "CREATE FUNCTION f(langchain_pg_embedding) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "function public.f(public.langchain_pg_embedding) depends on it",
    ),
    "body of a function": (
        (
            "CREATE FUNCTION f() RETURNS bigint LANGUAGE sql "
            "BEGIN ATOMIC SELECT count(*) FROM langchain_pg_embedding; END"
        ),
        "function public.f() depends on it",
    ),
    "child": (
        "CREATE TABLE child () INHERITS (langchain_pg_embedding)",
        "public.child inherits from it",
    ),
    "parent": (
        (
            "CREATE TABLE parent (id varchar NOT NULL); "
            "ALTER TABLE langchain_pg_embedding INHERIT parent"
        ),
        "it inherits from public.parent",
    ),
    "partition": (
        (
            "CREATE TABLE whole (LIKE langchain_pg_embedding) PARTITION BY HASH (id); "
            "ALTER TABLE whole ATTACH PARTITION langchain_pg_embedding "
            "FOR VALUES WITH (MODULUS 1, REMAINDER 0)"
        ),
        "it is a partition",
    ),
    "partitioned": (
        (
            "DROP TABLE langchain_pg_embedding; CREATE TABLE langchain_pg_embedding "
            "(id varchar PRIMARY KEY, collection_id uuid, embedding vector, document varchar, "
            "cmetadata jsonb) PARTITION BY HASH (id); CREATE TABLE one "
            "PARTITION OF langchain_pg_embedding FOR VALUES WITH (MODULUS 1, REMAINDER 0)"
        ),
        "it is partitioned",
    ),
    "typed table": (
        (
            "DROP TABLE langchain_pg_embedding; CREATE TYPE c AS (id varchar, collection_id uuid, "
            "embedding vector, document varchar, cmetadata jsonb); "
            "CREATE TABLE langchain_pg_embedding OF c"
        ),
        "it is a typed table",
    ),
    "member of an extension": (
        "ALTER EXTENSION vector ADD TABLE langchain_pg_embedding",
        "it belongs to extension vector",
    ),
    "publication of the table": (
        "CREATE PUBLICATION p FOR TABLE langchain_pg_embedding (id) WHERE (id <> 'x')",
        "publication p publishes it",
    ),
    "publication of all tables": (
        'CREATE PUBLICATION "P p" FOR ALL TABLES',
        'publication "P p" publishes all tables',
    ),
    "publication of the schema": (
        "CREATE PUBLICATION p FOR TABLES IN SCHEMA public",
        "publication p publishes schema public",
    ),
    "known to an extension by OID": (
        (
            "CREATE TABLE notes (n int, what regclass); ALTER EXTENSION vector ADD TABLE notes; "
            "INSERT INTO notes VALUES (1, 'langchain_pg_embedding')"
        ),
        "extension vector refers to it in public.notes",
    ),
    "in a list of an extension": (
        (
            "CREATE TABLE notes (what oid[]); ALTER EXTENSION vector ADD TABLE notes; "
            "INSERT INTO notes SELECT ARRAY['langchain_pg_embedding'::regclass::oid]"
        ),
        "extension vector refers to it in public.notes",
    ),
    "known to an extension by name": (
        (
            "CREATE TABLE notes (home name, title text); ALTER EXTENSION vector ADD TABLE notes; "
            "INSERT INTO notes VALUES ('public', 'langchain_pg_embedding')"
        ),
        "extension vector refers to it in public.notes",
    ),
    "known to an extension by qualified name": (
        (
            'CREATE TABLE "No tes" ("a b" varchar); ALTER EXTENSION vector ADD TABLE "No tes"; '
            """INSERT INTO "No tes" VALUES ('public.langchain_pg_embedding')"""
        ),
        "extension vector refers to it in public.No tes",
    ),
    "privileges of its row type": (
        (
            "GRANT USAGE ON TYPE langchain_pg_embedding TO PUBLIC; "
            "REVOKE USAGE ON TYPE langchain_pg_embedding FROM PUBLIC"
        ),
        "its row type has privileges of its own",
    ),
    "index that needs an extension": (
        (
            "CREATE INDEX i ON langchain_pg_embedding (document); "
            "ALTER INDEX i DEPENDS ON EXTENSION vector"
        ),
        "index public.i of it depends on extension vector",
    ),
    "trigger that needs an extension": (
        (
            "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; "
            "CREATE TRIGGER t BEFORE UPDATE ON langchain_pg_embedding FOR EACH ROW "
            "EXECUTE FUNCTION f(); "
            "ALTER TRIGGER t ON langchain_pg_embedding DEPENDS ON EXTENSION vector"
        ),
        "trigger t of it depends on extension vector",
    ),
    "unlogged sequence": (
        (
            "ALTER TABLE langchain_pg_embedding ADD n int GENERATED ALWAYS AS IDENTITY; "
            "ALTER SEQUENCE langchain_pg_embedding_n_seq SET UNLOGGED"
        ),
        "sequence public.langchain_pg_embedding_n_seq of it is not logged like the table",
    ),
    "view of a sequence": (
        (
            "ALTER TABLE langchain_pg_embedding ADD n int GENERATED ALWAYS AS IDENTITY; "
            "CREATE VIEW v AS SELECT last_value FROM langchain_pg_embedding_n_seq"
        ),
        "rule _RETURN on view public.v depends on sequence public.langchain_pg_embedding_n_seq",
    ),
    "triggers of foreign keys": (
        "ALTER TABLE langchain_pg_embedding DISABLE TRIGGER ALL",
        "triggers of its foreign keys do not fire as they were made to",
    ),
    "default elsewhere": (
        (
            "ALTER TABLE langchain_pg_embedding ADD COLUMN n serial; CREATE TABLE t "
            "(n int DEFAULT nextval('langchain_pg_embedding_n_seq'))"
        ),
        "sequence public.langchain_pg_embedding_n_seq of it is used by public.t",
    ),
}


@pytest.mark.sampled("kind")
@pytest.mark.parametrize("kind", BLOCKERS)
def test_what_blocks_a_swap_is_named(g2_dsn: str, tmp_path: Path, kind: str) -> None:
    statements, phrase = BLOCKERS[kind]
    execute(g2_dsn, statements)
    before = snapshot(g2_dsn)
    with Restorer(open_store(write_set(tmp_path)), g2_dsn) as restorer:
        with pytest.raises(TargetMismatchError) as caught:
            restorer.plan(mode="replace", strategy="swap")
        assert f"public.langchain_pg_embedding: {phrase}" in str(caught.value)
        with pytest.raises(TargetMismatchError, match="cannot be swapped"):
            restorer.plan(mode="replace", keep_previous=True)
    assert snapshot(g2_dsn) == before


@pytest.mark.parametrize("kind", ["view", "rule elsewhere", "policy elsewhere", "typed table"])
def test_auto_goes_in_place_and_says_why(g2_dsn: str, tmp_path: Path, kind: str) -> None:
    statements, phrase = BLOCKERS[kind]
    execute(g2_dsn, statements)
    execute(
        g2_dsn,
        "CREATE INDEX near ON langchain_pg_embedding "
        "USING hnsw ((embedding::vector(3)) vector_cosine_ops)",
    )
    with Restorer(open_store(write_set(tmp_path)), g2_dsn) as restorer:
        plan = restorer.plan(mode="replace")
        assert plan.strategy == "in_place"
        assert phrase in plan.strategy_reason
        assert restorer.run(plan).table("langchain_pg_embedding").rows_after == 4


def test_a_grant_that_was_passed_on(g2_dsn: str, tmp_path: Path) -> None:
    execute(
        g2_dsn,
        """
        DO $$ BEGIN CREATE ROLE passer; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
        GRANT SELECT ON langchain_pg_embedding TO passer WITH GRANT OPTION;
        SET ROLE passer; GRANT SELECT ON langchain_pg_embedding TO PUBLIC; RESET ROLE;
        """,
    )
    with Restorer(open_store(write_set(tmp_path)), g2_dsn) as restorer:
        with pytest.raises(TargetMismatchError, match=r"than its owner has granted .*: passer"):
            restorer.plan(mode="replace", strategy="swap")
        assert restorer.plan(mode="replace").strategy == "in_place"


def test_what_an_extension_notes_of_others_is_no_blocker(g2_dsn: str, tmp_path: Path) -> None:
    execute(
        g2_dsn,
        """
        CREATE TABLE other (id int); CREATE SCHEMA aside;
        CREATE TABLE aside.langchain_pg_embedding (id int);
        CREATE TABLE notes (what regclass, home name, title text);
        ALTER EXTENSION vector ADD TABLE notes;
        INSERT INTO notes VALUES ('other', 'public', 'other'),
            ('aside.langchain_pg_embedding', 'aside', 'langchain_pg_embedding');
        """,
    )
    report = restore(write_set(tmp_path), g2_dsn, mode="replace", strategy="swap")
    assert report.strategy == "swap"


def test_an_extension_whose_notes_are_closed(g2_dsn: str, tmp_path: Path) -> None:
    role = "notes_stranger"
    execute(
        g2_dsn,
        f"""
        DO $$ BEGIN CREATE ROLE {role} LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
        ALTER TABLE langchain_pg_collection OWNER TO {role};
        ALTER TABLE langchain_pg_embedding OWNER TO {role};
        CREATE TABLE notes (what regclass); ALTER EXTENSION vector ADD TABLE notes;
        """,
    )
    try:
        with (
            Restorer(open_store(write_set(tmp_path)), make_conninfo(g2_dsn, user=role)) as one,
            pytest.raises(TargetMismatchError, match="vector may refer to it in public"),
        ):
            one.plan(mode="replace", strategy="swap")
    finally:
        execute(g2_dsn, f"REASSIGN OWNED BY {role} TO CURRENT_USER; DROP OWNED BY {role}")


def test_somebody_elses_table(g2_dsn: str, tmp_path: Path) -> None:
    role = "swapping_stranger"
    execute(
        g2_dsn,
        f"""
        DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}')
        THEN CREATE ROLE {role} LOGIN; END IF; END $$;
        GRANT ALL ON langchain_pg_collection, langchain_pg_embedding TO {role};
        """,
    )
    stranger = make_conninfo(g2_dsn, user=role)
    root = write_set(tmp_path)
    with Restorer(open_store(root), stranger) as restorer:
        with pytest.raises(TargetMismatchError, match="it is owned by "):
            restorer.plan(mode="replace", strategy="swap")
        assert restorer.plan(mode="replace").strategy == "in_place"
    owned = f"ALTER TABLE langchain_pg_{{}} OWNER TO {role};"
    execute(g2_dsn, owned.format("collection") + owned.format("embedding"))
    try:
        with (
            Restorer(open_store(root), stranger) as restorer,
            pytest.raises(TargetMismatchError, match="may not create schemas"),
        ):
            restorer.plan(mode="replace", strategy="swap")
    finally:
        execute(g2_dsn, f"REASSIGN OWNED BY {role} TO CURRENT_USER; DROP OWNED BY {role}")


def test_a_trigger_that_would_not_fire(g2_dsn: str, tmp_path: Path) -> None:
    execute(
        g2_dsn,
        """
        CREATE TABLE seen (id varchar);
        CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql
            AS 'BEGIN INSERT INTO public.seen VALUES (new.id); RETURN new; END';
        CREATE TRIGGER eye AFTER INSERT ON langchain_pg_embedding FOR EACH ROW
            EXECUTE FUNCTION see();
        CREATE INDEX near ON langchain_pg_embedding
            USING hnsw ((embedding::vector(3)) vector_cosine_ops);
        """,
    )
    root = write_set(tmp_path)
    with Restorer(open_store(root), g2_dsn) as restorer:
        plan = restorer.plan(mode="replace")
        assert plan.strategy == "in_place"
        assert "trigger eye of langchain_pg_embedding would not fire" in plan.strategy_reason
    report = restore(root, g2_dsn, mode="replace", strategy="swap")
    assert "trigger eye of langchain_pg_embedding would not fire" in report.warnings
    with connect(g2_dsn) as conn:
        assert conn.execute("SELECT count(*) FROM seen").fetchone() == (0,)
    restore(root, g2_dsn, mode="replace")
    with connect(g2_dsn) as conn:
        assert conn.execute("SELECT count(*) FROM seen").fetchone() == (4,)


#: What others may do to a target while its new rows are loaded.
MEANWHILE = {
    "a column": "ALTER TABLE langchain_pg_embedding ADD COLUMN extra int",
    "an index": "CREATE INDEX extra ON langchain_pg_embedding (document)",
    "a grant": "GRANT SELECT ON langchain_pg_embedding TO PUBLIC",
    "a policy": "CREATE POLICY extra ON langchain_pg_embedding USING (true)",
    "a view": "CREATE VIEW extra AS SELECT id FROM langchain_pg_embedding",
    "another table": "ALTER TABLE langchain_pg_embedding RENAME TO gone; "
    "CREATE TABLE langchain_pg_embedding (LIKE gone)",
    "no table": "DROP TABLE langchain_pg_embedding",
}


def run(root: Path, dsn: str, progress: Progress) -> None:
    with Restorer(open_store(root), dsn) as restorer:
        restorer.restore(mode="replace", strategy="swap", progress=progress)


@pytest.mark.parametrize("change", MEANWHILE)
def test_a_target_that_changes_meanwhile_is_left_alone(
    g2_dsn: str, tmp_path: Path, change: str
) -> None:
    restore(write_set(tmp_path), g2_dsn)
    changed: list[Any] = []

    def interfere(event: Any) -> None:
        if event.phase == "index" and not changed:
            execute(g2_dsn, MEANWHILE[change])
            changed.append(snapshot(g2_dsn)["rows"])

    with pytest.raises(TargetChangedError):
        run(tmp_path, g2_dsn, interfere)
    assert snapshot(g2_dsn)["rows"] == {
        name: rows for name, rows in changed[0].items() if not name.startswith("pgvr_")
    }


def test_a_table_that_appears_meanwhile_is_left_alone(dsn: str, tmp_path: Path) -> None:
    with connect(dsn) as conn:
        conn.execute("CREATE EXTENSION vector")
    made: list[int] = []

    def interfere(event: Any) -> None:
        if event.phase == "index" and not made:
            made.append(1)
            execute(dsn, "CREATE TABLE langchain_pg_embedding (mine int)")

    with pytest.raises(TargetChangedError, match="has been created"):
        run(write_set(tmp_path), dsn, interfere)
    assert snapshot(dsn)["rows"] == {"public.langchain_pg_embedding": []}
