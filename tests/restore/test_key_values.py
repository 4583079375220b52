"""Keys are compared by value, as the server does it, and where that cannot be told it is asked."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import psycopg
import pytest
from attrs import frozen

from pgvector_restore import BadDataError, RowRejectedError, inspect_set, open_store
from tests.conftest import connect
from tests.described import change_file, change_manifest, folder_of, write_described
from tests.restore.content import execute, query
from tests.sets import quote, restore


@frozen
class Kind:
    """A type of keys."""

    #: Of the column that is referred to.
    parent: str
    #: One key, as it is inserted.
    key: str
    #: Spellings of it in a file.
    spellings: tuple[str, ...]
    #: A value that is no key.
    stranger: str
    #: Of the column that refers; the same unless given.
    child: str = ""
    #: Whether a stranger is found without the server.
    judged: bool = True


KINDS = {
    "padded": Kind("char(5)", "ab", ("ab", "ab   ", "ab "), "abc"),
    "one character": Kind("char", "x", ("x", "x  "), "y"),
    "limited": Kind("varchar(3)", "abc", ("abc", "abc  "), "ab"),
    "text": Kind("text", "ab", ("ab",), "ab "),
    "text of varchar": Kind("text", "ab", ("ab", "ab      "), "b", child="varchar(2)"),
    "numeric": Kind("numeric", "1", ("1", "1.0", "1e0", "+1", " 1 ", "0.1e1", "01.000"), "1.001"),
    "scale": Kind("numeric(6,2)", "1.5", ("1.50", "1.5", "1.500", "1.499999", "15e-1"), "1.51"),
    "zero": Kind("numeric", "0", ("0", "-0", "0.00", "0e9"), "1e-9"),
    "no number": Kind("numeric", "NaN", ("NaN", "nan", " NAN "), "Infinity"),
    "large": Kind("numeric", "12345678901234567890123", ("12345678901234567890123.0",), "1e23"),
    "int4": Kind("int", "1", ("1", "+1", "01", " 1"), "11"),
    "int8 of int2": Kind("bigint", "-7", ("-7", "-007"), "7", child="smallint"),
    "uuid": Kind(
        "uuid", "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee",
        ("AAAAAAAA-BBBB-4CCC-8DDD-EEEEEEEEEEEE", "{aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee}",
         "aaaaaaaabbbb4ccc8dddeeeeeeeeeeee", "aaaa-aaaa-bbbb-4ccc-8ddd-eeee-eeee-eeee"),
        "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeef",
    ),
    "bool": Kind("bool", "true", ("t", "true", "YES", "1", "on", "tr"), "f"),
    "bytea": Kind("bytea", r"\x6162", (r"\x6162", "ab", r"\x61 62", r"a\142"), "abc"),
    "date": Kind("date", "2025-07-22", ("2025-07-22",), "2025-07-23"),
    "timestamp": Kind(
        "timestamp", "2025-07-22 01:00",
        ("2025-07-22 01:00:00", "2025-07-22T01:00:00.000", "2025-07-22 01:00"), "2025-07-22",
    ),
    "digits of a second": Kind(
        "timestamp(0)", "2025-07-22 01:00:01", ("2025-07-22 01:00:00.7",), "2025-07-22 01:00:00.2"
    ),
    "timestamptz": Kind(
        "timestamptz", "2025-07-22 01:00+00",
        ("2025-07-22 03:00:00+02", "2025-07-21 19:30:00-05:30", "2025-07-22 01:00:00Z"),
        "2025-07-22 01:00:00+02",
    ),
    "float8": Kind("float8", "0.1", ("0.1", "1e-1", "0.10000000000000000001"), "0.2"),
    "zero float": Kind("float8", "0", ("-0", "0.0"), "1e-300"),
    "float4": Kind("real", "0.1", ("0.1", "0.100000001"), "0.2"),
    "inet": Kind("inet", "10.0.0.1", ("10.0.0.1", "10.0.0.1/32"), "10.0.0.1/24"),
    "inet 6": Kind("inet", "2001:db8::1", ("2001:DB8:0::1", "2001:db8::1/128"), "2001:db8::2"),
    "cidr": Kind("cidr", "10.0.0.0/8", ("10.0.0.0/8", "10"), "10.0.0.0/9"),
    "macaddr": Kind(
        "macaddr", "08:00:2b:01:02:03",
        ("08:00:2B:01:02:03", "08-00-2b-01-02-03", "08002b:010203", "0800.2b01.0203"),
        "08:00:2b:01:02:04",
    ),
    "bit": Kind("bit(3)", "101", ("101", "B101", "b101"), "100"),
    "enum": Kind("mood", "ok", ("ok",), "sad"),
    "domain": Kind("numeric", "1", ("1.0", "1"), "2", child="amount"),
    "domain of a domain": Kind("char(5)", "ab", ("ab", "ab  "), "abc", child="code2"),
    "any case": Kind("text COLLATE anycase", "Ab", ("ab", "AB", "Ab"), "abc", judged=False),
    "citext": Kind("citext", "Ab", ("ab", "AB"), "abc", judged=False),
    "interval": Kind("interval", "1 day", ("24 hours", "1 day", "P1D"), "25 hours", judged=False),
    "array": Kind("int[]", "{1,2}", ("{1,2}", "{ 1, 2}", "[1:2]={1,2}"), "{1}", judged=False),
    "range": Kind("int4range", "[1,3)", ("[1,2]", "(0,3)", "[1,3)"), "[1,4)", judged=False),
    "vector": Kind("vector(2)", "[1,2]", ("[1,2]", "[1.0, 2e0]"), "[1,3]", judged=False),
    "time": Kind("time", "01:00", ("01:00", "1:00 AM", "010000"), "02:00", judged=False),
}  # fmt: skip
#: Types that take longer names to say the same, and spellings that only the newest servers know.
PARTS = """
CREATE EXTENSION vector;
CREATE EXTENSION citext;
CREATE COLLATION anycase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TYPE mood AS ENUM ('ok', 'sad');
CREATE DOMAIN amount AS numeric;
CREATE DOMAIN code AS char(5);
CREATE DOMAIN code2 AS code CHECK (VALUE <> 'zzz');
"""


def make(dsn: str, *, judged: bool | None = None) -> dict[str, Kind]:
    """Tables for kinds that the server has, all or those (not) judged: ``p0``, ``c0`` and so on."""
    lacking = set()
    with connect(dsn) as conn:
        for line in PARTS.strip().splitlines():
            try:
                conn.execute(line)
            except psycopg.errors.FeatureNotSupported:  # noqa: PERF203 - built without ICU, or without contrib
                lacking.add("citext" if "citext" in line else "any case")
        kinds = {
            name: kind
            for name, kind in KINDS.items()
            if name not in lacking and judged in (None, kind.judged)
        }
        for number, kind in enumerate(kinds.values()):
            conn.execute(f"CREATE TABLE p{number} (k {kind.parent} PRIMARY KEY)")
            conn.execute(f"INSERT INTO p{number} VALUES ('{kind.key}')")
            conn.execute(
                f"CREATE TABLE c{number} (id int PRIMARY KEY, k {kind.child or kind.parent}"
                f" REFERENCES p{number})"
            )
    return kinds


def write(root: Path, dsn: str, kinds: dict[str, Kind], *, strangers: bool) -> Path:
    """A set of all tables, in every spelling, with a stranger in the second record."""
    tables = [f"{side}{number}" for number in range(len(kinds)) for side in "pc"]
    write_described(root, dsn, tables, form="csv")
    data = {}
    for number, kind in enumerate(kinds.values()):
        cells = [quote(text) for text in kind.spellings]
        if strangers:
            cells.insert(1, quote(kind.stranger))
        rows = [f"{n},{cell}\n" for n, cell in enumerate([*cells, ""], 1)]
        data[f"c{number}"] = ("id,k\n" + "".join(rows)).encode(), len(rows)

    def describe(document: dict[str, Any]) -> None:
        for table in document["tables"]:
            if table["name"] in data:
                text, table["rows"] = data[table["name"]]
                (file,) = table["files"]
                table["digest"], file["rows"] = None, table["rows"]
                file["size_bytes"], file["sha256"] = len(text), sha256(text).hexdigest()
                (folder_of(root) / file["name"]).write_bytes(text)

    change_manifest(root, describe)
    return root


#: Parents that are there, parents that come with the set, and parents in staging tables.
ROADS: dict[str, dict[str, Any]] = {
    "append": {"mode": "append", "strategy": "in_place"},
    "in place": {"mode": "replace", "strategy": "in_place"},
    "swap": {"mode": "replace", "strategy": "swap", "jobs": 1},
}


@pytest.mark.parametrize("road", ROADS)
def test_no_spelling_of_a_key_is_an_orphan(dsn: str, tmp_path: Path, road: str) -> None:
    kinds = make(dsn)
    write(tmp_path, dsn, kinds, strangers=False)
    names = [f"c{number}" for number in range(len(kinds))]
    report = restore(
        tmp_path, dsn, on_bad_row="quarantine", max_bad_rows=100, reject_dir=tmp_path / "aside",
        wire="text",  # what encoders refuse to read, the server reads
        tables=tuple(names) if road == "append" else None, **ROADS[road],
    )  # fmt: skip
    assert report.reject_folder is None
    loaded = {
        name: report.table(table).rows_loaded for name, table in zip(kinds, names, strict=True)
    }
    assert loaded == {name: len(kind.spellings) + 1 for name, kind in kinds.items()}


@pytest.mark.parametrize("wire", ["auto", "text"])
def test_what_is_no_key_is_set_aside(dsn: str, tmp_path: Path, wire: str) -> None:
    kinds = make(dsn)
    write(tmp_path, dsn, kinds, strangers=True)
    tables = {name: f"c{n}" for n, (name, kind) in enumerate(kinds.items()) if kind.judged}
    restore(
        tmp_path, dsn, mode="append", wire=wire, tables=tuple(tables.values()),
        on_bad_row="quarantine", max_bad_rows=100, reject_dir=tmp_path / "aside",
    )  # fmt: skip
    for name, table in tables.items():
        reasons = next((tmp_path / "aside").glob(f"*/{table}_*.jsonl")).read_text().splitlines()
        aside = [json.loads(line) for line in reasons]
        strange = [one["record"] for one in aside if "refers to" in one["reason"]]
        assert strange == [2], name
        if wire == "text":
            assert len(aside) == 1, name


def test_what_only_the_server_can_compare_is_an_error(dsn: str, tmp_path: Path) -> None:
    kinds = make(dsn, judged=False)
    write(tmp_path, dsn, kinds, strangers=True)
    for number, name in enumerate(kinds):
        with pytest.raises(RowRejectedError) as caught:
            restore(
                tmp_path, dsn, mode="append", tables=(f"c{number}",),
                on_bad_row="quarantine", max_bad_rows=9, reject_dir=tmp_path / "aside",
            )  # fmt: skip
        assert caught.value.sqlstate == "23503", name
        assert caught.value.hint == (
            "the row it refers to is neither in the backup nor in the database"
        )
        assert query(dsn, f"SELECT count(*) FROM c{number}") == [(0,)]


def test_inspect_claims_what_it_can_prove(dsn: str, tmp_path: Path) -> None:
    kinds = make(dsn)
    report = inspect_set(open_store(write(tmp_path, dsn, kinds, strangers=True)))
    for number, (name, kind) in enumerate(kinds.items()):
        known = {0, None} if not kind.judged or name in _UNTOLD else {1}
        assert report.file(f"c{number}").orphans in known, name


#: A manifest names these types, and does not say what they are.
_UNTOLD = ("enum", "domain", "domain of a domain")


#: Kinds whose spellings are looked for; the last ones can only be told by the server.
_TWICE = ("padded", "scale", "int4", "timestamptz", "interval", "range", "time", "array")


def test_values_that_are_there_twice(dsn: str, tmp_path: Path) -> None:
    """In every spelling: by inspect, and by the record that an error names."""
    kinds = {name: KINDS[name] for name in _TWICE}
    for number, kind in enumerate(kinds.values()):
        execute(dsn, f"CREATE TABLE p{number} (k {kind.parent} PRIMARY KEY)")
        execute(dsn, f"CREATE TABLE c{number} (id int, k {kind.parent} PRIMARY KEY)")
    write(tmp_path, dsn, kinds, strangers=True)
    for number, kind in enumerate(kinds.values()):
        text = f"1,{quote(kind.stranger)}\n" + "".join(
            f"{n},{quote(cell)}\n" for n, cell in enumerate(kind.spellings, 2)
        )
        file = next(folder_of(tmp_path).glob(f"c{number}_*"))
        change_file(tmp_path, file.name, b"id,k\n" + text.encode(), honest=True)

    def count(document: dict[str, Any]) -> None:
        for table in document["tables"]:
            if table["name"][0] == "c":
                rows = len(list(kinds.values())[int(table["name"][1:])].spellings) + 1
                table["rows"] = table["files"][0]["rows"] = rows

    change_manifest(tmp_path, count)
    report = inspect_set(open_store(tmp_path))
    for number, (name, kind) in enumerate(kinds.items()):
        if kind.judged:
            (repeated,) = report.file(f"c{number}").repeated
            assert repeated.extra_records == len(kind.spellings) - 1, name
        with pytest.raises(BadDataError) as caught:
            restore(
                tmp_path, dsn, mode="replace", strategy="swap", tables=(f"c{number}",), wire="text"
            )
        assert (caught.value.record, caught.value.column) == (3, "k"), name


def test_tables_that_refer_to_each_other(dsn: str, tmp_path: Path) -> None:
    """The parents of the first one's rows come later."""
    execute(
        dsn,
        "CREATE TABLE a (id int PRIMARY KEY, b int, a int REFERENCES a);"
        "CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a DEFERRABLE INITIALLY DEFERRED);"
        "ALTER TABLE a ADD FOREIGN KEY (b) REFERENCES b DEFERRABLE INITIALLY DEFERRED;"
        "BEGIN; INSERT INTO a VALUES (1, 1, 2), (2, 1, 2), (3, NULL, 1);"
        "INSERT INTO b VALUES (1, 2); COMMIT",
    )
    write_described(tmp_path, dsn, ["a", "b"], form="csv")
    for strategy in ("in_place", "swap"):
        report = restore(
            tmp_path, dsn, mode="replace", strategy=strategy, verify="content", jobs=1,
            on_bad_row="quarantine", max_bad_rows=9, reject_dir=tmp_path / "aside",
        )  # fmt: skip
        assert report.reject_folder is None
        assert report.table("a").rows_after == 3
