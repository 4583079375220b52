"""Hypothesis strategies for what backup files hold; each names the rule it draws from."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

__all__ = ["block_sizes", "csv_tables", "documents", "json_values", "vectors"]

#: What quoting, row ends and COPY's own escapes could trip over.
_AWKWARD = ['"', '""', ",", "\n", "\r", "\r\n", "\\", "\\.", "\\N", "\t", "'", " ", "\ufeff", "📚"]

#: Text of a database: no NUL, no lone surrogates.
_characters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
documents: st.SearchStrategy[str] = st.one_of(
    st.text(_characters, max_size=20),
    st.lists(st.sampled_from(_AWKWARD) | _characters, max_size=8).map("".join),
)

#: pgvector's limits on a finite vector: float32, at least one dimension.
vectors: st.SearchStrategy[list[float]] = st.lists(
    st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=6
)

#: JSON as decoded by a driver: what ``repr`` then writes into a backup. jsonb has no NUL.
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**25), 10**25)
    | st.floats(allow_nan=False, allow_infinity=False)
    | documents,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(documents, inner, max_size=3),
    max_leaves=8,
)

#: Sizes of blocks a storage may answer with: down to one byte.
block_sizes: st.SearchStrategy[int] = st.integers(1, 40)


@st.composite
def csv_tables(draw: st.DrawFn) -> tuple[list[str], list[list[str]], str]:
    """Header, rows and row end as ``csv.writer`` takes them: two columns at least."""
    width, end = draw(st.integers(2, 4)), draw(st.sampled_from(["\r\n", "\n"]))
    # Python before 3.13 quotes a carriage return only if it is part of the row end.
    text = documents if end == "\r\n" else documents.map(lambda found: found.replace("\r", ""))
    names = st.lists(text.filter(bool), min_size=width, max_size=width, unique=True)
    # One BOM at the start of a file is dropped.
    header = draw(names.filter(lambda found: not found[0].startswith("\ufeff")))
    row = st.lists(text, min_size=width, max_size=width)
    return header, draw(st.lists(row, max_size=4)), end
