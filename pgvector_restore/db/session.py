"""Settings of a transaction, made explicit: nothing depends on those of role or database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

from pgvector_restore.errors import TargetMismatchError

__all__ = [
    "begin_reading",
    "close_search_path",
    "configure_session",
    "lift_limits",
    "resting",
    "set_lock_timeout",
]

#: What decides how the server reads and prints values and statements, and which rows it shows;
#: docs/settings.md says of every other setting why it cannot matter.
_SESSION = {
    # Names are qualified.
    "search_path": "",
    # Policies raise instead of hiding rows.
    "row_security": "off",
    # Values, read and printed.
    "client_encoding": "UTF8",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "timezone_abbreviations": "Default",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "array_nulls": "on",
    "lc_monetary": "C",
    "xmlbinary": "base64",
    "xmloption": "content",
    # Statements.
    "standard_conforming_strings": "on",
    "backslash_quote": "safe_encoding",
    "escape_string_warning": "off",
    "transform_null_equals": "off",
    # Else names of types come in quotes.
    "quote_all_identifiers": "off",
    # Else planning a query evaluates CHECKs of the table: code of its owner.
    "constraint_exclusion": "off",
    # Else a scan begins where somebody else's is, and a file is another one every time.
    "synchronize_seqscans": "off",
    # Else an index of that kind gives some of the rows that it has.
    "gin_fuzzy_search_limit": "0",
}

#: What only a superuser may set, for whomever he likes, and what it has to be. The first lets rows
#: pass that nothing refers to; the others make rows vanish that cannot be read.
_GUARDED = {
    "session_replication_role": "origin",
    "zero_damaged_pages": "off",
    "ignore_checksum_failure": "off",
}

#: The server ends a transaction whose client has been silent between two statements for so long:
#: its locks are in everybody's way. A client that is alive takes fractions of a second there.
_IDLE_TIMEOUT_S = 600

#: The server looks so often whether its client is still there while it works for it: a client that
#: has died leaves no build under its locks.
_LOOKS = {"client_connection_check_interval": "2s"}
#: What such a look needs where a line was cut: probes after half a minute of silence.
_PROBES = {
    "tcp_keepalives_idle": "30s",
    "tcp_keepalives_interval": "10s",
    "tcp_keepalives_count": "3",
}
#: The first version that looks.
_LOOKING_VERSION = 140_000
#: Connections to a server on whose machine that can be done, and to others.
_can_look: WeakKeyDictionary[psycopg.Connection[Any], bool] = WeakKeyDictionary()

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
    _set(cur, settings, then=sql.SQL("; ").join(map(_show, _GUARDED)))
    _guard(cur)
    _notice_a_dead_client(cur)


def _set(
    cur: psycopg.Cursor[Any], settings: Mapping[str, str], then: sql.Composable | None = None
) -> None:
    """Settings up to the end of the transaction, all with one message to the server."""
    # SET, not set_config(): a SELECT would take the transaction's snapshot. SHOW takes none either.
    statements = _statements(settings)
    if then is not None:
        statements += sql.SQL("; ") + then
    # Several statements cannot be prepared.
    cur.execute(statements, prepare=False)


def _show(name: str) -> sql.Composed:
    return sql.SQL("SHOW {}").format(sql.Identifier(name))


def _guard(cur: psycopg.Cursor[Any]) -> None:
    """Set back what a superuser has set for this role or database.

    Raises:
        TargetMismatchError: The role may not do that.
    """
    found = {}
    while True:
        if cur.description is not None:
            found[cur.description[0].name] = (cur.fetchone() or ("",))[0]
        if not cur.nextset():
            break
    for name, value in _GUARDED.items():
        if found.get(name) == value:
            continue
        try:
            with cur.connection.transaction():
                cur.execute(
                    sql.SQL("SET LOCAL {} = {}").format(sql.Identifier(name), sql.Literal(value))
                )
        except psycopg.errors.InsufficientPrivilege as exc:
            raise TargetMismatchError(
                f"{name} is {found.get(name)} for this role, and has to be {value}",
                hint=f"ALTER ROLE … RESET {name}, or ALTER DATABASE … RESET {name}",
                sqlstate=exc.sqlstate,
            ) from exc


@contextmanager
def resting(conn: psycopg.Connection[Any]) -> Iterator[None]:
    """Nothing is done on the connection until the block ends, and no limit ends it for that.

    It rests in a transaction, without a snapshot and without locks, which keeps nobody from
    anything. So what it needs is set for the transaction alone: a setting of the session would stay
    with a connection that belongs to somebody else, and could not keep ``idle_session_timeout``
    away from it behind a pooler.

    Args:
        conn: Outside of any transaction.
    """
    with conn.transaction():
        cur = psycopg.Cursor(conn, row_factory=tuple_row)
        _set(cur, {**_no_limits(cur), "idle_in_transaction_session_timeout": "0"})
        _notice_a_dead_client(cur)
        yield


def begin_reading(cur: psycopg.Cursor[Any]) -> None:
    """Nothing is written in this transaction, and nobody's is waited for.

    A serializable one that is DEFERRABLE, which a role may have as its default, waits with its
    first query for the end of all others.
    """
    cur.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED, READ ONLY")


def set_lock_timeout(cur: psycopg.Cursor[Any], seconds: float) -> None:
    """How long a statement waits for a lock, up to the end of the transaction."""
    cur.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(sql.Literal(_milliseconds(seconds))))


def lift_limits(cur: psycopg.Cursor[Any]) -> None:
    """No limit of role or database ends this transaction; for as long as it is not configured."""
    _set(cur, _no_limits(cur))


def _statements(settings: Mapping[str, str]) -> sql.Composed:
    return sql.SQL("; ").join(
        sql.SQL("SET LOCAL {} = {}").format(sql.Identifier(name), sql.Literal(value))
        for name, value in settings.items()
    )


def _notice_a_dead_client(cur: psycopg.Cursor[Any]) -> None:
    """The server ends this transaction soon after the client has gone, whatever it is doing.

    Not every system tells a server that a client has gone; there it refuses to be asked to look.
    """
    conn = cur.connection
    if conn.info.server_version < _LOOKING_VERSION:
        return
    known = _can_look.get(conn)
    if known is None:
        attempt = sql.SQL("SAVEPOINT looks; {}; RELEASE SAVEPOINT looks")
        try:
            cur.execute(attempt.format(_statements(_LOOKS | _PROBES)), prepare=False)
        except psycopg.errors.InvalidParameterValue:
            cur.execute("ROLLBACK TO SAVEPOINT looks; RELEASE SAVEPOINT looks", prepare=False)
            known = False
        else:
            known = True
        _can_look[conn] = known
    elif known:
        _set(cur, _LOOKS | _PROBES)


def _no_limits(cur: psycopg.Cursor[Any]) -> dict[str, str]:
    limits = {"statement_timeout": "0"}
    if cur.connection.info.server_version >= _TRANSACTION_TIMEOUT_VERSION:
        limits["transaction_timeout"] = "0"
    return limits


def close_search_path(cur: psycopg.Cursor[Any]) -> None:
    """Nothing but the server's own functions and operators, up to the end of the transaction.

    Names come in UTF-8, and no limit of role or database ends a look at the catalogs.

    The owner of a database decides on the search path of everybody in it, and whoever may create
    functions in a schema of that path can offer one that fits a call better than the server's own.
    No statement may come before this one or :func:`configure_session`, except for those that
    qualify everything.
    """
    # In a database without an encoding names would come as bytes.
    _set(cur, {"search_path": "", "client_encoding": "UTF8", **_no_limits(cur)})


def _milliseconds(seconds: float) -> str:
    return f"{round(seconds * 1000)}ms"
