"""Faults in the middle of a restore: a typed error, the old rows, and a pool that still works."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg_pool import ConnectionPool

from pgvector_restore import (
    ConnectError,
    ProgressEvent,
    Restorer,
    RowCountError,
    StoreChangedError,
    StoreError,
    TargetChangedError,
    TargetMismatchError,
    open_store,
)
from pgvector_restore.progress import Phase
from tests.conftest import connect
from tests.restore.content import count, execute, query, snapshot
from tests.sets import (
    EMBEDDING_FILE,
    SQL_ID,
    embedding_bytes,
    restore,
    write_set,
)

_EMBEDDING = "langchain_pg_embedding"
_PHASES: tuple[Phase, ...] = ("prepare", "load", "verify", "publish")


@pytest.fixture
def old(g2_dsn: str, tmp_path: Path) -> str:
    """A database with old rows, and a store with other ones."""
    restore(write_set(tmp_path), g2_dsn)
    # Several blocks: whatever happens at the first one happens in the middle.
    records = [(f"n-{n}", SQL_ID, '"[1,2,3]"', "x" * 1000, "") for n in range(3000)]
    write_set(tmp_path, embedding=embedding_bytes(records=records))
    return g2_dsn


@pytest.fixture
def pool(old: str) -> Iterator[ConnectionPool]:
    with ConnectionPool(old, min_size=1, max_size=2, open=True) as opened:
        yield opened


def once(phase: Phase, act: Callable[[], object], table: str | None = None) -> Callable[..., None]:
    """A listener that acts at the first event of a phase."""
    done: list[ProgressEvent] = []

    def listener(event: ProgressEvent) -> None:
        if event.phase == phase and table in (None, event.table) and not done:
            done.append(event)
            act()

    return listener


def fail_with(error: BaseException) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act


@pytest.mark.parametrize("phase", _PHASES)
@pytest.mark.parametrize("mode", ["replace", "append"])
@pytest.mark.parametrize(
    "error", [RuntimeError("no more"), KeyboardInterrupt()], ids=["error", "ctrl-c"]
)
def test_listener_that_raises_changes_nothing(
    pool: ConnectionPool, tmp_path: Path, mode: str, phase: Phase, error: BaseException
) -> None:
    dsn = pool.conninfo
    assert isinstance(dsn, str)
    content = snapshot(dsn)
    tables = _EMBEDDING if mode == "append" else None
    with Restorer(open_store(tmp_path), pool) as restorer:
        with pytest.raises(type(error)) as caught:
            restorer.restore(mode=mode, tables=tables, progress=once(phase, fail_with(error)))
        assert caught.value is error
        assert snapshot(dsn) == content
        with pool.connection(timeout=60) as conn:
            assert conn.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
            assert conn.execute("SHOW row_security").fetchone() == ("on",)
        # And the next one succeeds, over the same connections.
        assert restorer.restore(mode=mode, tables=tables).tables[-1].rows_loaded == 3000


@pytest.mark.parametrize("phase", ["load", "verify", "publish"])
def test_terminated_backend(old: str, tmp_path: Path, phase: Phase) -> None:
    content = snapshot(old)

    def terminate() -> None:
        with connect(old) as conn:
            conn.execute(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
                "WHERE application_name = 'pgvector_restore' AND state <> 'idle'"
            )

    with Restorer(open_store(tmp_path), old) as restorer:
        if phase == "publish":  # nothing is sent after it but COMMIT
            with pytest.raises(Exception, match="connection") as unknown:
                restorer.restore(mode="replace", progress=once(phase, terminate))
            assert unknown.type.__name__ in {"ConnectError", "OutcomeUnknownError"}
        else:
            with pytest.raises((ConnectError, StoreError)):
                restorer.restore(mode="replace", progress=once(phase, terminate, None))
        assert snapshot(old) == content
        assert restorer.restore(mode="replace").rows_loaded == 3002


def _rewritten(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"n-2999,", b"n-9999,"))


def _replaced(path: Path) -> None:
    other = path.with_suffix(".new")
    other.write_bytes(path.read_bytes())
    # Same size, same bytes, another file of another time.
    os.utime(other, (1, 1))
    other.replace(path)


def _grown(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more,,,,\r\n")


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1064)


@pytest.mark.parametrize("phase", ["prepare", "load", "verify"])
@pytest.mark.parametrize("change", [_rewritten, _replaced, _grown, _cut])
def test_file_that_changes_meanwhile(
    old: str, tmp_path: Path, phase: Phase, change: Callable[[Path], None]
) -> None:
    content = snapshot(old)
    path = tmp_path / "vector_bak" / EMBEDDING_FILE
    with Restorer(open_store(tmp_path), old) as restorer:
        listener = once(phase, lambda: change(path), _EMBEDDING if phase == "load" else None)
        with pytest.raises(StoreChangedError, match=EMBEDDING_FILE):
            restorer.restore(mode="replace", progress=listener)
    assert snapshot(old) == content


def test_file_that_vanishes_meanwhile(old: str, tmp_path: Path) -> None:
    content = snapshot(old)
    path = tmp_path / "vector_bak" / EMBEDDING_FILE
    with (
        Restorer(open_store(tmp_path), old) as restorer,
        pytest.raises(FileNotFoundError) as caught,
    ):
        restorer.restore(mode="replace", progress=once("prepare", path.unlink))
    assert isinstance(caught.value, StoreError)
    assert snapshot(old) == content


@pytest.mark.parametrize(
    "change",
    [
        f"ALTER TABLE {_EMBEDDING} ADD n int",
        f"ALTER TABLE {_EMBEDDING} ALTER embedding TYPE vector(3)",
        f"ALTER TABLE {_EMBEDDING} RENAME document TO body",
        f"DROP TABLE {_EMBEDDING}; CREATE TABLE {_EMBEDDING} (LIKE langchain_pg_collection)",
        f"CREATE TABLE note (e varchar REFERENCES {_EMBEDDING})",
    ],
)
@pytest.mark.parametrize("mode", ["replace", "append"])
def test_target_that_changed_since_the_plan(
    old: str, tmp_path: Path, mode: str, change: str
) -> None:
    with Restorer(open_store(tmp_path), old) as restorer:
        plan = restorer.plan(mode=mode)
        execute(old, change)
        content = snapshot(old)
        with pytest.raises(TargetChangedError, match="has changed since the plan") as caught:
            restorer.run(plan)
    assert caught.value.hint == "plan again"
    assert snapshot(old) == content


def test_table_that_is_made_since_the_plan(dsn: str, tmp_path: Path) -> None:
    root = write_set(tmp_path)
    with Restorer(open_store(root), dsn) as restorer:
        plan = restorer.plan()
        restore(root, dsn)
        content = snapshot(dsn)
        with pytest.raises(TargetChangedError):
            restorer.run(plan)
    assert snapshot(dsn) == content


def test_more_rows_since_the_plan_are_no_change(old: str, tmp_path: Path) -> None:
    with Restorer(open_store(tmp_path), old) as restorer:
        plan = restorer.plan(mode="replace")
        execute(old, f"INSERT INTO {_EMBEDDING} (id) VALUES ('late')")
        report = restorer.run(plan)
    assert report.tables[1].rows_removed == 5
    assert count(old, _EMBEDDING) == 3000


_TRIGGER = """
CREATE FUNCTION change_rows() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {} END $$;
CREATE TRIGGER t BEFORE INSERT ON langchain_pg_embedding FOR EACH ROW EXECUTE FUNCTION change_rows()
"""


@pytest.mark.parametrize(
    "body",
    [
        "IF NEW.id = 'n-7' THEN RETURN NULL; END IF; RETURN NEW;",
        "DELETE FROM public.langchain_pg_embedding WHERE id = 'n-1'; RETURN NEW;",
    ],
    ids=["drops", "deletes"],
)
def test_trigger_that_loses_rows(old: str, tmp_path: Path, body: str) -> None:
    execute(old, _TRIGGER.format(body))
    content = snapshot(old)
    with pytest.raises(RowCountError, match=_EMBEDDING) as caught:
        restore(tmp_path, old, mode="replace")
    assert "trigger" in (caught.value.hint or "")
    assert snapshot(old) == content


def test_read_only_database(old: str, tmp_path: Path) -> None:
    name = query(old, "SELECT current_database()")[0][0]
    execute(old, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    with pytest.raises(TargetMismatchError, match="is read-only"):
        restore(tmp_path, old, mode="replace")


@pytest.fixture
def other_role(old: str) -> Iterator[str]:
    """Connection string of a role without any rights on the tables."""
    role = f"role_{query(old, 'SELECT current_database()')[0][0]}"
    execute(old, f"CREATE ROLE {role} LOGIN")
    yield make_conninfo(old, user=role)
    execute(old, f"DROP OWNED BY {role}; DROP ROLE {role}")


@pytest.mark.parametrize("grants", ["", "SELECT", "SELECT, INSERT"])
def test_role_without_privileges(old: str, other_role: str, tmp_path: Path, grants: str) -> None:
    role = query(other_role, "SELECT current_user")[0][0]
    if grants:
        execute(old, f"GRANT {grants} ON ALL TABLES IN SCHEMA public TO {role}")
    content = snapshot(old)
    with pytest.raises(TargetMismatchError, match=r"lacks [A-Z, ]*TRUNCATE on table public\.lang"):
        restore(tmp_path, other_role, mode="replace")
    assert snapshot(old) == content


def test_role_that_loses_a_privilege_meanwhile(old: str, other_role: str, tmp_path: Path) -> None:
    role = query(other_role, "SELECT current_user")[0][0]
    execute(old, f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}")
    content = snapshot(old)
    with Restorer(open_store(tmp_path), other_role) as restorer:
        plan = restorer.plan(mode="replace", strategy="in_place")
        execute(old, f"REVOKE INSERT ON langchain_pg_embedding FROM {role}")
        with pytest.raises(TargetChangedError, match="has changed since the plan was made"):
            restorer.run(plan)
    assert snapshot(old) == content


def test_policies_raise_instead_of_hiding_rows(old: str, other_role: str, tmp_path: Path) -> None:
    role = query(other_role, "SELECT current_user")[0][0]
    execute(old, f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}")
    execute(old, f"ALTER TABLE {_EMBEDDING} ENABLE ROW LEVEL SECURITY")
    content = snapshot(old)
    with pytest.raises(TargetMismatchError, match="row-level security"):
        restore(tmp_path, other_role, mode="replace")
    assert snapshot(old) == content
    execute(old, f"ALTER TABLE {_EMBEDDING} DISABLE ROW LEVEL SECURITY")
    assert restore(tmp_path, other_role, mode="replace").rows_loaded == 3002
