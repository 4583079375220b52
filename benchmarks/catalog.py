"""How long a catalog of many backup sets takes, and how much memory.

Makes a tree of small files in a temporary folder (200,000 files in 10,000 task folders unless told
otherwise) and lists a tenth, a third and all of it, each in a fresh process.

    python benchmarks/catalog.py [--sets 100000] [--folders 10000] [--json figures.json]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timedelta
from pathlib import Path

from pgvector_restore.storage import DEFAULT_LAYOUT, open_store

_FIRST = datetime(2025, 1, 1)  # noqa: DTZ001 - stamps carry no zone


def make_tree(root: Path, sets: int, folders: int) -> None:
    for number in range(folders):
        folder = root / f"task_{_FIRST + timedelta(seconds=number):%Y%m%d_%H%M%S}" / "vector_bak"
        folder.mkdir(parents=True)
        for one in range(number, sets, folders):
            stamp = f"{_FIRST + timedelta(seconds=one):%Y%m%d_%H%M%S}"
            for table in DEFAULT_LAYOUT.tables:
                (folder / DEFAULT_LAYOUT.file_name(table, stamp)).write_bytes(b"x\n")


def _rss_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def measure(root: str) -> None:
    """Runs in a process of its own: the peak of memory is the process's."""
    before, start = _rss_mb(), time.perf_counter()
    catalog = open_store(root).catalog()
    seconds = time.perf_counter() - start
    figures = {
        "sets": len(catalog.sets),
        "locations": len(catalog.locations),
        "seconds": round(seconds, 3),
        "rss_before_mb": round(before, 1),
        "rss_peak_mb": round(_rss_mb(), 1),
    }
    print(json.dumps(figures))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=100_000, help="sets of the largest tree")
    parser.add_argument("--folders", type=int, default=10_000, help="task folders of it")
    parser.add_argument("--repeat", type=int, default=3, help="runs per tree, the fastest counts")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.measure)
        return
    results = []
    for share in (0.1, 0.3, 1.0):
        with tempfile.TemporaryDirectory() as folder:
            make_tree(Path(folder), int(options.sets * share), int(options.folders * share))
            command = [sys.executable, __file__, "--measure", folder]
            runs = [
                json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
                for _ in range(options.repeat)
            ]
        results.append(min(runs, key=lambda run: float(run["seconds"])))
        print(json.dumps(results[-1]))
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
