"""What names a database, read into libpq's parameters; nothing is connected here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import ConnectionPool

from pgvector_restore.errors import OptionError

__all__ = ["DEFAULTS", "TargetLike", "given_parameters", "parse_target", "public_conninfo"]

#: What names a database: conninfo (URL or keywords), a mapping of libpq keywords, or a pool.
TargetLike = str | Mapping[str, Any] | ConnectionPool[Any]

#: Set unless the caller (or, for the first, the environment) set them. Without them a restore
#: hangs for ever on a network that swallows packets.
DEFAULTS: dict[str, Any] = {
    "connect_timeout": 10,  # seconds
    "keepalives": 1,
    "keepalives_idle": 30,  # seconds of silence before the first probe
    "keepalives_interval": 10,  # seconds between probes
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,  # milliseconds sent data may stay unacknowledged
    "fallback_application_name": "pgvector_restore",
}

_ALIASES = {"database": "dbname", "username": "user"}


def parse_target(target: str | Mapping[str, Any]) -> dict[str, Any]:
    """Connection parameters from a conninfo string or a mapping, with timeouts filled in.

    URLs of SQLAlchemy (``postgresql+psycopg://…``) are understood.

    Raises:
        OptionError: It cannot be parsed. The text never repeats what was given: it may hold a
            password.
    """
    preset = dict(DEFAULTS)
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
