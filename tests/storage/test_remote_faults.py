"""Remote storages that drop connections, stall, refuse or lose what is being written."""

from __future__ import annotations

import itertools
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from s3fs import S3FileSystem

from pgvector_restore.errors import (
    BackupNotFoundError,
    PgvectorRestoreError,
    StoreChangedError,
    StoreError,
)
from pgvector_restore.storage import BackupStore, WritableStore, _retry, open_store
from tests.storage.serving import PASSWORD, USER, s3_options, sftp_options
from tests.storage.tcp_proxy import TcpProxy

DATA = bytes(range(256)) * 4096 * 12  # 12 MiB: more than is read ahead or uploaded at a time
_numbers = itertools.count(1)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_retry, "_FIRST_PAUSE_S", 0.0)
    monkeypatch.setattr(S3FileSystem, "retries", 1)  # its own attempts, with growing pauses


class Remote:
    """A store behind a proxy."""

    def __init__(self, proxy: TcpProxy, url: str, options: dict[str, object]) -> None:
        self.proxy = proxy
        self.url = url
        self.options = options

    def store(self, **options: object) -> WritableStore:
        store = open_store(self.url, storage_options={**self.options, **options})
        assert isinstance(store, WritableStore)
        return store


@pytest.fixture
def s3(s3_server: dict[str, Any], s3_bucket: str) -> Iterator[Remote]:
    with TcpProxy(s3_server["port"]) as proxy:
        options = {
            **s3_options(s3_server),
            "endpoint_url": f"http://127.0.0.1:{proxy.port}",
            "config_kwargs": {"read_timeout": 2, "retries": {"max_attempts": 1}},
        }
        yield Remote(proxy, f"s3://{s3_bucket}/faults{next(_numbers)}", options)


@pytest.fixture
def sftp(sftp_server: dict[str, Any]) -> Iterator[Remote]:
    with TcpProxy(sftp_server["port"]) as proxy:
        key = Path(sftp_server["known_hosts"]).read_text("utf-8").partition(" ")[2]
        known = sftp_server["folder"] / f"known{proxy.port}"
        known.write_text(f"[127.0.0.1]:{proxy.port} {key}", "utf-8")
        options = {**sftp_options(sftp_server), "known_hosts": str(known)}
        folder = sftp_server["folder"] / f"faults{next(_numbers)}"
        yield Remote(proxy, f"sftp://{USER}@127.0.0.1:{proxy.port}{folder}", options)


@pytest.fixture(params=["s3", "sftp"])
def remote(request: pytest.FixtureRequest) -> Remote:
    found: Remote = request.getfixturevalue(request.param)
    return found


def put(store: WritableStore, key: str, data: bytes) -> None:
    with store.create(key, replace=True) as stream:
        stream.write(data)


def read(store: BackupStore, key: str, start: int = 0) -> bytes:
    with store.open(key, start) as stream:
        return stream.read()


def uploads(files: Any, bucket: str) -> list[Any]:
    found = files.call_s3("list_multipart_uploads", Bucket=bucket).get("Uploads") or []
    return list(found)


def test_read_goes_on_after_dropped_connections(remote: Remote) -> None:
    store = remote.store()
    put(store, "x.bin", DATA)
    remote.proxy.reset()
    remote.proxy.cut_after, remote.proxy.cuts_left = 5 << 20, 2
    assert read(store, "x.bin") == DATA
    assert remote.proxy.cuts_left == 0


def test_connection_that_went_between_two_calls(remote: Remote) -> None:
    store = remote.store()
    put(store, "x.bin", b"1")
    for _ in range(2):
        remote.proxy.reset()
        assert [info.key for info in store.list()] == ["x.bin"]
        remote.proxy.reset()
        assert read(store, "x.bin") == b"1"


def test_storage_that_answers_nothing_is_given_up(remote: Remote) -> None:
    store = remote.store()
    put(store, "x.bin", DATA)
    remote.proxy.cut_after = 0
    remote.proxy.reset()
    with pytest.raises(StoreError, match=r"cannot read .*faults") as caught:
        read(store, "x.bin")
    assert not isinstance(caught.value, BackupNotFoundError)
    assert PASSWORD not in str(caught.value)


def test_stalled_read_is_given_up(s3: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_retry, "_FAILURES", 1)
    store = s3.store()
    put(store, "x.bin", DATA)
    with store.open("x.bin") as stream:
        assert stream.read(1000) == DATA[:1000]
        s3.proxy.flowing.clear()
        with pytest.raises(StoreError, match=r"cannot read .*x\.bin"):
            stream.read()


def test_stalled_sftp_server_is_given_up(sftp: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_retry, "_FAILURES", 1)
    store = sftp.store(keepalive_interval=0.2, keepalive_count_max=2)
    put(store, "x.bin", DATA)
    sftp.proxy.flowing.clear()
    with pytest.raises(StoreError, match="cannot read"):
        read(store, "x.bin")


def test_s3_object_replaced_while_it_is_read(s3: Remote, s3_files: Any) -> None:
    store = s3.store()
    put(store, "x.bin", DATA)
    s3.proxy.reset()
    s3.proxy.cut_after, s3.proxy.cuts_left = 5 << 20, 1
    with store.open("x.bin") as stream:
        assert stream.read(1000) == DATA[:1000]
        s3_files.pipe_file(f"{s3.url.removeprefix('s3://')}/x.bin", DATA[::-1])
        with pytest.raises(StoreChangedError, match="was replaced while it was read"):
            stream.read()


def test_upload_that_breaks_leaves_nothing(remote: Remote, s3_files: Any, s3_bucket: str) -> None:
    store = remote.store()
    put(store, "x.bin", b"old")

    def write() -> None:
        with store.create("x.bin", replace=True) as stream:
            stream.write(DATA)
            remote.proxy.cut_after = 0
            remote.proxy.reset()
            for _ in range(4):
                stream.write(DATA)

    with pytest.raises(StoreError, match=r"cannot write .*x\.bin"):
        write()
    remote.proxy.cut_after = None
    store = remote.store()
    assert read(store, "x.bin") == b"old"
    left = [info.key for info in store.list()]
    if remote.url.startswith("s3"):
        assert left == ["x.bin"]
        for upload in uploads(s3_files, s3_bucket):  # the storage was out of reach
            s3_files.abort_mpu(s3_bucket, upload["Key"], upload["UploadId"])
    else:
        assert left in (["x.bin"], ["x.bin", "x.bin.tmp"])


KILLED = """
import json, os, signal, sys
from pgvector_restore import open_store
store = open_store(sys.argv[1], storage_options=json.loads(sys.argv[2]))
with store.create("killed.bin") as stream:
    stream.write(bytes(20 << 20))
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_killed_writer_shows_nothing(remote: Remote, s3_files: Any, s3_bucket: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, remote.url, json.dumps(remote.options)],
        check=False,
        env=os.environ.copy(),
    )
    assert done.returncode == -signal.SIGKILL
    store = remote.store()
    put(store, "y.bin", b"1")
    if remote.url.startswith("s3"):
        assert [info.key for info in store.list()] == ["y.bin"]
        found = uploads(s3_files, s3_bucket)
        assert [upload["Key"].rpartition("/")[2] for upload in found] == ["killed.bin"]
        s3_files.abort_mpu(s3_bucket, found[0]["Key"], found[0]["UploadId"])
    else:
        assert [info.key for info in store.list()] == ["killed.bin.tmp", "y.bin"]


def test_unknown_host_is_refused(sftp: Remote, tmp_path: Path) -> None:
    nobody = tmp_path / "known_hosts"
    nobody.touch()
    with pytest.raises(StoreError, match="cannot read"):
        sftp.store(known_hosts=str(nobody))


def test_hosts_are_looked_up_at_home(
    sftp: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = Path(str(sftp.options.pop("known_hosts"))).read_text("utf-8")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    with pytest.raises(StoreError, match="cannot read"):
        sftp.store()
    (tmp_path / ".ssh" / "known_hosts").write_text(known, "utf-8")
    put(sftp.store(), "x.csv", b"1")


def test_secrets_are_in_nothing_that_is_shown(
    remote: Remote, caplog: pytest.LogCaptureFixture
) -> None:
    canary = "c4nary-s3cr3t"
    wrong = {"secret": canary} if remote.url.startswith("s3") else {"password": canary}
    shown = []
    with caplog.at_level(logging.DEBUG, "pgvector_restore"):
        remote.proxy.cut_after = 0 if remote.url.startswith("s3") else None
        try:
            store = remote.store(**wrong)
            shown += [repr(store), str(store), store.url]
            list(store.list())
        except PgvectorRestoreError as exc:
            shown += [str(exc), repr(exc), str(exc.hint), str(exc.to_dict())]
    assert len(shown) > 3
    assert canary not in "\n".join([*shown, caplog.text])
