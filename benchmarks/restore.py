"""Seconds and peak memory of restoring one large set, in a process of its own.

    python benchmarks/restore.py [--rows 30000] [--dims 1536] [--runs 3] [--json FILE]

Writes the set (about 600 MB with the defaults) once, starts an embedded server, restores with mode
``replace`` and prints the medians. Peak memory is the restoring process's own, as the operating
system accounts it (``ru_maxrss``); the server's is not in it.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from data import write_set

from pgvector_restore import Restorer, open_store
from pgvector_restore.db import embedded


def restore_once(root: str, dsn: str) -> None:
    """The measured process: one restore, its figures as JSON on standard output."""
    with Restorer(open_store(root), dsn) as restorer:
        report = restorer.restore("latest", mode="replace")
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        json.dumps(
            {
                "rows": report.rows_loaded,
                "size_bytes": report.size_bytes,
                "seconds": report.seconds,
                "peak_mb": peak_kib / 1024,
            }
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=30_000)
    parser.add_argument("--dims", type=int, default=1536)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--data", type=Path, default=Path(__file__).parent / "data" / "restore")
    parser.add_argument("--dsn", help="a scratch database; default: an embedded server")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--once", nargs=2, metavar=("STORE", "DSN"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.once:
        restore_once(*arguments.once)
        return
    write_set(arguments.data, rows=arguments.rows, dims=arguments.dims)
    with tempfile.TemporaryDirectory(dir="/var/tmp") as made:
        Path(made).chmod(0o755)
        dsn = arguments.dsn or embedded.start(Path(made) / "pg18").conninfo
        command = [sys.executable, __file__, "--once", str(arguments.data), dsn]
        try:
            runs = [
                json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
                for _ in range(arguments.runs)
            ]
        finally:
            embedded.stop(Path(made) / "pg18")
    result = runs[0] | {
        "seconds": statistics.median(run["seconds"] for run in runs),
        "peak_mb": max(run["peak_mb"] for run in runs),
    }
    result["mb_per_second"] = result["size_bytes"] / 1e6 / result["seconds"]
    print(
        f"{result['rows']} rows, {result['size_bytes'] / 1e6:.0f} MB: "
        f"{result['seconds']:.1f} s (median of {arguments.runs}), "
        f"{result['mb_per_second']:.0f} MB/s, peak memory {result['peak_mb']:.0f} MB"
    )
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
