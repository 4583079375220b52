"""What a database holds, to compare before and after."""

from __future__ import annotations

from typing import Any

from psycopg import sql

from tests.conftest import connect

_RELATIONS = """
    SELECT n.nspname, c.relname, c.relkind::text, c.relhasindex, c.relnatts::int
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
    ORDER BY 1, 2
"""


def snapshot(dsn: str) -> dict[str, Any]:
    """Relations, extensions, and all rows of all tables."""
    with connect(dsn) as conn:
        relations = conn.execute(_RELATIONS).fetchall()
        extensions = conn.execute("SELECT extname, extversion FROM pg_extension").fetchall()
        rows = {
            f"{schema}.{name}": conn.execute(
                sql.SQL("SELECT t::text FROM {} t ORDER BY 1").format(sql.Identifier(schema, name))
            ).fetchall()
            for schema, name, kind, *_ in relations
            if kind in ("r", "p")
        }
    return {"relations": relations, "extensions": sorted(extensions), "rows": rows}


def query(dsn: str, text: str) -> list[tuple[Any, ...]]:
    """Rows of a query."""
    with connect(dsn) as conn:
        return conn.execute(sql.SQL(text)).fetchall()


def execute(dsn: str, text: str) -> None:
    """Run statements."""
    with connect(dsn) as conn:
        conn.execute(sql.SQL(text))


def count(dsn: str, table: str) -> int:
    """Rows of a table."""
    return int(query(dsn, f"SELECT count(*) FROM {table}")[0][0])
