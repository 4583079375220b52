"""Security labels of a table, and whether their providers are there to set them again."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import psycopg
from psycopg import sql

__all__ = ["find_providers", "find_unloaded"]

_PROVIDERS = """
SELECT DISTINCT l.provider FROM pg_class c
JOIN pg_seclabel l ON (l.classoid = 'pg_class'::regclass AND l.objoid = c.oid)
                   OR (l.classoid = 'pg_type'::regclass AND l.objoid = c.reltype)
WHERE c.oid = %(oid)s
   OR c.oid IN (SELECT o.objid FROM pg_depend o JOIN pg_class s ON s.oid = o.objid
                WHERE o.classid = 'pg_class'::regclass AND o.refclassid = 'pg_class'::regclass
                  AND o.refobjid = %(oid)s AND o.deptype = 'i' AND s.relkind = 'S')
ORDER BY 1
"""


def find_providers(cur: psycopg.Cursor[Any], oid: int) -> tuple[str, ...]:
    """Providers of the labels of a table, its columns, row type and identity sequences."""
    cur.execute(_PROVIDERS, {"oid": oid})
    return tuple(row[0] for row in cur.fetchall())


def find_unloaded(conn: psycopg.Connection[Any], providers: Iterable[str]) -> tuple[str, ...]:
    """Which of these providers the server has not loaded; nothing is changed.

    No catalog tells. The server looks for the provider first, and then for the object: so a label
    is taken from a schema that does not exist.

    Args:
        conn: Between transactions, and not read-only.
        providers: Their names.
    """
    nowhere = sql.Identifier(f"pgvr_{secrets.token_hex(12)}")
    missing = []
    for provider in providers:
        statement = sql.SQL("SECURITY LABEL FOR {} ON SCHEMA {} IS NULL").format(
            sql.Identifier(provider), nowhere
        )
        try:
            with (
                suppress(psycopg.errors.InvalidSchemaName, psycopg.errors.ReadOnlySqlTransaction),
                conn.transaction(force_rollback=True),
            ):
                conn.execute(statement)
        except psycopg.errors.InvalidParameterValue:
            missing.append(provider)
    return tuple(missing)
