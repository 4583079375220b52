"""Types by their names: what a file in binary fits."""

from __future__ import annotations

import pytest

from pgvector_restore.column_types import TypeName, described_column, parse_type, recast
from pgvector_restore.manifest import ManifestColumn


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("uuid", TypeName("uuid")),
        ("varchar", TypeName("character varying")),
        ("character varying(40)", TypeName("character varying", (40,))),
        ("numeric(10,2)", TypeName("numeric", (10, 2))),
        ("timestamp(3) with time zone", TypeName("timestamp with time zone", (3,))),
        ("time without time zone", TypeName("time without time zone")),
        ("integer[]", TypeName("integer", (), 1)),
        ("character varying(3)[][]", TypeName("character varying", (3,), 2)),
        ("vector(384)", TypeName("vector", (384,))),
        ("extensions.halfvec(2)", TypeName("halfvec", (2,))),
        ("public.color", TypeName("public.color")),
        ("", None),
        ("text)", None),
        ("text(1", None),
        ("numeric(1,2,3)", None),
    ],
)
def test_names_are_taken_apart(name: str, parts: TypeName | None) -> None:
    assert parse_type(name) == parts


@pytest.mark.parametrize(
    ("stored", "wanted", "found"),
    [
        ("uuid", "uuid", "none"),
        ("public.color", "public.color", "none"),
        ("varchar", "character varying", "none"),
        ("text", "character varying(5)", "none"),
        ("character varying(9)", "text", "none"),
        ("character varying(9)", "character varying(5)", "none"),
        ("json", "jsonb", "to_jsonb"),
        ("jsonb", "json", "to_json"),
        ("vector(3)", "vector", "none"),
        ("vector", "vector(3)", "none"),
        ("vector(3)", "vector(4)", None),
        ("vector", "halfvec", None),
        ("public.vector(3)", "vector(3)", "none"),
        ("numeric(10,2)", "numeric", "none"),
        ("numeric", "numeric(10,2)", None),
        ("timestamp(3) with time zone", "timestamp with time zone", "none"),
        ("timestamp with time zone", "timestamp without time zone", None),
        ("integer", "bigint", None),
        ("character(3)", "character(4)", None),
        ("character(3)", "text", None),
        ("text[]", "text[]", "none"),
        ("text[]", "character varying[]", None),
        ("text[]", "text", None),
        ("text", "nonsense(", None),
    ],
)
def test_what_fits(stored: str, wanted: str, found: str | None) -> None:
    assert recast(stored, wanted) == found


def test_a_described_column() -> None:
    column = described_column(ManifestColumn("v", "public.vector(3)", not_null=True, dimensions=3))
    assert (column.kind, column.wire, column.dimensions) == ("vector", "vector", 3)
    assert column.not_null
    padded = described_column(ManifestColumn("c", "character(3)"))
    assert (padded.blank_padded, padded.modifier, padded.wire) == (True, 3, "text")
    array = described_column(ManifestColumn("a", "integer[]"))
    assert (array.kind, array.wire) == ("other", None)
