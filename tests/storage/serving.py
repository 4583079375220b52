"""Servers of storages, each a process of its own on a free port of 127.0.0.1.

``python -m tests.storage.serving s3`` or ``… sftp FOLDER`` prints one line of JSON when it serves
and ends when its standard input does, so that none outlives the tests.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec

USER, PASSWORD = "backup", "s3cr3t-c4nary"


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
            process.wait(10)
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

    asyncio.run(serve())


if __name__ == "__main__":
    if sys.argv[1] == "s3":
        _serve_s3()
    else:
        _serve_sftp(sys.argv[2])
