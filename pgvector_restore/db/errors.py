"""The boundary: what psycopg raises becomes what this package raises.

Decided by exception class and SQLSTATE, never by message text. Class alone has to do where the
server said nothing: a terminated backend or a cut network carry no SQLSTATE.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psycopg
import psycopg_pool

from pgvector_restore.errors import (
    ConnectError,
    PgvectorRestoreError,
    RowRejectedError,
    TargetBusyError,
    TargetError,
    TargetMismatchError,
)

__all__ = ["refused_bytes", "rejected_row", "server_errors", "server_hint"]

_Row = tuple[type[TargetError], str, str | None]

#: SQLSTATE (or its class) → error, message, hint. The longest match counts. Where there is no hint
#: the server's own is passed on.
_BY_STATE: dict[str, _Row] = {
    "08": (ConnectError, "connection to the server failed", None),
    "22": (TargetError, "server refused a value", None),
    "23": (TargetError, "server refused a row", None),
    "25P03": (ConnectError, "server ended a transaction that was silent for too long", None),
    "25P04": (
        ConnectError,
        "server ended a transaction at its transaction_timeout",
        "raise transaction_timeout of the role or the database",
    ),
    "25006": (TargetMismatchError, "server is read-only", "connect to the primary server"),
    "28": (ConnectError, "server refused the login", "check user, password and pg_hba.conf"),
    "3D000": (ConnectError, "database does not exist", None),
    "3F000": (TargetMismatchError, "schema does not exist", "create it first"),
    "0A000": (TargetMismatchError, "server cannot do this with the target", None),
    "2BP01": (TargetMismatchError, "other objects depend on the target", None),
    "40": (TargetBusyError, "collided with another transaction", "try again"),
    "42": (TargetError, "server refused a statement", None),
    "42501": (
        TargetMismatchError,
        "role lacks a privilege",
        "needed: INSERT, SELECT, TRUNCATE to replace, CREATE for new tables; SELECT to back up",
    ),
    "53100": (TargetError, "server has no disk space left", "make room, then try again"),
    "53200": (TargetError, "server is out of memory", None),
    "53300": (
        ConnectError,
        "server has no connection left",
        "wait for others to end, or raise the limit of the role, the database or the server",
    ),
    "55P03": (
        TargetBusyError,
        "somebody else holds a lock on the target",
        "wait for the other session, or raise lock_timeout_s",
    ),
    "57014": (TargetError, "server cancelled the statement", "was statement_timeout reached?"),
    "57P04": (ConnectError, "database is not there any more", None),
    "57P05": (
        ConnectError,
        "server ended a session that was silent for too long",
        "raise idle_session_timeout of the role or the database",
    ),
    "57P": (ConnectError, "server is shutting down or starting up", "try again in a moment"),
}


def _classify(exc: psycopg.Error) -> TargetError:
    state = exc.sqlstate
    if state is None:
        if isinstance(exc, psycopg.OperationalError):
            return ConnectError("connection to the server was lost")
        return TargetError(f"database driver failed: {type(exc).__name__}")
    for length in range(len(state), 1, -1):
        row = _BY_STATE.get(state[:length])
        if row is not None:
            cls, message, hint = row
            said = exc.diag.message_primary
            text = f"{message}: {said}" if said else message
            return cls(text, hint=hint or server_hint(exc), sqlstate=state)
    return TargetError(
        f"server error: {exc.diag.message_primary or state}",
        hint=server_hint(exc),
        sqlstate=state,
    )


def server_hint(exc: psycopg.Error) -> str | None:
    """The advice the server gives, on one line; none where it is to take other objects along."""
    if exc.sqlstate in _CASCADING:
        return None
    return " ".join((exc.diag.message_hint or "").split()) or None


@contextmanager
def server_errors() -> Iterator[None]:
    """Turn errors of the driver and of its pool into this package's own."""
    try:
        yield
    except PgvectorRestoreError:
        raise
    except psycopg_pool.PoolTimeout as exc:
        raise ConnectError(
            "no connection became free in the pool", hint="enlarge the pool or its timeout"
        ) from exc
    except (psycopg_pool.PoolClosed, psycopg_pool.TooManyRequests) as exc:
        raise ConnectError(f"the connection pool gives no connection: {exc}") from exc
    except psycopg.Error as exc:
        raise _classify(exc) from exc


def rejected_row(
    exc: psycopg.Error, table: str, columns: Sequence[str], file: str
) -> RowRejectedError | None:
    """The error for a row that the server refused while it was copied, or ``None``.

    The server counts lines of the COPY stream, one per record, and names line and column in the
    error's context. That text is read for the place only.
    """
    if exc.sqlstate is None or not exc.sqlstate.startswith((*_OF_ROWS, *_OF_VALUES)):
        return None
    record, column = None, exc.diag.column_name
    place = re.search(
        rf"^COPY {re.escape(table)}, \S+ (\d+)(?:, \S+ ([^:\n]+))?",
        exc.diag.context or "",
        re.MULTILINE,
    )
    if place is None and exc.sqlstate.startswith(_OF_VALUES):
        return None
    if place:
        record = int(place[1])
        column = column or (place[2] if place[2] in columns else None)
    return RowRejectedError(
        f"server refused the row: {exc.diag.message_primary}",
        hint=HINTS.get(exc.sqlstate) or server_hint(exc),
        file=file,
        record=record,
        column=column,
        sqlstate=exc.sqlstate,
        constraint=exc.diag.constraint_name,
    )


def refused_bytes(exc: psycopg.Error) -> bytes:
    """The character that the database cannot hold, as UTF-8; empty if it is another error.

    In COPY's text format rows are converted before they are cut into columns, so that the server
    names the line and the bytes, and no column. They are read out of its message, in any language.
    """
    if exc.sqlstate not in ("22021", "22P05"):
        return b""
    found = _BYTES.search(exc.diag.message_primary or "")
    return bytes(int(byte, 16) for byte in found[0].split()) if found else b""


_BYTES = re.compile(r"0x[0-9a-f]{2}(?: 0x[0-9a-f]{2})*")

#: Classes of SQLSTATE that speak of a row: its values, its keys, and (54) its size or depth.
_OF_ROWS = ("22", "23", "54")
#: What functions that read binary values raise, if it is said of a line: the value ends early
#: (08P01), is of another version (XX000), or its elements are of another type (42804).
_OF_VALUES = ("08P01", "XX000", "42804")

#: What the server refuses with the advice to add ``CASCADE``: rows and objects of others would go.
_CASCADING = frozenset(("0A000", "2BP01"))

#: What is known of a refused row, by SQLSTATE. No advice: old rows may be anybody's.
HINTS = {
    "22P05": "the database's encoding lacks this character; restore into a database in UTF8",
    "23503": "the row it refers to is neither in the backup nor in the database",
    "23505": "a row with this key is in the table already, or twice in the file",
}
