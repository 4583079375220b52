"""Web servers that answer in odd ways, and URLs with secrets."""

from __future__ import annotations

import logging
import socket
import ssl
import subprocess
import threading
import traceback
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from pgvector_restore.errors import (
    BackupNotFoundError,
    OptionError,
    PgvectorRestoreError,
    StoreError,
)
from pgvector_restore.storage import _retry, open_store
from pgvector_restore.storage._web_index import entries
from tests.storage.web import WebServer, serving_file, web_server

DATA = bytes(range(256)) * 4000


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    monkeypatch.setattr(_retry, "_FIRST_PAUSE_S", 0.0)
    with serving_file(tmp_path, DATA) as running:
        yield running


def read(
    url: str, key: str = "x.csv", start: int = 0, login: dict[str, object] | None = None
) -> bytes:
    with open_store(url, storage_options=login).open(key, start) as stream:
        return stream.read()


def keys(url: str) -> list[str]:
    return [info.key for info in open_store(url).list()]


PAGES = {
    "apache": '<a href="?C=N;O=D">Name</a> <a href="/">Parent Directory</a> <a href="a%20b.csv">'
    'a b.csv</a> <a href="&amp;.csv">&amp;.csv</a> <a href="sub/">sub/</a>',
    "nginx": '<a href="../">../</a> <a href="sub/">sub/</a> <a href="a%20b.csv">a b.csv</a>'
    ' <a href="./x:y.csv">x:y.csv</a>',
    "caddy": '<a href="./?sort=name&amp;order=desc">Name</a> <a href="..">Up</a>'
    ' <a href="./sub/">sub</a> <a href="./a%20b.csv">a b.csv</a>',
    "iis": '<A HREF="/">[To Parent Directory]</A> <A HREF="/~me/Data/a%20b.csv">a b.csv</A>'
    ' <A HREF="/%7Eme/Data/sub/">sub</A>',
    "python": '<a href="a%20b.csv">a b.csv</a> <a href="sub/">sub/</a> <a href="c%2Bd.csv">c+d</a>',
    "absolute": '<a href="HTTPS://H.example/~me/Data/a%20b.csv">x</a> <a href="//h.example/~me/'
    'Data/sub/">x</a> <a href="https://other.example/~me/Data/z.csv">x</a>',
    "broken": '<a href="http://[bad/">x</a> <a href="//[/x">x</a> <a href>x</a> <a href="">x</a>'
    ' <a href=" a%20b.csv ">x</a> <a href="sub/#top">x</a> <a href="mailto:me@h.example">x</a>'
    ' <a href="javascript:x()">x</a> <a href="b%2Fc.csv">x</a> <a href="%2e%2e/x.csv">x',
    "token": '<a href="a%20b.csv?sig=1">x</a> <a href="sub/?sig=1">x</a> <a href="y.csv?z">x</a>',
}


@pytest.mark.parametrize("kind", PAGES)
def test_index_pages(kind: str) -> None:
    query = "?sig=1" if kind == "token" else ""
    found = entries(f"https://h.example/~me/Data/{query}", PAGES[kind])
    more = {"apache": {"&.csv"}, "nginx": {"x:y.csv"}, "python": {"c+d.csv"}}.get(kind, set())
    assert found == {"a b.csv", "sub/"} | more


def test_index_that_is_cut_is_no_index(server: WebServer, tmp_path: Path) -> None:
    (tmp_path / "data" / "index.html").write_text('<a href="x.csv">x</a>' + " " * 1000)
    page = (
        b'HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 99\r\n\r\n<a href="x.csv">'
    )
    server.answers["/data/"] = page
    with pytest.raises(StoreError, match="cannot read"):
        keys(f"{server.url}/data")


def test_folder_without_its_slash(server: WebServer, tmp_path: Path) -> None:
    (tmp_path / "data" / "sub").mkdir()
    (tmp_path / "data" / "sub" / "y.csv").write_bytes(b"1")
    (tmp_path / "data" / "index.html").write_text('<a href="sub">s</a> <a href="x.csv">x</a>')
    assert keys(f"{server.url}/data") == ["sub/y.csv", "x.csv"]


@pytest.mark.parametrize("status", [405, 501])
def test_server_that_knows_no_heads(server: WebServer, status: int) -> None:
    server.head_status = status
    assert keys(f"{server.url}/data") == ["x.csv"]


def test_file_that_is_packed_on_the_way(server: WebServer, tmp_path: Path) -> None:
    server.headers = {"Content-Encoding": "gzip"}
    with pytest.raises(StoreError, match=r'the server packs "x\.csv" on the way'):
        read(f"{server.url}/data")
    (tmp_path / "data" / "x.csv.gz").write_bytes(b"packed")
    assert read(f"{server.url}/data", "x.csv.gz") == b"packed"  # as it is stored


@pytest.mark.parametrize("told", ["bytes 0-9/1024000", "bytes */1024000", "items 5-9/10", None])
def test_another_range_than_was_asked_for(server: WebServer, told: str | None) -> None:
    server.headers = {"Content-Range": told}
    server.answers["/data/x.csv"] = (
        b"HTTP/1.1 206 Partial Content\r\nContent-Length: 10\r\n"
        + (f"Content-Range: {told}\r\n".encode() if told else b"")
        + b"\r\n0123456789"
    )
    with pytest.raises(StoreError, match="another range"):
        read(f"{server.url}/data", start=5)


def test_range_that_is_shorter_than_was_asked_for(server: WebServer) -> None:
    server.answers["/data/x.csv"] = (
        b"HTTP/1.1 206 Partial Content\r\nContent-Length: 3\r\n"
        b"Content-Range: bytes 5-7/100\r\n\r\nabc"
    )
    with pytest.raises(StoreError, match="another range"):  # on the way to the rest
        read(f"{server.url}/data", start=5)


def test_body_that_is_longer_than_its_range(server: WebServer) -> None:
    server.answers["/data/x.csv"] = (
        b"HTTP/1.1 206 Partial Content\r\nContent-Length: 9\r\n"
        b"Content-Range: bytes 5-7/8\r\n\r\nabcdefghi"
    )
    assert read(f"{server.url}/data", start=5) == b"abc"


@pytest.mark.parametrize("cut", [False, True])
def test_body_in_chunks(server: WebServer, *, cut: bool) -> None:
    chunks = b"".join(b"100\r\n%b\r\n" % (bytes([number]) * 256) for number in range(40))
    server.answers["/data/x.csv"] = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        + chunks
        + (b"" if cut else b"0\r\n\r\n")
    )
    with open_store(f"{server.url}/data").open("x.csv") as stream:
        if not cut:
            assert stream.read() == b"".join(bytes([number]) * 256 for number in range(40))
            return
        with pytest.raises(StoreError, match="cannot read"):
            stream.read()


@pytest.mark.parametrize("size", [b"", b"Content-Length: ten\r\n", b"Content-Length: -5\r\n"])
def test_size_that_is_not_told(server: WebServer, size: bytes) -> None:
    server.answers["/data/x.csv"] = b"HTTP/1.1 200 OK\r\n%b\r\n" % size
    for ask in (
        lambda: keys(f"{server.url}/data"),
        lambda: read(f"zip://::{server.url}/data/x.csv"),
    ):
        with pytest.raises(StoreError, match=r'does not tell the size of "x\.csv"'):
            ask()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n",
        b"HTTP/1.1 302 Found\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: ftp://127.0.0.1/x\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://[bad/\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: /data/x.csv\r\n\r\n",
    ],
)
def test_answers_that_are_none(server: WebServer, answer: bytes) -> None:
    server.answers["/data/x.csv"] = answer
    with pytest.raises(StoreError, match=r"cannot read .*/data/x\.csv"):
        read(f"{server.url}/data")


@pytest.mark.parametrize(("status", "asked"), [(400, 1), (407, 1), (501, 1), (500, 5), (429, 5)])
def test_what_is_final_is_said_at_once(server: WebServer, status: int, asked: int) -> None:
    server.answers["/data/x.csv"] = b"HTTP/1.1 %d x\r\nContent-Length: 0\r\n\r\n" % status
    with pytest.raises(StoreError, match=rf"cannot read .*x\.csv.: HTTP status {status}"):
        read(f"{server.url}/data")
    assert len(server.requests) == asked


@pytest.mark.parametrize(
    ("header", "pause"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "3600"}, 30.0),
        ({"Retry-After": "soon"}, 0.0),
        ({"Retry-After": "-1"}, 0.0),
    ],
)
def test_server_that_says_when_to_come_again(
    server: WebServer, header: dict[str, str], pause: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(_retry, "_wait", pauses.append)
    server.busy, server.busy_headers = 1, header
    assert read(f"{server.url}/data") == DATA
    assert pauses == [pause]


def test_etag_that_grows_strong(server: WebServer) -> None:
    server.cut_after = 300_000
    server.headers = {"ETag": 'W/"1"'}
    with open_store(f"{server.url}/data").open("x.csv") as stream:
        found = stream.read(1000)
        server.headers = {"ETag": '"1"'}
        assert found + stream.read() == DATA


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_login_stays_with_its_host(server: WebServer, tmp_path: Path, status: int) -> None:
    server.login = "me:c4nary"
    login: dict[str, object] = {"username": "me", "password": "c4nary"}
    server.redirects["/old/x.csv"] = (status, "/data/x.csv")
    assert read(f"{server.url}/old", login=login) == DATA
    with web_server(tmp_path) as other:
        server.redirects["/old/x.csv"] = (status, f"{other.url}/back/x.csv")
        assert other.logins == []
        other.redirects["/back/x.csv"] = (status, f"{other.url}/data/x.csv")
        assert read(f"{server.url}/old", login=login) == DATA
        other.redirects["/back/x.csv"] = (status, f"{server.url}/data/x.csv")
        with pytest.raises(StoreError, match="no permission"):
            read(f"{server.url}/old", login=login)
        assert other.logins
        assert set(other.logins) == {None}


def test_head_that_is_sent_elsewhere_stays_one(server: WebServer) -> None:
    server.redirects["/data/y.csv"] = (302, "/data/x.csv")
    with pytest.raises(StoreError):
        read(f"zip://::{server.url}/data/y.csv")
    assert [method for method, _, _ in server.requests[:2]] == ["HEAD", "HEAD"]


SECRETS = (
    "http://me:c4nary@127.0.0.1:{port}/data?sig=c4nary%20x y",
    "http://me:c4nary@127.0.0.1:{port}/data?a=b::c4nary#c4nary",
    "http://me:c4nary@[::1]:{port}/data?sig=c4nary",
    "http://127.0.0.1:{port}/gone?sig=c4nary",
    "zip://in::http://me:c4nary@[::1]:{port}/x.zip?sig=a::c4nary",
    "http://me:c4nary/x@127.0.0.1:{port}/data",
    "http://me:c4nary@127.0.0.1:99{port}/data",
    "http://me:c4nary@[::1/data",
)


@pytest.mark.parametrize("url", SECRETS)
def test_secrets_of_urls_are_not_shown(
    server: WebServer, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    server.login = "me:other"
    shown = []
    with caplog.at_level(logging.DEBUG):
        try:
            store = open_store(url.format(port=server.server_address[1]))
            shown += [repr(store), store.url, store.address]
            list(store.list())
        except PgvectorRestoreError as exc:
            shown += [*traceback.format_exception(exc), str(exc.hint), str(exc.to_dict())]
    assert shown
    lines = "\n".join([*shown, caplog.text]).splitlines()
    assert [line for line in lines if "c4nary" in line and "open_store" not in line] == []


@pytest.mark.parametrize(
    "options",
    [
        {"headers": {"Authorization": "Bearer c4nary\n"}},
        {"headers": {"X c4nary": "1"}},
        {"headers": "c4nary"},
        {"timeout_s": "c4nary"},
        {"timeout_s": 0},
        {"timeout_s": float("nan")},
        {"timeout_s": 1e300},
    ],
)
def test_options_that_are_none(options: dict[str, object]) -> None:
    with pytest.raises(OptionError, match="storage option") as caught:
        open_store("http://127.0.0.1:1/x", storage_options=options)
    assert "Bearer" not in "".join(traceback.format_exception(caught.value))


def test_ipv6(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(DATA)

    class Six(WebServer):
        address_family = socket.AF_INET6

        def server_bind(self) -> None:
            self.server_address = ("::1", 0)
            super().server_bind()

    try:
        server = Six(tmp_path)
    except OSError:
        pytest.skip("no IPv6 here")
    with closing(server.socket), server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        store = open_store(f"http://[::1]:{server.server_address[1]}")
        assert [info.key for info in store.list()] == ["x.csv"]
        with store.open("x.csv") as stream:
            assert stream.read() == DATA
        server.shutdown()
        thread.join()


def test_certificate_that_is_not_trusted(
    server: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=x"
    more = ("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate))
    subprocess.run([*command.split(), *more], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    url = server.url.replace("http:", "https:")
    with pytest.raises(StoreError, match=r"is not trusted: self.signed certificate") as caught:
        read(f"{url}/data")
    assert caught.value.hint == "the variable SSL_CERT_FILE names a file of certificates to trust"
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert read(f"{url}/data") == DATA


def test_proxy_that_refuses(server: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", server.url.replace("http://", "http://me:c4nary@"))
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(StoreError, match="HTTP status 501 of the proxy") as caught:
        read("https://backups.invalid/data")
    assert "c4nary" not in "".join(traceback.format_exception(caught.value))


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        port = bound.getsockname()[1]
    with suppress(BackupNotFoundError), pytest.raises(StoreError, match="Connection refused"):
        read(f"http://127.0.0.1:{port}/data")
