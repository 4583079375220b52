"""What others keep in the same place: only folders that can hold backups are looked into."""

from __future__ import annotations

import http.client
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import fsspec
import pytest

from pgvector_restore.errors import StoreError
from pgvector_restore.storage import DEFAULT_LAYOUT, BackupStore, Layout, open_store
from tests.storage.serving import USER, s3_options, sftp_options
from tests.storage.web import web_server
from tests.unprivileged import locked

SET = "20260105_091500"
FILES = tuple(f"langchain_pg_{table}_{SET}.csv" for table in ("collection", "embedding"))
#: Folders that file systems and other programs make, and ones that are too deep to hold sets.
OTHERS = (
    *("lost+found", ".Trash-1000", ".snapshot", "System Volume Information", "$RECYCLE.BIN"),
    *(".git", "restic", "vector_bak_old", "task_1/lost+found", "vector_bak/.snapshot"),
    *("task_1/vector_bak/.snapshot", "tasks"),
)
LABELS = {f"task_1/{SET}", f"vector_bak/{SET}"}
_numbers = itertools.count(1)


def fill(root: Path) -> None:
    """Two sets, and folders of others."""
    for folder in ("vector_bak", "task_1/vector_bak"):
        (root / folder).mkdir(parents=True)
        for name in FILES:
            (root / folder / name).write_bytes(b"")
    for other in OTHERS:
        (root / other).mkdir(parents=True)


def labels(store: BackupStore) -> set[str]:
    return {one.label for one in store.catalog().sets}


class _AsMostAre(fsspec.AbstractFileSystem):  # type: ignore[misc]  # fsspec has no types
    """A file system of fsspec that is walked folder by folder."""

    protocol = "walked"
    cachable = False

    def ls(self, path: str, detail: bool = True, **_: object) -> Any:  # noqa: FBT001, FBT002
        return fsspec.filesystem("file").ls(self._strip_protocol(path), detail=detail)

    def info(self, path: str, **_: object) -> Any:
        return fsspec.filesystem("file").info(self._strip_protocol(path))


fsspec.register_implementation("walked", _AsMostAre, clobber=True)


@pytest.mark.parametrize("scheme", ["", "walked://"])
def test_unreadable_folders_of_others(tmp_path: Path, scheme: str) -> None:
    fill(tmp_path)
    store = open_store(f"{scheme}{tmp_path}")
    with locked(*(tmp_path / other for other in OTHERS)):
        assert labels(store) == LABELS
        with pytest.raises(StoreError, match=r"\$RECYCLE\.BIN"):  # whoever asks for all is told
            list(store.list())


@pytest.mark.parametrize("scheme", ["", "walked://"])
@pytest.mark.parametrize("folder", ["vector_bak", "task_2", "task_1/global_vector_bak"])
def test_unreadable_folder_that_can_hold_backups(tmp_path: Path, scheme: str, folder: str) -> None:
    fill(tmp_path)
    store = open_store(f"{scheme}{tmp_path}")
    with locked(tmp_path / folder), pytest.raises(StoreError, match=folder):
        store.catalog()


def test_files_that_cannot_be_looked_at(tmp_path: Path) -> None:
    # A folder whose names may be read, and nothing else of it.
    (tmp_path / "vector_bak").mkdir()
    (tmp_path / "vector_bak" / "notes.txt").touch()
    with locked(tmp_path / "probe"):
        (tmp_path / "vector_bak").chmod(0o400)
        assert labels(open_store(tmp_path)) == set()
    (tmp_path / "vector_bak").chmod(0o700)
    (tmp_path / "vector_bak" / FILES[0]).touch()
    with locked(tmp_path / "probe"):
        (tmp_path / "vector_bak").chmod(0o400)
        with pytest.raises(StoreError, match="langchain_pg_collection"):
            open_store(tmp_path).catalog()
    (tmp_path / "vector_bak").chmod(0o700)


def test_the_layout_says_which_folders(tmp_path: Path) -> None:
    layout = Layout(
        global_folders=("lost+found",), task_folders=("job_[0-9]*",), inner_folders=("data",)
    )
    store = open_store(tmp_path, layout=layout)
    for folder in ("lost+found", "job_7/data"):
        (tmp_path / folder).mkdir(parents=True)
        for name in FILES:
            (tmp_path / folder / name).write_bytes(b"")
    with locked(tmp_path / "vector_bak", tmp_path / "task_1", tmp_path / "job_7" / "vector_bak"):
        assert labels(store) == {f"lost+found/{SET}", f"job_7/{SET}"}
    with locked(tmp_path / "job_7" / "data"), pytest.raises(StoreError, match="job_7/data"):
        store.catalog()


@pytest.mark.parametrize(
    ("key", "used"),
    [
        ("vector_bak/", True),
        ("task_1/", True),
        ("task_1/vector_bak/", True),
        ("manual_x/global_vector_bak/", True),
        ("lost+found/", False),
        ("task-1/", False),
        ("task_1/other/", False),
        ("vector_bak/vector_bak/", False),
        ("/", False),
        ("task_1//", False),
        ("vector_bak", True),  # it may be a link to a folder
        (FILES[0], True),
        (f"vector_bak/{FILES[1]}.gz", True),
        (f"task_1/vector_bak/other_{SET}.pgcopy", True),
        (f"vector_bak/manifest_{SET}.json.tmp", True),
        ("vector_bak/vector_backup_log.txt.tmp", True),
        (f"task_1/{FILES[0]}", False),
        (f"other/{FILES[0]}", False),
        ("vector_bak/readme.md", False),
    ],
)
def test_may_use(key: str, *, used: bool) -> None:
    assert DEFAULT_LAYOUT.may_use(key) is used


def test_web_server_that_shows_no_folders_of_others(tmp_path: Path) -> None:
    fill(tmp_path)
    (tmp_path / "private.bin").touch()
    with web_server(tmp_path) as server:
        refused = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
        for path in ("/lost%2Bfound/", "/.git/", "/private.bin", "/vector_bak/.snapshot/"):
            server.answers[path] = refused
        assert labels(open_store(server.url)) == LABELS
        assert not [path for _, path, _ in server.requests if path in server.answers]
        server.answers["/task_1/"] = refused
        with pytest.raises(StoreError, match="task_1"):
            open_store(server.url).catalog()


def test_sftp(sftp_server: dict[str, Any]) -> None:
    root = sftp_server["folder"] / f"others{next(_numbers)}"
    fill(root)
    url = f"sftp://{USER}@127.0.0.1:{sftp_server['port']}{root}"
    store = open_store(url, storage_options=sftp_options(sftp_server))
    with locked(*(root / other for other in OTHERS)):
        assert labels(store) == LABELS
    with locked(root / "task_1"), pytest.raises(StoreError, match="task_1"):
        store.catalog()


@contextmanager
def s3_rights(port: int, readable: set[str]) -> Iterator[int]:
    """A way to the S3 server for which only some prefixes may be listed, by folders."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            asked = parse_qs(urlsplit(self.path).query)
            if "list-type" in asked:
                by_folder = asked.get("delimiter") == ["/"]
                if not by_folder or asked.get("prefix", [""])[0] not in readable:
                    body = b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
                    self.send_response(403)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                    return
            connection = http.client.HTTPConnection("127.0.0.1", port)
            connection.request(self.command, self.path, headers=dict(self.headers))
            answer = connection.getresponse()
            body = answer.read()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("connection", "transfer-encoding", "date", "server"):
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
            connection.close()

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def test_s3_prefixes_without_permission(
    s3_server: dict[str, Any], s3_files: Any, s3_bucket: str
) -> None:
    root = f"others{next(_numbers)}"
    for folder in ("vector_bak", "task_1/vector_bak", "private"):
        for name in FILES:
            s3_files.pipe_file(f"{s3_bucket}/{root}/{folder}/{name}", b"x")
    readable = {f"{root}/{folder}" for folder in ("", "vector_bak/", "task_1/")}
    readable.add(f"{root}/task_1/vector_bak/")
    with s3_rights(s3_server["port"], readable) as port:
        options = {**s3_options(s3_server), "endpoint_url": f"http://127.0.0.1:{port}"}
        store = open_store(f"s3://{s3_bucket}/{root}", storage_options=options)
        assert labels(store) == LABELS
        readable.remove(f"{root}/task_1/")
        with pytest.raises(StoreError, match=r"no permission to read .*task_1"):
            store.catalog()
