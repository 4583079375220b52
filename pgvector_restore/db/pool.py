"""Where connections come from: an own lazy pool, or the caller's."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import islice
from typing import Any

import psycopg
import psycopg_pool
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow, tuple_row
from psycopg_pool import ConnectionPool

from pgvector_restore.backoff import pauses
from pgvector_restore.db.errors import server_errors
from pgvector_restore.db.session import begin_reading
from pgvector_restore.errors import ConnectError, OptionError

__all__ = [
    "Connection",
    "Target",
    "TargetLike",
    "connect",
    "given_parameters",
    "parse_target",
    "public_conninfo",
    "target_label",
]

#: A live connection, whatever its rows are made into.
Connection = psycopg.Connection[Any]

#: What names a database: conninfo (URL or keywords), a mapping of libpq keywords, or a pool.
TargetLike = str | Mapping[str, Any] | ConnectionPool[Any]

#: Set unless the caller (or, for the first, the environment) set them. Without them a restore
#: hangs for ever on a network that swallows packets.
_DEFAULTS: dict[str, Any] = {
    "connect_timeout": 10,  # seconds
    "keepalives": 1,
    "keepalives_idle": 30,  # seconds of silence before the first probe
    "keepalives_interval": 10,  # seconds between probes
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,  # milliseconds sent data may stay unacknowledged
    "fallback_application_name": "pgvector_restore",
}

#: The driver prepares a statement that is run often, and a pooler may have given the session that
#: knows it to somebody else by then.
_UNPREPARED: dict[str, Any] = {"prepare_threshold": None}

_ALIASES = {"database": "dbname", "username": "user"}

#: Connections an own pool keeps at the most; a restore in place uses one.
_MAX_CONNECTIONS = 8


def parse_target(target: str | Mapping[str, Any]) -> dict[str, Any]:
    """Connection parameters from a conninfo string or a mapping, with timeouts filled in.

    URLs of SQLAlchemy (``postgresql+psycopg://…``) are understood.

    Raises:
        OptionError: It cannot be parsed. The text never repeats what was given: it may hold a
            password.
    """
    preset = dict(_DEFAULTS)
    if "PGCONNECT_TIMEOUT" in os.environ:
        del preset["connect_timeout"]
    return preset | given_parameters(target)


def given_parameters(target: str | Mapping[str, Any]) -> dict[str, Any]:
    """What a conninfo string or a mapping says itself; errors as for :func:`parse_target`."""
    try:
        if isinstance(target, str):
            scheme, separator, rest = target.partition("://")
            if separator and "=" not in scheme:  # a URL, not host=… password=…://…
                target = f"{scheme.partition('+')[0]}://{rest}"
            given = conninfo_to_dict(target)
            torn = bool(separator) and _is_torn(given)
        else:
            renamed = {_ALIASES.get(k, k): v for k, v in target.items() if v is not None}
            given = conninfo_to_dict(make_conninfo(**renamed))
            torn = False
        if torn or not set(str(given.get("port") or "")) <= set("0123456789,"):
            raise ValueError  # noqa: TRY301 - handled like what libpq itself refuses
    except (psycopg.Error, TypeError, ValueError):
        raise OptionError(
            "connection string cannot be parsed",
            hint="write postgresql://user:password@host:5432/dbname, with special characters "
            "percent-encoded, or host=… dbname=… user=…",
        ) from None
    return {k: v for k, v in given.items() if v is not None}


def _is_torn(given: Mapping[str, Any]) -> bool:
    """Whether a URL was cut in the wrong place: ``@ / ?`` in a password that is not encoded.

    What libpq then takes for host, port or database is a piece of the password, and its errors
    would show it.
    """
    host = str(given.get("host") or "")
    torn_name = "user" not in given and "@" in str(given.get("dbname") or "")
    return torn_name or "@" in host[1:]


#: What tells where a database is and no secret.
_SHOWN_KEYWORDS = ("service", "host", "hostaddr", "port", "dbname", "user", "sslmode")


def public_conninfo(target: TargetLike) -> str:
    """The connection as it may be shown: no password, nothing that is no address.

    Empty for a pool, and where libpq's variables say everything.
    """
    if isinstance(target, ConnectionPool):
        return ""
    given = parse_target(target)
    return make_conninfo("", **{name: given[name] for name in _SHOWN_KEYWORDS if name in given})


#: Seconds to wait for a second connection, which a restore can do without.
_SPARE_WAIT_S = 1.0


#: Attempts to connect, and seconds between them. A server that starts again after it has lost a
#: backend is back within half a second.
_ATTEMPTS, _FIRST_PAUSE_S, _LONGEST_PAUSE_S = 5, 0.1, 1.0


def connect(parameters: Mapping[str, Any]) -> psycopg.Connection[TupleRow]:
    """A connection of its own, tried a few times; the caller closes it.

    libpq gives no SQLSTATE for what goes wrong here. Only where a password was asked for it is
    certain that trying again is of no use.
    """
    for pause in islice(pauses(_FIRST_PAUSE_S, _LONGEST_PAUSE_S), _ATTEMPTS - 1):
        try:
            return _connect(parameters)
        except psycopg.OperationalError as exc:
            pgconn = exc.pgconn
            if pgconn is not None and (pgconn.needs_password or pgconn.used_password):
                raise
        time.sleep(pause)
    return _connect(parameters)


def _connect(parameters: Mapping[str, Any]) -> psycopg.Connection[TupleRow]:
    return psycopg.connect(**(_UNPREPARED | dict(parameters)))


class Target:
    """Connections to one database.

    Safe for several threads. An own pool is opened with the first use and closed with
    :meth:`close`; a borrowed one stays as it is.
    """

    def __init__(self, target: TargetLike) -> None:
        self._lock = threading.Lock()
        self._owned: ConnectionPool[psycopg.Connection[TupleRow]] | None = None
        self._params: dict[str, Any] | None = None
        self._borrowed: ConnectionPool[Any] | None = None
        self._closed = False
        if isinstance(target, ConnectionPool):
            self._borrowed = target
        elif isinstance(target, (str, Mapping)):
            self._params = parse_target(target)
        else:
            raise OptionError(
                f"a target is a connection string, a mapping or a ConnectionPool, "
                f"not {type(target).__name__}"
            )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {'borrowed pool' if self._borrowed else 'own pool'}>"

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection outside of any transaction, returned to its pool at the end.

        Raises:
            ConnectError: There is none to be had; the cause is chained.
        """
        with server_errors():
            pool = self._borrowed or self._own_pool()
            with ExitStack() as stack:
                try:
                    conn = stack.enter_context(pool.connection())
                except psycopg_pool.PoolTimeout:
                    if self._params is not None:
                        _reach(self._params).close()  # says why
                    raise
                before, conn.prepare_threshold = conn.prepare_threshold, None
                stack.callback(setattr, conn, "prepare_threshold", before)
                yield conn

    @property
    def parameters(self) -> dict[str, Any] | None:
        """What another process connects with; ``None`` for a pool that keeps it to itself."""
        if self._params is not None:
            return dict(self._params)
        pool = self._borrowed
        if pool is None or not isinstance(pool.conninfo, str) or not isinstance(pool.kwargs, dict):
            return None  # both may be functions that make them up for each connection
        mine = ("autocommit", "row_factory", "cursor_factory", "prepare_threshold", "context")
        given = {k: v for k, v in pool.kwargs.items() if k not in mine}
        return _DEFAULTS | conninfo_to_dict(pool.conninfo) | given

    @contextmanager
    def fresh(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection that is new, where one can be made, for when another one was lost."""
        params = self.parameters
        if params is None:
            with self.connection() as conn:
                yield conn
        else:
            with server_errors(), _reach(params) as conn:
                yield conn

    @contextmanager
    def spare(self) -> Iterator[psycopg.Connection[Any] | None]:
        """A second connection in autocommit for a look beside, or ``None`` where none is free."""
        pool = self._borrowed or self._own_pool()
        try:
            conn = pool.getconn(timeout=_SPARE_WAIT_S)
        except (psycopg.Error, psycopg_pool.PoolClosed, psycopg_pool.TooManyRequests):
            yield None
            return
        before = conn.autocommit
        try:
            conn.autocommit = True
            yield conn
        finally:
            if not conn.closed:
                conn.autocommit = before
            pool.putconn(conn)

    @contextmanager
    def reading(self) -> Iterator[psycopg.Cursor[Any]]:
        """A cursor in a transaction that cannot write."""
        with self.connection() as conn, conn.transaction():
            cur = psycopg.Cursor(conn, row_factory=tuple_row)
            begin_reading(cur)
            yield cur

    def close(self) -> None:
        """Close the own pool and its connections; a borrowed pool is left alone."""
        with self._lock:
            self._closed = True
            pool, self._owned = self._owned, None
        if pool is not None:
            pool.close()

    def _own_pool(self) -> ConnectionPool[psycopg.Connection[TupleRow]]:
        with self._lock:
            if self._closed:
                raise OptionError("this restorer has been closed")
            if self._owned is None:
                params = dict(self._params or {})
                # A pool retries in the background and reports a timeout; a direct attempt says
                # at once what is wrong.
                _reach(params).close()
                self._owned = ConnectionPool(
                    kwargs=_UNPREPARED | params,
                    min_size=0,
                    max_size=_MAX_CONNECTIONS,
                    max_idle=60.0,
                    check=ConnectionPool.check_connection,  # a server may have been restarted
                    open=True,
                    name="pgvector_restore",
                )
            return self._owned


def _reach(params: Mapping[str, Any]) -> psycopg.Connection[TupleRow]:
    """A connection of its own.

    Raises:
        ConnectError: There is none; says why in libpq's words, which hold no password.
    """
    try:
        return connect(params)
    except psycopg.OperationalError as exc:
        words = str(exc).partition("\n")[0].removeprefix("connection failed: ")
        raise ConnectError(
            f"no connection to the database: {words or type(exc).__name__}",
            hint="check host, port, database, user and password",
        ) from exc


def target_label(conn: psycopg.Connection[Any]) -> str:
    """``user@host:port/dbname`` of a live connection: no password, no options."""
    info = conn.info
    host = info.host or "localhost"
    if host.startswith(("/", "@")):
        return f"{info.user}@[{host}]/{info.dbname}"
    return f"{info.user}@{host}:{info.port}/{info.dbname}"
