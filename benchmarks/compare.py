r"""Restores against other ways to load the same files, in the same run, one after the other.

    python benchmarks/compare.py [--rows 30000] [--dims 1536] [--runs 5] [--json FILE]

Writes a set with JSON metadata (``psql`` can load nothing else) once, starts one embedded server
and runs every method ``--runs`` times in turn, each into tables that were emptied before. Prints
medians and how many times faster each is than ``psql \copy``. Peak memory is that of the largest
process of the loading side, as the operating system accounts it; the server's is not in it.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import psycopg
from data import write_set

from pgvector_restore import Restorer, __version__, open_store
from pgvector_restore.db import _pgserver, embedded

COLLECTION, EMBEDDING = "langchain_pg_collection", "langchain_pg_embedding"
COLUMNS = {
    COLLECTION: "uuid, name, cmetadata",
    EMBEDDING: "id, collection_id, embedding, document, cmetadata",
}
TABLES = f"""
CREATE EXTENSION IF NOT EXISTS vector;
CREATE TABLE {COLLECTION} (uuid uuid PRIMARY KEY, name varchar NOT NULL UNIQUE, cmetadata json);
CREATE TABLE {EMBEDDING} (id varchar PRIMARY KEY, collection_id uuid REFERENCES {COLLECTION}
    ON DELETE CASCADE, embedding vector, document varchar, cmetadata jsonb);
CREATE INDEX ix_cmetadata_gin ON {EMBEDDING} USING gin (cmetadata jsonb_path_ops);
"""
SETTINGS = {"shared_buffers": "1GB", "max_wal_size": "8GB", "checkpoint_timeout": "30min"}


def restore(root: str, dsn: str, options: dict[str, Any]) -> None:
    """The measured process of our own: one restore, its figures as JSON."""
    if not options.pop("fast"):
        sys.modules["simdjson"] = None  # type: ignore[assignment]  # as if it were not installed
    started = time.perf_counter()
    with Restorer(open_store(root), dsn) as restorer:
        restorer.restore("latest", mode="replace", **options)
    seconds = time.perf_counter() - started
    usage = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(json.dumps({"seconds": seconds, "peak_mb": max(u.ru_maxrss for u in usage) / 1024}))


def existing(root: str, dsn: str) -> None:
    """The method that is replaced: csv, rewritten into a StringIO, COPY of that text."""
    import csv  # noqa: PLC0415 - this process only
    import io  # noqa: PLC0415 - this process only

    csv.field_size_limit(1 << 30)
    started = time.perf_counter()
    with psycopg.connect(dsn, autocommit=True) as conn:
        for table, columns in COLUMNS.items():
            (path,) = Path(root).rglob(f"{table}_*.csv")
            with path.open(encoding="utf-8", newline="") as file:
                rows = list(csv.reader(file))[1:]
            text = io.StringIO()
            csv.writer(text).writerows(rows)
            with conn.cursor().copy(f"COPY {table} ({columns}) FROM STDIN (FORMAT csv)") as copy:
                copy.write(text.getvalue())
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"seconds": seconds, "peak_mb": peak / 1024}))


def child(*arguments: str) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, __file__, *arguments], check=True, capture_output=True, text=True
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def psql(binary: Path, root: Path, dsn: str) -> dict[str, float]:
    commands = []
    for table, columns in COLUMNS.items():
        (path,) = root.rglob(f"{table}_*.csv")
        commands += ["-c", f"\\copy {table} ({columns}) FROM '{path}' (FORMAT csv, HEADER)"]
    started = time.perf_counter()
    subprocess.run(
        [binary, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", dsn, *commands],
        check=True,
        capture_output=True,
    )
    return {"seconds": time.perf_counter() - started, "peak_mb": 0.0}


def floor(encoded: Path, dsn: str) -> dict[str, float]:
    """Bytes encoded beforehand, over one connection."""
    started = time.perf_counter()
    with psycopg.connect(dsn) as conn:
        for table, columns in COLUMNS.items():
            statement = f"COPY {table} ({columns}) FROM STDIN (FORMAT binary)"
            with conn.cursor().copy(statement) as copy, (encoded / table).open("rb") as file:
                while data := file.read(128 << 10):
                    copy.write(data)
    return {"seconds": time.perf_counter() - started, "peak_mb": 0.0}


def encode(encoded: Path, dsn: str) -> None:
    """What the server makes of the rows that are there."""
    with psycopg.connect(dsn) as conn:
        for table, columns in COLUMNS.items():
            statement = f"COPY {table} ({columns}) TO STDOUT (FORMAT binary)"
            with conn.cursor().copy(statement) as copy, (encoded / table).open("wb") as file:
                for data in copy:
                    file.write(data)


def pg_restore(tools: Path, dump: Path, dsn: str) -> dict[str, float]:
    """From a dump in directory format, two jobs; tables and indexes are created anew."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(f"DROP TABLE {EMBEDDING}, {COLLECTION}")
    command: list[str | Path] = [tools / "pg_restore", "-j2", "-d", dsn, dump]
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return {"seconds": time.perf_counter() - started, "peak_mb": 0.0}


def empty(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(f"TRUNCATE {COLLECTION}, {EMBEDDING}")
        conn.execute("CHECKPOINT")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=30_000)
    parser.add_argument("--dims", type=int, default=1536)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--data", type=Path, default=Path(__file__).parent / "data" / "compare")
    parser.add_argument("--only", help="methods, separated by commas")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--restore", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--existing", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.restore:
        root, dsn, options = arguments.restore
        restore(root, dsn, json.loads(options))
    elif arguments.existing:
        existing(*arguments.existing)
    else:
        compare(arguments)


def compare(arguments: argparse.Namespace) -> None:
    root: Path = arguments.data
    write_set(root, rows=arguments.rows, dims=arguments.dims, style="json")
    with tempfile.TemporaryDirectory(dir="/var/tmp") as made:
        place = Path(made)
        place.chmod(0o755)
        server = embedded.start(place / "pg18", settings=SETTINGS)
        try:
            tools = _pgserver.find_install(18) / "bin"
            runs = measure(arguments, root, place, server.conninfo, tools)
        finally:
            embedded.stop(place / "pg18")
    show(arguments, root, runs)


def measure(
    arguments: argparse.Namespace, root: Path, place: Path, dsn: str, tools: Path
) -> dict[str, list[dict[str, float]]]:
    def ours(**options: object) -> Callable[[], dict[str, float]]:
        return lambda: child("--restore", str(root), dsn, json.dumps(options))

    methods: dict[str, Callable[[], dict[str, float]]] = {
        "psql": lambda: psql(tools / "psql", root, dsn),
        "pg_restore": lambda: pg_restore(tools, place / "dump", dsn),
        "existing": lambda: child("--existing", str(root), dsn),
        "floor": lambda: floor(place, dsn),
        "in_place": ours(strategy="in_place", jobs=1, fast=False),
        "in_place fast": ours(strategy="in_place", jobs=1, fast=True),
        "swap 1 fast": ours(strategy="swap", jobs=1, fast=True),
        "swap 2 fast": ours(strategy="swap", jobs=2, fast=True),
    }
    chosen = arguments.only.split(",") if arguments.only else list(methods)
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(TABLES)
    child("--restore", str(root), dsn, json.dumps({"strategy": "in_place", "fast": True}))
    encode(place, dsn)
    if "pg_restore" in chosen:
        dump: list[str | Path] = [tools / "pg_dump", "-Fd", "-j2", "-Z0", "-f", place / "dump"]
        tables = ["-t", COLLECTION, "-t", EMBEDDING]
        subprocess.run([*dump, *tables, dsn], check=True, capture_output=True)
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in chosen}
    for _ in range(arguments.runs):
        for name in chosen:
            empty(dsn)
            runs[name].append(methods[name]())
    return runs


def show(
    arguments: argparse.Namespace, root: Path, runs: dict[str, list[dict[str, float]]]
) -> None:
    size = sum(path.stat().st_size for path in root.rglob("*.csv"))
    medians = {n: statistics.median(r["seconds"] for r in found) for n, found in runs.items()}
    base = medians.get("psql")
    print(f"{arguments.rows} rows, {arguments.dims} dimensions, {size / 1e6:.0f} MB")
    print("| method | seconds | times faster than psql | peak memory |\n|---|---|---|---|")
    for name, seconds in medians.items():
        peak = max(run["peak_mb"] for run in runs[name])
        ratio = f"{base / seconds:.2f}" if base else ""
        print(f"| {name} | {seconds:.2f} | {ratio} | {f'{peak:.0f} MB' if peak else ''} |")
    if arguments.json:
        about = {"python": platform.python_version(), "version": __version__}
        about |= {"date": date.today().isoformat(), "command": " ".join(sys.argv)}  # noqa: DTZ011
        document = {"about": about, "size_bytes": size, "medians": medians, "runs": runs}
        arguments.json.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
