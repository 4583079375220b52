"""S3 over s3fs: objects read as one stream each, and written by several requests at once."""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from pgvector_restore.storage._blocks import BlockSink, Uploads
from pgvector_restore.storage._reading import AheadSource
from pgvector_restore.storage._wide import WideBody

__all__ = ["S3Sink", "s3_source"]

#: Parts of one upload.
_MOST_PARTS = 10_000


def s3_source(
    fs: Any,  # noqa: ANN401 - s3fs has no types
    path: str,
    start: int,
    end: int | None,
) -> tuple[AheadSource | io.BytesIO, str | None]:
    """A range of an object, and the ETag it carries: one request, several where it is slow.

    s3fs itself asks for a block at a time, each in a request of its own.
    """
    bucket, key, version = fs.split_path(path)
    wanted: dict[str, object] = {"Bucket": bucket, "Key": key, **fs.req_kw}
    if version is not None:
        wanted["VersionId"] = version
    if start or end is not None:
        # A range past the end, or of no bytes, is an error there and nothing here.
        head = fs.call_s3("head_object", **wanted)
        until = min(head["ContentLength"], head["ContentLength"] if end is None else end)
        if start >= until:
            return io.BytesIO(), head.get("ETag")
        wanted |= {"Range": f"bytes={start}-{until - 1}", "IfMatch": head["ETag"]}
    answer = fs.call_s3("get_object", **wanted)
    body, etag, size = answer["Body"], answer.get("ETag"), answer.get("ContentLength")

    async def fetch(first: int, after: int) -> bytes:
        given = {**wanted, "Range": f"bytes={first}-{after - 1}", "IfMatch": etag}
        part = await fs._call_s3("get_object", **given)  # noqa: SLF001 - in its loop
        async with part["Body"] as stream:
            return bytes(await stream.read())

    known = etag is not None and size is not None
    wide = WideBody(body.read, body.close, fetch if known else None, start, start + (size or 0))
    return AheadSource(fs.loop, wide.read, wide.close), etag


class S3Sink(BlockSink):
    """An object being uploaded: in one request, or in parts that are put together in the end.

    The file of s3fs sends a part when the one before it has arrived.

    Args:
        fs: The file system.
        uploads: Shared by all that is uploaded over it.
        path: The object.
        replace: Take the place of one that is there.
    """

    def __init__(
        self,
        fs: Any,  # noqa: ANN401 - s3fs has no types
        uploads: Uploads,
        path: str,
        *,
        replace: bool,
    ) -> None:
        bucket, key, _ = fs.split_path(path)
        if not key:
            raise IsADirectoryError(path)
        super().__init__(fs, uploads, path, None if fs.fixed_upload_size else _MOST_PARTS)
        self._object = {"Bucket": bucket, "Key": key}
        self._condition = {} if replace else {"IfNoneMatch": "*"}
        self._kept = {"Metadata": {**fs.s3_additional_kwargs.get("Metadata", {}), **self._mark}}
        self._upload: str | None = None
        self._parts: dict[int, dict[str, object]] = {}

    async def _begin(self) -> None:
        answer = await self._call("create_multipart_upload", **self._kept)
        self._upload = answer["UploadId"]

    async def _send(self, number: int, block: bytes, *, is_last: bool) -> None:  # noqa: ARG002
        part = number + 1
        answer = await self._call("upload_part", UploadId=self._upload, PartNumber=part, Body=block)
        # The sum that was asked for has to be told again in the end.
        algorithm = self._fs.s3_additional_kwargs.get("ChecksumAlgorithm")
        kept = {name: answer[name] for name in ("ETag", f"Checksum{algorithm}") if name in answer}
        self._parts[part] = {"PartNumber": part, **kept}

    async def _publish(self) -> None:
        parts = [self._parts[part] for part in sorted(self._parts)]
        await self._call(
            "complete_multipart_upload",
            UploadId=self._upload,
            MultipartUpload={"Parts": parts},
            **self._condition,
        )

    async def _send_whole(self, data: bytes) -> None:
        await self._call("put_object", Body=data, **self._kept, **self._condition)

    async def _abandon(self) -> None:
        if self._upload is None:
            return
        with suppress(FileNotFoundError):  # it was put together after all
            await self._call("abort_multipart_upload", UploadId=self._upload)

    async def _metadata(self) -> Mapping[str, str]:
        found: Mapping[str, str] = (await self._call("head_object"))["Metadata"]
        return found

    async def _call(self, method: str, **given: object) -> Any:  # noqa: ANN401 - s3fs has no types
        """One request, tried again as s3fs does, with the options that it was given."""
        return await self._fs._call_s3(method, **self._object, **given)  # noqa: SLF001 - in its loop
