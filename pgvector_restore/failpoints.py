"""Failpoints: places where a test may stop, end or watch a restore.

Nothing happens at them in normal use. The variable ``PGVECTOR_RESTORE_FAILPOINT``, which is read
here and once, when the package is imported, names one of them and what is to happen there::

    <point>[@<n>]=kill          SIGKILL to this process, at the n-th time in it (1 unless given)
    <point>[@<n>]=term          SIGTERM to this process
    <point>[@<n>]=stop:<path>   write <path>, then wait until <path>.go is there
    *=note:<path>               append the name of every point that is reached to <path>

``stop`` writes a JSON object: the ``point``, the ``pid`` of this process, and the process id of
the ``backend`` it is connected to (``null`` where the place has no connection at hand). Of
several processes that come by, the first one waits and the others go on.
"""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from pgvector_restore.errors import OptionError, quoted

__all__ = ["ENV_FAILPOINT", "POINTS", "Failpoint", "reach"]

#: Variable that sets off a failpoint.
ENV_FAILPOINT = "PGVECTOR_RESTORE_FAILPOINT"

#: Every failpoint, in the order of a restore, and where it is.
POINTS: dict[str, str] = {
    "connect": "the connection is there and nothing has been done with it",
    "claim.seen": "in place: no other restore has the tables, and they are not claimed yet",
    "claim": "the tables' names are claimed; in place, the tables are locked as well",
    "sweep": "a staging schema that was left behind is held and not yet dropped",
    "drop": "a staging schema is dropped and that is not committed",
    "create": "missing tables, or with a swap all staging tables, are created",
    "empty": "in place: the old rows are removed by TRUNCATE",
    "part.begin": "several connections: one of them is there for a part of a file",
    "load.begin": "the COPY of a table or part comes next",
    "load.block": "a block of rows has been given to the sending thread",
    "load.end": "the server has taken the last row of a table or part",
    "part.end": "several connections: a part of a file is committed to the staging table",
    "index.begin": "all rows are loaded and the first index comes next",
    "index.end": "indexes and constraints are built and the tables are analysed",
    "verify": "counts and files have been checked",
    "publish": "swap: everything is ready and the exchange comes next",
    "exchange.locked": "swap: the old tables are locked for the exchange",
    "exchange.dropped": "swap: the old tables are dropped or set aside and that is not committed",
    "exchange.moved": "swap: the new tables are in their place and that is not committed",
    "commit.before": "COMMIT comes next",
    "commit.after": "COMMIT has been answered",
    "reject.publish": "quarantine: COMMIT has been answered and the folder gets its name next",
    "revert.locked": "revert: both tables of each pair are locked and nothing has moved",
    "revert.moved": "revert: the tables are exchanged and that is not committed",
    "revert.commit": "revert: COMMIT comes next",
    "revert.done": "revert: COMMIT has been answered",
    "previous.locked": "dropping kept tables: they are locked and still there",
    "previous.dropped": "dropping kept tables: they are dropped and that is not committed",
    "previous.done": "dropping kept tables: COMMIT has been answered",
    "backup.snapshot": "backup: the tables are locked and the snapshot is taken",
    "backup.marker": "backup: the marker lies beside where the files will be",
    "backup.block": "backup: a block of rows has been read",
    "backup.file": "backup: a file is written, and not yet given its name",
    "backup.verify": "backup: all files are there and are compared next",
    "backup.publish": "backup: the manifest comes next",
    "backup.published": "backup: the manifest is there",
    "backup.emptied": "backup: the table is emptied and that is not committed",
    "backup.commit": "backup: the transaction has ended",
    "prune.proved": "prune: what stays is proved, and nothing is removed yet",
    "prune.marker": "prune: a set that goes bears its mark, and is whole",
    "prune.object": "prune: an object of a set is gone",
    "prune.objects": "prune: all objects of a set are gone, and its mark is there",
    "prune.set": "prune: nothing of a set is left",
    "prune.leftover": "prune: an object of what was unfinished is gone",
}

#: Seconds between two looks for the file that ends a stop.
_POLL_S = 0.005
#: Seconds after which a stop ends this process: whoever asked for it has gone.
_LONGEST_STOP_S = 120.0

_SPEC = re.compile(r"(?P<point>[a-z.]+|\*)(?:@(?P<nth>[1-9][0-9]*))?=(?P<action>[a-z]+)(?::(.+))?")


class _Reach(Protocol):
    def __call__(self, name: str, conn: Any = None, /) -> None:  # noqa: ANN401 - lowest layer
        """Be at a failpoint, with a connection or without."""


class Failpoint:
    """What the variable asks for.

    Args:
        spec: Its value.

    Raises:
        OptionError: It is no such thing. A test that misspells a point must not pass.
    """

    def __init__(self, spec: str) -> None:
        found = _SPEC.fullmatch(spec)
        action = _ACTIONS.get(found["action"]) if found else None
        if found is None or action is None:
            raise OptionError(f"{ENV_FAILPOINT} {quoted(spec)} is not understood")
        needs_path, everywhere, self._act = action
        self._point, self._nth, self._path = found["point"], int(found["nth"] or 1), found[4]
        known = self._point == "*" if everywhere else self._point in POINTS
        if not known or needs_path != bool(self._path):
            raise OptionError(
                f"{ENV_FAILPOINT} {quoted(spec)} is not understood",
                hint=f"points are {', '.join(POINTS)}",
            )
        self._lock = threading.Lock()
        self._seen = 0

    def reach(self, name: str, conn: Any = None, /) -> None:  # noqa: ANN401 - lowest layer
        """Do what was asked for, if this is the place and the time."""
        if name not in POINTS:
            raise OptionError(f"no failpoint is called {quoted(name)}")
        if self._point == "*":
            self._act(name, conn, self._path)
        elif self._point == name:
            with self._lock:
                self._seen += 1
                now = self._seen == self._nth
            if now:
                self._act(name, conn, self._path)


def _kill(_name: str, _conn: Any, _path: str) -> None:  # noqa: ANN401 - as above
    os.kill(os.getpid(), signal.SIGKILL)


def _term(_name: str, _conn: Any, _path: str) -> None:  # noqa: ANN401 - as above
    os.kill(os.getpid(), signal.SIGTERM)


def _note(name: str, _conn: Any, path: str) -> None:  # noqa: ANN401 - as above
    with Path(path).open("a", encoding="utf-8") as file:
        file.write(f"{name}\n")


def _stop(name: str, conn: Any, path: str) -> None:  # noqa: ANN401 - as above
    backend = None if conn is None else conn.info.backend_pid
    told, new = Path(path), Path(f"{path}.{os.getpid()}")
    new.write_text(json.dumps({"point": name, "pid": os.getpid(), "backend": backend}))
    try:
        os.link(new, told)  # whole or not at all, and only for the first one
    except FileExistsError:
        return
    finally:
        new.unlink()
    go, deadline = Path(f"{path}.go"), time.monotonic() + _LONGEST_STOP_S
    while not go.exists():
        if time.monotonic() > deadline:
            os._exit(1)
        time.sleep(_POLL_S)


#: Action → it takes a path, it happens at every point, what it does.
_ACTIONS: dict[str, tuple[bool, bool, Callable[[str, Any, str], None]]] = {
    "kill": (False, False, _kill),
    "term": (False, False, _term),
    "stop": (True, False, _stop),
    "note": (True, True, _note),
}


def _nothing(_name: str, _conn: Any = None, /) -> None:  # noqa: ANN401 - as above
    """A failpoint in normal use."""


def _from_environment() -> _Reach:
    spec = os.environ.get(ENV_FAILPOINT)
    return _nothing if spec is None else Failpoint(spec).reach


#: Called at each point with its name and, where there is one, the connection.
reach: _Reach = _from_environment()
