"""How fast content is compared: MB of a table's bytes per second and core.

Restores a set of each size into an embedded server, then takes the median of several runs of:

* the table alone: read back, hashed;
* ``Restorer.verify``: file and table;
* a restore with ``verify="counts"`` and one with ``verify="content"``;
* the last three with the same rows in binary and a manifest, whose digest spares decoding.

Bytes are those of the table's rows in COPY's binary format. Everything of ours runs in one process,
on one core; ``cpu`` counts its processor seconds, the server's are beside. As a script::

    python benchmarks/verify.py [--runs 3] [--folder build/verify]
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import psycopg
from compare import served
from data import write_set

from pgvector_restore import Restorer, open_store
from pgvector_restore.db.inspect import inspect_target
from pgvector_restore.db.verify import TableReader, snapshot
from pgvector_restore.manifest import Manifest, ManifestColumn, ManifestFile, ManifestTable
from pgvector_restore.rows.digest import digest_of, form_of, row_hash

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgvector_restore import RestoreReport

EMBEDDING = "langchain_pg_embedding"
CASES = {"30,000 x 1536": (30_000, 1536), "100,000 x 384": (100_000, 384)}
MEGABYTE = 1_000_000
STAMP = "20260102_030405"


def measured(runs: int, run: Callable[[], object]) -> tuple[float, float]:
    """Median of seconds, and of processor seconds of this process."""
    walls, cpus = [], []
    for _ in range(runs):
        wall, cpu = time.perf_counter(), time.process_time()
        run()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return statistics.median(walls), statistics.median(cpus)


def table_bytes(dsn: str) -> int:
    statement = f"COPY {EMBEDDING} TO STDOUT (FORMAT binary)"
    with psycopg.connect(dsn) as conn, conn.cursor().copy(statement) as copy:
        return sum(len(block) for block in copy)


def read_back(restorer: Restorer, dsn: str) -> None:
    """The database's side alone."""
    plan = restorer.plan("latest", mode="replace")
    form = form_of(plan.tables[1].loaded)
    with psycopg.connect(dsn) as conn, snapshot(conn):
        reader = TableReader(conn, plan.facts.schema, EMBEDDING, form.columns)
        digest_of([row_hash(form, row) for row in reader.rows()])


def write_described(root: Path, dsn: str) -> Path:
    """The two tables in binary, one file each, with a manifest."""
    folder = root / "vector_bak"
    folder.mkdir(parents=True, exist_ok=True)
    described = []
    with psycopg.connect(dsn) as conn, snapshot(conn) as cur:
        facts = inspect_target(cur, "public", ["langchain_pg_collection", EMBEDDING])
        for target in facts.tables:
            form = form_of(target.columns)
            reader = TableReader(conn, "public", target.name, form.columns)
            hashes = [row_hash(form, row) for row in reader.rows()]
            columns = ", ".join(column.name for column in form.columns)
            path = folder / f"{target.name}_{STAMP}.pgcopy"
            found = hashlib.sha256()
            statement = f"COPY {target.name} ({columns}) TO STDOUT (FORMAT binary)"
            with cur.copy(statement) as copy, path.open("wb") as out:
                for block in copy:
                    out.write(block)
                    found.update(block)
            file = ManifestFile(path.name, path.stat().st_size, found.hexdigest(), len(hashes))
            described.append(
                ManifestTable(
                    target.name,
                    "public",
                    len(hashes),
                    digest_of(hashes).hex,
                    tuple(ManifestColumn(c.name, c.type_name, c.not_null) for c in form.columns),
                    (file,),
                )
            )
    manifest = Manifest(STAMP, "binary", None, "", "", 0, None, tuple(described))
    (folder / f"manifest_{STAMP}.json").write_bytes(manifest.to_json())
    return root


def show(name: str, size: int, times: tuple[float, float]) -> None:
    wall, cpu = times
    print(
        f"  {name:28} {wall:6.2f} s  cpu {cpu:6.2f} s"
        f"  {size / wall / MEGABYTE:6.0f} MB/s  {size / cpu / MEGABYTE:6.0f} MB/s of cpu"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path("build/verify"))
    chosen = parser.parse_args()
    with served() as (_, dsn, version):
        print(f"PostgreSQL {version}")
        for name, (rows, dims) in CASES.items():
            root = chosen.folder / f"{rows}x{dims}"
            write_set(root, rows=rows, dims=dims, style="json")
            case(name, root, dsn, chosen.runs)


def case(name: str, root: Path, dsn: str, runs: int) -> None:
    with Restorer(open_store(root), dsn) as restorer:

        def restore(level: Literal["counts", "content"]) -> RestoreReport:
            return restorer.restore(
                "latest", mode="replace", strategy="in_place", jobs=1, verify=level
            )

        restore("counts")
        size = table_bytes(dsn)
        print(f"{name}: {size / MEGABYTE:.0f} MB of rows")
        show("table alone", size, measured(runs, lambda: read_back(restorer, dsn)))
        show("verify, file and table", size, measured(runs, restorer.verify))
        show("restore, counts", size, measured(runs, lambda: restore("counts")))
        show("restore, content", size, measured(runs, lambda: restore("content")))
    described = write_described(root.with_name(f"{root.name}-binary"), dsn)
    with Restorer(open_store(described), dsn) as restorer:
        show("binary: verify", size, measured(runs, restorer.verify))
        show("binary: restore, counts", size, measured(runs, lambda: restore("counts")))
        show("binary: restore, content", size, measured(runs, lambda: restore("content")))


if __name__ == "__main__":
    main()
