"""Servers of storages, each a process of its own on a free port of 127.0.0.1.

``python -m tests.storage.serving s3``, ``… gs``, ``… az`` or ``… sftp FOLDER`` prints one line of
JSON when it serves and ends when its standard input does, so that none outlives the tests.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
from gcsfs.core import GCSFileSystem

from tests.unprivileged import without_reading_all

USER, PASSWORD = "backup", "s3cr3t-c4nary"
AZURE_KEY = base64.b64encode(PASSWORD.encode()).decode()


@contextmanager
def serving(kind: str, *arguments: str) -> Iterator[dict[str, Any]]:
    """What the server says of itself; a server that does not start is an error."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.storage.serving", kind, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line, f"the {kind} server ended with {process.wait()}"
        yield json.loads(line)
    finally:
        process.stdin.close()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def s3_options(server: dict[str, Any]) -> dict[str, object]:
    return {
        "key": "testing",
        "secret": "testing",
        "endpoint_url": server["endpoint"],
    }


def s3_file_system(server: dict[str, Any]) -> Any:
    """Another program's way to the server."""
    return fsspec.filesystem(
        "s3", **s3_options(server), use_listings_cache=False, skip_instance_cache=True
    )


def gs_options(server: dict[str, Any]) -> dict[str, object]:
    return {"endpoint_url": server["endpoint"], "token": "anon", "project": "tests"}


def az_options(server: dict[str, Any], key: str = AZURE_KEY) -> dict[str, object]:
    endpoint = f"http://127.0.0.1:{server['port']}/{USER}"
    return {
        "connection_string": f"DefaultEndpointsProtocol=http;AccountName={USER};AccountKey={key};"
        f"BlobEndpoint={endpoint};"
    }


def cloud_file_system(protocol: str, options: dict[str, object]) -> Any:
    """Another program's way to Google or Azure."""
    if protocol == "gs":  # the other class asks for a kind of bucket that only Google has
        return GCSFileSystem(**options, use_listings_cache=False, skip_instance_cache=True)
    return fsspec.filesystem(
        protocol, **options, use_listings_cache=False, skip_instance_cache=True
    )


def sftp_options(server: dict[str, Any]) -> dict[str, object]:
    return {"known_hosts": server["known_hosts"], "password": PASSWORD}


def _tell(**facts: object) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def _serve_s3() -> None:
    from moto.server import ThreadedMotoServer  # noqa: PLC0415 - one of several servers

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    _tell(endpoint=f"http://127.0.0.1:{port}", port=port)
    sys.stdin.read()
    server.stop()


def _serve_gs() -> None:
    from tests.storage.google_server import GoogleServer  # noqa: PLC0415 - one of several servers

    with GoogleServer() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_address[1]
        _tell(endpoint=f"http://127.0.0.1:{port}", port=port)
        sys.stdin.read()
        server.shutdown()


def _serve_az() -> None:
    # It ends with the same standard input as this process, of which it reads nothing.
    ending = "process.stdin.resume().on('end',()=>process.exit())"
    process = subprocess.Popen(
        [
            *("azurite-blob", "--blobPort", "0", "--silent", "--inMemoryPersistence"),
            *("--skipApiVersionCheck", "--disableTelemetry"),
        ],
        stdout=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "AZURITE_ACCOUNTS": f"{USER}:{AZURE_KEY}",
            "NODE_OPTIONS": f"--import=data:text/javascript,{ending}",
        },
    )
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(r"listens on http://127\.0\.0\.1:(\d+)", line):
            _tell(port=int(found[1]))
            break
    process.wait()


def _serve_sftp(folder: str) -> None:
    import asyncssh  # noqa: PLC0415 - one of several servers

    class Server(asyncssh.SSHServer):
        def begin_auth(self, username: str) -> bool:  # noqa: ARG002
            return True

        def password_auth_supported(self) -> bool:
            return True

        def validate_password(self, username: str, password: str) -> bool:
            return (username, password) == (USER, PASSWORD)

    async def serve() -> None:
        key = asyncssh.generate_private_key("ssh-ed25519")
        server = await asyncssh.listen(
            "127.0.0.1", 0, server_factory=Server, server_host_keys=[key], sftp_factory=True
        )
        port = server.get_port()
        known = Path(folder) / "known_hosts"
        public = key.export_public_key().decode().strip()
        known.write_text(f"[127.0.0.1]:{port} {public}\n", "utf-8")
        _tell(port=port, known_hosts=str(known))
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        server.close()

    with without_reading_all():
        asyncio.run(serve())


_SERVERS = {"s3": _serve_s3, "gs": _serve_gs, "az": _serve_az, "sftp": _serve_sftp}

if __name__ == "__main__":
    serve: Any = _SERVERS[sys.argv[1]]
    serve(*sys.argv[2:])
