"""Where a connection comes from when several places could name one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Literal

from attrs import field, frozen

from pgvector_restore.db.conninfo import TargetLike
from pgvector_restore.errors import OptionError

__all__ = ["DSN_VARIABLE", "ResolvedTarget", "environment_target", "resolve_target"]

#: Environment variable with the connection of a command that names none.
DSN_VARIABLE = "PGVECTOR_RESTORE_DSN"

#: Where a connection was found.
Origin = Literal["explicit", "configured", "default"]

#: libpq's own variables that name a server or a database. Others (PGSSLMODE, PGPASSWORD …) only
#: say how to reach one.
_LIBPQ_VARIABLES = ("PGHOST", "PGHOSTADDR", "PGSERVICE", "PGDATABASE", "PGPORT", "PGUSER")


@frozen
class ResolvedTarget:
    """A connection and where it came from."""

    #: Conninfo, mapping or pool; kept out of the repr, it may hold a password.
    target: TargetLike = field(repr=False)
    #: ``explicit``, ``configured`` or ``default``.
    origin: Origin


def resolve_target(
    explicit: TargetLike | None = None,
    configured: TargetLike | None = None,
    default: TargetLike | None = None,
) -> ResolvedTarget:
    """The first connection that is given: of the call, of its configuration, of the application.

    An empty string or mapping counts as not given.

    Raises:
        OptionError: None is given.
    """
    candidates: tuple[tuple[Origin, TargetLike | None], ...] = (
        ("explicit", explicit),
        ("configured", configured),
        ("default", default),
    )
    for origin, target in candidates:
        if target is not None and not (isinstance(target, (str, Mapping)) and not target):
            return ResolvedTarget(target, origin)
    raise OptionError(
        "no database is named",
        hint=f"pass a connection, or set {DSN_VARIABLE} or libpq's PGHOST, PGDATABASE …",
    )


def environment_target(environ: Mapping[str, str] | None = None) -> str | dict[str, Any] | None:
    """The connection the environment names, or ``None``.

    ``PGVECTOR_RESTORE_DSN`` first; then libpq's own variables, which libpq reads itself: for them
    the answer is an almost empty mapping.
    """
    env = os.environ if environ is None else environ
    if env.get(DSN_VARIABLE):
        return env[DSN_VARIABLE]
    if any(env.get(name) for name in _LIBPQ_VARIABLES):
        return {"application_name": "pgvector_restore"}
    return None
