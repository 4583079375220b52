"""Settings of a transaction, made explicit: nothing depends on those of role or database."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql

__all__ = ["begin_reading", "close_search_path", "configure_session", "lift_limits"]

#: Names are qualified, policies raise instead of hiding rows, and no limit that was meant for an
#: application's statements ends a restore (``pg_restore`` sets them to 0 as well).
_SESSION = {
    "search_path": "",
    "client_encoding": "UTF8",
    "DateStyle": "ISO, YMD",
    "standard_conforming_strings": "on",
    "row_security": "off",
    # Else planning a query evaluates CHECKs of the table: code of its owner.
    "constraint_exclusion": "off",
    # Else names of types come in quotes.
    "quote_all_identifiers": "off",
}

#: The server ends a transaction whose client has been silent between two statements for so long:
#: its locks are in everybody's way. A client that is alive takes fractions of a second there.
_IDLE_TIMEOUT_S = 600

#: The first version that limits whole transactions.
_TRANSACTION_TIMEOUT_VERSION = 170_000


def configure_session(
    cur: psycopg.Cursor[Any], lock_timeout_s: float, statement_timeout_s: float | None = None
) -> None:
    """Settings for the current transaction only; COMMIT and ROLLBACK take them back.

    Args:
        cur: In a transaction.
        lock_timeout_s: Seconds a statement waits for a lock.
        statement_timeout_s: Seconds a statement may take; ``None``: any number.
    """
    settings = {
        **_no_limits(cur),
        "statement_timeout": _milliseconds(statement_timeout_s or 0),
        "idle_in_transaction_session_timeout": _milliseconds(_IDLE_TIMEOUT_S),
        "lock_timeout": _milliseconds(lock_timeout_s),
        **_SESSION,
    }
    for name, value in settings.items():
        # SET, not set_config(): a SELECT would take the transaction's snapshot.
        cur.execute(sql.SQL("SET LOCAL {} = {}").format(sql.Identifier(name), sql.Literal(value)))


def begin_reading(cur: psycopg.Cursor[Any]) -> None:
    """Nothing is written in this transaction, and nobody's is waited for.

    A serializable one that is DEFERRABLE, which a role may have as its default, waits with its
    first query for the end of all others.
    """
    cur.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED, READ ONLY")


def lift_limits(cur: psycopg.Cursor[Any]) -> None:
    """No limit of role or database ends this transaction; for as long as it is not configured."""
    for name, value in _no_limits(cur).items():
        cur.execute(sql.SQL("SET LOCAL {} = {}").format(sql.Identifier(name), sql.Literal(value)))


def _no_limits(cur: psycopg.Cursor[Any]) -> dict[str, str]:
    limits = {"statement_timeout": "0"}
    if cur.connection.info.server_version >= _TRANSACTION_TIMEOUT_VERSION:
        limits["transaction_timeout"] = "0"
    return limits


def close_search_path(cur: psycopg.Cursor[Any]) -> None:
    """Nothing but the server's own functions and operators, up to the end of the transaction.

    The owner of a database decides on the search path of everybody in it, and whoever may create
    functions in a schema of that path can offer one that fits a call better than the server's own.
    No statement may come before this one or :func:`configure_session`, except for those that
    qualify everything.
    """
    cur.execute("SET LOCAL search_path = ''")


def _milliseconds(seconds: float) -> str:
    return f"{round(seconds * 1000)}ms"
