"""A restore from S3 beside one of the same files from disk.

Writes a set, uploads it to a local S3 server in a process of its own, and restores it into an
embedded server from either place in turn. Medians, their ratio, and the peak memory of a process
that does one restore. Unless a server is named, the S3 server is moto's, written in Python for
tests: for each range of an object it copies all of it. Any server on this machine takes its part of
the cores, so the ratio is an upper bound. On Linux only. As a script::

    python benchmarks/remote.py [--runs 5] [--rows 30000] [--dims 1536] [--folder build/remote]
                                [--jobs 1|auto] [--endpoint URL --key KEY --secret SECRET]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from compare import served
from data import write_set

from pgvector_restore import WritableStore, open_store

BUCKET = "benchmark"

#: Starts the server and says where it is; ends with its standard input.
SERVER = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""

#: One restore: seconds and peak memory of its process.
RESTORE = """
import json, re, sys, time
from pgvector_restore import Restorer, open_store
url, options, dsn, jobs = json.loads(sys.argv[1])
with Restorer(open_store(url, storage_options=options), dsn) as restorer:
    plan = restorer.plan("latest", mode="replace", jobs=jobs)
    began = time.perf_counter()
    restorer.run(plan)
    seconds = time.perf_counter() - began
with open("/proc/self/status") as status:
    peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", status.read())[1]) / 1024
print(json.dumps([seconds, peak]))
"""


def upload(root: Path, options: dict[str, object]) -> None:
    import fsspec  # noqa: PLC0415 - only to make the bucket

    files = fsspec.filesystem("s3", **options)
    if not files.exists(BUCKET):
        files.mkdir(BUCKET)
    store = open_store(f"s3://{BUCKET}", storage_options=options)
    if not isinstance(store, WritableStore):
        raise TypeError("s3:// can be written")
    source = open_store(root)
    began, size = time.perf_counter(), 0
    for info in list(source.list("vector_bak/")):
        with source.open(info.key) as stream, store.create(info.key, replace=True) as goal:
            while block := stream.read(1 << 20):
                size += goal.write(block)
    seconds = time.perf_counter() - began
    print(f"uploaded {size / 1e6:.0f} MB in {seconds:.1f} s, {size / seconds / 1e6:.0f} MB/s")


def restored(
    url: str, options: dict[str, object] | None, dsn: str, jobs: int | str
) -> tuple[float, float]:
    done = subprocess.run(
        [sys.executable, "-c", RESTORE, json.dumps([url, options, dsn, jobs])],
        check=True,
        capture_output=True,
        text=True,
    )
    seconds, peak = json.loads(done.stdout)
    return seconds, peak


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of the table, and of the S3 server."""
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--rows", type=int, default=30_000)
    parser.add_argument("--dims", type=int, default=1536)
    parser.add_argument("--folder", type=Path, default=Path("build/remote"))
    parser.add_argument("--endpoint")
    parser.add_argument("--key", default="benchmark")
    parser.add_argument("--secret", default="benchmark")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    parser.add_argument("--jobs", default="1")
    chosen = parser.parse_args()
    root = chosen.folder / f"{chosen.rows}x{chosen.dims}"
    write_set(root, rows=chosen.rows, dims=chosen.dims, style="json")
    jobs = int(chosen.jobs) if chosen.jobs.isdecimal() else chosen.jobs
    with s3_server(chosen.endpoint) as endpoint, served() as (_, dsn, version):
        options: dict[str, object] = {
            "endpoint_url": endpoint,
            "key": chosen.key,
            "secret": chosen.secret,
        }
        print(f"PostgreSQL {version}, load {os.getloadavg()[0]:.1f}")
        upload(root, options)
        places = {"disk": (str(root), None), "S3": (f"s3://{BUCKET}", options)}
        runs: dict[str, list[tuple[float, float]]] = {name: [] for name in places}
        for _ in range(chosen.runs):
            for name, (url, given) in places.items():
                runs[name].append(restored(url, given, dsn, jobs))
        report(runs)


@contextmanager
def s3_server(endpoint: str | None) -> Iterator[str]:
    """The URL of a server: the one that is named, or moto's, until the block ends."""
    if endpoint is not None:
        yield endpoint
        return
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with server:
        port = server.stdout.readline().strip() if server.stdout else ""
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            if server.stdin:
                server.stdin.close()


def report(runs: dict[str, list[tuple[float, float]]]) -> None:
    medians = {name: statistics.median(s for s, _ in found) for name, found in runs.items()}
    for name, found in runs.items():
        all_of_them = ", ".join(f"{seconds:.2f}" for seconds, _ in found)
        peak = max(peak for _, peak in found)
        print(f"  {name:5} {medians[name]:6.2f} s  peak {peak:4.0f} MB  ({all_of_them})")
    print(f"  S3 / disk {medians['S3'] / medians['disk']:.2f}, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
