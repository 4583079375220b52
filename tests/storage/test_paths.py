from __future__ import annotations

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pgvector_restore.errors import OptionError
from pgvector_restore.storage._paths import Place, display_url, parse_place, protocols


@pytest.mark.parametrize(
    ("text", "path", "display"),
    [
        ("C:\\x\\y", "C:\\x\\y", "C:/x/y"),
        ("C:/x/y/", "C:/x/y/", "C:/x/y"),
        ("c:relative", "c:relative", "c:relative"),
        ("\\\\srv\\share\\x", "\\\\srv\\share\\x", "//srv/share/x"),
        ("//srv/share/x", "//srv/share/x", "//srv/share/x"),
        ("\\\\?\\C:\\x", "\\\\?\\C:\\x", "//?/C:/x"),
        ("data\\x", "data\\x", "./data/x"),
        (".\\data\\x\\", ".\\data\\x\\", "./data/x"),
        ("..\\x", "..\\x", "../x"),
        ("\\x", "\\x", "/x"),
        (".", ".", "."),
        ("~\\x", "~\\x", "./~/x"),
        ("file:///C:/x%20y", "C:/x y", "C:/x y"),
        ("file://C:/x", "C:/x", "C:/x"),
        ("file:/C:/x", "C:/x", "C:/x"),
        ("FILE://localhost/C:/x", "C:/x", "C:/x"),
        ("file://srv/share/x", "//srv/share/x", "//srv/share/x"),
        ("local:///C:/x", "C:/x", "C:/x"),
    ],
)
def test_windows_paths(text: str, path: str, display: str) -> None:
    assert parse_place(text, windows=True) == Place(None, path, display)


@pytest.mark.parametrize(
    ("text", "path", "display"),
    [
        ("/data/x/", "/data/x/", "/data/x"),
        ("data/x", "data/x", "./data/x"),
        ("./data//x/.", "./data//x/.", "./data/x"),
        ("../x", "../x", "../x"),
        ("..x", "..x", "./..x"),
        (".", ".", "."),
        ("~", "~", "./~"),
        ("back\\slash", "back\\slash", "./back\\slash"),
        ("C:/x", "C:/x", "./C:/x"),
        ("c://x", "c://x", "./c:/x"),
        ("a:b", "a:b", "./a:b"),
        ("file:///x", "/x", "/x"),
        ("file:/x", "/x", "/x"),
        ("file://localhost/x", "/x", "/x"),
        ("file://./x", "./x", "./x"),
        ("file:///a%25b", "/a%b", "/a%b"),
        ("/a%25b", "/a%25b", "/a%25b"),
        ("file", "file", "./file"),
    ],
)
def test_unix_paths(text: str, path: str, display: str) -> None:
    assert parse_place(text, windows=False) == Place(None, path, display)


@pytest.mark.parametrize("windows", [True, False])
@pytest.mark.parametrize(
    ("text", "protocol", "display"),
    [
        ("s3://bucket/x", "s3", "s3://bucket/x"),
        ("S3://bucket/x", "s3", "S3://bucket/x"),
        ("memory://", "memory", "memory://"),
        ("sftp://u@host:22/x", "sftp", "sftp://host:22/x"),
        ("sftp://u:p@ss@host/x", "sftp", "sftp://host/x"),
        ("s3://key:se/cr@et@bucket/x", "s3", "s3://bucket/x"),
        ("s3://key:1/2@bucket/x?v=1#f", "s3", "s3://bucket/x"),
        ("s3://u@bucket/a@b", "s3", "s3://bucket/a@b"),
        ("s3://bucket/a@b", "s3", "s3://bucket/a@b"),
        ("https://h/x?sig=a@b", "https", "https://h/x"),
        ("simplecache::s3://k:s@b/x", "simplecache", "simplecache::s3://b/x"),
        ("zip://in::ftp://u:p@h/x.zip", "zip", "zip://in::ftp://h/x.zip"),
    ],
)
def test_urls(text: str, protocol: str, display: str, *, windows: bool) -> None:
    assert parse_place(text, windows=windows) == Place(protocol, text, display)


@pytest.mark.parametrize("windows", [True, False])
@pytest.mark.parametrize(
    "text", ["", "a\0b", "a\nb", "s3://b/\x1b", "file:///a%00b", "file:///a%0Ab", "a\x85", "\x7f"]
)
def test_refused(text: str, *, windows: bool) -> None:
    with pytest.raises(OptionError) as caught:
        parse_place(text, windows=windows)
    assert caught.value.message.isprintable()


def test_file_url_of_another_machine() -> None:
    with pytest.raises(OptionError, match="another machine") as caught:
        parse_place("file://data/x", windows=False)
    assert "three slashes" in str(caught.value.hint)


def test_protocols() -> None:
    assert protocols("s3://bucket/x") == ("s3",)
    assert protocols("simplecache::s3://b/x") == ("simplecache", "s3")
    assert protocols("zip://a/b::file:///x y.zip") == ("zip", "file")


_WORD = st.text("abz/@:?#+", max_size=8)


@given(_WORD, _WORD, st.sampled_from(["s3", "sftp"]))
def test_password_is_never_shown(before: str, after: str, scheme: str) -> None:
    url = f"{scheme}://user:{before}CANARY{after}@host/x"
    assume(len(re.findall("::", url)) == 0 or "::CANARY@" in url)  # others chain file systems
    assert "CANARY" not in display_url(url)


@given(st.text(min_size=1, max_size=20), st.booleans())
def test_any_text_is_a_place_or_refused(text: str, windows: bool) -> None:  # noqa: FBT001
    try:
        place = parse_place(text, windows=windows)
    except OptionError:
        return
    assert place.display
    assert not windows or place.protocol or "\\" not in place.display


@pytest.mark.parametrize(
    ("url", "display", "found"),
    [
        ("http://me:c4@[::1]:80/x?sig=c4", "http://[::1]:80/x", ("http",)),
        ("zip://in::https://me:c4@[2001:db8::1]/x?a::c4", "zip://in::https://[2001:db8::1]/x",
         ("zip", "https")),
        ("https://h/x?a=b::c4", "https://h/x", ("https",)),
        ("simplecache::HTTPS://h/x?a=b::c4", "simplecache::HTTPS://h/x", ("simplecache", "HTTPS")),
        ("sftp://me:c4@[fe80::1%eth0]:22/x", "sftp://[fe80::1%eth0]:22/x", ("sftp",)),
        ("sftp://me:c4::c4@h/x", "sftp://h/x", ("sftp",)),
    ],
)  # fmt: skip
def test_colons_that_start_no_link(url: str, display: str, found: tuple[str, ...]) -> None:
    assert display_url(url) == display
    assert protocols(url) == found
