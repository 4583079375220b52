"""The service's core against real databases."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from attrs import fields
from psycopg.conninfo import make_conninfo

from pgvector_restore import BackupOptions, KeepRules, RestoreOptions
from pgvector_restore.errors import (
    BackupNotFoundError,
    IncompleteBackupError,
    OptionError,
    StoreError,
)
from pgvector_restore.http.jobs import IdempotencyError, Job, JobConflictError
from pgvector_restore.http.operations import (
    BACKUP_OPTIONS,
    PRUNE_RULES,
    RESTORE_OPTIONS,
)
from pgvector_restore.http.service import Service
from pgvector_restore.http.settings import ServiceSettings
from pgvector_restore.http.shared import Shared
from tests.conftest import connect
from tests.sets import COLLECTION_FILE, STAMP, write_set

LABEL = f"vector_bak/{STAMP}"
TABLE = "langchain_pg_embedding"

Make = Callable[..., Service]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """A service of the small set, with settings of the test's own."""
    made: list[Service] = []

    def make(**changes: Any) -> Service:
        store = str(write_set(tmp_path / "store"))
        made.append(Service(ServiceSettings.load(**{"store": store} | changes)))
        return made[-1]

    yield make
    for service in made:
        service.close()


@contextmanager
def locked(dsn: str) -> Iterator[psycopg.Connection[Any]]:
    """Nobody gets at the embeddings meanwhile: a restore or a comparison waits."""
    with connect(dsn) as holder, holder.transaction(force_rollback=True):
        holder.execute(f"LOCK TABLE {TABLE} IN ACCESS EXCLUSIVE MODE".encode())
        yield holder


def ended(service: Service, job: Job) -> Job:
    return service.jobs.wait(job.id, 120)


def test_one_of_each(make: Make, g2_dsn: str, tmp_path: Path) -> None:
    service = make(dsn=g2_dsn, state_dir=tmp_path / "state")
    assert service.targets == ("default",)
    assert service.plan(LABEL, {"mode": "replace"})["mode"] == "replace"
    restored = ended(service, service.restore("latest"))
    assert (restored.state, restored.target, restored.label) == ("done", "default", LABEL)
    assert restored.result is not None
    assert restored.result["rows_loaded"] == 6
    assert (restored.phase, restored.bytes_done) == ("done", restored.bytes_total)
    with connect(g2_dsn) as connection:
        assert connection.execute(f"SELECT FROM {TABLE}".encode()).rowcount == 4
        (marks,) = connection.execute(
            "SELECT jsonb_path_query_array(tables, '$[*].mark') FROM pgvector_restore_ledger"
        )
        assert marks == ([restored.id, restored.id],)
    compared = ended(service, service.verify(LABEL))
    assert compared.result is not None
    assert compared.result["equal"] is True
    saved = ended(service, service.backup(options={"task_id": "task_7"}))
    assert saved.state == "done"
    assert saved.label is not None
    assert saved.label.startswith("task_7/")
    assert saved.label in [one.label for one in service.catalog().sets]
    pruned = ended(service, service.prune(rules={"last": 1}, dry_run=True))
    assert pruned.state == "done"
    assert [job.kind for job in service.jobs.list()] == ["prune", "backup", "verify", "restore"]


def test_a_restore_that_fails_changes_nothing(make: Make, g2_dsn: str, tmp_path: Path) -> None:
    service = make(dsn=g2_dsn)
    (tmp_path / "store" / "vector_bak" / COLLECTION_FILE).write_bytes(b"uuid,name\r\nx,y\r\n")
    job = ended(service, service.restore(LABEL))
    assert (job.state, job.result, job.outcome) == ("failed", None, None)
    assert job.error is not None
    assert job.error.code.startswith("BAD_")
    with connect(g2_dsn) as connection:
        assert connection.execute(f"SELECT FROM {TABLE}".encode()).rowcount == 0


# --- requests that are refused at once -----------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"reject_dir": "aside"},
        {"on_bad_row": "quarantine"},
        {"allow_attached_code": True},
        {"ledger": False},
        {"max_record_bytes": 1 << 30},
        {"max_unpack_ratio": 1000},
        {"dsn": "x"},
        {"": 1},
        {"mode": "wipe"},
        {"mode": None},
        {"mode": ["replace"]},
        {"tables": 5},
        {"tables": [5]},
        {"tables": {"a": 1}},
        {"tables": [""]},
        {"tables": ["a\0b"]},
        {"schema": 5},
        {"schema": "\ud800"},
        {"schema": ["public"]},
        {"jobs": "9" * 5000},
        {"jobs": 10**6},
        {"jobs": True},
        {"lock_timeout_s": "1"},
        {"lock_timeout_s": float("nan")},
        {"lock_timeout_s": float("inf")},
        {"create_tables": 1},
        {"statement_timeout_s": -1},
    ],
    ids=lambda options: json.dumps(options)[:40],
)
def test_wrong_options_start_no_job(make: Make, options: dict[str, Any]) -> None:
    service = make(dsn="host=127.0.0.1 port=1 dbname=x")
    with pytest.raises(OptionError):
        service.restore(LABEL, options=options)
    with pytest.raises(OptionError):
        service.plan(LABEL, options)
    assert service.jobs.list() == []


@pytest.mark.parametrize(
    "options",
    [{"task_id": "../x"}, {"task_id": "a/b"}, {"task_id": 5}, {"task_id": ""}, {"format": "tar"}],
    ids=str,
)
def test_wrong_options_of_a_backup(make: Make, options: dict[str, Any]) -> None:
    service = make(dsn="host=127.0.0.1 port=1 dbname=x")
    with pytest.raises(OptionError):
        service.backup(options=options)


@pytest.mark.parametrize(
    "rules",
    [
        {"last": 0},
        {"last": "3"},
        {"last": True},
        {"labels": "x"},
        {"labels": [5]},
        {"labels": 5},
        {"per_location": 1},
        {"forever": 1},
        {"labels": ["vector_bak/latest"]},
    ],
    ids=str,
)
def test_wrong_rules(make: Make, rules: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        make().prune(rules=rules, dry_run=False)


@pytest.mark.parametrize("options", [{"limit": 5000}, {"limit": "x"}, {"mode": "replace"}], ids=str)
def test_wrong_options_of_a_comparison(make: Make, options: dict[str, Any]) -> None:
    service = make(dsn="host=127.0.0.1 port=1 dbname=x")
    with pytest.raises(OptionError):
        service.verify(LABEL, options=options)


def test_labels_that_are_not_there(make: Make, tmp_path: Path) -> None:
    service = make(dsn="host=127.0.0.1 port=1 dbname=x")
    for label in ("vector_bak/19990101_000000", "task_1/latest", "../../etc/20260102_030405"):
        with pytest.raises((BackupNotFoundError, OptionError)):
            service.restore(label)
    with pytest.raises(BackupNotFoundError):
        service.prune(rules={"labels": ["vector_bak/19990101_000000"]}, dry_run=True)
    (tmp_path / "store" / "vector_bak" / COLLECTION_FILE).unlink()
    service.jobs  # noqa: B018 - starts it
    service._resources.catalog.invalidate()
    with pytest.raises(IncompleteBackupError):
        service.verify(LABEL)


def test_offered_options_exist() -> None:
    for offered, kind in (
        (RESTORE_OPTIONS, RestoreOptions),
        (BACKUP_OPTIONS, BackupOptions),
        (PRUNE_RULES, KeepRules),
    ):
        assert set(offered) <= {one.name for one in fields(kind)}
    # An option that is new is refused until somebody has decided about it.
    left_out = {one.name for one in fields(RestoreOptions)} - set(RESTORE_OPTIONS)
    assert left_out == {
        *("ledger", "maintenance_memory", "allow_attached_code", "allow_non_atomic"),
        "max_record_bytes",
        *("max_unpack_ratio", "max_unpacked_bytes", "on_bad_row", "max_bad_rows", "reject_dir"),
    }


def test_the_operators_schema_is_not_to_be_changed(make: Make, g2_dsn: str) -> None:
    service = make(dsn=g2_dsn, schema="public")
    for request in (service.restore, service.verify):
        with pytest.raises(OptionError, match="set by the operator"):
            request(LABEL, options={"schema": "other"})
    job = ended(service, service.restore(LABEL, options={"schema": None}))
    assert job.result is not None
    assert job.result["schema"] == "public"


def test_targets_by_name(make: Make, g2_dsn: str) -> None:
    service = make(targets={"a": g2_dsn, "b": "host=127.0.0.1 port=1 dbname=x"})
    assert service.targets == ("a", "b")
    with pytest.raises(OptionError, match="no target is called"):
        service.restore(LABEL)
    with pytest.raises(OptionError, match="no target is called"):
        service.plan(LABEL, {}, target="c")
    assert ended(service, service.restore(LABEL, target="a")).state == "done"
    only = make(targets={"a": g2_dsn})
    assert ended(only, only.restore(LABEL, options={"mode": "replace"})).target == "a"


# --- one at a time, keys, calling off ------------------------------------------------------------


def test_one_job_a_database(make: Make, g2_dsn: str) -> None:
    # The same database under two names; `other` is another one.
    again = make_conninfo(g2_dsn, application_name="again")
    service = make(targets={"a": g2_dsn, "b": again, "other": "host=127.0.0.1 port=1 dbname=x"})
    with locked(g2_dsn):
        running = service.restore(LABEL, target="a")
        requests: tuple[Callable[[], Job], ...] = (
            lambda: service.restore(LABEL, target="a"),
            lambda: service.verify(LABEL, target="a"),
            lambda: service.backup(target="a"),
            lambda: service.restore(LABEL, target="b"),
            lambda: service.restore(LABEL, connection=g2_dsn),
        )
        for request in requests:
            with pytest.raises(JobConflictError) as caught:
                request()
            assert caught.value.job_id == running.id
        assert service.restore(LABEL, target="other").id != running.id
        assert service.prune(rules={}, dry_run=False).id != running.id
    assert ended(service, running).state == "done"


def test_keys(make: Make, g2_dsn: str, tmp_path: Path) -> None:
    service = make(dsn=g2_dsn, state_dir=tmp_path / "state")
    options = {"mode": "replace", "verify": "content"}
    first = service.restore(LABEL, options=options, idempotency_key="k")
    turned = dict(reversed(options.items()))
    assert service.restore(LABEL, options=turned, idempotency_key="k").id == first.id
    requests: tuple[Callable[[], Job], ...] = (
        lambda: service.restore(LABEL, idempotency_key="k"),
        lambda: service.restore("latest", options=options, idempotency_key="k"),
        lambda: service.verify(LABEL, options=options, idempotency_key="k"),
        lambda: service.backup(options=options, idempotency_key="k"),
        lambda: service.prune(rules=options, dry_run=True, idempotency_key="k"),
    )
    for request in requests:
        with pytest.raises(IdempotencyError):
            request()
    assert ended(service, first).state == "done"
    # The set may have gone since: the answer stays the same.
    (tmp_path / "store" / "vector_bak" / COLLECTION_FILE).unlink()
    assert service.restore(LABEL, options=options, idempotency_key="k").state == "done"
    assert len(service.jobs.list()) == 1


@pytest.mark.parametrize("kind", ["restore", "verify", "backup"])
def test_what_waits_is_called_off(make: Make, g2_dsn: str, kind: str) -> None:
    service = make(dsn=g2_dsn)
    begin: dict[str, Callable[[], Job]] = {
        "restore": lambda: service.restore(LABEL, options={"mode": "replace"}),
        "verify": lambda: service.verify(LABEL),
        "backup": service.backup,
    }
    with locked(g2_dsn) as holder:
        job = begin[kind]()
        while not holder.execute("SELECT FROM pg_locks WHERE NOT granted").rowcount:
            assert not service.jobs.get(job.id).finished
        service.jobs.cancel(job.id)
        assert ended(service, job).state == "cancelled"
    assert ended(service, service.restore(LABEL)).state == "done"


def test_close_calls_a_restore_off(make: Make, g2_dsn: str, tmp_path: Path) -> None:
    service = make(dsn=g2_dsn, state_dir=tmp_path / "state")
    with locked(g2_dsn):
        job = service.restore(LABEL, options={"mode": "replace"})
        service.close()
    later = make(dsn=g2_dsn, state_dir=tmp_path / "state")
    assert later.jobs.get(job.id).state == "cancelled"


# --- answers that are shared ---------------------------------------------------------------------


def test_many_who_ask_share_one_listing() -> None:
    calls: list[None] = []
    go = threading.Event()

    def find() -> int:
        calls.append(None)
        assert go.wait(240)
        return len(calls)

    shared = Shared(find, 60.0)
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(shared.get())) for _ in range(50)]
    for thread in threads:
        thread.start()
    go.set()
    for thread in threads:
        thread.join()
    assert found == [1] * 50
    shared.invalidate()
    assert shared.get() == 2
    assert shared.get() == 2
    assert shared.get(fresh=True) == 3


def test_what_was_listed_before_is_no_answer_to_fresh() -> None:
    """Asked while somebody lists, ``fresh`` waits for a listing that began later."""
    began, go = threading.Event(), threading.Event()
    calls: list[int] = []

    def find() -> int:
        calls.append(len(calls))
        began.set()
        assert go.wait(240)
        return calls[-1]

    shared = Shared(find, 60.0)
    found: dict[str, int] = {}
    early = threading.Thread(target=lambda: found.update(early=shared.get()))
    early.start()
    assert began.wait(240)
    late = threading.Thread(target=lambda: found.update(late=shared.get(fresh=True)))
    late.start()
    while shared._generation == 0:
        assert late.is_alive()
    go.set()
    early.join()
    late.join()
    assert found == {"early": 0, "late": 1}


def test_an_error_is_shared_by_those_who_wait_and_by_no_others() -> None:
    began, go = threading.Event(), threading.Event()
    calls: list[None] = []

    def find() -> None:
        calls.append(None)
        began.set()
        assert go.wait(240)
        raise StoreError("down")

    shared = Shared(find, 60.0)
    waiting = threading.Semaphore(0)
    errors: list[BaseException] = []

    def ask() -> None:
        waiting.release()
        with pytest.raises(StoreError) as caught:
            shared.get()
        errors.append(caught.value)

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    assert began.wait(240)
    for _ in threads:
        waiting.acquire()
    go.set()
    for thread in threads:
        thread.join()
    assert len(errors) == 20
    many = len(calls)
    with pytest.raises(StoreError):
        shared.get()
    assert len(calls) == many + 1


def test_ready(make: Make, g2_dsn: str, tmp_path: Path) -> None:
    service = make(targets={"a": g2_dsn, "b": "host=127.0.0.1 port=1 dbname=x"})
    assert service.ready() == {"store": True, "targets": {"a": True, "b": False}}
    gone = make(store=str(tmp_path / "nowhere"), dsn=g2_dsn)
    assert gone.ready() == {"store": False, "targets": {"default": True}}
