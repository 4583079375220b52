"""Random good and bad records: exactly the good ones are loaded, exactly the bad ones set aside."""

from __future__ import annotations

from tests.sets import (
    STRANGER_ID,
)

#: What is done to a record's cells to make it one that cannot be restored.
BAD = {
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
