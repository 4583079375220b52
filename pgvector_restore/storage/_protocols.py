"""What is known of protocols: their packages, how they are called, how they are written."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from attrs import frozen

__all__ = ["CONNECT_S", "PROTOCOLS", "READ_S", "Protocol", "Stream", "install_line", "protocol_row"]

#: Ways to read an object, see ``_streams``.
Stream = Literal["s3", "gs", "az", "sftp", "memory"]

_NOTHING: Mapping[str, object] = MappingProxyType({})

#: A storage that does not answer ends in an error, and the attempts after it in the last one.
CONNECT_S, READ_S = 10, 60


@frozen
class Protocol:
    """A row: one file system that fsspec knows."""

    #: How messages and the guide call it.
    name: str
    #: The extra of this package that brings it; ``None`` where there is none.
    extra: str | None = None
    #: The module whose file system it has to be; ``None``: whichever fsspec finds.
    module: str | None = None
    #: What pip is told where there is no extra.
    packages: str = ""
    #: Options that hold unless the caller gives others.
    defaults: Mapping[str, object] = _NOTHING
    #: How objects are created: by an upload that shows nothing before its end, or under another
    #: name that is changed at the end; ``None``: not at all.
    writes: Literal["upload", "rename"] | None = None
    #: Reads come as one stream of the storage's own; ``None``: as fsspec's file asks for them.
    streams: Stream | None = None
    #: What a URL has to name; ``None``: nothing.
    names: str | None = None


# Listings are remembered by some file systems, and what is opened is looked up in them: off.
_S3 = Protocol(
    "S3",
    extra="s3",
    defaults={"use_listings_cache": False},
    writes="upload",
    streams="s3",
    names="bucket",
)
_GOOGLE = Protocol(
    "Google Cloud Storage",
    extra="gs",
    defaults={"use_listings_cache": False},
    writes="upload",
    streams="gs",
    names="bucket",
)
_AZURE = Protocol(
    "Azure Blob Storage",
    extra="az",
    defaults={
        "use_listings_cache": False,
        "connection_timeout": CONNECT_S,
        "read_timeout": READ_S,
    },
    writes="upload",
    streams="az",
    names="container",
)
# fsspec's own, over paramiko, trusts any host and is not made for several threads.
# sshfs trusts any host unless told otherwise; asyncssh reads an empty tuple as ~/.ssh/known_hosts.
# A host that answers no keepalive for a minute is given up. A window of 2 MiB, asyncssh's own, lets
# 40 MB/s through where an answer takes 20 ms; with 8 MiB it was 80.
_SFTP = Protocol(
    "SFTP",
    extra="sftp",
    module="sshfs",
    streams="sftp",
    defaults={
        "known_hosts": (),
        "connect_timeout": CONNECT_S,
        "keepalive_interval": READ_S // 4,
        "keepalive_count_max": 3,
        "window": 8 << 20,
        # As folders of this machine have them: names may be any bytes.
        "sftp_client_kwargs": {"path_errors": "surrogateescape"},
    },
    writes="rename",
)

#: Those that backups are known to be read from, and those with a package to name.
PROTOCOLS: Mapping[str, Protocol] = MappingProxyType({
    "s3": _S3, "s3a": _S3,
    "gs": _GOOGLE, "gcs": _GOOGLE,
    "az": _AZURE, "abfs": _AZURE, "abfss": _AZURE,
    "sftp": _SFTP, "ssh": _SFTP,
    "memory": Protocol("memory", writes="rename", streams="memory"),
    "adl": Protocol("Azure Data Lake", packages="adlfs"),
    "box": Protocol("Box", packages="boxfs"),
    "gdrive": Protocol("Google Drive", packages="gdrive_fs"),
    "github": Protocol("GitHub", packages="requests"),
    "hdfs": Protocol("HDFS", packages="pyarrow"),
    "hf": Protocol("Hugging Face", packages="huggingface_hub"),
    "oci": Protocol("Oracle Object Storage", packages="ocifs"),
    "oss": Protocol("Alibaba OSS", packages="ossfs"),
    "smb": Protocol("SMB", packages="smbprotocol"),
    "webdav": Protocol("WebDAV", packages="webdav4"),
    "webhdfs": Protocol("WebHDFS", packages="requests"),
})  # fmt: skip

_UNKNOWN = Protocol("this storage")


def protocol_row(protocol: str) -> Protocol:
    """The row of a protocol; one that promises nothing for those without."""
    return PROTOCOLS.get(protocol, _UNKNOWN)


def install_line(protocol: str) -> str | None:
    """How its packages are installed, if that is known."""
    row = protocol_row(protocol)
    if row.extra:
        return f'pip install "pgvector_restore[{row.extra}]"'
    return f"pip install {row.packages}" if row.packages else None
