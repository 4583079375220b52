"""Jobs: one at a time where they must be, followed, called off, remembered."""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pgvector_restore.errors import BadCellError, ConnectError, OptionError, OutcomeUnknownError
from pgvector_restore.http.job_records import JobRecords
from pgvector_restore.http.jobs import (
    IdempotencyError,
    Job,
    JobConflictError,
    JobHandle,
    JobManager,
    JobNotFoundError,
    JobRequest,
    ShuttingDownError,
)
from pgvector_restore.progress import ProgressEvent

CANARY = "kanarienvogel"

Work = Callable[[JobHandle], dict[str, Any]]


@pytest.fixture
def records() -> Iterator[JobRecords]:
    made = JobRecords(None)
    yield made
    made.close()


@pytest.fixture
def jobs(records: JobRecords) -> Iterator[JobManager]:
    made = JobManager(records)
    yield made
    assert made.close(30)


def request(work: Work, **changes: Any) -> JobRequest:
    given: dict[str, Any] = {
        "kind": "restore",
        "target": "default",
        "label": "vector_bak/20260102_030405",
        "holds": frozenset(["target default"]),
        "work": work,
        "digest": "one",
    }
    return JobRequest(**given | changes)


def waiting(job: JobHandle) -> dict[str, Any]:
    """Work until it is called off."""
    while not job.cancel.wait(240):
        pass
    job.cancel.check()
    return {}


def failing(error: BaseException) -> Work:
    def work(_: JobHandle) -> dict[str, Any]:
        raise error

    return work


def loading(rows: int, table: str = "t") -> ProgressEvent:
    return ProgressEvent("load", table, rows * 10, 1000, rows, 100)


def test_a_job_that_works(jobs: JobManager) -> None:
    def work(job: JobHandle) -> dict[str, Any]:
        job.progress(loading(5))
        return {"rows_loaded": 5}

    begun = jobs.start(request(work, request_id="r1"))
    assert (begun.state, begun.version, begun.request_id) == ("queued", 1, "r1")
    job = jobs.wait(begun.id)
    assert (job.state, job.result, job.error, job.outcome) == (
        *("done", {"rows_loaded": 5}),
        *(None, None),
    )
    assert (job.phase, job.table, job.rows_done, job.rows_total) == ("load", "t", 5, 100)
    assert job.started_at is not None
    assert job.finished_at is not None
    assert begun.created_at <= job.started_at <= job.finished_at
    assert job.version > begun.version
    assert Job.from_dict(json.loads(json.dumps(job.to_dict()))) == job
    assert jobs.ended(job.id)[1] is None


@pytest.mark.parametrize(
    ("error", "code", "exit_code", "outcome"),
    [
        (ConnectError(f"no {CANARY}"), "TARGET_UNREACHABLE", 5, None),
        (OutcomeUnknownError(f"lost {CANARY}"), "OUTCOME_UNKNOWN", 5, "unknown"),
        (RuntimeError(CANARY), "INTERNAL", 1, None),
        (SystemExit(CANARY), "INTERNAL", 1, None),
    ],
)
def test_a_job_that_fails_tells_the_kind_of_error_only(
    tmp_path: Path, error: BaseException, code: str, exit_code: int, outcome: str | None
) -> None:
    records = JobRecords(tmp_path)
    jobs = JobManager(records)
    job = jobs.wait(jobs.start(request(failing(error))).id)
    assert (job.state, job.outcome) == ("failed", outcome)
    assert job.error is not None
    assert (job.error.type, job.error.code, job.error.exit_code) == (
        *(type(error).__name__, code),
        exit_code,
    )
    assert jobs.ended(job.id)[1] is error
    assert error.__traceback__ is None
    assert CANARY not in json.dumps(job.to_dict())
    assert jobs.close(30)
    records.close()
    assert CANARY.encode() not in b"".join(one.read_bytes() for one in tmp_path.iterdir())


def test_errors_of_others_are_logged_without_their_text(
    jobs: JobManager, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="pgvector_restore")
    job = jobs.wait(jobs.start(request(failing(RuntimeError(CANARY)))).id)
    (line,) = [one for one in caplog.records if one.levelno >= logging.WARNING]
    assert "RuntimeError" in line.message
    assert "test_jobs.py" in str(line.__dict__["at"])
    assert CANARY not in caplog.text
    assert line.__dict__["job_id"] == job.id


def test_of_bad_rows_the_place_is_logged(
    jobs: JobManager, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="pgvector_restore")
    bad = BadCellError(f'"{CANARY}" is no uuid', file="a.csv", record=7, column="uuid")
    jobs.wait(jobs.start(request(failing(bad))).id)
    (line,) = [one for one in caplog.records if one.levelno >= logging.WARNING]
    assert line.message == "restore failed: BadCellError: file a.csv, record 7, column uuid"
    assert CANARY not in caplog.text


def test_a_long_job_is_not_the_first_to_be_forgotten(tmp_path: Path) -> None:
    """It began before all others; a key that was just used is known after it."""
    jobs = JobManager(JobRecords(tmp_path), 2)
    go = threading.Event()
    long = request(lambda _: {"waited": go.wait(120)}, idempotency_key="once")
    begun = jobs.start(long)
    for number in range(5):
        short = request(lambda _: {}, holds=frozenset([f"target {number}"]))
        jobs.wait(jobs.start(short).id)
    waiting_for = threading.Thread(target=lambda: ended.append(jobs.ended(begun.id)))
    ended: list[Any] = []
    waiting_for.start()
    go.set()
    waiting_for.join(120)
    assert ended[0][0].state == "done"
    assert jobs.get(begun.id).result == {"waited": True}
    assert jobs.start(long).id == begun.id
    jobs.close(10)


def test_one_job_at_a_time_where_they_hold_the_same(jobs: JobManager) -> None:
    first = jobs.start(request(waiting))
    with pytest.raises(JobConflictError) as caught:
        jobs.start(request(waiting, kind="verify"))
    assert caught.value.job_id == first.id
    other = jobs.start(request(waiting, holds=frozenset(["target other"])))
    jobs.cancel(first.id)
    assert jobs.wait(first.id).state == "cancelled"
    again = jobs.start(request(lambda _: {}))
    assert jobs.wait(again.id).state == "done"
    assert jobs.get(other.id).state in ("queued", "running")


def test_of_many_at_once_one_begins(jobs: JobManager) -> None:
    begun, refused = [], []
    together = threading.Barrier(16)

    def ask() -> None:
        together.wait()
        try:
            begun.append(jobs.start(request(waiting)).id)
        except JobConflictError as exc:
            refused.append(exc.job_id)

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(begun) == 1
    assert refused == begun * 15


def test_a_key_means_one_job(jobs: JobManager) -> None:
    first = jobs.start(request(waiting, idempotency_key="k"))
    assert jobs.start(request(waiting, idempotency_key="k")).id == first.id
    assert jobs.known("k", "one") is not None
    assert jobs.known("other", "one") is None
    with pytest.raises(IdempotencyError):
        jobs.start(request(waiting, idempotency_key="k", digest="two"))
    jobs.cancel(first.id)
    ended = jobs.wait(first.id)
    assert jobs.start(request(waiting, idempotency_key="k")) == ended


def test_followers_see_every_phase_and_not_every_block(jobs: JobManager) -> None:
    go = threading.Event()

    def work(job: JobHandle) -> dict[str, Any]:
        assert go.wait(240)
        for table in ("a", "b"):
            for rows in range(1000):
                job.progress(loading(rows, table))
        job.progress(ProgressEvent("done", None, 1000, 1000, 100, 100))
        return {}

    job = jobs.start(request(work))
    running: Job | None = job
    while running is not None and running.state != "running":
        running = jobs.changes(job.id, running.version, 60)
    assert running is not None
    assert jobs.changes(job.id, running.version, 0.01) is None
    go.set()
    seen = [running]
    while not seen[-1].finished:
        newer = jobs.changes(job.id, seen[-1].version, 60)
        assert newer is not None
        seen.append(newer)
    versions = [one.version for one in seen]
    assert versions == sorted(set(versions))
    assert seen[-1].phase == "done"
    # Two tables, "done" and the end, and what time has brought; not two thousand.
    assert seen[-1].version - running.version < 1000


def test_every_waiter_is_woken(jobs: JobManager) -> None:
    job = jobs.start(request(waiting))
    ended: list[Job] = []
    threads = [threading.Thread(target=lambda: ended.append(jobs.wait(job.id))) for _ in range(20)]
    for thread in threads:
        thread.start()
    jobs.cancel(job.id)
    for thread in threads:
        thread.join()
    assert {one.state for one in ended} == {"cancelled"}
    assert len(ended) == 20


def test_the_list_is_newest_first_in_pages(jobs: JobManager) -> None:
    kinds = ("restore", "backup", "verify", "prune", "restore")
    made = [jobs.wait(jobs.start(request(lambda _: {}, kind=kind)).id).id for kind in kinds]
    assert [job.id for job in jobs.list()] == made[::-1]
    assert [job.id for job in jobs.list(limit=2)] == made[:2:-1]
    assert [job.id for job in jobs.list(before=made[3])] == made[2::-1]
    assert [job.id for job in jobs.list(kind="restore")] == [made[4], made[0]]
    assert [job.id for job in jobs.list(kind="restore", before=made[4])] == [made[0]]
    assert jobs.list(state="running") == []
    with pytest.raises(JobNotFoundError):
        jobs.list(before="none")


def test_only_so_many_ended_jobs_are_kept(tmp_path: Path) -> None:
    records = JobRecords(tmp_path)
    jobs = JobManager(records, history=3)
    running = jobs.start(request(waiting, holds=frozenset(["other"]), idempotency_key="run"))
    made = [
        jobs.wait(jobs.start(request(lambda _: {}, idempotency_key=str(n))).id).id for n in range(5)
    ]
    assert [job.id for job in jobs.list()] == [*made[:1:-1], running.id]
    assert jobs.known("0", "one") is None
    for ask in (jobs.get, jobs.wait, jobs.cancel, jobs.ended):
        with pytest.raises(JobNotFoundError):
            ask(made[0])
    assert jobs.close(30)
    assert len(records.load()) == 3
    records.close()


def test_jobs_and_keys_outlive_the_process(tmp_path: Path) -> None:
    records = JobRecords(tmp_path)
    jobs = JobManager(records)
    done = jobs.wait(jobs.start(request(lambda _: {"rows": 1}, idempotency_key=CANARY)).id)
    assert jobs.close(30)
    records.close()
    assert CANARY.encode() not in (tmp_path / "jobs.sqlite3").read_bytes()
    records = JobRecords(tmp_path)
    jobs = JobManager(records)
    assert jobs.get(done.id) == done
    assert jobs.start(request(waiting, idempotency_key=CANARY)) == done
    with pytest.raises(IdempotencyError):
        jobs.start(request(waiting, idempotency_key=CANARY, digest="two"))
    records.close()


def test_what_ran_is_interrupted_for_the_next_process(tmp_path: Path) -> None:
    """The file as a process leaves it that is killed: copied while jobs run."""
    going = threading.Barrier(4)

    def work(job: JobHandle) -> dict[str, Any]:
        job.progress(loading(1))
        going.wait()
        return waiting(job)

    def traced(job: JobHandle) -> dict[str, Any]:
        job.remember({"mark": job.id})
        return work(job)

    records = JobRecords(tmp_path / "old")
    jobs = JobManager(records)
    ids = [
        jobs.start(request(traced, holds=frozenset("1"))).id,
        jobs.start(request(work, holds=frozenset("2"))).id,
        jobs.start(request(work, kind="backup", holds=frozenset("3"))).id,
    ]
    going.wait()
    seen = [jobs.get(one) for one in ids]
    (tmp_path / "new").mkdir()
    data = (tmp_path / "old" / "jobs.sqlite3").read_bytes()
    (tmp_path / "new" / "jobs.sqlite3").write_bytes(data)
    assert jobs.close(30)
    records.close()

    records = JobRecords(tmp_path / "new")
    jobs = JobManager(records)
    found = [jobs.get(one) for one in ids]
    assert [job.state for job in found] == ["interrupted"] * 3
    assert [job.outcome for job in found] == ["unknown", "nothing_changed", None]
    assert jobs.unknown() == {ids[0]: {"mark": ids[0]}}
    # Whoever has followed a job sees that it has changed.
    assert all(new.version > old.version for old, new in zip(seen, found, strict=True))
    jobs.settle(ids[0], "committed")
    assert jobs.get(ids[0]).outcome == "committed"
    assert jobs.get(ids[0]).version > found[0].version
    assert jobs.unknown() == {}
    records.close()


def test_close_calls_off_and_takes_no_more(records: JobRecords) -> None:
    jobs = JobManager(records)
    job = jobs.start(request(waiting, idempotency_key="k"))
    assert jobs.close(60)
    assert jobs.get(job.id).state == "cancelled"
    with pytest.raises(ShuttingDownError):
        jobs.start(request(waiting))
    assert jobs.start(request(waiting, idempotency_key="k")).id == job.id


def test_close_does_not_wait_for_ever(records: JobRecords) -> None:
    began, go = threading.Event(), threading.Event()
    jobs = JobManager(records)

    def deaf(_: JobHandle) -> dict[str, Any]:
        began.set()
        assert go.wait(240)
        return {}

    job = jobs.start(request(deaf))
    assert began.wait(240)
    assert not jobs.close(0.01)
    go.set()
    assert jobs.wait(job.id).state == "done"
    assert jobs.close(60)


def test_one_process_has_the_folder(tmp_path: Path) -> None:
    records = JobRecords(tmp_path)
    with pytest.raises(OptionError, match="another service has it"):
        JobRecords(tmp_path)
    records.close()
    JobRecords(tmp_path).close()


def test_the_file_is_for_its_owner_only(tmp_path: Path) -> None:
    JobRecords(tmp_path / "made").close()
    assert (tmp_path / "made").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "made" / "jobs.sqlite3").stat().st_mode & 0o777 == 0o600


def test_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OptionError, match="cannot be used"):
        JobRecords(tmp_path / "file")
    (tmp_path / "jobs.sqlite3").write_bytes(b"no database at all, and long enough to see it" * 99)
    with pytest.raises(OptionError, match="cannot be used"):
        JobRecords(tmp_path)


def test_records_of_a_newer_program_are_left_alone(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "jobs.sqlite3") as newer:
        newer.execute("PRAGMA user_version = 99")
    newer.close()
    before = (tmp_path / "jobs.sqlite3").read_bytes()
    with pytest.raises(OptionError, match="version 99"):
        JobRecords(tmp_path)
    assert (tmp_path / "jobs.sqlite3").read_bytes() == before


def test_records_that_are_damaged_are_named(tmp_path: Path) -> None:
    records = JobRecords(tmp_path)
    jobs = JobManager(records)
    assert jobs.wait(jobs.start(request(lambda _: {})).id).state == "done"
    records._db.execute("UPDATE jobs SET document = '{}'")
    with pytest.raises(OptionError, match="cannot be read"):
        JobManager(records)
    records.close()


def test_a_job_that_cannot_be_kept_does_not_begin(records: JobRecords) -> None:
    jobs = JobManager(records)
    records._db.execute("DROP TABLE jobs")
    with pytest.raises(OSError, match="cannot be kept"):
        jobs.start(request(waiting))
    assert jobs.list() == []
    assert jobs.close(30)
