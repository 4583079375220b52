"""A program that restores many times and tells what it holds on to; started by a test.

    python -m tests.faults.many DSN GOOD BAD TIMES

Both strategies, restorers that stay open and new ones, restores that succeed and that fail. It
prints what it holds after a fifth of the time and at the end: open files, threads, sessions of
the server, resident memory.
"""

from __future__ import annotations

import gc
import json
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from pgvector_restore import BadCellError, Restorer, open_store
from tests.restore.content import query

_SESSIONS = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'pgvector_restore'
"""

#: Sessions of a restorer that stays open.
_STAY = 2


def held(dsn: str) -> dict[str, int]:
    gc.collect()
    deadline = time.monotonic() + 10
    while (sessions := query(dsn, _SESSIONS)[0][0]) > _STAY and time.monotonic() < deadline:
        time.sleep(0.05)  # those that have been closed are still ending
    status = Path("/proc/self/status").read_text()
    kilobytes = next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))
    return {
        "files": len(list(Path("/proc/self/fd").iterdir())),
        "threads": threading.active_count(),
        "sessions": sessions,
        "rss_bytes": int(kilobytes) * 1024,
    }


def main(dsn: str, good: str, bad: str, times: int) -> None:
    samples = []
    with Restorer(open_store(good), dsn) as open_all_the_time:
        for number in range(times):
            strategy = ("in_place", "swap")[number % 2]
            if number % 10 == 9 - number // 10 % 2:  # each strategy in its turn
                with suppress(BadCellError), Restorer(open_store(bad), dsn) as fails:
                    fails.restore(mode="replace", strategy=strategy)
                    raise AssertionError
            elif number % 4 < 2:
                open_all_the_time.restore(mode="replace", strategy=strategy)
            else:
                with Restorer(open_store(good), dsn) as fresh:
                    fresh.restore(mode="replace", strategy=strategy)
            if number + 1 in (times // 5, times):
                samples.append(held(dsn))
    print(json.dumps(samples))  # noqa: T201 - the test reads it


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
