"""Sequences behind columns that they do not fit: a restore never fails for them, and says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.described import write_described
from tests.restore.content import execute, query
from tests.sets import restore

_TABLE = """
CREATE TABLE t (
    id int PRIMARY KEY, word text, amount numeric, down int, small int, cycled int, plain bigint
);
CREATE SEQUENCE s_word OWNED BY t.word;
CREATE SEQUENCE s_amount OWNED BY t.amount;
CREATE SEQUENCE s_down INCREMENT -1 MINVALUE -100 OWNED BY t.down;
CREATE SEQUENCE s_small MAXVALUE 10 OWNED BY t.small;
CREATE SEQUENCE s_cycled MAXVALUE 10 CYCLE OWNED BY t.cycled;
CREATE SEQUENCE s_plain OWNED BY t.plain;
INSERT INTO t VALUES (1, 'a', 7.5, -9, 11, 10, 41), (2, 'b', 'NaN', -3, 12, 2, NULL);
"""


@pytest.mark.parametrize("strategy", ["in_place", "swap"])
def test_sequences_that_do_not_fit(dsn: str, tmp_path: Path, strategy: str) -> None:
    execute(dsn, _TABLE)
    write_described(tmp_path, dsn, ["t"], form="csv")
    report = restore(tmp_path, dsn, mode="replace", strategy=strategy, jobs=1)
    assert report.table("t").rows_after == 2
    told = [text for text in report.warnings if text.startswith("the sequence of ")]
    assert told == [
        f"the sequence of t.{column} could not be moved on: {why}, and the next INSERT may collide"
        for column, why in (
            ("word", "the column holds no numbers"),
            ("small", "12 is beyond its bounds"),
        )
    ]
    found = query(
        dsn,
        "SELECT nextval('s_amount'), nextval('s_down'), nextval('s_cycled'), nextval('s_plain'),"
        " nextval('s_small')",
    )
    assert found == [(9, -10, 1, 42, 1)]
