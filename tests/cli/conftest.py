"""The command line as users start it: a process of its own."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pgvector_restore.db import embedded

STORE = Path(__file__).resolve().parents[2] / "examples" / "training_data"
COMMAND = (sys.executable, "-X", "dev", "-W", "error", "-m", "pgvector_restore")
TIMEOUT_S = 240
CTRL_C = "\x03"


class Done(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The one JSON document on stdout; anything before or after it is an error."""
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found


Run = Callable[..., Done]


def run_command(*args: str | Path, **environment: str) -> Done:
    inherited = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    done = subprocess.run(
        [*COMMAND, *map(str, args)],
        check=False,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        env={**inherited, "PYTHONIOENCODING": "utf-8", **environment},
        timeout=TIMEOUT_S,
    )
    out, err = done.stdout.decode(), done.stderr.decode()
    assert "Traceback" not in err
    # In Python's development mode asyncio tells how long a step took, on a slow machine.
    return Done(done.returncode, out, re.sub(r"(?m)^warning: Executing <.*\n", "", err))


def run_on_terminal(*args: str | Path, answers: str = "") -> tuple[int, str]:
    """Run it on a terminal, answer its question, give back exit code and what was shown."""
    ours, theirs = os.openpty()
    if sys.platform != "win32":
        import fcntl  # noqa: PLC0415 - not there on Windows
        import termios  # noqa: PLC0415 - the same

        # A new terminal has no rows and columns, and no bar fits into that.
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    process = subprocess.Popen(
        [*COMMAND, *map(str, args)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
        start_new_session=True,
    )
    os.close(theirs)
    shown, answered, deadline = b"", not answers, time.monotonic() + TIMEOUT_S
    try:
        while time.monotonic() < deadline:
            if not select.select([ours], [], [], 0.2)[0]:
                continue
            try:
                block = os.read(ours, 65536)
            except OSError:  # Linux: the other side is closed
                break
            if not block:
                break
            shown += block
            if not answered and b"[y/N]" in shown:
                if answers == CTRL_C:  # it is no controlling terminal: the key sends nothing
                    process.send_signal(signal.SIGINT)
                else:
                    os.write(ours, answers.encode())
                answered = True
        return process.wait(TIMEOUT_S), shown.decode()
    finally:
        process.kill()
        process.wait()
        os.close(ours)


@pytest.fixture
def embedded_default() -> Iterator[Path]:
    """Data folder of the embedded server that is used for want of anything else."""
    place = embedded.default_data_dir()
    yield place
    embedded.stop(place)
