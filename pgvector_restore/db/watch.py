"""Figures of the server itself while a long command runs."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

from pgvector_restore.db.interrupt import ask_to_cancel, cut, limited
from pgvector_restore.db.session import close_search_path
from pgvector_restore.progress import ServerStep

__all__ = ["Connect", "Watcher"]

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

#: A second connection, in autocommit, or ``None`` where there is none to be had.
Connect = Callable[[], AbstractContextManager[psycopg.Connection[Any] | None]]

#: Commands shorter than this, in seconds, are not worth a connection.
_PATIENCE_S = 0.3
#: Seconds between two looks at whether a command has ended, or an answer has come.
_POLL_S = 0.1
#: Seconds an answer may take; after a question without one, seconds until the next: the first, and
#: the longest.
_ANSWER_S, _FIRST_PAUSE_S, _LONGEST_PAUSE_S = 2.0, 2.0, 60.0
#: Seconds that the end of everything waits for a question that is under way.
_LAST_ANSWER_S = 0.1
#: Seconds between two requests to cancel a command, and until its connection is cut.
_REQUEST_S, _REQUESTS_S = 1.0, 10.0


class Watcher:
    """Runs commands, and asks over a second connection how far they are.

    That is a convenience: it is asked in a thread of its own, and nobody waits for the answer.
    Close it.

    Args:
        connect: Where that connection comes from. It may take as long as it likes.
        tell: Called with each answer, in the thread that called :meth:`execute`. What it raises
            cancels the command.
        every_s: Seconds between two questions.
    """

    def __init__(
        self, connect: Connect, tell: Callable[[ServerStep], None], every_s: float = 0.5
    ) -> None:
        self._tell = tell
        self._every_s = every_s
        self._asker = _Asker(connect, every_s)

    def execute(
        self, cur: psycopg.Cursor[Any], statement: sql.SQL | sql.Composed, command: str
    ) -> None:
        """Run a statement; whatever it raises is raised here.

        Args:
            cur: Where to run it. Its connection must not be used by others meanwhile.
            statement: ``CREATE INDEX …``
            command: What it is called: ``CREATE INDEX name``.
        """
        outcome: list[BaseException] = []
        # Not what the connection was told at its login: a pooler may have told that.
        cur.execute("SELECT pg_catalog.pg_backend_pid()")
        (pid,) = cur.fetchone() or (0,)

        def run() -> None:
            try:
                cur.execute(statement)
            except BaseException as exc:  # noqa: BLE001 - raised in the thread that waits
                outcome.append(exc)

        thread = threading.Thread(target=run, name="pgvector_restore build", daemon=True)
        thread.start()
        try:
            thread.join(min(_PATIENCE_S, self._every_s))
            self._watch(thread, pid, command)
        except BaseException:
            _end(cur.connection, thread)
            raise
        if outcome:
            raise outcome[0]

    def _watch(self, thread: threading.Thread, pid: int, command: str) -> None:
        """Until the command has ended; tells of each answer once."""
        told: ServerStep | None = None
        while thread.is_alive():
            step = self._asker.latest(
                (pid, command), lambda conn: _create_index_step(conn, pid, command)
            )
            if step is not None and step is not told:
                self._tell(step)
                told = step
            thread.join(min(_POLL_S, self._every_s))

    def copied(self, pids: Sequence[int] = (), relids: Sequence[int] = ()) -> int | None:
        """Rows that running COPYs have processed, by backend or by table; asked now and then.

        ``None`` where the server has not answered yet or cannot.
        """
        return self._asker.latest(
            (tuple(pids), tuple(relids)), lambda conn: _copied(conn, pids, relids)
        )

    def close(self) -> None:
        """From now on nothing is asked, and no connection is used."""
        self._asker.close()


def _end(conn: psycopg.Connection[Any], thread: threading.Thread) -> None:
    """Cancel what a thread waits for on a connection; where that is not heard, cut it."""
    end = time.monotonic() + _REQUESTS_S
    while thread.is_alive():
        if time.monotonic() > end:
            cut(conn)
            thread.join(_REQUESTS_S)
            return
        ask_to_cancel(conn, _REQUEST_S)
        thread.join(_REQUEST_S)


class _Asker:
    """Asks one question again and again, in a thread of its own; the newest answer is at hand."""

    def __init__(self, connect: Connect, every_s: float) -> None:
        self._connect = connect
        self._every_s = every_s
        self._lock = threading.Lock()
        self._key: Hashable = None
        self._question: Callable[[psycopg.Connection[Any]], Any] | None = None
        self._answer: Any = None
        #: The connection a question was sent over.
        self._asked: psycopg.Connection[Any] | None = None
        self._thread: threading.Thread | None = None
        self._wanted = threading.Event()
        self._over = threading.Event()

    def latest(
        self, key: Hashable, question: Callable[[psycopg.Connection[Any]], _T | None]
    ) -> _T | None:
        """The newest answer, or ``None``; the question is asked again because of this call.

        Args:
            key: What it is about. An answer to another question is none.
            question: Asks it.
        """
        with self._lock:
            if self._over.is_set():
                return None
            if key != self._key:
                self._key, self._question, self._answer = key, question, None
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="pgvector_restore watch", daemon=True
                )
                self._thread.start()
            self._wanted.set()
            found: _T | None = self._answer
            return found

    def close(self) -> None:
        """End the thread. One that is about to log in ends by itself, and has nothing to do."""
        with self._lock:
            self._over.set()
            self._wanted.set()
            thread = self._thread
        if thread is None:
            return
        thread.join(_LAST_ANSWER_S)
        with self._lock:
            if self._asked is not None:
                cut(self._asked)
        thread.join(_LAST_ANSWER_S)

    def _run(self) -> None:
        pause = _FIRST_PAUSE_S
        while True:
            self._wanted.wait()
            self._wanted.clear()
            if self._over.is_set():
                return
            if self._ask():
                pause = _FIRST_PAUSE_S
                self._over.wait(self._every_s)
            else:
                self._over.wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_S)

    def _ask(self) -> bool:
        """Ask once; whether there was an answer."""
        with self._lock:
            key, question = self._key, self._question
        try:
            with self._connect() as conn:
                if conn is None or question is None:
                    return False
                try:
                    with limited(conn, _ANSWER_S, "a question about progress"):
                        with self._lock:
                            if self._over.is_set():
                                return False
                            self._asked = conn
                        answer = question(conn)
                finally:
                    with self._lock:
                        self._asked = None
        except Exception as exc:  # noqa: BLE001 - a convenience, whatever a pool may raise
            _log.debug("progress could not be asked for: %s", type(exc).__name__)
            return False
        with self._lock:
            if key == self._key:
                self._answer = answer
        return True


def _copied(
    conn: psycopg.Connection[Any], pids: Sequence[int], relids: Sequence[int]
) -> int | None:
    cur = psycopg.Cursor(conn, row_factory=tuple_row)
    with conn.transaction():
        close_search_path(cur)
        cur.execute(
            """
            SELECT coalesce(sum(tuples_processed), 0) FROM pg_catalog.pg_stat_progress_copy
            WHERE pid = ANY (%s) OR relid = ANY (%s)
            """,
            [list(pids), list(relids)],
        )
        row = cur.fetchone()
    return int(row[0]) if row else None


def _create_index_step(conn: psycopg.Connection[Any], pid: int, command: str) -> ServerStep | None:
    cur = psycopg.Cursor(conn, row_factory=tuple_row)
    with conn.transaction():
        close_search_path(cur)
        cur.execute(
            """
            SELECT phase, tuples_done, tuples_total, blocks_done, blocks_total
            FROM pg_catalog.pg_stat_progress_create_index WHERE pid = %s
            """,
            [pid],
        )
        row = cur.fetchone()
    if row is None:
        return None
    part, tuples_done, tuples_total, blocks_done, blocks_total = row
    if tuples_total or not blocks_total:
        return ServerStep(command, part, tuples_done, tuples_total, "rows")
    return ServerStep(command, part, blocks_done, blocks_total, "blocks")
