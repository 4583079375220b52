"""The contract, over real servers of storages."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pgvector_restore.storage import BackupStore, open_store
from pgvector_restore.testing import WritableStoreTests
from tests.storage.serving import (
    USER,
    az_options,
    cloud_file_system,
    gs_options,
    s3_options,
    sftp_options,
)

_numbers = itertools.count(1)


class TestS3(WritableStoreTests):
    @pytest.fixture(autouse=True)
    def _bucket(self, s3_server: dict[str, Any], s3_bucket: str, s3_files: Any) -> Iterator[None]:
        self.bucket = s3_bucket
        self.options = s3_options(s3_server)
        self.files = s3_files
        self.root = s3_bucket
        yield
        for bucket in {self.bucket, self.root}:
            uploads = self.files.call_s3("list_multipart_uploads", Bucket=bucket)
            assert not uploads.get("Uploads")

    def make_store(self, objects: dict[str, bytes]) -> BackupStore:
        # A bucket of its own: a folder without objects is none there.
        self.root = f"bucket{next(_numbers)}"
        self.files.mkdir(self.root)
        for key, data in objects.items():
            self.files.pipe_file(f"{self.root}/{key}", data)
        return open_store(f"s3://{self.root}", storage_options=self.options)

    def make_missing(self) -> BackupStore:
        url = f"s3://{self.bucket}/missing{next(_numbers)}"
        return open_store(url, storage_options=self.options)

    def replace(self, store: BackupStore, key: str, data: bytes) -> None:  # noqa: ARG002
        self.files.pipe_file(f"{self.root}/{key}", data)


class _Cloud(WritableStoreTests):
    """Each store is a bucket of its own, as with S3."""

    protocol: str
    bucket: str
    options: dict[str, object]

    def make_store(self, objects: dict[str, bytes]) -> BackupStore:
        self.files = cloud_file_system(self.protocol, self.options)
        self.root = f"bucket{next(_numbers)}"
        self.files.mkdir(self.root)
        for key, data in objects.items():
            self.files.pipe_file(f"{self.root}/{key}", data)
        return open_store(f"{self.protocol}://{self.root}", storage_options=self.options)

    def make_missing(self) -> BackupStore:
        url = f"{self.protocol}://{self.bucket}/missing{next(_numbers)}"
        return open_store(url, storage_options=self.options)

    def replace(self, store: BackupStore, key: str, data: bytes) -> None:  # noqa: ARG002
        self.files.pipe_file(f"{self.root}/{key}", data)


class TestGoogle(_Cloud):
    protocol = "gs"

    @pytest.fixture(autouse=True)
    def _bucket(self, gs_server: dict[str, Any], gs_bucket: str) -> None:
        self.bucket = gs_bucket
        self.options = gs_options(gs_server)


class TestAzure(_Cloud):
    protocol = "az"

    @pytest.fixture(autouse=True)
    def _container(self, az_server: dict[str, Any], az_container: str) -> None:
        self.bucket = az_container
        self.options = az_options(az_server)


class TestSftp(WritableStoreTests):
    @pytest.fixture(autouse=True)
    def _server(self, sftp_server: dict[str, Any]) -> None:
        self.server = sftp_server

    def open_at(self, folder: Path) -> BackupStore:
        url = f"sftp://{USER}@127.0.0.1:{self.server['port']}{folder}"
        return open_store(url, storage_options=sftp_options(self.server))

    def make_store(self, objects: dict[str, bytes]) -> BackupStore:
        self.root = self.server["folder"] / f"root{next(_numbers)}"
        self.root.mkdir()
        for key, data in objects.items():
            self.write(key, data)
        return self.open_at(self.root)

    def make_missing(self) -> BackupStore:
        return self.open_at(self.server["folder"] / f"missing{next(_numbers)}")

    def write(self, key: str, data: bytes) -> Path:
        path: Path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def replace(self, store: BackupStore, key: str, data: bytes) -> None:  # noqa: ARG002
        later = int(time.time()) + next(_numbers)  # seconds are all the protocol knows
        os.utime(self.write(key, data), (later, later))
