"""How fast sets in binary are restored, beside the floor: the same bytes through one COPY.

Backs up a made-up set in binary, then restores it in turns; each run of ours in a process of its
own. Reports medians and the ratio to the floor. As a script::

    python benchmarks/binary.py [--rows 30000] [--dims 1536] [--runs 5]
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import methods
import psycopg
from compare import TABLES, empty, served
from data import write_set
from methods import Run

from pgvector_restore import Backuper, Restorer, open_store

#: Compression of the set, and options of the restore.
WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "in_place": ("none", {"strategy": "in_place", "jobs": 1}),
    "swap": ("none", {"strategy": "swap"}),
    "swap, jobs=1": ("none", {"strategy": "swap", "jobs": 1}),
    "zstd, swap": ("zstd", {"strategy": "swap"}),
}


def prepare(data: Path, place: Path, sets: Path, dsn: str) -> dict[str, Callable[[], Run]]:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(TABLES.replace("(%s)", ""))
    with Restorer(open_store(data), dsn) as restorer:
        restorer.restore("latest", mode="replace")
    for compress in {compress for compress, _ in WAYS.values()}:
        with Backuper(open_store(sets / compress), dsn) as backuper:
            backuper.backup(format="binary", compress=compress)
    methods.encode(place, dsn)
    ways: dict[str, Callable[[], Run]] = {"floor": lambda: methods.floor(place, dsn)}
    for name, (compress, options) in WAYS.items():
        text = json.dumps({"fast": True, **options})
        ways[name] = lambda compress=compress, text=text: methods.child(  # type: ignore[misc]
            "ours", str(sets / compress), dsn, text
        )
    return ways


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=30_000)
    parser.add_argument("--dims", type=int, default=1536)
    parser.add_argument("--runs", type=int, default=5)
    chosen = parser.parse_args()
    data = Path("build") / f"backup-{chosen.rows}-{chosen.dims}"
    write_set(data, rows=chosen.rows, dims=chosen.dims)
    with served() as (place, dsn, version), tempfile.TemporaryDirectory() as sets:
        print(version, f"{chosen.rows:,} x {chosen.dims}")
        ways = prepare(data, place, Path(sets), dsn)
        runs: dict[str, list[Run]] = {name: [] for name in ways}
        for _ in range(chosen.runs):
            for name, way in ways.items():
                empty(dsn)
                runs[name].append(way())
    floor = statistics.median(run["seconds"] for run in runs["floor"])
    for name, found in runs.items():
        seconds = statistics.median(run["seconds"] for run in found)
        peak = max(run.get("peak_mb", 0) for run in found)
        print(f"  {name:20} {seconds:6.2f} s  {seconds / floor:5.2f} x floor  {peak:5.0f} MB")


if __name__ == "__main__":
    main()
