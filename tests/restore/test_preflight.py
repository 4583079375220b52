"""What a plan says before anything is touched, on real servers."""

from __future__ import annotations

import json
import shutil
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from pgvector_restore import (
    BadCellError,
    BadHeaderError,
    RestorePlan,
    Restorer,
    TargetMismatchError,
    open_store,
)
from tests.cli.conftest import run_command
from tests.restore.content import execute, snapshot
from tests.sets import (
    COLLECTION_FILE,
    EMBEDDING_CELLS,
    EMBEDDING_FILE,
    EMBEDDING_HEADER,
    STAMP,
    embedding_bytes,
    quote,
    raw_file,
    restore,
    with_cell,
    write_set,
)

EMBEDDING = "langchain_pg_embedding"
HNSW = (
    f"CREATE INDEX near ON {EMBEDDING} "
    "USING hnsw ((embedding::vector(3)) vector_cosine_ops) WITH (m = 8)"
)


def planned(root: Path, dsn: str, **options: Any) -> RestorePlan:
    with Restorer(open_store(root), dsn) as restorer:
        return restorer.plan("latest", **options)


def of_code(plan: RestorePlan, code: str) -> list[tuple[str, str]]:
    return [(f.level, f.message) for f in plan.findings if f.code == code]


@pytest.mark.parametrize(
    ("statement", "cell", "found", "wanted"),
    [
        ("ALTER TABLE {} ALTER embedding TYPE vector(4)", "[1,2,3]", 3, 4),
        ("ALTER TABLE {} ALTER embedding TYPE halfvec(2)", "[1,2,3]", 3, 2),
        ("ALTER TABLE {} ALTER embedding TYPE sparsevec(9)", "{1:1}/8", 8, 9),
        (
            "CREATE INDEX ON {} USING hnsw ((embedding::vector(5)) vector_l2_ops)",
            "[1. 2. 3.]",
            3,
            5,
        ),
    ],
    ids=["vector", "halfvec", "sparsevec", "index"],
)
def test_dimensions_are_compared_in_planning(
    g2_dsn: str, tmp_path: Path, statement: str, cell: str, found: int, wanted: int
) -> None:
    execute(g2_dsn, statement.format(EMBEDDING))
    root = write_set(tmp_path, embedding=with_cell(1, "embedding", quote(cell)))
    before = snapshot(g2_dsn)
    with pytest.raises(BadCellError) as caught:
        planned(root, g2_dsn)
    assert str(caught.value) == (
        f"vector has {found} dimensions, the column takes {wanted} "
        f'({EMBEDDING_FILE}, record 1, column "embedding")'
    )
    assert snapshot(g2_dsn) == before


@pytest.mark.parametrize("cell", ["", '"[1,2,3]"', '"[1. 2. 3.]"'])
def test_dimensions_that_fit(g2_dsn: str, tmp_path: Path, cell: str) -> None:
    execute(g2_dsn, f"ALTER TABLE {EMBEDDING} ALTER embedding TYPE vector(3)")
    root = write_set(tmp_path, embedding=with_cell(1, "embedding", cell))
    assert restore(root, g2_dsn).rows_loaded == 6


def test_a_first_record_longer_than_a_block(g2_dsn: str, tmp_path: Path) -> None:
    execute(g2_dsn, f"ALTER TABLE {EMBEDDING} ALTER embedding TYPE vector(4)")
    cells = list(EMBEDDING_CELLS[0])
    cells[3] = '"' + "long \n" * (1 << 19) + '"'
    root = write_set(tmp_path, embedding=embedding_bytes(records=[cells]))
    with pytest.raises(BadCellError, match="vector has 3 dimensions, the column takes 4 "):
        planned(root, g2_dsn)


def test_everything_wrong_is_named_at_once(g2_dsn: str, tmp_path: Path) -> None:
    execute(
        g2_dsn,
        f"""
        ALTER TABLE {EMBEDDING} ALTER embedding TYPE vector(4), ADD n int NOT NULL,
            ADD m int NOT NULL, DROP document;
        CREATE TABLE note (e varchar REFERENCES {EMBEDDING});
        """,
    )
    with pytest.raises(BadHeaderError) as caught:
        planned(write_set(tmp_path), g2_dsn, mode="replace")
    codes = [finding.code for finding in caught.value.findings]
    assert codes == ["columns", "columns", "columns", "dimensions", "references"]
    assert all(finding.level == "error" for finding in caught.value.findings)
    text = str(caught.value)
    for words in (
        f'has no column "document" ({EMBEDDING_FILE}, header, column "document"); also: ',
        'column "n" of public.langchain_pg_embedding is NOT NULL',
        'column "m" of public.langchain_pg_embedding is NOT NULL',
        "vector has 3 dimensions, the column takes 4",
        "cannot be emptied: public.note refers to it",
    ):
        assert words in text


def test_what_the_plan_says_of_the_server(dsn: str, tmp_path: Path) -> None:
    plan = planned(write_set(tmp_path), dsn)
    assert ", without pgvector" in str(plan)
    assert of_code(plan, "generation") == [
        (
            "note",
            (
                "langchain_pg_collection, langchain_pg_embedding will be created "
                "as langchain_postgres does"
            ),
        )
    ]
    execute(dsn, "CREATE SCHEMA ext; CREATE EXTENSION vector SCHEMA ext")
    plan = planned(tmp_path, dsn)
    major, minor = divmod(plan.facts.server_version, 10_000)
    version = plan.facts.vector_version
    assert f"  server PostgreSQL {major}.{minor}, pgvector {version} in ext\n" in str(plan)


def test_a_session_that_is_read_only(g2_dsn: str, tmp_path: Path) -> None:
    target = dict(part.split("=", 1) for part in g2_dsn.split())
    target["options"] = "-c default_transaction_read_only=on"
    with pytest.raises(TargetMismatchError, match="is read-only") as caught:
        restore(write_set(tmp_path), target)
    assert caught.value.hint == "is it a standby? connect to the primary server"


def test_locks_and_what_becomes_of_rows(g2_dsn: str, tmp_path: Path) -> None:
    root = write_set(tmp_path)
    restore(root, g2_dsn)
    both = "public.langchain_pg_collection, public.langchain_pg_embedding"
    plan = planned(root, g2_dsn)
    assert of_code(plan, "rows") == [
        ("note", "public.langchain_pg_collection has 2 rows, which are kept"),
        ("note", "public.langchain_pg_embedding has 4 rows, which are kept"),
    ]
    assert (
        f"  lock ROW EXCLUSIVE on {both} until COMMIT, about a second: "
        "others read and write as usual\n"
    ) in str(plan)
    plan = planned(root, g2_dsn, mode="replace")
    assert of_code(plan, "rows")[0][1].endswith("has 2 rows, which are removed")
    assert (
        f"  lock ACCESS EXCLUSIVE on {both} until COMMIT, about a second: "
        "others can neither read nor write\n"
    ) in str(plan)
    plan = planned(root, g2_dsn, mode="replace", strategy="swap")
    assert (
        f"  lock ACCESS EXCLUSIVE on {both} for the exchange only, about a second: "
        "others read the old rows until then\n"
    ) in str(plan)


def test_index_builds(g2_dsn: str, tmp_path: Path) -> None:
    execute(g2_dsn, HNSW)
    root = write_set(tmp_path, log={EMBEDDING_FILE: 4, COLLECTION_FILE: 2})
    plan = planned(root, g2_dsn, mode="replace", strategy="in_place", jobs=2)
    builds = {build.index: build for build in plan.forecast.builds}
    assert set(builds) == {"near", "ix_cmetadata_gin"}
    near = builds["near"]
    # 4 rows of 3 dimensions with m = 8: 4 * (4*3 + 8*48 + 320) * 5/4 bytes (hnswutils.c).
    assert (near.method, near.memory_bytes, near.workers) == ("hnsw", 3580, 2)
    assert "  build near (hnsw, 3.5 KB of memory, 2 workers)\n" in str(plan)
    swap = planned(root, g2_dsn, mode="replace", strategy="swap")
    assert {build.index for build in swap.forecast.builds} == {
        "near",
        "ix_cmetadata_gin",
        "langchain_pg_collection_name_key",
        "langchain_pg_collection_pkey",
        "langchain_pg_embedding_pkey",
    }


def test_seconds_grow_with_rows(g2_dsn: str, tmp_path: Path) -> None:
    execute(g2_dsn, HNSW)
    few = planned(write_set(tmp_path, log={EMBEDDING_FILE: 4}), g2_dsn, mode="replace")
    many = planned(write_set(tmp_path, log={EMBEDDING_FILE: 4_000_000}), g2_dsn, mode="replace")
    assert few.forecast.seconds is not None
    assert many.forecast.seconds is not None
    assert many.forecast.seconds > few.forecast.seconds + 10


def test_disk(g2_dsn: str, tmp_path: Path) -> None:
    root = write_set(tmp_path)
    plan = planned(root, g2_dsn)
    assert plan.forecast.disk_bytes == plan.size_bytes
    assert plan.forecast.present_bytes > 0
    # The tests' own server runs on this machine, as a user whose folder may or may not be open.
    free = plan.forecast.free_bytes
    if free is not None:
        assert 0 < free <= shutil.disk_usage(plan.facts.data_folder or "").total
    assert "  disk up to " in str(plan)
    execute(g2_dsn, HNSW)
    with_index = planned(root, g2_dsn, mode="replace")
    assert with_index.forecast.disk_bytes > plan.forecast.disk_bytes


@pytest.mark.parametrize("log", [None, {EMBEDDING_FILE: 0}], ids=["no-log", "log"])
def test_an_empty_file_that_would_empty_a_table(
    g2_dsn: str, tmp_path: Path, log: dict[str, int] | None
) -> None:
    restore(write_set(tmp_path), g2_dsn)
    root = write_set(tmp_path, embedding=embedding_bytes(records=[]), log=log)
    plan = planned(root, g2_dsn, mode="replace")
    assert plan.warnings == (
        f"{EMBEDDING_FILE} has no rows: {EMBEDDING} with its 4 rows will be empty",
    )
    assert planned(root, g2_dsn).warnings == ()


def test_files_that_no_log_counts(g2_dsn: str, tmp_path: Path) -> None:
    plan = planned(write_set(tmp_path, log={COLLECTION_FILE: 2}), g2_dsn)
    assert of_code(plan, "row-counts") == [
        ("note", f"no log counts the rows of {EMBEDDING_FILE}: nothing shows that none is lacking")
    ]
    assert of_code(planned(tmp_path, g2_dsn, check_log=False), "row-counts") == []


@pytest.mark.parametrize("by_label", [True, False])
def test_what_lies_beside_the_set(g2_dsn: str, tmp_path: Path, *, by_label: bool) -> None:
    folder = write_set(tmp_path) / "vector_bak"
    (folder / f"{EMBEDDING}_{STAMP}.csv.tmp").write_text("half")
    (folder / f"{EMBEDDING}_20260103_000000.csv").write_text("alone")
    (folder / f"{EMBEDDING}_20250101_000000.csv").write_text("alone, and long ago")
    for table in ("collection", "embedding"):
        name = f"langchain_pg_{table}"
        shutil.copy(folder / f"{name}_{STAMP}.csv", folder / f"{name}_20260104_000000.csv")
    other = tmp_path / "task_1" / "vector_bak"
    other.mkdir(parents=True)
    (other / f"{EMBEDDING}_20260109_000000.csv.tmp").write_text("elsewhere")
    store = open_store(tmp_path)
    label = f"vector_bak/{STAMP}"
    with Restorer(store, g2_dsn) as restorer:
        plan = restorer.plan(label if by_label else store.catalog().get(label))
    assert plan.warnings == (
        (
            "vector_bak/20260103_000000 is incomplete: "
            "langchain_pg_collection_20260103_000000.csv missing"
        ),
        (
            f"{label} is incomplete: {EMBEDDING}_{STAMP}.csv.tmp is unfinished, "
            "beside a complete set of that time"
        ),
    )
    assert of_code(plan, "newer") == [
        ("note", "vector_bak/20260104_000000 is a newer set of the same place")
    ]


def test_a_set_in_the_root(g2_dsn: str, tmp_path: Path) -> None:
    folder = write_set(tmp_path) / "vector_bak"
    (folder / f"{EMBEDDING}_20260103_000000.csv.tmp").write_text("half")
    store = open_store(folder)
    with Restorer(store, g2_dsn) as restorer:
        (warning,) = restorer.plan(store.catalog().latest()).warnings
    assert warning.startswith("20260103_000000 is incomplete: ")


def test_many_leftovers_are_counted(g2_dsn: str, tmp_path: Path) -> None:
    folder = write_set(tmp_path) / "vector_bak"
    for day in range(10, 20):
        (folder / f"{EMBEDDING}_202602{day}_000000.csv").write_text("alone")
    plan = planned(tmp_path, g2_dsn)
    assert len(plan.warnings) == 4
    assert plan.warnings[-1] == "7 more sets there are incomplete"


NFC = unicodedata.normalize("NFC", "größe")
NFD = unicodedata.normalize("NFD", "größe")


def test_a_column_that_only_looks_the_same(g2_dsn: str, tmp_path: Path) -> None:
    execute(g2_dsn, f'ALTER TABLE {EMBEDDING} ADD "{NFC}" text, ADD "{NFD}" text')
    records = [(*cells, "x") for cells in EMBEDDING_CELLS]
    root = write_set(tmp_path, embedding=raw_file((*EMBEDDING_HEADER, NFC), records))
    (warning,) = planned(root, g2_dsn).warnings
    assert warning == (
        f'{EMBEDDING} has a column that looks like "größe" and is spelled with other '
        "characters: gro\\u0308\\xdfe"
    )
    execute(g2_dsn, f'ALTER TABLE {EMBEDDING} DROP "{NFC}"')
    with pytest.raises(BadHeaderError, match='has no column "größe"') as caught:
        planned(root, g2_dsn)
    assert "gro\\u0308\\xdfe" in (caught.value.hint or "")


def test_a_table_that_only_looks_the_same(g2_dsn: str, tmp_path: Path) -> None:
    from pgvector_restore import Layout  # noqa: PLC0415 - of this test alone

    execute(g2_dsn, f'CREATE TABLE "{NFD}" (id text); CREATE TABLE "{NFC}" (id text)')
    folder = tmp_path / "vector_bak"
    folder.mkdir()
    (folder / f"{NFC}_{STAMP}.csv").write_text("id\n1\n", encoding="utf-8")
    store = open_store(tmp_path, layout=Layout(tables=(NFC,)))
    with Restorer(store, g2_dsn) as restorer:
        (warning,) = restorer.plan().warnings
    assert warning == (
        'schema public has a table that looks like "größe" and is spelled with other '
        "characters: gro\\u0308\\xdfe"
    )


def test_code_that_does_not_run_is_told_as_well(g2_dsn: str, tmp_path: Path) -> None:
    execute(
        g2_dsn,
        f"""
        CREATE RULE r AS ON INSERT TO {EMBEDDING} DO ALSO NOTIFY x;
        CREATE POLICY p ON {EMBEDDING} USING (true);
        """,
    )
    plan = planned(write_set(tmp_path), g2_dsn)
    assert of_code(plan, "attached-code") == [
        ("note", f"policy p of public.{EMBEDDING}, does not run"),
        ("note", f"rule r of public.{EMBEDDING}, does not run"),
    ]
    assert restore(tmp_path, g2_dsn).rows_loaded == 6


def test_hostile_names_do_not_reach_whoever_prints_a_plan(g2_dsn: str, tmp_path: Path) -> None:
    execute(
        g2_dsn,
        f'CREATE RULE "a\x1b[2J\u202e\nb" AS ON INSERT TO {EMBEDDING} DO ALSO NOTIFY x',
    )
    root = write_set(tmp_path)
    text = str(planned(root, g2_dsn))
    assert "rule a\\x1b[2J\\u202e\\nb of" in text
    assert all(line.isprintable() for line in text.split("\n"))
    done = run_command("plan", root, "--dsn", g2_dsn)
    assert done.code == 0
    assert "rule a\\x1b[2J\\u202e\\nb of" in done.out
    assert all(line.isprintable() for line in done.out.split("\n"))


def test_the_document_carries_all_of_it(g2_dsn: str, tmp_path: Path) -> None:
    execute(g2_dsn, f"{HNSW}; CREATE POLICY p ON {EMBEDDING} USING (true)")
    root = write_set(tmp_path)
    plan = planned(root, g2_dsn, mode="replace")
    document = json.loads(json.dumps(plan.to_dict()))
    assert {finding["code"] for finding in document["findings"]} == {"attached-code", "row-counts"}
    assert document["warnings"] == []
    assert document["forecast"]["locks"][0]["mode"] == "ACCESS EXCLUSIVE"
    assert {build["index"] for build in document["forecast"]["builds"]} >= {"near"}
    assert document["tables"][1]["attached_code"][0]["kind"] == "policy"
    assert document["role"] == document["tables"][1]["owner"] == "postgres"
    done = run_command("plan", root, "--mode", "replace", "--dsn", g2_dsn, "--json")
    assert {key: done.document[key] for key in ("findings", "tables")} == {
        key: document[key] for key in ("findings", "tables")
    }
