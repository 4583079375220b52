"""A restore by the service while 200 clients list its catalog of 10,000 sets.

Starts `pgvector-restore serve` as a process of its own and an embedded PostgreSQL, restores one
set some times without and with load, in turn, and tells how long requests and restores took. The
clients are one process: each asks for the whole catalog, page after page, over one connection,
and waits a while between two pages.

    python benchmarks/serving.py [--clients 200] [--sets 10000] [--json figures.json]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from catalog import make_tree
from compare import served
from data import write_set

TOKEN = "benchmark-" + "0" * 32
PAGE = 1000
#: Restores of a run without load, and as many with it: clients get through half of the catalog.
_RESTORES = 3


@contextmanager
def service(root: Path, dsn: str, state: Path) -> Iterator[tuple[int, int]]:
    """Port and process id of a service."""
    command = [sys.executable, "-m", "pgvector_restore", "serve", str(root), "--port", "0"]
    command += ["--dsn", dsn, "--state-dir", str(state)]
    environment = {**os.environ, "PGVECTOR_RESTORE_TOKEN": TOKEN}
    with (state / "log").open("w") as log:
        process = subprocess.Popen(
            command, env=environment, stdout=log, stderr=subprocess.STDOUT, text=True
        )
        try:
            yield _port(state / "log", process), process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def _port(log: Path, process: subprocess.Popen[str]) -> int:
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        found = re.search(r"listening on http://[^:]+:(\d+)", log.read_text())
        if found:
            return int(found[1])
        time.sleep(0.05)
    raise RuntimeError(log.read_text())


def ask(port: int, path: str, body: dict[str, Any] | None = None) -> Any:  # noqa: ANN401 - JSON
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}",
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=120) as answer:  # noqa: S310
        return json.load(answer)


def restore(port: int, label: str) -> float:
    """Seconds of a restore, as its report has them."""
    job = ask(port, "/api/v1/restores", {"label": label, "mode": "replace"})
    while job["state"] in ("queued", "running"):
        time.sleep(0.1)
        job = ask(port, f"/api/v1/jobs/{job['id']}")
    if job["state"] != "done":
        raise RuntimeError(job)
    return float(job["result"]["seconds"])


def memory_mb(pid: int) -> tuple[float, float]:
    """Memory of a process now, and at its peak."""
    status = Path(f"/proc/{pid}/status").read_text()
    now, peak = (re.search(rf"{name}:\s+(\d+) kB", status) for name in ("VmRSS", "VmHWM"))
    return (int(now[1]) / 1024 if now else 0.0, int(peak[1]) / 1024 if peak else 0.0)


# --- load: a process of its own ------------------------------------------------------------------


async def _client(port: int, pause_s: float, until: asyncio.Event, figures: dict[str, Any]) -> None:
    """Lists the catalog again and again. Plain sockets: the clients' own work should be little."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    cursor = None
    await asyncio.sleep(random.random() * pause_s)
    while not until.is_set():
        query = f"limit={PAGE}" + (f"&cursor={cursor}" if cursor else "")
        head = f"GET /api/v1/catalog?{query} HTTP/1.1\r\nHost: localhost\r\n"
        began = time.perf_counter()
        try:
            writer.write(f"{head}Authorization: Bearer {TOKEN}\r\n\r\n".encode())
            answer = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", answer.lower())
            body = await reader.readexactly(int(length[1]) if length else 0)
            good = answer.startswith(b"HTTP/1.1 200")
        except (OSError, asyncio.IncompleteReadError):
            good, body = False, b""
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        figures["seconds"].append(time.perf_counter() - began)
        figures["errors"] += not good
        figures["bytes"] += len(body)
        # The end is enough: reading the whole would make the clients the heaviest part.
        found = re.search(rb'"next_cursor":"([^"]+)"', body[-4000:])
        cursor = found[1].decode() if found else None
        await asyncio.sleep(pause_s)
    writer.close()


async def _load(port: int, clients: int, pause_s: float) -> dict[str, Any]:
    until = asyncio.Event()
    threading.Thread(
        target=lambda: (sys.stdin.read(), loop.call_soon_threadsafe(until.set)), daemon=True
    ).start()
    loop = asyncio.get_running_loop()
    figures: dict[str, Any] = {"seconds": [], "errors": 0, "bytes": 0}
    print("ready", flush=True)
    await asyncio.gather(*(_client(port, pause_s, until, figures) for _ in range(clients)))
    return figures


@contextmanager
def load(port: int, chosen: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Clients while the block runs; figures are there afterwards."""
    command = [sys.executable, __file__, "--load", str(port)]
    command += ["--clients", str(chosen.clients), "--pause", str(chosen.pause)]
    figures: dict[str, Any] = {}
    began = time.perf_counter()
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None  # noqa: S101 - they are pipes
        process.stdout.readline()
        yield figures
        out, _ = process.communicate("")
    figures.update(json.loads(out))
    figures["elapsed"] = time.perf_counter() - began


# --- figures -------------------------------------------------------------------------------------


def measure(port: int, pid: int, label: str, chosen: argparse.Namespace) -> dict[str, Any]:
    restore(port, label)  # workers and pages of files are warm from here on
    alone: list[float] = []
    loaded: list[float] = []
    total: dict[str, Any] = {"seconds": [], "errors": 0, "bytes": 0, "elapsed": 0.0}
    memory: list[float] = []
    for _ in range(chosen.runs):
        alone += [restore(port, label) for _ in range(_RESTORES)]
        with load(port, chosen) as figures:
            time.sleep(1)
            loaded += [restore(port, label) for _ in range(_RESTORES)]
            memory.append(memory_mb(pid)[0])
        for name in total:
            total[name] += figures[name]
    seconds = sorted(total["seconds"])
    return {
        "clients": chosen.clients,
        "sets": chosen.sets,
        "pause_s": chosen.pause,
        "requests": len(seconds),
        "requests_per_second": round(len(seconds) / total["elapsed"], 1),
        "errors": total["errors"],
        "megabytes": round(total["bytes"] / 1e6),
        "p50_ms": round(1000 * statistics.median(seconds), 1),
        "p99_ms": round(1000 * seconds[int(len(seconds) * 0.99)], 1),
        "max_ms": round(1000 * seconds[-1], 1),
        "restore_alone_s": [round(one, 2) for one in alone],
        "restore_loaded_s": [round(one, 2) for one in loaded],
        "ratio": round(statistics.median(loaded) / statistics.median(alone), 2),
        "ratio_of_best": round(min(loaded) / min(alone), 2),
        "rss_mb": [round(one) for one in memory],
        "rss_peak_mb": round(memory_mb(pid)[1]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--pause", type=float, default=2.0, help="seconds between two pages")
    parser.add_argument("--sets", type=int, default=10_000)
    parser.add_argument("--rows", type=int, default=20_000, help="rows of the set restored")
    parser.add_argument("--dims", type=int, default=1536)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--load", type=int, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.load:
        print(json.dumps(asyncio.run(_load(chosen.load, chosen.clients, chosen.pause))))
        return
    with tempfile.TemporaryDirectory() as folder, served() as (_, dsn, version):
        root, state = Path(folder, "store"), Path(folder, "state")
        state.mkdir()
        make_tree(root, chosen.sets - 1, 1000)
        write_set(root, rows=chosen.rows, dims=chosen.dims, style="json")
        print(f"PostgreSQL {version}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
        with service(root, dsn, state) as (port, pid):
            figures = measure(port, pid, "vector_bak/latest", chosen)
    print(json.dumps(figures, indent=2))
    if chosen.json:
        chosen.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
