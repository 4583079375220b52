"""Every type that a column may have, in the spellings a file may have, after each kind of load."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgvector_restore import BadCellError, Restorer, RowDifference, VerifyReport, open_store
from tests.restore.content import execute
from tests.rows.spellings import USUAL
from tests.sets import embedding_bytes, raw_file, restore, write_set

COLLECTION = "langchain_pg_collection"

#: Types with an encoder beyond the plain ones, types that change what they are given, and types
#: that only the server understands.
SPELLINGS: dict[str, list[str]] = USUAL | {
    "vector": ["[1,2,3]", "[0.1,-0,1e-45]", "[3.4028235e38,1e-30,16777217]", "[ 1 ,2, 3.5]"],
    "halfvec(2)": ["[1,2]", "[0.1,-0]", "[65504,6e-8]"],
    "sparsevec(5)": ["{1:0.5,3:2}/5", "{}/5", "{5:1e-30, 2:-0.0}/5"],
    "char(5)": ["a", "ab   ", "", "äöüß", "abcde", "abcde   "],
    "varchar(3)": ["a", "a ", "abc", "abc   ", "a    ", "äöü "],
    "timestamp(2)": ["2025-07-22 01:03:18.125", "1999-12-31 23:59:59.995", "infinity"],
    "timestamptz(0)": ["2025-07-22 01:03:18.5+00", "1969-12-31 23:59:59.4999+01", "-infinity"],
    "numeric(10,2)": ["1", "1.005", "1e3", " -0.004 ", "NaN"],
    "numeric": ["1.0", "1.00", "1e400"],
    "time(1)": ["01:02:03.25", "24:00:00"],
    "interval": ["1 day", "P1D", "-3 mons 2 days 01:00:00"],
    "int[]": ["{1,2,NULL}", "{ 3 , 4 }", "{}", "[0:1]={5,6}"],
    "varchar(3)[]": ['{a,"b c"}', "{abc}"],
    "char(3)[]": ["{a,abc}", "{}"],
    "bit(4)": ["1010", "0000"],
    "bit varying(4)": ["1", "", "1010"],
    "inet": ["10.0.0.1", "10.0.0.1/8", "::1"],
    "float8[]": ["{0.1,1e300,NaN}", "{1e-5}"],
    "point": ["(1,2)", " ( 0.1 , 3 ) "],
    "money": ["12.5", "$3.00"],
    '"char"': ["a", "\\101"],
    "mood": ["happy", "sad"],
    "short": ["ab", "c "],
    "even": ["2", " 40 "],
    "nested": ['{"b": 1, "a": [2]}', '"text"', "7"],
    "jsonb[]": ['{"{\\"b\\": 1, \\"a\\": 2}",NULL}'],
    "pair": ["(1,x)", '(,"a b")'],
    "int4range": ["[1,3)", "[1,2]", "empty"],
    "pg_lsn": ["16/B374D848"],
}
TYPES = """
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE DOMAIN short AS varchar(3);
CREATE DOMAIN inner_json AS jsonb;
CREATE DOMAIN nested AS inner_json;
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN even AS int CHECK (VALUE % 2 = 0);
"""
COLUMNS = {f"c{n}": name for n, name in enumerate(SPELLINGS)}


def quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def records() -> Iterator[list[str]]:
    longest = max(map(len, SPELLINGS.values()))
    cycles = [itertools.cycle([*found, None]) for found in SPELLINGS.values()]
    for number in range(longest + 1):
        cells = [next(cycle) for cycle in cycles]
        yield [
            str(uuid.UUID(int=number)),
            f"row {number}",
            *("" if cell is None else quoted(cell) for cell in cells),
        ]


@pytest.fixture
def wide(tmp_path: Path, g2_dsn: str) -> tuple[Path, str]:
    execute(g2_dsn, TYPES)
    for column, name in COLUMNS.items():
        execute(g2_dsn, f"ALTER TABLE {COLLECTION} ADD COLUMN {column} {name}")
    data = raw_file(("uuid", "name", *COLUMNS), records())
    return write_set(tmp_path, collection=data, embedding=embedding_bytes(records=[])), g2_dsn


def verify(root: Path, dsn: str) -> VerifyReport:
    with Restorer(open_store(root), dsn) as restorer:
        return restorer.verify(tables=COLLECTION)


@pytest.mark.parametrize("strategy", ["in_place", "swap"])
def test_every_type_is_equal_after_a_load(wide: tuple[Path, str], strategy: str) -> None:
    root, dsn = wide
    report = restore(root, dsn, mode="replace", strategy=strategy, verify="content")
    assert report.tables[0].wire == "text"
    found = verify(root, dsn)
    assert found.equal
    assert found.tables[0].file_digest == report.tables[0].digest


@pytest.mark.parametrize("wire", ["binary", "text"])
def test_every_encodable_type_is_equal_after_a_load(wide: tuple[Path, str], wire: str) -> None:
    root, dsn = wide
    binary = {*USUAL, "vector", "halfvec(2)", "sparsevec(5)", "char(5)", "varchar(3)", "short"}
    binary |= {"timestamp(2)", "timestamptz(0)", "even"}
    kept = [n for n, name in enumerate(("", "", *COLUMNS.values())) if name in binary or n < 2]
    header = ("uuid", "name", *COLUMNS)
    data = raw_file([header[n] for n in kept], [[row[n] for n in kept] for row in records()])
    write_set(root, collection=data, embedding=embedding_bytes(records=[]))
    report = restore(root, dsn, mode="replace", wire=wire, verify="content")
    assert report.tables[0].wire == wire
    assert verify(root, dsn).equal


TOLD_APART = [
    ("char(5)", "ab", "'b'"),
    ("varchar(3)", "a", "'a '"),
    ("timestamp(2)", "2025-07-22 01:03:18.125", "'2025-07-22 01:03:18.12'"),
    ("numeric(10,2)", "1.005", "1.00"),
    ("numeric", "1.0", "1.00"),
    ("int[]", "{1,NULL}", "'{1,0}'"),
    ("float4", "0.1", "0.100000024"),
    ("float8", "0", "'-0'"),
    ("bytea", "\\x00", "'\\x0000'"),
    ("halfvec(1)", "[0.1]", "'[0.10004]'"),
    ("sparsevec(5)", "{1:1}/5", "'{2:1}/5'"),
    ("bool", "t", "false"),
    ("bit varying(9)", "1", "B'10'"),
    ("timestamptz", "2025-07-22 01:03:18+00", "'2025-07-22 01:03:18.000001+00'"),
]


@pytest.mark.parametrize(("name", "cell", "other"), TOLD_APART)
def test_other_values_are_told_apart(
    tmp_path: Path, g2_dsn: str, name: str, cell: str, other: str
) -> None:
    execute(g2_dsn, f"ALTER TABLE {COLLECTION} ADD COLUMN c {name}")
    key, second = str(uuid.UUID(int=1)), str(uuid.UUID(int=2))
    data = raw_file(("uuid", "name", "c"), [(key, "a", quoted(cell)), (second, "b", quoted(cell))])
    root = write_set(tmp_path, collection=data)
    restore(root, g2_dsn, tables=COLLECTION)
    assert verify(root, g2_dsn).equal
    for value in (other, "NULL"):
        execute(g2_dsn, f"UPDATE {COLLECTION} SET c = {value} WHERE name = 'b'")
        found = verify(root, g2_dsn).tables[0].differences
        assert found == (RowDifference("different", (second,), 2, ("c",)),)


def test_what_the_server_refuses_is_named(tmp_path: Path, g2_dsn: str) -> None:
    execute(g2_dsn, TYPES)
    execute(g2_dsn, f"ALTER TABLE {COLLECTION} ADD COLUMN c bit(2), ADD COLUMN d int2")
    key = str(uuid.UUID(int=1))
    root = write_set(tmp_path)
    cases = {
        ("c", "101"): "server does not take the cell as bit",
        ("d", "0x1g"): '"0x1g" is not an integer',
    }
    for (column, cell), message in cases.items():
        rows = [(str(uuid.UUID(int=2)), "a", ""), (key, "b", cell)]
        write_set(root, collection=raw_file(("uuid", "name", column), rows))
        with pytest.raises(BadCellError, match=message) as caught:
            verify(root, g2_dsn)
        assert (caught.value.record, caught.value.column) == (2, column)


def test_spellings_that_only_the_server_reads(tmp_path: Path, g2_dsn: str) -> None:
    execute(g2_dsn, f"ALTER TABLE {COLLECTION} ADD COLUMN c date, ADD COLUMN d timestamptz")
    rows = [
        (str(uuid.UUID(int=1)), "a", '"July 22, 2025"', '"2025-07-22 01:03:18"'),
        (str(uuid.UUID(int=2)), "b", "2025-07-22", '"2025-07-22 01:03:18 UTC"'),
    ]
    root = write_set(tmp_path, collection=raw_file(("uuid", "name", "c", "d"), rows))
    report = restore(root, g2_dsn, tables=COLLECTION, wire="text", verify="content")
    found = verify(root, g2_dsn)
    assert found.equal
    assert found.tables[0].file_digest == report.tables[0].digest
    execute(g2_dsn, f"UPDATE {COLLECTION} SET c = c + 1 WHERE name = 'a'")
    assert verify(root, g2_dsn).tables[0].differences[0].columns == ("c",)
