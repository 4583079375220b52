"""Figures of the server itself while a long command runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

from pgvector_restore.db.session import close_search_path
from pgvector_restore.progress import ServerStep

__all__ = ["Connect", "Watcher"]

#: A second connection, in autocommit, or ``None`` where there is none to be had.
Connect = Callable[[], AbstractContextManager[psycopg.Connection[Any] | None]]

#: Commands shorter than this, in seconds, are not worth a connection.
_PATIENCE_S = 0.3


class Watcher:
    """Runs commands, and asks over a second connection how far they are.

    Args:
        connect: Where that connection comes from.
        tell: Called with each answer, in the thread that called :meth:`execute`. What it raises
            cancels the command.
        every_s: Seconds between two questions.
    """

    def __init__(
        self, connect: Connect, tell: Callable[[ServerStep], None], every_s: float = 0.5
    ) -> None:
        self._connect = connect
        self._tell = tell
        self._every_s = every_s
        self._copied: int | None = None
        self._due = 0.0

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
            if thread.is_alive():
                self._watch(thread, pid, command)
            thread.join()
        except BaseException:
            with suppress(psycopg.Error):
                cur.connection.cancel_safe(timeout=5.0)
            thread.join()
            raise
        if outcome:
            raise outcome[0]

    def _watch(self, thread: threading.Thread, pid: int, command: str) -> None:
        with self._connect() as conn:
            while conn is not None and thread.is_alive():
                try:
                    step = _create_index_step(conn, pid, command)
                except psycopg.Error:  # the second connection is a convenience
                    return
                if step is not None:
                    self._tell(step)
                thread.join(self._every_s)

    def copied(self, pids: Sequence[int] = (), relids: Sequence[int] = ()) -> int | None:
        """Rows that running COPYs have processed, by backend or by table; asked now and then.

        ``None`` where the server has not been asked yet or could not be.
        """
        if time.monotonic() < self._due:
            return self._copied
        with suppress(psycopg.Error), self._connect() as conn:
            if conn is not None:
                self._copied = _copied(conn, pids, relids)
        self._due = time.monotonic() + self._every_s
        return self._copied


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
