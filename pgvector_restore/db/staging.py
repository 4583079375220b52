"""Staging schemas: tables that nobody reads yet, made like their targets; and what is left of them.

A staging schema belongs to the restore that holds the advisory lock on its name. Where nobody holds
it, that restore has died.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

from pgvector_restore.db.definition import IndexDefinition, TableDefinition
from pgvector_restore.db.exclusive import TableLock, holding
from pgvector_restore.db.session import close_search_path, configure_session
from pgvector_restore.db.statements import run_all, tablespace, written
from pgvector_restore.errors import TargetError, TargetMismatchError
from pgvector_restore.failpoints import reach

__all__ = [
    "build_indexes",
    "complete_table",
    "create_part_marks",
    "create_staging",
    "create_table_like",
    "drop_part_marks",
    "drop_staging",
    "end_loading",
    "new_staging_name",
    "sweep",
]

_log = logging.getLogger(__name__)
_Cursor = psycopg.Cursor[Any]

_PREFIX = "pgvr_staging_"
#: Comment of a staging schema; without it a schema is somebody else's, whatever it is called.
_MARK = "pgvector_restore: tables of a restore that is under way"
#: Seconds to wait for locks on tables that only a dying restore, or somebody who looks at
#: everything there is (``pg_dump``), can still hold; while one's own are dropped and while those of
#: others are, which a new restore can do without.
_DROP_TIMEOUT_S, _SWEEP_TIMEOUT_S = 10.0, 2.0


def new_staging_name() -> str:
    """A name that nobody has."""
    return _PREFIX + secrets.token_hex(6)


def create_staging(cur: _Cursor, name: str) -> None:
    """Create the schema, marked as ours."""
    cur.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
    cur.execute(
        sql.SQL("COMMENT ON SCHEMA {} IS {}").format(sql.Identifier(name), sql.Literal(_MARK))
    )


def create_part_marks(cur: _Cursor, staging: str) -> None:
    """Create the table in which parts of files are marked as loaded; it is called as its schema.

    An executor may run a task again that has run, or runs still. Whoever commits the mark of a part
    has loaded it, and nobody else has.
    """
    with tablespace(cur, ""):
        cur.execute(
            sql.SQL(
                "CREATE UNLOGGED TABLE {} (relation oid, part integer, rows bigint NOT NULL, "
                "PRIMARY KEY (relation, part)) USING heap"
            ).format(sql.Identifier(staging, staging))
        )


def drop_part_marks(cur: _Cursor, staging: str) -> None:
    """Drop that table, if there is one."""
    cur.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(staging, staging)))


def create_table_like(cur: _Cursor, definition: TableDefinition, staging: str) -> None:
    """Create the staging table, ready to take rows: columns, defaults, checks, no indexes."""
    name = sql.Identifier(staging, definition.name)
    with tablespace(cur, definition.tablespace):
        cur.execute(
            sql.SQL(
                "CREATE {} TABLE {} (LIKE {} INCLUDING DEFAULTS INCLUDING GENERATED "
                "INCLUDING IDENTITY INCLUDING STORAGE INCLUDING COMPRESSION){}"
            ).format(
                sql.SQL("UNLOGGED" if definition.persistence else ""),
                name,
                sql.Identifier(definition.schema, definition.name),
                sql.SQL(" USING {}").format(sql.Identifier(definition.access_method))
                if definition.access_method
                else sql.SQL(""),
            )
        )
    run_all(cur, definition.before_load)
    _name_identities(cur, definition, staging)
    _set_labels(cur, definition)


def _set_labels(cur: _Cursor, definition: TableDefinition) -> None:
    """Set security labels.

    Raises:
        TargetMismatchError: A provider is not loaded, or does not take its label from this role.
    """
    try:
        with cur.connection.transaction():
            run_all(cur, definition.labels)
    except psycopg.OperationalError:
        raise
    except psycopg.Error as exc:
        raise TargetMismatchError(
            f"security labels of {definition.schema}.{definition.name} cannot be set again: "
            f"{exc.diag.message_primary}",
            hint="use strategy in_place",
            sqlstate=exc.sqlstate,
        ) from exc


def _name_identities(cur: _Cursor, definition: TableDefinition, staging: str) -> None:
    """Sequences that ``LIKE`` makes are named by rule; their models may have been renamed."""
    for column, wanted, type_name, *_ in definition.identities:
        cur.execute(
            "SELECT relname FROM pg_class WHERE oid = pg_get_serial_sequence(%s, %s)::regclass",
            [sql.Identifier(staging, definition.name).as_string(cur), column],
        )
        row = cur.fetchone()
        if row is not None and row[0] != wanted:
            cur.execute(
                sql.SQL("ALTER SEQUENCE {} RENAME TO {}").format(
                    sql.Identifier(staging, row[0]), sql.Identifier(wanted)
                )
            )
        # LIKE copies bounds, which are those of the type, but makes every sequence a bigint.
        cur.execute(
            sql.SQL("ALTER SEQUENCE {} AS {}").format(
                sql.Identifier(staging, wanted), written(type_name)
            )
        )


def build_indexes(
    cur: _Cursor, definition: TableDefinition, build: Callable[[IndexDefinition], None]
) -> None:
    """Give the loaded staging table its indexes, those of its keys included.

    Args:
        cur: In a transaction.
        definition: What it is to be like.
        build: Builds one index.
    """
    for index in definition.indexes:
        with tablespace(cur, index.tablespace):
            build(index)


def complete_table(cur: _Cursor, definition: TableDefinition, staging: str) -> None:
    """Give the staging table what it lacks beside indexes: keys, triggers, policies, owner.

    The tables that it refers to have their indexes: they may refer to each other.

    Args:
        cur: In a transaction.
        definition: What it is to be like.
        staging: Its schema.
    """
    run_all(cur, definition.after_load)
    _revoke_defaults(cur, definition, staging)
    run_all(cur, definition.privileges)


def _revoke_defaults(cur: _Cursor, definition: TableDefinition, staging: str) -> None:
    """``ALTER DEFAULT PRIVILEGES`` may have granted more than the model has."""
    name = sql.Identifier(staging, definition.name)
    cur.execute(
        """
        SELECT DISTINCT CASE x.grantee WHEN 0 THEN 'PUBLIC'
                        ELSE quote_ident(pg_get_userbyid(x.grantee)) END
        FROM pg_class c, aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) x
        WHERE c.oid = %s::regclass
        """,
        [name.as_string(cur)],
    )
    for (grantee,) in cur.fetchall():
        cur.execute(sql.SQL("REVOKE ALL ON TABLE {} FROM {}").format(name, sql.SQL(grantee)))
    # Who is to own something in a schema must be able to make it there.
    owners = (owner for _, to, owner in map(_owner_of, definition.privileges) if to)
    for owner in dict.fromkeys(owners):
        cur.execute(
            sql.SQL("GRANT USAGE, CREATE ON SCHEMA {} TO {}").format(
                sql.Identifier(staging), sql.SQL(owner)
            )
        )


def _owner_of(statement: str) -> tuple[str, str, str]:
    return statement.rpartition(" OWNER TO ") if statement.startswith("ALTER ") else ("", "", "")


def drop_staging(
    conn: psycopg.Connection[Any],
    name: str,
    timeout_s: float = _DROP_TIMEOUT_S,
    *,
    claimed: bool = True,
) -> bool:
    """Drop a staging schema, and end the sessions that still load into it.

    Args:
        conn: Between transactions.
        name: The schema.
        timeout_s: Seconds to wait for its tables, and for those that their keys refer to: the
            server locks these as well, and they are what others read.
        claimed: The restore that made it is this one; else it is dropped only if that has died.

    Returns:
        Whether it is gone. What cannot be dropped now is swept by the next restore: that is
        logged, not raised.
    """

    def begin(cur: _Cursor) -> None:
        configure_session(cur, timeout_s)
        if not claimed:
            cur.execute("SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))", [name])
            if cur.fetchone() != (True,):
                raise _InUseError
            reach("sweep", conn)
        end_loading(cur, name)

    def drop(cur: _Cursor) -> None:
        cur.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(name)))

    try:
        with holding(conn, _tables_and_parents(conn, name), timeout_s, begin, ready=drop):
            reach("drop", conn)
    except _InUseError:
        return False
    except (psycopg.Error, TargetError) as exc:
        _log.warning("staging schema %s is left for the next restore: %s", name, exc.sqlstate)
        return False
    return True


class _InUseError(Exception):
    """A restore that is alive has the schema."""


def _tables_and_parents(conn: psycopg.Connection[Any], name: str) -> list[TableLock]:
    cur = psycopg.Cursor(conn, row_factory=tuple_row)
    with conn.transaction():
        close_search_path(cur)
        cur.execute(
            """
            WITH own AS (
                SELECT c.oid, n.nspname, c.relname
                FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                WHERE n.nspname = %s AND c.relkind IN ('r', 'p'))
            SELECT nspname::text, relname::text FROM own
            UNION
            SELECT n.nspname::text, c.relname::text
            FROM own JOIN pg_catalog.pg_constraint k ON k.conrelid = own.oid AND k.contype = 'f'
            JOIN pg_catalog.pg_class c ON c.oid = k.confrelid
            JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
            ORDER BY 1, 2
            """,
            [name],
        )
        # What has gone meanwhile needs no lock; what may not be locked by its name is locked later.
        return [TableLock(home, table, optional=True) for home, table in cur.fetchall()]


def end_loading(cur: _Cursor, name: str) -> None:
    """End the sessions that still load into a staging schema: nobody waits for their rows."""
    cur.execute(
        """
        SELECT pg_terminate_backend(pid)
        FROM (SELECT DISTINCT l.pid FROM pg_catalog.pg_locks l
              JOIN pg_catalog.pg_class c ON c.oid = l.relation
              JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
              WHERE n.nspname = %s AND l.pid <> pg_backend_pid()
                -- readers, like a dump, only delay it; VACUUM has indexes in this mode
                AND l.mode = 'RowExclusiveLock' AND c.relkind IN ('r', 'p')
                AND l.database = (SELECT oid FROM pg_catalog.pg_database
                                  WHERE datname = current_database())) AS loading
        """,
        [name],
    )


def sweep(conn: psycopg.Connection[Any]) -> tuple[str, ...]:
    """Drop what restores that died have left; returns the names of the schemas."""
    cur = psycopg.Cursor(conn, row_factory=tuple_row)
    with conn.transaction():
        close_search_path(cur)
        cur.execute(
            """
            SELECT n.nspname FROM pg_catalog.pg_namespace n
            WHERE starts_with(n.nspname, %s) AND obj_description(n.oid, 'pg_namespace') = %s
              AND pg_has_role(n.nspowner, 'USAGE')
            ORDER BY n.nspname
            """,
            [_PREFIX, _MARK],
        )
        names = [row[0] for row in cur.fetchall()]
    swept = []
    for name in names:
        if drop_staging(conn, name, _SWEEP_TIMEOUT_S, claimed=False):
            swept.append(name)
            _log.info("swept %s, which a restore that died had left", name)
    return tuple(swept)
