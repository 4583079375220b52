"""What an object of a remote file system is read from and written to."""

from __future__ import annotations

import io
from typing import Any

from pgvector_restore.storage._blocks import BlockSink, Uploads
from pgvector_restore.storage._guard import Source
from pgvector_restore.storage._protocols import Stream
from pgvector_restore.storage._reading import PlainSource, opened
from pgvector_restore.storage._s3 import S3Sink, s3_source
from pgvector_restore.storage._sftp import sftp_source

__all__ = ["sink_of", "source_of"]


def source_of(
    fs: Any,  # noqa: ANN401 - fsspec has no types
    kind: Stream | None,
    path: str,
    start: int,
    end: int | None,
) -> tuple[Source, str | None]:
    """A range of an object, and which version of it that is, where the storage tells.

    Args:
        fs: The file system.
        kind: How it is read; ``None``: as its own file does.
        path: The object, as the file system names it.
        start: First byte.
        end: Byte after the last; ``None``: where the object ends. More may come.
    """
    if kind == "s3":
        return s3_source(fs, path, start, end)
    if kind == "gs":
        from pgvector_restore.storage import _google  # noqa: PLC0415 - the extra is there

        return _google.google_source(fs, path, start, end)
    if kind == "az":
        from pgvector_restore.storage import _azure  # noqa: PLC0415 - the extra is there

        return _azure.azure_source(fs, path, start, end)
    if kind == "memory":
        # Its open() hands every caller the same object with the same position.
        return io.BytesIO(fs.cat_file(path, start=start, end=end)), None
    file = opened(fs, path, start)
    return sftp_source(fs, file, start, end) if kind == "sftp" else PlainSource(file), None


def sink_of(
    fs: Any,  # noqa: ANN401 - fsspec has no types
    uploads: Uploads,
    path: str,
    *,
    replace: bool,
) -> BlockSink:
    """An object to write, which is there when it is published.

    The files of s3fs send one part at a time, those of adlfs make its loop the one of the caller's
    thread, those of gcsfs leave views of their buffer behind an error.

    Args:
        fs: The file system.
        uploads: Shared by all that is uploaded over it.
        path: The object, as the file system names it.
        replace: Take the place of what is there.
    """
    if uploads.kind == "gs":
        from pgvector_restore.storage import _google  # noqa: PLC0415 - the extra is there

        return _google.GoogleSink(fs, uploads, path, replace=replace)
    if uploads.kind == "az":
        from pgvector_restore.storage import _azure  # noqa: PLC0415 - the extra is there

        return _azure.AzureSink(fs, uploads, path, replace=replace)
    return S3Sink(fs, uploads, path, replace=replace)
