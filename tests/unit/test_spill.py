"""Repeated values, through memory and through the disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from pgvector_restore.rows.rejects import record_spans
from pgvector_restore.spill import Spill


def batches(values: list[bytes], size: int) -> Iterator[list[bytes]]:
    return (values[start : start + size] for start in range(0, len(values), size))


@given(
    st.lists(st.integers(0, 60).map(lambda n: b"%d" % n), max_size=300),
    st.integers(1, 40),
    st.integers(1, 50),
    st.integers(0, 70),
)
def test_as_a_counter_says(values: list[bytes], run: int, size: int, most: int) -> None:
    counted = Counter(values)
    with Spill(run_values=run) as spill:
        for batch in batches(values, size):
            spill.add(batch)
        found = spill.repeated(most)
        assert spill.runs_on_disk == max(len(values) - 1, 0) // run
    again = {hash(value) for value, count in counted.items() if count > 1}
    assert found.extra == len(values) - len(counted)
    assert found.distinct == len(again)
    assert len(found.hashes) == min(most, len(again))
    assert set(found.hashes.tolist()) <= again


@given(st.lists(st.sampled_from(['"', "\n", "a", ",", "\r\n", '"\n"']), max_size=30).map("".join))
def test_spans_are_records(text: str) -> None:
    data = text.encode()
    inside, start, expected = False, 0, []
    for at, byte in enumerate(data):
        inside ^= byte == ord('"')
        if byte == ord("\n") and not inside:
            expected.append((start, at + 1))
            start = at + 1
    assert list(record_spans(data)) == expected
