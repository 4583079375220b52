"""Peak memory of backups, copies, restores and verifications of one large table.

Writes a set, restores it into an embedded server, and then does one thing after another, each in
a process of its own: backups to a folder, restores and verifications from it, and the same with a
local S3 server. Reports the largest process and all processes together (worker processes, fetching
and the like), sampled while they run; pages that processes share count once for each. On Linux
only. As a script::

    python benchmarks/memory.py [--rows 120000] [--dims 1536] [--folder build/memory]
                                [--endpoint URL --key KEY --secret SECRET]
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import fsspec
from compare import served
from data import write_set
from remote import BUCKET, s3_server

from pgvector_restore import Restorer, open_store

#: Seconds between two looks at the processes.
_SAMPLE_S = 0.02

#: What is measured: the code of one process, which finds its arguments in ``given``.
BACKUP = "with Backuper(store, dsn) as b: b.backup(**given)"
RESTORE = "with Restorer(store, dsn) as r: r.restore('latest', mode='replace', **given)"
VERIFY = "with Restorer(store, dsn) as r: r.verify('latest', **given)"
COPY = "copy_set(open_store(given['source']), 'latest', store)"

PREPARE = """
import json, sys, time
from pgvector_restore import Backuper, Restorer, copy_set, open_store
url, options, dsn, given = json.loads(sys.argv[1])
store = open_store(url, storage_options=options)
"""


def tree(pid: int) -> dict[int, float]:
    """Resident mebibytes of a process and of its children, by process."""
    found: dict[int, float] = {}
    todo = [pid]
    while todo:
        one = todo.pop()
        try:
            status = Path(f"/proc/{one}/status").read_text()
            for task in Path(f"/proc/{one}/task").iterdir():
                todo += map(int, (task / "children").read_text().split())
        except OSError:  # it has just ended
            continue
        resident = re.search(r"VmRSS:\s+(\d+) kB", status)
        if resident is not None:
            found[one] = int(resident[1]) / 1024
    return found


def measured(code: str, *arguments: Any) -> tuple[float, float, float]:  # noqa: ANN401 - JSON
    """Seconds; peak of the largest process, and of all together, in mebibytes.

    The seconds are those of the process, or what its code says in its only line of output.
    """
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", PREPARE + code, json.dumps(arguments)],
        stdout=subprocess.PIPE,
        text=True,
    )
    largest = together = 0.0
    while process.poll() is None:
        found = tree(process.pid)
        largest = max([largest, *found.values()])
        together = max(together, sum(found.values()))
        time.sleep(_SAMPLE_S)
    if process.returncode:
        raise SystemExit(f"it failed: {code} {arguments}")
    said = process.stdout.read() if process.stdout is not None else ""
    return float(said or time.perf_counter() - started), largest, together


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=120_000)
    parser.add_argument("--dims", type=int, default=1536)
    parser.add_argument("--folder", type=Path, default=Path("build/memory"))
    parser.add_argument("--endpoint")
    parser.add_argument("--key", default="benchmark")
    parser.add_argument("--secret", default="benchmark")
    chosen = parser.parse_args()
    data = chosen.folder / f"{chosen.rows}x{chosen.dims}"
    write_set(data, rows=chosen.rows, dims=chosen.dims)
    with served() as (_, dsn, version), s3_server(chosen.endpoint) as endpoint:
        options = {"endpoint_url": endpoint, "key": chosen.key, "secret": chosen.secret}
        fsspec.filesystem("s3", **options).mkdir(BUCKET)
        print(version, f"{chosen.rows:,} x {chosen.dims}")
        with Restorer(open_store(data), dsn) as restorer:
            restorer.restore("latest")
        steps: list[tuple[str, str, str, dict[str, Any]]] = []
        for kind, extra in (
            ("csv", {}),
            ("csv", {"compress": "zstd"}),
            ("binary", {}),
            ("binary", {"compress": "zstd"}),
        ):
            name = "-".join([kind, *extra.values()])
            folder = str(chosen.folder / name)
            bucket = f"s3://{BUCKET}/{name}"
            steps += [
                (f"backup {name}", BACKUP, folder, {"format": kind, **extra}),
                (f"restore {name}", RESTORE, folder, {}),
                (f"verify {name}", VERIFY, folder, {}),
                (f"copy {name} to S3", COPY, bucket, {"source": folder}),
                (f"restore {name} from S3", RESTORE, bucket, {}),
            ]
            direct = f"s3://{BUCKET}/direct-{name}"
            steps.append((f"backup {name} to S3", BACKUP, direct, {"format": kind, **extra}))
        try:
            for name, code, url, given in steps:
                asked = options if url.startswith("s3:") else None
                seconds, largest, together = measured(code, url, asked, dsn, given)
                print(
                    f"  {name:28} {seconds:6.1f} s  {largest:5.0f} MB largest process"
                    f"  {together:5.0f} MB together",
                    flush=True,
                )
        finally:
            for _, _, url, _ in steps:
                if "://" not in url:
                    shutil.rmtree(url, ignore_errors=True)


if __name__ == "__main__":
    main()
