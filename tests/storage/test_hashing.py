"""SHA-256 taken beside the writing."""

from __future__ import annotations

import hashlib
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgvector_restore.storage.hashing import SideHash

#: Longer than what is hashed at once.
_LONG = 1 << 17


def _threads() -> list[str]:
    return [one.name for one in threading.enumerate() if "sha256" in one.name]


@given(
    sizes=st.lists(st.sampled_from([0, 1, 1000, _LONG - 1, _LONG, 3 * _LONG]), max_size=12),
    aside=st.booleans(),
)
def test_the_hash_is_that_of_all_blocks_in_their_order(
    sizes: list[int],
    aside: bool,  # noqa: FBT001 - from hypothesis
) -> None:
    blocks = [bytes([place]) * size for place, size in enumerate(sizes, 1)]
    side = SideHash(aside=aside)
    for block in blocks:
        side.update(block)
    try:
        assert side.hexdigest() == hashlib.sha256(b"".join(blocks)).hexdigest()
    finally:
        side.close()


def test_the_hash_can_be_asked_for_in_between() -> None:
    side = SideHash(aside=True)
    side.update(b"a" * _LONG)
    first = side.hexdigest()
    side.update(b"b" * _LONG)
    last = side.hexdigest()
    side.close()
    assert first == hashlib.sha256(b"a" * _LONG).hexdigest()
    assert last == hashlib.sha256(b"a" * _LONG + b"b" * _LONG).hexdigest()


@pytest.mark.parametrize("asked", [True, False])
def test_its_thread_ends_with_it(asked: bool) -> None:  # noqa: FBT001 - a parameter
    side = SideHash(aside=True)
    for _ in range(20):
        side.update(b"c" * _LONG)
    assert _threads()
    if asked:
        side.hexdigest()
    side.close()
    assert not _threads()


def test_no_thread_is_started_for_short_blocks() -> None:
    side = SideHash(aside=True)
    side.update(b"short")
    assert not _threads()
    side.close()
