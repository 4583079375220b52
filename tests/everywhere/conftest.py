"""The servers of the storage tests serve here as well."""

from __future__ import annotations

from tests.storage.conftest import (
    az_container,
    az_server,
    gs_bucket,
    gs_server,
    s3_bucket,
    s3_files,
    s3_server,
    sftp_server,
)

__all__ = [
    "az_container",
    "az_server",
    "gs_bucket",
    "gs_server",
    "s3_bucket",
    "s3_files",
    "s3_server",
    "sftp_server",
]
