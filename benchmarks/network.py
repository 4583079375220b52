"""Backups to S3 and restores from it, over a network whose connections are slow.

A local S3 server stands behind a proxy that paces each connection and holds answers back, as a
network does to a storage that is far away; the database is an embedded server. Backups and restores
of one table go to the S3 server as it is and through the proxy, in turn, each in a process of its
own. Medians, megabytes a second of what is stored, and the peak memory of the largest process. On
Linux only. As a script::

    python benchmarks/network.py [--runs 5] [--rows 30000] [--dims 1536] [--folder build/remote]
                                 [--mb-per-s 40] [--answer-ms 20]
                                 [--endpoint URL --key KEY --secret SECRET]
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import threading
import time
from contextlib import suppress
from urllib.parse import urlsplit

import fsspec
from compare import served
from data import write_set
from memory import measured
from remote import BUCKET, add_arguments, s3_server

from pgvector_restore import Restorer, open_store

BACKUP = """
with Backuper(store, dsn) as backuper:
    began = time.perf_counter()
    backuper.backup(**given)
    print(time.perf_counter() - began)
"""
RESTORE = """
with Restorer(store, dsn) as restorer:
    began = time.perf_counter()
    restorer.restore("latest", mode="replace")
    print(time.perf_counter() - began)
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
            await asyncio.gather(
                self._pace(client, server, 0), self._pace(answers, back, self._answer_s)
            )

    async def _pace(
        self, source: asyncio.StreamReader, goal: asyncio.StreamWriter, delay_s: float
    ) -> None:
        due = passed = time.monotonic()
        while data := await source.read(_PIECE_BYTES):
            if time.monotonic() - passed > delay_s:  # the first piece of an answer
                await asyncio.sleep(delay_s)
            goal.write(data)
            await goal.drain()
            passed = time.monotonic()
            due = max(due, passed - _BEHIND_S) + len(data) / self._bytes_per_s
            await asyncio.sleep(max(due - time.monotonic(), 0))
        goal.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    parser.add_argument("--mb-per-s", type=float, default=40.0)
    parser.add_argument("--answer-ms", type=float, default=20.0)
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
            runs: dict[tuple[str, str], list[tuple[float, float, float]]] = {}
            for number in range(chosen.runs):
                for way, url in ways.items():
                    name = f"{BUCKET}/{kind}-{number}-{len(way)}"
                    given = {**options, "endpoint_url": url}
                    for what, code in (("backup", BACKUP), ("restore", RESTORE)):
                        asked = {"format": kind} if what == "backup" else {}
                        found = measured(code, f"s3://{name}", given, dsn, asked)
                        runs.setdefault((what, way), []).append(found)
                    size = files.du(name)
                    files.rm(name, recursive=True)
            for (what, way), all_found in runs.items():
                seconds = statistics.median(found[0] for found in all_found)
                peak = max(found[1] for found in all_found)
                rate = size / seconds / 1e6
                print(
                    f"  {kind:6} {what:7} {way:20} {seconds:6.2f} s {rate:5.0f} MB/s {peak:5.0f} MB"
                )


if __name__ == "__main__":
    main()
