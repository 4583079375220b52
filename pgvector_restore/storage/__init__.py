"""Where backups lie and how they are named."""

from __future__ import annotations

import os
from collections.abc import Mapping

from pgvector_restore.errors import OptionError, quoted
from pgvector_restore.storage._archive import StoredArchive
from pgvector_restore.storage._local import LocalStore
from pgvector_restore.storage._paths import (
    Place,
    local_archive,
    local_place,
    parse_place,
    protocols,
    remote_archive,
)
from pgvector_restore.storage._plugins import environment_options, plugin_store
from pgvector_restore.storage._protocols import PROTOCOLS, protocol_row
from pgvector_restore.storage._retry import retrying
from pgvector_restore.storage._web import WebStore
from pgvector_restore.storage._zip import ZipStore
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
            ``file:///data``), a URL (``s3://bucket/x``, ``sftp://host/x``, ``https://host/x``,
            ``zip:///data/x.zip``, any other that fsspec or an installed package knows), or a
            store, which is given back as it is. ``~`` is not expanded.
        layout: Naming rules, for a path or URL; a store brings its own.
        storage_options: Keywords for the storage, mostly those of fsspec's file system; never
            shown. ``None``: those that ``PGVECTOR_RESTORE_STORAGE_OPTIONS`` has for the protocol.

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
        if storage_options is None:
            storage_options = environment_options(place.protocol)
        return _remote(place, layout, storage_options)
    if storage_options:
        raise OptionError(f"a local folder takes no storage options, got {len(storage_options)}")
    return LocalStore(place, layout)


def _remote_archive(
    place: Place, layout: Layout, storage_options: Mapping[str, object] | None
) -> BackupStore:
    """An archive in another store; options are that store's, or by protocol as fsspec's are."""
    parent, name, folder = remote_archive(place.path)
    protocol = next(iter(protocols(parent)), "")
    if protocol == "zip":
        raise OptionError(
            f"an archive in an archive is not read: {quoted(place.display)}",
            hint="unpack the outer one",
        )
    given = storage_options.get(protocol) if storage_options is not None else None
    if isinstance(given, Mapping):
        storage_options = given
    around = open_store(parent, storage_options=storage_options)
    return ZipStore(StoredArchive(around, name), place.display, folder, layout)


def _remote(
    place: Place, layout: Layout, storage_options: Mapping[str, object] | None
) -> BackupStore:
    """The store of a URL: our own, then those of other packages, then fsspec's."""
    if place.protocol in {"http", "https"}:
        return retrying(WebStore(place, layout, storage_options))
    if place.protocol == "zip":
        local = local_archive(place.path, windows=os.name == "nt")
        if local is not None:
            if storage_options:
                raise OptionError(
                    f"a local archive takes no storage options, got {len(storage_options)}"
                )
            archive, folder = local
            return ZipStore(archive, place.display, folder, layout)
        return _remote_archive(place, layout, storage_options)
    if place.protocol not in PROTOCOLS:
        store = plugin_store(place, layout, storage_options)
        if store is not None:
            return store
    wanted = protocol_row(place.protocol or "").names
    if wanted and not place.display.partition("://")[2].strip("/"):
        raise OptionError(f"no {wanted} in {quoted(place.display)}")
    # Only here: fsspec is not needed for the others and takes a while to import.
    from pgvector_restore.storage._fsspec import FsspecStore  # noqa: PLC0415

    return retrying(FsspecStore(place, layout, storage_options))
