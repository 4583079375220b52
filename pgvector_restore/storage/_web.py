"""Backups on a web server: read through its own index pages, never written."""

from __future__ import annotations

import base64
import http.client
import io
import logging
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from html.parser import HTMLParser
from typing import Any, BinaryIO, cast
from urllib.parse import quote, unquote, urljoin, urlsplit, urlunsplit

from pgvector_restore.errors import (
    BackupNotFoundError,
    OptionError,
    StoreError,
    quoted,
)
from pgvector_restore.model import ObjectInfo
from pgvector_restore.storage._guard import (
    GuardedStream,
    check_key,
    check_range,
    translated,
    walk,
)
from pgvector_restore.storage._paths import Place
from pgvector_restore.storage.layout import DEFAULT_LAYOUT, Layout
from pgvector_restore.storage.writing import ReadOnlyStore

__all__ = ["WebStore"]

_log = logging.getLogger(__name__)

#: Seconds without a byte after which a server is given up.
_TIMEOUT_S = 60.0
#: An index of 100,000 files takes some 10 MB.
_MAX_PAGE_BYTES = 64 << 20
#: Files whose sizes are asked for at the same time.
_QUESTIONS = 8

_OPTIONS = frozenset({"headers", "password", "timeout_s", "username"})


class WebStore(ReadOnlyStore):
    """A folder of a web server that lists its files in HTML, as most do when they are told to.

    Size, ETag and time of each file are asked for one by one, since index pages only round them.
    Proxies are those of the environment.

    Args:
        place: The URL; a query in it goes along with every request.
        layout: Naming rules.
        storage_options: ``username`` and ``password`` for basic authentication, ``headers`` to
            send, ``timeout_s`` without a byte, 60 by default.

    Raises:
        OptionError: An unknown option, or no host.
    """

    def __init__(
        self,
        place: Place,
        layout: Layout = DEFAULT_LAYOUT,
        storage_options: Mapping[str, object] | None = None,
    ) -> None:
        self.layout = layout
        self._place = place
        self._options = dict(storage_options or {})
        if not self._options.keys() <= _OPTIONS:
            raise OptionError(
                f"a web server takes the storage options {', '.join(sorted(_OPTIONS))} only"
            )
        parts = urlsplit(place.path)
        if not parts.hostname:
            raise OptionError(f"no host in {quoted(place.display)}")
        host = parts.netloc.rpartition("@")[2]
        path = quote(parts.path.rstrip("/"), safe="/%:@!$&'()*+,;=~")
        self._root = urlunsplit((parts.scheme, host, f"{path}/", "", ""))
        self._query = f"?{parts.query}" if parts.query else ""
        self._headers, self._secret = _headers(self._options, parts)
        self._timeout_s = float(cast("float", self._options.get("timeout_s", _TIMEOUT_S)))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self._place, self.layout, self._options)

    @property
    def url(self) -> str:
        """The URL without user, password and query."""
        return self._place.display

    @property
    def read_only_reason(self) -> str:
        """See :attr:`WritableStore.read_only_reason`."""
        return "web servers take no files"

    def list(self, prefix: str = "", *, max_depth: int | None = None) -> Iterator[ObjectInfo]:
        """Folder by folder, from index pages; see :meth:`BackupStore.list`."""
        try:
            self._index("")
        except BackupNotFoundError as exc:
            raise BackupNotFoundError(
                f"no such folder: {quoted(self.url)}",
                hint=f"give the folder that holds {self.layout.global_folders[0]}",
            ) from exc
        return walk(
            lambda folder: self._scan(folder, prefix), lambda _, info: info, prefix, max_depth
        )

    def open(self, key: str, start: int = 0, end: int | None = None) -> BinaryIO:
        """One request for the range; see :meth:`BackupStore.open`."""
        check_key(key)
        check_range(start, end)
        what = f"{self.url}/{key}"
        headers = {}
        if start or end is not None:
            until = "" if end is None else str(max(end - 1, start))
            headers["Range"] = f"bytes={start}-{until}"
        with translated(what):
            try:
                answer = self._ask(key, "HEAD" if end == start else "GET", headers)
            except _PastTheEndError:
                answer = self._ask(key, "HEAD", {})
            try:
                source = _Body(answer, start)
            except BaseException:
                answer.close()
                raise
        limit = None if end is None else end - start
        version = answer.headers.get("ETag")
        return cast("BinaryIO", io.BufferedReader(GuardedStream(source, limit, what, version)))

    def size_of(self, key: str) -> int:
        """Bytes of a file; see :class:`Sized`."""
        check_key(key)
        with translated(f"{self.url}/{key}"), self._head(key) as answer:
            return int(answer.headers["Content-Length"])

    def _scan(self, folder: str, prefix: str) -> Iterator[tuple[str, ObjectInfo | None]]:
        try:
            names = self._index(folder)
        except BackupNotFoundError:
            return  # gone since its parent was read, or never there
        files = []
        for name in sorted(names):
            if name.endswith("/"):
                yield name, None
            elif f"{folder}{name}".startswith(prefix):
                files.append(f"{folder}{name}")
        with ThreadPoolExecutor(_QUESTIONS, thread_name_prefix="pgvector_restore list") as pool:
            for key, info in zip(files, pool.map(self._describe, files), strict=True):
                yield key[len(folder) :], info

    def _describe(self, key: str) -> ObjectInfo | None:
        try:
            with translated(f"{self.url}/{key}"), self._head(key) as answer:
                size = answer.headers.get("Content-Length")
                changed = answer.headers.get("Last-Modified")
                version = answer.headers.get("ETag")
        except BackupNotFoundError:
            _log.warning("listed and not there: %s", quoted(key))
            return None
        if size is None:
            raise StoreError(
                f"the server does not tell the size of {quoted(key)}",
                hint="serve the backups as plain files, without compression on the way",
            )
        return ObjectInfo(key, int(size), version, _seconds(changed))

    def _index(self, folder: str) -> set[str]:
        """Names of a folder's entries; those of folders end in a slash."""
        what = f"{self.url}/{folder}" if folder else self.url
        with translated(what), self._ask(folder, "GET", {}) as answer:
            if answer.headers.get_content_type() != "text/html":
                if folder:
                    return set()  # a file that was asked for with a slash behind it
                raise StoreError(
                    f"{quoted(self.url)} is no list of files",
                    hint="the server must show an index page for each folder",
                )
            base, page = answer.url, answer.read(_MAX_PAGE_BYTES + 1)
            if len(page) > _MAX_PAGE_BYTES:
                raise StoreError(f"the index of {quoted(what)} is too long")
        links = _Links()
        links.feed(page.decode("utf-8", "replace"))
        return set(filter(None, (_entry(base, link) for link in links.found)))

    def _head(self, key: str) -> Any:  # noqa: ANN401 - urllib has no better type
        return self._ask(key, "HEAD", {})

    def _ask(self, key: str, method: str, headers: Mapping[str, str]) -> Any:  # noqa: ANN401 - urllib has no better type
        url = self._root + quote(key, errors="surrogateescape") + self._query
        request = urllib.request.Request(url, method=method, headers=dict(self._headers))  # noqa: S310 - http or https only
        for name, value in {"Accept-Encoding": "identity", **headers}.items():
            request.add_header(name, value)
        for name, value in self._secret.items():
            request.add_unredirected_header(name, value)  # another host is not told
        try:
            answer = urllib.request.urlopen(request, timeout=self._timeout_s)  # noqa: S310 - as above
        except urllib.error.HTTPError as exc:
            exc.close()
            raise _refusal(exc, key) from None
        if key and not key.endswith("/") and urlsplit(answer.url).path.endswith("/"):
            answer.close()
            raise IsADirectoryError(key)
        return answer


class _Body:
    """The body of an answer from the first byte wanted to its end; a cut one is an error."""

    def __init__(self, answer: http.client.HTTPResponse, start: int) -> None:
        self._answer = answer
        # A server that knows no ranges sends all of it.
        skipped = start if answer.status == http.client.OK else 0
        while skipped and (data := answer.read(min(skipped, 1 << 20))):
            skipped -= len(data)

    def readinto(self, buffer: Any, /) -> int:  # noqa: ANN401 - any buffer
        count = self._answer.readinto(buffer)
        if not count and self._answer.length:
            # http.client itself takes a connection that ends too early for the end of the body.
            raise http.client.IncompleteRead(b"", self._answer.length)
        return count

    def close(self) -> None:
        self._answer.close()


class _Links(HTMLParser):
    """Collects what a page refers to."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.found += [value for name, value in attrs if name == "href" and value]


def _entry(base: str, link: str) -> str | None:
    """The name of what a link leads to, if that lies in the folder of the page itself."""
    target, page = urlsplit(urljoin(base, link)), urlsplit(base)
    folder = page.path[: page.path.rfind("/") + 1]
    if target.netloc != page.netloc or target.query or not target.path.startswith(folder):
        return None
    name = unquote(target.path[len(folder) :], errors="surrogateescape")
    inside = name.removesuffix("/")
    return None if not inside or "/" in inside else name


def _refusal(exc: urllib.error.HTTPError, key: str) -> Exception:
    """What a status means; the page that comes with it is not looked at."""
    if exc.code in {http.client.NOT_FOUND, http.client.GONE}:
        return FileNotFoundError(key)
    if exc.code in {http.client.UNAUTHORIZED, http.client.FORBIDDEN}:
        return PermissionError(key)
    if exc.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
        return _PastTheEndError()
    return OSError(exc.code, f"HTTP status {exc.code}")


class _PastTheEndError(Exception):
    """A range that starts where the file has ended."""


def _headers(options: Mapping[str, object], parts: Any) -> tuple[dict[str, str], dict[str, str]]:  # noqa: ANN401 - of urllib
    """Headers that any host may see, and those for the named one alone."""
    user = options.get("username", unquote(parts.username or ""))
    password = options.get("password", unquote(parts.password or ""))
    given = {str(name): str(value) for name, value in dict(options.get("headers") or {}).items()}  # type: ignore[call-overload]
    if user or password:
        token = base64.b64encode(f"{user}:{password}".encode()).decode("ascii")
        given.setdefault("Authorization", f"Basic {token}")
    return {"User-Agent": "pgvector_restore"}, given


def _seconds(date: str | None) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp() if date else None
    except ValueError:
        return None
