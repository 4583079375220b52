"""What a caller names as a store: a local path or a URL, told apart by text alone.

Nothing here looks at a disk, so both systems' rules are tested on either.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath, PureWindowsPath
from urllib.parse import unquote

from attrs import frozen

from pgvector_restore.errors import OptionError, quoted

__all__ = [
    "Place",
    "display_path",
    "display_url",
    "local_archive",
    "local_place",
    "parse_place",
    "protocols",
    "remote_archive",
]

# Two letters at least: one is a drive. "::" chains file systems: simplecache::s3://bucket/x.
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)(?:://|::)")
_PROTOCOL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+")
_LOCAL_URL = re.compile(r"(?:file|local):(?=/)", re.IGNORECASE)
# Two colons within a password start no link, nor do those of an IPv6 address in its brackets.
_LINK = re.compile(
    rf"::(?![0-9A-Fa-f:.]*(?:%[^\]/]*)?\])(?={_PROTOCOL.pattern}(?:://|::|\Z)|/|[^@]*\Z)"
)
_WEB = ("http://", "https://")
_DRIVE = re.compile(r"[A-Za-z]:")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@frozen
class Place:
    """A store as a caller named it."""

    #: First protocol of a URL in lower case; ``None`` for a local path.
    protocol: str | None
    #: The local path in the system's own spelling, or the whole URL, secrets included.
    path: str
    #: How people may see it: slashes on every system, no secrets.
    display: str


def parse_place(text: str, *, windows: bool) -> Place:
    r"""Tell a local path from a URL; ``file:`` URLs become local paths.

    ``~`` is a name like others.

    Args:
        text: ``data/x``, ``C:\x``, ``\\server\share``, ``file:///x``, ``s3://bucket/x`` …
        windows: Follow Windows' rules for paths, not Unix'.

    Raises:
        OptionError: Empty, control characters, or a ``file:`` URL of another machine.
    """
    _check(text)
    if _LOCAL_URL.match(text):
        return local_place(_path_of(text, windows=windows), windows=windows)
    match = _URL.match(text)
    if match is None:
        return local_place(text, windows=windows)
    return Place(match[1].lower(), text, display_url(text))


def local_place(path: str, *, windows: bool) -> Place:
    """A local path that is known to be one."""
    _check(path)
    return Place(None, path, display_path(path, windows=windows))


def display_path(path: str, *, windows: bool) -> str:
    r"""A path as people see it.

    >>> display_path(r"data\training_data", windows=True)
    './data/training_data'
    """
    pure = PureWindowsPath(path) if windows else PurePosixPath(path)
    shown = pure.as_posix()
    if pure.anchor or shown == "." or shown.split("/", 1)[0] == "..":
        return shown
    return f"./{shown}"


def display_url(url: str) -> str:
    """A URL without user, password, query and fragment, through all links of a chain.

    >>> display_url("s3://key:secret@bucket/x?token=1")
    's3://bucket/x'
    """
    return "::".join(_without_secrets(link) for link in _links(url))


def protocols(url: str) -> tuple[str, ...]:
    """The protocols a URL needs, first one first.

    >>> protocols("simplecache::s3://bucket/x")
    ('simplecache', 's3')
    """
    names = [link.partition("://")[0] for link in _links(url)]
    return tuple(name for name in names if _PROTOCOL.fullmatch(name))


def local_archive(url: str, *, windows: bool) -> tuple[str, str] | None:
    """Path of a local archive and the folder in it, which a ``zip:`` URL names.

    >>> local_archive("zip:///data/backups.zip", windows=False)
    ('/data/backups.zip', '')
    >>> local_archive("zip://nightly::file:///data/backups.zip", windows=False)
    ('/data/backups.zip', 'nightly')

    ``None`` for an archive that lies elsewhere.
    """
    first, *others = _LINK.split(url)
    inner = first.partition("://")[2]
    if not others:
        return (inner[1:], "") if windows and _DRIVE.match(inner, 1) else (inner, "")
    outer = parse_place("::".join(others), windows=windows)
    return None if outer.protocol is not None else (outer.path, inner)


def remote_archive(url: str) -> tuple[str, str, str]:
    """The folder an archive lies in, its name there and the folder in it, of a ``zip:`` URL.

    >>> remote_archive("zip://nightly::s3://bucket/backups/july.zip")
    ('s3://bucket/backups', 'july.zip', 'nightly')
    >>> remote_archive("zip://::https://example.org/a%20b.zip?token=1")
    ('https://example.org?token=1', 'a b.zip', '')
    """
    first, *others = _LINK.split(url)
    outer, query = "::".join(others), ""
    on_the_web = outer.lower().startswith(_WEB)
    if on_the_web:
        outer, mark, query = outer.partition("#")[0].partition("?")
        query = mark + query
    parent, _, name = outer.rpartition("/")
    parent += "/" if parent.endswith("/") else ""
    return parent + query, unquote(name) if on_the_web else name, first.partition("://")[2]


def _links(url: str) -> list[str]:
    """The parts of a chain; nothing is behind a web server, whatever its query holds."""
    found = _LINK.split(url)
    for number, link in enumerate(found):
        if link.lower().startswith(_WEB):
            return [*found[:number], "::".join(found[number:])]
    return found


def _without_secrets(link: str) -> str:
    scheme, separator, rest = link.partition("://")
    if not separator:
        return link
    # Keys of object storage hold slashes and are pasted in as they are, so a password may reach
    # beyond the first one. Rather a path cut short by an "@" of its own than a secret shown.
    host = rest.partition("/")[0]
    if ":" in host:
        rest = rest.rpartition("@")[2]
    elif "@" in host:
        rest = rest[host.rindex("@") + 1 :]
    return f"{scheme}://{re.split('[?#]', rest, maxsplit=1)[0]}"


def _path_of(url: str, *, windows: bool) -> str:
    path = unquote(url.partition(":")[2])
    _check(path)
    if not path.startswith("//"):
        return path[1:] if windows and _DRIVE.match(path, 1) else path
    host, slash, rest = path[2:].partition("/")
    if windows and _DRIVE.fullmatch(host):
        return f"{host}{slash}{rest}"
    if host in {".", ".."}:
        return f"{host}{slash}{rest}"
    if host.lower() not in {"", "localhost"}:
        if windows:
            return path
        raise OptionError(
            f"{quoted(url)} names another machine, {quoted(host)}",
            hint="a path from the root takes three slashes: file:///folder; or leave file:// out",
        )
    return rest if windows and _DRIVE.match(rest) else f"/{rest}"


def _check(text: str) -> None:
    if not text:
        raise OptionError("the path of the store is empty", hint='"." is the current folder')
    if _CONTROL.search(text):
        raise OptionError(f"the path of the store has control characters: {quoted(text)}")
