"""Index pages of web servers: the names they link to."""

from __future__ import annotations

from html.parser import HTMLParser
from urllib.parse import unquote, urljoin, urlsplit

__all__ = ["entries"]


def entries(base: str, page: str) -> set[str]:
    """Names in the folder of a page; those of folders end in a slash.

    Args:
        base: URL of the page.
        page: Its HTML.
    """
    links = _Links()
    links.feed(page)
    links.close()
    return set(filter(None, (_entry(base, link) for link in links.found)))


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
    page = urlsplit(base)
    try:
        target = urlsplit(urljoin(base, link.strip()))
    except ValueError:
        return None
    # With a query it is another view of a page, unless all of the store has that query.
    if target.netloc.lower() != page.netloc.lower() or target.query not in {"", page.query}:
        return None
    folder, parts = _parts(page.path)[:-1], _parts(target.path)
    if parts[: len(folder)] != folder:
        return None
    name, *rest = parts[len(folder) :] or [""]
    if not name or "/" in name or rest not in ([], [""]):
        return None
    return f"{name}/" if rest else name


def _parts(path: str) -> list[str]:
    """A path without the ways in which servers spell it: ``~`` or ``%7E``."""
    return [unquote(part, errors="surrogateescape") for part in path.split("/")]
