"""A connection lost during COMMIT: was it committed? Asked over another connection."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal

import psycopg
from attrs import frozen
from psycopg import sql
from psycopg.rows import tuple_row

from pgvector_restore.backoff import pauses
from pgvector_restore.db.interrupt import limited
from pgvector_restore.db.session import close_search_path
from pgvector_restore.errors import ConnectError, OutcomeUnknownError, TargetError

__all__ = ["Evidence", "Pending", "note", "resolve"]

_log = logging.getLogger(__name__)

#: A new connection to the same database, outside of any transaction.
Reconnect = Callable[[], AbstractContextManager[psycopg.Connection[Any]]]

#: Seconds until it stays unknown: a server that went down has recovered by then, or takes long.
_PATIENCE_S = 30.0
#: Seconds an answer may take; counting rows is the longest part of it.
_ANSWER_S = 30.0
#: Seconds between two questions: the first, and the longest.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 2.0


@frozen
class Evidence:
    """What a committed restore has left in one table."""

    #: Schema of the table.
    schema: str
    #: Its name.
    table: str
    #: The table's OID; ``None``: there is no such table any more.
    oid: int | None
    #: Rows that the transaction itself has put there; ``None``: others did, the OID has to do.
    rows: int | None
    #: The file it has put the table into; ``None``: that does not count.
    filenode: int | None = None


@frozen
class Pending:
    """A transaction whose COMMIT is about to be sent."""

    #: Its number, as ``pg_current_xact_id`` gives it.
    xact: str
    #: When the server was started.
    server_started: Any
    #: What it has left, if it was committed.
    evidence: tuple[Evidence, ...]


def note(cur: psycopg.Cursor[Any], evidence: Sequence[Evidence]) -> Pending:
    """Remember the transaction at hand; right before its COMMIT."""
    cur.execute("SELECT pg_current_xact_id()::text, pg_postmaster_start_time()")
    row = cur.fetchone() or ("", None)
    return Pending(row[0], row[1], tuple(evidence))


def resolve(
    pending: Pending, reconnect: Reconnect, lost: psycopg.Error, what: str = "the restore"
) -> None:
    """Find out what became of it; returns if it was committed.

    Args:
        pending: From :func:`note`.
        reconnect: Gives another connection.
        lost: The error COMMIT ended in; chained.
        what: What was to be committed, as a message says it.

    Raises:
        ConnectError: It was rolled back: nothing has changed.
        OutcomeUnknownError: It cannot be found out.
    """
    outcome = _ask_until_known(pending, reconnect)
    if outcome == "committed":
        _log.warning("connection was lost during COMMIT, which the server had carried out")
        return
    if outcome == "aborted":
        raise ConnectError(
            "connection was lost during COMMIT: the server has rolled back, nothing has changed",
            hint="try again",
        ) from lost
    raise OutcomeUnknownError(
        f"connection was lost during COMMIT: {what} happened or it did not",
        hint="compare the tables' row counts with the backup before you try again",
    ) from lost


_Outcome = Literal["committed", "aborted"]


def _ask_until_known(pending: Pending, reconnect: Reconnect) -> _Outcome | None:
    deadline = time.monotonic() + _PATIENCE_S
    for pause in pauses(_FIRST_PAUSE_S, _LONGEST_PAUSE_S):
        try:
            with (
                reconnect() as conn,
                limited(conn, _ANSWER_S, "the question what became of COMMIT"),
                conn.transaction(),
            ):
                outcome = _ask(psycopg.Cursor(conn, row_factory=tuple_row), pending)
        except (psycopg.OperationalError, TargetError):
            outcome = "in progress"  # so may be the server's own recovery
        if outcome != "in progress":
            return outcome if outcome in ("committed", "aborted") else None
        if time.monotonic() + pause > deadline:
            break
        time.sleep(pause)
    return None


def _ask(cur: psycopg.Cursor[Any], pending: Pending) -> Any:  # noqa: ANN401 - the server's word
    """``committed``, ``aborted``, ``in progress``, or ``None`` where nobody knows any more.

    After a crash the number alone proves nothing: a transaction of which no record had reached the
    disk is as good as never begun, and its number is given to another one.
    """
    close_search_path(cur)
    cur.execute("SELECT pg_xact_status(%s::xid8), pg_postmaster_start_time()", [pending.xact])
    status, started = cur.fetchone() or (None, None)
    if started == pending.server_started and status is not None:
        return status
    if status == "in progress":
        return status
    return "committed" if all(_found(cur, pending, one) for one in pending.evidence) else "aborted"


def _found(cur: psycopg.Cursor[Any], pending: Pending, evidence: Evidence) -> bool:
    name = sql.Identifier(evidence.schema, evidence.table)
    cur.execute("SELECT to_regclass(%s)::oid", [name.as_string(cur)])
    row = cur.fetchone()
    if row is None or row[0] != evidence.oid:
        return False
    if evidence.oid is None:
        return True
    if evidence.filenode is not None:
        cur.execute("SELECT pg_relation_filenode(%s)", [evidence.oid])
        return cur.fetchone() == (evidence.filenode,)
    if evidence.rows is None:
        return True
    # A row's xmin has the lower 32 bits of the number.
    cur.execute(
        sql.SQL("SELECT count(*) FROM {} WHERE xmin = %s::text::xid").format(name),
        [str(int(pending.xact) & 0xFFFFFFFF)],
    )
    found = cur.fetchone()
    return found is not None and found[0] == evidence.rows
