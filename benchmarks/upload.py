"""Backups to S3 over a network whose connections are slow.

A local S3 server stands behind a proxy that paces each connection and holds back answers, as a
network does to one that is far away; the table is in an embedded server. Backups are made to the
server as it is and through the proxy, in turn, each in a process of its own. Medians, and megabytes
a second of what was stored. On Linux only. As a script::

    python benchmarks/upload.py [--runs 5] [--rows 30000] [--dims 1536] [--folder build/remote]
                                [--mb-per-s 40] [--answer-ms 20]
                                [--endpoint URL --key KEY --secret SECRET]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import fsspec
from compare import served
from data import write_set
from remote import BUCKET, s3_server

from pgvector_restore import Restorer, open_store

#: One backup: seconds, and bytes that were stored.
BACKUP = """
import json, sys, time
from pgvector_restore import Backuper, open_store
url, options, dsn, kind = json.loads(sys.argv[1])
with Backuper(open_store(url, storage_options=options), dsn) as backuper:
    began = time.perf_counter()
    report = backuper.backup(format=kind)
    print(json.dumps([time.perf_counter() - began, report.size_bytes]))
"""

#: Bytes that are passed on at a time.
_PIECE_BYTES = 1 << 17
#: Seconds that a connection may make up for, as a pause is longer than was asked for.
_BEHIND_S = 0.02


class Network:
    """A proxy before a server of this machine, in a thread.

    Args:
        target: The server's URL.
        bytes_per_s: What one connection carries to the server.
        answer_s: Seconds an answer takes.
    """

    def __init__(self, target: str, bytes_per_s: float, answer_s: float) -> None:
        self._target = urlsplit(target)
        self._bytes_per_s = bytes_per_s
        self._answer_s = answer_s
        self._ready = threading.Event()
        self.endpoint = ""
        threading.Thread(target=asyncio.run, args=(self._serve(),), daemon=True).start()
        self._ready.wait()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0, limit=_PIECE_BYTES)
        self.endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._ready.set()
        await server.serve_forever()

    async def _connected(self, client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        answers, server = await asyncio.open_connection(self._target.hostname, self._target.port)
        with suppress(OSError):
            await asyncio.gather(self._pace(client, server), self._hold_back(answers, back))

    async def _pace(self, source: asyncio.StreamReader, goal: asyncio.StreamWriter) -> None:
        due = time.monotonic()
        while data := await source.read(_PIECE_BYTES):
            goal.write(data)
            await goal.drain()
            due = max(due, time.monotonic() - _BEHIND_S) + len(data) / self._bytes_per_s
            await asyncio.sleep(max(due - time.monotonic(), 0))
        goal.close()

    async def _hold_back(self, source: asyncio.StreamReader, goal: asyncio.StreamWriter) -> None:
        while data := await source.read(_PIECE_BYTES):
            await asyncio.sleep(self._answer_s)
            goal.write(data)
            await goal.drain()
        goal.close()


def backed_up(options: dict[str, object], dsn: str, kind: str, name: str) -> tuple[float, int]:
    given = json.dumps([f"s3://{BUCKET}/{name}", options, dsn, kind])
    done = subprocess.run(
        [sys.executable, "-c", BACKUP, given], check=True, capture_output=True, text=True
    )
    seconds, size = json.loads(done.stdout)
    return seconds, size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--rows", type=int, default=30_000)
    parser.add_argument("--dims", type=int, default=1536)
    parser.add_argument("--folder", type=Path, default=Path("build/remote"))
    parser.add_argument("--mb-per-s", type=float, default=40.0)
    parser.add_argument("--answer-ms", type=float, default=20.0)
    parser.add_argument("--endpoint")
    parser.add_argument("--key", default="benchmark")
    parser.add_argument("--secret", default="benchmark")
    chosen = parser.parse_args()
    root = chosen.folder / f"{chosen.rows}x{chosen.dims}"
    write_set(root, rows=chosen.rows, dims=chosen.dims, style="json")
    with s3_server(chosen.endpoint) as endpoint, served() as (_, dsn, version):
        with Restorer(open_store(root), dsn) as restorer:
            restorer.restore("latest")
        options: dict[str, object] = {"key": chosen.key, "secret": chosen.secret}
        files = fsspec.filesystem("s3", endpoint_url=endpoint, **options)
        if not files.exists(BUCKET):
            files.mkdir(BUCKET)
        network = Network(endpoint, chosen.mb_per_s * 1e6, chosen.answer_ms / 1e3)
        ways = {"without the network": endpoint, "over it": network.endpoint}
        print(f"PostgreSQL {version}, {chosen.mb_per_s:g} MB/s a connection", flush=True)
        for kind in ("csv", "binary"):
            runs: dict[str, list[tuple[float, int]]] = {way: [] for way in ways}
            for number in range(chosen.runs):
                for way, url in ways.items():
                    name = f"upload-{kind}-{number}-{len(way)}"
                    given = {**options, "endpoint_url": url}
                    runs[way].append(backed_up(given, dsn, kind, name))
                    files.rm(f"{BUCKET}/{name}", recursive=True)
            for way, found in runs.items():
                seconds = statistics.median(one for one, _ in found)
                rate = found[0][1] / seconds / 1e6
                print(f"  {kind:6} {way:20} {seconds:6.2f} s  {rate:4.0f} MB/s", flush=True)


if __name__ == "__main__":
    main()
