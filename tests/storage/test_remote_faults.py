"""Remote storages that drop connections, stall, refuse or lose what is being written."""

from __future__ import annotations

import base64
import itertools
import json
import logging
import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from asyncssh import SFTPClientFile
from s3fs import S3FileSystem

from pgvector_restore.errors import (
    BackupExistsError,
    BackupNotFoundError,
    OptionError,
    PgvectorRestoreError,
    StoreChangedError,
    StoreError,
)
from pgvector_restore.storage import (
    BackupStore,
    WritableStore,
    _azure,
    _google,
    _retry,
    _wide,
    open_store,
)
from pgvector_restore.storage._azure import AzureSink
from pgvector_restore.storage._blocks import BlockSink, block_bytes
from pgvector_restore.storage._google import GoogleSink
from pgvector_restore.storage._s3 import S3Sink
from tests.storage.serving import (
    PASSWORD,
    USER,
    az_options,
    gs_options,
    s3_options,
    sftp_options,
)
from tests.storage.tcp_proxy import TcpProxy
from tests.storage.web import web_server

DATA = bytes(range(256)) * 4096 * 12  # 12 MiB: more than is read ahead or uploaded at a time
_numbers = itertools.count(1)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_retry, "_FIRST_PAUSE_S", 0.0)
    monkeypatch.setattr(S3FileSystem, "retries", 1)  # its own attempts, with growing pauses
    monkeypatch.setattr(_google, "_FIRST_PAUSE_S", 0.0)
    monkeypatch.setattr(_azure, "_PAUSE_S", 0.0)
    monkeypatch.setattr(_azure, "_JITTER_S", 0.0)


class Remote:
    """A store behind a proxy."""

    def __init__(
        self,
        proxy: TcpProxy,
        url: str,
        options: dict[str, object],
        direct: dict[str, object] | None = None,
    ) -> None:
        self.proxy = proxy
        self.url = url
        self.options = options
        #: Options of another way to the store, where there is one: past the proxy.
        self.direct = direct

    @property
    def protocol(self) -> str:
        return self.url.partition(":")[0]

    @property
    def other(self) -> WritableStore:
        """The same store, as another program reaches it."""
        store = open_store(self.url, storage_options=self.direct)
        assert isinstance(store, WritableStore)
        return store

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
            "config_kwargs": {"read_timeout": 5, "retries": {"max_attempts": 1}},
        }
        url = f"s3://{s3_bucket}/faults{next(_numbers)}"
        yield Remote(proxy, url, options, s3_options(s3_server))


@pytest.fixture
def gs(gs_server: dict[str, Any], gs_bucket: str) -> Iterator[Remote]:
    with TcpProxy(gs_server["port"]) as proxy:
        endpoint = f"http://127.0.0.1:{proxy.port}"
        options = {**gs_options({"endpoint": endpoint}), "requests_timeout": 5}
        url = f"gs://{gs_bucket}/faults{next(_numbers)}"
        yield Remote(proxy, url, options, gs_options(gs_server))


@pytest.fixture
def az(az_server: dict[str, Any], az_container: str) -> Iterator[Remote]:
    with TcpProxy(az_server["port"]) as proxy:
        options = {**az_options({"port": proxy.port}), "read_timeout": 5}
        url = f"az://{az_container}/faults{next(_numbers)}"
        yield Remote(proxy, url, options, az_options(az_server))


@pytest.fixture
def sftp(sftp_server: dict[str, Any]) -> Iterator[Remote]:
    with TcpProxy(sftp_server["port"]) as proxy:
        key = Path(sftp_server["known_hosts"]).read_text("utf-8").partition(" ")[2]
        known = sftp_server["folder"] / f"known{proxy.port}"
        known.write_text(f"[127.0.0.1]:{proxy.port} {key}", "utf-8")
        options = {**sftp_options(sftp_server), "known_hosts": str(known)}
        folder = sftp_server["folder"] / f"faults{next(_numbers)}"
        yield Remote(proxy, f"sftp://{USER}@127.0.0.1:{proxy.port}{folder}", options)


@pytest.fixture(params=["s3", "gs", "az", "sftp"])
def remote(request: pytest.FixtureRequest) -> Remote:
    found: Remote = request.getfixturevalue(request.param)
    return found


@pytest.fixture(params=["s3", "gs", "az"])
def cloud(request: pytest.FixtureRequest) -> Remote:
    found: Remote = request.getfixturevalue(request.param)
    return found


@pytest.fixture(params=["one answer", "several at once"])
def cut(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Bytes of a connection that are in the midst of an answer; answers are fast, or slow."""
    if request.param == "one answer":
        monkeypatch.setattr(_wide, "_ENOUGH_BYTES_PER_S", 0.0)
        return 5 << 20
    monkeypatch.setattr(_wide, "_ENOUGH_BYTES_PER_S", math.inf)
    monkeypatch.setattr(_wide, "_JUDGED_BYTES", 1)
    monkeypatch.setattr(_wide, "_PIECE_BYTES", (2 << 20) + 1)
    return 1 << 20


def put(store: WritableStore, key: str, data: bytes) -> None:
    with store.create(key, replace=True) as stream:
        stream.write(data)


def read(store: BackupStore, key: str, start: int = 0) -> bytes:
    with store.open(key, start) as stream:
        return stream.read()


def uploads(files: Any, bucket: str) -> list[Any]:
    found = files.call_s3("list_multipart_uploads", Bucket=bucket).get("Uploads") or []
    return list(found)


def test_read_goes_on_after_dropped_connections(remote: Remote, cut: int) -> None:
    store = remote.store()
    put(store, "x.bin", DATA)
    remote.proxy.reset()
    remote.proxy.cut_after, remote.proxy.cuts_left = cut, 2
    found = read(store, "x.bin")
    assert (len(found), hash(found)) == (len(DATA), hash(DATA))  # a difference is 12 MiB long
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


@pytest.mark.usefixtures("cut")
def test_stalled_read_is_given_up(cloud: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_retry, "_FAILURES", 1)
    store = cloud.store()
    put(store, "x.bin", DATA * 3)
    with store.open("x.bin") as stream:
        assert stream.read(1000) == DATA[:1000]
        cloud.proxy.flowing.clear()
        with pytest.raises(StoreError, match=r"cannot read .*x\.bin"):
            stream.read()


def test_stalled_sftp_server_is_given_up(sftp: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_retry, "_FAILURES", 1)
    store = sftp.store(keepalive_interval=1, keepalive_count_max=4)
    put(store, "x.bin", DATA)
    sftp.proxy.flowing.clear()
    with pytest.raises(StoreError, match="cannot read"):
        read(store, "x.bin")


@pytest.mark.parametrize("size", [3 * len(DATA), 1000])
def test_object_replaced_while_it_is_read(cloud: Remote, cut: int, size: int) -> None:
    """By one of the same length, and by one that ends before the byte to go on at."""
    store = cloud.store()
    put(store, "x.bin", DATA * 3)  # more than two pieces of a blob, which are asked for ahead
    cloud.proxy.reset()
    cloud.proxy.cut_after, cloud.proxy.cuts_left = cut, 1
    with store.open("x.bin") as stream:
        assert stream.read(1000) == DATA[:1000]
        put(cloud.other, "x.bin", (DATA[::-1] * 3)[:size])
        with pytest.raises(StoreChangedError, match="was replaced while it was read"):
            stream.read()


@pytest.mark.usefixtures("cut")
def test_object_replaced_without_a_break_is_never_mixed(cloud: Remote) -> None:
    store = cloud.store()
    put(store, "x.bin", DATA)
    with store.open("x.bin") as stream:
        found = stream.read(1000)
        put(cloud.other, "x.bin", DATA[::-1])
        try:
            found += stream.read()
        except StoreChangedError:  # it was read in several requests
            return
    assert (len(found), hash(found)) == (len(DATA), hash(DATA))  # a difference is 12 MiB long


def test_object_removed_while_it_is_read(cloud: Remote, cut: int) -> None:
    store = cloud.store()
    put(store, "x.bin", DATA * 3)
    cloud.proxy.reset()
    cloud.proxy.cut_after, cloud.proxy.cuts_left = max(cut, 3 << 20), 1
    with store.open("x.bin") as stream:
        assert stream.read(1000) == DATA[:1000]
        cloud.other.delete("x.bin")
        with pytest.raises(BackupNotFoundError, match=r"no such file: .*x\.bin"):
            stream.read()


def test_ranges_are_the_same_however_they_come(cloud: Remote, cut: int) -> None:
    store = cloud.store()
    put(store, "x.bin", DATA)
    for start, end in ((0, None), (0, 9 << 20), (1, len(DATA)), (cut, len(DATA) + 9), (7, 7)):
        with store.open("x.bin", start, end) as stream:
            found, wanted = stream.read(), DATA[start:end]
        assert (len(found), hash(found)) == (len(wanted), hash(wanted))


def test_rest_of_a_slow_answer_comes_in_several(cloud: Remote, cut: int) -> None:
    store = cloud.store()
    put(store, "x.bin", DATA * 3)
    cloud.proxy.reset()
    before = cloud.proxy.connections
    found = read(store, "x.bin")
    assert (len(found), hash(found)) == (3 * len(DATA), hash(DATA * 3))
    if cut == 1 << 20:
        assert cloud.proxy.connections >= before + 2
    else:
        assert cloud.proxy.connections <= before + 1


@pytest.mark.filterwarnings("error")
def test_slow_answer_that_is_not_read_to_its_end(cloud: Remote, cut: int) -> None:
    store = cloud.store()
    put(store, "x.bin", DATA * 3)
    for size in (1, cut, 8 << 20):
        with store.open("x.bin") as stream:
            assert stream.read(size) == DATA[:size]
    assert read(store, "x.bin", 34 << 20) == (DATA * 3)[34 << 20 :]


def test_sftp_server_that_gives_less_than_was_asked_for(
    sftp: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may: what was asked for behind that is asked for again."""
    reading = SFTPClientFile.read

    async def less(self: Any, size: int = -1, offset: int | None = None) -> Any:
        return await reading(self, min(size, 1_000_003), offset)

    monkeypatch.setattr(SFTPClientFile, "read", less)
    store = sftp.store()
    put(store, "x.bin", DATA)
    for start, end in ((0, None), (5, 3 << 20), (1, len(DATA) + 9)):
        with store.open("x.bin", start, end) as stream:
            found, wanted = stream.read(), DATA[start:end]
        assert (len(found), hash(found)) == (len(wanted), hash(wanted))


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
    if remote.protocol == "sftp":
        assert left in (["x.bin"], ["x.bin", "x.bin.tmp"])
    else:
        assert left == ["x.bin"]
        for upload in uploads(s3_files, s3_bucket):  # the storage was out of reach
            s3_files.abort_mpu(s3_bucket, upload["Key"], upload["UploadId"])


def test_upload_goes_on_after_a_dropped_connection(cloud: Remote) -> None:
    store = cloud.store()
    with store.create("x.bin") as stream:
        for _ in range(3):
            stream.write(DATA)
            cloud.proxy.reset()
    found, wanted = read(store, "x.bin"), DATA * 3
    assert (len(found), hash(found)) == (len(wanted), hash(wanted))


def test_failed_uploads_are_in_nobodys_way(cloud: Remote) -> None:
    store = cloud.store()

    def write() -> None:
        with store.create("x.bin") as stream:
            for _ in range(4):
                stream.write(DATA)

    for _ in range(3):
        cloud.proxy.cut_after = 0
        with pytest.raises(StoreError, match=r"x\.bin"):
            write()
        cloud.proxy.cut_after = None
    write()
    found, wanted = read(store, "x.bin"), DATA * 4
    assert (len(found), hash(found)) == (len(wanted), hash(wanted))


@pytest.mark.parametrize("protocol", ["s3", "az"])
def test_blocks_are_sent_while_others_are_not_answered(
    protocol: str, request: pytest.FixtureRequest
) -> None:
    remote: Remote = request.getfixturevalue(protocol)
    store = remote.store()
    with store.create("x.bin") as stream:
        stream.write(DATA)  # begins the upload
        remote.proxy.flowing.clear()
        stream.write(DATA[: 5 << 20])  # would fail after 2 s if answers were waited for
        remote.proxy.flowing.set()
    found, wanted = read(store, "x.bin"), DATA + DATA[: 5 << 20]
    assert (len(found), hash(found)) == (len(wanted), hash(wanted))


@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize("size", [0, 1000, len(DATA)])
def test_object_is_there_although_the_answer_was_lost(
    cloud: Remote, size: int, *, replace: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = "_publish" if size > 5 << 20 and cloud.protocol != "gs" else "_send_whole"
    sink = {"s3": S3Sink, "gs": GoogleSink, "az": AzureSink}[cloud.protocol]
    step_itself = getattr(sink, step)

    async def unanswered(self: BlockSink, *given: Any) -> None:
        cloud.proxy.cut_after, cloud.proxy.cuts_left = 0, 1
        await step_itself(self, *given)

    monkeypatch.setattr(sink, step, unanswered)
    store = cloud.store()
    if replace:
        put(store, "x.bin", b"old")
        cloud.proxy.cut_after = None
    with store.create("x.bin", replace=replace) as stream:
        stream.write(DATA[:size])
    cloud.proxy.cut_after = None
    found = read(store, "x.bin")
    assert (len(found), hash(found)) == (size, hash(DATA[:size]))


def test_other_object_is_kept_although_the_answer_was_lost(
    cloud: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = cloud.store()

    def write(data: bytes) -> None:
        with store.create("x.bin") as stream:
            stream.write(data)
            if data is DATA:
                put(cloud.other, "x.bin", DATA[:-1])

    with pytest.raises(BackupExistsError, match=r"x\.bin"):
        write(DATA)
    assert len(read(store, "x.bin")) == len(DATA) - 1
    cloud.other.delete("x.bin")
    monkeypatch.undo()
    write(b"1")
    with pytest.raises(BackupExistsError, match=r"x\.bin"):
        write(b"1")


def test_ten_thousand_blocks_are_enough() -> None:
    size = 0
    for _ in range(10_000):
        size += block_bytes(size, 10_000)
    assert size > 5 << 40
    assert block_bytes(5 << 40, 10_000) <= 5 << 30
    assert block_bytes(5 << 40, None) == block_bytes(0, 10_000)


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
    left = [info.key for info in store.list()]
    assert left == (["killed.bin.tmp", "y.bin"] if remote.protocol == "sftp" else ["y.bin"])
    if remote.protocol == "s3":
        found = uploads(s3_files, s3_bucket)
        assert [upload["Key"].rpartition("/")[2] for upload in found] == ["killed.bin"]
        s3_files.abort_mpu(s3_bucket, found[0]["Key"], found[0]["UploadId"])


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
    options, canary = wrong_login(remote)
    shown = []
    with caplog.at_level(logging.DEBUG, "pgvector_restore"):
        remote.proxy.cut_after = 0 if remote.protocol == "s3" else None  # any key is right there
        try:
            store = remote.store(**options)
            shown += [repr(store), str(store), store.url]
            list(store.list())
        except PgvectorRestoreError as exc:
            shown += [str(exc), repr(exc), str(exc.hint), str(exc.to_dict())]
    assert len(shown) > 3
    assert canary not in "\n".join([*shown, caplog.text])


@pytest.mark.parametrize("kind", ["gs", "az"])
def test_wrong_login_is_said_at_once(request: pytest.FixtureRequest, kind: str) -> None:
    remote: Remote = request.getfixturevalue(kind)
    put(remote.store(), "x.bin", b"1")
    store = remote.store(**wrong_login(remote)[0])
    before = remote.proxy.connections
    with pytest.raises(StoreError, match="no permission to read"):
        list(store.list())
    with pytest.raises(StoreError, match="no permission to read"):
        read(store, "x.bin")
    with pytest.raises(StoreError, match="no permission to write"):
        put(store, "y.bin", b"1")
    with pytest.raises(StoreError, match="no permission to write"):
        store.delete("x.bin")
    assert remote.proxy.connections - before < 9  # none of them was tried five times
    assert [info.key for info in remote.store().list()] == ["x.bin"]


def wrong_login(remote: Remote) -> tuple[dict[str, object], str]:
    """Options that name no user of the server, and what of them nobody may see."""
    if remote.protocol == "az":
        canary = base64.b64encode(b"c4nary-s3cr3t").decode()
        return az_options({"port": remote.proxy.port}, canary), canary
    if remote.protocol == "gs":
        key = asyncssh.generate_private_key("ssh-rsa").export_private_key("pkcs8-pem")
        login = {
            "type": "service_account",
            "client_email": "backup@example.org",
            "private_key": key.decode(),
            "token_uri": f"http://127.0.0.1:{remote.proxy.port}/token",
        }
        return {"token": login}, key.decode().splitlines()[7]
    canary = "c4nary-s3cr3t"
    return ({"secret": canary} if remote.protocol == "s3" else {"password": canary}), canary


def test_bucket_that_is_not_there(cloud: Remote) -> None:
    store = open_store(f"{cloud.protocol}://no-such-bucket/x", storage_options=cloud.options)
    assert isinstance(store, WritableStore)
    with pytest.raises(BackupNotFoundError, match="no such folder"):
        list(store.list())
    with pytest.raises(BackupNotFoundError):
        read(store, "x.bin")
    with pytest.raises(StoreError, match="no-such-bucket"):
        put(store, "x.bin", b"1")
    with pytest.raises(BackupNotFoundError):
        store.delete("x.bin")


@pytest.mark.parametrize(
    ("status", "code", "message", "hint"),
    [
        (403, "InvalidObjectState", r"cannot read .*x\.csv.: it is archived", "archive"),
        (400, "ExpiredToken", r"no permission to read .*x\.csv", "login has expired"),
        (403, "RequestTimeTooSkewed", "no permission to read", "clock"),
    ],
)
def test_refusals_of_s3_are_told_apart(
    tmp_path: Path, status: int, code: str, message: str, hint: str
) -> None:
    body = f"<Error><Code>{code}</Code><Message>it is so</Message></Error>".encode()
    with web_server(tmp_path) as server:
        head = f"HTTP/1.1 {status} x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        server.answers["/bucket/x.csv"] = head + body
        store = open_store("s3://bucket", storage_options=s3_options({"endpoint": server.url}))
        with pytest.raises(StoreError, match=message) as caught:
            store.open("x.csv")
        assert hint in str(caught.value.hint)
        assert len(server.requests) == 1


@pytest.mark.parametrize("option", ["known_hosts", "client_keys"])
def test_file_of_keys_that_is_not_there(sftp: Remote, tmp_path: Path, option: str) -> None:
    name = str(tmp_path / "missing")
    given: Any = [name] if option == "client_keys" else name
    with pytest.raises(BackupNotFoundError, match="no such store") as caught:
        sftp.store(**{option: given})
    assert name in str(caught.value.hint)


def test_key_that_is_not_opened(sftp: Remote, tmp_path: Path) -> None:
    key = asyncssh.generate_private_key("ssh-rsa")
    key.write_private_key(tmp_path / "key", "pkcs8-pem", passphrase="c4nary")
    for more in ({}, {"passphrase": "wrong-c4nary"}):
        with pytest.raises(OptionError, match="KeyImportError") as caught:
            sftp.store(client_keys=[str(tmp_path / "key")], **more)
        assert "passphrase" in str(caught.value.hint)
        assert "c4nary" not in f"{caught.value} {caught.value.__cause__}"


def test_names_of_any_bytes_over_sftp(sftp: Remote) -> None:
    store = sftp.store()
    put(store, "x.csv", b"1")
    name = os.fsdecode(b"caf\xe9.csv")
    (Path(sftp.url.partition(str(sftp.proxy.port))[2]) / name).write_bytes(b"2")
    assert [info.key for info in store.list()] == [name, "x.csv"]
    assert read(store, name) == b"2"


@pytest.mark.parametrize("protocol", ["s3", "gs"])
def test_small_progress_is_progress(
    protocol: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Less than is read ahead comes over each connection."""
    monkeypatch.setattr(_wide, "_ENOUGH_BYTES_PER_S", 0.0)
    remote: Remote = request.getfixturevalue(protocol)
    store = remote.store()
    put(store, "x.bin", DATA)
    remote.proxy.reset()
    remote.proxy.cut_after = 1 << 20
    found = read(store, "x.bin")
    assert (len(found), hash(found)) == (len(DATA), hash(DATA))  # a difference is 12 MiB long


def test_hosts_by_ipv6(sftp: Remote) -> None:
    with pytest.raises(StoreError, match=r"cannot read .sftp://\[::1\]:1/x"):
        open_store("sftp://me:secret@[::1]:1/x", storage_options=sftp.options)
