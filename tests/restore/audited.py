"""A program that uses a backup set under an audit hook; started by a test.

    python -m tests.restore.audited DSN GOOD HOSTILE WAY

It goes through the good store first, so that everything is imported that is imported at leisure,
then through the hostile one, and prints as JSON which programs were started and which code was
compiled or run meanwhile that is not a module's.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pgvector_restore import PgvectorRestoreError, Restorer, inspect_set, open_store

_PROGRAMS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.spawn")
_CODE = ("compile", "exec")


class Audit:
    """What was noticed while it was armed; an audit hook cannot be removed."""

    def __init__(self) -> None:
        self.armed = False
        self.noticed: list[str] = []
        sys.addaudithook(self.hook)

    def hook(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.armed:
            return
        if event in _PROGRAMS:
            self.noticed.append(event)
        elif event in _CODE:
            name = args[1] if event == "compile" else getattr(args[0], "co_filename", "")
            if isinstance(name, bytes):
                name = name.decode()
            if not (isinstance(name, str) and name.endswith(".py") and Path(name).is_file()):
                self.noticed.append(f"{event} {name}")


def restore(root: str, dsn: str, **options: Any) -> None:
    with Restorer(open_store(root), dsn) as restorer:
        restorer.restore(
            mode="replace",
            on_bad_row="quarantine",
            reject_dir=str(Path(root) / "rejects"),
            **options,
        )


def verify(root: str, dsn: str) -> None:
    with Restorer(open_store(root), dsn) as restorer:
        restorer.verify()


WAYS: dict[str, Callable[[str, str], object]] = {
    "in_place": lambda root, dsn: restore(root, dsn, strategy="in_place"),
    "in_place_content": lambda root, dsn: restore(root, dsn, verify="content"),
    "swap": lambda root, dsn: restore(root, dsn, strategy="swap", jobs=1),
    "text": lambda root, dsn: restore(root, dsn, strategy="in_place", wire="text"),
    "verify": verify,
    "inspect": lambda root, _: inspect_set(open_store(root)).to_dict(),
    "list": lambda root, _: [str(one) for one in open_store(root).catalog().sets],
    # What the hook must notice.
    "program": lambda *_: subprocess.run([sys.executable, "-c", ""], check=True),
    "code": lambda *_: eval("1 + 1"),  # noqa: S307
}


def main(dsn: str, good: str, hostile: str, way: str) -> None:
    audit = Audit()
    for root in (good, hostile):
        audit.armed = root == hostile
        try:
            WAYS[way](root, dsn)
            ended = None
        except PgvectorRestoreError as exc:
            ended = type(exc).__name__
        audit.armed = False
    print(json.dumps({"noticed": audit.noticed, "ended": ended}))  # noqa: T201 - the test reads it


if __name__ == "__main__":
    main(*sys.argv[1:])
