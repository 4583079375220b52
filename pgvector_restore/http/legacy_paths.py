r"""How existing callers name a location: ``./`` + the store as it was named + the location's key.

By text alone: a path that comes back is compared with those that were given out, and nothing is
ever looked up by it.
"""

from __future__ import annotations

from pgvector_restore.model import Catalog, Location

__all__ = ["find_location", "shown_path"]


def shown_path(store: str, location: Location) -> str:
    """The path of a location, as the list shows it.

    A store that is named by an absolute path or a URL is left out: both tell more of the machine
    than a caller needs.

    Args:
        store: The store's ``url``.
        location: One of its locations.

    >>> shown_path("./data_pipeline/training_data", Location("global", "vector_bak", "vector_bak"))
    './data_pipeline/training_data/vector_bak'
    >>> shown_path("s3://bucket/backups", Location("global", "vector_bak", "vector_bak"))
    './vector_bak'
    """
    relative = store in {".", ".."} or store.startswith(("./", "../"))
    root = store if relative else "."
    return f"{root}/{location.key}" if location.key else root


def find_location(catalog: Catalog, store: str, path: str) -> Location | None:
    r"""The location a caller means, or ``None``.

    Backslashes, a slash at the end and a missing ``./`` make no difference. Everything else does.
    """
    wanted = _parts(path)
    if wanted is None:
        return None
    for location in catalog.locations:
        if _parts(shown_path(store, location)) == wanted:
            return location
    return None


def _parts(path: str) -> list[str] | None:
    """The names of a relative path; ``None`` for one that starts at a root."""
    text = path.replace("\\", "/")
    if not text or text.startswith("/"):
        return None
    return [part for part in text.removesuffix("/").removeprefix("./").split("/") if part != "."]
