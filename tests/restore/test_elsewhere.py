"""Tables with rows on other servers: not all or none, not one snapshot, and said so everywhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pgvector_restore import Backuper, Restorer, TargetMismatchError, open_store
from tests.cli.conftest import run_command
from tests.restore.content import execute, query, snapshot
from tests.sets import restore, write_set

#: As Citus notes a table that it distributes.
DISTRIBUTED = """
CREATE TABLE pg_dist_partition (logicalrelid regclass NOT NULL, partmethod "char" NOT NULL);
INSERT INTO pg_dist_partition VALUES ('langchain_pg_embedding', 'h');
ALTER EXTENSION vector ADD TABLE pg_dist_partition;
"""
#: A wrapper that nobody has written reaches no server, but the catalogs know of it.
WRAPPER = """
CREATE FOREIGN DATA WRAPPER far; CREATE SERVER "S 1" FOREIGN DATA WRAPPER far;
"""
FOREIGN = (
    WRAPPER
    + """
DROP TABLE langchain_pg_embedding;
CREATE TABLE langchain_pg_embedding (id varchar, collection_id uuid, embedding vector,
    document varchar, cmetadata jsonb) PARTITION BY LIST (id);
CREATE TABLE near PARTITION OF langchain_pg_embedding DEFAULT;
CREATE TABLE middle PARTITION OF langchain_pg_embedding FOR VALUES IN ('x', 'y')
    PARTITION BY LIST (id);
CREATE FOREIGN TABLE "F ar" PARTITION OF middle FOR VALUES IN ('x') SERVER "S 1";
"""
)
SPREAD = {
    "distributed": (DISTRIBUTED, "vector distributes the rows of it"),
    "foreign partition": (
        FOREIGN,
        'its partition public."F ar" is a foreign table of server "S 1"',
    ),
}
HEADING = "is not restored all or none: "


@pytest.mark.sampled("kind", "mode")
@pytest.mark.parametrize("kind", SPREAD)
@pytest.mark.parametrize("mode", ["append", "replace"])
def test_a_restore_that_cannot_be_atomic_is_refused(
    g2_dsn: str, tmp_path: Path, kind: str, mode: str
) -> None:
    statements, phrase = SPREAD[kind]
    execute(g2_dsn, statements)
    with Restorer(open_store(write_set(tmp_path)), g2_dsn) as restorer:
        with pytest.raises(TargetMismatchError) as caught:
            restorer.plan(mode=mode)
        assert f"public.langchain_pg_embedding {HEADING}{phrase}" in str(caught.value)
        if mode == "replace":
            with pytest.raises(TargetMismatchError) as caught:
                restorer.plan(mode=mode, strategy="swap")
            assert any("cannot be swapped" in one.message for one in caught.value.findings)


def test_what_is_allowed_says_what_does_not_hold(g2_dsn: str, tmp_path: Path) -> None:
    execute(g2_dsn, DISTRIBUTED)
    with Restorer(open_store(write_set(tmp_path)), g2_dsn) as restorer:
        plan = restorer.plan(mode="replace", allow_non_atomic=True)
        assert (plan.strategy, plan.atomic, plan.to_dict()["atomic"]) == ("in_place", False, False)
        assert "all tables or none" not in str(plan)
        assert "NOT all or none: rows of langchain_pg_embedding lie on other servers" in str(plan)
        report = restorer.run(plan)
        assert (report.atomic, report.to_dict()["atomic"]) == (False, False)
        assert "NOT all or none" in str(report)
        assert any(HEADING in one for one in report.warnings)
        alone = restorer.plan(mode="append", tables=["langchain_pg_collection"])
        assert alone.atomic
        assert "all tables or none" in str(alone)
    noted = "SELECT logicalrelid = 'langchain_pg_embedding'::regclass FROM pg_dist_partition"
    assert query(g2_dsn, noted) == [(True,)]


def test_on_the_command_line(g2_dsn: str, tmp_path: Path) -> None:
    execute(g2_dsn, DISTRIBUTED)
    root = write_set(tmp_path)
    done = run_command("plan", root, "--dsn", g2_dsn)
    assert (done.code, done.out) == (5, "")
    assert "hint: rows there are committed on their own" in done.err
    done = run_command("plan", root, "--dsn", g2_dsn, "--allow-non-atomic")
    assert done.code == 0
    assert "NOT all or none: rows of langchain_pg_embedding lie on other servers" in done.out
    done = run_command("backup", tmp_path / "made", "--dsn", g2_dsn, "--allow-non-atomic")
    assert done.code == 0
    assert "NOT one snapshot" in done.out


#: What is backed up, and why one snapshot does not cover it.
READ = {
    "distributed": (DISTRIBUTED, "langchain_pg_embedding", "vector distributes the rows of it"),
    "view of it": (
        DISTRIBUTED + "CREATE VIEW one AS SELECT id FROM langchain_pg_embedding;"
        "CREATE VIEW two AS SELECT id FROM one;",
        "two",
        "vector distributes the rows of public.langchain_pg_embedding",
    ),
    "foreign table": (
        WRAPPER + 'CREATE FOREIGN TABLE f (id int) SERVER "S 1"',
        "f",
        'it is a foreign table of server "S 1"',
    ),
    "foreign child": (
        WRAPPER + 'CREATE FOREIGN TABLE f () INHERITS (langchain_pg_embedding) SERVER "S 1"',
        "langchain_pg_embedding",
        'public.f is a foreign table of server "S 1"',
    ),
    "foreign partition": (
        FOREIGN,
        "langchain_pg_embedding",
        'its partition public."F ar" is a foreign table of server "S 1"',
    ),
}


@pytest.mark.sampled("kind")
@pytest.mark.parametrize("kind", READ)
def test_a_backup_that_is_not_one_snapshot_is_refused(
    g2_dsn: str, tmp_path: Path, kind: str
) -> None:
    statements, table, phrase = READ[kind]
    execute(g2_dsn, statements)
    with (
        Backuper(open_store(tmp_path), g2_dsn) as backuper,
        pytest.raises(TargetMismatchError) as caught,
    ):
        backuper.backup(tables=[table])
    assert f"public.{table} is not read in one snapshot: {phrase}" in str(caught.value)
    assert not open_store(tmp_path).catalog().sets


def test_a_backup_that_is_allowed_says_so(g2_dsn: str, tmp_path: Path) -> None:
    restore(write_set(tmp_path / "given"), g2_dsn)
    execute(g2_dsn, DISTRIBUTED)
    store = open_store(tmp_path / "made")
    with Backuper(store, g2_dsn) as backuper:
        report = backuper.backup(allow_non_atomic=True)
        assert (report.one_snapshot, report.to_dict()["one_snapshot"]) == (False, False)
        assert "NOT one snapshot" in str(report)
        before = snapshot(g2_dsn)
        with pytest.raises(TargetMismatchError, match="cannot be emptied: vector distributes"):
            backuper.backup(allow_non_atomic=True, truncate_after=True)
        assert snapshot(g2_dsn) == before
        other = backuper.backup(tables=["langchain_pg_collection"])
        assert other.one_snapshot
        assert "NOT one snapshot" not in str(other)
    (file,) = (tmp_path / "made").rglob(f"manifest_{report.backup.timestamp}.json")
    document = json.loads(file.read_bytes())
    marks = {table["name"]: table["outside_snapshot"] for table in document["tables"]}
    assert marks == {"langchain_pg_collection": False, "langchain_pg_embedding": True}
    with Restorer(store, g2_dsn) as restorer:
        plan = restorer.plan(report.label, mode="replace", allow_non_atomic=True)
    assert any("they may be of different moments" in one for one in plan.warnings)
    # As those before wrote it, and as one that knows more would.
    for table in document["tables"]:
        del table["outside_snapshot"]
    file.write_text(json.dumps(document), encoding="utf-8")
    with Restorer(store, g2_dsn) as restorer:
        plan = restorer.plan(report.label, mode="replace", allow_non_atomic=True)
    assert not any("different moments" in one for one in plan.warnings)
