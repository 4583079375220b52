"""The one gate of all requests: who asks, from where, and with what body."""

from __future__ import annotations

import logging
from typing import Any

import anyio
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pgvector_restore.http import logs
from pgvector_restore.http.answers import (
    ANSWERS,
    INTERNAL,
    Answer,
    answer_for,
    details_for,
    error_response,
)
from pgvector_restore.http.context import route_path
from pgvector_restore.http.exchange import Exchange
from pgvector_restore.http.payloads import check_json, is_json
from pgvector_restore.http.settings import ServiceSettings
from pgvector_restore.http.tokens import Tokens

__all__ = ["PUBLIC", "READING", "Guard"]

_log = logging.getLogger(__name__)

#: Paths that need no token: they tell a status and nothing else.
PUBLIC = frozenset(("/healthz", "/readyz"))
#: What changes nothing though it is no GET.
READING = frozenset((("POST", "/api/v1/plan"),))

_LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "[::1]")
_ANY_ADDRESS = ("0.0.0.0", "::", "")  # noqa: S104 - compared with, not bound to
#: Methods whose requests have no body unless they say so.
_BODILESS = frozenset(("GET", "HEAD", "OPTIONS"))
#: Answers after which the rest of a body is not waited for.
_ENDING = frozenset(("BODY_TOO_LARGE", "TOO_SLOW"))


class Guard:
    """ASGI middleware around all routes.

    Args:
        app: What is guarded.
        settings: Hosts, origins, and limits.
        tokens: Who may do what.
    """

    def __init__(self, app: ASGIApp, settings: ServiceSettings, tokens: Tokens) -> None:
        self._app = app
        self._tokens = tokens
        own = settings.host
        named = [f"[{own}]" if ":" in own else own] if own not in _ANY_ADDRESS else []
        self._hosts = [h.lower() for h in (*_LOOPBACK_HOSTS, *named, *settings.allowed_hosts)]
        self._origins = frozenset(o.lower().rstrip("/") for o in settings.allowed_origins)
        self._limit = settings.body_limit_bytes
        self._patience_s = settings.body_timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it."""
        if scope["type"] == "websocket":  # there are none
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = HTTPConnection(scope)
        request_id = logs.request_id(request.headers.getlist("x-request-id"))
        scope.setdefault("state", {})["request_id"] = request_id
        with logs.bound(request_id=request_id):
            exchange = Exchange(request, request_id, self._shared_with(request), send)
            await self._answer(exchange, receive)

    async def _answer(self, exchange: Exchange, receive: Receive) -> None:
        request = exchange.request
        try:
            refusal = self._refusal(request)
            if refusal is None:
                refusal, receive = await self._received(request, receive)
            if refusal is not None:
                await self._refuse(exchange, refusal)
            elif _is_preflight(request):
                await Response(status_code=204, headers=_PREFLIGHT)(
                    request.scope, receive, exchange.send
                )
            else:
                await self._app(request.scope, receive, exchange.send)
        except _GoneError:
            exchange.status = 499  # as nginx has it: nobody is there to be answered
        except Exception as exc:  # noqa: BLE001 - no text of it goes anywhere
            await self._fail(exchange, exc)
        finally:
            exchange.log()

    def _refusal(self, request: HTTPConnection) -> Answer | None:
        """Why a request is not answered, as far as its head tells; hosts and origins first."""
        foreign = self._foreign(request)
        if foreign is not None or _is_preflight(request):
            return foreign  # a browser that asks whether it may ask has no token yet
        method, path = request.scope["method"], route_path(request.scope)
        reading = method in ("GET", "HEAD")
        if not (reading and path in PUBLIC):
            given = request.headers.getlist("authorization")
            scopes = self._tokens.scopes([value.encode("latin-1") for value in given])
            if not scopes:
                return ANSWERS["UNAUTHORIZED"]
            if not (reading or (method, path) in READING or "write" in scopes):
                return ANSWERS["FORBIDDEN"]
        if _has_body(request) and not _is_plain_json(request.headers):
            return ANSWERS["NOT_JSON"]
        return None

    def _foreign(self, request: HTTPConnection) -> Answer | None:
        """Why a request is not for this service, or comes from a page that must not send it."""
        if not self._is_our_host(request.headers.getlist("host")):
            return ANSWERS["HOST_NOT_ALLOWED"]
        has_origin = "origin" in request.headers
        sites = request.headers.getlist("sec-fetch-site")
        strange = any(site not in ("same-origin", "none") for site in sites)
        if (has_origin or strange) and not self._shared_with(request):
            return ANSWERS["ORIGIN_NOT_ALLOWED"]
        return None

    def _is_our_host(self, hosts: list[str]) -> bool:
        if len(hosts) != 1:
            return False
        name = _without_port(hosts[0].lower())
        return any(
            known in ("*", name) or (known.startswith("*.") and name.endswith(known[1:]))
            for known in self._hosts
        )

    def _shared_with(self, request: HTTPConnection) -> str | None:
        """The page's origin, if it may read the answer."""
        origins = request.headers.getlist("origin")
        known = len(origins) == 1 and origins[0].lower() in self._origins
        return origins[0] if known else None

    async def _received(
        self, request: HTTPConnection, receive: Receive
    ) -> tuple[Answer | None, Receive]:
        """Why a body is not taken; where handlers get it from if it is."""
        if request.scope["method"] in _BODILESS and not _has_body(request):
            return None, receive
        refusal, body = await self._read(request, receive)
        if refusal is None and body:
            # HTTP/2 has bodies without a word about them in the head.
            refusal = _unfit(body) if _is_plain_json(request.headers) else ANSWERS["NOT_JSON"]
        return refusal, _replayed(body, receive)

    async def _read(self, request: HTTPConnection, receive: Receive) -> tuple[Answer | None, bytes]:
        """The whole body, however it comes."""
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length[:20]) > self._limit:
            return ANSWERS["BODY_TOO_LARGE"], b""
        parts: list[bytes] = []
        size = 0
        more = True
        with anyio.move_on_after(self._patience_s):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise _GoneError
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > self._limit:
                    return ANSWERS["BODY_TOO_LARGE"], b""
                more = message.get("more_body", False)
        if more:
            return ANSWERS["TOO_SLOW"], b""
        return None, b"".join(parts)

    async def _refuse(self, exchange: Exchange, answer: Answer) -> None:
        headers = {"WWW-Authenticate": "Bearer"} if answer.code == "UNAUTHORIZED" else {}
        if answer.code in _ENDING:
            headers["Connection"] = "close"
        exchange.code = answer.code
        await exchange.answer(error_response(exchange.request, answer, headers=headers))

    async def _fail(self, exchange: Exchange, exc: Exception) -> None:
        answer = answer_for(exc)
        level = logging.ERROR if answer is INTERNAL else logging.INFO
        logs.failed(_log, "request failed", exc, level)
        exchange.code = answer.code
        if exchange.status is None:
            await exchange.answer(error_response(exchange.request, answer, details_for(exc)))
        # Else the server notices that the answer is not complete, and cuts the connection.


class _GoneError(Exception):
    """The client left before its body was there."""


#: What a page of an allowed origin may send.
_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, POST",
    "Access-Control-Allow-Headers": (
        "Authorization, Content-Type, Idempotency-Key, Last-Event-ID, X-Request-ID"
    ),
    "Access-Control-Max-Age": "600",
}


def _is_preflight(request: HTTPConnection) -> bool:
    headers = request.headers
    asks = "origin" in headers and "access-control-request-method" in headers
    return asks and request.scope["method"] == "OPTIONS"


def _has_body(request: HTTPConnection) -> bool:
    headers = request.headers
    return "transfer-encoding" in headers or headers.get("content-length", "0").strip("0") != ""


def _is_plain_json(headers: Any) -> bool:  # noqa: ANN401 - starlette's Headers
    kinds = headers.getlist("content-type")
    encoding = headers.get("content-encoding", "identity").lower()
    return len(kinds) == 1 and is_json(kinds[0]) and encoding == "identity"


def _unfit(body: bytes) -> Answer | None:
    try:
        check_json(body)
    except ValueError:
        return ANSWERS["BAD_JSON"]
    return None


def _without_port(host: str) -> str:
    """``[::1]:8084`` → ``[::1]``; what is no host stays what it is, and is nobody's."""
    name, _, port = host.rpartition(":")
    return name if name and port.isdecimal() and not (name[0] == "[" and name[-1] != "]") else host


def _replayed(body: bytes, receive: Receive) -> Receive:
    """The body once more, then what comes after it."""
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return pending.pop() if pending else await receive()

    return replay
