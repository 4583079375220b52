"""Nothing of a backup is run: not by Python, not as a program, not by the server."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql

from pgvector_restore import BadDataError, Restorer, open_store
from pgvector_restore.db.embedded import EmbeddedServer
from pgvector_restore.schema import EMBEDDING
from tests.conftest import connect
from tests.restore.content import count
from tests.sets import (
    EMBEDDING_HEADER,
    SQL_ID,
    collection_bytes,
    embedding_bytes,
    quote,
    write_set,
)

CANARY = "c4nary"
_PYTHON = f"__import__('os').system('{CANARY}')"
_SQL = f"'); DROP TABLE {EMBEDDING}; SELECT '{CANARY}"

#: Cells that are loaded as they are, and records that are set aside: every kind of code there is.
_RECORDS = [
    (
        quote(f"{CANARY} {_SQL}"),
        SQL_ID,
        '"[1,2,3]"',
        quote(_SQL),
        quote(json.dumps({CANARY: _SQL})),
    ),
    (
        quote(f"{CANARY} {_PYTHON}"),
        SQL_ID,
        '"[1,2,3]"',
        quote(_PYTHON),
        quote(repr({CANARY: _SQL})),
    ),
    ("x1", SQL_ID, '"[1,2,3]"', CANARY, quote(f"{{'a': {_PYTHON}}}")),
    ("x2", SQL_ID, quote(f"[1,2,{_PYTHON}]"), CANARY, ""),
    ("x3", quote(f"{SQL_ID}{CANARY}"), '"[1,2,3]"', CANARY, ""),
    ("x4", SQL_ID, quote(f"[1,2,{CANARY}]"), quote(f"\\! touch {CANARY}"), ""),
]
_COLLECTIONS = [(SQL_ID, quote(f"{CANARY} {_SQL}"), quote(repr({CANARY: _PYTHON})))]


def hostile_set(root: Path) -> Path:
    return write_set(
        root,
        collection=collection_bytes(records=_COLLECTIONS),
        embedding=embedding_bytes(records=_RECORDS),
    )


def audited(dsn: str, folder: Path, way: str) -> dict[str, object]:
    good, hostile = write_set(folder / "good"), hostile_set(folder / "hostile")
    done = subprocess.run(
        [sys.executable, "-m", "tests.restore.audited", dsn, str(good), str(hostile), way],
        check=True,
        capture_output=True,
        text=True,
        timeout=400,
        cwd=Path(__file__).parents[2],
    )
    found: dict[str, object] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    ("way", "ended"),
    [
        ("in_place", None),
        ("in_place_content", None),
        ("swap", None),
        ("text", None),
        ("verify", "BadCellError"),
        ("inspect", None),
        ("list", None),
    ],
)
def test_no_program_and_no_code(g2_dsn: str, tmp_path: Path, way: str, ended: str | None) -> None:
    """With ``jobs`` above 1 a swap starts worker processes of its own: not asked here."""
    if way == "verify":
        with Restorer(open_store(write_set(tmp_path / "good")), g2_dsn) as restorer:
            restorer.restore()
    assert audited(g2_dsn, tmp_path, way) == {"noticed": [], "ended": ended}


@pytest.mark.parametrize(
    ("way", "noticed"),
    [("program", "subprocess.Popen"), ("code", "compile <string>")],
)
def test_the_hook_notices(dsn: str, tmp_path: Path, way: str, noticed: str) -> None:
    found = audited(dsn, tmp_path, way)["noticed"]
    assert isinstance(found, list)
    assert noticed in found


class ServerLog:
    """What the server has received in one database since this was made."""

    def __init__(self, server: EmbeddedServer, dsn: str) -> None:
        self._path = server.data_dir / "server.log"
        with connect(dsn) as conn:
            conn.execute(
                sql.SQL("ALTER DATABASE {} SET log_statement = 'all'").format(
                    sql.Identifier(conn.info.dbname)
                )
            )
        self._start = self._path.stat().st_size

    def statements(self) -> list[str]:
        """Statements with their parameters; other lines of the log belong to none."""
        with self._path.open("rb") as file:
            file.seek(self._start)
            text = file.read().decode()
        entries = text.replace("\n\t", "\t").splitlines()
        return [
            entry
            for entry in entries
            if " LOG:  statement: " in entry
            or " LOG:  execute " in entry
            or " DETAIL:  Parameters: " in entry
            or " DETAIL:  parameters: " in entry
        ]


_WAYS: dict[str, dict[str, Any]] = {
    "in_place": {"strategy": "in_place", "verify": "content"},
    "swap": {"strategy": "swap", "jobs": 1, "ledger": True},
    "text": {"strategy": "in_place", "wire": "text"},
}


@pytest.mark.parametrize("way", _WAYS)
def test_no_statement_holds_a_cell(
    server: EmbeddedServer, g2_dsn: str, tmp_path: Path, way: str
) -> None:
    root = hostile_set(tmp_path / "store")
    log = ServerLog(server, g2_dsn)
    with Restorer(open_store(root), g2_dsn) as restorer:
        report = restorer.restore(
            mode="replace",
            on_bad_row="quarantine",
            reject_dir=str(tmp_path / "rejects"),
            **_WAYS[way],
        )
    assert (report.rows_loaded, report.rows_rejected) == (3, 4)
    assert count(g2_dsn, EMBEDDING) == 2
    statements = log.statements()
    assert sum("COPY" in one and "FROM STDIN" in one for one in statements) == 2
    assert [one for one in statements if CANARY in one or "DROP TABLE lang" in one] == []


_REPEATED = [(CANARY, SQL_ID, "", "", ""), (CANARY, SQL_ID, "", "", "")]


@pytest.mark.parametrize("strategy", ["in_place", "swap"])
@pytest.mark.parametrize("fault", ["repeated", "header"])
def test_no_statement_holds_what_is_refused(
    server: EmbeddedServer, g2_dsn: str, tmp_path: Path, fault: str, strategy: str
) -> None:
    """Looking for the record that is to blame reads the file, and tells the server nothing."""
    header = EMBEDDING_HEADER if fault == "repeated" else (*EMBEDDING_HEADER[:4], quote(CANARY))
    root = write_set(tmp_path, embedding=embedding_bytes(header=header, records=_REPEATED))
    log = ServerLog(server, g2_dsn)
    with Restorer(open_store(root), g2_dsn) as restorer, pytest.raises(BadDataError):
        restorer.restore(mode="replace", strategy=strategy)
    statements = log.statements()
    assert len(statements) > 10
    assert [one for one in statements if CANARY in one] == []
