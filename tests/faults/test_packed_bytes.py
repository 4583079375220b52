"""Bytes changed or cut off at any place: the same text, or an error of ours and the old rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pgvector_restore import BadCompressionError, PgvectorRestoreError
from pgvector_restore.db.embedded import EmbeddedServer
from tests.conftest import database
from tests.faults.packs import COMPRESSED, PLAIN, Pack
from tests.faults.stores import held
from tests.restore.content import snapshot
from tests.sets import embedding_bytes, restore

_TEXT = embedding_bytes() * 20

every_codec = pytest.mark.parametrize("pack", COMPRESSED, ids=str)

#: Where, as a share of the file; what the byte is xored with, or ``None`` for a cut.
_changes = st.tuples(
    st.floats(0, 1, exclude_max=True), st.none() | st.sampled_from([1 << n for n in range(8)])
    | st.integers(1, 255),
)  # fmt: skip


def _changed(data: bytes, where: float, mask: int | None) -> bytes:
    offset = int(where * len(data))
    if mask is None:
        return data[:offset]
    return data[:offset] + bytes([data[offset] ^ mask]) + data[offset + 1 :]


def _outcome(store: Any) -> bytes | PgvectorRestoreError:
    try:
        return b"".join(store.blocks(store.catalog().latest().files[1]))
    except PgvectorRestoreError as exc:
        return exc


@every_codec
def test_every_cut_is_noticed(pack: Pack) -> None:
    data = pack.pack(_TEXT)
    for end in range(len(data)):
        store = held(Pack(pack.codec, pack.suffix, lambda _, end=end: data[:end]))  # type: ignore[misc]  # mypy and defaults
        outcome = _outcome(store)
        assert isinstance(outcome, BadCompressionError), end
        assert outcome.file == pack.embedding_file


@every_codec
@pytest.mark.parametrize("bit", range(8))
def test_every_flipped_bit_is_noticed_or_harmless(pack: Pack, bit: int) -> None:
    data = pack.pack(_TEXT)
    noticed = 0
    for offset in range(len(data)):
        changed = bytearray(data)
        changed[offset] ^= 1 << bit
        store = held(Pack(pack.codec, pack.suffix, lambda _, data=bytes(changed): data))  # type: ignore[misc]  # as above
        outcome = _outcome(store)
        if isinstance(outcome, BadCompressionError):
            noticed += 1
        else:
            assert outcome == _TEXT, offset
    assert noticed > 0.9 * len(data)


@pytest.fixture(scope="module")
def filled(
    server: EmbeddedServer, g2_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Any]]:
    """One database for all examples, and what it holds: the rows of the good set."""
    with database(server, g2_template) as made:
        restore(PLAIN.write(tmp_path_factory.mktemp("plain")), made)
        yield made, snapshot(made)


@every_codec
@settings(deadline=None, max_examples=30)
@given(change=_changes, collection=st.booleans())
@example(change=(0.0, None), collection=False)
@example(change=(0.999999, None), collection=True)
@example(change=(0.999999, 0x80), collection=False)
def test_restore_of_changed_bytes(
    filled: tuple[str, Any],
    tmp_path_factory: pytest.TempPathFactory,
    pack: Pack,
    change: tuple[float, int | None],
    collection: bool,  # noqa: FBT001 - drawn
) -> None:
    dsn, content = filled
    root = pack.write(tmp_path_factory.mktemp("set"))
    path = root / "vector_bak" / (pack.collection_file if collection else pack.embedding_file)
    path.write_bytes(_changed(path.read_bytes(), *change))
    # No other error may come: what comes through is the text that was packed.
    with suppress(BadCompressionError):
        restore(root, dsn, mode="replace")
    assert snapshot(dsn) == content
