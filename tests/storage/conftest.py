"""Servers of storages, one of each for a worker's session, started when a test asks for one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.storage.serving import s3_file_system, serving


@pytest.fixture(scope="session")
def s3_server() -> Iterator[dict[str, Any]]:
    with serving("s3") as facts:
        yield facts


@pytest.fixture(scope="session")
def sftp_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    folder: Path = tmp_path_factory.mktemp("sftp")
    with serving("sftp", str(folder)) as facts:
        yield {**facts, "folder": folder}


@pytest.fixture(scope="session")
def s3_files(s3_server: dict[str, Any]) -> Any:
    return s3_file_system(s3_server)


@pytest.fixture(scope="session")
def s3_bucket(s3_files: Any) -> str:
    name = "backups"
    s3_files.mkdir(name)
    return name
