r"""How fast backups are made: this package's, ``psql \copy … to`` and ``pg_dump -Fd -j2 -Z0``.

Restores a made-up set into an embedded server, then backs its tables up in turns, each way in a
process of its own, into the same folder, which is emptied before each run; and two psql at once,
each with a half of the rows, as a floor. Reports medians, the ratios to psql and to pg_dump, and
for our own processes the peak of resident memory. As a script::

    python benchmarks/backup.py [--rows 30000] [--dims 1536] [--runs 5] [--folder /dev/shm/backup]
                                [--only NAME …] [--compressed]

Put the folder where writing costs nothing, or on a disk, for all ways alike; ours bring every file
to the disk before it counts, the others do not.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg
from compare import served
from data import write_set
from methods import COLLECTION, COLUMNS, EMBEDDING

from pgvector_restore import Backuper, Restorer, open_store
from pgvector_restore.db import _pgserver

OURS: dict[str, dict[str, Any]] = {
    "csv": {},
    "csv, no digest": {"digest": False},
    "csv, jobs 1": {"jobs": 1},
    "binary": {"format": "binary"},
    "binary, jobs 2": {"format": "binary", "jobs": 2},
}
COMPRESSED: dict[str, dict[str, Any]] = {
    f"{kind}, {codec}": {"format": kind, "compress": codec}
    for kind in ("csv", "binary")
    for codec in ("lz4", "zstd", "gzip", "bzip2", "xz")
}


def ours(root: str, dsn: str, options: dict[str, Any]) -> None:
    """The measured process: one backup, then what it came to."""
    started, before = time.perf_counter(), time.process_time()
    with Backuper(open_store(root), dsn) as backuper:
        report = backuper.backup(**options)
    print(
        json.dumps(
            {
                "seconds": time.perf_counter() - started,
                "cpu": time.process_time() - before,
                "size": report.size_bytes,
                "rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            }
        )
    )


def child(root: Path, dsn: str, options: dict[str, Any]) -> dict[str, float]:
    arguments = ["--ours", str(root), dsn, json.dumps(options)]
    done = subprocess.run(
        [sys.executable, __file__, *arguments], check=True, capture_output=True, text=True
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def timed(command: list[str | Path], root: Path) -> dict[str, float]:
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "size": sum(f.stat().st_size for f in root.rglob("*.*"))}


def psql(tools: Path, root: Path, dsn: str) -> dict[str, float]:
    commands = []
    for table, columns in COLUMNS.items():
        path = root / f"{table}.csv"
        commands += ["-c", f"\\copy {table} ({columns}) TO '{path}' (FORMAT csv, HEADER)"]
    return timed([tools / "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", dsn, *commands], root)


def psql_halves(tools: Path, root: Path, dsn: str) -> dict[str, float]:
    """Two at once, each a half of the embeddings: what two cores can do that hash nothing."""
    with psycopg.connect(dsn) as conn:
        size = "pg_relation_size(%s) / current_setting('block_size')::int / 2"
        row = conn.execute(f"SELECT {size}", [EMBEDDING]).fetchone()
    middle = row[0] if row else 0
    started = time.perf_counter()
    running = []
    for place, half in enumerate((f"ctid < '({middle},0)'", f"ctid >= '({middle},0)'")):
        path = root / f"{place}.csv"
        query = f"SELECT {COLUMNS[EMBEDDING]} FROM {EMBEDDING} WHERE {half}"
        command = f"\\copy ({query}) TO '{path}' (FORMAT csv, HEADER)"
        arguments: list[str | Path] = [tools / "psql", "-X", "-q", "-d", dsn, "-c", command]
        running.append(subprocess.Popen(arguments))
    if any(process.wait() for process in running):
        raise SystemExit("psql failed")
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "size": sum(f.stat().st_size for f in root.rglob("*.*"))}


def pg_dump(tools: Path, root: Path, dsn: str) -> dict[str, float]:
    tables = ["-t", COLLECTION, "-t", EMBEDDING]
    return timed([tools / "pg_dump", "-Fd", "-j2", "-Z0", *tables, "-f", root / "dump", dsn], root)


def measure(chosen: argparse.Namespace, dsn: str) -> None:
    tools = _pgserver.find_install(18) / "bin"
    named = OURS | (COMPRESSED if chosen.compressed else {})
    ways: dict[str, Any] = {
        name: lambda root, options=options: child(root, dsn, options)
        for name, options in named.items()
    }
    ways["psql"] = lambda root: psql(tools, root, dsn)
    ways["psql, two halves"] = lambda root: psql_halves(tools, root, dsn)
    ways["pg_dump -j2"] = lambda root: pg_dump(tools, root, dsn)
    chosen_ways = [name for name in ways if not chosen.only or name in chosen.only]
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in chosen_ways}
    for turn in range(chosen.runs):
        # Each turn begins with another way: nobody always runs after the same neighbour.
        first = turn % len(chosen_ways)
        for name in chosen_ways[first:] + chosen_ways[:first]:
            root = Path(tempfile.mkdtemp(prefix="backup-", dir=chosen.folder))
            try:
                runs[name].append(ways[name](root))
            finally:
                shutil.rmtree(root)
    show(runs)


def show(runs: dict[str, list[dict[str, float]]]) -> None:
    medians = {
        name: {key: statistics.median(run[key] for run in found) for key in found[0]}
        for name, found in runs.items()
    }
    print(f"load {os.getloadavg()[0]:.1f}")
    for name, run in medians.items():
        line = f"  {name:18} {run['seconds']:6.2f} s  {run['size'] / 1e6:7.1f} MB"
        for other in ("psql", "pg_dump -j2"):
            if other in medians and other != name:
                line += f"  {medians[other]['seconds'] / run['seconds']:5.2f} x {other}"
        if "rss" in run:
            line += f"  cpu {run['cpu']:5.2f} s  {run['rss']:5.0f} MB RSS"
        print(line)


def main() -> None:
    if sys.argv[1:2] == ["--ours"]:
        root, dsn, options = sys.argv[2:]
        ours(root, dsn, json.loads(options))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=30_000)
    parser.add_argument("--dims", type=int, default=1536)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path("/dev/shm"))  # noqa: S108 - in memory
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--compressed", action="store_true")
    chosen = parser.parse_args()
    data = Path("build") / f"backup-{chosen.rows}-{chosen.dims}"
    write_set(data, rows=chosen.rows, dims=chosen.dims)
    with served() as (_, dsn, version):
        print(version, f"{chosen.rows:,} x {chosen.dims}")
        with Restorer(open_store(data), dsn) as restorer:
            restorer.restore("latest")
        measure(chosen, dsn)


if __name__ == "__main__":
    main()
