"""Roles for tests: they belong to the whole server, and go when the test ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

from psycopg.conninfo import make_conninfo

from tests.restore.content import execute


@contextmanager
def role(dsn: str, grants: str = "") -> Iterator[tuple[str, str]]:
    """A plain role that can log in: its name, and how it connects to that database.

    Args:
        dsn: The database, as a superuser reaches it.
        grants: Statements with ``{}`` in the place of its name.
    """
    name = f"plain_{uuid4().hex[:8]}"
    execute(dsn, f"CREATE ROLE {name} LOGIN")
    try:
        if grants:
            execute(dsn, grants.replace("{}", name))
        yield name, make_conninfo(dsn, user=name)
    finally:
        execute(dsn, f"DROP OWNED BY {name} CASCADE; DROP ROLE {name}")
