"""Servers of storages, one of each for a worker's session, started when a test asks for one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.storage.serving import az_options, cloud_file_system, gs_options, s3_file_system, serving


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


@pytest.fixture(scope="session")
def gs_server() -> Iterator[dict[str, Any]]:
    with serving("gs") as facts:
        yield facts


@pytest.fixture(scope="session")
def gs_bucket(gs_server: dict[str, Any]) -> str:
    name = "backups"
    cloud_file_system("gs", gs_options(gs_server)).mkdir(name)
    return name


@pytest.fixture(scope="session")
def az_server() -> Iterator[dict[str, Any]]:
    if shutil.which("azurite-blob") is None:
        pytest.skip("no azurite-blob on the PATH: npm install azurite")
    with serving("az") as facts:
        yield facts


@pytest.fixture(scope="session")
def az_container(az_server: dict[str, Any]) -> str:
    name = "backups"
    cloud_file_system("az", az_options(az_server)).mkdir(name)
    return name


def cloud_place(
    request: pytest.FixtureRequest, kind: str, folder: str
) -> tuple[str, dict[str, object]]:
    """URL of a folder at Google or Azure, and the options that lead there."""
    if kind == "gs":
        bucket = request.getfixturevalue("gs_bucket")
        return f"gs://{bucket}/{folder}", gs_options(request.getfixturevalue("gs_server"))
    container = request.getfixturevalue("az_container")
    return f"az://{container}/{folder}", az_options(request.getfixturevalue("az_server"))
