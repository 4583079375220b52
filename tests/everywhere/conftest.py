"""The servers of the storage tests serve here as well."""

from __future__ import annotations

from tests.storage.conftest import s3_bucket, s3_files, s3_server, sftp_server

__all__ = ["s3_bucket", "s3_files", "s3_server", "sftp_server"]
