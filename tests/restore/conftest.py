"""Databases of the restore tests: one that is lent on, and one of a role nobody vouches for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from pgvector_restore.db.embedded import EmbeddedServer
from pgvector_restore.schema import COLLECTION, EMBEDDING
from tests.conftest import database
from tests.restore.content import execute, snapshot
from tests.restore.roles import Low, role
from tests.sets import restore, write_set


@pytest.fixture
def low(g2_dsn: str) -> Iterator[Low]:
    """A database whose tables belong to a role that nobody has a reason to trust."""
    owned = f"ALTER TABLE {EMBEDDING} OWNER TO {{}}; ALTER TABLE {COLLECTION} OWNER TO {{}};"
    with role(g2_dsn, owned + "GRANT CREATE ON SCHEMA public TO {};") as (name, own):
        yield Low(name, g2_dsn, own)


class OldRows:
    """Databases that hold the rows of the small set in LangChain's tables.

    Args:
        server: Where.
        template: A database with the empty tables.
        folder: For the set's files.
    """

    def __init__(self, server: EmbeddedServer, template: str, folder: Path) -> None:
        self._server = server
        self._template = template
        self._root = write_set(folder)
        self._stack = ExitStack()
        self._kept: tuple[str, Any] | None = None

    @contextmanager
    def database(self, ddl: str = "") -> Iterator[tuple[str, Any]]:
        """Connection string of a database, and what it holds.

        Without ``ddl`` it is the one that the last test had, unless that test failed in it: each
        looks at its end whether it holds what it held. With ``ddl`` it is a new one, changed by
        these statements.
        """
        if ddl:
            with database(self._server, self._template) as dsn:
                yield self._filled(dsn, ddl)
            return
        if self._kept is None:
            dsn = self._stack.enter_context(database(self._server, self._template))
            self._kept = self._filled(dsn)
        try:
            yield self._kept
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Drop the database that is kept."""
        self._kept = None
        self._stack.close()

    def _filled(self, dsn: str, ddl: str = "") -> tuple[str, Any]:
        restore(self._root, dsn, mode="replace")
        if ddl:
            execute(dsn, ddl)
        return dsn, snapshot(dsn)


@pytest.fixture(scope="session")
def old_rows(
    server: EmbeddedServer, g2_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OldRows]:
    kept = OldRows(server, g2_template, tmp_path_factory.mktemp("old"))
    yield kept
    kept.close()
