r"""Restores against other ways to load the same files, in the same run, in turn.

    python benchmarks/compare.py [--runs 5] [--only 1536,hnsw] [--data DIR] [--out docs]

Writes the sets once (with JSON metadata, as ``psql`` can load nothing else), starts an embedded
server for each case and runs every method ``--runs`` times, each into tables that were emptied
before. Results go to ``benchmarks.json`` and ``benchmarks.svg`` in ``--out``; cases that were not
run keep what stands there. Peak memory is that of the largest process of the loading side, as the
operating system accounts it; the server's is not in it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import methods
import psycopg
from attrs import frozen
from chart import draw
from data import write_set
from methods import COLLECTION, EMBEDDING, Run

from pgvector_restore import __version__
from pgvector_restore.db import _pgserver, embedded

TABLES = f"""
CREATE EXTENSION IF NOT EXISTS vector;
CREATE TABLE {COLLECTION} (uuid uuid PRIMARY KEY, name varchar NOT NULL UNIQUE, cmetadata json);
CREATE TABLE {EMBEDDING} (id varchar PRIMARY KEY, collection_id uuid REFERENCES {COLLECTION}
    ON DELETE CASCADE, embedding vector(%s), document varchar, cmetadata jsonb);
CREATE INDEX ix_cmetadata_gin ON {EMBEDDING} USING gin (cmetadata jsonb_path_ops);
"""
HNSW = f"CREATE INDEX ix_embedding_hnsw ON {EMBEDDING} USING hnsw (embedding vector_cosine_ops)"
#: Enough for no checkpoint to fall into a run.
SETTINGS = {"shared_buffers": "1GB", "max_wal_size": "8GB", "checkpoint_timeout": "30min"}


@frozen
class Case:
    """Data to load, and how."""

    rows: int
    dims: int
    methods: tuple[str, ...]
    hnsw: bool = False


SWAP, SWAP_ALONE, IN_PLACE = "swap, jobs=2, fast", "swap, jobs=1, fast", "in_place, jobs=1, fast"
BASE = ("psql", "floor", IN_PLACE, SWAP_ALONE, SWAP)
CASES = {
    "1536": Case(
        30_000,
        1536,
        (
            "psql",
            "pg_restore -j2",
            "existing",
            "floor",
            "in_place, jobs=1",
            IN_PLACE,
            SWAP_ALONE,
            SWAP,
        ),
    ),
    "384": Case(100_000, 384, BASE),
    "1024": Case(45_000, 1024, BASE),
    "4 times the rows": Case(120_000, 1536, BASE),
    "hnsw": Case(
        30_000, 1536, ("psql", "pg_restore -j2", "in_place, jobs=2, fast", SWAP), hnsw=True
    ),
}
OURS: dict[str, dict[str, Any]] = {
    "in_place, jobs=1": {"strategy": "in_place", "jobs": 1, "fast": False},
    IN_PLACE: {"strategy": "in_place", "jobs": 1, "fast": True},
    "in_place, jobs=2, fast": {"strategy": "in_place", "jobs": 2, "fast": True},
    SWAP_ALONE: {"strategy": "swap", "jobs": 1, "fast": True},
    SWAP: {"strategy": "swap", "jobs": 2, "fast": True},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    here = Path(__file__).parent
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", default=",".join(CASES), help="cases, separated by commas")
    parser.add_argument("--methods", help="of each case only these, separated by semicolons")
    parser.add_argument("--data", type=Path, default=here / "data")
    parser.add_argument("--out", type=Path, default=here.parent / "docs")
    arguments = parser.parse_args()
    path = arguments.out / "benchmarks.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    for name in arguments.only.split(","):
        case = CASES[name]
        chosen = arguments.methods.split(";") if arguments.methods else case.methods
        results[name] = compare(
            case,
            [method for method in case.methods if method in chosen],
            arguments.runs,
            arguments.data / f"{case.rows}x{case.dims}",
        )
        show(name, results[name])
        path.write_text(json.dumps(results, indent=1) + "\n")
    draw(results, arguments.out / "benchmarks.svg")


def compare(case: Case, chosen: list[str], runs: int, root: Path) -> dict[str, Any]:
    """Run one case; returns what goes to the JSON file."""
    write_set(root, rows=case.rows, dims=case.dims, style="json")
    found: dict[str, list[Run]] = {name: [] for name in chosen}
    with served() as (place, dsn, version):
        ways = prepare(case, chosen, place, root, dsn)
        for _ in range(runs):
            for name in chosen:
                empty(dsn)
                found[name].append(ways[name]())
    return {
        "rows": case.rows,
        "dims": case.dims,
        "size_bytes": sum(path.stat().st_size for path in root.rglob("*.csv")),
        "seconds": {n: statistics.median(r["seconds"] for r in rs) for n, rs in found.items()},
        "peak_mb": {
            n: max(r["peak_mb"] for r in rs) for n, rs in found.items() if "peak_mb" in rs[0]
        },
        "runs": {n: [round(r["seconds"], 3) for r in rs] for n, rs in found.items()},
        "about": {
            "pgvector_restore": __version__,
            "postgresql": version,
            "python": platform.python_version(),
            "cores": os.cpu_count(),
            "finished": datetime.now().astimezone().isoformat(timespec="seconds"),
        },
    }


@contextmanager
def served() -> Iterator[tuple[Path, str, str]]:
    """A new server: its folder, which it may read, its DSN, and its and pgvector's version."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as made:
        place = Path(made)
        place.chmod(0o755)
        server = embedded.start(place / "pg18", settings=SETTINGS)
        try:
            with psycopg.connect(server.conninfo) as conn:
                conn.execute("CREATE EXTENSION vector")
                row = conn.execute(
                    "SELECT current_setting('server_version') || ', pgvector ' || extversion "
                    "FROM pg_extension WHERE extname = 'vector'"
                ).fetchone()
            yield place, server.conninfo, row[0] if row else ""
        finally:
            embedded.stop(place / "pg18")


def prepare(
    case: Case, chosen: list[str], place: Path, root: Path, dsn: str
) -> dict[str, Callable[[], Run]]:
    """Create the tables, and what the other methods start from."""
    tools = _pgserver.find_install(18) / "bin"

    def child(options: dict[str, Any]) -> Callable[[], Run]:
        return lambda: methods.child("ours", str(root), dsn, json.dumps(options))

    ways: dict[str, Callable[[], Run]] = {name: child(options) for name, options in OURS.items()}
    ways["psql"] = lambda: methods.psql(tools, root, dsn)
    ways["pg_restore -j2"] = lambda: methods.pg_restore(tools, place / "dump", dsn)
    ways["existing"] = lambda: methods.child("existing", str(root), dsn)
    ways["floor"] = lambda: methods.floor(place, dsn)
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(TABLES % case.dims if case.hnsw else TABLES.replace("(%s)", ""))
        ways[IN_PLACE]()
        if case.hnsw:
            conn.execute("SET maintenance_work_mem = '1GB'")
            conn.execute(HNSW)
    if "floor" in chosen:
        methods.encode(place, dsn)
    if "pg_restore -j2" in chosen:
        methods.dump(tools, place / "dump", dsn)
    return ways


def empty(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(f"TRUNCATE {COLLECTION}, {EMBEDDING}")
        conn.execute("CHECKPOINT")


def show(name: str, result: dict[str, Any]) -> None:
    """Print one case as a table of Markdown."""
    size, base = result["size_bytes"] / 1e6, result["seconds"].get("psql")
    print(f"\n{name}: {result['rows']} rows, {result['dims']} dimensions, {size:.0f} MB\n")
    print("| method | seconds | times faster than psql | peak memory |\n|---|---|---|---|")
    for method, seconds in result["seconds"].items():
        peak = result["peak_mb"].get(method)
        ratio = f"{base / seconds:.2f}" if base else ""
        print(f"| {method} | {seconds:.2f} | {ratio} | {f'{peak:.0f} MB' if peak else ''} |")


if __name__ == "__main__":
    main()
