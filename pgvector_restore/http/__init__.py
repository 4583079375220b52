"""The HTTP service: the interface existing callers speak, and one with jobs beside it.

>>> from pgvector_restore.http import ServiceSettings, create_app
>>> app = create_app(ServiceSettings.load(store="./backups"))  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from pgvector_restore.errors import MissingExtraError

if TYPE_CHECKING:
    from pgvector_restore.http.app import create_app
    from pgvector_restore.http.settings import ServiceSettings

__all__ = ["ServiceSettings", "create_app"]

_PLACES = {"ServiceSettings": "settings", "create_app": "app"}


def __getattr__(name: str) -> object:
    """The public names, imported once they are asked for: the package needs an extra.

    Raises:
        MissingExtraError: It is not installed; the hint is the pip line.
    """
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = import_module(f"pgvector_restore.http.{_PLACES[name]}")
    except ModuleNotFoundError as exc:
        if (exc.name or "").startswith("pgvector_restore"):
            raise
        raise MissingExtraError(
            f"the service needs {exc.name}, which is not installed",
            hint='pip install "pgvector_restore[http]"',
        ) from exc
    return getattr(module, name)
