"""Backups on a web server: read through its own index pages, never written."""

from __future__ import annotations

import http.client
import io
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO, Literal, cast

from pgvector_restore.errors import BackupNotFoundError, StoreError, quoted
from pgvector_restore.model import ObjectInfo
from pgvector_restore.storage._guard import (
    GuardedStream,
    Source,
    check_key,
    check_range,
    translated,
    walk,
)
from pgvector_restore.storage._paths import Place
from pgvector_restore.storage._web_body import Body, WideWebBody, check_complete
from pgvector_restore.storage._web_http import (
    PastTheEndError,
    Site,
    seconds_of,
    size_in,
    version_in,
)
from pgvector_restore.storage._web_index import entries
from pgvector_restore.storage._web_ranges import Ranges, can_spread
from pgvector_restore.storage.layout import DEFAULT_LAYOUT, Layout
from pgvector_restore.storage.writing import ReadOnlyStore

__all__ = ["WebStore"]

_log = logging.getLogger(__name__)

#: An index of 100,000 files takes some 10 MB.
_MAX_PAGE_BYTES = 64 << 20
#: Files whose sizes are asked for at the same time.
_QUESTIONS = 8


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
        self._site = Site(place, self._options)
        # A server that refuses several requests at once is not asked for that again.
        self._spreads = True
        self._spreading = threading.Semaphore()

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
        return self._walk(prefix, max_depth, lambda _: True)

    def candidates(self, prefix: str = "", *, max_depth: int | None = None) -> Iterator[ObjectInfo]:
        """Only what can be part of a backup is asked for; see :meth:`BackupStore.candidates`."""
        return self._walk(prefix, max_depth, self.layout.may_use)

    def _walk(
        self, prefix: str, max_depth: int | None, wanted: Callable[[str], bool]
    ) -> Iterator[ObjectInfo]:
        try:
            self._index("")
        except BackupNotFoundError as exc:
            raise BackupNotFoundError(
                f"no such folder: {quoted(self.url)}",
                hint=f"give the folder that holds {self.layout.global_folders[0]}",
            ) from exc
        return walk(
            lambda folder: self._scan(folder, prefix, wanted),
            lambda _, info: info,
            prefix,
            max_depth,
            wanted,
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
                answer = self._site.ask(key, "HEAD" if end == start else "GET", headers)
            except PastTheEndError:
                answer = self._site.ask(key, "HEAD", {})
                end = start
            try:
                source = self._source(answer, key, start, end)
            except BaseException:
                answer.close()
                raise
        limit = None if end is None else end - start
        # The time alone is no version of an object, but it tells two answers from each other.
        version = version_in(answer.headers) or answer.headers.get("Last-Modified")
        return cast("BinaryIO", io.BufferedReader(GuardedStream(source, limit, what, version)))

    def size_of(self, key: str) -> int:
        """Bytes of a file; see :class:`Sized`."""
        check_key(key)
        with translated(f"{self.url}/{key}"), self._site.ask(key, "HEAD", {}) as answer:
            return size_in(answer.headers, key)

    def _source(self, answer: Any, key: str, start: int, end: int | None) -> Source:  # noqa: ANN401 - urllib has no better type
        if start == end:
            answer.close()
            return io.BytesIO()
        body = Body(answer, key, start, end)
        is_told = answer.status == http.client.PARTIAL_CONTENT or start == 0
        size = body.size
        if size is None or not is_told or not can_spread(answer):
            return body
        until = size if end is None else min(end, size)
        return WideWebBody(body, start, until, lambda: self._ranges(answer, size))

    def _ranges(self, answer: Any, size: int) -> Ranges | None:  # noqa: ANN401 - urllib has no better type
        """Requests for the rest of a file, which wait in memory: for one file at a time."""
        if not self._spreads or not self._spreading.acquire(blocking=False):
            return None
        return Ranges(
            answer,
            self._site.headers_for(answer.url),
            size,
            self._site.timeout_s,
            refused=self._refused,
            closed=self._spreading.release,
        )

    def _refused(self) -> None:
        _log.info("%s does not take several requests for a file at once", self.url)
        self._spreads = False

    def _scan(
        self, folder: str, prefix: str, wanted: Callable[[str], bool]
    ) -> Iterator[tuple[str, ObjectInfo | None]]:
        try:
            names = self._index(folder)
        except BackupNotFoundError:
            return  # gone since its parent was read, or never there
        files = [
            name
            for name in sorted(names)
            if not name.endswith("/")
            and f"{folder}{name}".startswith(prefix)
            and wanted(f"{folder}{name}")
        ]
        folders = {name for name in names if name.endswith("/")}
        with ThreadPoolExecutor(_QUESTIONS, thread_name_prefix="pgvector_restore list") as pool:
            found = pool.map(lambda name: self._describe(f"{folder}{name}"), files)
            for name, info in zip(files, found, strict=True):
                if info == "folder":
                    folders.add(f"{name}/")
                elif info is not None:
                    yield name, info
        yield from ((name, None) for name in folders)

    def _describe(self, key: str) -> ObjectInfo | Literal["folder"] | None:
        """A file, unless it is none."""
        try:
            with translated(f"{self.url}/{key}"), self._site.ask(key, "HEAD", {}) as answer:
                headers = answer.headers
        except BackupNotFoundError as exc:
            if isinstance(exc.__cause__, IsADirectoryError):
                return "folder"  # a link that lacks the slash
            _log.warning("listed and not there: %s", quoted(key))
            return None
        changed = seconds_of(headers.get("Last-Modified"))
        return ObjectInfo(key, size_in(headers, key), version_in(headers), changed)

    def _index(self, folder: str) -> set[str]:
        """Names of a folder's entries; those of folders end in a slash."""
        what = f"{self.url}/{folder}" if folder else self.url
        with translated(what), self._site.ask(folder, "GET", {}) as answer:
            if answer.headers.get_content_type() != "text/html":
                if folder:
                    return set()  # a file that was asked for with a slash behind it
                raise StoreError(
                    f"{quoted(self.url)} is no list of files",
                    hint="the server must show an index page for each folder",
                )
            page = answer.read(_MAX_PAGE_BYTES + 1)
            if len(page) > _MAX_PAGE_BYTES:
                raise StoreError(f"the index of {quoted(what)} is too long")
            check_complete(answer, what)
            return entries(answer.url, page.decode("utf-8", "replace"))
