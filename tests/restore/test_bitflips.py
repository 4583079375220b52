"""A flipped bit anywhere: the set restores, or an error of ours says why not."""

from __future__ import annotations

from pathlib import Path

import pytest

from pgvector_restore import PgvectorRestoreError, Restorer, open_store
from tests.restore.content import snapshot
from tests.sets import collection_bytes, embedding_bytes, write_set


def _flipped(data: bytes, offset: int) -> bytes:
    changed = bytearray(data)
    changed[offset] ^= 1 << ((offset + offset // 16) % 8)
    return bytes(changed)


@pytest.mark.parametrize("part", range(4))
def test_flipped_bit_of_embeddings(g2_dsn: str, tmp_path: Path, part: int) -> None:
    good = embedding_bytes()
    refused = restored = 0
    with Restorer(open_store(write_set(tmp_path)), g2_dsn) as restorer:
        restorer.restore(mode="replace")
        content = snapshot(g2_dsn)
        for offset in range(part, len(good), 16):
            write_set(tmp_path, embedding=_flipped(good, offset))
            try:
                report = restorer.restore(mode="replace")
            except PgvectorRestoreError:
                refused += 1
                assert snapshot(g2_dsn) == content
            else:
                restored += 1
                assert [t.rows_after for t in report.tables] == [2, 4]
                content = snapshot(g2_dsn)
    assert refused
    assert restored


def test_flipped_bit_of_collections(g2_dsn: str, tmp_path: Path) -> None:
    good = collection_bytes()
    refused = 0
    with Restorer(open_store(write_set(tmp_path)), g2_dsn) as restorer:
        restorer.restore(mode="replace")
        content = snapshot(g2_dsn)
        for offset in range(0, len(good), 8):
            write_set(tmp_path, collection=_flipped(good, offset))
            try:
                restorer.restore(mode="replace")
            except PgvectorRestoreError:
                refused += 1
                assert snapshot(g2_dsn) == content
            content = snapshot(g2_dsn)
    assert refused


def test_lost_quote_in_a_large_file_is_not_read_to_its_end(g2_dsn: str, tmp_path: Path) -> None:
    events: list[int] = []
    size = 24 << 20
    record = b'x,,"' + b"z" * size
    root = write_set(tmp_path, embedding=embedding_bytes() + record)
    with Restorer(open_store(root), g2_dsn) as restorer:
        plan = restorer.plan(mode="replace", max_record_bytes=1 << 20)
        with pytest.raises(PgvectorRestoreError, match="longer than 1048576 bytes"):
            restorer.run(plan, progress=lambda event: events.append(event.bytes_done))
    assert max(events) < size // 4
