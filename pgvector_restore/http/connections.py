"""Which database a request is for: a target by its name, or a caller's own connection."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from pgvector_restore.db.callers import address, caller_parameters, identity, means
from pgvector_restore.errors import OptionError, quoted
from pgvector_restore.http.settings import DEFAULT_TARGET, ServiceSettings

__all__ = ["ConnectionNotAllowedError", "Connections", "Reached"]


class ConnectionNotAllowedError(Exception):
    """A caller's connection, where the operator allows none, or not this one."""


@frozen
class Reached:
    """The database of a request."""

    #: The target's name, or ``host:port/dbname``.
    name: str
    #: How to get there; may hold a password.
    target: str | Mapping[str, Any] = field(repr=False)
    #: It is a target of the operator's, not a caller's own.
    configured: bool
    #: What two jobs that write to the same database have in common.
    holds: frozenset[str]
    #: What tells it apart from others in a request's digest; no password.
    key: str


class Connections:
    """The databases of a service.

    Args:
        settings: What the operator has set.

    Raises:
        OptionError: A target that cannot be parsed.
    """

    def __init__(self, settings: ServiceSettings) -> None:
        self._settings = settings
        self._targets = {
            name: secret.get_secret_value() for name, secret in settings.named_targets().items()
        }
        self._addresses = {name: _address(name, dsn) for name, dsn in self._targets.items()}
        self._lock = threading.Lock()
        self._identities: dict[str, str] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the targets."""
        return tuple(self._targets)

    def conninfo(self, name: str) -> str | None:
        """A target's connection, which may hold a password; ``None``: there is no such target."""
        return self._targets.get(name)

    def name(self, given: str | None) -> str:
        """The target of a name; without one, the only one or ``default``.

        Raises:
            OptionError: There is none.
        """
        if given is None:
            given = next(iter(self._targets)) if len(self._targets) == 1 else DEFAULT_TARGET
        if given not in self._targets:
            raise OptionError(
                f"no target is called {quoted(given[:80])}",
                hint=f"there are {', '.join(self._targets)}" if self._targets else None,
            )
        return given

    def check(self, text: str) -> str:
        """The name of the target that a caller's text means, or the text, if it is allowed.

        Raises:
            ConnectionNotAllowedError: It is not.
        """
        return self._allowed(text)[0]

    def reach(self, target: str | None, connection: str | None) -> Reached:
        """The database of a request.

        Raises:
            OptionError: There is no such target, or both are named.
            ConnectionNotAllowedError: The connection is not allowed.
        """
        if connection is not None:
            if target is not None:
                raise OptionError("a request names a target or a connection, not both")
            name, parameters = self._allowed(connection)
            if parameters is not None:
                return self._callers(parameters)
        else:
            name = self.name(target)
        dsn = self._targets[name]
        place = self._addresses[name]
        holds = {f"target {name}"} | ({f"address {place}"} if place else set())
        if self._settings.allow_connections or len(self._targets) > 1:
            holds |= self._server(name, dsn)
        return Reached(name, dsn, configured=True, holds=frozenset(holds), key=name)

    def _allowed(self, text: str) -> tuple[str, dict[str, Any] | None]:
        if text in self._targets:
            return text, None
        for name, dsn in self._targets.items():
            if means(text, dsn):
                return name, None
        if not self._settings.allow_connections:
            raise ConnectionNotAllowedError("connections of callers are not allowed")
        try:
            return text, caller_parameters(text, self._settings.connection_hosts)
        except OptionError as exc:
            raise ConnectionNotAllowedError(exc.message) from None

    def _callers(self, parameters: dict[str, Any]) -> Reached:
        place = f"{parameters['host'].lower()}:{parameters['port']}/{parameters['dbname']}"
        # Two names of a host lead to one server: it is asked who it is.
        found = identity(parameters)
        holds = {f"address {place}"} | ({f"database {found}"} if found else set())
        key = f"{parameters['user']}@{place}"
        return Reached(place, parameters, configured=False, holds=frozenset(holds), key=key)

    def _server(self, name: str, dsn: str) -> set[str]:
        with self._lock:
            known = self._identities.get(name)
        found = known or identity(dsn)
        with self._lock:
            if found:
                self._identities[name] = found
        return {f"database {found}"} if found else set()


def _address(name: str, dsn: str) -> str:
    try:
        return address(dsn)
    except OptionError as exc:
        raise OptionError(f"target {name}: {exc.message}", hint=exc.hint) from None
