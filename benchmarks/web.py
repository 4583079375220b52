"""Restores from a web server over a network whose connections are slow.

A web server of one process hands out the files of a folder, and ranges of them; a proxy before it
paces each connection and holds answers back, as a network does to a server that is far away. One
backup of one table is restored from the folder, from the server and through the proxy, in turn,
each in a process of its own, as CSV and in binary. Medians, megabytes a second of what is stored,
and the peak memory of the largest process. On Linux only. As a script::

    python benchmarks/web.py [--runs 5] [--rows 30000] [--dims 1536] [--folder build/web]
                             [--mb-per-s 40] [--answer-ms 20]
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from compare import served
from data import write_set
from memory import measured
from network import RESTORE, Network

from pgvector_restore import Backuper, Restorer, open_store


class Handler(SimpleHTTPRequestHandler):
    """Index pages, whole files, and the one range that is asked for."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
        """Nothing."""

    def do_GET(self) -> None:
        """Send a range as the system sends files; the rest is as it was."""
        path = Path(self.translate_path(self.path))
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "bytes=0-"))
        if not path.is_file() or wanted is None:
            super().do_GET()
            return
        with path.open("rb") as file:
            found = path.stat()
            start = int(wanted[1])
            end = min(int(wanted[2]) + 1, found.st_size) if wanted[2] else found.st_size
            is_range = "Range" in self.headers
            self.send_response(HTTPStatus.PARTIAL_CONTENT if is_range else HTTPStatus.OK)
            self.send_header("Content-Length", str(end - start))
            self.send_header("Last-Modified", self.date_time_string(found.st_mtime))
            if is_range:
                self.send_header("Content-Range", f"bytes {start}-{end - 1}/{found.st_size}")
            self.end_headers()
            with suppress(OSError):  # who goes over to ranges lets go of it
                self.connection.sendfile(file, start, end - start)


@contextmanager
def web_server(folder: Path) -> Iterator[str]:
    """The URL of a server of the folder."""
    process = subprocess.Popen(
        [sys.executable, __file__, "--serve", str(folder)], stdout=subprocess.PIPE, text=True
    )
    try:
        if process.stdout is None:
            raise OSError("the server says nothing")
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait()


def serve(folder: str) -> None:
    def handler(*given: object) -> Handler:
        return Handler(*given, directory=folder)  # type: ignore[arg-type]

    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
        server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--rows", type=int, default=30_000)
    parser.add_argument("--dims", type=int, default=1536)
    parser.add_argument("--folder", type=Path, default=Path("build/web"))
    parser.add_argument("--mb-per-s", type=float, default=40.0)
    parser.add_argument("--answer-ms", type=float, default=20.0)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.serve:
        serve(chosen.serve)
        return
    root = chosen.folder / f"{chosen.rows}x{chosen.dims}"
    write_set(root / "made", rows=chosen.rows, dims=chosen.dims, style="json")
    with served() as (_, dsn, version), web_server(root) as url:
        network = Network(url, chosen.mb_per_s * 1e6, chosen.answer_ms / 1e3)
        with Restorer(open_store(root / "made"), dsn) as restorer:
            restorer.restore("latest")
        print(f"PostgreSQL {version}, {chosen.mb_per_s:g} MB/s a connection", flush=True)
        for kind in ("csv", "binary"):
            if not (root / kind).exists():
                with Backuper(open_store(root / kind), dsn) as backuper:
                    backuper.backup(format=kind)
            size = sum(path.stat().st_size for path in (root / kind).rglob("*") if path.is_file())
            ways = {
                "from the folder": str(root / kind),
                "from the server": f"{url}/{kind}",
                "through the proxy": f"{network.endpoint}/{kind}",
            }
            runs: dict[str, list[tuple[float, float, float]]] = {}
            for _ in range(chosen.runs):
                for way, place in ways.items():
                    runs.setdefault(way, []).append(measured(RESTORE, place, None, dsn, {}))
            for way, found in runs.items():
                seconds = statistics.median(one[0] for one in found)
                peak = max(one[1] for one in found)
                rate = size / seconds / 1e6
                print(f"  {kind:6} {way:18} {seconds:6.2f} s {rate:5.0f} MB/s {peak:5.0f} MB")


if __name__ == "__main__":
    main()
