"""Options, settings, sizes, labels: small rules without I/O."""

from __future__ import annotations

import io
import json
import logging
import pickle
from typing import Any

import pytest

from pgvector_restore import (
    BackupOptions,
    LoggingProgress,
    OptionError,
    ProgressEvent,
    RestoreOptions,
    TqdmProgress,
    environment_target,
    errors,
    format_size,
    resolve_target,
)
from pgvector_restore.db.conninfo import parse_target
from pgvector_restore.db.pool import Target
from pgvector_restore.errors import quoted
from pgvector_restore.options import make_options
from pgvector_restore.schema import COLLECTION, EMBEDDING, generation_for

CANARY = "s3cr3t-canary"


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1, "1.0 B"),
        (209, "209.0 B"),
        (1023, "1023.0 B"),
        (1024, "1.0 KB"),
        (782328, "764.0 KB"),
        (838452, "818.8 KB"),
        (5 << 30, "5.0 GB"),
        (3 << 50, "3072.0 TB"),
    ],
)
def test_sizes_read_as_in_backup_logs(size: int, text: str) -> None:
    assert format_size(size) == text


@pytest.mark.parametrize(
    "wrong",
    [
        {"mode": "merge"},
        {"mode": None},
        {"strategy": "magic"},
        {"strategy": 1},
        {"wire": "csv"},
        {"jobs": 0},
        {"jobs": 65},
        {"jobs": "many"},
        {"jobs": True},
        {"jobs": 1.5},
        {"maintenance_memory": "1 TB"},
        {"maintenance_memory": "1023kB"},
        {"maintenance_memory": "2GB"},
        {"maintenance_memory": -1},
        {"keep_previous": "yes"},
        {"tables": []},
        {"tables": ["a" * 64]},
        {"tables": ["a\0b"]},
        {"tables": ["\ud800"]},
        {"tables": ""},
        {"schema": ""},
        {"create_tables": "yes"},
        {"lock_timeout_s": 0},
        {"lock_timeout_s": -1},
        {"max_record_bytes": True},
        {"max_unpack_ratio": 0},
        {"max_unpack_ratio": 1.5},
        {"max_unpacked_bytes": 0},
        {"max_unpacked_bytes": "1TB"},
        {"lock_timeout_s": float("nan")},
        {"no_such_option": 1},
    ],
)
def test_wrong_options_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(OptionError) as caught:
        make_options(None, wrong)
    assert next(iter(wrong)).partition("_")[0][:5] in caught.value.message


@pytest.mark.parametrize(
    ("given", "size"),
    [
        ("1GB", 1 << 30),
        ("64 mb", 64 << 20),
        ("2048k", 2 << 20),
        ("1048576", 1 << 20),
        (9 << 20,) * 2,
    ],
)
def test_sizes_may_have_units(given: Any, size: int) -> None:
    assert RestoreOptions(maintenance_memory=given).maintenance_memory == size


def test_options_can_be_changed_one_by_one() -> None:
    base = RestoreOptions(mode="replace", tables="a, b,a")
    changed = make_options(base, {"strategy": "in-place"})
    assert changed.mode == "replace"
    assert changed.strategy == "in_place"
    assert changed.tables == ("a", "b")


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (["a ", " a", "a,b", 'a"b', "A"], ("a ", " a", "a,b", 'a"b', "A")),
        ("a ,b", ("a ", "b")),
        (" a,b", (" a", "b")),
        ('"a,b", c', ("a,b", "c")),
        ('a, " b","c""d"', ("a", " b", 'c"d')),
    ],
)
def test_names_are_taken_as_they_are_given(given: Any, names: tuple[str, ...]) -> None:
    assert RestoreOptions(tables=given).tables == names
    assert BackupOptions(tables=given).tables == names


@pytest.mark.parametrize("given", ['"a', '"a"b', "a,", ",a", ""])
def test_names_that_cannot_be_told_apart(given: str) -> None:
    with pytest.raises(OptionError, match="table"):
        RestoreOptions(tables=given)


def test_a_connection_is_taken_from_the_first_place_that_names_one() -> None:
    assert resolve_target("a", "b", "c").origin == "explicit"
    assert resolve_target(None, {"host": "b"}, "c").target == {"host": "b"}
    assert resolve_target("", {}, "c").origin == "default"
    with pytest.raises(OptionError, match="no database is named"):
        resolve_target()
    assert CANARY not in repr(resolve_target(f"password={CANARY}"))


def test_the_environment_names_a_connection() -> None:
    assert environment_target({}) is None
    assert environment_target({"PGPASSWORD": "x", "PGSSLMODE": "require"}) is None
    assert environment_target({"PGVECTOR_RESTORE_DSN": "dbname=a", "PGHOST": "b"}) == "dbname=a"
    from_libpq = environment_target({"PGHOST": "b"})
    assert isinstance(from_libpq, dict)
    assert "host" not in from_libpq


@pytest.mark.parametrize(
    "target",
    [
        "postgresql://u:p%40ss@h:5433/d",
        "postgresql+psycopg2://u:p%40ss@h:5433/d",
        "postgres://u:p%40ss@h:5433/d",
        "host=h port=5433 dbname=d user=u password=p@ss",
        {"host": "h", "port": 5433, "dbname": "d", "user": "u", "password": "p@ss"},
        {"host": "h", "port": "5433", "database": "d", "username": "u", "password": "p@ss"},
    ],
)
def test_all_spellings_of_a_connection_mean_the_same(target: Any) -> None:
    params = parse_target(target)
    named = {k: str(params[k]) for k in ("host", "port", "dbname", "user", "password")}
    assert named == {"host": "h", "port": "5433", "dbname": "d", "user": "u", "password": "p@ss"}
    assert params["connect_timeout"] == 10
    assert params["keepalives"] == 1
    assert params["tcp_user_timeout"] == 60_000


def test_timeouts_of_the_caller_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    params = parse_target("host=h connect_timeout=3 tcp_user_timeout=7 keepalives=0")
    assert [params[k] for k in ("connect_timeout", "tcp_user_timeout", "keepalives")] == [
        "3",
        "7",
        "0",
    ]
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "4")
    assert "connect_timeout" not in parse_target("host=h")


@pytest.mark.parametrize(
    "wrong",
    [
        f"postgresql://u:{CANARY}@h:port:x/d",
        f"host=h password='{CANARY}",
        f"{CANARY}",
        {"host": "h", "pass_word": CANARY},
        {"host": "h", CANARY: "x"},
    ],
)
def test_an_unreadable_connection_is_not_repeated(wrong: Any) -> None:
    with pytest.raises(OptionError) as caught:
        parse_target(wrong)
    error = caught.value
    assert CANARY not in f"{error} {error.hint} {error!r} {error.to_dict()}"
    assert error.__cause__ is None
    assert error.__suppress_context__


def test_a_target_shows_no_secret() -> None:
    assert CANARY not in repr(Target(f"host=h password={CANARY}"))
    with pytest.raises(OptionError, match="not int"):
        Target(5)  # type: ignore[arg-type]


def test_the_generation_follows_the_header() -> None:
    current = ("id", "collection_id", "embedding", "document", "cmetadata")
    older = ("uuid", "collection_id", "embedding", "document", "cmetadata", "custom_id")
    collections = ("uuid", "name", "cmetadata")
    for header, title in ((current, "langchain_postgres"), (older, "langchain_community")):
        found = generation_for({COLLECTION: collections, EMBEDDING: header})
        assert found is not None
        assert found.title == title
    assert generation_for({EMBEDDING: (*current, "extra")}) is None
    assert generation_for({"other": ("a",)}) is None


def test_names_in_messages_cannot_act_on_a_terminal() -> None:
    assert quoted("a\x1b[31m\n\u202eb") == '"a\\x1b[31m\\n\\u202eb"'
    assert quoted("向量") == '"向量"'


def event(phase: Any, done: int, rows: int, total: int | None = 10) -> ProgressEvent:
    return ProgressEvent(phase, "t" if phase == "load" else None, done, 100, rows, total)


def test_the_bar_shows_bytes_and_rows() -> None:
    out = io.StringIO()
    bar = TqdmProgress(file=out, mininterval=0)
    for step in (event("prepare", 0, 0), event("load", 50, 4), event("load", 100, 10)):
        bar(step)
    bar(event("done", 100, 10))
    bar.close()
    assert "100/100" in out.getvalue()
    assert "10/10 rows" in out.getvalue()


def test_the_log_listener_tells_each_phase_once(caplog: pytest.LogCaptureFixture) -> None:
    listener = LoggingProgress(every_s=3600)
    with caplog.at_level(logging.INFO, "pgvector_restore.progress"):
        for done in range(5):
            listener(event("load", done, done, None))
        listener(event("done", 5, 5))
    assert [record.getMessage().partition(" ")[0].strip(":") for record in caplog.records] == [
        "load",
        "done",
    ]


def test_errors_are_json_ready() -> None:
    error = OptionError("a is wrong", hint="try b")
    assert json.loads(json.dumps(error.to_dict())) == {
        "type": "OptionError",
        "exit_code": 2,
        "message": "a is wrong",
        "hint": "try b",
    }


def test_a_port_that_is_no_number_is_not_repeated() -> None:
    for target in ({"host": "h", "port": CANARY}, f"host=h port={CANARY}"):
        with pytest.raises(OptionError) as caught:
            parse_target(target)
        assert CANARY not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_survives_pickling(name: str) -> None:
    cls = getattr(errors, name)
    error = cls("went wrong", hint="do this")
    if isinstance(error, errors.BadDataError):
        error.file, error.record, error.column = "a.csv", 3, "id"
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert type(copy) is cls
    assert str(copy) == str(error)
    assert copy.to_dict() == error.to_dict()
