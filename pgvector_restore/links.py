"""What ties the rows of a set to each other, as far as it is over single columns."""

from __future__ import annotations

from attrs import frozen

from pgvector_restore.manifest import Manifest
from pgvector_restore.schema import TableSchema, is_parent

__all__ = ["Links", "links_of"]


@frozen
class Links:
    """What ties rows to each other, as far as it is over single columns."""

    #: Columns whose values are there once.
    unique: tuple[str, ...] = ()
    #: The primary key; ``None``: it has several columns, or is not known.
    own_key: str | None = None
    #: Column that refers to another table of the set, and that table.
    parent: tuple[str, str] | None = None
    #: Rows of another table of the set refer to this one's primary key.
    is_parent: bool = False


def links_of(table: str, shape: TableSchema | None, manifest: Manifest | None) -> Links:
    """How the table's rows are tied, as the manifest says, else by the table's known shape."""
    said = manifest.table(table) if manifest is not None else None
    if said is None or manifest is None:
        if shape is None:
            return Links(is_parent=is_parent(table))
        keys = tuple(key for key in (shape.primary_key, shape.unique) if key is not None)
        parent = shape.parent[:2] if shape.parent is not None else None
        return Links(keys, shape.primary_key, parent, is_parent(table))
    keys_of = {t.name: t.primary_key for t in manifest.tables}
    known = [
        (t.name, key)
        for t in manifest.tables
        for key in t.foreign_keys
        if keys_of.get(key.parent) == (key.parent_column,)
    ]
    single = [one[0] for one in (said.primary_key, *said.unique) if len(one) == 1]
    parents = [(key.column, key.parent) for name, key in known if name == table != key.parent]
    return Links(
        tuple(single),
        said.primary_key[0] if len(said.primary_key) == 1 else None,
        parents[0] if parents else None,
        any(key.parent == table for _, key in known),
    )
