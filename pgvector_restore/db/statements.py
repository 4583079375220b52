"""Statements that the server itself has written from its catalogs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql

__all__ = ["qualified", "run_all", "tablespace", "written"]


def written(text: str) -> sql.SQL:
    """A statement of the server's own making, names and literals quoted by it."""
    return sql.SQL(text)


def qualified(cur: psycopg.Cursor[Any], schema: str, name: str) -> str:
    """A qualified name as the server quotes it: only where it must."""
    cur.execute("SELECT format('%%I.%%I', %s::text, %s::text)", [schema, name])
    row = cur.fetchone()
    return str(row[0]) if row else ""


def run_all(cur: psycopg.Cursor[Any], statements: Iterable[str]) -> None:
    """Run them in order."""
    for text in statements:
        cur.execute(written(text))


@contextmanager
def tablespace(cur: psycopg.Cursor[Any], name: str) -> Iterator[None]:
    """Create tables and indexes there; empty: in the database's own."""
    cur.execute(sql.SQL("SET LOCAL default_tablespace = {}").format(sql.Literal(name)))
    yield
    cur.execute("SET LOCAL default_tablespace = ''")
