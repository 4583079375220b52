"""Executors of callers: what their workers have, how parts go there, and what went wrong there.

Nothing is known of an executor but that it is one. Its workers may be on other machines, may lack
this package, and may be lost; a lost one's tasks may run again.
"""

from __future__ import annotations

import os
import pickle
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Executor,
    Future,
    wait,
)
from concurrent.futures import CancelledError as FutureCancelledError
from importlib import metadata
from importlib.util import find_spec
from typing import Any

from attrs import frozen

from pgvector_restore._version import __version__
from pgvector_restore.errors import (
    BadDataError,
    CancelledError,
    ExecutorError,
    PgvectorRestoreError,
)
from pgvector_restore.pieces import Loaded, Task, load_part

__all__ = ["ask_workers", "execute", "failure", "refusal", "send"]

_NAME = "pgvector_restore"

#: Seconds until a worker has to have answered. A cluster may have to start one.
_FIRST_ANSWER_S = 60.0
#: Seconds that the others are given after the first answer; they may be busy with other tasks.
_FURTHER_ANSWERS_S = 3.0
#: Seconds that a question takes a worker, so that the next one goes to another.
_LINGER_S = 0.05
#: Seconds between two looks at whether it was called off.
_POLL_S = 0.2

#: What helps against a process that was killed.
_MEMORY = (
    "the system kills processes when memory runs out: fewer jobs need less, "
    "and with jobs=1 there are no workers"
)


def ask_workers(executor: Executor, count: int, check: Callable[[], None]) -> None:
    """Ask the workers whether they have this package, in this version.

    A worker that cannot unpickle a task because it lacks the package may die of it, and its
    executor wait for ever. The questions are made of the standard library alone.

    Args:
        executor: The executor.
        count: Questions that are asked at a time.
        check: Called again and again; what it raises ends the waiting.

    Raises:
        ExecutorError: A worker lacks the package, has another version of it, or none answers.
        CancelledError: The executor has been shut down.
    """
    known = {__version__, _installed_version()}
    try:
        answers = _ask(executor, _importable_version, count, check)
    except ImportError:  # it need not be installed: a folder on the path of modules will do
        try:
            answers = _ask(executor, _importable, count, check)
        except ImportError:  # some loader forbids it
            answers = _ask(executor, lambda: iter([(False, None)]), count, check)
    for answer in answers:
        if not answer.importable:
            raise _missing(_NAME, answer)
        if answer.version is not None and answer.version not in known:
            raise _another_version(answer.version, answer)


# What follows is made of functions of the standard library that call each other where they are
# iterated over: ``map`` and ``iter(function, None)`` are pickled as what they are made of.


def _importable_version() -> Iterator[object]:
    return zip(map(bool, map(find_spec, [_NAME])), map(metadata.version, [_NAME]), strict=False)


def _importable() -> Iterator[object]:
    return zip(map(bool, map(find_spec, [_NAME])), [None], strict=False)


def _another_version(found: str, where: object) -> ExecutorError:
    return ExecutorError(
        f"{_NAME} is {found} where the executor runs tasks and {__version__} here: {where}",
        hint="install the same version on both sides",
    )


def _installed_version() -> str | None:
    try:
        return metadata.version(_NAME)
    except metadata.PackageNotFoundError:
        return None


@frozen
class _Place:
    """A process on a machine."""

    host: str
    pid: int

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


@frozen
class _Answer(_Place):
    """What a worker says of itself."""

    #: The package can be imported there.
    importable: bool
    #: Its version; ``None`` where it is not installed.
    version: str | None


def _here() -> _Place:
    return _Place(socket.gethostname(), os.getpid())


def _ask(
    executor: Executor,
    question: Callable[[], Iterator[object]],
    count: int,
    check: Callable[[], None],
) -> list[_Answer]:
    """Ask several workers at a time; those that do not answer soon after the first are left out.

    Raises:
        ImportError: What one of them has answered.
    """
    pending = {
        submit(
            executor,
            list,
            zip(
                iter(socket.gethostname, None),
                iter(os.getpid, None),
                question(),
                map(time.sleep, [_LINGER_S]),
                [secrets.token_hex(8)],  # questions that are alike may be asked once for all
                strict=False,
            ),
        )
        for _ in range(count)
    }
    answers: list[_Answer] = []
    deadline = time.monotonic() + _FIRST_ANSWER_S
    try:
        while pending and time.monotonic() < deadline:
            wait(pending, _POLL_S, FIRST_COMPLETED)
            check()
            for future in [future for future in pending if future.done()]:
                pending.discard(future)
                answers += [
                    _Answer(host, pid, *found) for host, pid, found, *_ in _result(future, executor)
                ]
                deadline = min(deadline, time.monotonic() + _FURTHER_ANSWERS_S)
    finally:
        for future in pending:
            future.cancel()
    if not answers:
        raise ExecutorError(
            f"no worker of the executor has answered within {_FIRST_ANSWER_S:g} s",
            hint="look whether it has workers, and whether they are free",
        )
    return answers


def _result(future: Future[Any], executor: Executor) -> Any:  # noqa: ANN401 - whatever was asked for
    try:
        return future.result()
    except ImportError:
        raise
    except (Exception, FutureCancelledError) as exc:
        raise failure(exc, executor) from exc


def submit(executor: Executor, function: Callable[..., Any], *args: object) -> Future[Any]:
    """Submit a task.

    Raises:
        CancelledError: The executor has been shut down.
        ExecutorError: It takes no tasks for another reason.
    """
    try:
        return executor.submit(function, *args)
    except Exception as exc:  # whatever an executor raises
        raise refusal(exc) from exc


def refusal(exc: Exception) -> PgvectorRestoreError:
    """What an executor means that does not take a task."""
    if isinstance(exc, BrokenExecutor):
        return _killed(exc)
    if isinstance(exc, RuntimeError):
        return CancelledError("the executor was shut down: nothing has changed")
    return ExecutorError(f"the executor takes no tasks: {type(exc).__name__}")


def send(executor: Executor, task: Task) -> Future[Loaded]:
    """Submit a part as bytes, which are unpickled where it is loaded.

    A worker without this package raises an error then, and stays alive.
    """
    import cloudpickle  # noqa: PLC0415 - takes a while, and is rarely needed

    data = cloudpickle.dumps(task)
    return submit(executor, pickle.loads, pickle.dumps(_Call(__version__, data, _here())))


@frozen
class _Call:
    """Is unpickled as the result of :func:`execute`."""

    version: str
    data: bytes
    sender: _Place

    def __reduce__(self) -> tuple[object, ...]:
        return execute, (self.version, self.data, self.sender.host, self.sender.pid)


def execute(version: str, data: bytes, host: str, pid: int) -> Loaded:
    """Load a part where an executor wants it to be.

    Args:
        version: That of this package at the sender.
        data: The task, pickled.
        host: Name of the sender's machine.
        pid: The sender's process.

    Raises:
        ExecutorError: Another version is here, or something unexpected has gone wrong.
        PgvectorRestoreError: Loading failed; what is not about the data names the machine.
    """
    here = _here()
    if version != __version__:
        raise ExecutorError(
            f"{_NAME} is {__version__} where the executor runs tasks and {version} at the sender: "
            f"{here}",
            hint="install the same version on both sides",
        )
    try:
        task: Task = pickle.loads(data)  # noqa: S301 - it comes from the sender of this very call
        return load_part(task)
    except BadDataError:
        raise
    except PgvectorRestoreError as exc:
        if here != _Place(host, pid):
            exc.message += f" (worker: {here})"
        raise
    except ImportError as exc:
        raise _missing(exc.name, here) from exc
    except Exception as exc:
        raise ExecutorError(f"a part failed with {type(exc).__name__}: {here}") from exc


def failure(exc: BaseException, executor: Executor | None) -> PgvectorRestoreError:
    """What has become of a task, as an error of ours.

    Args:
        exc: What the task's future raises.
        executor: Where it was; ``None``: one of our own.
    """
    if isinstance(exc, PgvectorRestoreError):
        return exc
    if isinstance(exc, FutureCancelledError):
        return _given_up(executor)
    if isinstance(exc, BrokenExecutor):
        return _killed(exc)
    last = getattr(exc, "last_worker", None)
    if last is not None:  # of a scheduler that has tried several
        where = getattr(last, "address", last)
        return ExecutorError(
            f"all workers that loaded a part were lost, the last one at {where}", hint=_MEMORY
        )
    if isinstance(exc, ImportError):
        return _missing(exc.name)
    return ExecutorError(f"a part failed with {type(exc).__name__} in the executor")


def _missing(module: str | None, where: _Place | None = None) -> ExecutorError:
    package = (module or "a package").partition(".")[0]
    place = "" if where is None else f": {where}"
    return ExecutorError(
        f"{package} cannot be imported where the executor runs tasks{place}",
        hint=f"install {_NAME} {__version__} there, with what it needs",
    )


def _killed(_: BrokenExecutor) -> ExecutorError:
    return ExecutorError(
        f"a worker process on {socket.gethostname()} was killed or has crashed", hint=_MEMORY
    )


def _given_up(executor: Executor | None) -> PgvectorRestoreError:
    """Nobody here has cancelled the task: its executor was shut down, or has lost its workers."""
    try:
        if executor is not None:
            executor.submit(os.getpid).cancel()
    except BrokenExecutor as exc:
        return _killed(exc)
    except RuntimeError as exc:
        return refusal(exc)
    except Exception:  # noqa: BLE001, S110 - whatever an executor raises that has lost everything
        pass
    return ExecutorError(
        "the executor has given up tasks: its scheduler is gone, or somebody has cancelled them",
        hint="look whether its scheduler and its workers are alive",
    )
