"""Plain types in binary against the servers' own input functions, spelling by spelling."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from pgvector_restore.db.embedded import EmbeddedServer
from pgvector_restore.rows.encoder import complete
from pgvector_restore.rows.problem import CellProblem
from pgvector_restore.rows.scalars import SCALARS
from tests.conftest import connect, database
from tests.rows.spellings import ODD, SENDS, USUAL, float4_traps, near, values

Connection = psycopg.Connection[tuple[Any, ...]]

#: A text as the type's input function takes it, in its binary form; NULL where it is refused.
JUDGE = """
CREATE FUNCTION judge(type_name text, send text, spelling text) RETURNS bytea
LANGUAGE plpgsql AS $$
DECLARE payload bytea;
BEGIN
    EXECUTE format('SELECT %I($1::%I)', send, type_name) INTO payload USING spelling;
    RETURN payload;
EXCEPTION WHEN others THEN
    RETURN NULL;
END $$
"""
ASK = "SELECT judge(%s, %s, spelling) FROM unnest(%s::text[]) WITH ORDINALITY AS t (spelling, n)"


@pytest.fixture(scope="module")
def judge(server: EmbeddedServer) -> Iterator[Connection]:
    with database(server) as dsn, connect(dsn) as connection:
        connection.execute(JUDGE)
        connection.execute("SET DateStyle = 'ISO, YMD'")
        connection.execute("SET TimeZone = 'Asia/Shanghai'")
        yield connection


def theirs(judge: Connection, wire: str, texts: list[str]) -> list[bytes | None]:
    return [row[0] for row in judge.execute(ASK + " ORDER BY n", [wire, SENDS[wire], texts])]


def ours(wire: str, text: str) -> bytes | None:
    try:
        return SCALARS[wire].one(text.encode())
    except CellProblem:
        return None


def differing(judge: Connection, wire: str, texts: list[str]) -> list[tuple[str, Any, Any]]:
    """Spellings that are encoded here and give other bytes, or none, there."""
    mine = [ours(wire, text) for text in texts]
    found = zip(texts, mine, theirs(judge, wire, texts), strict=True)
    return [row for row in found if row[1] is not None and row[1] != row[2]]


#: jsonb is not sent as it was received: COPY shows below what becomes of it.
BYTEWISE = [wire for wire in SCALARS if wire != "jsonb"]


@pytest.mark.parametrize("wire", BYTEWISE)
def test_usual_spellings_are_the_servers(judge: Connection, wire: str) -> None:
    texts = USUAL[wire]
    assert theirs(judge, wire, texts) == [ours(wire, text) for text in texts]


@pytest.mark.parametrize("wire", BYTEWISE)
def test_odd_spellings_are_the_servers_or_refused(judge: Connection, wire: str) -> None:
    assert differing(judge, wire, ODD[wire]) == []


@pytest.mark.parametrize("wire", BYTEWISE)
def test_single_edits_are_the_servers_or_refused(judge: Connection, wire: str) -> None:
    edited = {
        text[:at] + edit + text[at + drop :]
        for text in USUAL[wire][:40]
        if wire != "json" and len(text) <= 40
        for at in range(len(text) + 1)
        for drop, edit in itertools.product((0, 1), ("", " ", "0", "9", "-", "+", ".", ":", "e"))
    }
    texts = sorted(edited)[:: max(1, len(edited) // 4000)]
    assert differing(judge, wire, texts) == []


@pytest.mark.parametrize("wire", BYTEWISE)
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.data_too_large])
@given(data=st.data())
def test_any_spellings_are_the_servers_or_refused(
    judge: Connection, wire: str, data: st.DataObject
) -> None:
    texts = data.draw(st.lists(values(wire) | near(wire), min_size=20, max_size=60))
    assert differing(judge, wire, texts) == []
    cells = [text.encode() for text in texts]
    many = SCALARS[wire].many
    fields = many(cells) if many is not None else None
    if fields is not None:
        expected = theirs(judge, wire, texts)
        assert fields == [None if payload is None else complete(payload) for payload in expected]


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.data_too_large])
@given(st.lists(float4_traps(), min_size=30, max_size=60))
def test_float4_rounds_as_the_server(judge: Connection, traps: list[tuple[str, int, int]]) -> None:
    texts = [sign + text for text, _, _ in traps for sign in ("", "-")]
    # Also what the server refuses, here: halfway to zero is the only case.
    assert theirs(judge, "float4", texts) == [ours("float4", text) for text in texts]


def test_copy_takes_the_fields_of_every_type(judge: Connection) -> None:
    columns = sql.SQL(", ").join(sql.SQL("{0} {0}").format(sql.Identifier(w)) for w in SCALARS)
    for table in (sql.Identifier("binary_road"), sql.Identifier("text_road")):
        judge.execute(sql.SQL("CREATE TABLE {} ({})").format(table, columns))
    count = max(len(texts) for texts in USUAL.values())
    rows = list(itertools.islice(zip(*map(itertools.cycle, by_type()), strict=True), count))

    with judge.cursor().copy("COPY text_road FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)
    with judge.cursor().copy("COPY binary_road FROM STDIN (FORMAT binary)") as copy:
        copy.write(b"PGCOPY\n\xff\r\n\0" + bytes(8))
        for row in rows:
            copy.write(struct.pack(">h", len(row)) + b"".join(encoded(row)))
        copy.write(b"\xff\xff")

    assert written(judge, "binary_road") == written(judge, "text_road")


def by_type() -> list[list[str]]:
    return [USUAL[wire] for wire in SCALARS]


def encoded(row: tuple[str, ...]) -> list[bytes]:
    cells = [text.encode() for text in row]
    return [
        complete(encoder.one(cell)) for encoder, cell in zip(SCALARS.values(), cells, strict=True)
    ]


def written(judge: Connection, table: str) -> list[bytes]:
    command = sql.SQL("COPY {} TO STDOUT").format(sql.Identifier(table))
    with judge.cursor().copy(command) as copy:
        return [bytes(line) for line in copy]
