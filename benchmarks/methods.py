r"""Ways to load one backup set into LangChain's tables: this package's, and others to compare with.

Each takes what it needs and returns seconds and, for processes of Python, peak memory in MB. As a
script it is the measured process of a method::

    python benchmarks/methods.py ours|existing ROOT DSN [OPTIONS]
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psycopg

__all__ = ["COLLECTION", "COLUMNS", "EMBEDDING", "child", "dump", "encode", "floor", "psql"]

COLLECTION, EMBEDDING = "langchain_pg_collection", "langchain_pg_embedding"
COLUMNS = {
    COLLECTION: "uuid, name, cmetadata",
    EMBEDDING: "id, collection_id, embedding, document, cmetadata",
}

#: What one run of a method came to.
Run = dict[str, float]


def ours(root: str, dsn: str, options: dict[str, Any]) -> float:
    """One restore; without simdjson where the options say so, as if it were not installed."""
    if not options.pop("fast"):
        sys.modules["simdjson"] = None  # type: ignore[assignment]
    from pgvector_restore import Restorer, open_store  # noqa: PLC0415 - this process only

    started = time.perf_counter()
    with Restorer(open_store(root), dsn) as restorer:
        restorer.restore("latest", mode="replace", **options)
    return time.perf_counter() - started


def existing(root: str, dsn: str) -> float:
    """The method that is replaced: csv, rewritten into a StringIO, COPY of that text."""
    import csv  # noqa: PLC0415 - this process only
    import io  # noqa: PLC0415 - this process only

    csv.field_size_limit(1 << 30)
    started = time.perf_counter()
    with psycopg.connect(dsn, autocommit=True) as conn:
        for table, columns in COLUMNS.items():
            (path,) = Path(root).rglob(f"{table}_*.csv")
            with path.open(encoding="utf-8", newline="") as file:
                rows = list(csv.reader(file))[1:]
            text = io.StringIO()
            csv.writer(text).writerows(rows)
            with conn.cursor().copy(f"COPY {table} ({columns}) FROM STDIN (FORMAT csv)") as copy:
                copy.write(text.getvalue())
    return time.perf_counter() - started


def child(*arguments: str) -> Run:
    """Run this file as a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, *arguments], check=False, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def psql(tools: Path, root: Path, dsn: str) -> Run:
    r"""``\copy`` of each file, one after the other."""
    commands = []
    for table, columns in COLUMNS.items():
        (path,) = root.rglob(f"{table}_*.csv")
        commands += ["-c", f"\\copy {table} ({columns}) FROM '{path}' (FORMAT csv, HEADER)"]
    return _timed([tools / "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", dsn, *commands])


def encode(encoded: Path, dsn: str) -> None:
    """Keep the rows that are there as the server encodes them."""
    with psycopg.connect(dsn) as conn:
        for table, columns in COLUMNS.items():
            statement = f"COPY {table} ({columns}) TO STDOUT (FORMAT binary)"
            with conn.cursor().copy(statement) as copy, (encoded / table).open("wb") as file:
                for data in copy:
                    file.write(data)


def floor(encoded: Path, dsn: str) -> Run:
    """Bytes of :func:`encode`, over one connection."""
    started = time.perf_counter()
    with psycopg.connect(dsn) as conn:
        for table, columns in COLUMNS.items():
            statement = f"COPY {table} ({columns}) FROM STDIN (FORMAT binary)"
            with conn.cursor().copy(statement) as copy, (encoded / table).open("rb") as file:
                while data := file.read(128 << 10):
                    copy.write(data)
    return {"seconds": time.perf_counter() - started}


def dump(tools: Path, out: Path, dsn: str) -> None:
    """Keep the tables as a dump in directory format, not compressed."""
    tables = ["-t", COLLECTION, "-t", EMBEDDING]
    command: list[str | Path] = [tools / "pg_dump", "-Fd", "-j2", "-Z0", *tables, "-f", out, dsn]
    subprocess.run(command, check=True, capture_output=True)


def pg_restore(tools: Path, dumped: Path, dsn: str) -> Run:
    """From a dump, two jobs; tables and indexes are created anew."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(f"DROP TABLE {EMBEDDING}, {COLLECTION}")
    return _timed([tools / "pg_restore", "-j2", "-d", dsn, dumped])


def _timed(command: list[str | Path]) -> Run:
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return {"seconds": time.perf_counter() - started}


def main() -> None:
    method, root, dsn, *options = sys.argv[1:]
    seconds = ours(root, dsn, json.loads(options[0])) if method == "ours" else existing(root, dsn)
    usage = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(json.dumps({"seconds": seconds, "peak_mb": max(u.ru_maxrss for u in usage) / 1024}))


if __name__ == "__main__":
    main()
