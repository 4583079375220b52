"""Tables of every known shape with rows that are hard on CSV, and looks at what was backed up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from psycopg import sql

from pgvector_restore import Backuper, BackupReport, Restorer, WritableStore, open_store
from tests.conftest import G2_TABLES, connect

COLLECTION, EMBEDDING = "langchain_pg_collection", "langchain_pg_embedding"

G1_TABLES = """
CREATE EXTENSION vector;
CREATE TABLE langchain_pg_collection (uuid uuid PRIMARY KEY, name varchar, cmetadata json);
CREATE TABLE langchain_pg_embedding (
    uuid uuid PRIMARY KEY,
    collection_id uuid REFERENCES langchain_pg_collection (uuid) ON DELETE CASCADE,
    embedding vector(3),
    document varchar,
    cmetadata json,
    custom_id varchar
);
"""

#: One table a collection, with columns of its own beside the usual ones.
G3_TABLES = """
CREATE EXTENSION vector;
CREATE TABLE docs (
    langchain_id uuid PRIMARY KEY,
    content text NOT NULL,
    embedding vector(3) NOT NULL,
    author varchar(20),
    pages int,
    price numeric(10, 2),
    seen timestamptz,
    span interval,
    tags text[],
    raw bytea,
    half halfvec(2),
    sparse sparsevec(5),
    flag boolean,
    ratio double precision,
    content_size int GENERATED ALWAYS AS (length(content)) STORED,
    langchain_metadata json
);
CREATE INDEX docs_hnsw ON docs USING hnsw (embedding vector_l2_ops);
CREATE TABLE "Ärger mit, Namen" (
    id bigserial PRIMARY KEY, "der Text, laut" text, embedding vector(2)
);
"""

#: Text that CSV, and lines of CSV, trip over.
TEXTS = (
    "",
    None,
    "NULL",
    "\\.",
    "\\N",
    '"',
    'say "hi", then go',
    "two\nlines",
    "carriage\rreturn\r\nand both",
    " spaces around ",
    "größe 📚 数据 \u202e",
    "tab\tand , comma;",
    "null\u0001control",
)

#: Vectors whose text form is easy to get wrong.
VECTORS = (
    "[1,2,3]",
    "[-0,0,-1e-45]",
    "[1e-40,3.4028235e+38,-3.4028235e+38]",
    "[0.1,0.2,0.3]",
    "[16777217,1.17549435e-38,33554432]",
    None,
)

JSON = (
    '{"a": {"b": [1, 2.50, {"c": null}]}, "d": "x\\"y\\n"}',
    "null",
    "[]",
    '"text"',
    "1.000",
    None,
    '{"\\u00e9": "\\ud83d\\ude00"}',
)

_COLLECTION_ID = "11111111-1111-4111-8111-111111111111"


def _each(values: tuple[Any, ...], number: int) -> Any:
    return values[number % len(values)]


def fill_langchain(dsn: str, *, generation: int, rows: int = 40) -> None:
    """Rows for the tables of G1 or G2."""
    with connect(dsn) as conn:
        conn.execute(
            f"INSERT INTO {COLLECTION} VALUES (%s, 'sql', %s), (gen_random_uuid(), '', NULL)",
            [_COLLECTION_ID, JSON[0]],
        )
        for n in range(rows):
            key = f"{n:08x}-0000-4000-8000-000000000000" if generation == 1 else f'k "{n}", ü'
            cells = [
                key, _COLLECTION_ID if n % 5 else None, _each(VECTORS, n), _each(TEXTS, n),
                _each(JSON, n), *([_each(TEXTS, n + 1)] if generation == 1 else []),
            ]  # fmt: skip
            marks = ", ".join(["%s"] * len(cells))
            conn.execute(f"INSERT INTO {EMBEDDING} VALUES ({marks})", cells)


def fill_g3(dsn: str, rows: int = 40) -> None:
    """Rows for the tables of G3."""
    with connect(dsn) as conn:
        for n in range(rows):
            conn.execute(
                "INSERT INTO docs (langchain_id, content, embedding, author, pages, price, seen,"
                " span, tags, raw, half, sparse, flag, ratio, langchain_metadata) VALUES"
                " (gen_random_uuid(), %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
                [
                    _each(TEXTS, n) or "", _each(VECTORS[:-1], n), (_each(TEXTS, n) or "")[:20],
                    None if n % 3 else n, None if n % 4 else f"{n}.10",
                    "2026-01-02 03:04:05.678+05:30", "1 mon 2 days 03:04:05.5",
                    ["a,b", 'c"d', None, ""], b"\\\x00\xff", "[65504,-0]", "{2:1.5,5:-1e-40}/5",
                    n % 2 == 0, _each((0.1, -0.0, 1e300, float("nan"), None), n), _each(JSON, n),
                ],
            )  # fmt: skip
            conn.execute(
                'INSERT INTO "Ärger mit, Namen" VALUES (DEFAULT, %s, %s)',
                [_each(TEXTS, n), "[1,2]"],
            )


#: Generation → the statements that make its tables, what fills them, and the tables.
SHAPES: dict[str, tuple[str, Any, tuple[str, ...]]] = {
    "g1": (G1_TABLES, lambda dsn: fill_langchain(dsn, generation=1), (COLLECTION, EMBEDDING)),
    "g2": (G2_TABLES, lambda dsn: fill_langchain(dsn, generation=2), (COLLECTION, EMBEDDING)),
    "g3": (G3_TABLES, fill_g3, ("docs", "Ärger mit, Namen")),
}


def make(dsn: str, shape: str) -> tuple[str, ...]:
    """Create and fill the tables of a shape; gives their names."""
    create, fill, tables = SHAPES[shape]
    with connect(dsn) as conn:
        conn.execute(create)
    fill(dsn)
    return tables


def backup(root: Path, dsn: Any, **options: Any) -> BackupReport:
    """One backup, with a backuper of its own."""
    with Backuper(store_at(root), dsn) as backuper:
        return backuper.backup(**options)


def store_at(root: Path) -> WritableStore:
    """A folder."""
    store = open_store(root)
    assert isinstance(store, WritableStore)
    return store


def content(dsn: str, table: str) -> list[tuple[Any, ...]]:
    """All rows as the server prints them, sorted."""
    name = sql.Identifier(table)
    with connect(dsn) as conn:
        conn.execute("SET extra_float_digits = 1")
        rows = conn.execute(sql.SQL("SELECT t::text FROM {} t ORDER BY 1").format(name))
        return rows.fetchall()


def restored(root: Path, dsn: str, label: str, **options: Any) -> None:
    """Restore a set, comparing content."""
    with Restorer(open_store(root), dsn) as restorer:
        restorer.restore(label, mode="replace", verify="content", **options)


def stored(root: Path, report: BackupReport, table: str) -> list[bytes]:
    """What is in each file of a table, unpacked."""
    store = open_store(root)
    file = report.backup.file(table)
    return [b"".join(store.blocks(piece)) for piece in file.pieces]


def files(root: Path) -> list[str]:
    """Every file of a store, the log left out."""
    return sorted(
        path.relative_to(root).as_posix()
        for path in root.rglob("*")
        if path.is_file() and path.name != "vector_backup_log.txt"
    )


@contextmanager
def unchanged(root: Path) -> Iterator[None]:
    """Nothing comes, goes or changes in a store, the log included."""

    def look() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}

    before = look()
    yield
    assert look() == before
