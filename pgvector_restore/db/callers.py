"""Connections that callers of a service name: what of them is accepted, and whom they mean."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from typing import Any

import psycopg
from psycopg import pq
from psycopg.rows import tuple_row

from pgvector_restore.db.conninfo import given_parameters, parse_target
from pgvector_restore.db.interrupt import limited
from pgvector_restore.db.ledger import database_identity
from pgvector_restore.db.session import close_search_path
from pgvector_restore.errors import ConnectError, OptionError

__all__ = ["address", "caller_parameters", "identity", "means", "reachable"]

#: Everything a caller may say. Other keywords name files of this machine (``sslrootcert``,
#: ``passfile``, ``sslkeylogfile``, ``service``) or change what the session does (``options``).
_KEYWORDS = ("host", "port", "dbname", "user", "password", "sslmode", "connect_timeout")
#: Keywords without which libpq would look into the environment or guess.
_REQUIRED = ("host", "dbname", "user", "password")
#: Longest connect_timeout a caller gets, seconds.
_LONGEST_TIMEOUT_S = 60
#: Seconds a look at a server may take.
_LOOK_TIMEOUT_S = 3
_PORT = "5432"
_HIGHEST_PORT = 65535
_DIGITS = re.compile("[0-9]{1,9}")
#: https://www.postgresql.org/docs/current/libpq-ssl.html
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
#: Longest name of a database or a role, bytes (``NAMEDATALEN``).
_NAME_BYTES = 63
#: What both must say themselves for a text to mean a target: a guess could lead elsewhere.
_TOLD = ("host", "dbname", "user")

#: Whatever the environment says: the password is the caller's and goes nowhere in clear or in a
#: form that can be used again, and nothing of this machine identifies it to that server.
_FORCED = {
    "require_auth": "scram-sha-256",
    "passfile": os.devnull,
    "gssencmode": "disable",
    "sslcertmode": "disable",
}


#: Keywords without a default to be told, which take no empty value.
_NEVER_EMPTY = {"min_protocol_version": "3.0", "max_protocol_version": "3.0"}


def caller_parameters(text: str, hosts: Collection[str]) -> dict[str, Any]:
    """Connection parameters of a caller's text, complete: nothing is left to the environment.

    Args:
        text: Conninfo or URL.
        hosts: Hosts that may be named, ``name`` or ``name:port``.

    Raises:
        OptionError: It cannot be parsed, leaves something open, says what callers may not say, or
            leads to another host. The message repeats nothing of it.
    """
    given = given_parameters(text)
    if set(given) - set(_KEYWORDS):
        raise OptionError(f"a caller's connection may say {', '.join(_KEYWORDS)}")
    if any(not given.get(name) for name in _REQUIRED):
        raise OptionError(f"a caller's connection must say {', '.join(_REQUIRED)}")
    host, port = str(given["host"]).lower(), str(given.get("port") or _PORT)
    if not (_DIGITS.fullmatch(port) and 0 < int(port) <= _HIGHEST_PORT):
        raise OptionError("a caller's connection has no port that there is")
    allowed = {one.lower() for one in hosts}
    if host not in allowed and f"{host}:{int(port)}" not in allowed:
        raise OptionError("a caller's connection leads to a host that is not allowed")
    timeout = str(given.get("connect_timeout") or "10")
    if not (_DIGITS.fullmatch(timeout) and int(timeout) > 0):
        raise OptionError("a caller's connection has a connect_timeout that is no number")
    if given.get("sslmode") not in (None, *_SSL_MODES):
        raise OptionError("a caller's connection has an sslmode that there is not")
    if not all(_is_name(str(given[name])) for name in ("dbname", "user")):
        raise OptionError("a caller's connection has a name that can be none")
    patience = str(min(int(timeout), _LONGEST_TIMEOUT_S))
    own = given | {"port": str(int(port)), "connect_timeout": patience}
    return _closed() | own | _FORCED


def means(text: str, target: str) -> bool:
    """Whether a text names a target: the same text, or the same server, database and user.

    Its password is not looked at: whoever may ask may use the target anyway, and must not be able
    to find the password out.
    """
    try:
        given, known = given_parameters(text), given_parameters(target)
    except OptionError:
        return False
    if text == target and given:
        return True
    if set(given) - set(_KEYWORDS) or "service" in known:
        return False
    if not all(given.get(name) and known.get(name) for name in _TOLD):
        return False
    if given.get("sslmode") not in (None, known.get("sslmode")):
        return False
    return _place(given) == _place(known)


def address(target: str) -> str:
    """``host:port/dbname`` of a target, without secrets; empty where its text does not tell."""
    given = given_parameters(target)
    if "service" in given or not (given.get("host") and given.get("dbname")):
        return ""
    host, port, dbname, _ = _place(given)
    return f"{host}:{port}/{dbname}"


def identity(target: str | Mapping[str, Any]) -> str:
    """Which database of which server a target is: asks it.

    Empty where it does not answer at once, or does not tell.
    """
    parameters = parse_target(target) | {"connect_timeout": _LOOK_TIMEOUT_S}
    try:
        with (
            psycopg.connect(**parameters) as conn,
            limited(conn, _LOOK_TIMEOUT_S, "a look at the database"),
            conn.transaction(),
        ):
            cur = psycopg.Cursor(conn, row_factory=tuple_row)
            close_search_path(cur)
            return database_identity(cur)
    except (psycopg.Error, ConnectError):
        return ""


def reachable(target: str | Mapping[str, Any]) -> bool:
    """Whether a database answers, soon."""
    parameters = parse_target(target) | {"connect_timeout": _LOOK_TIMEOUT_S}
    try:
        psycopg.connect(**parameters).close()
    except psycopg.Error:
        return False
    return True


def _place(given: Mapping[str, Any]) -> tuple[str, str, str, str]:
    host = str(given["host"]).lower()
    return host, str(given.get("port") or _PORT), str(given["dbname"]), str(given.get("user", ""))


def _is_name(text: str) -> bool:
    return text.isprintable() and len(text.encode("utf-8", "replace")) <= _NAME_BYTES


def _closed() -> dict[str, str]:
    """A value for each keyword that the environment could set: libpq's default, or an empty one.

    ``service`` has no value that means none. Whatever a service of the operator's says is
    overridden by these values.
    """
    closed = {}
    for option in pq.Conninfo.get_defaults():
        keyword = option.keyword.decode()
        if option.envvar is not None and keyword != "service":
            default = (option.compiled or b"").decode()
            closed[keyword] = default or _NEVER_EMPTY.get(keyword, "")
    return closed
