"""The service as a process: where it listens, how it ends."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from pgvector_restore.errors import OptionError
from pgvector_restore.http.doorway import doorway_for, raise_file_limit
from pgvector_restore.http.settings import ServiceSettings
from pgvector_restore.http.tokens import Tokens, has_token

__all__ = ["check_exposure", "configuration", "is_loopback", "listen", "serve"]

_log = logging.getLogger(__name__)

#: Seconds that answers may take to be sent once no job runs any more.
_LAST_ANSWERS_S = 5


def check_exposure(settings: ServiceSettings) -> None:
    """Refuse to listen where others can reach the service, unless they need a good token.

    Raises:
        OptionError: They would need none, or one that was made up at the start or can be guessed.
    """
    if is_loopback(settings.host):
        return
    if not settings.auth:
        raise OptionError(
            f"without tokens the service listens on loopback only, not on {settings.host}",
            hint="leave auth on, or put a proxy that knows its users on the same machine",
        )
    if not has_token(settings):
        raise OptionError(
            f"listening on {settings.host} needs a token of your own",
            hint="set PGVECTOR_RESTORE_TOKEN or --token-file",
        )
    if weak := Tokens(settings).weak:
        raise OptionError(
            f"{weak[0]} is too short for listening on {settings.host}: it can be guessed",
            hint='make one: python -c "import secrets; print(secrets.token_urlsafe(32))"',
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a host; other names than localhost may lead anywhere."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen(settings: ServiceSettings) -> socket.socket:
    """A socket at the settings' host and port.

    Raises:
        OptionError: It cannot be had.
    """
    try:
        family, *_ = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        made = socket.create_server((settings.host, settings.port), family=family, backlog=1024)
    except OSError as exc:
        reason = exc.strerror or type(exc).__name__
        raise OptionError(f"cannot listen on {settings.host}:{settings.port}: {reason}") from exc
    # asyncio turns Nagle's algorithm off only where the socket names TCP. With it each answer
    # waits 40 ms for the client's delayed acknowledgement.
    return socket.socket(made.family, made.type, socket.IPPROTO_TCP, fileno=made.detach())


class _Server(uvicorn.Server):
    """Ends jobs before it waits for connections: answers may wait for jobs.

    Args:
        config: uvicorn's.
        close: Calls jobs off and waits for them.
    """

    def __init__(self, config: uvicorn.Config, close: Callable[[], None]) -> None:
        super().__init__(config)
        self._close = close

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        closing = asyncio.create_task(asyncio.to_thread(self._close))
        await super().shutdown(sockets)
        await closing

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """End at SIGINT, SIGTERM and SIGHUP; that is no failure, so nothing is raised after."""
        with super().capture_signals(), self._hearing_hangup():
            try:
                yield
            finally:
                self._captured_signals.clear()

    @contextmanager
    def _hearing_hangup(self) -> Iterator[None]:
        """The terminal was closed; ``nohup`` lets that be ignored, and Windows has none."""
        number = getattr(signal, "SIGHUP", None)
        main = threading.current_thread() is threading.main_thread()
        if number is None or not main or signal.getsignal(number) is signal.SIG_IGN:
            yield
            return
        before = signal.signal(number, self.handle_exit)
        try:
            yield
        finally:
            signal.signal(number, before)


def serve(app: FastAPI, settings: ServiceSettings, sock: socket.socket) -> None:
    """Answer requests until SIGINT, SIGTERM or SIGHUP; then call jobs off, and end once they have.

    Args:
        app: Of :func:`create_app`.
        settings: The same as the application's.
        sock: Of :func:`listen`; closed at the end.
    """
    raise_file_limit(settings)
    server = _Server(configuration(app, settings), app.state.service.close)
    with sock:
        server.run(sockets=[sock])
    if not server.started:
        raise RuntimeError("the server did not start")
    _log.info("ended")


def configuration(app: FastAPI, settings: ServiceSettings) -> uvicorn.Config:
    """How uvicorn is to serve it."""
    return uvicorn.Config(
        app,
        http=doorway_for(settings),
        log_config=None,
        access_log=False,  # the gate logs requests, with their ids
        server_header=False,
        ws="none",
        timeout_graceful_shutdown=int(settings.shutdown_grace_s) + _LAST_ANSWERS_S,
    )
