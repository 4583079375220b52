"""Where connections come from: an own lazy pool, or the caller's."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Any

import psycopg
import psycopg_pool
from psycopg import IsolationLevel
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow, tuple_row
from psycopg_pool import ConnectionPool

from pgvector_restore.backoff import pauses
from pgvector_restore.db.conninfo import DEFAULTS, TargetLike, parse_target
from pgvector_restore.db.errors import server_errors
from pgvector_restore.db.interrupt import limited
from pgvector_restore.db.session import begin_reading
from pgvector_restore.errors import ConnectError, OptionError, PgvectorRestoreError

__all__ = [
    "Connection",
    "Target",
    "connect",
    "target_label",
]

#: A live connection, whatever its rows are made into.
Connection = psycopg.Connection[Any]

#: The driver prepares a statement that is run often, and a pooler may have given the session that
#: knows it to somebody else by then.
_UNPREPARED: dict[str, Any] = {"prepare_threshold": None}

#: Connections an own pool keeps at the most, and seconds it keeps one unused; a restore in place
#: uses one.
_MAX_CONNECTIONS, _KEPT_S = 8, 60.0
#: Seconds to wait for the first answer over a connection: a pooler may give it one to the server
#: only then.
_ANSWER_WAIT_S = 30.0
#: Seconds to wait for a pool, which meets dead connections one by one with pauses that double; then
#: all of them are checked at once.
_POOL_CHECK_S = 2.0
#: Seconds to wait for the threads of the own pool when it is closed: they may be logging in.
_CLOSING_S = 1.0


#: Seconds to wait for a second connection, which a restore can do without.
_SPARE_WAIT_S = 3.0
#: Seconds to wait for one that is needed, at the login and for the first answer each.
_SECOND_WAIT_S = 5.0


#: Attempts to connect, and seconds between them. A server that starts again after it has lost a
#: backend is back within half a second.
_ATTEMPTS, _FIRST_PAUSE_S, _LONGEST_PAUSE_S = 5, 0.1, 1.0
#: Seconds after which no further attempt begins: where nothing answers, each takes as long as
#: ``connect_timeout`` lets it.
_ATTEMPTS_S = 5.0


def connect(parameters: Mapping[str, Any]) -> psycopg.Connection[TupleRow]:
    """A connection of its own, tried a few times; the caller closes it.

    libpq gives no SQLSTATE for what goes wrong here. Only where a password was asked for it is
    certain that trying again is of no use.
    """
    end = time.monotonic() + _ATTEMPTS_S
    for pause in islice(pauses(_FIRST_PAUSE_S, _LONGEST_PAUSE_S), _ATTEMPTS - 1):
        try:
            return _connect(parameters)
        except psycopg.OperationalError as exc:
            pgconn = exc.pgconn
            if pgconn is not None and (pgconn.needs_password or pgconn.used_password):
                raise
            if time.monotonic() > end:
                raise
        time.sleep(pause)
    return _connect(parameters)


def _connect(parameters: Mapping[str, Any]) -> psycopg.Connection[TupleRow]:
    conn = psycopg.connect(**(_UNPREPARED | dict(parameters)))
    conn.isolation_level = IsolationLevel.READ_COMMITTED  # as for those of a pool
    return conn


class Target:
    """Connections to one database.

    Safe for several threads. A pool of its own is opened with the first use and closed with
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
        """A connection outside of any transaction that has just answered.

        One that has died, as all have once the server was restarted, is replaced.

        Raises:
            ConnectError: There is none to be had; the cause is chained.
        """
        with server_errors(), self._taken() as conn:
            yield conn

    def _pool(self) -> ConnectionPool[Any]:
        if self._borrowed is not None:
            return self._borrowed
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
                    max_idle=_KEPT_S,
                    open=True,
                    name="pgvector_restore",
                )
            return self._owned

    def _close_unused(self) -> None:
        """Close the own pool's connections; those in use are closed when they are given back."""
        with self._lock:
            pool, self._owned = self._owned, None
        if pool is not None:
            pool.close(timeout=_CLOSING_S)

    @contextmanager
    def _taken(self) -> Iterator[psycopg.Connection[Any]]:
        """One that answers. Those that have died go back, and the pool replaces them."""
        pool, conn = self._answering()
        try:
            with (
                _unprepared(conn),
                _read_committed(conn),
                conn,
            ):  # which does not close what belongs to a pool
                yield conn
        finally:
            pool.putconn(conn)

    def _answering(self) -> tuple[ConnectionPool[Any], psycopg.Connection[Any]]:
        end: float | None = None
        while True:
            pool = self._pool()
            end = end or time.monotonic() + pool.timeout
            try:
                conn = self._given(pool, max(end - time.monotonic(), 0.01))
            except psycopg_pool.PoolClosed:
                if pool is self._borrowed:
                    raise
                continue  # another call has closed what was unused
            try:
                _ask(conn, _ANSWER_WAIT_S)
            except psycopg.OperationalError:
                pool.putconn(conn)
                if time.monotonic() > end:
                    raise
            except BaseException:
                pool.putconn(conn)
                raise
            else:
                return pool, conn

    def _given(self, pool: ConnectionPool[Any], timeout_s: float) -> psycopg.Connection[Any]:
        patience = min(timeout_s, _POOL_CHECK_S)
        conn: psycopg.Connection[Any]
        try:
            conn = pool.getconn(timeout=patience)
        except psycopg_pool.PoolTimeout:
            if pool is not self._borrowed:
                self._say_why()
            elif pool.get_stats().get("pool_available"):
                # They may never answer: that is not waited for.
                check = threading.Thread(target=pool.check, name="pgvector_restore check")
                check.daemon = True
                check.start()
            try:
                conn = pool.getconn(timeout=max(timeout_s - patience, 0.01))
            except psycopg_pool.PoolTimeout:
                self._say_why()
                raise
        return conn

    def _say_why(self) -> None:
        """Raise what a connection fails with, if it does; a pool only tells that time is over."""
        params = self._local_parameters()
        if params is not None:
            _reach(_hurried(params, _SECOND_WAIT_S)).close()

    @property
    def parameters(self) -> dict[str, Any] | None:
        """What another process connects with; ``None`` for a pool that keeps it to itself."""
        if self._params is not None:
            return dict(self._params)
        pool = self._borrowed
        if pool is None or callable(pool.conninfo) or callable(pool.kwargs):
            return None
        return self._local_parameters()

    def _local_parameters(self) -> dict[str, Any] | None:
        """What this process connects with now: a pool may make it up for each connection."""
        if self._params is not None:
            return dict(self._params)
        pool = self._borrowed
        if pool is None:
            return None
        text: Any = pool.conninfo() if callable(pool.conninfo) else pool.conninfo
        kwargs: Any = pool.kwargs() if callable(pool.kwargs) else pool.kwargs
        mine = ("autocommit", "row_factory", "cursor_factory", "prepare_threshold", "context")
        given = {k: v for k, v in (kwargs or {}).items() if k not in mine}
        return DEFAULTS | conninfo_to_dict(text or "") | given

    @contextmanager
    def fresh(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection that is new: for when another one was lost, or is not enough.

        It does not come out of a borrowed pool, which may have one connection that is in use. The
        login and the first answer are waited for, for a few seconds each.

        Raises:
            ConnectError: There is none within that time.
        """
        self._close_unused()  # they may have died, and count where connections are limited
        params = _hurried(self._local_parameters() or {}, _SECOND_WAIT_S)
        with server_errors(), _reached(params, _SECOND_WAIT_S) as conn:
            yield conn

    def available(self, most: int) -> tuple[int, ConnectError]:
        """How many further connections can be used at the same time, and why there are no more.

        Each is in a transaction until all have answered: before that a pooler may let them take
        turns.

        Args:
            most: How many are asked for.
        """
        self._close_unused()
        params = _hurried(self._local_parameters() or {}, _SECOND_WAIT_S)
        probes = [_Probe(params, _SECOND_WAIT_S) for _ in range(most)]
        for probe in probes:
            probe.asked.wait(2 * _SECOND_WAIT_S + _ATTEMPTS_S)
        for probe in probes:
            probe.close()
        failed = [probe.error for probe in probes if probe.error is not None]
        found = sum(probe.answered for probe in probes)
        return found, failed[0] if failed else ConnectError("the server does not answer")

    @contextmanager
    def spare(self) -> Iterator[psycopg.Connection[Any] | None]:
        """A second connection in autocommit for a look beside, or ``None`` where none is free.

        Not to be called in a thread that has something else to do: logging in may take a while.
        """
        try:
            pool = self._pool()
            stats = pool.get_stats()
            if not stats.get("pool_available") and 0 < pool.max_size <= stats.get("pool_size", 0):
                yield None  # whoever waits for one comes first
                return
            conn: psycopg.Connection[Any] = pool.getconn(timeout=_SPARE_WAIT_S)
        except (
            psycopg.Error,
            psycopg_pool.PoolClosed,
            psycopg_pool.TooManyRequests,
            PgvectorRestoreError,  # it has been closed, or does not answer
        ):
            yield None
            return
        before = conn.autocommit
        try:
            conn.autocommit = True
            with _unprepared(conn):
                yield conn
        finally:
            if conn.pgconn.transaction_status == TransactionStatus.IDLE:
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
        """Close the own pool and its connections; a borrowed one is left alone."""
        with self._lock:
            self._closed = True
        self._close_unused()


@contextmanager
def _read_committed(conn: psycopg.Connection[Any]) -> Iterator[None]:
    """Each statement sees what was committed before it, whatever defaults or pools have it.

    A look at what the tables are, once they are locked, would else be one at what they were before.
    """
    before, conn.isolation_level = conn.isolation_level, IsolationLevel.READ_COMMITTED
    try:
        yield
    finally:
        if conn.pgconn.transaction_status == TransactionStatus.IDLE:  # else it was lost
            conn.isolation_level = before


@contextmanager
def _unprepared(conn: psycopg.Connection[Any]) -> Iterator[None]:
    """The driver prepares nothing in the block, whatever the pool's owner wants otherwise."""
    before, conn.prepare_threshold = conn.prepare_threshold, None
    try:
        yield
    finally:
        conn.prepare_threshold = before


class _Probe:
    """A thread that tries to have a connection, and keeps it for as long as the others try."""

    def __init__(self, params: Mapping[str, Any], wait_s: float) -> None:
        self._params = params
        self._wait_s = wait_s
        self._over = threading.Event()
        #: It is known whether there is one.
        self.asked = threading.Event()
        self.answered = False
        self.error: ConnectError | None = None
        self._thread = threading.Thread(target=self._run, name="pgvector_restore probe")
        self._thread.daemon = True
        self._thread.start()

    def _run(self) -> None:
        try:
            with server_errors(), _reached(self._params, self._wait_s, begin=True) as conn:
                self.answered = True
                self.asked.set()
                self._over.wait()
                conn.rollback()
        except ConnectError as exc:
            self.error = exc
        except PgvectorRestoreError as exc:
            self.error = ConnectError(exc.message, hint=exc.hint)
        finally:
            self.asked.set()

    def close(self) -> None:
        """Let the connection go."""
        self._over.set()
        self._thread.join(self._wait_s)


def _hurried(params: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """Parameters with which a login takes no longer than that."""
    given = str(params.get("connect_timeout") or "")
    most = math.ceil(seconds)
    timeout = min(int(given), most) if given.isdecimal() and int(given) > 0 else most
    return {**params, "connect_timeout": timeout}


def _ask(conn: psycopg.Connection[Any], seconds: float, *, begin: bool = False) -> None:
    """Have the server answer something that is nothing.

    Args:
        conn: Outside of any transaction.
        seconds: How long that may take.
        begin: In a transaction, which stays open.
    """
    with _unprepared(conn), limited(conn, seconds, "the first question over a connection"):
        if begin:
            conn.execute("")
        else:
            ConnectionPool.check_connection(conn)


def _reached(
    params: Mapping[str, Any], seconds: float, *, begin: bool = False
) -> psycopg.Connection[TupleRow]:
    """A connection of its own that has answered; as for :func:`_reach` and :func:`_ask`."""
    conn = _reach(params)
    try:
        _ask(conn, seconds, begin=begin)
    except BaseException:
        conn.close()
        raise
    return conn


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
            hint="check host, port, database, user, password and limits of connections",
        ) from exc


def target_label(conn: psycopg.Connection[Any]) -> str:
    """``user@host:port/dbname`` of a live connection: no password, no options."""
    info = conn.info
    host = info.host or "localhost"
    if host.startswith(("/", "@")):
        return f"{info.user}@[{host}]/{info.dbname}"
    return f"{info.user}@{host}:{info.port}/{info.dbname}"
