"""Canonical forms and digests, without a server."""

from __future__ import annotations

import json
import random
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgvector_restore.rows.canonical import canonical_for, canonical_json
from pgvector_restore.rows.digest import (
    ContentDigest,
    RowForm,
    bucket_sums,
    differing,
    digest_of,
    form_of,
    hash_columns,
    row_hash,
    split_row,
)
from pgvector_restore.rows.encoder import complete
from pgvector_restore.rows.pgcopy import NULL_FIELD
from pgvector_restore.target import TargetColumn
from tests.strategies import json_values

COLUMNS = (
    TargetColumn("id", "varchar", "text", "text"),
    TargetColumn("meta", "jsonb", "jsonb", "jsonb"),
    TargetColumn("body", "text", "text", "text"),
)
FORM = form_of(COLUMNS)


def digest(rows: list[tuple[bytes | None, ...]], form: RowForm = FORM) -> ContentDigest:
    fields = [[NULL_FIELD if c is None else complete(c) for c in row] for row in rows]
    columns = list(zip(*fields, strict=True))
    return digest_of(hash_columns(form, columns))


# JSON ------------------------------------------------------------------------------------------

SAME = [
    ['{"a":1,"b":2}', '{ "b" : 2, "a" : 1 }', '{"b":3,"a":1,"b":2}', '\n{"a":1.0,"b":2e0}\t'],
    ["1", "1.0", "1.00", "1e0", "10e-1", "0.1e1", "1E+0", "100e-2"],
    ["0", "-0", "0.0", "-0.0", "0e5", "0e-400", "-0E+99"],
    ["100", "1e2", "1.0E2", "100.000"],
    ["1e400", "10e399", "1" + "0" * 400],
    ["123456789012345678901234567890", "1234567890123456789012345678.90e2"],
    ["0.1", "1e-1", "0.10", "10e-2"],
    ['"\\u00e9"', '"é"'],
    ['"\\ud83d\\udcda"', '"📚"'],
    ['"a\\/b"', '"a/b"'],
    ['["x", 1.5]', '["x",1.50]'],
    ['{"é":1,"a":2,"\\ud800":3}', '{"a":2.0,"\\ud800":3,"\\u00e9":1}'],
    ["[]", "[ ]"],
    ["{}", "{ }"],
    ["[1e1, true, false, null, {}, []]", "[10,true,false,null,{},[]]"],
    ["9223372036854775808", "9223372036854775808.0"],
    ["999999999999999999", "999999999999999999.0"],
    ["1" + "0" * 5000, "1e5000"],
]


@pytest.mark.parametrize("spellings", SAME, ids=lambda found: found[0][:20])
def test_one_value_has_one_form(spellings: list[str]) -> None:
    assert len({canonical_json(one.encode()) for one in spellings}) == 1


def test_different_values_have_different_forms() -> None:
    found = [canonical_json(spellings[0].encode()) for spellings in SAME]
    more = [
        *("null", "true", "false", '""', '"1"', '"null"', "[1]", "[[]]", '{"a":[]}', '{"a":{}}'),
        *("-1", "10", "0.01", "0.1000000000000000055511151231257827", "1e-401", "-0.1"),
        *("123456789012345678901234567891", "9223372036854775809", "[1,2]", "[2,1]", "[12]"),
        *('" "', '"a"', '"A"', '"a\\u0000"', '"\\\\u0061"', '{"a":1,"b":"2"}', '{"a":1}'),
        *('{"a":null}', '"1.0"', '", 1.0,"', '", 1,"', '"\\ud801"', "[[1],2]", "[1,[2]]"),
    ]
    found += [canonical_json(one.encode()) for one in more]
    assert len(set(found)) == len(found)


def test_nothing_is_lost_of_what_no_parser_takes() -> None:
    deep = b"[" * 100_000 + b"1.5" + b"]" * 100_000
    assert canonical_json(deep) in {deep, deep.replace(b"1.5", b"15e-1")}
    assert canonical_json(deep) != canonical_json(deep.replace(b"1.5", b"1.6"))


def shuffled(value: Any, rng: random.Random) -> Any:
    if isinstance(value, dict):
        names = list(value)
        rng.shuffle(names)
        return {name: shuffled(value[name], rng) for name in names}
    return [shuffled(one, rng) for one in value] if isinstance(value, list) else value


@given(json_values, st.randoms(use_true_random=False))
def test_order_spaces_and_escapes_do_not_count(value: Any, rng: random.Random) -> None:
    form = canonical_json(json.dumps(value).encode())
    other = json.dumps(shuffled(value, rng), ensure_ascii=False, indent=1).encode()
    assert canonical_json(other) == form
    assert canonical_json(form) == form


@given(json_values, json_values)
def test_forms_are_equal_if_values_are(one: Any, other: Any) -> None:
    forms = [canonical_json(json.dumps(value).encode()) for value in (one, other)]
    assert (forms[0] == forms[1]) == (exact(one) == exact(other))


def exact(value: Any) -> Any:
    """A JSON value with numbers told apart from booleans, floats by their shortest decimal."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return (type(value).__name__, value)
    if isinstance(value, list):
        return [exact(one) for one in value]
    if isinstance(value, dict):
        return {name: exact(one) for name, one in value.items()}
    return ("number", Decimal(repr(value)))


numbers = st.decimals(allow_nan=False, allow_infinity=False) | st.integers().map(Decimal)


@given(numbers, numbers)
def test_numbers_are_compared_by_value(one: Decimal, other: Decimal) -> None:
    texts = [f"{one:e}", f"{one:f}" if abs(one.adjusted()) < 50 else str(one), str(other)]
    first, second, third = [canonical_json(f"[{text}]".encode()) for text in texts]
    assert first == second
    assert (first == third) == (one == other)


# other types -----------------------------------------------------------------------------------


def test_spaces_of_char_and_beyond_varchar() -> None:
    char = canonical_for(
        TargetColumn("c", "char(5)", "text", "text", modifier=5, blank_padded=True)
    )
    varchar = canonical_for(TargetColumn("c", "varchar(3)", "text", "text", modifier=3))
    assert char is not None
    assert varchar is not None
    assert char(complete(b"a    ")) == char(complete(b"a")) != char(complete(b" a"))
    assert varchar(complete("äb   ".encode())) == complete("äb ".encode())
    for kept in (b"", b"a", b"ab ", b"abcd", b"abcd ", "äöü".encode()):
        assert varchar(complete(kept)) == complete(kept)
    assert char(NULL_FIELD) == varchar(NULL_FIELD) == NULL_FIELD


@pytest.mark.parametrize(
    ("digits", "micros", "rounded"),
    [
        (0, 1_499_999, 1_000_000),
        (0, 1_500_000, 2_000_000),
        (0, -1_500_000, -2_000_000),
        (0, -1_499_999, -1_000_000),
        (3, 1_500, 2_000),
        (3, 1_499, 1_000),
        (6, 1, 1),
        (0, (1 << 63) - 1, (1 << 63) - 1),
        (0, -(1 << 63), -(1 << 63)),
    ],
)
def test_timestamps_are_rounded_as_the_server_does(digits: int, micros: int, rounded: int) -> None:
    form = canonical_for(TargetColumn("t", "timestamp", "other", "timestamp", modifier=digits))
    assert form is not None
    assert form(complete(micros.to_bytes(8, "big", signed=True))) == complete(
        rounded.to_bytes(8, "big", signed=True)
    )
    assert form(NULL_FIELD) == NULL_FIELD


def test_most_types_need_no_form_of_their_own() -> None:
    for wire in ("uuid", "vector", "text", "timestamptz", "int8"):
        assert canonical_for(TargetColumn("c", wire, "other", wire)) is None
    assert canonical_for(TargetColumn("c", "numeric(10,2)", "other")) is None


# digests ---------------------------------------------------------------------------------------

cells = st.none() | st.binary(max_size=3)
rows_of_cells = st.lists(st.tuples(cells, st.sampled_from([None, b"\x01{}", b"\x011"]), cells))


@given(rows_of_cells.filter(bool), st.randoms(use_true_random=False))
def test_order_of_rows_and_columns_does_not_count(
    rows: list[tuple[bytes | None, ...]], rng: random.Random
) -> None:
    mixed = list(rows)
    rng.shuffle(mixed)
    turned = form_of(COLUMNS[::-1])
    assert digest(mixed) == digest(rows) == digest([row[::-1] for row in rows], turned)


@given(rows_of_cells.filter(bool), rows_of_cells.filter(bool))
def test_digests_add_up_and_tell_rows_apart(
    one: list[tuple[bytes | None, ...]], other: list[tuple[bytes | None, ...]]
) -> None:
    assert digest(one) + digest(other) == digest(one + other)
    same = sorted(map(repr, one)) == sorted(map(repr, other))
    assert (digest(one) == digest(other)) == same


def test_neighbours_do_not_merge_and_null_is_not_empty() -> None:
    rows: list[tuple[bytes | None, ...]] = [
        (b"ab", None, b"c"),
        (b"a", None, b"bc"),
        (b"", None, b"abc"),
        (None, None, b"abc"),
        (b"abc", None, None),
        (b"abc", None, b""),
    ]
    assert len({digest([row]).total for row in rows}) == len(rows)
    assert digest([rows[0]] * 2) != digest([rows[0]])
    assert digest([rows[0]] * 2).total != 0


@given(rows_of_cells.filter(bool))
def test_a_row_from_the_server_has_the_hash_of_its_cells(
    rows: list[tuple[bytes | None, ...]],
) -> None:
    for row in rows:
        ordered = [row[place] for place in FORM.places]
        fields = [NULL_FIELD if cell is None else complete(cell) for cell in ordered]
        sent = len(fields).to_bytes(2, "big") + b"".join(fields)
        assert digest_of([row_hash(FORM, sent)]) == digest([row])
        assert split_row(FORM, sent + b"") == [
            FORM.canonical[0](fields[0]),
            *fields[1:],
        ]


def test_the_sum_wraps_around() -> None:
    assert digest_of([b"\xff" * 16] * 2) == ContentDigest(2, (1 << 128) - 2)
    assert ContentDigest(1, (1 << 128) - 1) + ContentDigest(1, 2) == ContentDigest(2, 1)
    assert ContentDigest(0, 255).hex == "0" * 30 + "ff"
    assert digest_of([]) == ContentDigest()


def test_buckets_that_differ_hold_the_rows_that_differ() -> None:
    rows = [(f"key{n}".encode(), bytes([n]) * 16) for n in range(200)]
    changed = [*rows[:7], (rows[7][0], b"x" * 16), *rows[8:]]
    assert list(differing(bucket_sums(rows), bucket_sums(rows[::-1]))) == []
    assert len(list(differing(bucket_sums(rows), bucket_sums(changed)))) == 1
