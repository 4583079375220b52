"""Entry point of the command line: what goes wrong becomes a sentence and an exit code.

The commands are in :mod:`pgvector_restore.cli.app`, what they print in
:mod:`pgvector_restore.cli.output`. This module can be imported without the extra ``cli``.
"""

from __future__ import annotations

import io
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import NoReturn

from pgvector_restore.cli.text import UntoldError, drop, print_document, safe, tell, telling
from pgvector_restore.errors import CancelledError, OptionError, PgvectorRestoreError

__all__ = ["main", "run"]

#: Packages of the extra ``cli``.
_EXTRA = ("click", "rich", "tqdm")
#: Exit code of a wrong call; click has the same.
_WRONG_CALL = OptionError.exit_code
#: Exit code after Ctrl-C: 128 + SIGINT, as shells have it.
_INTERRUPTED = 130
#: What is asked for where telling is all that is done, without a command.
_HELP = frozenset(("-h", "--help", "--version"))
#: What ends a command; SIGHUP says that its terminal was closed.
_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
#: What to say of it while nothing was under way.
_NOTHING = "interrupted: nothing has changed"


def main() -> None:
    """Run the command line with this process's arguments, then exit."""
    _replace_missing_streams()
    before = {}
    for name in _SIGNALS:
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number and signal.getsignal(number) is not signal.SIG_IGN:  # as nohup and shells have it
            before[number] = signal.signal(number, _end_early)

    def started() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    try:
        code = run(sys.argv[1:], started=started)
    except KeyboardInterrupt:  # so early or so late that nothing was under way
        code = _INTERRUPTED
    sys.exit(code)


def _end_early(number: int, _frame: FrameType | None) -> NoReturn:
    """End at once: nothing is under way, and what is being imported might not let an error pass."""
    code = 128 + number
    error = {"type": "KeyboardInterrupt", "exit_code": code, "message": _NOTHING}
    _fail(error, as_json="--json" in sys.argv)
    with suppress(OSError):
        sys.stdout.flush()
    os._exit(code)


def run(args: Sequence[str], *, started: Callable[[], None] = lambda: None) -> int:
    """Run one command and give back its exit code; what was raised has been told on stderr.

    Args:
        args: The arguments.
        started: Called when all is imported, before the command runs.
    """
    try:
        for name in _EXTRA:
            import_module(name)
    except ImportError as exc:
        tell(f"error: the command line needs {exc.name or name}, which cannot be imported")
        tell('hint: pip install "pgvector_restore[cli]"')
        return _WRONG_CALL
    _replace_missing_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # no console is too old for a file's name
            stream.reconfigure(errors="replace")
    with _logging():
        code = _run(args, started)
        untold = _last_lines()
    return code or untold


def _last_lines() -> int:
    """Bring out what is left to tell, such as a help text; gives the exit code if it cannot be."""
    code = 0
    try:
        with telling():
            pass
    except UntoldError as exc:
        tell(f"error: {exc}")
        code = 1
    tell()
    return code


def _run(args: Sequence[str], started: Callable[[], None]) -> int:
    import click  # noqa: PLC0415 - an extra

    from pgvector_restore.cli.app import app  # noqa: PLC0415 - needs the extra

    try:
        started()
        # Not app.main(): that one ends the process when a pipe is closed.
        with app.make_context("pgvector-restore", list(args)) as ctx:
            app.invoke(ctx)
    except click.exceptions.Exit as exc:  # --help, --version
        return exc.exit_code
    except click.exceptions.NoArgsIsHelpError as exc:
        with suppress(OSError):
            exc.show()
        return exc.exit_code
    except (Exception, KeyboardInterrupt) as exc:  # noqa: BLE001 - a line instead of a traceback
        if isinstance(exc, OSError) and _HELP & set(args):
            drop(sys.stdout)
            if isinstance(exc, BrokenPipeError):
                return 0
            exc = UntoldError(f"cannot write to stdout: {exc.strerror}")
        return _fail(_describe(exc), as_json="--json" in args)
    return 0


def _describe(exc: BaseException) -> dict[str, object]:
    """What was raised, in the form of :meth:`PgvectorRestoreError.to_dict`."""
    import click  # noqa: PLC0415 - an extra

    from pgvector_restore.cli.watch import Interrupted  # noqa: PLC0415 - needs the extra

    if isinstance(exc, PgvectorRestoreError):
        return exc.to_dict() | {"message": str(exc)}
    if isinstance(exc, (Interrupted, click.Abort, KeyboardInterrupt)):
        words = str(exc) or _NOTHING
        code = getattr(exc, "exit_code", _INTERRUPTED) if str(exc) else _INTERRUPTED
        return {"type": "KeyboardInterrupt", "exit_code": code, "message": words}
    if isinstance(exc, UntoldError):
        return {"type": "OSError", "exit_code": 1, "message": str(exc)}
    if isinstance(exc, click.ClickException):
        words = exc.format_message().rstrip(".")
        error = {"type": "OptionError", "exit_code": exc.exit_code}
        error["message"] = words[:1].lower() + words[1:]
        if isinstance(exc, click.UsageError) and exc.ctx is not None:
            error["hint"] = f"see {exc.ctx.command_path} --help"
        return error
    if logging.getLogger("pgvector_restore").isEnabledFor(logging.DEBUG):
        tell(*"".join(traceback.format_exception(exc)).splitlines())
    name = type(exc).__name__
    return {"type": name, "exit_code": 1, "message": f"internal error: {name}: {exc}"}


def _fail(error: dict[str, object], *, as_json: bool) -> int:
    """Tell what went wrong; gives back the exit code."""
    plain = error["type"] in (CancelledError.__name__, "KeyboardInterrupt")
    message = str(error["message"])
    is_whole = plain or message.startswith("internal error: ")
    found = error.get("findings")
    for one in found if isinstance(found, list) else [error | {"message": message}]:
        text = str(one["message"])
        tell(text if is_whole else f"error: {text}")
        if hint := one.get("hint"):
            tell(f"hint: {hint}")
    if as_json:
        try:
            print_document({"ok": False, "error": error})
        except (OSError, ValueError):  # what went wrong is said, and decides the exit code
            drop(sys.stdout)
    code = error["exit_code"]
    return code if isinstance(code, int) else 1


class _LogFormatter(logging.Formatter):
    """Log lines like other lines on stderr: without secrets and control characters."""

    def format(self, record: logging.LogRecord) -> str:

        level = record.levelname.lower()
        return "\n".join(f"{level}: {safe(line)}" for line in super().format(record).splitlines())


@contextmanager
def _logging() -> Iterator[None]:
    """Log records on stderr: warnings always, others as far as ``--verbose`` asks for them."""
    root, ours = logging.getLogger(), logging.getLogger("pgvector_restore")
    level = ours.level

    def wanted(record: logging.LogRecord) -> bool:
        # What the driver does about a connection that is lost follows from what is told anyway.
        drivers = record.name.partition(".")[0] == "psycopg" and record.levelno < logging.ERROR
        return not drivers or ours.isEnabledFor(logging.DEBUG)

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_LogFormatter())
    handler.addFilter(wanted)
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        ours.setLevel(level)


def _replace_missing_streams() -> None:
    """Python has none where the process was started without; nothing here wants to know that."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - stays
