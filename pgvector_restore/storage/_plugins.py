"""Stores that other packages bring, by the entry point group ``pgvector_restore.stores``."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from importlib.metadata import entry_points

from pgvector_restore.errors import OptionError
from pgvector_restore.storage._paths import Place
from pgvector_restore.storage.base import BackupStore
from pgvector_restore.storage.layout import Layout

__all__ = ["GROUP", "OPTIONS_VARIABLE", "environment_options", "plugin_store"]

GROUP = "pgvector_restore.stores"

#: Storage options where the call gives none: JSON, protocol → options.
OPTIONS_VARIABLE = "PGVECTOR_RESTORE_STORAGE_OPTIONS"


def plugin_store(
    place: Place, layout: Layout, storage_options: Mapping[str, object] | None
) -> BackupStore | None:
    """The store of another package for this protocol, or ``None`` where no package brings one.

    Only the package of the protocol is loaded.

    Raises:
        OptionError: Two packages bring one, it cannot be loaded, or it is no store.
    """
    assert place.protocol is not None  # noqa: S101 - the caller has a URL
    found = [
        point for point in entry_points(group=GROUP, name=place.protocol) if point.dist is not None
    ]
    makers = {point.value for point in found}
    if not makers:
        return None
    if len(makers) > 1:
        packages = sorted({point.dist.name for point in found if point.dist is not None})
        raise OptionError(
            f"several packages bring stores for {place.protocol}://: {', '.join(packages)}",
            hint="uninstall all but one of them",
        )
    point = found[0]
    try:
        make = point.load()
    except Exception as exc:
        raise OptionError(
            f"the store for {place.protocol}:// cannot be loaded: {type(exc).__name__}",
            hint=f"it is {point.value}, of another package",
        ) from exc
    store = make(place.path, layout=layout, storage_options=storage_options)
    if not isinstance(store, BackupStore):
        raise OptionError(f"{point.value} gave a {type(store).__name__}, not a BackupStore")
    return store


def environment_options(protocol: str) -> Mapping[str, object] | None:
    """Storage options of a protocol that the environment gives, or ``None``.

    Raises:
        OptionError: The variable is not what it should be; its content is not shown.
    """
    text = os.environ.get(OPTIONS_VARIABLE)
    if not text:
        return None
    try:
        options = json.loads(text)
    except ValueError:
        options = None
    if not isinstance(options, dict) or not all(isinstance(o, dict) for o in options.values()):
        raise OptionError(
            f"{OPTIONS_VARIABLE} is no JSON object of objects",
            hint='write options by protocol: {"s3": {"endpoint_url": "http://localhost:9000"}}',
        )
    found: dict[str, object] | None = options.get(protocol)
    return found
