"""Types of columns by their names: what a manifest says against what a table has. Pure.

Names are the server's own, as ``format_type`` writes them: ``character varying(40)``,
``timestamp(3) with time zone``, ``vector(384)``, ``integer[]``.
"""

from __future__ import annotations

import re
from typing import Literal

from attrs import frozen

from pgvector_restore.manifest import ManifestColumn
from pgvector_restore.target import ColumnKind, KeyForm, KeyKind, TargetColumn, WireType

__all__ = [
    "EXTENSION_TYPES",
    "Recast",
    "TypeName",
    "described_column",
    "key_form",
    "parse_type",
    "recast",
]

#: What a field goes through on its way into a column of another type.
Recast = Literal["none", "to_json", "to_jsonb"]

#: Types of the extension ``vector``, and what their numbers in parentheses are: dimensions.
EXTENSION_TYPES = ("vector", "halfvec", "sparsevec")

#: Types that tables are created with: rules and encoder of each, as ``db/inspect.py`` finds them.
#: Types of other extensions, domains, enums and composites are not among them: a manifest names
#: them, and does not say what they are.
_KNOWN: dict[str, tuple[ColumnKind, WireType | None]] = {
    "bigint": ("other", "int8"),
    "bit": ("other", None),
    "bit varying": ("other", None),
    "boolean": ("other", "bool"),
    "bytea": ("bytea", "bytea"),
    "character": ("text", "text"),
    "character varying": ("text", "text"),
    "cidr": ("other", None),
    "date": ("other", "date"),
    "double precision": ("other", "float8"),
    "halfvec": ("vector", "halfvec"),
    "inet": ("other", None),
    "integer": ("other", "int4"),
    "interval": ("other", None),
    "json": ("json", "json"),
    "jsonb": ("jsonb", "jsonb"),
    "macaddr": ("other", None),
    "macaddr8": ("other", None),
    "name": ("other", None),
    "numeric": ("other", None),
    "real": ("other", "float4"),
    "smallint": ("other", "int2"),
    "sparsevec": ("other", "sparsevec"),
    "text": ("text", "text"),
    "time with time zone": ("other", None),
    "time without time zone": ("other", None),
    "timestamp with time zone": ("other", "timestamptz"),
    "timestamp without time zone": ("other", "timestamp"),
    "tsquery": ("other", None),
    "tsvector": ("other", None),
    "uuid": ("other", "uuid"),
    "vector": ("vector", "vector"),
}

#: Kinds of values that are compared here, by the names of their types. Text is compared as it
#: stands: a column with a collation that finds others equal must not be asked for.
_KEYS: dict[str, KeyKind] = {
    "bigint": "integer",
    "bit": "bit",
    "bit varying": "bit",
    "boolean": "bool",
    "bytea": "bytea",
    "character": "character",
    "character varying": "text",
    "cidr": "inet",
    "date": "date",
    "double precision": "float8",
    "inet": "inet",
    "integer": "integer",
    "macaddr": "macaddr",
    "numeric": "numeric",
    "real": "float4",
    "smallint": "integer",
    "text": "text",
    "timestamp with time zone": "timestamptz",
    "timestamp without time zone": "timestamp",
    "uuid": "uuid",
}
#: A type's numbers that a :class:`KeyForm` keeps: which of them.
_KEY_NUMBERS = {
    "character varying": 0,
    "numeric": 1,
    "timestamp with time zone": 0,
    "timestamp without time zone": 0,
}

#: Names that ``schema.py`` uses.
_ALIASES = {"varchar": "character varying"}
#: Types with the same bytes in a file.
_TEXTS = ("character varying", "text")
#: Types whose values do not change where their numbers in parentheses are left away.
_WIDENING = (
    *("bit varying", "character varying", "numeric", *EXTENSION_TYPES),
    *("time with time zone", "time without time zone"),
    *("timestamp with time zone", "timestamp without time zone"),
)
#: Same values, another form.
_RECASTS: dict[tuple[str, str], Recast] = {
    ("json", "jsonb"): "to_jsonb",
    ("jsonb", "json"): "to_json",
}
#: Types whose modifier a :class:`TargetColumn` keeps.
_MODIFIED = (
    "character",
    "character varying",
    "timestamp with time zone",
    "timestamp without time zone",
)

_NAME = re.compile(
    r"([^()\[\]]+?)(?:\(([0-9]+)(?:,([0-9]+))?\))?( with(?:out)? time zone)?((?:\[\])*)"
)


@frozen
class TypeName:
    """A type's name, taken apart."""

    #: Without numbers and brackets.
    base: str
    #: Numbers in parentheses.
    numbers: tuple[int, ...] = ()
    #: Dimensions as an array.
    brackets: int = 0

    @property
    def is_known(self) -> bool:
        """Tables can be created with it."""
        return self.base in _KNOWN

    @property
    def of_extension(self) -> bool:
        """It is a type of the extension ``vector``."""
        return self.base in EXTENSION_TYPES


def parse_type(name: str) -> TypeName | None:
    """The parts of a type's name; ``None`` for what is no name of that form."""
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    base, first, second, zone, brackets = found.groups()
    plain = base.rpartition(".")[2]
    base = plain if plain in EXTENSION_TYPES else _ALIASES.get(base, base)
    numbers = tuple(int(number) for number in (first, second) if number is not None)
    return TypeName(base + (zone or ""), numbers, len(brackets) // 2)


def key_form(type_name: str) -> KeyForm | None:
    """How values of a type are compared; ``None``: only the server can."""
    name = parse_type(type_name)
    kind = _KEYS.get(name.base) if name is not None and not name.brackets else None
    if name is None or kind is None:
        return None
    place = _KEY_NUMBERS.get(name.base)
    if place is None or not name.numbers:
        return KeyForm(kind)
    # numeric(5) has no digits after the point.
    return KeyForm(kind, name.numbers[place] if place < len(name.numbers) else 0)


def recast(stored: str, wanted: str) -> Recast | None:
    """How fields of a stored type become those of a column's; ``None``: they cannot."""
    if stored == wanted:
        return "none"
    one, other = parse_type(stored), parse_type(wanted)
    if one is None or other is None:
        return None
    return "none" if one == other else _recast(one, other)


def _recast(one: TypeName, other: TypeName) -> Recast | None:
    if one.brackets or other.brackets:  # an array names the type of its elements by a number
        return None
    if (found := _RECASTS.get((one.base, other.base))) is not None:
        return found
    if one.base == other.base:
        looser = not other.numbers or other.base == "character varying"
        # A vector of any dimensions fits where the server finds that it does.
        return "none" if other.base in _WIDENING and (looser or _open(one)) else None
    return "none" if one.base in _TEXTS and other.base in _TEXTS else None


def _open(name: TypeName) -> bool:
    return name.of_extension and not name.numbers


def described_column(column: ManifestColumn) -> TargetColumn:
    """The column as it would be found in a table; without rules where its type is not known."""
    name = parse_type(column.type_name)
    kind, wire = _KNOWN.get(name.base, ("other", None)) if name else ("other", None)
    if name is None or name.brackets:
        return TargetColumn(column.name, column.type_name, "other", not_null=column.not_null)
    first = name.numbers[0] if name.numbers else None
    if name.base == "character":
        first = first or 1
    return TargetColumn(
        column.name,
        column.type_name,
        kind,
        wire,
        not_null=column.not_null,
        dimensions=first if name.of_extension else None,
        modifier=first if name.base in _MODIFIED else None,
        blank_padded=name.base == "character",
    )
