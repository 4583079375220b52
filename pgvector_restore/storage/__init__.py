"""Where backups lie and how they are named."""

from __future__ import annotations

import os
from collections.abc import Mapping

from pgvector_restore.errors import OptionError
from pgvector_restore.storage._local import LocalStore
from pgvector_restore.storage._paths import local_place, parse_place
from pgvector_restore.storage._retry import retrying
from pgvector_restore.storage.base import BackupStore
from pgvector_restore.storage.layout import DEFAULT_LAYOUT, Layout
from pgvector_restore.storage.log import BackupLog
from pgvector_restore.storage.writing import WritableStore

__all__ = ["DEFAULT_LAYOUT", "BackupLog", "BackupStore", "Layout", "WritableStore", "open_store"]


def open_store(
    url: str | os.PathLike[str] | BackupStore,
    *,
    layout: Layout = DEFAULT_LAYOUT,
    storage_options: Mapping[str, object] | None = None,
) -> BackupStore:
    r"""The store of a path or URL; nothing is listed yet.

    Args:
        url: A folder of this machine (``./data``, ``C:\data``, ``\\server\share``, a ``Path``,
            ``file:///data``), any URL fsspec knows (``s3://bucket/x``, ``sftp://host/x``), or a
            store, which is given back as it is. ``~`` is not expanded.
        layout: Naming rules, for a path or URL; a store brings its own.
        storage_options: Keywords for fsspec's file system; never shown.

    Raises:
        OptionError: No path, unknown protocol, or options where none are taken.
        MissingExtraError: The protocol's package is not installed.
        StoreError: The storage did not answer.
    """
    if isinstance(url, BackupStore):
        if storage_options or layout not in (DEFAULT_LAYOUT, url.layout):
            raise OptionError("an open store takes neither layout nor storage options")
        return url
    windows = os.name == "nt"
    text = os.fspath(url)
    if not isinstance(text, str):
        raise OptionError(f"a store is named by text, not by {type(text).__name__}")
    is_path = not isinstance(url, str)  # Path("s3://x") has lost a slash: it is no URL any more
    place = local_place(text, windows=windows) if is_path else parse_place(text, windows=windows)
    if place.protocol is not None:
        # Only here: fsspec is not needed for local folders and takes a while to import.
        from pgvector_restore.storage._fsspec import FsspecStore  # noqa: PLC0415

        return retrying(FsspecStore(place, layout, storage_options))
    if storage_options:
        raise OptionError(f"a local folder takes no storage options, got {len(storage_options)}")
    return LocalStore(place, layout)
