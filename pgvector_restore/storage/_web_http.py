"""Requests to a web server: what goes along with them, to whom, and what its answers mean."""

from __future__ import annotations

import base64
import http.client
import re
import ssl
import string
import urllib.error
import urllib.request
from collections.abc import Mapping
from email.message import Message
from email.utils import parsedate_to_datetime
from typing import Any, NoReturn, cast
from urllib.parse import SplitResult, quote, unquote, urlsplit, urlunsplit

from pgvector_restore.errors import OptionError, StoreError, quoted
from pgvector_restore.storage._paths import Place

__all__ = ["PastTheEndError", "Site", "seconds_of", "size_in", "version_in"]

#: Seconds without a byte after which a server is given up.
_TIMEOUT_S = 60.0
#: More is no time a socket can wait.
_LONGEST_S = 1e9

_OPTIONS = frozenset({"headers", "password", "timeout_s", "username"})

#: What is left of a URL as it is; anything else is encoded.
_SAFE = "/%:@!$&'()*+,;=~"

#: Names and values of headers that HTTP knows.
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")

#: Statuses that may be others in a moment, of those that blame the caller.
_PASSING = {
    http.client.REQUEST_TIMEOUT,
    http.client.MISDIRECTED_REQUEST,
    http.client.TOO_EARLY,
    http.client.TOO_MANY_REQUESTS,
}
#: What urllib says of a proxy that does not let it through to a server.
_TUNNEL = re.compile(r"Tunnel connection failed: (\d+)")
#: A server may know GET alone.
_NO_HEAD = {http.client.METHOD_NOT_ALLOWED, http.client.NOT_IMPLEMENTED}


class Site:
    """A folder of a web server, and how it is asked.

    Args:
        place: Its URL.
        options: ``username``, ``password``, ``headers``, ``timeout_s``.

    Raises:
        OptionError: No host, or options that are none.
    """

    def __init__(self, place: Place, options: Mapping[str, object]) -> None:
        if not options.keys() <= _OPTIONS:
            raise OptionError(
                f"a web server takes the storage options {', '.join(sorted(_OPTIONS))} only"
            )
        parts = _parts(place)
        host = parts.netloc.rpartition("@")[2]
        path = quote(parts.path.rstrip("/"), safe=_SAFE)
        #: URL of the folder, without login and query.
        self.root = urlunsplit((parts.scheme, host, f"{path}/", "", ""))
        #: Goes along with every request, with its question mark.
        self.query = f"?{quote(parts.query, safe=string.punctuation)}" if parts.query else ""
        #: Headers for the named host alone.
        self.secret = _secret_headers(options, parts)
        #: Seconds without a byte after which it is given up.
        self.timeout_s = _timeout(options.get("timeout_s", _TIMEOUT_S))
        self._opener = urllib.request.build_opener(_Redirects(self.secret))

    def ask(self, key: str, method: str, headers: Mapping[str, str]) -> Any:  # noqa: ANN401 - urllib has no better type
        """The answer to a request for a file, or for a folder (``""`` or ``a/b/``).

        Args:
            key: What is asked for.
            method: ``GET`` or ``HEAD``; who asks for the head alone takes also a whole answer.
            headers: Sent besides.
        """
        url = self.root + quote(key, errors="surrogateescape") + self.query
        request = urllib.request.Request(url, method=method)  # noqa: S310 - http or https only
        for name, value in {**_plain_headers(), **headers}.items():
            request.add_header(name, value)
        for name, value in self.secret.items():
            request.add_unredirected_header(name, value)  # another host is not told
        try:
            answer = self._opener.open(request, timeout=self.timeout_s)
        except urllib.error.HTTPError as exc:
            exc.close()
            if method == "HEAD" and exc.code in _NO_HEAD:
                return self.ask(key, "GET", headers)
            raise _refusal(exc, key) from None
        except urllib.error.URLError as exc:
            self._explain(exc.reason)
        if key and not key.endswith("/") and urlsplit(answer.url).path.endswith("/"):
            answer.close()
            raise IsADirectoryError(key)
        if answer.status not in {http.client.OK, http.client.PARTIAL_CONTENT}:
            answer.close()
            raise OSError(answer.status, f"HTTP status {answer.status}")
        return answer

    def _explain(self, reason: object) -> NoReturn:
        """Raise why there is no answer."""
        if isinstance(reason, ssl.SSLCertVerificationError):
            why = reason.verify_message.rstrip(".")
            raise StoreError(
                f"the certificate of {quoted(self.root)} is not trusted: {why}",
                hint="the variable SSL_CERT_FILE names a file of certificates to trust",
            ) from reason
        if (found := _TUNNEL.match(str(reason))) is not None:
            raise OSError(int(found[1]), f"HTTP status {found[1]} of the proxy") from None
        raise reason if isinstance(reason, Exception) else OSError(str(reason)) from None

    def headers_for(self, url: str) -> dict[str, str]:
        """What a request to a URL carries, which an answer came from."""
        secret = self.secret if _same_origin(self.root, url) else {}
        return {**_plain_headers(), **secret}


class PastTheEndError(Exception):
    """A range that starts where the file has ended."""


def seconds_of(date: str | None) -> float | None:
    """A date in a header, in seconds of Unix."""
    try:
        return parsedate_to_datetime(date).timestamp() if date else None
    except (ValueError, TypeError, OverflowError):
        return None


def size_in(headers: Message, key: str) -> int:
    """Bytes of a file, as the answer to a request for its head tells.

    Raises:
        StoreError: It does not tell.
    """
    size = headers.get("Content-Length", "")
    if not (size.isascii() and size.isdigit()):
        raise StoreError(
            f"the server does not tell the size of {quoted(key)}",
            hint="serve the backups as plain files, without compression on the way",
        )
    return int(size)


def version_in(headers: Message) -> str | None:
    """The ETag, the same for a weak one: Apache's are weak for the first second of a file."""
    found = headers.get("ETag")
    return found.removeprefix("W/") if found else None


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Goes where it is sent by HTTP alone, with the login as long as it is the named host.

    Args:
        secret: Headers for that.
    """

    def __init__(self, secret: Mapping[str, str]) -> None:
        self._secret = secret

    def http_error_302(self, req: Any, fp: Any, code: int, msg: str, headers: Any) -> Any:  # noqa: ANN401 - as urllib has it
        """Go there, if it is an address."""
        try:
            return super().http_error_302(req, fp, code, msg, headers)
        except ValueError:
            raise urllib.error.HTTPError(req.full_url, code, msg, headers, fp) from None

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: Any,  # noqa: ANN401 - as urllib has it
        code: int,
        msg: str,
        headers: Any,  # noqa: ANN401 - as urllib has it
        newurl: str,
    ) -> urllib.request.Request | None:
        """The next request."""
        # Python 3.10 does not know 308.
        code = 307 if code == http.client.PERMANENT_REDIRECT else code
        new = super().redirect_request(req, fp, code, msg, headers, newurl)
        if new is not None:
            new.method = req.get_method()
            if new.type not in {"http", "https"}:
                raise urllib.error.HTTPError(newurl, code, msg, headers, fp)
            # Who was sent away from the named host has no login to take back to it.
            told = all(map(req.has_header, map(str.capitalize, self._secret)))
            if told and _same_origin(req.full_url, new.full_url):
                for name, value in self._secret.items():
                    new.add_unredirected_header(name, value)
        return new


def _same_origin(first: str, second: str) -> bool:
    """Whether a login for one URL is one for the other: the same host, or its way to TLS."""
    one, other = urlsplit(first), urlsplit(second)
    if one.hostname != other.hostname:
        return False
    ports = {"http": 80, "https": 443}
    ends = [(x.scheme, x.port or ports.get(x.scheme)) for x in (one, other)]
    return ends[0] == ends[1] or ends == [("http", 80), ("https", 443)]


def _plain_headers() -> dict[str, str]:
    return {"User-Agent": "pgvector_restore", "Accept-Encoding": "identity"}


def _refusal(exc: urllib.error.HTTPError, key: str) -> Exception:
    """What a status means; the page that comes with it is not looked at."""
    status = exc.code
    if status in {http.client.NOT_FOUND, http.client.GONE}:
        return FileNotFoundError(key)
    if status in {http.client.UNAUTHORIZED, http.client.FORBIDDEN}:
        return PermissionError(key)
    if status == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
        return PastTheEndError()
    is_final = status < http.client.INTERNAL_SERVER_ERROR and status not in _PASSING
    kind = _FinalStatusError if is_final or status in _NO_HEAD else _BusyError
    found = kind(status, f"HTTP status {status}")
    if isinstance(found, _BusyError):
        found.retry_after_s = _pause(exc.headers.get("Retry-After"), exc.headers.get("Date"))
    return found


class _FinalStatusError(OSError, ValueError):
    """A request that another attempt does not mend."""


class _BusyError(OSError):
    """A server that may answer in a while."""

    #: Seconds it asks to be left alone.
    retry_after_s: float = 0.0


def _pause(wanted: str | None, now: str | None) -> float:
    """Seconds of a ``Retry-After``: it is a number of them, or a date by the server's clock."""
    if wanted is None:
        return 0.0
    if wanted.isascii() and wanted.isdigit():
        return float(wanted)
    until, since = seconds_of(wanted), seconds_of(now)
    return 0.0 if until is None or since is None else max(until - since, 0.0)


def _parts(place: Place) -> SplitResult:
    try:
        parts = urlsplit(place.path)
        has_host = bool(parts.hostname) and parts.port != 0
    except ValueError:  # its text may show a part of a password
        has_host = False
    if not has_host:
        raise OptionError(
            f"no host in {quoted(place.display)}",
            hint='encode special characters of a password: "/" as %2F, "#" as %23, "?" as %3F',
        )
    return parts


def _timeout(given: object) -> float:
    try:
        seconds = float(cast("float", given))
    except (TypeError, ValueError):
        seconds = 0.0
    if not 0 < seconds < _LONGEST_S:
        raise OptionError("the storage option timeout_s is a number of seconds, more than 0")
    return seconds


def _secret_headers(options: Mapping[str, object], parts: SplitResult) -> dict[str, str]:
    user = options.get("username", unquote(parts.username or ""))
    password = options.get("password", unquote(parts.password or ""))
    headers = options.get("headers") or {}
    if not isinstance(headers, Mapping):
        raise OptionError("the storage option headers is a mapping of names to values")
    given = {str(name): str(value) for name, value in headers.items()}
    for name, value in given.items():
        # http.client would show the value, a token that was read with the end of its line.
        if not (_HEADER.fullmatch(name) and _VALUE.fullmatch(value)):
            raise OptionError(f"the storage option headers: {quoted(name)} cannot be sent as it is")
    if user or password:
        token = base64.b64encode(f"{user}:{password}".encode()).decode("ascii")
        given.setdefault("Authorization", f"Basic {token}")
    return given
