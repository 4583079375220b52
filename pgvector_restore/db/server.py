"""What the server, the database and the schema are like, and what the role may do there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg.rows import tuple_row

from pgvector_restore.db.attached import find_event_triggers
from pgvector_restore.db.pool import target_label
from pgvector_restore.db.session import close_search_path
from pgvector_restore.errors import TargetMismatchError
from pgvector_restore.target import DatabaseIdentity, TargetFacts

__all__ = ["check_identity", "server_facts"]

_SERVER = """
SELECT current_setting('server_version_num')::int,
       pg_is_in_recovery() OR current_setting('default_transaction_read_only')::bool,
       (SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
        WHERE e.extname = 'vector'),
       coalesce((SELECT extversion FROM pg_extension WHERE extname = 'vector'),
                (SELECT default_version FROM pg_available_extensions WHERE name = 'vector')),
       has_database_privilege(current_database(), 'CREATE'),
       current_user::text,
       EXISTS (SELECT FROM pg_namespace
               WHERE nspname = %(schema)s AND has_schema_privilege(oid, 'USAGE')),
       EXISTS (SELECT FROM pg_namespace
               WHERE nspname = %(schema)s AND has_schema_privilege(oid, 'CREATE')),
       EXISTS (SELECT FROM pg_extension WHERE extname = 'vector')
           OR (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
           OR (has_database_privilege(current_database(), 'CREATE')
               AND EXISTS (SELECT FROM pg_available_extension_versions v
                           JOIN pg_available_extensions a
                             ON a.name = v.name AND a.default_version = v.version
                           WHERE v.name = 'vector' AND (v.trusted OR NOT v.superuser)))
"""

#: A pair of names that differ in Unicode only has one that is not ASCII.
_UNUSUAL = """
SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relkind IN ('r', 'p') AND octet_length(c.relname) <> length(c.relname)
ORDER BY 1
"""

#: Where new tables go: a tablespace's folder, or the server's own. Only a role that may read
#: settings is told.
_FOLDER = """
SELECT CASE WHEN pg_has_role('pg_read_all_settings', 'USAGE')
       THEN coalesce(nullif(pg_tablespace_location(d.dattablespace), ''),
                     current_setting('data_directory')) END
FROM pg_database d WHERE d.datname = current_database()
"""

_IDENTITY = """
SELECT d.datname::text, d.oid::int8, pg_postmaster_start_time()::text,
       has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')
FROM pg_database d WHERE d.datname = current_database()
"""


def check_identity(conn: psycopg.Connection[Any], planned: TargetFacts) -> None:
    """Refuse another database than the one that a plan was made for.

    Args:
        conn: Outside of any transaction.
        planned: The plan's facts.

    Raises:
        TargetMismatchError: It is another one.
    """
    with conn.transaction():
        cur = psycopg.Cursor(conn, row_factory=tuple_row)
        close_search_path(cur)
        here = _identity(cur)
    if planned.identity is not None and not planned.identity.is_same(here):
        raise TargetMismatchError(
            f"the plan was made for database {planned.identity}, this is {here}",
            hint="make a plan for this one",
        )


def _identity(cur: psycopg.Cursor[Any]) -> DatabaseIdentity:
    cur.execute(_IDENTITY)
    row = cur.fetchone()
    assert row is not None  # noqa: S101 - the current database is there
    name, oid, started, may_know = row
    identifier = None
    if may_know:
        cur.execute("SELECT system_identifier::text FROM pg_control_system()")
        (identifier,) = cur.fetchone() or (None,)
    info = cur.connection.info
    return DatabaseIdentity(identifier, name, oid, f"{info.host}:{info.port}", started)


def server_facts(cur: psycopg.Cursor[Any], schema: str, names: Sequence[str]) -> TargetFacts:
    """The facts of a target without its tables."""
    cur.execute(_SERVER, {"schema": schema})
    row = cur.fetchone()
    assert row is not None  # noqa: S101 - a SELECT without FROM has one row
    version, read_only, vector_schema, vector_version, may_create, role, *may = row
    cur.execute(_UNUSUAL, [schema])
    unusual = tuple(row[0] for row in cur.fetchall())
    return TargetFacts(
        label=target_label(cur.connection),
        server_version=version,
        schema=schema,
        vector_schema=vector_schema,
        vector_version=vector_version,
        asked=tuple(names),
        tables=(),
        read_only=read_only,
        may_create_schemas=may_create,
        role=role,
        may_use_schema=may[0],
        may_create_tables=may[1],
        may_create_extension=may[2],
        unusual_names=unusual,
        data_folder=_data_folder(cur),
        event_triggers=find_event_triggers(cur),
        identity=_identity(cur),
    )


def _data_folder(cur: psycopg.Cursor[Any]) -> str | None:
    host = cur.connection.info.host or ""
    if not host.startswith(("/", "@")) and host not in ("localhost", "127.0.0.1", "::1", ""):
        return None
    cur.execute(_FOLDER)
    row = cur.fetchone()
    return str(row[0]) if row and row[0] else None
