"""Columns of a table, and what is to become of their cells."""

from __future__ import annotations

import re
from typing import Any

import psycopg

from pgvector_restore.target import ColumnKind, TargetColumn, WireType

__all__ = ["find_columns"]

_Cursor = psycopg.Cursor[Any]

#: Built-in types by OID (``pg_type.dat``).
_KIND_BY_OID: dict[int, ColumnKind] = {17: "bytea", 114: "json", 3802: "jsonb"}
_WIRE_BY_OID: dict[int, WireType] = {
    16: "bool",
    17: "bytea",
    20: "int8",
    21: "int2",
    23: "int4",
    25: "text",
    114: "json",
    700: "float4",
    701: "float8",
    1042: "text",
    1043: "text",
    1082: "date",
    1114: "timestamp",
    1184: "timestamptz",
    2950: "uuid",
    3802: "jsonb",
}
#: Types whose values depend on their modifier, and what the server adds to it: ``VARHDRSZ``.
_BPCHAR = 1042
_MODIFIED_BY_OID = {_BPCHAR: 4, 1043: 4, 1114: 0, 1184: 0}
#: Types of the extension, by name: their OIDs differ from database to database.
_WIRE_OF_EXTENSION: dict[str, WireType] = {
    "vector": "vector",
    "halfvec": "halfvec",
    "sparsevec": "sparsevec",
}


def find_columns(cur: _Cursor, oid: int, vector_schema: str | None) -> tuple[TargetColumn, ...]:
    """The table's columns in physical order.

    Args:
        cur: With an empty search path.
        oid: The table.
        vector_schema: Schema of the extension ``vector``, left out of its types' names.
    """
    cur.execute(
        """
        SELECT a.attname, format_type(a.atttypid, a.atttypmod), b.oid, b.typname, b.typcategory,
               EXISTS (SELECT 1 FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
                       WHERE d.classid = 'pg_type'::regclass AND d.objid = b.oid
                         AND d.refclassid = 'pg_extension'::regclass AND e.extname = 'vector'),
               a.attnotnull, a.atthasdef OR a.attidentity <> '', a.attgenerated <> '', a.atttypmod,
               CASE WHEN t.typbasetype = 0 THEN a.atttypmod ELSE t.typtypmod END
        FROM pg_attribute a
        JOIN pg_type t ON t.oid = a.atttypid
        JOIN pg_type b ON b.oid = coalesce(nullif(t.typbasetype, 0), t.oid)
        WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped
        ORDER BY a.attnum
        """,
        [oid],
    )
    rows = cur.fetchall()
    by_index = _index_dimensions(cur, oid)
    columns = []
    for row in rows:
        name, typ, base, base_name, category, ours, not_null, default, generated, mod, real = row
        is_vector = ours and base_name in ("vector", "halfvec")
        kind: ColumnKind = "other"
        if is_vector:
            kind = "vector"
        elif category == "S":
            kind = "text"
        else:
            kind = _KIND_BY_OID.get(base, "other")
        wire = _WIRE_OF_EXTENSION.get(base_name) if ours else _WIRE_BY_OID.get(base)
        columns.append(
            TargetColumn(
                name=name,
                type_name=typ.removeprefix(f"{vector_schema}.") if ours else typ,
                kind=kind,
                wire=wire,
                not_null=not_null,
                has_default=default,
                generated=generated,
                dimensions=(mod if mod > 0 else by_index.get(name)) if ours else None,
                modifier=_modifier(base, real),
                blank_padded=base == _BPCHAR,
            )
        )
    return tuple(columns)


def _modifier(base: int, modifier: int) -> int | None:
    """What the number in a type's parentheses says, where it changes values."""
    if base not in _MODIFIED_BY_OID or modifier < 0:
        return None
    return modifier - _MODIFIED_BY_OID[base]


def _index_dimensions(cur: _Cursor, oid: int) -> dict[str, int]:
    """Dimensions demanded by indexes on ``(column::vector(n))``.

    Partial indexes demand nothing of rows outside of them. The server stores a cast as an
    expression tree and prints it as text; there is no catalog column to ask.
    """
    cur.execute(
        """
        SELECT pg_get_indexdef(indexrelid) FROM pg_index
        WHERE indrelid = %s AND indexprs IS NOT NULL AND indpred IS NULL
        """,
        [oid],
    )
    found = {}
    for (definition,) in cur.fetchall():
        for quoted_name, name, size in re.findall(
            r'\((?:"((?:[^"]|"")+)"|(\w+))\)?::(?:[^():]+\.)?(?:vector|halfvec)\((\d+)\)',
            definition,
        ):
            found[quoted_name.replace('""', '"') or name] = int(size)
    return found
