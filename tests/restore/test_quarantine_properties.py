"""Random good and bad records: exactly the good ones are loaded, exactly the bad ones set aside."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest.mock import patch

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pgvector_restore import inspect_set, open_store, pieces
from pgvector_restore.schema import EMBEDDING
from tests.restore.content import query
from tests.sets import (
    EMBEDDING_FILE,
    SQL_ID,
    STRANGER_ID,
    embedding_bytes,
    quote,
    restore,
    write_set,
)
from tests.strategies import documents, json_values, vectors

#: What is done to a record's cells to make it one that cannot be restored.
BAD: dict[str, Callable[[list[str]], list[str]]] = {
    "vector": lambda cells: [*cells[:2], '"[1,nan]"', *cells[3:]],
    "number": lambda cells: [*cells[:2], '"[1,,2]"', *cells[3:]],
    "json": lambda cells: [*cells[:4], "\"{'a': nan}\""],
    "few": lambda cells: cells[:4],
    "many": lambda cells: [*cells, '""'],
    "empty": lambda _: [""],
    "nul": lambda cells: [*cells[:3], '"a\0"', cells[4]],
    "bytes": lambda cells: [*cells[:3], '"\udcff"', cells[4]],
    "orphan": lambda cells: [cells[0], STRANGER_ID, *cells[2:]],
    "uuid": lambda cells: [cells[0], "no uuid", *cells[2:]],
}
#: Cells after the id, as they stand in the file.
_good = st.tuples(
    st.sampled_from([SQL_ID, "", SQL_ID.upper()]),
    st.one_of(st.just(""), vectors.map(lambda v: quote(str(v).replace(" ", "")))),
    documents.map(quote),
    st.one_of(st.just(""), json_values.map(lambda value: quote(repr(value)))),
)
_records = st.lists(st.tuples(_good, st.none() | st.sampled_from(sorted(BAD))), max_size=12)
_roads = st.sampled_from(
    [{"strategy": "in_place"}, {"strategy": "swap", "jobs": 2}, {"strategy": "swap", "jobs": 1}]
)


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(_records, _roads, st.sampled_from(["\r\n", "\n"]))
def test_good_ones_are_loaded_and_bad_ones_set_aside(
    g2_dsn: str,
    records: list[tuple[tuple[str, ...], str | None]],
    road: dict[str, Any],
    end: str,
) -> None:
    written = []
    for number, (cells, fault) in enumerate(records):
        whole = [f"k{number}", *cells]
        written.append(whole if fault is None else BAD[fault](whole))
    faults = dict(enumerate(fault for _, fault in records))
    bad = [number for number, fault in faults.items() if fault is not None]
    raw = [(",".join(cells) + end).encode(errors="surrogateescape") for cells in written]
    header = embedding_bytes(records=[], end=end)
    with tempfile.TemporaryDirectory() as made, patch.object(pieces, "PART_BYTES", 64):
        store = write_set(Path(made) / "store", embedding=header + b"".join(raw))
        with ThreadPoolExecutor(2) as executor:
            report = restore(
                store,
                g2_dsn,
                mode="replace",
                on_bad_row="quarantine",
                reject_dir=Path(made) / "rejects",
                executor=executor,
                **road,
            )
        found = inspect_set(open_store(store), "latest").file(EMBEDDING)
        if bad:
            file = Path(report.reject_folder or "") / EMBEDDING_FILE
            assert file.read_bytes() == header + b"".join(raw[number] for number in bad)
    assert report.rows_rejected == len(bad)
    assert report.table(EMBEDDING).rows_read == len(records)
    loaded = query(g2_dsn, "SELECT id FROM langchain_pg_embedding ORDER BY substr(id, 2)::int")
    assert loaded == [(f"k{number}",) for number, fault in faults.items() if fault is None]
    assert found.error is None
    assert found.orphans == sum(fault in ("orphan", "uuid") for fault in faults.values())
    assert found.bad_records == sum(fault not in (None, "orphan") for fault in faults.values())
