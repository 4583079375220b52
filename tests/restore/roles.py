"""Roles for tests: they belong to the whole server, and go when the test ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple
from uuid import uuid4

from psycopg.conninfo import make_conninfo

from tests.restore.content import execute, query


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


class Low(NamedTuple):
    """A role without rights of its own that owns the tables."""

    name: str
    #: How a superuser reaches the database.
    dsn: str
    #: How the role does.
    own: str


def grab(low: Low) -> str:
    """A function of the role that makes it a superuser, if a superuser calls it."""
    return f"""
    CREATE FUNCTION grab(anyelement) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN
        EXECUTE 'ALTER ROLE {low.name} SUPERUSER'; RETURN true; END $$;
    CREATE FUNCTION grab() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        EXECUTE 'ALTER ROLE {low.name} SUPERUSER'; RETURN new; END $$;
    CREATE FUNCTION calm(anyelement) RETURNS bool IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN
        PERFORM public.grab($1); RETURN true;
        EXCEPTION WHEN insufficient_privilege THEN RETURN true; END $$;
    """


def is_super(low: Low) -> bool:
    return bool(query(low.dsn, f"SELECT rolsuper FROM pg_roles WHERE rolname = '{low.name}'")[0][0])
