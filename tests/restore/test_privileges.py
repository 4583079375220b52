"""A role that may not do what a restore does is told so in planning: which privilege, on what."""

from __future__ import annotations

from pathlib import Path

import pytest

from pgvector_restore import Restorer, TargetMismatchError, open_store
from tests.cli.conftest import run_command
from tests.restore.content import execute, snapshot
from tests.restore.roles import role
from tests.sets import restore, write_set

BOTH = "langchain_pg_collection, langchain_pg_embedding"

#: What is granted, the mode, what is lacking, and the advice.
LACKING = {
    "SELECT": (
        f"GRANT INSERT ON {BOTH} TO {{}}",
        "append",
        "lacks SELECT on table public.langchain_pg_collection; also: role ",
        "GRANT SELECT ON public.langchain_pg_collection TO ",
    ),
    "INSERT": (
        f"GRANT SELECT ON {BOTH} TO {{}}; GRANT INSERT ON langchain_pg_collection TO {{}}",
        "append",
        "lacks INSERT on table public.langchain_pg_embedding",
        "GRANT INSERT ON public.langchain_pg_embedding TO ",
    ),
    "INSERT of all but one column": (
        (
            f"GRANT SELECT ON {BOTH} TO {{}}; GRANT INSERT ON langchain_pg_collection TO {{}}; "
            "GRANT INSERT (id, collection_id, embedding) ON langchain_pg_embedding TO {}"
        ),
        "append",
        "lacks INSERT on table public.langchain_pg_embedding",
        "GRANT INSERT ON public.langchain_pg_embedding TO ",
    ),
    "TRUNCATE": (
        (
            f"GRANT SELECT, INSERT, DELETE ON {BOTH} TO {{}}; "
            "GRANT TRUNCATE ON langchain_pg_collection TO {}"
        ),
        "replace",
        "lacks TRUNCATE on table public.langchain_pg_embedding",
        "GRANT TRUNCATE ON public.langchain_pg_embedding TO ",
    ),
    "nothing at all": (
        "SELECT",
        "replace",
        "lacks INSERT, SELECT, TRUNCATE on table public.langchain_pg_collection; also: role ",
        "GRANT INSERT, SELECT, TRUNCATE ON public.langchain_pg_collection TO ",
    ),
    "USAGE of a sequence": (
        (
            "ALTER TABLE langchain_pg_embedding ADD n serial; "
            f"GRANT SELECT, INSERT ON {BOTH} TO {{}}"
        ),
        "append",
        "lacks USAGE on sequence public.langchain_pg_embedding_n_seq",
        "GRANT USAGE ON SEQUENCE public.langchain_pg_embedding_n_seq TO ",
    ),
    "CREATE on the schema": (
        "DROP TABLE langchain_pg_embedding; GRANT ALL ON langchain_pg_collection TO {}",
        "append",
        'lacks CREATE on schema "public"',
        "GRANT CREATE ON SCHEMA public TO ",
    ),
    "REFERENCES": (
        (
            "DROP TABLE langchain_pg_embedding; GRANT CREATE ON SCHEMA public TO {}; "
            "GRANT SELECT, INSERT ON langchain_pg_collection TO {}"
        ),
        "append",
        "lacks REFERENCES on table public.langchain_pg_collection",
        "GRANT REFERENCES ON public.langchain_pg_collection TO ",
    ),
}


@pytest.mark.parametrize("case", LACKING)
def test_a_privilege_that_is_lacking_is_named(g2_dsn: str, tmp_path: Path, case: str) -> None:
    grants, mode, message, hint = LACKING[case]
    root = write_set(tmp_path)
    with role(g2_dsn, grants) as (name, own):
        before = snapshot(g2_dsn)
        with pytest.raises(TargetMismatchError) as caught:
            restore(root, own, mode=mode)
        assert f'role "{name}" {message}' in str(caught.value)
        assert caught.value.hint == hint + name
        assert str(caught.value).count("; also: ") == message.count("; also: ")
        assert snapshot(g2_dsn) == before


@pytest.mark.parametrize(("case", "mode"), [("INSERT", "append"), ("TRUNCATE", "replace")])
def test_the_advice_is_all_that_is_needed(
    g2_dsn: str, tmp_path: Path, case: str, mode: str
) -> None:
    with role(g2_dsn, LACKING[case][0]) as (_, own):
        with pytest.raises(TargetMismatchError) as caught:
            restore(write_set(tmp_path), own, mode=mode)
        execute(g2_dsn, caught.value.hint or "")
        assert restore(tmp_path, own, mode=mode).rows_loaded == 6


def test_schema_that_may_not_be_used(g2_dsn: str, tmp_path: Path) -> None:
    execute(g2_dsn, 'CREATE SCHEMA "Mine"')
    with role(g2_dsn) as (name, own):
        with pytest.raises(TargetMismatchError) as caught:
            restore(write_set(tmp_path), own, schema="Mine")
        assert caught.value.message == f'role "{name}" lacks USAGE on schema "Mine"'
        assert caught.value.hint == f'GRANT USAGE ON SCHEMA "Mine" TO {name}'
        assert [f.message for f in caught.value.findings] == [
            f'role "{name}" lacks USAGE on schema "Mine"',
            f'role "{name}" lacks CREATE on schema "Mine"',
        ]


def test_extension_that_may_not_be_created(dsn: str, tmp_path: Path) -> None:
    with role(dsn, "GRANT CREATE ON SCHEMA public TO {}") as (name, own):
        before = snapshot(dsn)
        with pytest.raises(TargetMismatchError) as caught:
            restore(write_set(tmp_path), own)
        assert caught.value.message == f'role "{name}" may not create the extension vector'
        assert caught.value.hint == (
            "let a superuser run CREATE EXTENSION vector in this database first"
        )
        assert snapshot(dsn) == before
        execute(dsn, "CREATE EXTENSION vector")
        assert restore(tmp_path, own).rows_loaded == 6


def test_a_swap_needs_to_create_in_the_schema(g2_dsn: str, tmp_path: Path) -> None:
    owned = "ALTER TABLE langchain_pg_{} OWNER TO {{}};"
    grants = owned.format("collection") + owned.format("embedding")
    database = dict(part.split("=", 1) for part in g2_dsn.split())["dbname"]
    grants += f"GRANT CREATE ON DATABASE {database} TO {{}}"
    with (
        role(g2_dsn, grants) as (name, own),
        Restorer(open_store(write_set(tmp_path)), own) as restorer,
    ):
        with pytest.raises(
            TargetMismatchError, match="the role may not create tables in schema public"
        ):
            restorer.plan(mode="replace", strategy="swap")
        assert restorer.plan(mode="replace").strategy == "in_place"
        execute(g2_dsn, f"GRANT CREATE ON SCHEMA public TO {name}")
        restorer.restore(mode="replace", strategy="swap")


def test_indexes_of_an_owner_who_may_not_create_in_the_schema(g2_dsn: str, tmp_path: Path) -> None:
    """They stay and are fed: dropped ones could not be built again."""
    execute(g2_dsn, "CREATE INDEX plain ON langchain_pg_embedding (collection_id)")
    owned = "ALTER TABLE langchain_pg_{} OWNER TO {{}};"
    grants = owned.format("collection") + owned.format("embedding")
    with (
        role(g2_dsn, grants) as (name, own),
        Restorer(open_store(write_set(tmp_path)), own) as restorer,
    ):
        plan = restorer.plan(mode="replace")
        found = next(one for one in plan.findings if one.code == "indexes")
        assert found.message.startswith("the role may not create in schema public: ")
        assert "plain" in found.message
        assert restorer.run(plan).rows_loaded == 6
        execute(g2_dsn, f"GRANT CREATE ON SCHEMA public TO {name}")
        assert "indexes" not in {one.code for one in restorer.plan(mode="replace").findings}


def test_tables_that_may_not_be_read_are_not_counted(g2_dsn: str, tmp_path: Path) -> None:
    """Planning itself does not run into the lack: everything else is still found."""
    execute(g2_dsn, "ALTER TABLE langchain_pg_embedding ADD n int NOT NULL")
    with role(g2_dsn) as (_, own), pytest.raises(TargetMismatchError) as caught:
        restore(write_set(tmp_path), own)
    assert [finding.code for finding in caught.value.findings] == [
        "privilege",
        "privilege",
        "columns",
    ]
    assert 'column "n" of public.langchain_pg_embedding is NOT NULL' in str(caught.value)


def test_on_the_command_line(g2_dsn: str, tmp_path: Path) -> None:
    with role(g2_dsn, LACKING["TRUNCATE"][0]) as (name, own):
        done = run_command("restore", write_set(tmp_path), "--mode", "replace", "--dsn", own)
    assert (done.code, done.out) == (5, "")
    assert done.err == (
        f'error: role "{name}" lacks TRUNCATE on table public.langchain_pg_embedding\n'
        f"hint: GRANT TRUNCATE ON public.langchain_pg_embedding TO {name}\n"
    )
