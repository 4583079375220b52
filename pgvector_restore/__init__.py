"""Bring backups of pgvector tables back into PostgreSQL: exactly, all tables or none.

>>> from pgvector_restore import Restorer, open_store
>>> store = open_store("./data_pipeline/training_data")
>>> with Restorer(store, "postgresql://user@host/db") as restorer:  # doctest: +SKIP
...     print(restorer.plan("latest", mode="replace"))
...     report = restorer.restore("latest", mode="replace")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from pgvector_restore._version import __version__

if TYPE_CHECKING:
    from pgvector_restore import _public
    from pgvector_restore._public import *  # noqa: F403 - as they are named there

    __all__ = ["__version__"]
    __all__ += _public.__all__
else:

    def __getattr__(name: str) -> object:
        # Not before they are asked for: that takes a third of a second, and the command line is to
        # mind signals from its first moment on.
        if not name.startswith("__") or name == "__all__":
            public = import_module("pgvector_restore._public")
            if name == "__all__" or name in public.__all__:
                return getattr(public, name)
            if name in globals():  # a module that is loaded by now
                return globals()[name]
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *import_module("pgvector_restore._public").__all__})
