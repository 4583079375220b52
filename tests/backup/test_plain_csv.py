"""Plain CSV: one thread reads several connections, whatever comes, and however slow it goes."""

from __future__ import annotations

import selectors
import time
from pathlib import Path
from typing import Any

import pytest

from pgvector_restore import Backuper, ProgressEvent, TargetError, dumping, open_store, plain_csv
from pgvector_restore.crew import Pipe
from tests.conftest import connect

_TABLE = "some_rows"


def _fill(dsn: str, rows: int) -> bytes:
    """A table of rows of several sizes; what the server itself writes of it."""
    with connect(dsn) as conn:
        conn.execute(f"CREATE TABLE {_TABLE} (id int, words text, more jsonb)")
        conn.execute(
            f"INSERT INTO {_TABLE} SELECT n, repeat('word, ', n % 90), '{{\"a\": [1, null]}}'"
            f" FROM generate_series(1, {rows}) AS n"
        )
        with conn.cursor().copy(f"COPY {_TABLE} TO STDOUT (FORMAT csv, HEADER)") as copy:
            return b"".join(map(bytes, copy))


@pytest.mark.parametrize("burst", [1, 2, 3, 8])
@pytest.mark.parametrize("digest", [True, False])
@pytest.mark.parametrize("rows", [0, 1, 3000])
def test_it_is_what_the_server_writes(
    dsn: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    burst: int,
    digest: bool,  # noqa: FBT001 - a parameter
    rows: int,
) -> None:
    """Many short stretches, hardly room for what waits, and storing slower than reading."""
    expected = _fill(dsn, rows)
    monkeypatch.setattr(plain_csv, "_BURST", burst)
    monkeypatch.setattr(plain_csv, "_BLOCK_BYTES", 20_000)
    monkeypatch.setattr(dumping, "_CSV_EXTENT_BYTES", 50_000)
    monkeypatch.setattr(dumping, "_CSV_BLOCKS", 1)
    monkeypatch.setattr(dumping, "_CSV_AHEAD", 0)

    def slowly(event: ProgressEvent) -> None:
        if event.phase == "read":
            time.sleep(0.003)

    with Backuper(open_store(tmp_path), dsn) as backuper:
        report = backuper.backup(
            tables=[_TABLE], jobs=3, digest=digest, progress=slowly, truncate_after=False
        )
    (file,) = tmp_path.rglob(f"{_TABLE}_*.csv")
    assert file.read_bytes() == expected
    assert report.rows == rows


@pytest.mark.parametrize("blocks", [1, 12])
def test_no_socket_is_waited_for_when_there_is_none(
    dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blocks: int
) -> None:
    """Windows refuses to; elsewhere it would wait at the end of each table, or while it is full."""
    expected = _fill(dsn, 3000)
    monkeypatch.setattr(plain_csv, "_BLOCK_BYTES", 20_000)
    monkeypatch.setattr(dumping, "_CSV_EXTENT_BYTES", 50_000)
    monkeypatch.setattr(dumping, "_CSV_BLOCKS", blocks)
    waited_for: list[int] = []

    class Noting(selectors.DefaultSelector):
        def select(self, timeout: float | None = None) -> list[Any]:
            waited_for.append(len(self.get_map()))
            return super().select(timeout)

    monkeypatch.setattr(selectors, "DefaultSelector", Noting)
    with Backuper(open_store(tmp_path), dsn) as backuper:
        backuper.backup(tables=[_TABLE], jobs=2)
    (file,) = tmp_path.rglob(f"{_TABLE}_*.csv")
    assert file.read_bytes() == expected
    assert min(waited_for) > 0


def test_few_long_rows_wait_in_memory(
    dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A block is given on as soon as it is one, not after so many rows."""
    with connect(dsn) as conn:
        conn.execute(f"CREATE TABLE {_TABLE} (words text)")
        conn.execute(f"INSERT INTO {_TABLE} SELECT repeat('x', 3000000) FROM generate_series(1, 9)")
    blocks: list[int] = []
    put = Pipe.put

    def noted(self: Pipe[bytes], block: bytes | None) -> None:
        if isinstance(block, bytes):
            blocks.append(len(block))
        put(self, block)

    monkeypatch.setattr(Pipe, "put", noted)
    with Backuper(open_store(tmp_path), dsn) as backuper:
        backuper.backup(tables=[_TABLE])
    assert len(blocks) >= 9
    assert max(blocks) < 4_000_000


@pytest.mark.parametrize("digest", [True, False])
def test_an_error_of_the_server_amid_the_rows(
    dsn: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    digest: bool,  # noqa: FBT001 - a parameter
) -> None:
    """It tells of which table, and the connection goes on."""
    with connect(dsn) as conn:
        conn.execute(
            f"CREATE VIEW {_TABLE} AS SELECT n, 1 / (n - 900) AS x FROM generate_series(1, 1000) n;"
            "CREATE TABLE fine AS SELECT 1 AS n"
        )
    with Backuper(open_store(tmp_path), dsn) as backuper:
        with pytest.raises(TargetError) as caught:
            backuper.backup(tables=[_TABLE], digest=digest)
        assert str(caught.value) == (
            f"public.{_TABLE} cannot be read: server refused a value: division by zero"
        )
        assert not [path for path in tmp_path.rglob("*") if path.is_file()]
        assert [one.getMessage() for one in caplog.records if one.levelname == "WARNING"] == []
        assert backuper.backup(tables=["fine"]).rows == 1
